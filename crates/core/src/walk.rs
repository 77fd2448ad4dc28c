//! From tips down to known commits: which user commits are new, and what each builds on.
//!
//! A walk asks for one commit after the other and looks through merge commits. All that it is told
//! may come from a hostile peer: every loop is bounded, and nothing recurses.
//!
//! Invariants:
//! - A walk never goes below a commit that is in the graph.
//! - None of the commits that a found commit builds on is an ancestor of another.

use std::collections::{BTreeMap, BTreeSet};

use crate::commit::{CommitInfo, UserCommit};
use crate::graph::CommitGraph;
use crate::id::{CommitHash, PeerId};
use crate::limits::{PULL_COMMITS_MAX, WALK_STEPS_MAX};

/// A user commit that a walk found, whose signature nobody has looked at yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its hash.
    pub hash: CommitHash,
    /// The user commits it builds on, none of which is an ancestor of another; sorted by hash.
    pub builds_on: Vec<CommitHash>,
    /// Where it builds on several by way of one merge commit: that merge commit.
    pub made_on: Option<CommitHash>,
}

impl Found {
    /// The commit with its verified signature.
    pub fn signed_by(self, signer: PeerId) -> UserCommit {
        let Self { hash, builds_on, made_on } = self;
        UserCommit { hash, builds_on, made_on, signer }
    }
}

/// What a walk found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalkResult {
    /// The user commits that are not in the graph, parents first.
    pub found: Vec<Found>,
    /// For each tip the user commits that it includes, none of which is an ancestor of another;
    /// sorted by hash. For a user commit that is the commit itself.
    pub frontier: BTreeMap<CommitHash, Vec<CommitHash>>,
}

/// Why a walk fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// The history ends at a root that is not the founding commit.
    #[error("the history goes down to {root}, which is not this swarm's founding commit")]
    UnrelatedHistory {
        /// The root.
        root: CommitHash,
    },
    /// The walk came to more commits than one pull may bring.
    #[error("there are more than {PULL_COMMITS_MAX} commits to pull")]
    TooManyCommits,
    /// The history is too tangled to find out in bounded time what builds on what.
    #[error(
        "the history is too tangled: more than {WALK_STEPS_MAX} steps to see what builds on what"
    )]
    TooTangled,
    /// A commit is its own ancestor, which no honest hash allows.
    #[error("commit {commit} is its own ancestor")]
    Cycle {
        /// The commit.
        commit: CommitHash,
    },
    /// The caller supplied a commit that was not asked for, or one twice.
    #[error("commit {commit} was not asked for")]
    NotAsked {
        /// The commit.
        commit: CommitHash,
    },
    /// The caller finished a walk before it supplied all that was asked for.
    #[error("the walk is not finished: commit {missing} is missing")]
    Unfinished {
        /// A commit that is missing.
        missing: CommitHash,
    },
}

/// A walk from tips down to known commits.
///
/// Call [`next`](Self::next) and [`supply`](Self::supply) until there is no next one, then
/// [`finish`](Self::finish). Several commits may be asked for before the first is supplied; then
/// ask again, because what is supplied leads to more.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    tips: BTreeSet<CommitHash>,
    pending: Vec<CommitHash>,
    asked: BTreeSet<CommitHash>,
    supplied: BTreeMap<CommitHash, Supplied>,
}

#[derive(Debug, Clone)]
struct Supplied {
    parents: Vec<CommitHash>,
    /// Whether it is derived by the fold, so that the walk looks through it.
    derived: bool,
}

impl Walk {
    /// Begins a walk.
    pub fn new(tips: impl IntoIterator<Item = CommitHash>) -> Self {
        let tips: BTreeSet<_> = tips.into_iter().collect();
        Self { pending: tips.iter().rev().copied().collect(), tips, ..Self::default() }
    }

