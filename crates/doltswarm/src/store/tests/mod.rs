//! Tests of the store: what it keeps, what it refuses, what it survives.

use std::path::Path;

use doltswarm_core::commit::{ConflictPolicy, EngineKind, UserCommit};
use doltswarm_core::id::{CommitHash, PeerId, SwarmId};
use doltswarm_core::limits;
use doltswarm_core::message::SignedCommit;
use tempfile::TempDir;

use super::*;

mod crash;
mod hostile;
mod records;
mod upgrade;

fn hash(n: u64) -> CommitHash {
    let mut bytes = [0xc0; CommitHash::BYTES];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    CommitHash::from_bytes(bytes)
}

fn peer(n: u64) -> PeerId {
    let mut bytes = [0xee; PeerId::BYTES];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    PeerId::from_bytes(bytes)
}

fn founding() -> Founding {
    Founding {
        swarm: SwarmId::derive(&peer(0), &hash(0)),
        founder: peer(0),
        founding: hash(0),
        engine: EngineKind::DoltLite,
        policy: ConflictPolicy::Park,
    }
}

/// Commit `n` on top of commit `n - 1`; 0 is the founding commit.
fn commit(n: u64) -> UserCommit {
    let builds_on = n.checked_sub(1).map(hash).into_iter().collect();
    UserCommit { hash: hash(n), builds_on, made_on: None, signer: peer(n % 3) }
}

fn signed(commit: &UserCommit) -> SignedCommit {
    let mut signature = [7; 64];
    signature[..20].copy_from_slice(commit.hash.as_bytes());
    SignedCommit { hash: commit.hash, signer: commit.signer, signature }
}

fn add(store: &Store, commits: &[UserCommit]) -> Result<(), StoreError> {
    store.add_commits(commits, &commits.iter().map(signed).collect::<Vec<_>>())
}

fn add_relaxed(store: &Store, commits: &[UserCommit]) -> Result<(), StoreError> {
    store.add_commits_relaxed(commits, &commits.iter().map(signed).collect::<Vec<_>>())
}

fn commits(range: std::ops::Range<u64>) -> Vec<UserCommit> {
    range.map(commit).collect()
}

fn new_store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), &founding()).unwrap();
    (dir, store)
}

fn reopen(dir: &Path, store: Store) -> Store {
    drop(store);
    Store::open(dir).unwrap()
}

#[test]
fn store_opens_as_what_it_was_made() {
    let empty = tempfile::tempdir().unwrap();
    let missing = Store::open(empty.path()).unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }), "{missing}");

    let (dir, store) = new_store();
    let locked = Store::open(dir.path()).unwrap_err();
    assert!(matches!(locked, StoreError::Locked { .. }), "{locked}");
    let again = Store::create(dir.path(), &founding()).unwrap_err();
    assert!(matches!(again, StoreError::AlreadyThere { .. }), "{again}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(dir.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let store = reopen(dir.path(), store);
    assert_eq!(*store.founding(), founding());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing but the store is left");

    let odd = Founding { founder: peer(1), ..founding() };
    assert!(matches!(Store::create(empty.path(), &odd), Err(StoreError::Invalid { .. })));
}

#[test]
fn unfinished_creation_is_no_node_and_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("store.redb.new"), b"half").unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Missing { .. })));
    Store::create(dir.path(), &founding()).unwrap();
}

#[test]
fn commits_come_back_parents_first_with_their_signatures() {
    let (dir, store) = new_store();
    add(&store, &commits(0..3)).unwrap();
    let merge = UserCommit {
        hash: hash(9),
        builds_on: vec![hash(1), hash(2)],
        made_on: Some(hash(12)),
        signer: peer(5),
    };
    // Hashes say nothing about the order: 5 comes on top of 9.
    let last =
        UserCommit { hash: hash(5), builds_on: vec![hash(9)], made_on: None, signer: peer(5) };
    add(&store, &[merge.clone(), last.clone()]).unwrap();
    add(&store, &commits(1..3)).expect("known commits are skipped");

    let expected = [commits(0..3), vec![merge.clone(), last]].concat();
    let store = reopen(dir.path(), store);
    assert_eq!(store.restore_commits().unwrap(), expected);
    assert_eq!(store.commit_count().unwrap(), 5);
    assert_eq!(
        store.signatures(&[hash(9), hash(77), hash(0)]).unwrap(),
        [vec![signed(&merge)], vec![], vec![signed(&commit(0))]]
    );
}

