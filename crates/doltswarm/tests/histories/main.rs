//! Random histories on real engines: the simulator's nodes, network and faults, with a real
//! database for each node, compared with the simulator's model at every step.
//!
//! `DOLTSWARM_HISTORIES` says how many are run on DoltLite (200), `DOLTSWARM_DOLT_HISTORIES` how
//! many on a Dolt server (20, about half a minute). `DOLTSWARM_SEED` runs one alone on each and
//! prints what happens in it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
#![allow(clippy::print_stderr, reason = "a test says aloud what it ran")]

#[path = "../dolt/engine.rs"]
#[allow(dead_code, reason = "shared with the tests of nodes on servers")]
mod engine;
mod engines;
mod servers;
mod sql;

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};

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

/// Makes the databases of one history.
type Make = Arc<dyn Fn(&Options) -> Engines + Send + Sync>;

/// Draws the history of a seed.
type Draw = fn(u64) -> Options;

/// Users also add columns, and drop tables and make them again.
fn with_definitions(seed: u64) -> Options {
    Options { definitions: true, ..Options::small(seed) }
}

fn run(options: &Options, script: &[Step], traced: bool, make: &Make) -> Report {
    run_with(options, script, traced, Some(Box::new(make(options))))
}

/// Runs a seed; says what it did, or panics with the shortest history that fails alike.
fn check(seed: u64, draw: Draw, make: &Make) -> Counts {
    let options = draw(seed);
    let report = run(&options, &options.script(), true, make);
    let Some(first) = report.failure else { return report.counts };
    SHRINKING.set(true);
    let again = Arc::clone(make);
    let runner =
        move |options: &Options, script: &[Step], traced| run(options, script, traced, &again);
    let shrunk = shrink_with(&options, &runner);
    SHRINKING.set(false);
    // What fails once and then never again was not decided by the seed: then this trace is all
    // there is.
    let (options, trace, failure) = match shrunk.map(|shrunk| (shrunk.options, shrunk.report)) {
        Some((options, Report { trace, failure: Some(failure), .. })) => (options, trace, failure),
        _ => (options, report.trace, first),
    };
    panic!("DOLTSWARM_SEED={seed}: {options:#?}\n{}\n{failure}", trace.join("\n"));
}

fn run_all(histories: u64, draw: Draw, make: &Make) {
    if let Some(seed) = number("DOLTSWARM_SEED") {
        let options = draw(seed);
        let report = run(&options, &options.script(), true, make);
        report.trace.iter().for_each(|line| eprintln!("{line}"));
        assert_eq!(report.failure, None);
        return;
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !SHRINKING.get() {
                hook(info);
            }
        }));
    });
    let (next, sums) = (AtomicU64::new(0), Mutex::new((0, 0, 0, 0)));
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= histories {
                        return;
                    }
                    let counts = check(seed, draw, make);
                    let mut sums = sums.lock().unwrap();
                    sums.0 += counts.commits;
                    sums.1 += counts.merges;
                    sums.2 += counts.fetches;
                    sums.3 += counts.catch_ups;
                }
            });
        }
    });
    let (commits, merges, fetches, catch_ups) = *sums.lock().unwrap();
    eprintln!(
        "{histories} histories: {commits} commits, {merges} merges, {fetches} fetches, {catch_ups} catch-ups"
    );
    assert!(merges as u64 > histories, "histories without concurrent commits say nothing");
}

#[test]
fn real_engines_do_what_the_model_does() {
    let histories = number("DOLTSWARM_HISTORIES").unwrap_or(200);
    run_all(histories, with_definitions, &(Arc::new(Engines::files) as Make));
}

#[test]
fn dolt_servers_do_what_the_model_does() {
    let Some(servers) = servers::Servers::start() else { return };
    let histories = number("DOLTSWARM_DOLT_HISTORIES").unwrap_or(20);
    let make: Make = Arc::new(move |options| Engines::create(options, servers.place()));
    run_all(histories, with_definitions, &make);
}
