//! The definition of the fold, word for word, over commits alone: what the nodes are held against.

use std::collections::{BTreeMap, BTreeSet};

use super::super::engine::Store;
use super::super::machine::Machine;
use crate::id::CommitHash;

/// What the fold of a set of heads is.
#[derive(Debug)]
pub(super) struct NaiveFold {
    pub(super) tip: CommitHash,
    pub(super) heads: BTreeSet<CommitHash>,
    pub(super) parked: BTreeSet<CommitHash>,
}

/// Folds what a machine's engine has and its node accepted. Where real engines name the commits, the
/// names of merges are looked up: the content is still merged anew.
pub(super) fn fold(machine: &Machine, settles: bool, is_named: bool) -> NaiveFold {
    let accepted = |hash: &CommitHash| machine.node.graph().contains(hash);
    let mut store = machine.store.clone();
    let users: BTreeMap<CommitHash, BTreeSet<CommitHash>> = store
        .iter()
        .filter(|commit| commit.info.as_merge().is_none() && accepted(&commit.info.hash))
        .map(|commit| (commit.info.hash, store.ancestors(&commit.info.hash)))
        .collect();
    let mut heads: BTreeSet<CommitHash> = users.keys().copied().collect();
    for (user, under) in &users {
        heads.retain(|hash| hash == user || !under.contains(hash));
    }
    let mut names = BTreeMap::new();
    if is_named {
        let merges = store
            .iter()
            .filter_map(|commit| commit.info.as_merge().map(|sides| (sides, commit.info.hash)));
        names = merges.collect();
    }

    let mut heights = BTreeMap::new();
    let mut order: Vec<_> =
        heads.iter().map(|head| (height(*head, &users, &mut heights), *head)).collect();
    order.sort();
    let order: Vec<_> = order.into_iter().map(|(_, head)| head).collect();

    let mut chain = |heads: &[CommitHash]| {
        let (first, rest) = heads.split_first()?;
        rest.iter()
            .try_fold(*first, |ours, theirs| merge(&mut store, &names, ours, *theirs, settles))
    };
    let mut included = order.clone();
    if chain(&order).is_none() {
        included.clear();
        for &head in order.iter().rev() {
            let with: Vec<_> = [head].into_iter().chain(included.iter().copied()).collect();
            if chain(&with).is_some() {
                included = with;
            }
        }
    }
    let tip = chain(&included).expect("because the last head alone is always possible");
    let parked = order.into_iter().filter(|head| !included.contains(head)).collect();
    NaiveFold { tip, heads, parked }
}

fn merge(
    store: &mut Store,
    names: &BTreeMap<(CommitHash, CommitHash), CommitHash>,
    ours: CommitHash,
    theirs: CommitHash,
    settles: bool,
) -> Option<CommitHash> {
    let root = store.merged(ours, theirs, settles).ok()?;
    let name = names.get(&(ours, theirs)).copied();
    Some(store.insert_merge(ours, theirs, root, name))
}

/// 1 + the greatest height among the user commits under it.
fn height(
    hash: CommitHash,
    users: &BTreeMap<CommitHash, BTreeSet<CommitHash>>,
    heights: &mut BTreeMap<CommitHash, u32>,
) -> u32 {
    if let Some(height) = heights.get(&hash) {
        return *height;
    }
    let below = users[&hash].iter().filter(|under| **under != hash && users.contains_key(under));
    let most = below.map(|under| height(*under, users, heights)).max().unwrap_or(0) + 1;
    heights.insert(hash, most);
    most
}
