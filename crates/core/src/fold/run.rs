//! A fold under way: which merge is needed next, and what it compares its two sides with.
//!
//! A merge compares both sides with what they have in common. That is one commit, or, if histories
//! cross, the fold of several, which may need merges itself. So a fold is a stack of folds: the
//! lowest is the one that was asked for, and each other one is of what the merge below it has in
//! common. It is git's recursive merge, with the fold in place of an order of arrival.
//!
//! Under the policy `settle` merges are total: a fold is one chain that includes every head, and a
//! base always exists. Only under `park` a merge can be impossible; then heads are tried one by
//! one, and a merge over a base that does not include all of the common commits is impossible too.

use std::collections::VecDeque;

use super::{Folded, MergeMemory, Parked};
use crate::commit::{ConflictPolicy, Merge, MergeBase};
use crate::graph::CommitGraph;
use crate::id::CommitHash;
use crate::mutant::{Mutant, is_active};

/// The next step of a fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Make this merge, remember the result, and plan again.
    Need(Merge),
    /// The fold is known.
    Done(Folded),
}

/// Says what the fold of these heads is, or which merge must be made to know it.
///
/// `order` is what [`order`](super::order) returned. For a caller that plans again and again,
/// [`FoldRun`] does not begin anew each time.
///
/// # Panics
///
/// If `order` is empty: a swarm has at least its founding commit.
pub fn plan(
    order: &[CommitHash],
    policy: ConflictPolicy,
    memory: &MergeMemory,
    graph: &CommitGraph,
) -> Plan {
    FoldRun::new(order.to_vec(), policy).advance(memory, graph)
}

/// A fold under way: [`plan`], keeping its place.
///
/// Because it keeps its place it ends even if it takes more merges than are remembered.
#[derive(Debug, Clone)]
pub struct FoldRun {
    policy: ConflictPolicy,
    /// Not empty. The first is the fold that was asked for.
    levels: Vec<Level>,
}

/// The fold of some commits.
#[derive(Debug, Clone)]
struct Level {
    order: Vec<CommitHash>,
    phase: Phase,
    /// What the merge that is needed now compares with, once that is known; or why there is no such
    /// thing, so that the merge is impossible.
    base: Option<Result<MergeBase, String>>,
}

#[derive(Debug, Clone)]
enum Phase {
    /// All heads are merged, one after the other.
    All(Chain),
    /// Some merge was impossible, which happens under `park` only. Heads are tried from the last to
    /// the first.
    Greedy {
        /// The chain of `candidate` and what is included; it was not impossible yet.
        chain: Chain,
        /// The index in `order` of the head being tried.
        candidate: usize,
        /// The tip of what is included.
        tip: CommitHash,
        /// In the order of the fold.
        included: VecDeque<CommitHash>,
        /// In the order of the fold.
        parked: VecDeque<Parked>,
    },
    /// The fold is known.
    Done(Folded),
}

/// Heads being merged in order: the first `merged` of them are in `tip`.
#[derive(Debug, Clone)]
struct Chain {
    heads: Vec<CommitHash>,
    merged: usize,
    tip: CommitHash,
}

/// How far a chain came.
enum Link {
    Need { ours: CommitHash, theirs: CommitHash },
    Done(CommitHash),
    Impossible(String),
}

/// How far a level came.
enum Step {
    Need(Merge),
    /// The merge that is needed compares with the fold of these.
    NeedFold(Vec<CommitHash>),
    Done(Folded),
}

impl FoldRun {
    /// Begins the fold of these heads; `order` is what [`order`](super::order) returned.
    ///
    /// # Panics
    ///
    /// If `order` is empty.
    pub fn new(order: Vec<CommitHash>, policy: ConflictPolicy) -> Self {
        Self { policy, levels: vec![Level::new(order)] }
    }

    /// Goes on as far as the remembered merges lead. `graph` has the heads and all below them.
    ///
    /// Under `settle` a remembered failure is no fact about the commits, and the merge is asked for
    /// again.
    pub fn advance(&mut self, memory: &MergeMemory, graph: &CommitGraph) -> Plan {
        loop {
            let level = self.levels.last_mut().expect("because the first level stays");
            match level.advance(self.policy, memory, graph) {
                Step::Need(merge) => return Plan::Need(merge),
                Step::NeedFold(newest) => self.levels.push(Level::new(newest)),
                Step::Done(folded) => {
                    if self.levels.len() == 1 {
                        return Plan::Done(folded);
                    }
                    let done = self.levels.pop().expect("because there are at least two");
                    let below = self.levels.last_mut().expect("because there were at least two");
                    below.base = Some(base_of(&done.order, folded));
                }
            }
        }
    }
}

/// What a merge compares with whose two sides have `newest` in common.
///
/// If one of these is parked, each side has made them agree in its own way. Whatever is left out of
/// a base looks new on both sides, and what a side deleted of it would come back.
fn base_of(newest: &[CommitHash], folded: Folded) -> Result<MergeBase, String> {
    match folded.parked.into_iter().next().filter(|_| !is_active(Mutant::BaseInPart)) {
        None => Ok(MergeBase { commit: folded.tip, ancestor: newest[0] }),
        Some(Parked { reason, .. }) => Err(format!(
            "both sides were made on commits that clash with each other ({reason}), and made them \
             agree in two ways; close the head with a commit that has main and the head as its \
             parents: `doltswarm parked take` keeps its work, `doltswarm parked drop` leaves it out"
        )),
    }
}

