//! Counters of many runs as a table, and of calm swarms by the number of peers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::checks::heal::{check_quiet, in_step};
use super::edit::Edit;
use super::options::Options;
use super::root::PLAIN;
use super::run::Report;
use super::world::{Counts, World};

/// What many runs came to, by the number of peers.
#[derive(Debug, Default)]
pub struct Table {
    rows: BTreeMap<usize, Row>,
}

#[derive(Debug, Default)]
struct Row {
    runs: usize,
    sums: Counts,
    millis: Vec<u64>,
}

impl Table {
    /// Adds a run.
    pub fn add(&mut self, options: &Options, report: &Report) {
        let healed_in = report.healed_in.as_millis();
        self.add_counts(
            options.nodes,
            &report.counts,
            u64::try_from(healed_in).unwrap_or(u64::MAX),
        );
    }

    fn add_counts(&mut self, peers: usize, counts: &Counts, millis: u64) {
        let row = self.rows.entry(peers).or_default();
        row.runs += 1;
        row.millis.push(millis);
        let sums = &mut row.sums;
        for (sum, count) in [
            (&mut sums.commits, counts.commits),
            (&mut sums.adverts, counts.adverts),
            (&mut sums.requests, counts.requests),
            (&mut sums.bytes, counts.bytes),
            (&mut sums.fetches, counts.fetches),
            (&mut sums.merges, counts.merges),
            (&mut sums.moves, counts.moves),
            (&mut sums.fast_forwards, counts.fast_forwards),
        ] {
            *sum += count;
        }
    }

    /// How many runs were added.
    pub fn runs(&self) -> usize {
        self.rows.values().map(|row| row.runs).sum()
    }
}

/// The value below which so many of a hundred lie.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(0)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| peers | runs | commits | adverts | requests | KiB | fetches | merges | moves | \
             forward | ms p50 | p99 | max |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|"
        )?;
        for (peers, row) in &self.rows {
            let mut millis = row.millis.clone();
            millis.sort_unstable();
            let [p50, p99, most] = [50, 99, 100].map(|percent| percentile(&millis, percent));
            let Counts { commits, adverts, requests, bytes, fetches, .. } = row.sums;
            let Counts { merges, moves, fast_forwards, .. } = row.sums;
            let forward = fast_forwards * 100 / moves.max(1);
            writeln!(
                f,
                "| {peers} | {} | {commits} | {adverts} | {requests} | {} | {fetches} | {merges} | \
                 {moves} | {forward} % | {p50} | {p99} | {most} |",
                row.runs,
                bytes / 1024
            )?;
        }
        Ok(())
    }
}

/// Counters of swarms in which nothing goes wrong: a hundred commits, one after the other and eight
/// at a time, and how long each time until all peers have them.
pub fn calm_table(peers: &[usize]) -> String {
    let mut text = String::new();
    for writers in [1, 8] {
        let mut table = Table::default();
        for &count in peers {
            calm_runs(&mut table, count, writers.min(count));
        }
        text += &format!("{writers} at a time; a run is one round of commits\n\n{table}\n");
    }
    text
}

fn calm_runs(table: &mut Table, peers: usize, writers: usize) {
    let mut world = World::new(Options::calm(7, peers));
    world.start();
    check_quiet(&mut world);
    for round in 0..100 / writers {
        world.counts = Counts::default();
        let begin = world.now();
        for writer in 0..writers {
            let (node, value) = ((round * 7 + writer) % peers, round as u8 + 1);
            let edit = Edit::Set { table: PLAIN, key: writer as u8, column: 0, value };
            world.commit(node, &[edit], 0);
        }
        world.run_until(Duration::from_secs(60), in_step);
        let millis = (world.now() - begin).as_millis();
        let counts = world.counts;
        table.add_counts(peers, &counts, u64::try_from(millis).unwrap_or(u64::MAX));
        world.run_for(Duration::from_secs(3));
    }
}
