//! The standing of commits against the literal rule, in any order.

use proptest::prelude::*;

use super::*;
use crate::commit::UserCommit;

/// Hash number `n`; numbers order as hashes do.
fn hash(n: u32) -> CommitHash {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    CommitHash::from_bytes(bytes)
}

fn key(n: u8) -> PeerId {
    PeerId::from_bytes([n; 32])
}

fn commit(n: u32, on: &[u32], signer: u8) -> UserCommit {
    let mut builds_on: Vec<_> = on.iter().map(|&n| hash(n)).collect();
    builds_on.sort();
    UserCommit { hash: hash(n), builds_on, made_on: None, signer: key(signer) }
}

/// Inserts a commit into both.
fn add(graph: &mut CommitGraph, standing: &mut Standing, commit: UserCommit) {
    let hash = commit.hash;
    graph.insert(commit).unwrap();
    standing.follow(graph, &[hash]);
}

fn founded() -> (CommitGraph, Standing) {
    let (mut graph, mut standing) = (CommitGraph::default(), Standing::default());
    add(&mut graph, &mut standing, commit(0, &[], 0));
    (graph, standing)
}

/// The number of the last of `count` commits by `signer` on the founding commit, from `first` on.
fn crowd(graph: &mut CommitGraph, standing: &mut Standing, first: u32, count: u32, signer: u8) {
    for n in first..first + count {
        add(graph, standing, commit(n, &[0], signer));
    }
}

const MAX: u32 = CONCURRENT_HEADS_MAX as u32;

#[test]
fn the_highest_heads_of_a_key_take_part() {
    let (mut graph, mut standing) = founded();
    crowd(&mut graph, &mut standing, 1, MAX + 10, 1);
    add(&mut graph, &mut standing, commit(5_000, &[0], 2));
    let expected: BTreeSet<_> = (11..=MAX + 10).chain([5_000]).map(hash).collect();
    assert_eq!(*standing.fold_heads(), expected);
    let heads: Vec<_> = standing.set_aside().iter().map(|aside| aside.head).collect();
    assert_eq!(heads, (1..=10).map(hash).collect::<Vec<_>>());
    assert!(standing.set_aside().iter().all(|aside| aside.signer == key(1)));
    assert!(!standing.is_local());
    assert_eq!(graph.heads().len(), 75);
}

#[test]
fn building_on_a_head_closes_it_and_frees_its_place() {
    let (mut graph, mut standing) = founded();
    crowd(&mut graph, &mut standing, 1, MAX + 2, 1);
    // One that takes part is closed, and so is one that is set aside.
    add(&mut graph, &mut standing, commit(900, &[2, 3], 2));
    assert!(standing.fold_heads().contains(&hash(900)));
    assert!(standing.fold_heads().contains(&hash(1)));
    assert_eq!(standing.set_aside(), []);
    assert_eq!(standing.fold_heads(), graph.heads());
}

#[test]
fn what_lies_under_a_crowded_head_of_another_key_takes_part() {
    let (mut graph, mut standing) = founded();
    add(&mut graph, &mut standing, commit(1, &[0], 2));
    add(&mut graph, &mut standing, commit(2, &[1], 1));
    crowd(&mut graph, &mut standing, 1_000, MAX, 3);
    for n in 0..MAX {
        add(&mut graph, &mut standing, commit(100 + n, &[1_000 + n], 1));
    }
    assert_eq!(standing.set_aside().len(), 1);
    assert_eq!(standing.set_aside()[0].head, hash(2));
    assert!(standing.fold_heads().contains(&hash(1)));
}

#[test]
fn set_aside_locally_with_what_builds_on_it() {
    let (mut graph, mut standing) = founded();
    for (n, on) in [(1, 0), (2, 1), (3, 1), (4, 0)] {
        add(&mut graph, &mut standing, commit(n, &[on], 1));
    }
    assert!(standing.set_aside_locally(&graph, hash(2), "too large".into()));
    assert!(!standing.set_aside_locally(&graph, hash(2), "too large".into()));
    assert_eq!(*standing.fold_heads(), [3, 4].map(hash).into());
    add(&mut graph, &mut standing, commit(5, &[2, 4], 2));
    add(&mut graph, &mut standing, commit(6, &[3], 2));
    assert_eq!(*standing.fold_heads(), [4, 6].map(hash).into());
    let reason = SetAsideReason::Local { commit: hash(2), reason: "too large".into() };
    assert_eq!(standing.set_aside(), [SetAside { head: hash(5), signer: key(2), reason }]);
    assert!(standing.is_local() && standing.is_set_aside_locally(&graph, &hash(5)));
    assert!(!standing.is_set_aside_locally(&graph, &hash(4)));
    assert!(standing.release(&graph, &hash(2)));
    assert!(!standing.release(&graph, &hash(2)));
    assert_eq!(standing.fold_heads(), graph.heads());
    assert!(!standing.is_local());
}

