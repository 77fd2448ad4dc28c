//! What must hold: after every single thing that happens, and once everything has healed.
//!
//! To add a rule about one machine, write a function in [`rules`], call it from
//! [`World::check_touched`] (after everything that happens to a node), `check_merge`, `check_move`
//! or `check_event`, and from the [exhaustive search](super::exhaustive). One about the end of a
//! run goes into [`heal`].

pub mod heal;
mod kept;
mod naive;
pub(super) mod rules;
mod work;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::machine::number;
use super::world::World;
use crate::fold::MergeResult;
use crate::id::CommitHash;
use crate::node::Event;
use rules::{Folds, Verdict};
use work::Work;

/// A rule that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The rule, as `docs/simulation.md` names it.
    pub rule: &'static str,
    /// What was seen, and on which node.
    pub detail: String,
}

impl Failure {
    /// A panic of the code under test, which is a failure like any other.
    pub(super) fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        Self { rule: "no panic", detail: text.to_owned() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.detail)
    }
}

/// What the rules remember.
#[derive(Debug)]
pub(super) struct Checks {
    /// What the users of each node were told is committed.
    acknowledged: BTreeMap<usize, BTreeSet<CommitHash>>,
    everyone: BTreeSet<CommitHash>,
    folds: Folds,
    work: BTreeMap<usize, Work>,
    /// What each node looked like when it was last checked.
    seen: BTreeMap<usize, Look>,
}

#[derive(Debug, PartialEq, Eq)]
struct Look {
    main: CommitHash,
    commits: usize,
    parked: Vec<CommitHash>,
    is_settled: bool,
    life: u64,
}

impl Checks {
    pub(super) fn new(founding: CommitHash) -> Self {
        Self {
            acknowledged: BTreeMap::new(),
            everyone: BTreeSet::from([founding]),
            folds: Folds::default(),
            work: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    pub(super) fn acknowledge(&mut self, node: usize, hash: CommitHash) {
        self.acknowledged.entry(node).or_default().insert(hash);
        self.everyone.insert(hash);
    }
}

impl World {
    /// Notes that a rule does not hold. The first one counts.
    pub(super) fn fail(&mut self, rule: &'static str, detail: String) {
        self.trace(|| format!("!! {rule}: {detail}"));
        self.failure.get_or_insert(Failure { rule, detail });
    }

    /// Checks the nodes that something happened to.
    pub(super) fn check_touched(&mut self) {
        for node in std::mem::take(&mut self.touched) {
            if !self.is_honest(node) || self.failure.is_some() {
                continue;
            }
            self.check_work(node, None);
            let machine = &self.machines[node];
            let look = Look {
                main: machine.main,
                commits: machine.node.graph().len(),
                parked: machine.parked.iter().copied().collect(),
                is_settled: machine.node.is_settled(),
                life: machine.life,
            };
            if self.checks.seen.get(&node) != Some(&look) {
                let (checks, options) = (&mut self.checks, &self.options);
                let own = checks.acknowledged.entry(node).or_default();
                let mut verdict = rules::heads(machine)
                    .and(rules::own_kept(machine, own))
                    .and(rules::nothing_parks(machine, options.policy));
                if look.is_settled {
                    let is_named = self.twins.is_some();
                    verdict = verdict.and(checks.folds.check(machine, options.policy, is_named));
                }
                checks.seen.insert(node, look);
                self.take(verdict);
            }
        }
    }

    /// Checks what a node's engine made of a merge.
    pub(super) fn check_merge(&mut self, node: usize, result: &MergeResult) {
        self.take(rules::merge(&self.machines[node].store, result, self.options.policy));
    }

    /// Checks a move of a node's main.
    pub(super) fn check_move(&mut self, node: usize) {
        if self.is_honest(node)
            && let Some(own) = self.checks.acknowledged.get(&node)
        {
            self.take(rules::own_stay(&self.machines[node], own));
        }
    }

    /// Checks what a node says.
    pub(super) fn check_event(&mut self, node: usize, event: &Event) {
        let is_trusting = match event {
            Event::EnginesDisagree { peer, .. } | Event::Rejected { peer, .. } => {
                self.is_honest(number(peer)) && self.is_honest(node)
            }
            _ => false,
        };
        self.take(rules::event(&self.machines[node], event, is_trusting));
    }

    fn take(&mut self, verdict: Verdict) {
        if let Err(Failure { rule, detail }) = verdict {
            self.fail(rule, detail);
        }
    }
}
