//! Where the demo's databases are: in files, or each on a Dolt server of its own.

use std::path::Path;

use doltswarm::DoltServer;
use doltswarm::core::commit::EngineKind;
use doltswarm::engine::dolt::Sandbox;

use crate::error::{CommandError, CommandResult};

/// The database's name on each server.
const DATABASE: &str = "demo";

/// One server for each node; none where databases are files.
pub(super) struct Servers(Vec<Sandbox>);

impl Servers {
    /// Starts what `count` nodes need, with their data in `dir`.
    pub(super) async fn start(engine: EngineKind, count: usize, dir: &Path) -> CommandResult<Self> {
        if engine == EngineKind::DoltLite {
            return Ok(Self(Vec::new()));
        }
        let Some(program) = Sandbox::program() else {
            let what =
                "the demo on Dolt servers needs the program `dolt`, which is not on the path";
            return Err(CommandError::failed(what)
                .hint("install it, or name it in DOLTSWARM_DOLT; docs/dolt.md says how"));
        };
        let starts = (0..count).map(|n| {
            let (program, dir) = (program.clone(), dir.join(format!("server-{n}")));
            tokio::task::spawn_blocking(move || Sandbox::start(&program, &dir))
        });
        let mut servers = Vec::with_capacity(count);
        for start in starts.collect::<Vec<_>>() {
            let started = start.await.map_err(|error| CommandError::failed(error.to_string()))?;
            servers.push(started.map_err(|error| CommandError::failed(error.to_string()))?);
        }
        Ok(Self(servers))
    }

    /// Where the database of the node with this number is to be.
    pub(super) fn of(&self, node: usize) -> Option<DoltServer> {
        let server = self.0.get(node)?;
        Some(DoltServer { url: server.url(DATABASE), password_file: None })
    }
}