#[test]
fn refused_commits_leave_nothing_behind() {
    let (_dir, store) = new_store();
    add(&store, &commits(0..2)).unwrap();
    let orphan =
        UserCommit { hash: hash(50), builds_on: vec![hash(49)], made_on: None, signer: peer(1) };
    let unsorted = UserCommit {
        hash: hash(51),
        builds_on: vec![hash(1), hash(0)],
        made_on: None,
        signer: peer(1),
    };
    let root = UserCommit { hash: hash(52), builds_on: vec![], made_on: None, signer: peer(1) };
    for bad in [orphan, unsorted, root] {
        let both = [commit(2), bad];
        assert!(matches!(add(&store, &both), Err(StoreError::Invalid { .. })), "{both:?}");
        assert!(matches!(add_relaxed(&store, &both), Err(StoreError::Invalid { .. })), "{both:?}");
    }
    let stolen = [SignedCommit { signer: peer(8), ..signed(&commit(2)) }];
    assert!(store.add_commits(&[commit(2)], &stolen).is_err());
    assert!(store.add_commits(&[commit(2)], &[]).is_err());
    assert_eq!(store.restore_commits().unwrap(), commits(0..2));
    add(&store, &commits(2..3)).expect("a refusal does not hurt the store");
}

#[test]
fn relaxed_commits_are_there_at_once_and_last_from_the_flush() {
    let (dir, store) = new_store();
    add(&store, &commits(0..1)).unwrap();
    add_relaxed(&store, &commits(1..3)).unwrap();
    assert_eq!(store.signatures(&[hash(2)]).unwrap(), [vec![signed(&commit(2))]]);
    let store = reopen(dir.path(), store);
    assert_eq!(store.restore_commits().unwrap(), commits(0..1), "not flushed, so lost");

    add_relaxed(&store, &commits(1..2)).unwrap();
    add_relaxed(&store, &commits(2..3)).unwrap();
    store.flush().unwrap();
    let store = reopen(dir.path(), store);
    assert_eq!(store.restore_commits().unwrap(), commits(0..3));

    add_relaxed(&store, &commits(3..4)).unwrap();
    add(&store, &commits(4..5)).expect("what waits goes first");
    let store = reopen(dir.path(), store);
    assert_eq!(store.restore_commits().unwrap(), commits(0..5));

    let many = limits::STORE_PENDING_MAX as u64;
    add_relaxed(&store, &commits(5..5 + many)).unwrap();
    assert_eq!(store.commit_count().unwrap(), 5);
    add_relaxed(&store, &commits(5 + many..6 + many)).unwrap();
    assert_eq!(store.commit_count().unwrap(), 5 + many, "what waits is bounded");
}

#[test]
fn clones_share_the_file_from_many_threads() {
    let (dir, store) = new_store();
    add(&store, &commits(0..1)).unwrap();
    std::thread::scope(|scope| {
        for thread in 1..=4 {
            let store = store.clone();
            scope.spawn(move || {
                for n in 0..50 {
                    let number = thread * 1_000 + n;
                    let commit = UserCommit {
                        hash: hash(number),
                        builds_on: vec![if n == 0 { hash(0) } else { hash(number - 1) }],
                        made_on: None,
                        signer: peer(thread),
                    };
                    if n % 10 == 0 {
                        add(&store, &[commit]).unwrap();
                    } else {
                        add_relaxed(&store, &[commit]).unwrap();
                    }
                    assert!(store.signatures(&[hash(number)]).unwrap()[0].len() == 1);
                }
            });
        }
    });
    store.flush().unwrap();
    let store = reopen(dir.path(), store);
    assert_eq!(store.restore_commits().unwrap().len(), 201);
}
