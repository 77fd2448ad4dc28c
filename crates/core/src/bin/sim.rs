//! Runs the simulator over many seeds, on all cores, and stops at the first that fails.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use doltswarm_core::mutant::Mutant;
use doltswarm_core::sim::report::Table;
use doltswarm_core::sim::run::{hunt, run, run_script, shrink};
use doltswarm_core::sim::{Options, scale};

const USAGE: &str = "\
usage: sim [--seeds N] [--from SEED] [--jobs N]   run N seeds (10000), from SEED (0) on
       sim --seed SEED [--trace] [--shrink]        replay one seed
       sim --mutants                               the seed that finds each wrong version
       sim --table                                 counters of calm swarms by number of peers
       sim --scale [PEERS]                         messages for each commit, by peers and writers";

/// What the command line asks for.
struct Arguments {
    seeds: u64,
    from: u64,
    jobs: usize,
    seed: Option<u64>,
    trace: bool,
    shrink: bool,
    table: bool,
    mutants: bool,
    scale: Option<usize>,
}

fn parse() -> Result<Arguments, String> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut parsed = Arguments {
        seeds: 10_000,
        from: 0,
        jobs,
        seed: None,
        trace: false,
        shrink: false,
        table: false,
        mutants: false,
        scale: None,
    };
    let mut words = std::env::args().skip(1).peekable();
    while let Some(word) = words.next() {
        let mut number = || {
            let text = words.next_if(|next| !next.starts_with("--"));
            let text = text.ok_or(format!("{word} needs a number"))?;
            text.parse::<u64>().map_err(|error| format!("{word} {text}: {error}"))
        };
        match word.as_str() {
            "--seeds" => parsed.seeds = number()?,
            "--from" => parsed.from = number()?,
            "--jobs" => parsed.jobs = number()?.max(1) as usize,
            "--seed" => parsed.seed = Some(number()?),
            "--trace" => parsed.trace = true,
            "--shrink" => parsed.shrink = true,
            "--mutants" => parsed.mutants = true,
            "--table" => parsed.table = true,
            "--scale" => parsed.scale = Some(number().unwrap_or(1_000) as usize),
            _ => return Err(format!("{word} is not an option\n{USAGE}")),
        }
    }
    Ok(parsed)
}

fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(message) => {
            say(&message);
            return ExitCode::from(2);
        }
    };
    // A panic of the code under test is reported as a failure of its seed.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(peers) = arguments.scale {
        say(&scale::table(peers));
        return ExitCode::SUCCESS;
    }
    if arguments.table {
        say(&doltswarm_core::sim::report::calm_table(&[3, 8, 30, 100]));
        return ExitCode::SUCCESS;
    }
    if arguments.mutants {
        return hunt_all(arguments.seeds);
    }
    match arguments.seed {
        Some(seed) => replay(seed, &arguments),
        None => run_all(&arguments),
    }
}

fn say(text: &str) {
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
    say(&format!("shrunk to {:#?}", outcome.options));
    outcome.report.trace.iter().for_each(|line| say(line));
    if let Some(failure) = &outcome.report.failure {
        say(&format!("seed {seed} FAILED {failure}"));
    }
}

/// Looks for a seed that finds each wrong version.
fn hunt_all(seeds: u64) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for wrong in Mutant::ALL {
        match hunt(wrong, seeds) {
            Some((seed, failure)) => {
                let text: String = failure.to_string().chars().take(100).collect();
                say(&format!("| {wrong:?} | {seed} | {text} |"));
            }
            None => {
                say(&format!("| {wrong:?} | not found in {seeds} seeds | |"));
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn run_all(arguments: &Arguments) -> ExitCode {
    let (next, failed) = (AtomicU64::new(arguments.from), AtomicBool::new(false));
    let end = arguments.from + arguments.seeds;
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