impl Chain {
    fn new(heads: Vec<CommitHash>) -> Self {
        let tip = *heads.first().expect("because a swarm always has a head");
        Self { heads, merged: 1, tip }
    }

    /// Goes on as far as the remembered merges lead. Returns also whether it went on at all.
    fn advance(&mut self, policy: ConflictPolicy, memory: &MergeMemory) -> (Link, bool) {
        let before = self.merged;
        while let Some(&theirs) = self.heads.get(self.merged) {
            let ours = self.tip;
            let link = match (memory.get(&ours, &theirs), policy) {
                (Some(Ok(tip)), _) => {
                    (self.tip, self.merged) = (*tip, self.merged + 1);
                    continue;
                }
                (Some(Err(reason)), ConflictPolicy::Park) => Link::Impossible(reason.clone()),
                (Some(Err(_)), ConflictPolicy::Settle) | (None, _) => Link::Need { ours, theirs },
            };
            return (link, self.merged > before);
        }
        (Link::Done(self.tip), true)
    }

    /// What the two sides of the next merge have in common.
    fn common(&self, graph: &CommitGraph) -> Result<MergeBase, Vec<CommitHash>> {
        let (ours, theirs) = self.heads.split_at(self.merged);
        let common = graph.common(ours, &theirs[..1]);
        let highest = *common.newest.last().expect("because all include the founding commit");
        match common.made_on {
            _ if common.newest.len() == 1 || is_active(Mutant::HighestBase) => Ok(highest.into()),
            Some(made_on) => Ok(made_on.into()),
            None => Err(common.newest),
        }
    }
}

impl Level {
    fn new(order: Vec<CommitHash>) -> Self {
        let phase = Phase::All(Chain::new(order.clone()));
        Self { order, phase, base: None }
    }

    fn advance(
        &mut self,
        policy: ConflictPolicy,
        memory: &MergeMemory,
        graph: &CommitGraph,
    ) -> Step {
        loop {
            let chain = match &mut self.phase {
                Phase::Done(folded) => return Step::Done(folded.clone()),
                Phase::All(chain) | Phase::Greedy { chain, .. } => chain,
            };
            let (link, went_on) = chain.advance(policy, memory);
            if went_on {
                self.base = None;
            }
            let Link::Need { ours, theirs } = link else {
                self.settle(link);
                continue;
            };
            match self.base.take() {
                Some(Err(reason)) => self.settle(Link::Impossible(reason)),
                Some(Ok(base)) => {
                    self.base = Some(Ok(base));
                    return Step::Need(Merge { ours, theirs, base });
                }
                None => match chain.common(graph) {
                    Ok(base) => self.base = Some(Ok(base)),
                    Err(newest) => return Step::NeedFold(newest),
                },
            }
        }
    }

    /// Takes the end of the chain in hand and begins the next one, or ends the fold.
    fn settle(&mut self, link: Link) {
        self.base = None;
        match (&mut self.phase, link) {
            (Phase::All(_), Link::Done(tip)) => {
                let included = self.order.clone();
                self.phase = Phase::Done(Folded { tip, included, parked: Vec::new() });
            }
            (Phase::All(_), _) => self.begin_greedy(),
            (Phase::Greedy { candidate, tip, included, parked, .. }, link) => {
                let head = self.order[*candidate];
                match link {
                    Link::Done(new_tip) => {
                        *tip = new_tip;
                        included.push_front(head);
                    }
                    Link::Impossible(reason) => parked.push_front(Parked { head, reason }),
                    Link::Need { .. } => unreachable!("a needed merge does not settle a chain"),
                }
                self.next_candidate();
            }
            (Phase::Done(_), _) => unreachable!("a fold that is done has no chain"),
        }
    }

    /// The last head alone is always possible; the one before it is tried next.
    fn begin_greedy(&mut self) {
        if is_active(Mutant::GreedyFromFirst) {
            self.order.reverse();
        }
        let last = self.order.len() - 1;
        let head = self.order[last];
        self.phase = Phase::Greedy {
            chain: Chain::new(vec![head]),
            candidate: last,
            tip: head,
            included: VecDeque::from([head]),
            parked: VecDeque::new(),
        };
        self.next_candidate();
    }

    fn next_candidate(&mut self) {
        let Phase::Greedy { chain, candidate, tip, included, parked } = &mut self.phase else {
            return;
        };
        if let Some(next) = candidate.checked_sub(1) {
            // The candidate is lower than all that is included, so it comes first.
            *candidate = next;
            let heads = std::iter::once(self.order[next]).chain(included.iter().copied());
            *chain = Chain::new(heads.collect());
            return;
        }
        let (included, parked) = (std::mem::take(included), std::mem::take(parked));
        self.phase =
            Phase::Done(Folded { tip: *tip, included: included.into(), parked: parked.into() });
    }
}
