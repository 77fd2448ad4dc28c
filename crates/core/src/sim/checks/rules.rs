//! The rules that hold at every step, each of one machine alone: the random runs and the exhaustive
//! search hold every machine against them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::engine::Store;
use super::super::machine::Machine;
use super::Failure;
use super::kept;
use super::naive::{self, Merges, NaiveFold};
use crate::commit::ConflictPolicy;
use crate::fold::MergeResult;
use crate::id::CommitHash;
use crate::node::{Event, Node};

/// What a rule says of a machine.
pub(in crate::sim) type Verdict = Result<(), Failure>;

pub(super) fn fail(rule: &'static str, detail: String) -> Verdict {
    Err(Failure { rule, detail })
}

/// The heads are exactly the accepted commits that no other one builds on.
pub(in crate::sim) fn heads(machine: &Machine) -> Verdict {
    let graph = machine.node.graph();
    let mut heads: BTreeSet<CommitHash> = BTreeSet::new();
    let mut below = BTreeSet::new();
    for commit in graph.iter_topological() {
        heads.insert(commit.hash);
        below.extend(commit.builds_on);
    }
    heads.retain(|hash| !below.contains(hash));
    if heads == *graph.heads() {
        return Ok(());
    }
    fail("heads", format!("n{} has heads {:?}, not {heads:?}", machine.number, graph.heads()))
}

/// **Nothing lost**: what a user was told is committed lies under main, a parked branch, or a head
/// that is to be folded; and the engine has every head.
pub(in crate::sim) fn own_kept(machine: &Machine, own: &BTreeSet<CommitHash>) -> Verdict {
    let (number, heads) = (machine.number, machine.node.heads());
    if let Some(head) = heads.iter().find(|head| machine.store.get(head).is_none()) {
        let detail = format!("n{number} accepted {head:?}, which its engine lacks");
        return fail("nothing lost", detail);
    }
    let kept = [machine.main].into_iter().chain(machine.parked.iter().copied());
    let kept = machine.store.under(kept.chain(heads.iter().copied()));
    match own.iter().find(|hash| !kept.contains(hash)) {
        Some(lost) => fail("nothing lost", format!("n{number} lost {lost:?}, committed there")),
        None => Ok(()),
    }
}

/// Nobody sees an own commit vanish: when main moves, what was committed here stays under it, or is
/// parked.
pub(in crate::sim) fn own_stay(machine: &Machine, own: &BTreeSet<CommitHash>) -> Verdict {
    let parked = machine.node.parked().iter().map(|parked| parked.head);
    let kept = machine.store.under(parked.chain([machine.main]));
    let Some(lost) = own.iter().find(|hash| !kept.contains(hash)) else { return Ok(()) };
    let detail = format!("n{}: main left {lost:?}, made there", machine.number);
    fail("own commits stay", detail)
}

/// **Nothing parks** under `settle`: no head is parked.
pub(in crate::sim) fn nothing_parks(machine: &Machine, policy: ConflictPolicy) -> Verdict {
    let parked = machine.node.parked();
    if policy == ConflictPolicy::Settle && !(parked.is_empty() && machine.parked.is_empty()) {
        return fail("nothing parks", format!("n{} parks {parked:?}", machine.number));
    }
    Ok(())
}

