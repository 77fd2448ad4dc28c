//! What is set aside takes no part in main, is kept and advertised, and comes back when it is
//! released.

use doltswarm_core::commit::UserCommit;
use doltswarm_core::graph::SetAsideReason;
use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::CONCURRENT_HEADS_MAX;
use doltswarm_core::node::{MoveResult, Output};

use crate::rig::{FOUNDING, Rig, commit, hash, hashes, merged, peer, restored};

/// A node whose main is its own commit 5, beside which a peer made 6 and, on that, 7.
fn beside() -> Rig {
    let commits = [commit(5, &[FOUNDING]), commit(6, &[FOUNDING]), commit(7, &[6])];
    Rig::restored(restored(&commits, hash(5), &[5]))
}

#[test]
fn a_commit_set_aside_is_left_out_with_what_builds_on_it() {
    let mut rig = beside();
    let op = rig.expect_merge(hash(5), hash(7));
    assert!(rig.node.handle_set_aside(rig.now, hash(6), "too large".into()));
    assert!(!rig.node.handle_set_aside(rig.now, hash(6), "too large".into()));
    rig.merge_result(op, Err("too large".into()));
    // Main stays where it is, and the head is kept.
    assert_eq!(rig.outputs(), [Output::SetParked { heads: hashes(&[7]) }]);
    assert!(rig.node.is_settled());
    assert_eq!((rig.node.main(), rig.node.parked()), (hash(5), &[][..]));
    assert_eq!(rig.node.advert_heads(), hashes(&[5, 7]));
    assert!(rig.node.fold_heads().iter().eq(&hashes(&[5])));
    let [aside] = rig.node.set_aside() else { panic!("{:?}", rig.node.set_aside()) };
    let reason = SetAsideReason::Local { commit: hash(6), reason: "too large".into() };
    assert_eq!((aside.head, aside.signer, &aside.reason), (hash(7), peer(9), &reason));

    // Work on main goes on.
    rig.local_commit(8, &[5]);
    rig.assert_idle();
    assert!(rig.node.is_settled());
    assert_eq!(rig.node.main(), hash(8));

    assert!(rig.node.handle_release(rig.now, hash(6)));
    assert!(!rig.node.handle_release(rig.now, hash(6)));
    let op = rig.expect_merge(hash(7), hash(8));
    rig.merge_result(op, Ok(merged(hash(7), hash(8))));
    let [Output::SetParked { ref heads }, Output::MoveMain { op, .. }] = rig.outputs()[..] else {
        panic!()
    };
    assert_eq!(heads.len(), 0);
    rig.moved(op, MoveResult::Moved);
    assert!(rig.node.is_settled() && rig.node.set_aside().is_empty());
}

#[test]
fn main_leaves_a_commit_that_is_set_aside_later() {
    let commits = [commit(5, &[FOUNDING]), commit(6, &[5])];
    let mut rig = Rig::restored(restored(&commits, hash(6), &[6]));
    rig.outputs();
    rig.node.handle_set_aside(rig.now, hash(6), "does not parse".into());
    let [Output::SetParked { ref heads }, Output::MoveMain { op, from, to, .. }] =
        rig.outputs()[..]
    else {
        panic!()
    };
    assert_eq!((heads, from, to), (&hashes(&[6]), hash(6), hash(5)));
    rig.moved(op, MoveResult::Moved);
    assert!(rig.node.is_settled());
}

#[test]
fn the_founding_commit_is_never_set_aside() {
    let mut rig = Rig::founded();
    assert!(!rig.node.handle_set_aside(rig.now, hash(FOUNDING), "no".into()));
    rig.assert_idle();
    assert!(rig.node.fold_heads().contains(&hash(FOUNDING)));
}

#[test]
fn what_was_set_aside_before_a_restart_stays_so() {
    let commits = [commit(5, &[FOUNDING]), commit(6, &[FOUNDING])];
    let mut state = restored(&commits, hash(5), &[5]);
    state.set_aside.insert(hash(6), "too large".into());
    let mut rig = Rig::restored(state);
    assert_eq!(rig.outputs(), [Output::SetParked { heads: hashes(&[6]) }]);
    assert!(rig.node.is_settled());
    assert_eq!(rig.node.set_aside().len(), 1);
}

