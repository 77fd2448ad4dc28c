//! The definition of the fold, word for word, over commits alone: what the nodes are held against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::engine::{Commit, Store};
use super::super::machine::Machine;
use crate::commit::{ConflictPolicy, Merge, MergeBase};
use crate::id::CommitHash;

/// What the fold of a set of heads is.
#[derive(Debug)]
pub(super) struct NaiveFold {
    pub(super) tip: CommitHash,
    pub(super) heads: BTreeSet<CommitHash>,
    pub(super) parked: BTreeSet<CommitHash>,
}

/// What merging gave, so that it need not be done again.
pub(super) type Merges = BTreeMap<(CommitHash, CommitHash), Option<Arc<Commit>>>;

struct Naive<'a> {
    store: Store,
    /// The accepted user commits, and for each all that is under it.
    users: BTreeMap<CommitHash, BTreeSet<CommitHash>>,
    heights: BTreeMap<CommitHash, u32>,
    /// The names of merges, if real engines name them.
    names: BTreeMap<(CommitHash, CommitHash), CommitHash>,
    merges: &'a mut Merges,
    policy: ConflictPolicy,
    here: u8,
}

/// Folds what a machine's engine has and its node accepted. If real engines name the commits, the
/// names of merges are looked up: the content is still merged anew.
pub(super) fn fold(
    machine: &Machine,
    policy: ConflictPolicy,
    is_named: bool,
    merges: &mut Merges,
) -> NaiveFold {
    let accepted = |hash: &CommitHash| machine.node.graph().contains(hash);
    let store = machine.store.clone();
    let users: BTreeMap<CommitHash, BTreeSet<CommitHash>> = store
        .iter()
        .filter(|commit| commit.info.as_merge().is_none() && accepted(&commit.info.hash))
        .map(|commit| (commit.info.hash, store.ancestors(&commit.info.hash)))
        .collect();
    let mut names = BTreeMap::new();
    if is_named {
        let sides = |commit: &Arc<Commit>| Some((commit.info.as_merge()?, commit.info.hash));
        names = store.iter().filter_map(sides).collect();
        merges.clear();
    }
    let heights = BTreeMap::new();
    let here = machine.here();
    let mut naive = Naive { store, users, heights, names, merges, policy, here };
    let heads = naive.newest(naive.users.keys().copied().collect());
    let (tip, included) = naive.fold(&heads);
    let parked = heads.iter().filter(|head| !included.contains(head)).copied().collect();
    NaiveFold { tip, heads: heads.into_iter().collect(), parked }
}

impl Naive<'_> {
    /// Those that no other one descends from, in the order of the fold.
    fn newest(&mut self, mut commits: BTreeSet<CommitHash>) -> Vec<CommitHash> {
        for commit in commits.clone() {
            commits.retain(|hash| *hash == commit || !self.users[&commit].contains(hash));
        }
        let mut order: Vec<_> =
            commits.into_iter().map(|commit| (self.height(commit), commit)).collect();
        order.sort();
        order.into_iter().map(|(_, commit)| commit).collect()
    }

    /// The tip, and what it includes.
    fn fold(&mut self, heads: &[CommitHash]) -> (CommitHash, Vec<CommitHash>) {
        if let Some(tip) = self.chain(heads) {
            return (tip, heads.to_vec());
        }
        let mut included = Vec::new();
        let mut tip = None;
        for &head in heads.iter().rev() {
            let with: Vec<_> = [head].into_iter().chain(included.iter().copied()).collect();
            if let Some(possible) = self.chain(&with) {
                (tip, included) = (Some(possible), with);
            }
        }
        (tip.expect("because the last head alone is always possible"), included)
    }

    fn chain(&mut self, heads: &[CommitHash]) -> Option<CommitHash> {
        let mut tip = *heads.first()?;
        for (number, theirs) in heads.iter().enumerate().skip(1) {
            tip = self.merge(tip, &heads[..number], *theirs)?;
        }
        Some(tip)
    }

    /// Merges `theirs` into the fold `ours` of `included`.
    fn merge(
        &mut self,
        ours: CommitHash,
        included: &[CommitHash],
        theirs: CommitHash,
    ) -> Option<CommitHash> {
        if let Some(known) = self.merges.get(&(ours, theirs)).cloned() {
            let commit = known?;
            let hash = commit.info.hash;
            self.store.receive(commit);
            return Some(hash);
        }
        let under_ours: BTreeSet<_> =
            included.iter().flat_map(|head| &self.users[head]).copied().collect();
        let common = self.users[&theirs].intersection(&under_ours).copied();
        let common = common.filter(|hash| self.users.contains_key(hash)).collect();
        let newest = self.newest(common);
        let (commit, included) = self.fold(&newest);
        if included != newest {
            // Both sides were made on commits that clash with each other.
            self.merges.insert((ours, theirs), None);
            return None;
        }
        let base = MergeBase { commit, ancestor: newest[0] };
        let merge = Merge { ours, theirs, base };
        let merged = self.store.merged(&merge, self.policy, self.here).ok().map(|root| {
            let name = self.names.get(&(ours, theirs)).copied();
            self.store.insert_merge(&merge, root, name)
        });
        let made = merged.and_then(|hash| self.store.get(&hash).cloned());
        self.merges.insert((ours, theirs), made);
        merged
    }

    /// 1 + the greatest height among the user commits under it.
    fn height(&mut self, hash: CommitHash) -> u32 {
        if let Some(height) = self.heights.get(&hash) {
            return *height;
        }
        let below: Vec<CommitHash> = self.users[&hash].iter().copied().collect();
        let below = below.into_iter().filter(|under| *under != hash);
        let below: Vec<_> = below.filter(|under| self.users.contains_key(under)).collect();
        let most = below.into_iter().map(|under| self.height(under)).max().unwrap_or(0) + 1;
        self.heights.insert(hash, most);
        most
    }
}
