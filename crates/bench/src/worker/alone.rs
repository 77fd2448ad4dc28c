//! One-row writes with a commit each: through the swarm, and with the engine by itself, by turns,
//! so that whatever else the machine does hits all alike.

use std::path::{Path, PathBuf};
use std::time::Instant;

use doltswarm::engine::{CommitMeta, Dolt, DoltLite, DoltOptions, Engine, Password};
use doltswarm::{DoltServer, EngineResult, Statement, Swarm, Value};
use serde::{Deserialize, Serialize};
use tokio::task::block_in_place;

use super::bare::Bare;
use crate::schema::{TABLE, insert_row};

/// How many rounds are made before those that count.
const WARM_UP: usize = 20;

/// Milliseconds of each write, by who made it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Durations {
    /// [`Swarm::exec_and_commit`].
    pub(crate) swarm: Vec<f64>,
    /// The library's own engine, without the rest of the node.
    pub(crate) library: Vec<f64>,
    /// Insert and commit in one transaction of the engine.
    pub(crate) engine: Vec<f64>,
    /// Insert and commit as two steps of the engine.
    pub(crate) two_steps: Vec<f64>,
}

/// Writes `rounds` rows in each of the ways. The engine's own databases are made in `dir`, or on
/// `server` where there is one.
pub(super) async fn run(
    swarm: &Swarm,
    server: Option<DoltServer>,
    dir: PathBuf,
    rounds: usize,
) -> Result<Durations, Box<dyn std::error::Error + Send + Sync>> {
    std::fs::create_dir_all(&dir)?;
    // An engine waits for its server, which a thread of the runtime must not do without saying so.
    let mut library = block_in_place(|| library_engine(&dir, server.as_ref()))?;
    let meta = CommitMeta {
        author_name: "bench".to_owned(),
        author_email: "bench@doltswarm".to_owned(),
        message: "a measured write".to_owned(),
        seconds: 1_700_000_000,
    };
    block_in_place(|| library.exec_and_commit(&[TABLE.into()], &meta))?;
    let mut bare = Bare::create(&dir, server.as_ref())?;
    let mut durations = Durations::default();
    for round in 0..WARM_UP + rounds {
        let insert = insert_row(i64::try_from(round)?, "alone");
        let start = Instant::now();
        swarm.exec_and_commit("a measured write", [Statement::new(&insert, Vec::new())]).await?;
        let through_swarm = millis(start);
        let start = Instant::now();
        let statement = Statement::new(&insert, Vec::<Value>::new());
        block_in_place(|| library.exec_and_commit(&[statement], &meta))?;
        let through_library = millis(start);
        let start = Instant::now();
        bare.in_one(&insert)?;
        let in_one = millis(start);
        let start = Instant::now();
        bare.in_two(&insert)?;
        let in_two = millis(start);
        if round >= WARM_UP {
            durations.swarm.push(through_swarm);
            durations.library.push(through_library);
            durations.engine.push(in_one);
            durations.two_steps.push(in_two);
        }
    }
    Ok(durations)
}

/// The library's engine on a database of its own.
fn library_engine(dir: &Path, server: Option<&DoltServer>) -> EngineResult<Box<dyn Engine>> {
    let Some(server) = server else {
        return Ok(Box::new(DoltLite::create(&dir.join("library.db"))?));
    };
    let (mut url, folder) = (server.url.clone(), dir.join("exchange"));
    "library".clone_into(&mut url.database);
    Ok(Box::new(Dolt::create(&DoltOptions { url, password: Password::Empty, folder })?))
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