fn wide(n: u32, on: &[CommitHash], signer: u8) -> UserCommit {
    let mut bytes = [1; 20];
    bytes[..4].copy_from_slice(&(1 << 24 | n).to_be_bytes());
    let hash = CommitHash::from_bytes(bytes);
    let mut builds_on = on.to_vec();
    builds_on.sort_unstable();
    UserCommit { hash, builds_on, made_on: None, signer: peer(signer) }
}

/// Answers merges and moves until the node is settled; returns how many merges it took.
fn settle(rig: &mut Rig) -> usize {
    let mut merges = 0;
    while !rig.node.is_settled() {
        for output in rig.outputs() {
            match output {
                Output::Merge { op, merge } => {
                    merges += 1;
                    rig.merge_result(op, Ok(merged(merge.ours, merge.theirs)));
                }
                Output::MoveMain { op, .. } => rig.moved(op, MoveResult::Moved),
                _ => {}
            }
        }
    }
    rig.outputs();
    merges
}

#[test]
fn five_thousand_heads_of_one_key_cost_bounded_work() {
    let founding = hash(FOUNDING);
    let crowd: Vec<UserCommit> = (0..5_000).map(|n| wide(n, &[founding], 1)).collect();
    let mut rig = Rig::restored(restored(&crowd, founding, &[FOUNDING]));
    assert_eq!(settle(&mut rig), CONCURRENT_HEADS_MAX - 1);
    assert_eq!(rig.node.heads().len(), 5_000);
    assert_eq!(rig.node.set_aside().len(), 5_000 - CONCURRENT_HEADS_MAX);
    // Another's commit beside them costs one merge, whatever is set aside.
    let other = wide(9_000, &[founding], 2);
    let included = vec![other.hash];
    rig.node.handle_local_commits(rig.now, vec![other.clone()], other.hash, included).unwrap();
    assert_eq!(settle(&mut rig), 1);
    // A commit that builds on some that are set aside closes these.
    let closed: Vec<CommitHash> = crowd.iter().take(500).map(|commit| commit.hash).collect();
    let on = [&closed[..], &[other.hash]].concat();
    let closing = wide(9_001, &on, 2);
    let (hash, included) = (closing.hash, vec![closing.hash]);
    rig.node.handle_local_commits(rig.now, vec![closing], hash, included).unwrap();
    assert_eq!(settle(&mut rig), 1);
    assert_eq!(rig.node.set_aside().len(), 4_500 - CONCURRENT_HEADS_MAX);
}

#[test]
fn a_lower_signature_changes_which_heads_take_part() {
    let founding = hash(FOUNDING);
    let crowd: Vec<UserCommit> =
        (0..=CONCURRENT_HEADS_MAX as u32).map(|n| wide(n, &[founding], 2)).collect();
    let mut rig = Rig::restored(restored(&crowd, founding, &[FOUNDING]));
    settle(&mut rig);
    let [aside] = rig.node.set_aside() else { panic!("{:?}", rig.node.set_aside()) };
    // It turns out that a lower key signed it too.
    let head = aside.head;
    rig.node.handle_signers(rig.now, &[(head, peer(1)), (founding, peer(1))]);
    settle(&mut rig);
    assert!(rig.node.set_aside().is_empty());
    assert_eq!(rig.node.graph().signer(&head), Some(peer(1)));
    // A node that knew it from the beginning has the same main.
    let crowd: Vec<UserCommit> = crowd
        .into_iter()
        .map(|it| UserCommit { signer: if it.hash == head { peer(1) } else { it.signer }, ..it })
        .collect();
    let mut other = Rig::restored(restored(&crowd, founding, &[FOUNDING]));
    settle(&mut other);
    assert_eq!(rig.node.main(), other.node.main());
    // Signatures that change nothing cost nothing.
    rig.node.handle_signers(rig.now, &[(head, peer(1))]);
    rig.assert_idle();
}
