//! `burst`: all peers make ten commits at once; how long until all have one hash.

use std::time::Duration;

use tokio::time::sleep;

use super::Bench;
use crate::error::{BenchError, BenchResult};
use crate::fleet::Fleet;
use crate::protocol::{Request, Written, millis_between, now};
use crate::report::Figure;
use crate::sample::Sample;
use crate::schema::insert_row;

/// How many bursts are measured for each size of swarm at normal size.
const ROUNDS: usize = 5;
/// How many commits each peer makes.
const COMMITS: usize = 10;
/// How many rows are there before.
const ROWS: usize = 1_000;
/// How long all peers may take to one hash before it counts as never.
const LIMIT: Duration = Duration::from_secs(120);
/// How long nothing happens before a burst.
const IDLE: Duration = Duration::from_millis(700);
/// How far ahead the peers are told when to begin.
const AHEAD: Duration = Duration::from_millis(50);

pub(super) async fn measure(bench: &Bench<'_>) -> BenchResult<Vec<Figure>> {
    let mut figures = Vec::new();
    for peers in bench.peers(&[2, 3, 5, 8]) {
        let rounds = bench.size.times(ROUNDS);
        bench.say(&format!("  {rounds} bursts in a swarm of {peers}"));
        let fleet = Fleet::start(bench, peers, ROWS).await?;
        fleet.ask_all::<()>(|_| Request::Observe).await?;
        let (mut one_hash, mut written) = (Sample::default(), Sample::default());
        for round in 0..rounds {
            sleep(IDLE).await;
            let Some((took, writing)) = burst(&fleet, round).await? else {
                one_hash.push(LIMIT.as_secs_f64());
                break;
            };
            one_hash.push(took);
            written.push(writing);
        }
        fleet.end().await?;
        figures.extend(figures_of(peers, &one_hash, &written));
    }
    Ok(figures)
}

/// Seconds from the beginning until all have one hash, and until the last commit was acknowledged;
/// `None` where the time was up before.
async fn burst(fleet: &Fleet, round: usize) -> BenchResult<Option<(f64, f64)>> {
    let begin = now() + u64::try_from(AHEAD.as_nanos()).unwrap_or(0);
    let base = |number: usize| 10 * ROWS + (round * fleet.len() + number) * COMMITS;
    let written: Vec<Vec<Written>> = fleet
        .ask_all(|number| {
            let ids = base(number)..base(number) + COMMITS;
            let row = |id| insert_row(i64::try_from(id).unwrap_or(i64::MAX), "burst");
            Request::Write { statements: ids.map(row).collect(), at: Some(begin) }
        })
        .await?;
    let Some(end) = fleet.one_hash(LIMIT).await? else { return Ok(None) };
    // One hash that lacks a row would be worth nothing.
    let expected = (round + 1) * fleet.len() * COMMITS;
    let sql = format!("SELECT count(*) FROM part WHERE id >= {}", 10 * ROWS);
    let counts: Vec<i64> = fleet.ask_all(|_| Request::Count { sql: sql.clone() }).await?;
    if counts.iter().any(|count| usize::try_from(*count) != Ok(expected)) {
        return Err(BenchError::Wrong(format!(
            "{expected} were written, and there are {counts:?}"
        )));
    }
    let last = written.iter().flatten().map(|one| one.ended).max().unwrap_or(begin);
    let seconds = |at| millis_between(begin, at) / 1e3;
    Ok(Some((seconds(end.max(last)), seconds(last))))
}

fn figures_of(peers: usize, one_hash: &Sample, written: &Sample) -> Vec<Figure> {
    let (first, wanted) = match peers {
        2 => (Some("0.3 s"), Some(0.3)),
        3 => (Some("0.9 s"), Some(0.5)),
        5 => (Some("58 to 72 s"), Some(1.0)),
        8 => (Some("more than 120 s"), Some(2.0)),
        _ => (None, None),
    };
    let of = |what: &str, value: f64| {
        Figure::new("burst", value, "s").with("peers", peers).with("until", what)
    };
    let mut p50 = of("one hash, p50", one_hash.p50());
    p50.first_implementation = first;
    if let Some(wanted) = wanted {
        p50 = p50.at_most(wanted);
    }
    vec![
        p50,
        of("one hash, slowest", one_hash.max()).note(format!("of {}", one_hash.len())),
        of("last commit acknowledged, p50", written.p50()),
    ]
}