#[test]
fn the_founding_commit_stands_and_unknown_ones_wait() {
    let (mut graph, mut standing) = founded();
    assert!(!standing.set_aside_locally(&graph, hash(0), "no".into()));
    assert!(standing.set_aside_locally(&graph, hash(7), "does not parse".into()));
    assert!(!standing.is_local());
    add(&mut graph, &mut standing, commit(7, &[0], 1));
    assert_eq!(*standing.fold_heads(), [hash(0)].into());
    assert_eq!(standing.set_aside().len(), 1);
}

#[test]
fn thousands_of_heads_by_one_key_are_swept_in_little_time() {
    let (mut graph, mut standing) = founded();
    // Made one after the other on a main that was put back, each time from a little further on.
    for n in 1..=500 {
        add(&mut graph, &mut standing, commit(n, &[n - 1], 2));
    }
    let before: Vec<CommitHash> = (0..5_000)
        .map(|n| {
            let on = n / 10;
            graph.insert(commit(10_000 + n, &[on], 1)).unwrap();
            hash(10_000 + n)
        })
        .collect();
    standing.follow(&graph, &before);
    assert_eq!(standing.fold_heads().len(), CONCURRENT_HEADS_MAX + 1);
    assert_eq!(standing.set_aside().len(), 5_000 - CONCURRENT_HEADS_MAX);
    assert!(standing.fold_heads().contains(&hash(500)));
}

/// The rule, the slow way: maximal elements, again and again, until no key has too many.
fn naive(graph: &CommitGraph, local: &BTreeSet<CommitHash>) -> BTreeSet<CommitHash> {
    let all: Vec<UserCommit> = graph.iter_topological().collect();
    let mut aside: BTreeSet<CommitHash> = BTreeSet::new();
    for commit in &all {
        let inherits = commit.builds_on.iter().any(|parent| aside.contains(parent));
        if local.contains(&commit.hash) || inherits {
            aside.insert(commit.hash);
        }
    }
    loop {
        let counts = all.iter().filter(|commit| !aside.contains(&commit.hash));
        let covered: BTreeSet<CommitHash> =
            counts.clone().flat_map(|commit| commit.builds_on.iter().copied()).collect();
        let mut maximal: Vec<&UserCommit> =
            counts.filter(|commit| !covered.contains(&commit.hash)).collect();
        maximal.sort_by_key(|commit| (graph.height(&commit.hash), commit.hash));
        // The highest one that is one too many for its key goes, and all are looked at again.
        let mut seen: BTreeMap<PeerId, usize> = BTreeMap::new();
        let excess = maximal.iter().rev().find(|commit| {
            let count = seen.entry(commit.signer).or_default();
            *count += 1;
            *count > CONCURRENT_HEADS_MAX && !commit.builds_on.is_empty()
        });
        match excess {
            Some(commit) => aside.insert(commit.hash),
            None => return maximal.iter().map(|commit| commit.hash).collect(),
        };
    }
}

/// Random histories with many concurrent heads, of few keys.
fn histories() -> impl Strategy<Value = Vec<UserCommit>> {
    let parent = any::<prop::sample::Index>();
    let wide = (0_u32..6, prop::collection::vec(parent, 0..3), 1_u8..3);
    prop::collection::vec(wide, 1..220).prop_map(|steps| {
        let mut commits = vec![commit(0, &[], 0)];
        for (n, (base, more, signer)) in (1_u32..).zip(steps) {
            let mut on: BTreeSet<u32> = [base.min(n - 1)].into();
            if n % 7 == 0 {
                on.extend(more.iter().map(|pick| pick.index(n as usize) as u32));
            }
            let on: Vec<u32> = on.into_iter().collect();
            commits.push(commit(n, &on, signer));
        }
        commits
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn agrees_with_the_slow_way_in_any_order(
        commits in histories(),
        locals in prop::collection::btree_set(1_u32..200, 0..3),
        batch in 1_usize..9,
    ) {
        let (mut graph, mut standing) = (CommitGraph::default(), Standing::default());
        let local: BTreeSet<CommitHash> = locals.iter().map(|&n| hash(n)).collect();
        for (turn, commits) in commits.chunks(batch).enumerate() {
            for commit in commits {
                graph.insert(commit.clone()).unwrap();
            }
            let hashes: Vec<_> = commits.iter().map(|commit| commit.hash).collect();
            standing.follow(&graph, &hashes);
            if turn == 2 {
                for commit in &local {
                    standing.set_aside_locally(&graph, *commit, "failed".into());
                }
            }
        }
        let with_local: BTreeSet<_> = standing.local().keys().copied().collect();
        let expected = naive(&graph, &with_local);
        prop_assert_eq!(standing.fold_heads(), &expected);
        let anew = Standing::new(&graph, standing.local().clone());
        prop_assert_eq!(anew.fold_heads(), &expected);
        prop_assert_eq!(anew.set_aside(), standing.set_aside());
        // Every head takes part or is set aside.
        let shown: BTreeSet<_> = standing.set_aside().iter().map(|aside| aside.head).collect();
        for head in graph.heads() {
            prop_assert!(shown.contains(head) != expected.contains(head));
        }
    }
}
