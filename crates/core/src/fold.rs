//! The fold: from the set of heads to the one tip of main.
//!
//! Everything here is a pure function of the heads, of the commits below them, and of what merging
//! gave. Merging itself is the engine's; [`plan`] says which merge is needed next, and what it
//! compares the two sides with.
//!
//! Invariants:
//! - The result depends on the set of heads alone, never on the order in which they became known.
//! - Under the policy `settle` every head is included. Under `park` each is either included or
//!   parked, and the highest one is always included.

use crate::graph::CommitGraph;
use crate::id::CommitHash;
use crate::mutant::{Mutant, is_active};

mod memory;
mod run;

pub use memory::MergeMemory;
pub use run::{FoldRun, Plan, plan};

/// What merging two commits gave: the merge commit, or, under the policy `park`, the reason why
/// there is none.
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

/// A head that the fold could not include, under the policy `park`.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::collections::BTreeMap;

    use super::*;
    use crate::commit::{ConflictPolicy, Merge, MergeBase};
    use crate::id::PeerId;
    use crate::limits::MERGES_REMEMBERED_MAX;
    use crate::walk::Found;
    use ConflictPolicy::{Park, Settle};

    fn hash(n: u8) -> CommitHash {
        CommitHash::from_bytes([n; 20])
    }

    fn merged(ours: &CommitHash, theirs: &CommitHash) -> CommitHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(ours.as_bytes()).update(theirs.as_bytes());
        CommitHash::from_slice(&hasher.finalize().as_bytes()[..20]).unwrap()
    }

    /// The founding commit of [`graph`].
    const FOUNDING: u8 = 200;

    /// A graph in which commits build on others; all that build on none build on the founding one.
    fn graph(commits: &[(u8, &[u8], Option<u8>)]) -> CommitGraph {
        let mut graph = CommitGraph::default();
        let signer = PeerId::from_bytes([0; 32]);
        for (n, on, made_on) in [(FOUNDING, &[][..], None)].iter().chain(commits) {
            let mut builds_on: Vec<_> = on.iter().copied().map(hash).collect();
            builds_on.sort();
            if builds_on.is_empty() && *n != FOUNDING {
                builds_on.push(hash(FOUNDING));
            }
            let found = Found { hash: hash(*n), builds_on, made_on: made_on.map(hash) };
            graph.insert(found.signed_by(signer)).unwrap();
        }
        graph
    }

    /// The commits 0 to 8, each on the founding commit.
    fn side_by_side() -> CommitGraph {
        graph(&(0..9).map(|n| (n, &[][..], None)).collect::<Vec<_>>())
    }

    /// Plans until done with an engine that cannot merge `clashing` heads with each other.
    fn fold(
        order: &[CommitHash],
        clashes: &dyn Fn(&[CommitHash], CommitHash) -> bool,
    ) -> (Folded, usize) {
        let (mut memory, graph) = (MergeMemory::default(), side_by_side());
        let mut content: BTreeMap<CommitHash, Vec<CommitHash>> =
            order.iter().map(|head| (*head, vec![*head])).collect();
        for merges in 0.. {
            match plan(order, Park, &memory, &graph) {
                Plan::Done(folded) => return (folded, merges),
                Plan::Need(Merge { ours, theirs, base }) => {
                    assert_eq!(base, hash(FOUNDING).into());
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
        let commits: [(u8, &[u8], _); 4] =
            [(9, &[], None), (2, &[9], None), (1, &[], None), (3, &[], None)];
        let graph = graph(&commits);
        assert_eq!(order(graph.heads(), &graph), [hash(1), hash(3), hash(2)]);
        assert_eq!(order(&[hash(77), hash(3), hash(3)], &graph), [hash(3)]);
    }

    #[test]
    fn one_head_needs_no_merge() {
        let expected = Folded { tip: hash(1), included: vec![hash(1)], parked: vec![] };
        let plan = plan(&[hash(1)], Settle, &MergeMemory::default(), &side_by_side());
        assert_eq!(plan, Plan::Done(expected));
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

    /// Two wrote, each met the other's first commit, and wrote on: 3 and 4 have 1 and 2 in common.
    fn crossed(made_on: [Option<u8>; 2]) -> CommitGraph {
        graph(&[(1, &[], None), (2, &[], None), (3, &[1, 2], made_on[0]), (4, &[1, 2], made_on[1])])
    }

    #[test]
    fn crossed_histories_have_the_fold_of_common_commits_as_base() {
        let graph = crossed([None, None]);
        let mut run = FoldRun::new(vec![hash(3), hash(4)], Settle);
        let mut memory = MergeMemory::default();
        let first = Merge { ours: hash(1), theirs: hash(2), base: hash(FOUNDING).into() };
        assert_eq!(run.advance(&memory, &graph), Plan::Need(first));
        assert_eq!(run.advance(&memory, &graph), Plan::Need(first));
        memory.insert(hash(1), hash(2), Ok(hash(12)));
        let base = MergeBase { commit: hash(12), ancestor: hash(1) };
        let second = Merge { ours: hash(3), theirs: hash(4), base };
        assert_eq!(run.advance(&memory, &graph), Plan::Need(second));
        // What it compares with is known, even if the merge is forgotten meanwhile.
        assert_eq!(run.advance(&MergeMemory::default(), &graph), Plan::Need(second));
        memory.insert(hash(3), hash(4), Ok(hash(34)));
        let Plan::Done(folded) = run.advance(&memory, &graph) else { panic!() };
        assert_eq!((folded.tip, folded.included), (hash(34), vec![hash(3), hash(4)]));
    }

    #[test]
    fn sides_that_were_made_on_what_clashes_cannot_be_merged() {
        let graph = crossed([None, None]);
        let mut memory = MergeMemory::default();
        memory.insert(hash(1), hash(2), Err("a table is dropped".into()));
        let Plan::Done(folded) = plan(&[hash(3), hash(4)], Park, &memory, &graph) else { panic!() };
        assert_eq!((folded.tip, folded.included), (hash(4), vec![hash(4)]));
        assert_eq!(folded.parked[0].head, hash(3));
        assert!(folded.parked[0].reason.contains("a table is dropped"));
    }

    #[test]
    fn nothing_parks_under_settle() {
        // A failure that is remembered all the same, say by an older version, is asked for again.
        for (ours, theirs) in [(hash(1), hash(2)), (hash(3), hash(4))] {
            let mut memory = MergeMemory::default();
            if ours == hash(3) {
                memory.insert(hash(1), hash(2), Ok(hash(12)));
            }
            memory.insert(ours, theirs, Err("a table is dropped".into()));
            let graph = crossed([None, None]);
            let mut run = FoldRun::new(vec![hash(3), hash(4)], Settle);
            for _ in 0..2 {
                let Plan::Need(merge) = run.advance(&memory, &graph) else { panic!() };
                assert_eq!((merge.ours, merge.theirs), (ours, theirs));
            }
            memory.insert(hash(1), hash(2), Ok(hash(12)));
            memory.insert(hash(3), hash(4), Ok(hash(34)));
            let Plan::Done(folded) = run.advance(&memory, &graph) else { panic!() };
            assert_eq!((folded.tip, folded.parked), (hash(34), vec![]));
        }
    }

    #[test]
    fn a_merge_that_both_sides_were_made_on_is_not_made_again() {
        let need = |made_on| {
            let memory = MergeMemory::default();
            match plan(&[hash(3), hash(4)], Settle, &memory, &crossed(made_on)) {
                Plan::Need(merge) => (merge.ours, merge.base),
                done => panic!("{done:?}"),
            }
        };
        assert_eq!(need([Some(12), Some(12)]), (hash(3), hash(12).into()));
        assert_eq!(need([Some(12), Some(13)]), (hash(1), hash(FOUNDING).into()));
    }

    #[test]
    fn a_long_zipper_is_one_merge_for_each_of_its_teeth() {
        // Each commit of two writers knows the last but one of the other.
        let mut commits = vec![(1, vec![], None), (2, vec![], None)];
        for n in (3_u8..199).step_by(2) {
            let (mine, yours) = (n - 2, n - 1);
            commits.push((n, vec![mine, yours], None));
            commits.push((n + 1, vec![mine, yours], None));
        }
        let commits: Vec<_> = commits.iter().map(|(n, on, m)| (*n, on.as_slice(), *m)).collect();
        let graph = graph(&commits);
        let (mut run, mut memory) =
            (FoldRun::new(vec![hash(197), hash(198)], Settle), MergeMemory::default());
        for merges in 0.. {
            match run.advance(&memory, &graph) {
                Plan::Done(_) => return assert_eq!(merges, 99),
                Plan::Need(Merge { ours, theirs, .. }) => {
                    memory.insert(ours, theirs, Ok(merged(&ours, &theirs)));
                }
            }
        }
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