    /// Returns the next commit to supply. Each is asked for once.
    pub fn next(&mut self, graph: &CommitGraph) -> Option<CommitHash> {
        while let Some(hash) = self.pending.pop() {
            if !graph.contains(&hash)
                && !self.supplied.contains_key(&hash)
                && self.asked.insert(hash)
            {
                return Some(hash);
            }
        }
        None
    }

    /// Takes a commit that was asked for.
    ///
    /// # Errors
    ///
    /// Where the history is not of this swarm or breaks a limit, or the commit was not asked for.
    pub fn supply(&mut self, info: CommitInfo) -> Result<(), WalkError> {
        let commit = info.hash;
        if !self.asked.remove(&commit) {
            return Err(WalkError::NotAsked { commit });
        }
        if info.parents.is_empty() {
            // The founding commit is in every graph, so a walk never asks for it.
            return Err(WalkError::UnrelatedHistory { root: commit });
        }
        if self.supplied.len() >= PULL_COMMITS_MAX {
            return Err(WalkError::TooManyCommits);
        }
        // What only the old main of a join commit has is no part of its content, so a commit on top
        // of it does not build on that.
        let parents = info.content_parents().to_vec();
        self.pending.extend(parents.iter().rev());
        let derived = info.as_merge().is_some() || info.as_join().is_some();
        self.supplied.insert(commit, Supplied { parents, derived });
        Ok(())
    }

    /// Ends the walk.
    ///
    /// # Errors
    ///
    /// Where something is missing still, or the history breaks a limit.
    pub fn finish(self, graph: &CommitGraph) -> Result<WalkResult, WalkError> {
        let mut resolver = Resolver {
            graph,
            supplied: &self.supplied,
            found: BTreeMap::new(),
            steps_left: WALK_STEPS_MAX,
        };
        let mut result = WalkResult::default();
        for hash in parents_first(&self.tips, &self.supplied, graph)? {
            let commit = &self.supplied[&hash];
            if !commit.derived {
                let builds_on = resolver.resolve(hash, &commit.parents)?;
                let made_on = match builds_on.len() {
                    0 | 1 => None,
                    _ => resolver.made_on(&commit.parents)?,
                };
                result.found.push(Found { hash, builds_on, made_on });
            }
        }
        for &tip in &self.tips {
            result.frontier.insert(tip, resolver.resolve_tip(tip)?);
        }
        Ok(result)
    }
}

/// Returns the supplied commits that are not in the graph, parents first.
fn parents_first(
    tips: &BTreeSet<CommitHash>,
    supplied: &BTreeMap<CommitHash, Supplied>,
    graph: &CommitGraph,
) -> Result<Vec<CommitHash>, WalkError> {
    let mut order = Vec::new();
    // Whether a commit that was met is done; while it is not, meeting it again is a cycle.
    let mut done: BTreeMap<CommitHash, bool> = BTreeMap::new();
    let mut stack: Vec<(CommitHash, usize)> = Vec::new();
    for &tip in tips {
        stack.push((tip, 0));
        while let Some((hash, parent_index)) = stack.pop() {
            if graph.contains(&hash) {
                continue;
            }
            match (parent_index, done.get(&hash)) {
                (0, Some(true)) => continue,
                (0, Some(false)) => return Err(WalkError::Cycle { commit: hash }),
                _ => {}
            }
            done.insert(hash, false);
            let commit = supplied.get(&hash).ok_or(WalkError::Unfinished { missing: hash })?;
            if let Some(&parent) = commit.parents.get(parent_index) {
                stack.push((hash, parent_index + 1));
                stack.push((parent, 0));
            } else {
                done.insert(hash, true);
                order.push(hash);
            }
        }
    }
    Ok(order)
}

/// Finds out what builds on what, over the graph and what was found on top of it.
struct Resolver<'a> {
    graph: &'a CommitGraph,
    supplied: &'a BTreeMap<CommitHash, Supplied>,
    /// The height of each commit found so far and what it builds on.
    found: BTreeMap<CommitHash, (u32, Vec<CommitHash>)>,
    /// What is left of [`WALK_STEPS_MAX`], for the whole walk.
    steps_left: usize,
}

