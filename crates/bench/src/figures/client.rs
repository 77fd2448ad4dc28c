//! `client`, only on Dolt: how soon what one MySQL client commits can be read by another one on the
//! server of another peer. Neither knows of DoltSwarm.

use std::thread::sleep;
use std::time::{Duration, Instant};

use doltswarm::DoltUrl;

use super::Bench;
use super::dice::Dice;
use crate::client::Client;
use crate::error::{BenchError, BenchResult};
use crate::fleet::Fleet;
use crate::report::Figure;
use crate::sample::Sample;
use crate::schema::insert_row;

/// How many commits are measured at normal size.
const ROUNDS: usize = 200;
/// How many rows are there before.
const ROWS: usize = 1_000;
/// How long a commit may take to be there.
const LIMIT: Duration = Duration::from_secs(10);
/// How long nothing happens before a commit, at least, and how much longer at most: so as not to
/// keep step with how often a node looks at its database.
const IDLE: Duration = Duration::from_millis(200);
const IDLE_SPREAD: Duration = Duration::from_millis(100);
/// How long the reading client waits between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);

pub(super) async fn measure(bench: &Bench<'_>) -> BenchResult<Vec<Figure>> {
    let rounds = bench.size.times(ROUNDS);
    let fleet = Fleet::start(bench, 2, ROWS).await?;
    let (Some(writer), Some(reader)) = (fleet.server(0).cloned(), fleet.server(1).cloned()) else {
        return Err(BenchError::Usage("only a Dolt server has other clients".to_owned()));
    };
    let seen = tokio::task::spawn_blocking(move || watch(&writer, &reader, rounds));
    let (seen, never) = seen.await.map_err(|error| BenchError::Wrong(error.to_string()))??;
    fleet.end().await?;
    let of = |value, unit, what: &str| {
        Figure::new("client", value, unit).with("peers", 2).with("what", what)
    };
    let percent = 100.0 * never as f64 / rounds as f64;
    Ok(vec![
        of(seen.p50(), "ms", "DOLT_COMMIT returned to readable on the other server, p50"),
        of(seen.p99(), "ms", "DOLT_COMMIT returned to readable on the other server, p99"),
        of(percent, "%", "not readable after 10 s").at_most(0.0).note(format!("of {rounds}")),
    ])
}

/// Commits on one server and looks on the other; gives the milliseconds, and how many commits did
/// not come in time.
fn watch(writer: &DoltUrl, reader: &DoltUrl, rounds: usize) -> BenchResult<(Sample, usize)> {
    let (mut writer, mut reader) = (Client::open(writer)?, Client::open(reader)?);
    let (mut seen, mut never, mut dice) = (Sample::default(), 0, Dice::new(0xc0de));
    for round in 0..rounds {
        let spread = dice.roll(u64::try_from(IDLE_SPREAD.as_millis()).unwrap_or(1));
        sleep(IDLE + Duration::from_millis(spread));
        let id = i64::try_from(2 * ROWS + round).unwrap_or(i64::MAX);
        writer.run("START TRANSACTION")?;
        writer.run(&insert_row(id, "client"))?;
        writer.commit()?;
        let start = Instant::now();
        let sql = format!("SELECT 1 FROM part WHERE id = {id}");
        loop {
            if reader.has_row(&sql)? {
                seen.push(start.elapsed().as_secs_f64() * 1e3);
                break;
            }
            if start.elapsed() > LIMIT {
                never += 1;
                break;
            }
            sleep(LOOK_EVERY);
        }
    }
    Ok((seen, never))
}
