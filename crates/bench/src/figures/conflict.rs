//! `conflict`: two peers update one cell at once; are they in step again like after any write?

use std::time::Duration;

use tokio::time::sleep;

use super::Bench;
use crate::error::{BenchError, BenchResult};
use crate::fleet::Fleet;
use crate::protocol::{Request, Standing, Written, millis_between, now};
use crate::report::Figure;
use crate::sample::Sample;

/// How many cells are updated at normal size.
const ROUNDS: usize = 20;
/// How many rows are there.
const ROWS: usize = 1_000;
/// How long the peers may take to be in step.
const LIMIT: Duration = Duration::from_secs(10);
/// How long nothing happens before an update.
const IDLE: Duration = Duration::from_millis(500);
/// How far ahead the peers are told when to begin.
const AHEAD: Duration = Duration::from_millis(50);

pub(super) async fn measure(bench: &Bench<'_>) -> BenchResult<Vec<Figure>> {
    let rounds = bench.size.times(ROUNDS);
    let fleet = Fleet::start(bench, 2, ROWS).await?;
    fleet.ask_all::<()>(|_| Request::Observe).await?;
    let (mut one_hash, mut never) = (Sample::default(), 0);
    for round in 0..rounds {
        sleep(IDLE).await;
        match update(&fleet, round).await? {
            Some(millis) => one_hash.push(millis),
            None => never += 1,
        }
    }
    let standings: Vec<Standing> = fleet.ask_all(|_| Request::Standing).await?;
    let conflicts = standings[0].conflicts;
    if never == 0 && standings.iter().any(|one| one.conflicts != conflicts) {
        return Err(BenchError::Wrong("the nodes know of different conflicts".to_owned()));
    }
    fleet.end().await?;
    let percent = 100.0 * f64::from(never) / rounds as f64;
    let of = |value, unit| Figure::new("conflict", value, unit).with("peers", 2);
    Ok(vec![
        of(percent, "%")
            .with("what", "not in step after 10 s")
            .first("100 %")
            .at_most(0.0)
            .note(format!("{conflicts} of {rounds} updates met and were recorded")),
        of(one_hash.p50(), "ms").with("what", "to one hash, p50"),
        of(one_hash.max(), "ms").with("what", "to one hash, slowest"),
    ])
}

/// Milliseconds from the beginning until both have one hash; `None` where the time was up before.
async fn update(fleet: &Fleet, round: usize) -> BenchResult<Option<f64>> {
    let begin = now() + u64::try_from(AHEAD.as_nanos()).unwrap_or(0);
    let row = round % ROWS + 1;
    let written: Vec<Vec<Written>> = fleet
        .ask_all(|number| {
            let sql =
                format!("UPDATE part SET place = 'round {round} by {number}' WHERE id = {row}");
            Request::Write { statements: vec![sql], at: Some(begin) }
        })
        .await?;
    let Some(end) = fleet.one_hash(LIMIT).await? else { return Ok(None) };
    let last = written.iter().flatten().map(|one| one.ended).max().unwrap_or(begin);
    Ok(Some(millis_between(begin, end.max(last))))
}
