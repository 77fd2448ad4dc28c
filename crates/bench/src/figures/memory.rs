//! `memory`: what a node takes that has joined and does nothing.

use std::time::Duration;

use tokio::time::sleep;

use super::Bench;
use crate::error::BenchResult;
use crate::fleet::Fleet;
use crate::protocol::{Memory, Request};
use crate::report::Figure;

/// How many rows are there.
const ROWS: usize = 1_000;
/// How long the node does nothing before its memory is read.
const IDLE: Duration = Duration::from_secs(2);

pub(super) async fn measure(bench: &Bench<'_>) -> BenchResult<Vec<Figure>> {
    let fleet = Fleet::start(bench.root, 2, ROWS).await?;
    sleep(IDLE).await;
    let memory: Vec<Memory> = fleet.ask_all(|_| Request::Memory).await?;
    fleet.end().await?;
    let megabytes = |bytes: Option<u64>| bytes.map_or(f64::NAN, |bytes| bytes as f64 / 1e6);
    let of = |who: &str, bytes| {
        let figure = Figure::new("memory", megabytes(bytes), "MB").with("of", who);
        if bytes.is_some() { figure } else { figure.note("this system does not say") }
    };
    let joined = of("an idle node that joined", memory[1].now).first("123 MB");
    Ok(vec![
        if memory[1].now.is_some() { joined.at_most(60.0) } else { joined },
        of("an idle founder", memory[0].now),
        of("the node that joined, at its peak", memory[1].peak),
    ])
}
