//! The accepted user commits and who builds on whom.
//!
//! Invariants:
//! - Every commit but the founding one builds on commits that are in the graph already.
//! - The heads are exactly the commits that no other commit in the graph builds on.
//! - A commit's height is 1 + the greatest height among those it builds on; the founding one has 1.

use std::collections::{BTreeMap, BTreeSet};

use crate::commit::UserCommit;
use crate::id::{CommitHash, PeerId};
use crate::limits::{HEADS_PER_MESSAGE_MAX, SAMPLE_HEADS_MAX};
use crate::mutant::{Mutant, is_active};

mod common;
mod standing;

pub use common::Common;
pub use standing::{SetAside, SetAsideReason, Standing};

/// What inserting a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// The commit is new, and a head now.
    New,
    /// The commit was there already; nothing changed.
    Known,
}

/// Why a commit cannot be inserted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Commits are inserted parents first; this one came before one that it builds on.
    #[error(
        "commit {commit} builds on {missing}, which is not in the graph: insert that one first"
    )]
    MissingAncestor {
        /// The commit that was refused.
        commit: CommitHash,
        /// The one that it builds on.
        missing: CommitHash,
    },
    /// Only one commit builds on nothing.
    #[error("commit {commit} builds on nothing, but {founding} is the founding commit already")]
    SecondFounding {
        /// The commit that was refused.
        commit: CommitHash,
        /// The founding commit.
        founding: CommitHash,
    },
    /// The list of commits it builds on is not sorted, or repeats itself.
    #[error("the commits that {commit} builds on are not a sorted list")]
    Malformed {
        /// The commit that was refused.
        commit: CommitHash,
    },
    /// The graph cannot count further.
    #[error("commit {commit} does not fit: the graph is full")]
    Full {
        /// The commit that was refused.
        commit: CommitHash,
    },
}

/// The accepted user commits. It only grows, and inserting never walks history.
///
/// About 70 bytes per commit: commits and signers are numbered, and edges are numbers.
#[derive(Clone, Default)]
pub struct CommitGraph {
    index: BTreeMap<CommitHash, u32>,
    entries: Vec<Entry>,
    /// The commits that each entry builds on, one entry's after the other's.
    edges: Vec<u32>,
    /// The merge commits that entries were made on: few entries have one.
    made_on: BTreeMap<u32, CommitHash>,
    signer_index: BTreeMap<PeerId, u32>,
    signers: Vec<PeerId>,
    heads: BTreeSet<CommitHash>,
}

#[derive(Clone)]
struct Entry {
    hash: CommitHash,
    height: u32,
    signer: u32,
    /// Where this entry's edges end; they begin where those of the entry before end.
    edges_end: u32,
}

impl CommitGraph {
    /// Inserts a commit; the first one is the founding commit.
    ///
    /// That none of `builds_on` is an ancestor of another is the caller's promise: checking it
    /// would walk history. [`Walk`](crate::walk::Walk) keeps it.
    ///
    /// # Errors
    ///
    /// Says why the commit does not fit; the graph is unchanged then.
    pub fn insert(&mut self, commit: UserCommit) -> Result<Inserted, GraphError> {
        let hash = commit.hash;
        if self.index.contains_key(&hash) {
            return Ok(Inserted::Known);
        }
        let parents = self.parents_of(&commit)?;
        let full = GraphError::Full { commit: hash };
        let number = u32::try_from(self.entries.len()).map_err(|_| full.clone())?;
        let edges_end =
            u32::try_from(self.edges.len() + parents.len()).map_err(|_| full.clone())?;
        let counted = if is_active(Mutant::HeightOfFirstParent) { 1 } else { parents.len() };
        let heights = parents.iter().take(counted).map(|&parent| self.entry(parent).height);
        let below = heights.max().unwrap_or(0);
        let height = below.checked_add(1).ok_or(full)?;

        let signer = self.signer_number(commit.signer);
        self.edges.extend_from_slice(&parents);
        self.entries.push(Entry { hash, height, signer, edges_end });
        self.index.insert(hash, number);
        if let Some(merge) = commit.made_on {
            self.made_on.insert(number, merge);
        }
        // Where there are two, the second stays a head in the wrong version.
        let dropped = if is_active(Mutant::HeadsNeverDropped) { 1 } else { usize::MAX };
        for parent in commit.builds_on.iter().take(dropped) {
            self.heads.remove(parent);
        }
        self.heads.insert(hash);
        Ok(Inserted::New)
    }