impl Resolver<'_> {
    /// Resolves a user commit whose ancestors are resolved.
    fn resolve(
        &mut self,
        commit: CommitHash,
        parents: &[CommitHash],
    ) -> Result<Vec<CommitHash>, WalkError> {
        let reached = self.look_through(parents)?;
        let builds_on = self.maximal(reached)?;
        let below = builds_on.iter().map(|parent| self.height(parent)).max().unwrap_or(0);
        self.found.insert(commit, (below.saturating_add(1), builds_on.clone()));
        Ok(builds_on)
    }

    /// Returns the merge commit that is the only parent of a user commit; join commits stand for
    /// the one they are about.
    fn made_on(&mut self, parents: &[CommitHash]) -> Result<Option<CommitHash>, WalkError> {
        let mut parents = parents;
        loop {
            self.step()?;
            let [parent] = parents else { return Ok(None) };
            let merge = self.supplied.get(parent).filter(|parent| parent.derived);
            match merge {
                Some(join) if join.parents.len() == 1 => parents = &join.parents,
                merge => return Ok(merge.map(|_| *parent)),
            }
        }
    }

    fn resolve_tip(&mut self, tip: CommitHash) -> Result<Vec<CommitHash>, WalkError> {
        let reached = self.look_through(&[tip])?;
        self.maximal(reached)
    }

    /// Returns the user commits among `from` and under the merge commits among them.
    fn look_through(&mut self, from: &[CommitHash]) -> Result<BTreeSet<CommitHash>, WalkError> {
        let mut reached = BTreeSet::new();
        let mut merges = BTreeSet::new();
        let mut stack = from.to_vec();
        while let Some(hash) = stack.pop() {
            self.step()?;
            match self.supplied.get(&hash) {
                Some(merge) if merge.derived && !self.graph.contains(&hash) => {
                    if merges.insert(hash) {
                        stack.extend(&merge.parents);
                    }
                }
                _ => {
                    reached.insert(hash);
                }
            }
        }
        Ok(reached)
    }

    /// Leaves out the commits that are ancestors of another one. Looks no lower than the lowest.
    fn maximal(&mut self, commits: BTreeSet<CommitHash>) -> Result<Vec<CommitHash>, WalkError> {
        if commits.len() < 2 {
            return Ok(commits.into_iter().collect());
        }
        let floor = commits.iter().map(|commit| self.height(commit)).min().unwrap_or(0);
        let mut covered = BTreeSet::new();
        let mut stack: Vec<CommitHash> = commits.iter().copied().collect();
        while let Some(hash) = stack.pop() {
            if self.height(&hash) <= floor {
                continue;
            }
            for parent in self.builds_on(&hash) {
                self.step()?;
                if covered.insert(parent) {
                    stack.push(parent);
                }
            }
        }
        Ok(commits.difference(&covered).copied().collect())
    }

    fn height(&self, hash: &CommitHash) -> u32 {
        let found = self.found.get(hash).map(|(height, _)| *height);
        found.or_else(|| self.graph.height(hash)).unwrap_or(0)
    }

    fn builds_on(&self, hash: &CommitHash) -> Vec<CommitHash> {
        match self.found.get(hash) {
            Some((_, builds_on)) => builds_on.clone(),
            None => self.graph.get(hash).map(|commit| commit.builds_on).unwrap_or_default(),
        }
    }

    fn step(&mut self) -> Result<(), WalkError> {
        self.steps_left = self.steps_left.checked_sub(1).ok_or(WalkError::TooTangled)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::{MERGE_AUTHOR_EMAIL, MERGE_AUTHOR_NAME, merge_message};
    use crate::id::PeerId;

    fn hash(n: u16) -> CommitHash {
        let mut bytes = [0; 20];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        CommitHash::from_bytes(bytes)
    }

    fn hashes(numbers: &[u16]) -> Vec<CommitHash> {
        numbers.iter().map(|&n| hash(n)).collect()
    }

    fn join(n: u16, tip: u16, main: u16) -> CommitInfo {
        CommitInfo {
            author_name: MERGE_AUTHOR_NAME.into(),
            author_email: MERGE_AUTHOR_EMAIL.into(),
            message: crate::commit::join_message(&hash(tip), &hash(main)),
            ..user(n, &[tip, main])
        }
    }

    fn user(n: u16, parents: &[u16]) -> CommitInfo {
        CommitInfo {
            hash: hash(n),
            parents: hashes(parents),
            author_name: "ann".into(),
            author_email: "ann@example.org".into(),
            message: "work".into(),
            seconds: 0,
        }
    }

    fn merge(n: u16, ours: u16, theirs: u16) -> CommitInfo {
        CommitInfo {
            author_name: MERGE_AUTHOR_NAME.into(),
            author_email: MERGE_AUTHOR_EMAIL.into(),
            message: merge_message(&hash(ours), &hash(theirs)),
            ..user(n, &[ours, theirs])
        }
    }

    fn founded() -> CommitGraph {
        let mut graph = CommitGraph::default();
        let signer = PeerId::from_bytes([0; 32]);
        let founding = Found { hash: hash(1), builds_on: vec![], made_on: None };
        graph.insert(founding.signed_by(signer)).unwrap();
        graph
    }

    fn walk(
        tips: &[u16],
        infos: &[CommitInfo],
        graph: &CommitGraph,
    ) -> Result<(WalkResult, usize), WalkError> {
        let infos: BTreeMap<_, _> = infos.iter().map(|info| (info.hash, info)).collect();
        let mut walk = Walk::new(hashes(tips));
        let mut asked = 0;
        while let Some(hash) = walk.next(graph) {
            asked += 1;
            if let Some(&info) = infos.get(&hash) {
                walk.supply(info.clone())?;
            }
        }
        Ok((walk.finish(graph)?, asked))
    }

    #[test]
    fn looks_through_merge_commits() {
        let infos = [user(2, &[1]), user(3, &[1]), merge(4, 2, 3), user(5, &[4]), user(6, &[5])];
        let (result, asked) = walk(&[6], &infos, &founded()).unwrap();
        assert_eq!(asked, 5);
        let found: Vec<_> = result.found.into_iter().map(|f| (f.hash, f.builds_on)).collect();
        let expected = [(2, &[1][..]), (3, &[1]), (5, &[2, 3]), (6, &[5])];
        assert_eq!(found, expected.map(|(n, on)| (hash(n), hashes(on))));
        assert_eq!(result.frontier[&hash(6)], hashes(&[6]));
    }

    #[test]
    fn the_merge_that_a_commit_was_made_on_is_known() {
        let infos = [
            user(2, &[1]),
            user(3, &[1]),
            merge(4, 2, 3),
            user(5, &[4]),
            join(6, 4, 2),
            user(7, &[6]),
            user(8, &[2, 3]),
            merge(9, 4, 3),
            user(10, &[5]),
        ];
        let (result, _) = walk(&[7, 8, 9, 10], &infos, &founded()).unwrap();
        let made_on = |n| result.found.iter().find(|found| found.hash == hash(n)).unwrap().made_on;
        let expected = [(2, None), (5, Some(hash(4))), (7, Some(hash(4))), (8, None), (10, None)];
        assert_eq!(expected.map(|(n, _)| made_on(n)), expected.map(|(_, merge)| merge));
    }

    #[test]
    fn a_join_commit_stands_for_the_tip_alone() {
        // Main left commit 3 out: it was parked. What is made on top does not build on it.
        let infos = [user(2, &[1]), user(3, &[1]), join(4, 2, 3), user(5, &[4])];
        let (result, asked) = walk(&[5, 4], &infos, &founded()).unwrap();
        assert_eq!(asked, 3);
        let found: Vec<_> = result.found.into_iter().map(|f| (f.hash, f.builds_on)).collect();
        assert_eq!(found, [(hash(2), hashes(&[1])), (hash(5), hashes(&[2]))]);
        assert_eq!(result.frontier[&hash(4)], hashes(&[2]));
    }

    #[test]
    fn a_known_commit_stops_the_walk() {
        let mut graph = founded();
        let signer = PeerId::from_bytes([0; 32]);
        let known = Found { hash: hash(2), builds_on: vec![hash(1)], made_on: None };
        graph.insert(known.signed_by(signer)).unwrap();
        let (result, asked) = walk(&[3, 2], &[user(3, &[2])], &graph).unwrap();
        assert_eq!(asked, 1);
        assert_eq!(result.found.len(), 1);
        assert_eq!(result.frontier[&hash(2)], hashes(&[2]));
    }

    #[test]
    fn frontier_of_a_merge_is_what_it_includes() {
        let infos = [user(2, &[1]), user(3, &[1]), user(4, &[3]), merge(5, 2, 4), merge(6, 5, 3)];
        let (result, _) = walk(&[6], &infos, &founded()).unwrap();
        assert_eq!(result.frontier[&hash(6)], hashes(&[2, 4]));
    }

    #[test]
    fn ancestors_of_others_are_pruned() {
        // A foreign program merged a branch into its own ancestor, twice.
        let infos =
            [user(2, &[1]), user(3, &[2]), user(4, &[3, 2, 1]), merge(5, 4, 2), user(6, &[5, 3])];
        let (result, _) = walk(&[6], &infos, &founded()).unwrap();
        let builds_on: Vec<_> = result.found.into_iter().map(|f| f.builds_on).collect();
        assert_eq!(builds_on, [hashes(&[1]), hashes(&[2]), hashes(&[3]), hashes(&[4])]);
    }

    #[test]
    fn hostile_histories_are_refused() {
        let graph = founded();
        let unrelated = WalkError::UnrelatedHistory { root: hash(8) };
        assert_eq!(walk(&[9], &[user(9, &[1, 8]), user(8, &[])], &graph), Err(unrelated));

        let cycle = walk(&[2], &[user(2, &[3]), user(3, &[2])], &graph);
        assert_eq!(cycle, Err(WalkError::Cycle { commit: hash(2) }));
        assert!(matches!(walk(&[2], &[user(2, &[2])], &graph), Err(WalkError::Cycle { .. })));

        let missing = walk(&[2], &[user(2, &[3])], &graph);
        assert_eq!(missing, Err(WalkError::Unfinished { missing: hash(3) }));

        let mut walk_of_two = Walk::new([hash(2)]);
        let not_asked = WalkError::NotAsked { commit: hash(3) };
        assert_eq!(walk_of_two.supply(user(3, &[1])), Err(not_asked));
    }

    #[test]
    fn a_commit_may_build_on_thousands() {
        const COUNT: u16 = 6_000;
        let heads: Vec<u16> = (2..2 + COUNT).collect();
        let mut infos: Vec<_> = heads.iter().map(|&n| user(n, &[1])).collect();
        // Directly, and by way of a chain of merge commits.
        infos.push(user(9_000, &heads));
        infos.push(merge(10_000, 2, 3));
        infos.extend((1..COUNT - 1).map(|n| merge(10_000 + n, 9_999 + n, n + 3)));
        infos.push(user(20_000, &[10_000 + COUNT - 2]));
        let (result, _) = walk(&[9_000, 20_000], &infos, &founded()).unwrap();
        let expected = hashes(&heads);
        for tip in [9_000, 20_000] {
            let found = result.found.iter().find(|found| found.hash == hash(tip)).unwrap();
            assert_eq!(found.builds_on, expected);
        }
    }
}