/// **Nothing parks** under `settle`: every merge is possible. **No resurrection**: a merge has
/// every conflict that a side has, resolved if a side has it resolved, and no other one is
/// resolved.
/// **Sound**: an engine can hold it, and it breaks no rule of the schema.
pub(in crate::sim) fn merge(
    store: &Store,
    result: &MergeResult,
    policy: ConflictPolicy,
) -> Verdict {
    let commit = match result {
        Ok(merged) => store.get(merged),
        Err(reason) if policy == ConflictPolicy::Settle => {
            return fail("nothing parks", format!("a merge is impossible: {reason}"));
        }
        Err(_) => None,
    };
    let Some(commit) = commit else { return Ok(()) };
    let merged = commit.info.hash;
    let sides = commit.info.parents.iter().filter_map(|parent| store.get(parent));
    let mut known = BTreeMap::new();
    for (lost, resolved) in sides.flat_map(|side| &side.root.conflicts) {
        *known.entry(lost).or_insert(false) |= *resolved;
    }
    let dropped = known.keys().find(|lost| !commit.root.conflicts.contains_key(**lost));
    if let Some(lost) = dropped {
        return fail("no resurrection", format!("{merged:?} has {lost:?} no more"));
    }
    let is_as_known =
        |(lost, resolved): &(_, &bool)| known.get(lost).copied().unwrap_or(false) == **resolved;
    if let Some((lost, now)) = commit.root.conflicts.iter().find(|entry| !is_as_known(entry)) {
        let state = if *now { "resolved by nobody" } else { "open again" };
        return fail("no resurrection", format!("{lost:?} is {state} in {merged:?}"));
    }
    if let Some(fault) = commit.root.fault() {
        return fail("sound", format!("{merged:?}: {fault}"));
    }
    kept::kept(store, commit)
}

/// What the node tells applications is so. `is_trusting` is false where its peers may lie.
pub(in crate::sim) fn event(machine: &Machine, event: &Event, is_trusting: bool) -> Verdict {
    let (store, number) = (&machine.store, machine.number);
    match event {
        Event::MainMoved { from, to, fast_forward } => {
            if !store.ancestors(&machine.main).contains(to) {
                return fail("told truly", format!("n{number}: main is not at {to:?}"));
            }
            let is_above = store.ancestors(to).contains(from);
            // Which merge commits lie under a user commit with two parents the graph does not know.
            let is_hidden = || store.ancestors(to).iter().any(|under| is_user_merge(store, under));
            if *fast_forward != is_above && (*fast_forward || !is_hidden()) {
                let detail = format!("n{number}: a wrong word on {from:?} to {to:?}");
                return fail("told truly", detail);
            }
            Ok(())
        }
        Event::EnginesDisagree { .. } | Event::Rejected { .. } if is_trusting => {
            fail("told truly", format!("n{number}: all are honest and alike: {event:?}"))
        }
        _ => Ok(()),
    }
}

fn is_user_merge(store: &Store, hash: &CommitHash) -> bool {
    store
        .get(hash)
        .is_some_and(|commit| commit.info.parents.len() > 1 && commit.info.as_merge().is_none())
}

/// The fold of each set of heads, by the naive definition.
#[derive(Debug, Default)]
pub(in crate::sim) struct Folds {
    known: BTreeMap<Vec<CommitHash>, NaiveFold>,
    merges: Merges,
}

impl Folds {
    /// **Convergence** and **order-free**: main of a node that has come to rest is the fold of the
    /// heads, which a naive fold that has never seen a node computes from the commits alone.
    pub(in crate::sim) fn check(
        &mut self,
        machine: &Machine,
        policy: ConflictPolicy,
        is_named: bool,
    ) -> Verdict {
        let number = machine.number;
        let heads: Vec<CommitHash> = machine.node.heads().iter().copied().collect();
        if !self.known.contains_key(&heads) {
            let fold = naive::fold(machine, policy, is_named, &mut self.merges);
            if fold.heads.iter().copied().ne(heads.iter().copied()) {
                let detail = format!("n{number} has heads {heads:?}, naively {:?}", fold.heads);
                return fail("heads", detail);
            }
            self.known.insert(heads.clone(), fold);
        }
        match difference(&machine.node, &self.known[&heads]) {
            Some(wrong) => fail("convergence", format!("n{number}: {wrong}, of heads {heads:?}")),
            None => Ok(()),
        }
    }
}

fn difference(node: &Node, expected: &NaiveFold) -> Option<String> {
    let parked: BTreeSet<_> = node.parked().iter().map(|parked| parked.head).collect();
    let included: BTreeSet<_> = node.included().iter().copied().collect();
    if node.main() != expected.tip {
        Some(format!("main is {:?}, naively {:?}", node.main(), expected.tip))
    } else if parked != expected.parked {
        Some(format!("parked are {parked:?}, naively {:?}", expected.parked))
    } else if included != &expected.heads - &expected.parked {
        Some(format!("main is said to include {included:?}"))
    } else {
        None
    }
}