    fn parents_of(&self, commit: &UserCommit) -> Result<Vec<u32>, GraphError> {
        let hash = commit.hash;
        if !commit.builds_on.is_sorted_by(|a, b| a < b) {
            return Err(GraphError::Malformed { commit: hash });
        }
        if let (true, Some(founding)) = (commit.builds_on.is_empty(), self.founding()) {
            return Err(GraphError::SecondFounding { commit: hash, founding });
        }
        let number = |parent: &CommitHash| {
            let missing = GraphError::MissingAncestor { commit: hash, missing: *parent };
            self.index.get(parent).copied().ok_or(missing)
        };
        commit.builds_on.iter().map(number).collect()
    }

    fn signer_number(&mut self, signer: PeerId) -> u32 {
        if let Some(&number) = self.signer_index.get(&signer) {
            return number;
        }
        let number = u32::try_from(self.signers.len())
            .expect("because there are never more signers than commits, which are counted in u32");
        self.signers.push(signer);
        self.signer_index.insert(signer, number);
        number
    }

    /// Whether the commit is in the graph.
    pub fn contains(&self, hash: &CommitHash) -> bool {
        self.index.contains_key(hash)
    }

    /// Returns the commit, where it is in the graph.
    pub fn get(&self, hash: &CommitHash) -> Option<UserCommit> {
        self.index.get(hash).map(|&number| self.commit(number))
    }

    /// Returns the commit's height, counted from 1 for the founding commit.
    pub fn height(&self, hash: &CommitHash) -> Option<u32> {
        self.index.get(hash).map(|&number| self.entry(number).height)
    }

    /// Returns who signed the commit, where it is in the graph.
    pub fn signer(&self, hash: &CommitHash) -> Option<PeerId> {
        let entry = self.entry(*self.index.get(hash)?);
        self.signers.get(entry.signer as usize).copied()
    }

    /// Notes that the commit is signed by a lower key than was known. Returns whether that is new.
    /// [`Standing::signers_changed`] must hear of it.
    pub(crate) fn set_signer(&mut self, hash: &CommitHash, signer: PeerId) -> bool {
        let Some(&number) = self.index.get(hash) else { return false };
        let signer = self.signer_number(signer);
        let entry = &mut self.entries[number as usize];
        std::mem::replace(&mut entry.signer, signer) != signer
    }

    /// When the commit arrived, as a number that only grows.
    pub(crate) fn arrival(&self, hash: &CommitHash) -> Option<u32> {
        self.index.get(hash).copied()
    }

    /// Returns the commits that no other commit descends from, sorted by hash.
    pub fn heads(&self) -> &BTreeSet<CommitHash> {
        &self.heads
    }

    /// Returns the founding commit; nothing only while the graph is empty.
    pub fn founding(&self) -> Option<CommitHash> {
        self.entries.first().map(|entry| entry.hash)
    }

    /// How many commits there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is not even a founding commit.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether `descendant` is `ancestor` or descends from it. False where either is unknown.
    ///
    /// Looks only at commits higher than `ancestor`.
    pub fn is_ancestor(&self, ancestor: &CommitHash, descendant: &CommitHash) -> bool {
        let (Some(&ancestor), Some(&descendant)) =
            (self.index.get(ancestor), self.index.get(descendant))
        else {
            return false;
        };
        let floor = self.entry(ancestor).height;
        let mut seen = BTreeSet::new();
        let mut stack = vec![descendant];
        while let Some(number) = stack.pop() {
            if number == ancestor {
                return true;
            }
            if self.entry(number).height > floor {
                stack.extend(self.parents(number).iter().filter(|&&parent| seen.insert(parent)));
            }
        }
        false
    }

    /// Returns the commits of `want` and their ancestors, without those of `have` and theirs.
    ///
    /// Parents come first: by height, ties by hash, so the order is the same on every peer. Unknown
    /// hashes are ignored. Looks only at commits higher than the lowest one it returns, or near it.
    pub fn difference(&self, want: &[CommitHash], have: &[CommitHash]) -> Vec<CommitHash> {
        // Highest first: when a commit is taken out, everything above it has been seen, so whether
        // it lies under `have` is known.
        let mut queue: BTreeMap<(u32, u32), bool> = BTreeMap::new();
        let numbers = |hashes: &[CommitHash]| -> Vec<u32> {
            hashes.iter().filter_map(|hash| self.index.get(hash).copied()).collect()
        };
        let mut wanted = 0_usize;
        let had = numbers(have).into_iter().map(|number| (number, false));
        let asked = numbers(want).into_iter().map(|number| (number, true));
        for (number, wants) in had.chain(asked) {
            self.enqueue(&mut queue, &mut wanted, number, wants);
        }
        let mut found = Vec::new();
        while wanted > 0 {
            let Some(((height, number), wants)) = queue.pop_last() else { break };
            if wants {
                wanted -= 1;
                found.push((height, self.entry(number).hash));
            }
            for &parent in self.parents(number) {
                self.enqueue(&mut queue, &mut wanted, parent, wants);
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, hash)| hash).collect()
    }

