//! One-row writes with a commit each: through the swarm, and with the engine by itself, by turns, so
//! that whatever else the machine does hits all alike.

use std::path::PathBuf;
use std::time::Instant;

use doltlite::Connection;
use doltswarm::engine::{CommitMeta, DoltLite, Engine};
use doltswarm::{Statement, Swarm, Value};
use serde::{Deserialize, Serialize};

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

/// Writes `rounds` rows in each of the ways. The engine's own databases are made in `dir`.
pub(super) async fn run(
    swarm: &Swarm,
    dir: PathBuf,
    rounds: usize,
) -> Result<Durations, Box<dyn std::error::Error + Send + Sync>> {
    std::fs::create_dir_all(&dir)?;
    let mut library = DoltLite::create(&dir.join("library.db"))?;
    let meta = CommitMeta {
        author_name: "bench".to_owned(),
        author_email: "bench@doltswarm".to_owned(),
        message: "a measured write".to_owned(),
        seconds: 1_700_000_000,
    };
    library.exec_and_commit(&[TABLE.into()], &meta)?;
    let one = bare(dir.join("one.db"))?;
    let two = bare(dir.join("two.db"))?;
    let mut durations = Durations::default();
    for round in 0..WARM_UP + rounds {
        let insert = insert_row(i64::try_from(round)?, "alone");
        let start = Instant::now();
        swarm.exec_and_commit("a measured write", [Statement::new(&insert, Vec::new())]).await?;
        let through_swarm = millis(start);
        let start = Instant::now();
        library.exec_and_commit(&[Statement::new(&insert, Vec::<Value>::new())], &meta)?;
        let through_library = millis(start);
        let start = Instant::now();
        one.execute_batch("BEGIN IMMEDIATE")?;
        one.execute_batch(&insert)?;
        commit(&one)?;
        one.execute_batch("COMMIT")?;
        let in_one = millis(start);
        let start = Instant::now();
        two.execute_batch(&insert)?;
        commit(&two)?;
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

fn bare(path: PathBuf) -> doltlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(TABLE)?;
    commit(&connection)?;
    Ok(connection)
}

fn commit(connection: &Connection) -> doltlite::Result<()> {
    let sql = "SELECT dolt_commit('-A', '-m', 'a measured write', '--author', \
               'bench <bench@doltswarm>', '--date', '2026-01-01T00:00:00Z')";
    connection.query(sql, &[]).map(drop)
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
