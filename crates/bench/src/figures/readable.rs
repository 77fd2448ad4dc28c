//! `readable`: how soon a commit can be read on the other peers. On the way: `unreached`, how many
//! commits were not on all peers in time, and `adverts`, how many of them a commit causes.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::Bench;
use super::dice::Dice;
use crate::error::BenchResult;
use crate::fleet::Fleet;
use crate::protocol::{Nanos, Request, Traffic, Written, millis_between};
use crate::report::Figure;
use crate::sample::Sample;
use crate::schema::insert_row;

/// How many commits are measured for each size of swarm at normal size.
const ROUNDS: usize = 50;
/// How many rows are there before.
const ROWS: usize = 1_000;
/// How long a commit may take to be on all peers.
const LIMIT: Duration = Duration::from_secs(10);
/// How long nothing happens before a commit: long enough for all that follows the commit before. It
/// varies by up to [`IDLE_SPREAD`], so as not to keep step with what nodes do at intervals.
const IDLE: Duration = Duration::from_millis(500);
const IDLE_SPREAD: Duration = Duration::from_millis(100);

/// What was seen in one swarm.
#[derive(Default)]
struct Seen {
    /// Milliseconds from the beginning of a commit until it could be read on each other peer.
    each: Sample,
    /// The same until it could be read on all.
    all: Sample,
    /// How many commits were not on all in time.
    unreached: usize,
    adverts_per_commit: f64,
}

pub(super) async fn measure(bench: &Bench<'_>) -> BenchResult<Vec<Figure>> {
    let mut figures = Vec::new();
    for peers in bench.peers(&[2, 3, 5, 8]) {
        let rounds = bench.size.times(ROUNDS);
        bench.say(&format!("  {rounds} commits, one at a time, in a swarm of {peers}"));
        let fleet = Fleet::start(bench, peers, ROWS).await?;
        let seen = watch(&fleet, rounds).await?;
        fleet.end().await?;
        figures.extend(figures_of(peers, rounds, &seen));
    }
    Ok(figures)
}

async fn watch(fleet: &Fleet, rounds: usize) -> BenchResult<Seen> {
    let mut seen = Seen::default();
    let mut dice = Dice::new(0x5eed);
    sleep(2 * IDLE).await;
    let before = adverts(fleet).await?;
    for round in 0..rounds {
        let spread = dice.roll(u64::try_from(IDLE_SPREAD.as_millis()).unwrap_or(1));
        sleep(IDLE + Duration::from_millis(spread)).await;
        let writer = usize::try_from(dice.roll(fleet.len() as u64)).unwrap_or(0);
        one_commit(fleet, round, writer, &mut seen).await?;
    }
    sleep(IDLE).await;
    seen.adverts_per_commit = (adverts(fleet).await? - before) as f64 / rounds as f64;
    Ok(seen)
}

async fn one_commit(
    fleet: &Fleet,
    round: usize,
    writer: usize,
    seen: &mut Seen,
) -> BenchResult<()> {
    let id = i64::try_from(2 * ROWS + round).unwrap_or(i64::MAX);
    let others: Vec<usize> = (0..fleet.len()).filter(|number| *number != writer).collect();
    let sql = format!("SELECT 1 FROM part WHERE id = {id}");
    let watches = others
        .iter()
        .map(|number| fleet.node(*number).ask::<()>(Request::Watch { sql: sql.clone() }));
    for watched in join_all(watches).await {
        watched?;
    }
    let statements = vec![insert_row(id, "readable")];
    let written: Vec<Written> =
        fleet.node(writer).ask(Request::Write { statements, at: None }).await?;
    let Some(written) = written.first() else { return Ok(()) };
    let looks =
        others.iter().map(|number| timeout(LIMIT, fleet.node(*number).ask::<Nanos>(Request::Seen)));
    let mut last = 0.0_f64;
    let mut late = false;
    for look in join_all(looks).await {
        match look {
            Ok(at) => {
                let millis = millis_between(written.began, at?);
                seen.each.push(millis);
                last = last.max(millis);
            }
            Err(_) => late = true,
        }
    }
    if late {
        seen.unreached += 1;
    } else {
        seen.all.push(last);
    }
    Ok(())
}

async fn adverts(fleet: &Fleet) -> BenchResult<u64> {
    let traffic: Vec<Traffic> = fleet.ask_all(|_| Request::Traffic).await?;
    Ok(traffic.iter().map(|one| one.adverts_sent).sum())
}

fn figures_of(peers: usize, rounds: usize, seen: &Seen) -> Vec<Figure> {
    let (first, wanted) = match peers {
        2 => (Some("32 ms"), Some(15.0)),
        3 => (Some("43 ms"), Some(20.0)),
        5 => (Some("81 ms"), Some(30.0)),
        8 => (Some("192 ms"), Some(50.0)),
        _ => (None, None),
    };
    let on = |what: &str, percent: u32, value: f64| {
        Figure::new("readable", value, "ms")
            .with("peers", peers)
            .with("on", what)
            .with("p", percent)
    };
    let mut p50 = on("each other peer", 50, seen.each.p50());
    p50.first_implementation = first;
    if let Some(wanted) = wanted {
        p50 = p50.at_most(wanted);
    }
    let percent = 100.0 * seen.unreached as f64 / rounds as f64;
    let mut unreached = Figure::new("unreached", percent, "%").with("peers", peers).at_most(0.0);
    unreached.first_implementation = match peers {
        2 | 3 => Some("0 %"),
        5 | 8 => Some("about 50 %"),
        _ => None,
    };
    let mut adverts = Figure::new("adverts", seen.adverts_per_commit, "").with("peers", peers);
    if peers == 8 {
        adverts = adverts.first("32").at_most(16.0);
    }
    vec![
        p50,
        on("each other peer", 99, seen.each.p99()),
        on("all peers", 50, seen.all.p50()),
        on("all peers", 99, seen.all.p99()),
        unreached.note(format!("of {rounds} commits, after {} s", LIMIT.as_secs())),
        adverts.with("what", "per commit, whole swarm"),
    ]
}
