//! The fold: from the set of heads to the one tip of main.
//!
//! Everything here is a pure function of the heads and of what merging gave. Merging itself is the
//! engine's; [`plan`] says which merge is needed next.
//!
//! Invariants:
//! - The result depends on the set of heads alone, never on the order in which they became known.
//! - Every head is either included or parked, and the highest one is always included.

use std::collections::{BTreeMap, VecDeque};

use crate::graph::CommitGraph;
use crate::id::CommitHash;
use crate::limits::MERGES_REMEMBERED_MAX;
use crate::mutant::{Mutant, is_active};

/// What merging two commits gave: the merge commit, or the reason why there is none.
pub type MergeResult = Result<CommitHash, String>;

/// Sorts heads for the fold: by height, lowest first; ties by hash, lowest first.
///
/// Lowest first, so that a new commit comes last and its arrival costs one merge. Hashes that are
/// not in the graph are left out.
pub fn order<'a>(
    heads: impl IntoIterator<Item = &'a CommitHash>,
    graph: &CommitGraph,
) -> Vec<CommitHash> {
    let with_height = |head: &CommitHash| graph.height(head).map(|height| (height, *head));
    let mut order: Vec<_> = heads.into_iter().filter_map(with_height).collect();
    if is_active(Mutant::TiesByArrival) {
        order.sort_by_key(|(height, head)| (*height, graph.arrival(head)));
        return order.into_iter().map(|(_, head)| head).collect();
    }
    order.sort_unstable();
    order.dedup();
    order.into_iter().map(|(_, head)| head).collect()
}

/// The merges made so far, by `(ours, theirs)`. Failures are remembered too.
///
/// Holds at most [`MERGES_REMEMBERED_MAX`]; the one inserted first goes first. A forgotten merge is
/// only made again.
#[derive(Debug, Clone, Default)]
pub struct MergeMemory {
    results: BTreeMap<(CommitHash, CommitHash), MergeResult>,
    insertions: VecDeque<(CommitHash, CommitHash)>,
}

impl MergeMemory {
    /// Remembers what merging `theirs` into `ours` gave.
    pub fn insert(&mut self, ours: CommitHash, theirs: CommitHash, result: MergeResult) {
        if self.results.insert((ours, theirs), result).is_some() {
            return;
        }
        self.insertions.push_back((ours, theirs));
        if self.insertions.len() > MERGES_REMEMBERED_MAX
            && let Some(oldest) = self.insertions.pop_front()
        {
            self.results.remove(&oldest);
        }
    }

    /// Returns what merging `theirs` into `ours` gave, where it is remembered.
    pub fn get(&self, ours: &CommitHash, theirs: &CommitHash) -> Option<&MergeResult> {
        self.results.get(&(*ours, *theirs))
    }

    /// Returns `(ours, theirs, result)` of every merge remembered, the one inserted first first.
    pub fn iter(&self) -> impl Iterator<Item = (CommitHash, CommitHash, &MergeResult)> + '_ {
        let result = |key| self.results.get(key).map(|result| (key.0, key.1, result));
        self.insertions.iter().filter_map(result)
    }

    /// How many merges are remembered.
    pub fn len(&self) -> usize {
        self.results.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }
}

/// A head that the fold could not include.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The head.
    pub head: CommitHash,
    /// Why merging it was impossible, in the engine's words.
    pub reason: String,
}

/// What the fold of a set of heads is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// Where main belongs.
    pub tip: CommitHash,
    /// The heads that the tip includes, in the order of the fold.
    pub included: Vec<CommitHash>,
    /// The heads that it could not include, in the order of the fold.
    pub parked: Vec<Parked>,
}

/// The next step of a fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Merge `theirs` into `ours`, remember the result, and plan again.
    Need {
        /// The commit whose version of a row loses.
        ours: CommitHash,
        /// The commit whose version of a row stands.
        theirs: CommitHash,
    },
    /// The fold is known.
    Done(Folded),
}

/// Says what the fold of these heads is, or which merge must be made to know it.
///
/// `order` is what [`order`] returned. For a caller that plans again and again, [`FoldRun`] does not
/// begin anew each time.
///
/// # Panics
///
/// Where `order` is empty: a swarm has at least its founding commit.
pub fn plan(order: &[CommitHash], memory: &MergeMemory) -> Plan {
    FoldRun::new(order.to_vec()).advance(memory)
}