    /// Queues a commit; one that lies under `have` stays so whoever else wants it.
    fn enqueue(
        &self,
        queue: &mut BTreeMap<(u32, u32), bool>,
        wanted: &mut usize,
        number: u32,
        wants: bool,
    ) {
        let before = queue.get(&(self.entry(number).height, number)).copied();
        let after = wants && before != Some(false);
        *wanted += usize::from(after);
        *wanted -= usize::from(before == Some(true));
        queue.insert((self.entry(number).height, number), after);
    }

    /// Returns all commits in the order in which they were inserted: parents first.
    pub fn iter_topological(&self) -> impl Iterator<Item = UserCommit> + '_ {
        (0_u32..).zip(&self.entries).map(|(number, _)| self.commit(number))
    }

    /// Returns all commits, the one that was inserted last first: children before parents.
    pub fn iter_newest(&self) -> impl Iterator<Item = UserCommit> + '_ {
        (0..self.entries.len()).rev().map(|number| {
            self.commit(u32::try_from(number).expect("because commits are counted in u32"))
        })
    }

    /// Returns a few dozen commits that tell a peer what is here: the heads, or the newest of many,
    /// and commits ever further back in the order of insertion, so that a peer that does not know
    /// the heads knows some commit not far below. As in git's skipping negotiation, steps double.
    pub fn sample(&self) -> Vec<CommitHash> {
        let steps = std::iter::successors(Some(1_usize), |step| step.checked_mul(2));
        let numbers = steps.map_while(|step| self.entries.len().checked_sub(step));
        let mut sample: BTreeSet<CommitHash> =
            numbers.map(|number| self.entries[number].hash).collect();
        if self.heads.len() <= SAMPLE_HEADS_MAX {
            sample.extend(&self.heads);
        } else {
            let newest = self.entries.iter().rev().map(|entry| entry.hash);
            let heads = newest.filter(|hash| self.heads.contains(hash));
            sample.extend(heads.take(SAMPLE_HEADS_MAX));
        }
        sample.into_iter().take(HEADS_PER_MESSAGE_MAX).collect()
    }

    fn entry(&self, number: u32) -> &Entry {
        &self.entries[number as usize]
    }

    fn parents(&self, number: u32) -> &[u32] {
        let number = number as usize;
        let begin = number.checked_sub(1).map_or(0, |before| self.entries[before].edges_end);
        &self.edges[begin as usize..self.entries[number].edges_end as usize]
    }

    fn commit(&self, number: u32) -> UserCommit {
        let entry = self.entry(number);
        UserCommit {
            hash: entry.hash,
            // Inserted sorted by hash, and kept in that order.
            builds_on: self.parents(number).iter().map(|&p| self.entry(p).hash).collect(),
            made_on: self.made_on.get(&number).copied(),
            signer: self.signers[entry.signer as usize],
        }
    }
}

impl std::fmt::Debug for CommitGraph {
    /// Shows the size and the heads: the whole would be megabytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommitGraph")
            .field("commits", &self.entries.len())
            .field("heads", &self.heads)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash(n: u8) -> CommitHash {
        CommitHash::from_bytes([n; 20])
    }

    fn commit(n: u8, on: &[u8]) -> UserCommit {
        let mut builds_on: Vec<_> = on.iter().map(|&n| hash(n)).collect();
        builds_on.sort();
        let signer = PeerId::from_bytes([n % 3; 32]);
        UserCommit { hash: hash(n), builds_on, made_on: None, signer }
    }

    fn graph(commits: &[(u8, &[u8])]) -> CommitGraph {
        let mut graph = CommitGraph::default();
        for (n, on) in commits {
            assert_eq!(graph.insert(commit(*n, on)), Ok(Inserted::New));
        }
        graph
    }

