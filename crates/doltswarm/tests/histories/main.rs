//! Random histories on real engines: the simulator's nodes, network and faults, with a DoltLite
//! database for each node, compared with the simulator's model at every step.
//!
//! `DOLTSWARM_HISTORIES` says how many are run (200), `DOLTSWARM_SEED` runs one alone and prints what
//! happens in it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod engines;
mod sql;

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use doltswarm_core::sim::options::Step;
use doltswarm_core::sim::run::{run_with, shrink_with};
use doltswarm_core::sim::{Counts, Options, Report};
use engines::Engines;

thread_local! {
    /// Whether this thread looks for a shorter history: each try fails as the first one did.
    static SHRINKING: Cell<bool> = const { Cell::new(false) };
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

fn run(options: &Options, script: &[Step], traced: bool) -> Report {
    let engines = Engines::create(options.machines());
    run_with(options, script, traced, Some(Box::new(engines)))
}

/// Runs a seed; says what it did, or panics with the shortest history that fails alike.
fn check(seed: u64) -> Counts {
    let options = Options::small(seed);
    let report = run(&options, &options.script(), true);
    let Some(first) = report.failure else { return report.counts };
    SHRINKING.set(true);
    let shrunk = shrink_with(&options, &run);
    SHRINKING.set(false);
    // What fails once and then never again was not decided by the seed: then this trace is all there is.
    let (options, trace, failure) = match shrunk.map(|shrunk| (shrunk.options, shrunk.report)) {
        Some((options, Report { trace, failure: Some(failure), .. })) => (options, trace, failure),
        _ => (options, report.trace, first),
    };
    panic!("DOLTSWARM_SEED={seed}: {options:#?}\n{}\n{failure}", trace.join("\n"));
}

#[test]
fn real_engines_do_what_the_model_does() {
    if let Some(seed) = number("DOLTSWARM_SEED") {
        let options = Options::small(seed);
        let report = run(&options, &options.script(), true);
        report.trace.iter().for_each(|line| eprintln!("{line}"));
        assert_eq!(report.failure, None);
        return;
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !SHRINKING.get() {
            hook(info);
        }
    }));
    let histories = number("DOLTSWARM_HISTORIES").unwrap_or(200);
    let (next, sums) = (AtomicU64::new(0), Mutex::new((0, 0, 0)));
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= histories {
                        return;
                    }
                    let counts = check(seed);
                    let mut sums = sums.lock().unwrap();
                    sums.0 += counts.commits;
                    sums.1 += counts.merges;
                    sums.2 += counts.fetches;
                }
            });
        }
    });
    let (commits, merges, fetches) = *sums.lock().unwrap();
    eprintln!("{histories} histories: {commits} commits, {merges} merges, {fetches} fetches");
    assert!(merges as u64 > histories, "histories without concurrent commits say nothing");
}