/// A fold under way: [`plan`], keeping its place.
///
/// Because it keeps its place it ends even where it takes more merges than are remembered.
#[derive(Debug, Clone)]
pub struct FoldRun {
    order: Vec<CommitHash>,
    phase: Phase,
}

#[derive(Debug, Clone)]
enum Phase {
    /// All heads are merged, one after the other.
    All(Chain),
    /// Some merge was impossible, so heads are tried from the last to the first.
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

impl Chain {
    fn new(heads: Vec<CommitHash>) -> Self {
        let tip = *heads.first().expect("because a swarm always has a head");
        Self { heads, merged: 1, tip }
    }

    fn advance(&mut self, memory: &MergeMemory) -> Link {
        while let Some(&theirs) = self.heads.get(self.merged) {
            let ours = self.tip;
            match memory.get(&ours, &theirs) {
                None => return Link::Need { ours, theirs },
                Some(Err(reason)) => return Link::Impossible(reason.clone()),
                Some(Ok(tip)) => (self.tip, self.merged) = (*tip, self.merged + 1),
            }
        }
        Link::Done(self.tip)
    }
}

impl FoldRun {
    /// Begins the fold of these heads; `order` is what [`order`] returned.
    ///
    /// # Panics
    ///
    /// Where `order` is empty.
    pub fn new(order: Vec<CommitHash>) -> Self {
        let phase = Phase::All(Chain::new(order.clone()));
        Self { order, phase }
    }

    /// The heads it folds, in order.
    pub fn order(&self) -> &[CommitHash] {
        &self.order
    }

    /// Goes on as far as the remembered merges lead.
    pub fn advance(&mut self, memory: &MergeMemory) -> Plan {
        loop {
            let link = match &mut self.phase {
                Phase::Done(folded) => return Plan::Done(folded.clone()),
                Phase::All(chain) | Phase::Greedy { chain, .. } => chain.advance(memory),
            };
            if let Link::Need { ours, theirs } = link {
                return Plan::Need { ours, theirs };
            }
            self.settle(link);
        }
    }

    /// Takes the end of the chain in hand and begins the next one, or ends the fold.
    fn settle(&mut self, link: Link) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::commit::UserCommit;
    use crate::id::PeerId;

    fn hash(n: u8) -> CommitHash {
        CommitHash::from_bytes([n; 20])
    }

    fn merged(ours: &CommitHash, theirs: &CommitHash) -> CommitHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(ours.as_bytes()).update(theirs.as_bytes());
        CommitHash::from_slice(&hasher.finalize().as_bytes()[..20]).unwrap()
    }

    /// Plans until done with an engine that cannot merge `clashing` heads with each other.
    fn fold(
        order: &[CommitHash],
        clashes: &dyn Fn(&[CommitHash], CommitHash) -> bool,
    ) -> (Folded, usize) {
        let mut memory = MergeMemory::default();
        let mut content: BTreeMap<CommitHash, Vec<CommitHash>> =
            order.iter().map(|head| (*head, vec![*head])).collect();
        for merges in 0.. {
            match plan(order, &memory) {
                Plan::Done(folded) => return (folded, merges),
                Plan::Need { ours, theirs } => {
                    let mut all = content[&ours].clone();
                    if clashes(&all, theirs) {
                        memory.insert(ours, theirs, Err(format!("{theirs} clashes")));
                        continue;
                    }
                    all.push(theirs);
                    let hash = merged(&ours, &theirs);
                    content.insert(hash, all);
                    memory.insert(ours, theirs, Ok(hash));
                }
            }
        }
        unreachable!("the loop ends by returning")
    }

    #[test]
    fn order_is_by_height_then_hash() {
        let mut graph = CommitGraph::default();
        for (n, on) in [(5, None), (9, Some(5)), (2, Some(9)), (1, Some(5)), (3, Some(5))] {
            let builds_on = on.map(hash).into_iter().collect();
            let commit =
                UserCommit { hash: hash(n), builds_on, signer: PeerId::from_bytes([0; 32]) };
            graph.insert(commit).unwrap();
        }
        assert_eq!(order(graph.heads(), &graph), [hash(1), hash(3), hash(2)]);
        assert_eq!(order(&[hash(77), hash(3), hash(3)], &graph), [hash(3)]);
    }

