//! How many merges a node makes: each once, and for each set of heads only so many.

use std::collections::BTreeSet;

use super::super::world::World;
use crate::commit::{ConflictPolicy, Merge};
use crate::graph::CommitGraph;
use crate::id::CommitHash;

/// What a node has merged.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// In which life of the process.
    life: u64,
    made: BTreeSet<(CommitHash, CommitHash)>,
    heads: BTreeSet<CommitHash>,
    /// How many merges the heads that it has had are worth.
    bound: usize,
}

impl World {
    /// **Bounded work**: a process makes no merge twice, and for each set of heads at most as many
    /// as there are heads for each commit that some of them lacks.
    pub(in crate::sim) fn check_work(&mut self, node: usize, merge: Option<&Merge>) {
        let machine = &self.machines[node];
        if !self.is_honest(node) || machine.policy() != ConflictPolicy::Settle {
            // Heads that are parked are tried anew with each new head.
            return;
        }
        let (graph, heads) = (machine.node.graph(), machine.node.heads());
        let work = self.checks.work.entry(node).or_default();
        if work.life != machine.life {
            *work = Work { life: machine.life, ..Work::default() };
        }
        if work.heads != *heads {
            work.heads.clone_from(heads);
            work.bound += heads.len() * (1 + apart(graph, heads));
        }
        let Some(merge) = merge else { return };
        let is_new = work.made.insert((merge.ours, merge.theirs));
        let (made, bound) = (work.made.len(), work.bound);
        if !is_new {
            self.fail("bounded work", format!("n{node} made {merge:?} twice"));
        } else if made > bound {
            self.fail("bounded work", format!("n{node} made {made} merges, not {bound}"));
        }
    }
}

/// How many commits some head lacks.
fn apart(graph: &CommitGraph, heads: &BTreeSet<CommitHash>) -> usize {
    if heads.len() == 1 {
        return 0;
    }
    let is_apart = |commit: &CommitHash| !heads.iter().all(|head| graph.is_ancestor(commit, head));
    graph.iter_topological().filter(|commit| is_apart(&commit.hash)).count()
}
