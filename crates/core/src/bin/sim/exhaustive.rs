//! The exhaustive search: each scenario on a thread of its own, so many at once as there are cores.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use doltswarm_core::mutant::{self, Mutant};
use doltswarm_core::sim::exhaustive::{Exploration, PROPERTIES, Scenario, explore};

use crate::arguments::Arguments;
use crate::say;

/// Searches the scenario with this name, or all.
pub(crate) fn search(name: Option<&str>, arguments: &Arguments) -> ExitCode {
    let mut scenarios = Scenario::all();
    if let Some(name) = name {
        scenarios.extend(Scenario::large());
        let names: Vec<_> = scenarios.iter().map(|scenario| scenario.name).collect();
        scenarios.retain(|scenario| scenario.name == name);
        if scenarios.is_empty() {
            say(&format!("there is no scenario {name:?}; there are {names:?}"));
            return ExitCode::from(2);
        }
    }
    for (rule, what) in PROPERTIES {
        say(&format!("{rule}: {what}"));
    }
    say(
        "\n| scenario | bounds | states | transitions | depth | machine states | rests | ends | s |",
    );
    say("|---|---|---|---|---|---|---|---|---|");
    let (next, sums, failed) = (AtomicUsize::new(0), Mutex::new((0, 0)), Mutex::new(Vec::new()));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.min(scenarios.len()) {
            scope.spawn(|| {
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    let found = explore(scenario, arguments.states);
                    say(&row(scenario, &found, began));
                    let mut sums = sums.lock().unwrap_or_else(|e| e.into_inner());
                    *sums = (sums.0 + found.states, sums.1 + found.transitions);
                    if found.failure.is_some() || !found.is_complete {
                        failed.lock().unwrap_or_else(|e| e.into_inner()).push((scenario, found));
                    }
                }
            });
        }
    });
    let (states, transitions) = sums.into_inner().unwrap_or_else(|e| e.into_inner());
    say(&format!("\n{states} states, {transitions} transitions in {:?}", begin.elapsed()));
    let failed = failed.into_inner().unwrap_or_else(|e| e.into_inner());
    failed.iter().for_each(|(scenario, found)| explain(scenario, found));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn row(scenario: &Scenario, found: &Exploration, began: Instant) -> String {
    let Exploration { states, transitions, depth, machines, rests, ends, .. } = found;
    let seconds = began.elapsed().as_secs();
    format!(
        "| {} | {scenario} | {states} | {transitions} | {depth} | {machines} | {rests} | {ends} | \
         {seconds} |",
        scenario.name
    )
}

fn explain(scenario: &Scenario, found: &Exploration) {
    say(&format!("\nFAILED {}: {scenario}", scenario.name));
    match &found.failure {
        Some(failure) => {
            found.trace.iter().for_each(|line| say(line));
            say(&format!("FAILED {failure}"));
        }
        None => say("there are more states than were allowed: see --states"),
    }
}

/// Looks for the first search that finds each wrong version.
pub(crate) fn hunt(states: usize) -> ExitCode {
    // The small ones first: what they find is found quickly.
    let scenarios: Vec<Scenario> = Scenario::small().into_iter().chain(Scenario::all()).collect();
    for wrong in Mutant::ALL {
        let found = mutant::with(Some(wrong), || {
            scenarios.iter().find_map(|scenario| {
                let found = explore(scenario, states);
                found.failure.map(|failure| (scenario.name, found.states, found.trace, failure))
            })
        });
        say(&match found {
            Some((name, states, trace, failure)) => {
                let steps = trace.iter().filter(|line| !line.starts_with(' ')).count();
                let text: String = failure.to_string().chars().take(80).collect();
                format!("| {wrong:?} | {name} | {states} | {steps} | {text} |")
            }
            None => format!("| {wrong:?} | not found | | | |"),
        });
    }
    ExitCode::SUCCESS
}
