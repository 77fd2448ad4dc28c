//! Which heads take part in the fold, and which are set aside.
//!
//! There are two sets of heads. The *heads*, which are advertised, are the maximal accepted commits
//! ([`CommitGraph::heads`]). The *fold's heads* are the maximal elements of the accepted commits
//! that are not set aside. A commit is set aside for one of two reasons:
//!
//! - By rule: of one key's concurrent heads the [`CONCURRENT_HEADS_MAX`] highest take part (by
//!   height, ties by hash). This is a pure function of the set of commits, so all peers agree on
//!   it.
//! - Locally: its content failed a check here or exceeded a budget of this node.
//!
//! Invariants:
//! - Whatever builds on a commit that is set aside is set aside too.
//! - A commit that lies only under set-aside commits of other keys takes part as if those did not
//!   exist.
//! - The founding commit is never set aside, so the fold always has a head.
//! - Nothing depends on the order in which commits arrived.

use std::collections::{BTreeMap, BTreeSet};

use super::CommitGraph;
use crate::id::{CommitHash, PeerId};
use crate::limits::CONCURRENT_HEADS_MAX;

/// A head that does not take part in the fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The head.
    pub head: CommitHash,
    /// Who signed it.
    pub signer: PeerId,
    /// Why it is set aside.
    pub reason: SetAsideReason,
}

/// Why a head does not take part in the fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetAsideReason {
    /// Its key has [`CONCURRENT_HEADS_MAX`] higher concurrent heads. The same on every peer.
    Crowded,
    /// This node set aside the head, or a commit that it builds on.
    Local {
        /// The commit that was set aside: the head, or below it.
        commit: CommitHash,
        /// What is wrong with that commit.
        reason: String,
    },
}

impl std::fmt::Display for SetAsideReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Crowded => {
                write!(f, "its key has {CONCURRENT_HEADS_MAX} newer concurrent heads")
            }
            Self::Local { commit, reason } => {
                write!(f, "commit {commit} is set aside on this node: {reason}")
            }
        }
    }
}

/// The fold's heads and the heads that are set aside, kept up to date with a graph.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// The commits that this node set aside, with the reason. They need not be in the graph yet.
    local: BTreeMap<CommitHash, String>,
    /// The commits in the graph that are set aside locally: those of `local` and what builds on
    /// them, with the one of `local` that is the cause.
    above_local: BTreeMap<u32, CommitHash>,
    fold_heads: BTreeSet<CommitHash>,
    /// How many of the fold's heads each key has.
    counts: BTreeMap<u32, usize>,
    /// Sorted by hash.
    set_aside: Vec<SetAside>,
    /// Commits right below a set-aside one that lie under the fold, each with a fold's head above
    /// it.
    witnesses: BTreeMap<CommitHash, CommitHash>,
}

impl Standing {
    /// Derives which commits of `graph` take part. `local` has the commits that this node set aside
    /// before, with the reasons.
    pub fn new(graph: &CommitGraph, local: BTreeMap<CommitHash, String>) -> Self {
        let mut standing = Self { local, ..Self::default() };
        if let Some(founding) = graph.founding() {
            standing.local.remove(&founding);
        }
        standing.rebuild(graph);
        standing
    }

    /// The heads that the fold is made of. Never empty once there is a founding commit.
    pub fn fold_heads(&self) -> &BTreeSet<CommitHash> {
        &self.fold_heads
    }

    /// The heads that do not take part, sorted by hash.
    pub fn set_aside(&self) -> &[SetAside] {
        &self.set_aside
    }

    /// The commits that this node set aside, with the reasons.
    pub fn local(&self) -> &BTreeMap<CommitHash, String> {
        &self.local
    }

    /// Whether the fold differs from that of peers that set nothing aside by themselves.
    pub fn is_local(&self) -> bool {
        !self.above_local.is_empty()
    }

    /// Whether the commit is set aside locally, or builds on one that is.
    pub fn is_set_aside_locally(&self, graph: &CommitGraph, commit: &CommitHash) -> bool {
        let number = graph.index.get(commit);
        number.is_some_and(|number| self.above_local.contains_key(number))
    }

    /// Takes in commits that were just inserted, parents first. Costs nothing for each head as long
    /// as none is set aside. Returns whether the fold's heads changed.
    pub fn follow(&mut self, graph: &CommitGraph, inserted: &[CommitHash]) -> bool {
        let before = (!self.is_simple()).then(|| self.fold_heads.clone());
        let mut changed = false;
        for hash in inserted {
            let Some(&number) = graph.index.get(hash) else { continue };
            changed = true;
            self.inherit(graph, number);
            self.pass_on_witnesses(graph, number);
            if self.is_simple() {
                self.advance(graph, number);
            }
        }
        if changed && !self.is_simple() {
            self.sweep(graph);
        }
        before.map_or(changed, |before| before != self.fold_heads)
    }

    /// Sets a commit aside with all that builds on it. Returns whether that is new; the founding
    /// commit cannot be set aside.
    pub fn set_aside_locally(
        &mut self,
        graph: &CommitGraph,
        commit: CommitHash,
        reason: String,
    ) -> bool {
        if graph.founding() == Some(commit) || self.local.get(&commit) == Some(&reason) {
            return false;
        }
        self.local.insert(commit, reason);
        self.rebuild(graph);
        true
    }

    /// Ends that a commit is set aside locally. Returns whether it was.
    pub fn release(&mut self, graph: &CommitGraph, commit: &CommitHash) -> bool {
        let was = self.local.remove(commit).is_some();
        if was {
            self.rebuild(graph);
        }
        was
    }