    #[test]
    fn heads_drop_what_is_built_on() {
        let mut graph = graph(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2, 3])]);
        assert_eq!(graph.heads().iter().copied().collect::<Vec<_>>(), [hash(4)]);
        assert_eq!(graph.height(&hash(4)), Some(3));
        assert_eq!(graph.insert(commit(3, &[1])), Ok(Inserted::Known));
        assert_eq!(graph.insert(commit(9, &[1])), Ok(Inserted::New));
        assert_eq!(graph.heads().len(), 2);
        assert_eq!(graph.get(&hash(4)), Some(commit(4, &[2, 3])));
        assert_eq!(graph.iter_topological().count(), 5);
        assert_eq!(format!("{graph:?}").matches("commits: 5").count(), 1);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut graph = graph(&[(1, &[])]);
        let missing = GraphError::MissingAncestor { commit: hash(3), missing: hash(2) };
        assert_eq!(graph.insert(commit(3, &[1, 2])), Err(missing));
        let second = GraphError::SecondFounding { commit: hash(2), founding: hash(1) };
        assert_eq!(graph.insert(commit(2, &[])), Err(second));
        let malformed = GraphError::Malformed { commit: hash(2) };
        assert_eq!(graph.insert(commit(2, &[1, 1])), Err(malformed));
        assert_eq!(graph.len(), 1);
        assert_eq!(graph.heads().len(), 1);
    }

    #[test]
    fn difference_leaves_out_what_is_had() {
        let graph = graph(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2, 3]), (5, &[2])]);
        assert_eq!(graph.difference(&[hash(4)], &[hash(5)]), [hash(3), hash(4)]);
        assert_eq!(graph.difference(&[hash(4), hash(77)], &[hash(78), hash(4)]), []);
        assert_eq!(graph.difference(&[hash(2)], &[]), [hash(1), hash(2)]);
    }

    /// A random graph: each commit builds on up to two random ones (possibly redundantly).
    fn graphs() -> impl Strategy<Value = CommitGraph> {
        prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..40)
            .prop_map(|picks| {
                let mut graph = graph(&[(0, &[])]);
                for (n, (a, b)) in (1_u8..).zip(picks) {
                    let on: BTreeSet<u8> =
                        [a, b].map(|pick| pick.index(usize::from(n)) as u8).into();
                    let on: Vec<u8> = on.into_iter().collect();
                    assert_eq!(graph.insert(commit(n, &on)), Ok(Inserted::New));
                }
                graph
            })
    }

    #[test]
    fn a_sample_has_the_heads_and_reaches_back_in_doubling_steps() {
        let mut graph = graph(&[(0, &[])]);
        for n in 1..=100 {
            graph.insert(commit(n, &[n - 1])).unwrap();
        }
        graph.insert(commit(200, &[50])).unwrap();
        let sample = graph.sample();
        assert!(sample.contains(&hash(100)) && sample.contains(&hash(200)));
        assert!(sample.contains(&hash(38)), "64 back from the end");
        assert!(sample.len() <= 10);
        assert_eq!(graph.iter_newest().next().map(|commit| commit.hash), Some(hash(200)));
    }

    /// All ancestors of a commit and itself, the slow way.
    fn under(graph: &CommitGraph, hash: CommitHash) -> BTreeSet<CommitHash> {
        let commit = graph.get(&hash).expect("because the test asks for commits in the graph");
        let below = commit.builds_on.into_iter().flat_map(|parent| under(graph, parent));
        below.chain([hash]).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

        #[test]
        fn ancestry_and_difference_agree_with_the_slow_way(
            graph in graphs(), a in 0_u8..40, b in 0_u8..40, c in 0_u8..40,
        ) {
            let pick = |n: u8| hash(n % graph.len() as u8);
            let (a, b, c) = (pick(a), pick(b), pick(c));
            prop_assert_eq!(graph.is_ancestor(&a, &b), under(&graph, b).contains(&a));
            let wanted: BTreeSet<_> = under(&graph, a).union(&under(&graph, b)).copied().collect();
            let expected: BTreeSet<_> = wanted.difference(&under(&graph, c)).copied().collect();
            let found = graph.difference(&[a, b], &[c]);
            prop_assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), expected);
            prop_assert!(found.is_sorted_by_key(|hash| (graph.height(hash), *hash)));
            for head in graph.heads() {
                let above = graph.iter_topological().filter(|c| c.builds_on.contains(head)).count();
                prop_assert_eq!(above, 0);
            }
        }
    }
}
