//! What two sides have in common: the newest common ancestors.

use std::collections::{BTreeMap, BTreeSet};

use super::CommitGraph;
use crate::id::CommitHash;

/// The newest common ancestors of two sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// The user commits that both sides include and that no other such commit descends from: by
    /// height, lowest first; ties by hash. Several where histories cross, or where both sides were
    /// made on a merge.
    pub newest: Vec<CommitHash>,
    /// Where there are several and each side has a commit that was made on their fold: that merge
    /// commit, an ancestor of both. Nothing where the sides name different ones.
    pub made_on: Option<CommitHash>,
}

/// Which sides include a commit.
const OURS: u8 = 1;
const THEIRS: u8 = 2;
const BOTH: u8 = OURS | THEIRS;
/// A common ancestor descends from it, so it is not one of the newest.
const COVERED: u8 = 4;

impl CommitGraph {
    /// Returns the newest common ancestors of two sides, each given by user commits that it
    /// includes.
    ///
    /// Looks only at commits higher than the lowest of the newest common ones, or near it: as git's
    /// search with generation numbers. Unknown hashes are ignored.
    pub fn common(&self, ours: &[CommitHash], theirs: &[CommitHash]) -> Common {
        let mut queue: BTreeMap<(u32, u32), u8> = BTreeMap::new();
        // How many of the queue are not known to lie under a common ancestor.
        let mut open = 0_usize;
        for (side, hashes) in [(OURS, ours), (THEIRS, theirs)] {
            for &number in hashes.iter().filter_map(|hash| self.index.get(hash)) {
                self.paint(&mut queue, &mut open, number, side);
            }
        }
        let mut newest = Vec::new();
        let mut apart = [Vec::new(), Vec::new()];
        // Highest first: when a commit is taken, all that descend from it have been.
        while open > 0 {
            let Some(((height, number), sides)) = queue.pop_last() else { break };
            open -= usize::from(sides & COVERED == 0);
            let below = match sides & BOTH {
                BOTH => {
                    if sides & COVERED == 0 {
                        newest.push((height, self.entry(number).hash));
                    }
                    BOTH | COVERED
                }
                side => {
                    apart[usize::from(side == THEIRS)].push(number);
                    side
                }
            };
            for &parent in self.parents(number) {
                self.paint(&mut queue, &mut open, parent, below);
            }
        }
        newest.sort_unstable();
        let newest: Vec<_> = newest.into_iter().map(|(_, hash)| hash).collect();
        let made_on = self.fold_of(&newest, &apart);
        Common { newest, made_on }
    }

    fn paint(
        &self,
        queue: &mut BTreeMap<(u32, u32), u8>,
        open: &mut usize,
        number: u32,
        sides: u8,
    ) {
        let before = queue.get(&(self.entry(number).height, number)).copied();
        let after = before.unwrap_or(0) | sides;
        *open += usize::from(after & COVERED == 0);
        *open -= usize::from(before.is_some_and(|before| before & COVERED == 0));
        queue.insert((self.entry(number).height, number), after);
    }

