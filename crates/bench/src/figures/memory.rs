//! `memory`: what a node takes that has joined and does nothing.

use std::time::Duration;

use tokio::time::sleep;

use super::Bench;
use crate::error::BenchResult;
use crate::fleet::Fleet;
use crate::protocol::{Memories, Request};
use crate::report::Figure;

/// How many rows are there.
const ROWS: usize = 1_000;
/// How long the node does nothing before its memory is read.
const IDLE: Duration = Duration::from_secs(2);

pub(super) async fn measure(bench: &Bench<'_>) -> BenchResult<Vec<Figure>> {
    let fleet = Fleet::start(bench, 2, ROWS).await?;
    sleep(IDLE).await;
    let memory: Vec<Memories> = fleet.ask_all(|_| Request::Memory).await?;
    fleet.end().await?;
    let megabytes = |bytes: Option<u64>| bytes.map_or(f64::NAN, |bytes| bytes as f64 / 1e6);
    let of = |who: &str, bytes| {
        let figure = Figure::new("memory", megabytes(bytes), "MB").with("of", who);
        if bytes.is_some() { figure } else { figure.note("this system does not say") }
    };
    let (founder, joiner) = (&memory[0], &memory[1]);
    let mut joined = of("an idle node that joined", joiner.node.now);
    if joiner.node.now.is_some() {
        joined = joined.at_most(60.0);
    }
    // The first implementation had the server in its own process.
    let Some(server) = joiner.server else {
        return Ok(vec![
            joined.first("123 MB"),
            of("an idle founder", founder.node.now),
            of("the node that joined, at its peak", joiner.node.peak),
        ]);
    };
    let both = joiner.node.now.zip(server.now).map(|(node, server)| node + server);
    Ok(vec![
        joined.note("without its server"),
        of("an idle founder", founder.node.now).note("without its server"),
        of("the node that joined, at its peak", joiner.node.peak).note("without its server"),
        of("the server of the node that joined", server.now),
        of("the server of the founder", founder.server.and_then(|server| server.now)),
        of("the server of the node that joined, at its peak", server.peak),
        of("the node that joined and its server", both).first("123 MB"),
    ])
}
