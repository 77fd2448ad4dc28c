//! `demo`: three real nodes in this process, on 127.0.0.1, over the IANA time zone tables.
//!
//! It shows what the program is for, and checks it: it succeeds only if all nodes end on the same
//! hashes and hold every row that was written.

mod data;
mod nodes;
mod servers;
mod story;
mod teller;

use std::time::Instant;

use doltswarm::core::commit::EngineKind;
use serde_json::json;

use crate::commands::Signals;
use crate::demo::nodes::Node;
use crate::demo::servers::Servers;
use crate::demo::story::{Outcome, Story};
use crate::demo::teller::Teller;
use crate::error::{CommandError, CommandResult};

/// `demo`: plays the whole story in a temporary directory, and leaves nothing behind.
pub(crate) async fn run(json: bool, engine: EngineKind) -> CommandResult<()> {
    let started = Instant::now();
    let mut signals = Signals::catch()?;
    let directory =
        tempfile::Builder::new().prefix("doltswarm-demo-").tempdir().map_err(|error| {
            CommandError::failed(format!("cannot make a temporary directory: {error}"))
        })?;
    let servers = Servers::start(engine, 3, directory.path()).await?;
    let mut teller = Teller::new(json);
    let mut nodes: Vec<Node> = Vec::new();
    let result = {
        let mut story = Story::new(directory.path(), &servers, &mut nodes, &mut teller);
        tokio::select! {
            result = story.play() => result,
            () = signals.wait() => Err(CommandError::failed("interrupted")),
        }
    };
    for node in nodes {
        node.swarm.close().await;
    }
    drop(servers);
    directory.close().map_err(|error| {
        CommandError::failed(format!("cannot remove the temporary directory: {error}"))
    })?;
    let outcome = result?;
    let ok = outcome.problems.is_empty();
    let took = started.elapsed();
    teller.end(&json!({
        "ok": ok,
        "seconds": (took.as_secs_f64() * 10.0).round() / 10.0,
        "nodes": outcome.nodes,
        "rows_checked": outcome.rows_checked,
        "conflicts": outcome.conflicts,
        "problems": outcome.problems,
    }))?;
    if ok { Ok(()) } else { Err(differs(&outcome)) }
}

fn differs(outcome: &Outcome) -> CommandError {
    CommandError::failed(format!("the nodes are not in step: {}", outcome.problems.join("; ")))
}
