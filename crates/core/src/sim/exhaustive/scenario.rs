//! What is searched: who commits what, and how much may go wrong.

use std::fmt;

use super::super::edit::Edit;
use super::super::root::{PARENT, PLAIN};
use crate::commit::ConflictPolicy;

/// A commit that a node's user makes at some time, or another program on its database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Where.
    pub node: usize,
    /// What it changes.
    pub edits: Vec<Edit>,
    /// Whether another program makes it, so that the node notices only later.
    pub is_foreign: bool,
}

/// One search: everything that can happen within these bounds, in every order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// How many nodes there are, each linked with each.
    pub nodes: usize,
    /// What a conflict does.
    pub policy: ConflictPolicy,
    /// The commits; those of one node are made in this order.
    pub commits: Vec<Planned>,
    /// How many messages, answers, pulls, merges and moves may fail.
    pub losses: u8,
    /// How many adverts may come twice.
    pub repeats: u8,
    /// How many times a process may be killed.
    pub crashes: u8,
    /// How many times the timers of a node may fire while something else is under way. Once nothing
    /// is they fire as often as it takes.
    pub early_timeouts: u8,
    /// Whether an answer takes its time; else it is there with the question. Either way it may be
    /// lost.
    pub slow_answers: bool,
}

fn set(table: u8, key: u8, column: u8, value: u8) -> Edit {
    Edit::Set { table, key, column, value }
}

fn planned(node: usize, edits: &[Edit]) -> Planned {
    Planned { node, edits: edits.to_vec(), is_foreign: false }
}

/// One commit on each of these nodes, all to the same cell.
fn same_cell(nodes: &[usize]) -> Vec<Planned> {
    let values = (1..).zip(nodes);
    values.map(|(value, node)| planned(*node, &[set(PLAIN, 1, 0, value)])).collect()
}

/// Values that must be unique, one of them written by another program.
fn foreign() -> Vec<Planned> {
    let other_program = Planned { is_foreign: true, ..planned(0, &[set(PARENT, 1, 1, 7)]) };
    vec![other_program, planned(1, &[set(PARENT, 2, 1, 7)]), planned(0, &[set(PLAIN, 1, 0, 1)])]
}

/// A table dropped on one side and written on the other.
fn dropped() -> Vec<Planned> {
    let drop_table = planned(0, &[Edit::ToggleTable { table: PLAIN }]);
    vec![drop_table, planned(1, &[set(PLAIN, 1, 0, 1)]), planned(1, &[set(PARENT, 1, 0, 1)])]
}

fn calm(name: &'static str, nodes: usize, commits: Vec<Planned>) -> Scenario {
    Scenario {
        name,
        nodes,
        policy: ConflictPolicy::Settle,
        commits,
        losses: 0,
        repeats: 0,
        crashes: 0,
        early_timeouts: 0,
        slow_answers: false,
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, losses, repeats, crashes, early_timeouts, .. } = self;
        write!(f, "{nodes} peers, {} commits", self.commits.len())?;
        for (count, what) in [
            (losses, "lost"),
            (repeats, "repeated"),
            (crashes, "killed"),
            (early_timeouts, "early timers"),
        ] {
            if *count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        f.write_str(if self.slow_answers { ", slow answers" } else { "" })
    }
}

impl Scenario {
    /// The searches that are made for every change: a few minutes on one core.
    pub fn all() -> Vec<Self> {
        let two = same_cell(&[0, 1]);
        let wild = Self { losses: 1, repeats: 1, crashes: 1, ..calm("", 2, Vec::new()) };
        let parks = |scenario| Self { policy: ConflictPolicy::Park, ..scenario };
        // The longest first, so that the threads end at the same time.
        let mut all = vec![
            Self { name: "slow", slow_answers: true, commits: two.clone(), ..wild.clone() },
            Self { crashes: 1, ..calm("killed", 3, two.clone()) },
            Self { losses: 1, ..calm("lost", 3, two.clone()) },
            Self { repeats: 1, ..calm("repeated", 3, two.clone()) },
            Self { name: "wild", early_timeouts: 1, commits: two, ..wild.clone() },
            Self { name: "dropped", commits: dropped(), ..wild.clone() },
            parks(Self { name: "impossible", commits: dropped(), ..wild.clone() }),
            Self { name: "foreign", commits: foreign(), ..wild },
        ];
        all.extend(Self::small());
        all
    }

    /// Searches that take long and much memory: only by name.
    pub fn large() -> Vec<Self> {
        vec![
            calm("three commits", 3, same_cell(&[0, 1, 2])),
            Self { early_timeouts: 1, ..calm("early", 3, same_cell(&[0, 1])) },
        ]
    }

    /// Searches of seconds, for every test run.
    pub fn small() -> Vec<Self> {
        let parks = |scenario| Self { policy: ConflictPolicy::Park, ..scenario };
        vec![
            Self { losses: 1, ..calm("small lost", 2, same_cell(&[0, 1])) },
            Self { crashes: 1, ..calm("small killed", 2, same_cell(&[0, 1])) },
            Self { crashes: 1, ..calm("small dropped", 2, dropped()) },
            parks(Self { crashes: 1, ..calm("small impossible", 2, dropped()) }),
            parks(Self { repeats: 1, ..calm("small policy", 2, same_cell(&[0, 1])) }),
            calm("small foreign", 2, foreign()),
            Self { slow_answers: true, ..calm("small slow", 2, same_cell(&[0, 1])) },
            calm("small three", 3, same_cell(&[0])),
        ]
    }
}
