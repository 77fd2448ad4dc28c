//! Runs the simulator over many seeds, on all cores, and stops at the first that fails; or searches
//! small swarms for everything that can happen.

mod arguments;
mod exhaustive;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use arguments::{Arguments, Mode, USAGE};
use doltswarm_core::mutant::Mutant;
use doltswarm_core::sim::report::{Table, calm_table};
use doltswarm_core::sim::run::{hunt, run, run_script, shrink};
use doltswarm_core::sim::{Options, scale};

fn main() -> ExitCode {
    let arguments = match arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "{message}");
            return ExitCode::from(2);
        }
    };
    // A panic of the code under test is reported as a failure of its seed.
    std::panic::set_hook(Box::new(|_| {}));
    match &arguments.mode {
        Mode::Seeds => return run_all(&arguments),
        Mode::Seed(seed) => return replay(*seed, &arguments),
        Mode::Exhaustive(name) => return exhaustive::search(name.as_deref(), &arguments),
        Mode::Mutants { by_search: true, .. } => return exhaustive::hunt(arguments.states),
        Mode::Mutants { name, .. } => return hunt_all(name.as_deref(), &arguments),
        Mode::Table => say(&calm_table(&[3, 8, 30, 100])),
        Mode::Scale(peers) => say(&scale::table(*peers)),
        Mode::Help => say(USAGE),
    }
    ExitCode::SUCCESS
}

pub(crate) fn say(text: &str) {
    // Nobody to say it to is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn replay(seed: u64, arguments: &Arguments) -> ExitCode {
    let options = Options::random(seed);
    say(&format!("{options:#?}"));
    let report = run_script(&options, &options.script(), arguments.trace);
    report.trace.iter().for_each(|line| say(line));
    say(&format!("{:?}\nhealed in {:?}", report.counts, report.healed_in));
    let Some(failure) = report.failure else { return ExitCode::SUCCESS };
    say(&format!("FAILED {failure}"));
    if arguments.shrink {
        explain(seed);
    }
    ExitCode::FAILURE
}

/// Prints the shortest run found that fails as the seed does.
fn explain(seed: u64) {
    let Some(outcome) = shrink(&Options::random(seed)) else { return };
    say(&format!("seed {seed} FAILED; the shortest run found that fails alike:"));
    say(&format!("{:#?}", outcome.options));
    outcome.report.trace.iter().for_each(|line| say(line));
    if let Some(failure) = &outcome.report.failure {
        say(&format!("seed {seed} FAILED {failure}"));
    }
    say(&format!(
        "again: cargo run --release -p doltswarm-core --features sim --bin sim -- --seed {seed} \
         --trace\nonce it is mended, the seed belongs into crates/core/src/sim/regressions.rs"
    ));
}

/// Looks for a seed that finds each wrong version, or the one with this name.
fn hunt_all(name: Option<&str>, arguments: &Arguments) -> ExitCode {
    let is_meant = |wrong: &Mutant| name.is_none_or(|name| format!("{wrong:?}") == name);
    let wrong: Vec<Mutant> = Mutant::ALL.into_iter().filter(is_meant).collect();
    let (next, missed) = (AtomicUsize::new(0), AtomicBool::new(wrong.is_empty()));
    let seeds = arguments.seeds;
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                while let Some(wrong) = wrong.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some((seed, failure)) = hunt(*wrong, seeds) {
                        let text: String = failure.to_string().chars().take(100).collect();
                        say(&format!("| {wrong:?} | {seed} | {text} |"));
                    } else {
                        say(&format!("| {wrong:?} | not found in {seeds} seeds | |"));
                        missed.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    if missed.into_inner() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run_all(arguments: &Arguments) -> ExitCode {
    let (next, failed) = (AtomicU64::new(arguments.from), AtomicBool::new(false));
    let end = arguments.from.saturating_add(arguments.seeds);
    let (table, first) = (Mutex::new(Table::default()), Mutex::new(None::<u64>));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || failed.load(Ordering::Relaxed) {
                        return;
                    }
                    let options = Options::random(seed);
                    let report = run(&options);
                    if report.failure.is_some() {
                        failed.store(true, Ordering::Relaxed);
                        let mut first = first.lock().unwrap_or_else(|e| e.into_inner());
                        *first = Some(first.map_or(seed, |known| known.min(seed)));
                        return;
                    }
                    let mut table = table.lock().unwrap_or_else(|e| e.into_inner());
                    table.add(&options, &report);
                    if table.runs().is_multiple_of(1_000) {
                        say(&format!("{} seeds, {:?}", table.runs(), begin.elapsed()));
                    }
                }
            });
        }
    });
    let table = table.into_inner().unwrap_or_else(|e| e.into_inner());
    say(&format!("{table}{} seeds in {:?}", table.runs(), begin.elapsed()));
    match first.into_inner().unwrap_or_else(|e| e.into_inner()) {
        None => ExitCode::SUCCESS,
        Some(seed) => {
            explain(seed);
            ExitCode::FAILURE
        }
    }
}