    /// Commits of the graph have other signers now. Returns whether the fold's heads changed.
    pub fn signers_changed(&mut self, graph: &CommitGraph) -> bool {
        let before = self.fold_heads.clone();
        self.rebuild(graph);
        before != self.fold_heads
    }

    /// Nothing is set aside and no key has too many heads, so that the fold's heads are the heads.
    fn is_simple(&self) -> bool {
        self.above_local.is_empty()
            && self.set_aside.is_empty()
            && self.counts.values().all(|count| *count <= CONCURRENT_HEADS_MAX)
    }

    fn rebuild(&mut self, graph: &CommitGraph) {
        self.above_local.clear();
        self.witnesses.clear();
        if !self.local.is_empty() {
            for number in (0_u32..).take(graph.entries.len()) {
                self.inherit(graph, number);
            }
        }
        self.sweep(graph);
    }

    /// Notes whether a commit is set aside locally or builds on one that is.
    fn inherit(&mut self, graph: &CommitGraph, number: u32) {
        if self.local.is_empty() {
            return;
        }
        let hash = graph.entry(number).hash;
        let below = || {
            graph.parents(number).iter().find_map(|parent| self.above_local.get(parent).copied())
        };
        let cause = if self.local.contains_key(&hash) { Some(hash) } else { below() };
        if let Some(cause) = cause {
            self.above_local.insert(number, cause);
        }
    }

    /// What lies under a fold's head lies under the commit that is built on that head.
    fn pass_on_witnesses(&mut self, graph: &CommitGraph, number: u32) {
        if self.witnesses.is_empty() || self.above_local.contains_key(&number) {
            return;
        }
        let hash = graph.entry(number).hash;
        let below: BTreeSet<CommitHash> =
            graph.parents(number).iter().map(|&parent| graph.entry(parent).hash).collect();
        for witness in self.witnesses.values_mut().filter(|witness| below.contains(*witness)) {
            *witness = hash;
        }
    }

    /// A new commit takes the place of the heads that it builds on.
    fn advance(&mut self, graph: &CommitGraph, number: u32) {
        for &parent in graph.parents(number) {
            let entry = graph.entry(parent);
            if self.fold_heads.remove(&entry.hash)
                && let Some(count) = self.counts.get_mut(&entry.signer)
            {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&entry.signer);
                }
            }
        }
        let entry = graph.entry(number);
        // A commit that another of the same batch builds on is no head any more.
        if graph.heads.contains(&entry.hash) && self.fold_heads.insert(entry.hash) {
            *self.counts.entry(entry.signer).or_default() += 1;
        }
    }

    /// Decides for each head, highest first, whether it takes part. The commits right below one
    /// that does not are decided in their turn.
    fn sweep(&mut self, graph: &CommitGraph) {
        self.fold_heads.clear();
        self.counts.clear();
        self.set_aside.clear();
        let key = |number: u32| (graph.entry(number).height, graph.entry(number).hash, number);
        let mut queue: BTreeSet<(u32, CommitHash, u32)> =
            graph.heads.iter().map(|head| key(graph.index[head])).collect();
        let mut witnesses = BTreeMap::new();
        let mut under = Under::default();
        while let Some((_, hash, number)) = queue.pop_last() {
            let is_head = graph.heads.contains(&hash);
            if !is_head && let Some(head) = self.fold_head_above(graph, number, &mut under) {
                witnesses.insert(hash, head);
                continue;
            }
            let signer = graph.entry(number).signer;
            let count = self.counts.entry(signer).or_default();
            let reason = match self.above_local.get(&number) {
                Some(commit) => {
                    let reason = self.local[commit].clone();
                    SetAsideReason::Local { commit: *commit, reason }
                }
                None if *count < CONCURRENT_HEADS_MAX || number == 0 => {
                    *count += 1;
                    self.fold_heads.insert(hash);
                    under.add(graph, number, hash);
                    continue;
                }
                None => SetAsideReason::Crowded,
            };
            if is_head {
                let signer = graph.signers[signer as usize];
                self.set_aside.push(SetAside { head: hash, signer, reason });
            }
            queue.extend(graph.parents(number).iter().map(|&parent| key(parent)));
        }
        self.counts.retain(|_, count| *count > 0);
        self.set_aside.sort_unstable_by_key(|set_aside| set_aside.head);
        self.witnesses = witnesses;
    }

    /// A fold's head that descends from the commit, if one does. All that could are decided by now.
    fn fold_head_above(
        &self,
        graph: &CommitGraph,
        number: u32,
        under: &mut Under,
    ) -> Option<CommitHash> {
        let known = self.witnesses.get(&graph.entry(number).hash);
        known.copied().filter(|head| self.fold_heads.contains(head)).or_else(|| {
            under.descend(graph, graph.entry(number).height);
            under.reached.get(&number).copied()
        })
    }
}

/// The commits under the fold's heads, as far down as anybody asked.
#[derive(Default)]
struct Under {
    /// By height: the commits whose parents are still to be reached.
    open: BTreeSet<(u32, u32)>,
    /// The commits reached, each with a fold's head above it.
    reached: BTreeMap<u32, CommitHash>,
}

impl Under {
    fn add(&mut self, graph: &CommitGraph, number: u32, head: CommitHash) {
        self.reached.insert(number, head);
        self.open.insert((graph.entry(number).height, number));
    }

    /// Reaches every commit of at least this height.
    fn descend(&mut self, graph: &CommitGraph, floor: u32) {
        while let Some(&(height, number)) = self.open.last()
            && height > floor
        {
            self.open.pop_last();
            let head = self.reached[&number];
            for &parent in graph.parents(number) {
                if let std::collections::btree_map::Entry::Vacant(entry) =
                    self.reached.entry(parent)
                {
                    entry.insert(head);
                    self.open.insert((graph.entry(parent).height, parent));
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