    #[test]
    fn one_head_needs_no_merge() {
        let expected = Folded { tip: hash(1), included: vec![hash(1)], parked: vec![] };
        assert_eq!(plan(&[hash(1)], &MergeMemory::default()), Plan::Done(expected));
    }

    #[test]
    fn a_new_last_head_costs_one_merge() {
        let heads: Vec<_> = (1..=5).map(hash).collect();
        let (folded, merges) = fold(&heads, &|_, _| false);
        assert_eq!(merges, 4);
        assert_eq!(folded.included, heads);
        let expected = heads[1..].iter().fold(heads[0], |tip, head| merged(&tip, head));
        assert_eq!(folded.tip, expected);
    }

    #[test]
    fn the_earlier_of_two_that_clash_is_parked() {
        let heads: Vec<_> = (1..=4).map(hash).collect();
        let clash = |all: &[CommitHash], theirs: CommitHash| {
            theirs == hash(3) && all.contains(&hash(2))
                || theirs == hash(2) && all.contains(&hash(3))
        };
        let (folded, _) = fold(&heads, &clash);
        assert_eq!(folded.included, [hash(1), hash(3), hash(4)]);
        assert_eq!(folded.parked.len(), 1);
        assert_eq!(folded.parked[0].head, hash(2));
        assert!(folded.parked[0].reason.contains("clashes"));
    }

    #[test]
    fn the_memory_forgets_the_oldest() {
        let mut memory = MergeMemory::default();
        let wide =
            |n: usize| CommitHash::from_slice(&[n.to_be_bytes().as_slice(), &[0; 12]].concat());
        for n in 0..=MERGES_REMEMBERED_MAX {
            memory.insert(wide(n).unwrap(), hash(1), Ok(hash(2)));
            memory.insert(wide(n).unwrap(), hash(1), Ok(hash(3)));
        }
        assert_eq!(memory.len(), MERGES_REMEMBERED_MAX);
        assert_eq!(memory.get(&wide(0).unwrap(), &hash(1)), None);
        assert_eq!(memory.iter().next(), Some((wide(1).unwrap(), hash(1), &Ok(hash(3)))));
    }

    /// The design's words, literally: is there a fold of exactly these heads, and what is its tip?
    fn naive(
        heads: &[CommitHash],
        clashes: &dyn Fn(&[CommitHash], CommitHash) -> bool,
    ) -> Option<CommitHash> {
        let mut tip = heads[0];
        for next in 1..heads.len() {
            if clashes(&heads[..next], heads[next]) {
                return None;
            }
            tip = merged(&tip, &heads[next]);
        }
        Some(tip)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

        #[test]
        fn plan_agrees_with_the_definition(
            count in 1_u8..8, pairs in prop::collection::btree_set((0_u8..8, 0_u8..8), 0..8),
        ) {
            let heads: Vec<_> = (0..count).map(hash).collect();
            let clashes = |all: &[CommitHash], theirs: CommitHash| {
                all.iter().any(|ours| pairs.contains(&(ours.as_bytes()[0], theirs.as_bytes()[0])))
            };
            let mut included: Vec<CommitHash> = Vec::new();
            if naive(&heads, &clashes).is_some() {
                included = heads.clone();
            } else {
                for &head in heads.iter().rev() {
                    let with: Vec<_> = [head].into_iter().chain(included.iter().copied()).collect();
                    if naive(&with, &clashes).is_some() {
                        included = with;
                    }
                }
            }
            let (folded, _) = fold(&heads, &clashes);
            prop_assert_eq!(Some(folded.tip), naive(&included, &clashes));
            prop_assert_eq!(&folded.included, &included);
            let parked: Vec<_> = folded.parked.iter().map(|parked| parked.head).collect();
            let expected: Vec<_> =
                heads.iter().filter(|head| !included.contains(head)).copied().collect();
            prop_assert_eq!(parked, expected);
        }
    }
}
