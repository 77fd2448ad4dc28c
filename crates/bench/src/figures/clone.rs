//! The engine's own way to clone a database, for the comparison with a join.

use std::path::{Path, PathBuf};
use std::time::Instant;

use doltlite::Connection;
use doltswarm::DoltUrl;

use super::Bench;
use crate::client::Client;
use crate::dolt::Dolt;
use crate::error::{BenchError, BenchResult};
use crate::fleet::Fleet;

/// How long a clone took.
pub(super) struct Cloned {
    pub(super) what: &'static str,
    pub(super) seconds: f64,
    pub(super) note: String,
}

/// Clones the founder's database of `rows` rows in the ways that the engine has.
pub(super) async fn measure(
    bench: &Bench<'_>,
    fleet: &Fleet,
    rows: usize,
) -> BenchResult<Vec<Cloned>> {
    let (dolt, servers) = (bench.dolt.cloned(), [fleet.server(0), fleet.server(1)]);
    let servers = servers.map(|server| server.cloned());
    let (file, beside) = (fleet.directory(0).join("database.db"), fleet.beside("clone"));
    let task = tokio::task::spawn_blocking(move || match (dolt, servers) {
        (Some(dolt), [Some(from), Some(to)]) => on_dolt(&dolt, &from, &to, &beside, rows),
        _ => Ok(vec![clone_file(&file, &beside)?]),
    });
    task.await.map_err(|error| BenchError::Wrong(error.to_string()))?
}

/// Lets the engine clone the database file by itself.
fn clone_file(from: &Path, to: &Path) -> BenchResult<Cloned> {
    let size = std::fs::metadata(from).map_err(BenchError::io("look at", from))?.len();
    let url = format!("file://{}", from.display());
    let connection = Connection::open(to)?;
    let start = Instant::now();
    connection.query_row("SELECT dolt_clone(?)", &[url.as_str().into()])?;
    let seconds = start.elapsed().as_secs_f64();
    let note = format!("a file of {:.0} MB", size as f64 / 1e6);
    Ok(Cloned { what: "the engine's own clone of the file", seconds, note })
}

/// Pushes the database into a remote of files, and clones that with the program, which is a process
/// of its own, and on the server of the other node, which runs already.
fn on_dolt(
    dolt: &Dolt,
    from: &DoltUrl,
    to: &DoltUrl,
    dir: &Path,
    rows: usize,
) -> BenchResult<Vec<Cloned>> {
    let remote: PathBuf = dir.join("remote");
    std::fs::create_dir_all(&remote).map_err(BenchError::io("create", &remote))?;
    let url = format!("file://{}", remote.display());
    let mut client = Client::open(from)?;
    client.run(&format!("CALL DOLT_REMOTE('add', 'bench', '{url}')"))?;
    client.run("CALL DOLT_PUSH('bench', 'main')")?;
    let start = Instant::now();
    dolt.clone_database(&url, &dir.join("copy"))?;
    let by_program = start.elapsed().as_secs_f64();
    let mut client = Client::open(to)?;
    let start = Instant::now();
    client.run(&format!("CALL DOLT_CLONE('{url}', 'cloned')"))?;
    let by_server = start.elapsed().as_secs_f64();
    // It is so fast that it has to be looked at.
    if !client.has_row(&format!("SELECT 1 FROM cloned.part WHERE id = {rows}"))? {
        return Err(BenchError::Wrong(format!("the clone lacks the row {rows}")));
    }
    let note = "from a remote in files".to_owned();
    Ok(vec![
        Cloned { what: "dolt clone", seconds: by_program, note: note.clone() },
        Cloned { what: "DOLT_CLONE on a running server", seconds: by_server, note },
    ])
}