    /// The one merge commit on which both sides were made, of those that fold just `newest`.
    fn fold_of(&self, newest: &[CommitHash], apart: &[Vec<u32>; 2]) -> Option<CommitHash> {
        if newest.len() < 2 {
            return None;
        }
        let sorted: BTreeSet<_> = newest.iter().copied().collect();
        let folds = |numbers: &Vec<u32>| -> BTreeSet<CommitHash> {
            let builds_on = |number: u32| self.parents(number).iter().map(|&p| self.entry(p).hash);
            let made = numbers.iter().filter_map(|number| {
                let fold = self.made_on.get(number)?;
                builds_on(*number).eq(sorted.iter().copied()).then_some(*fold)
            });
            made.collect()
        };
        let [ours, theirs] = [folds(&apart[0]), folds(&apart[1])];
        (ours == theirs && ours.len() == 1).then(|| ours.first().copied()).flatten()
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

    fn hashes(numbers: &[u8]) -> Vec<CommitHash> {
        numbers.iter().map(|&n| hash(n)).collect()
    }

    fn graph(commits: &[(u8, &[u8], Option<u8>)]) -> CommitGraph {
        let mut graph = CommitGraph::default();
        for (n, on, made_on) in commits {
            let mut builds_on = hashes(on);
            builds_on.sort();
            let signer = PeerId::from_bytes([0; 32]);
            let made_on = made_on.map(hash);
            graph.insert(UserCommit { hash: hash(*n), builds_on, made_on, signer }).unwrap();
        }
        graph
    }

    #[test]
    fn one_where_histories_only_part() {
        let graph = graph(&[(1, &[], None), (2, &[1], None), (3, &[2], None), (4, &[2], None)]);
        let common = graph.common(&[hash(3)], &[hash(4)]);
        assert_eq!(common, Common { newest: hashes(&[2]), made_on: None });
        // One side below the other.
        assert_eq!(graph.common(&[hash(3)], &[hash(2)]).newest, hashes(&[2]));
        assert_eq!(graph.common(&[hash(3), hash(4)], &[hash(4)]).newest, hashes(&[4]));
    }

    #[test]
    fn several_where_histories_cross() {
        // Each of two wrote, met an earlier commit of the other, and wrote on.
        let graph = graph(&[
            (1, &[], None),
            (9, &[1], None),
            (3, &[1], None),
            (4, &[9], None),
            (5, &[3], None),
            (6, &[4, 3], Some(60)),
            (7, &[5, 9], Some(70)),
        ]);
        let common = graph.common(&[hash(6)], &[hash(7)]);
        assert_eq!(common, Common { newest: hashes(&[3, 9]), made_on: None });
    }

    #[test]
    fn the_merge_that_both_sides_were_made_on_is_known() {
        let both = |a, b| {
            let commits: &[(u8, &[u8], Option<u8>)] = &[
                (1, &[], None),
                (2, &[1], None),
                (3, &[1], None),
                (4, &[2, 3], a),
                (5, &[2, 3], b),
                (6, &[5], None),
            ];
            graph(commits).common(&[hash(4)], &[hash(6)]).made_on
        };
        assert_eq!(both(Some(50), Some(50)), Some(hash(50)));
        // A forgery, or another engine: nobody's word is taken.
        assert_eq!(both(Some(50), Some(51)), None);
        assert_eq!(both(Some(50), None), None);
    }

    proptest! {
        #[test]
        fn common_agrees_with_the_definition(
            edges in prop::collection::vec((0_u8..40, 0_u8..40), 2..40),
            (a, b, c) in (0_u8..40, 0_u8..40, 0_u8..40),
        ) {
            let mut graph = CommitGraph::default();
            let signer = PeerId::from_bytes([0; 32]);
            for (n, (p, q)) in (0_u8..).zip(&edges) {
                let parents: BTreeSet<_> = [*p, *q].into_iter().filter(|x| *x < n).collect();
                let parents = if parents.is_empty() && n > 0 { BTreeSet::from([0]) } else { parents };
                let builds_on = parents.into_iter().map(hash).collect();
                graph.insert(UserCommit { hash: hash(n), builds_on, made_on: None, signer }).unwrap();
            }
            let [a, b, c] = [a, b, c].map(|n| hash(n % edges.len() as u8));
            let under = |sides: &[CommitHash]| {
                let (mut seen, mut next) = (BTreeSet::new(), sides.to_vec());
                while let Some(commit) = next.pop() {
                    if seen.insert(commit) {
                        next.extend(graph.get(&commit).unwrap().builds_on);
                    }
                }
                seen
            };
            let common: BTreeSet<_> = under(&[a, b]).intersection(&under(&[c])).copied().collect();
            let is_newest = |commit: &&CommitHash| {
                !common.iter().any(|above| above != *commit && under(&[*above]).contains(commit))
            };
            let mut newest: Vec<_> = common.iter().filter(is_newest).copied().collect();
            newest.sort_by_key(|commit| (graph.height(commit), *commit));
            prop_assert_eq!(graph.common(&[a, b], &[c]).newest, newest);
        }
    }
}
