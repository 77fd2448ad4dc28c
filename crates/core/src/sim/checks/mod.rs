//! What must hold: after every single thing that happens, and once everything has healed.
//!
//! To add a rule, write a function here that calls [`World::fail`], and call it from
//! [`World::check_touched`] (after everything that happens to a node), `check_merge`, `check_move`, or
//! from [`heal`].

pub mod heal;
mod naive;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::world::World;
use crate::id::CommitHash;
use crate::node::Node;
use naive::NaiveFold;

/// A rule that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The rule, as `DESIGN` and `docs/simulation.md` name it.
    pub rule: &'static str,
    /// What was seen, and on which node.
    pub detail: String,
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
    /// The fold of each set of heads, by the naive definition.
    folds: BTreeMap<Vec<CommitHash>, NaiveFold>,
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
            folds: BTreeMap::new(),
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
            let machine = &self.machines[node];
            let look = Look {
                main: machine.main,
                commits: machine.node.graph().len(),
                parked: machine.parked.iter().copied().collect(),
                is_settled: machine.node.is_settled(),
                life: machine.life,
            };
            if self.checks.seen.get(&node) != Some(&look) {
                self.check_heads(node);
                self.check_own_kept(node);
                if look.is_settled {
                    self.check_fold(node);
                }
                self.checks.seen.insert(node, look);
            }
        }
    }

    /// The heads are exactly the accepted commits that no other one builds on.
    fn check_heads(&mut self, node: usize) {
        let graph = self.machines[node].node.graph();
        let mut heads: BTreeSet<CommitHash> = BTreeSet::new();
        let mut below = BTreeSet::new();
        for commit in graph.iter_topological() {
            heads.insert(commit.hash);
            below.extend(commit.builds_on);
        }
        heads.retain(|hash| !below.contains(hash));
        if heads != *graph.heads() {
            let detail = format!("n{node} has heads {:?}, not {heads:?}", graph.heads());
            self.fail("heads", detail);
        }
    }

    /// **Nothing lost**: what a user was told is committed lies under main, a parked branch, or a
    /// head that is to be folded; and the engine has every head.
    fn check_own_kept(&mut self, node: usize) {
        let machine = &self.machines[node];
        let heads = machine.node.heads();
        if let Some(head) = heads.iter().find(|head| machine.store.get(head).is_none()) {
            let detail = format!("n{node} accepted {head:?}, which its engine lacks");
            return self.fail("nothing lost", detail);
        }
        let kept = [machine.main].into_iter().chain(machine.parked.iter().copied());
        let kept = machine.store.under(kept.chain(heads.iter().copied()));
        let Some(own) = self.checks.acknowledged.get(&node) else { return };
        if let Some(lost) = own.iter().find(|hash| !kept.contains(hash)) {
            self.fail("nothing lost", format!("n{node} lost {lost:?}, committed there"));
        }
    }

    /// **Convergence** and **order-free**: main of a node that has come to rest is the fold of the
    /// heads, which a naive fold that has never seen a node computes from the commits alone.
    fn check_fold(&mut self, node: usize) {
        let heads: Vec<CommitHash> = self.machines[node].node.heads().iter().copied().collect();
        if !self.checks.folds.contains_key(&heads) {
            let machine = &self.machines[node];
            let fold = naive::fold(machine, self.options.settles, self.twins.is_some());
            if fold.heads.iter().copied().ne(heads.iter().copied()) {
                let detail = format!("n{node} has heads {heads:?}, naively {:?}", fold.heads);
                return self.fail("heads", detail);
            }
            self.checks.folds.insert(heads.clone(), fold);
        }
        let expected = &self.checks.folds[&heads];
        let Some(wrong) = difference(&self.machines[node].node, expected) else { return };
        self.fail("convergence", format!("n{node}: {wrong}, of heads {heads:?}"));
    }

    /// **No resurrection**: a merge has every conflict that a side has, resolved where a side has it
    /// resolved. **Sound**: it breaks no rule of the schema.
    pub(super) fn check_merge(&mut self, node: usize, merged: CommitHash) {
        let store = &self.machines[node].store;
        let Some(commit) = store.get(&merged) else { return };
        let sides = commit.info.parents.iter().filter_map(|parent| store.get(parent));
        let mut known = sides.flat_map(|side| &side.root.conflicts);
        let holds = |lost, resolved: bool| {
            commit.root.conflicts.get(lost).is_some_and(|now| *now || !resolved)
        };
        if let Some((lost, _)) = known.find(|(lost, resolved)| !holds(lost, **resolved)) {
            let detail = format!("n{node}: {lost:?} came back in {merged:?}");
            return self.fail("no resurrection", detail);
        }
        let broken = commit.root.violations();
        if !broken.is_empty() {
            self.fail("sound", format!("n{node}: {merged:?} breaks {broken:?}"));
        }
    }

    /// Nobody sees an own commit vanish: what was committed here stays under main, or is parked.
    pub(super) fn check_move(&mut self, node: usize) {
        if !self.is_honest(node) {
            return;
        }
        let machine = &self.machines[node];
        let parked = machine.node.parked().iter().map(|parked| parked.head);
        let kept = machine.store.under(parked.chain([machine.main]));
        let Some(own) = self.checks.acknowledged.get(&node) else { return };
        if let Some(lost) = own.iter().find(|hash| !kept.contains(hash)) {
            self.fail("own commits stay", format!("n{node}: main left {lost:?}, made there"));
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
