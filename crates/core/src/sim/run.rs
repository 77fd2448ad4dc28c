//! One run from its options to its verdict, and the search for a shorter run that fails alike.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::checks::Failure;
use super::checks::heal::check_after_heal;
use super::options::{Fault, Options, Step};
use super::twin::Twin;
use super::world::{Counts, World};
use crate::commit::ConflictPolicy;
use crate::mutant::{self, Mutant};

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was asked for.
    pub counts: Counts,
    /// From the end of the faults until all were in step.
    pub healed_in: Duration,
    /// What did not hold, where something did not.
    pub failure: Option<Failure>,
    /// What happened, line by line, where it was asked for.
    pub trace: Vec<String>,
}

/// A run that failed, and the shortest one found that fails by the same rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What the shortest run depends on.
    pub options: Options,
    /// What happens in it.
    pub script: Vec<Step>,
    /// What it came to, with its trace.
    pub report: Report,
}

/// Runs what the options say.
pub fn run(options: &Options) -> Report {
    run_script(options, &options.script(), false)
}

/// Runs a script. A panic of the code under test is a failure like any other.
pub fn run_script(options: &Options, script: &[Step], traced: bool) -> Report {
    run_with(options, script, traced, None)
}

/// Runs a script, with real engines beside the model where there are any.
pub fn run_with(
    options: &Options,
    script: &[Step],
    traced: bool,
    twin: Option<Box<dyn Twin>>,
) -> Report {
    let mut world = None;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let world = world.insert(World::with_twin(options.clone(), twin));
        world.trace = traced.then(Vec::new);
        world.start();
        for step in script {
            if world.failure.is_none() {
                world.step(step);
            }
        }
        check_after_heal(world)
    }));
    let mut report = Report {
        counts: Counts::default(),
        healed_in: *result.as_ref().unwrap_or(&Duration::ZERO),
        failure: None,
        trace: Vec::new(),
    };
    if let Some(world) = &mut world {
        report.counts = world.counts;
        report.failure = world.failure.take();
        report.trace = world.trace.take().unwrap_or_default();
    }
    if let Err(panic) = result {
        report.failure.get_or_insert(Failure::of_panic(panic.as_ref()));
    }
    report
}

/// Looks for the first seed below `seeds` that finds a wrong version of the rules. Runs that cannot
/// show it, because they park nothing or have no liar, are left out.
pub fn hunt(wrong: Mutant, seeds: u64) -> Option<(u64, Failure)> {
    let found = |seed| {
        let options = Options::random(seed);
        let can_show = match wrong {
            Mutant::GreedyFromFirst | Mutant::StoreWrittenLate | Mutant::BaseInPart => {
                options.policy != ConflictPolicy::Settle
            }
            Mutant::RejectedFromAll => options.has(Fault::Adversary),
            _ => true,
        };
        let failure = can_show.then(|| run(&options).failure)?;
        failure.map(|failure| (seed, failure))
    };
    mutant::with(Some(wrong), || (0..seeds).find_map(found))
}

/// Looks for the shortest run that fails by the same rule: fewer steps, then fewer kinds of
/// trouble.
pub fn shrink(options: &Options) -> Option<Outcome> {
    shrink_with(options, &run_script)
}

/// How a script is run: as [`run_script`] does, or with real engines.
pub type Runner = dyn Fn(&Options, &[Step], bool) -> Report;

/// As [`shrink`], with another way to run.
pub fn shrink_with(options: &Options, runner: &Runner) -> Option<Outcome> {
    let failure = runner(options, &options.script(), false).failure?;
    let mut options = options.clone();
    let mut script = options.script();
    let fails = |options: &Options, script: &[Step]| {
        let found = runner(options, script, false).failure;
        found.is_some_and(|found| found.rule == failure.rule)
    };
    loop {
        let before = (options.clone(), script.len());
        shrink_script(&options, &mut script, &fails);
        for calmer in calmer(&options) {
            if fails(&calmer, &script) {
                options = calmer;
            }
        }
        if before == (options.clone(), script.len()) {
            let report = runner(&options, &script, true);
            return Some(Outcome { options, script, report });
        }
    }
}

/// Leaves out as many steps as can be left out, in ever smaller blocks.
fn shrink_script(
    options: &Options,
    script: &mut Vec<Step>,
    fails: &impl Fn(&Options, &[Step]) -> bool,
) {
    let mut block = script.len().div_ceil(2).max(1);
    loop {
        let mut begin = 0;
        while begin < script.len() {
            let mut shorter = script.clone();
            shorter.drain(begin..(begin + block).min(script.len()));
            if fails(options, &shorter) {
                *script = shorter;
            } else {
                begin += block;
            }
        }
        if block == 1 {
            return;
        }
        block /= 2;
    }
}

/// The same run with one kind of trouble less, each.
fn calmer(options: &Options) -> Vec<Options> {
    let mut all = Vec::new();
    let mut add = |change: &dyn Fn(&mut Options)| {
        let mut calmer = options.clone();
        change(&mut calmer);
        if calmer != *options {
            all.push(calmer);
        }
    };
    for fault in &options.faults {
        add(&|options| {
            options.faults.remove(fault);
        });
    }
    add(&|options| options.loss_percent = 0);
    add(&|options| options.repeat_percent = 0);
    add(&|options| options.tail_percent = 0);
    add(&|options| options.engine_failure_percent = 0);
    add(&|options| options.delay_max = 1);
    add(&|options| options.engine_delay_max = 1);
    all
}
