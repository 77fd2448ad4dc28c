//! `join`: how long it takes to join a swarm with many rows, and how much memory, beside the
//! engine's own clone of the same database.

use super::{Bench, clone};
use crate::error::{BenchError, BenchResult};
use crate::fleet::Fleet;
use crate::protocol::{Memories, Memory, Request, millis_between};
use crate::report::Figure;

pub(super) async fn measure(bench: &Bench<'_>) -> BenchResult<Vec<Figure>> {
    let sizes: &[usize] =
        if bench.size.is_reduced() { &[10_000, 100_000] } else { &[100_000, 1_000_000] };
    let mut figures = Vec::new();
    for rows in sizes {
        bench.say(&format!("  joining with {rows} rows"));
        figures.extend(join(bench, *rows).await?);
    }
    Ok(figures)
}

async fn join(bench: &Bench<'_>, rows: usize) -> BenchResult<Vec<Figure>> {
    let mut fleet = Fleet::found(bench, rows).await?;
    let joined = fleet.join().await?;
    let sql = "SELECT count(*) FROM part".to_owned();
    let count: i64 = fleet.node(1).ask(Request::Count { sql }).await?;
    if usize::try_from(count) != Ok(rows) {
        return Err(BenchError::Wrong(format!("{rows} were written, and {count} arrived")));
    }
    let memory: Memories = fleet.node(1).ask(Request::Memory).await?;
    let own = clone::measure(bench, &fleet, rows).await?;
    fleet.end().await?;
    let took = millis_between(joined.began, joined.ended) / 1e3;
    let of = |what: &str, value: f64, unit| {
        Figure::new("join", value, unit).with("rows", rows).with("what", what)
    };
    let mut total = of("join", took, "s").note(parts(&joined.parts, took));
    total.first_implementation = match rows {
        100_000 => Some("0.10 s"),
        1_000_000 => Some("0.88 s"),
        _ => None,
    };
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let peak = |memory: Memory| memory.peak.map_or(f64::NAN, megabytes);
    let mut figures = vec![total];
    for one in own {
        figures.push(of(one.what, one.seconds, "s").note(one.note));
    }
    figures.push(of("peak memory of the joining node", peak(memory.node), "MB"));
    if let Some(server) = memory.server {
        figures.push(of("peak memory of its server", peak(server), "MB"));
    }
    Ok(figures)
}

/// How long each part of the join took, in words.
fn parts(begins: &[(String, u64)], total: f64) -> String {
    let starts = begins.iter().map(|(_, at)| *at as f64 / 1e9);
    let ends = starts.clone().skip(1).chain([total]);
    let words = begins.iter().zip(starts.zip(ends));
    let words: Vec<String> =
        words.map(|((name, _), (start, end))| format!("{name} {:.2}", end - start)).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_ends_where_the_next_begins() {
        let begins = [("a".to_owned(), 0), ("b".to_owned(), 500_000_000)];
        assert_eq!(parts(&begins, 2.0), "a 0.50, b 1.50");
    }
}
