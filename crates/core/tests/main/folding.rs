//! How heads become main.

use std::time::Duration;

use doltswarm_core::commit::{ConflictPolicy, UserCommit};
use doltswarm_core::fold::Parked;
use doltswarm_core::limits::{DIRTY_RETRY_DELAY, FOLD_RESTARTS_MAX, RETRY_DELAY_MAX};
use doltswarm_core::node::{Event, MoveResult, OpId, Output};

use crate::rig::{FOUNDING, Rig, commit, hash, hashes, merged, restored};

/// A node that has just learned of heads 5 and 6; its main is at 5.
fn two_heads() -> (Rig, OpId) {
    two_heads_under(ConflictPolicy::Settle)
}

fn two_heads_under(policy: ConflictPolicy) -> (Rig, OpId) {
    let commits = [commit(5, &[FOUNDING]), commit(6, &[FOUNDING])];
    let mut rig = Rig::under(policy, restored(&commits, hash(5), &[5]));
    let op = rig.expect_merge(hash(5), hash(6));
    (rig, op)
}

/// Answers merges and moves until the node is settled.
fn settle(rig: &mut Rig) {
    loop {
        let outputs = rig.outputs();
        if outputs.is_empty() {
            assert!(rig.node.is_settled());
            return;
        }
        for output in outputs {
            match output {
                Output::Merge { op, merge } => {
                    rig.merge_result(op, Ok(merged(merge.ours, merge.theirs)));
                }
                Output::MoveMain { op, .. } => rig.moved(op, MoveResult::Moved),
                Output::SetParked { .. } | Output::Advertise { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_node_that_starts_behind_its_heads_folds_at_once() {
    let (mut rig, op) = two_heads();
    assert!(!rig.node.is_settled());
    let tip = merged(hash(5), hash(6));
    rig.merge_result(op, Ok(tip));
    let [Output::SetParked { ref heads }, Output::MoveMain { op, from, to, outrun: false }] =
        rig.outputs()[..]
    else {
        panic!()
    };
    assert_eq!((heads.len(), from, to), (0, hash(5), tip));
    rig.moved(op, MoveResult::Moved);
    rig.assert_idle();
    assert!(rig.node.is_settled());
    assert_eq!(rig.node.main(), tip);
    assert_eq!(rig.node.included(), hashes(&[5, 6]));
    let moved = Event::MainMoved { from: hash(5), to: tip, fast_forward: true };
    assert_eq!(rig.events, [Event::Folded { main: tip, parked: vec![] }, moved]);
}

#[test]
fn a_node_that_starts_on_its_fold_does_nothing() {
    let commits = [commit(5, &[FOUNDING])];
    let mut rig = Rig::restored(restored(&commits, hash(5), &[5]));
    assert_eq!(rig.outputs(), [Output::SetParked { heads: vec![] }]);
    assert_eq!(rig.events, []);
    assert!(rig.node.is_settled());
    assert_eq!(rig.node.poll_timeout(), None);
}

#[test]
fn an_impossible_merge_parks_the_lower_head_until_it_is_built_on() {
    let (mut rig, op) = two_heads_under(ConflictPolicy::Park);
    rig.merge_result(op, Err("table t is dropped".into()));
    let outputs = rig.outputs();
    assert_eq!(outputs[0], Output::SetParked { heads: hashes(&[5]) });
    let Output::MoveMain { op, to, .. } = outputs[1] else { panic!("{outputs:?}") };
    assert_eq!(to, hash(6));
    rig.moved(op, MoveResult::Moved);
    rig.assert_idle();
    let parked = vec![Parked { head: hash(5), reason: "table t is dropped".into() }];
    assert_eq!(rig.node.parked(), parked);
    // A parked head is pulled out of the fold, so main did not go forward.
    let moved = Event::MainMoved { from: hash(5), to: hash(6), fast_forward: false };
    assert_eq!(rig.events, [Event::Folded { main: hash(6), parked }, moved]);

    // The failure is remembered: a new head is tried with the parked one, and nothing else.
    rig.local_commit(7, &[6]);
    let op = rig.expect_merge(hash(5), hash(7));
    rig.merge_result(op, Err("table t is dropped".into()));
    rig.assert_idle();
    assert!(rig.node.is_settled());
    // A person merges by hand.
    rig.local_commit(8, &[5, 7]);
    assert_eq!(rig.outputs(), [Output::SetParked { heads: vec![] }]);
    assert!(rig.node.is_settled() && rig.node.parked().is_empty());
}

#[test]
fn a_clash_made_agree_in_two_ways_can_be_closed() {
    let crossed =
        [commit(5, &[FOUNDING]), commit(6, &[FOUNDING]), commit(7, &[5, 6]), commit(8, &[5, 6])];
    let mut rig = Rig::under(ConflictPolicy::Park, restored(&crossed, hash(8), &[8]));
    let op = rig.expect_merge(hash(5), hash(6));
    rig.merge_result(op, Err("row 1 of t".into()));
    assert_eq!(rig.outputs(), [Output::SetParked { heads: hashes(&[7]) }]);
    let [parked] = rig.node.parked() else { panic!("{:?}", rig.node.parked()) };
    assert!(parked.reason.contains("row 1 of t"), "{}", parked.reason);
    assert!(parked.reason.contains("doltswarm parked take"), "{}", parked.reason);
    rig.local_commit(9, &[7, 8]);
    assert_eq!(rig.outputs(), [Output::SetParked { heads: vec![] }]);
    assert!(rig.node.is_settled() && rig.node.parked().is_empty());
    assert_eq!(rig.node.main(), hash(9));
}

#[test]
fn an_impossible_merge_is_retried_under_settle() {
    let (mut rig, mut op) = two_heads();
    for pause in [150, 300, 600] {
        rig.merge_result(op, Err("table t is dropped".into()));
        rig.assert_idle();
        assert!(rig.node.memory().is_empty() && rig.node.parked().is_empty());
        rig.advance(Duration::from_millis(pause));
        op = rig.expect_merge(hash(5), hash(6));
    }
    rig.merge_result(op, Ok(merged(hash(5), hash(6))));
    settle(&mut rig);
    assert_eq!(rig.node.main(), merged(hash(5), hash(6)));
}

#[test]
fn main_waits_for_uncommitted_work_and_says_so_once() {
    let (mut rig, op) = two_heads();
    let tip = merged(hash(5), hash(6));
    rig.merge_result(op, Ok(tip));
    let [_, Output::MoveMain { mut op, .. }] = rig.outputs()[..] else { panic!() };
    rig.events.clear();
    for _ in 0..4 {
        rig.moved(op, MoveResult::Dirty(vec!["t".into()]));
        rig.assert_idle();
        assert_eq!(rig.node.dirty(), ["t"]);
        rig.advance(DIRTY_RETRY_DELAY);
        op = rig.expect_move(hash(5), tip);
    }
    assert_eq!(rig.events, [Event::MainWaits { tables: vec!["t".into()] }]);
    rig.moved(op, MoveResult::Moved);
    assert!(rig.node.dirty().is_empty() && rig.node.is_settled());
}

#[test]
fn commits_of_other_programs_are_taken_in_and_folded() {
    let (mut rig, op) = two_heads();
    rig.merge_result(op, Ok(merged(hash(5), hash(6))));
    let [_, Output::MoveMain { op, .. }] = rig.outputs()[..] else { panic!() };
    let (main, included) = (hash(7), hashes(&[7]));
    rig.moved(op, MoveResult::MainChanged { main, commits: vec![commit(7, &[5])], included });
    assert_eq!(rig.node.main(), hash(7));
    let op = rig.expect_merge(hash(6), hash(7));
    rig.merge_result(op, Ok(merged(hash(6), hash(7))));
    rig.expect_move(hash(7), merged(hash(6), hash(7)));
}

#[test]
fn a_local_commit_while_a_merge_is_under_way_is_folded_next() {
    let (mut rig, op) = two_heads();
    rig.local_commit(7, &[5]);
    rig.assert_idle();
    rig.merge_result(op, Ok(merged(hash(5), hash(6))));
    let op = rig.expect_merge(hash(6), hash(7));
    rig.merge_result(op, Ok(merged(hash(6), hash(7))));
    settle(&mut rig);
    assert_eq!(rig.node.main(), merged(hash(6), hash(7)));
    assert_eq!(rig.node.memory().len(), 2, "what was made in vain is remembered too");
}

#[test]
fn a_commit_on_top_of_a_move_is_not_undone_by_the_news_of_the_move() {
    let (mut rig, op) = two_heads();
    rig.merge_result(op, Ok(merged(hash(5), hash(6))));
    let [_, Output::MoveMain { op, .. }] = rig.outputs()[..] else { panic!() };
    // The engine moved main and a user committed on it; the second news comes first.
    rig.local_commit(7, &[5, 6]);
    rig.moved(op, MoveResult::Moved);
    rig.assert_idle();
    assert_eq!(rig.node.main(), hash(7));
    assert!(rig.node.is_settled());
}

#[test]
fn an_engine_that_fails_is_tried_again_with_growing_pauses() {
    let (mut rig, mut op) = two_heads();
    for pause in [150, 300, 600] {
        rig.node.handle_merged(rig.now, op, Err(()));
        rig.assert_idle();
        rig.advance(Duration::from_millis(pause));
        op = rig.expect_merge(hash(5), hash(6));
    }
    let tip = merged(hash(5), hash(6));
    rig.merge_result(op, Ok(tip));
    let [_, Output::MoveMain { mut op, .. }] = rig.outputs()[..] else { panic!() };
    for pause in [150, 300, 600] {
        rig.node.handle_moved(rig.now, op, Err(())).unwrap();
        rig.assert_idle();
        rig.advance(Duration::from_millis(pause));
        op = rig.expect_move(hash(5), tip);
    }
    rig.moved(op, MoveResult::Moved);
    assert!(rig.node.is_settled());
}

#[test]
fn unknown_and_late_answers_are_ignored() {
    let (mut rig, op) = two_heads();
    let tip = merged(hash(5), hash(6));
    rig.merge_result(OpId(99), Ok(hash(66)));
    rig.moved(op, MoveResult::Moved);
    rig.merge_result(op, Ok(tip));
    rig.merge_result(op, Ok(hash(66)));
    settle(&mut rig);
    assert_eq!(rig.node.main(), tip);
}

#[test]
fn a_commit_that_does_not_fit_is_the_callers_mistake() {
    let mut rig = Rig::founded();
    let commits = vec![commit(7, &[5])];
    let result = rig.node.handle_local_commits(rig.now, commits, hash(7), hashes(&[7]));
    assert!(result.is_err());
    assert!(!rig.node.graph().contains(&hash(7)));
}

#[test]
fn main_moves_however_fast_others_commit() {
    let mut rig = Rig::connected(&[1]);
    rig.local_commit(10, &[FOUNDING]);
    let mut moves = 0;
    // Before each answer of the engine, a new commit of someone else comes, each a head.
    for n in 20..60 {
        rig.advert(1, &[n], &[]);
        let outputs = rig.outputs();
        for output in &outputs {
            if let Output::Pull { op, .. } = output {
                rig.pulled(*op, &[commit(n, &[FOUNDING])]);
            }
        }
        for output in outputs {
            match output {
                Output::Merge { op, merge } => {
                    rig.merge_result(op, Ok(merged(merge.ours, merge.theirs)));
                }
                Output::MoveMain { op, from, .. } => {
                    assert_eq!(from, rig.node.main());
                    rig.moved(op, MoveResult::Moved);
                    moves += 1;
                    // Whatever else it includes, it includes what was committed here.
                    assert!(rig.node.included().contains(&hash(10)));
                }
                _ => {}
            }
        }
    }
    assert!(moves >= 3, "main moved {moves} times");
}

/// Head 6 of someone else, and commits made here on top of 5, each before the merge under way ends.
/// Returns the move that is asked for in the end, and the last of these commits.
fn outrun() -> (Rig, OpId, u8) {
    let (mut rig, mut op) = two_heads();
    let (mut ours, mut last) = (5, 6);
    for (count, n) in (1..).zip(7..) {
        let below = if n == 7 { 5 } else { n - 1 };
        rig.local_commit(n, &[below]);
        assert_eq!(rig.node.is_outrun(), count >= FOLD_RESTARTS_MAX, "after {n}");
        rig.merge_result(op, Ok(merged(hash(ours), hash(last))));
        match rig.outputs().pop() {
            Some(Output::Merge { op: next, merge }) => {
                assert_eq!((merge.ours, merge.theirs), (hash(6), hash(n)));
                (op, ours, last) = (next, 6, n);
            }
            Some(Output::MoveMain { op, from, to, outrun }) => {
                assert_eq!((from, to, outrun), (hash(below), merged(hash(6), hash(below)), true));
                assert_eq!((count, rig.node.is_outrun()), (FOLD_RESTARTS_MAX + 1, true));
                return (rig, op, n);
            }
            other => panic!("{other:?}"),
        }
    }
    unreachable!("the numbers do not end")
}

#[test]
fn a_fold_that_commits_made_here_outrun_can_be_caught_up_with() {
    let (mut rig, op, n) = outrun();
    let (main, included) = (hash(90), hashes(&[90]));
    let commits = vec![commit(90, &[6, n])];
    rig.moved(op, MoveResult::MainChanged { main, commits, included });
    rig.assert_idle();
    assert!(rig.node.is_settled() && !rig.node.is_outrun());
    assert_eq!(rig.node.main(), hash(90));
    // The next time it is known at once that they do not wait.
    rig.node.handle_connected(rig.now, crate::rig::peer(1));
    rig.outputs();
    rig.local_commit(91, &[90]);
    rig.advert(1, &[92], &[]);
    let op = rig.expect_pull(1, &[92]);
    rig.pulled(op, &[commit(92, &[6])]);
    let Some(Output::Merge { op, .. }) = rig.outputs().pop() else { panic!() };
    rig.local_commit(93, &[91]);
    rig.merge_result(op, Ok(merged(hash(92), hash(91))));
    let Some(Output::MoveMain { op, from, outrun: true, .. }) = rig.outputs().pop() else {
        panic!()
    };
    assert_eq!(from, hash(91));
    // Where the engine knows no way, main goes on from where it is.
    let (main, included) = (hash(93), hashes(&[93]));
    rig.moved(op, MoveResult::MainChanged { main, commits: vec![], included });
    let Some(Output::Merge { op, .. }) = rig.outputs().pop() else { panic!() };
    rig.merge_result(op, Ok(merged(hash(92), hash(93))));
    settle(&mut rig);
    assert_eq!(rig.node.main(), merged(hash(92), hash(93)));
    // Main was at the fold, so whoever commits now has outrun nothing yet.
    rig.local_commit(94, &[92, 93]);
    assert!(rig.node.is_settled() && !rig.node.is_outrun());
}

#[test]
fn a_local_commit_ends_a_fold_without_it() {
    let mut rig = Rig::connected(&[1]);
    // Each new head of another interrupts the merge under way; at last the fold is no longer begun
    // anew.
    let mut merge = None;
    for n in 20..30 {
        rig.advert(1, &[n], &[]);
        for output in rig.outputs() {
            if let Output::Pull { op, .. } = output {
                rig.pulled(op, &[commit(n, &[FOUNDING])]);
            }
        }
        for output in rig.outputs() {
            if let Output::MoveMain { op, .. } = output {
                rig.moved(op, MoveResult::Moved);
            } else if let Output::Merge { op, merge: next } = output {
                merge = Some((op, next.ours, next.theirs));
            }
        }
    }
    let main = rig.node.main();
    rig.local_commit(90, &[20]);
    let (op, ours, theirs) = merge.unwrap();
    rig.merge_result(op, Ok(merged(ours, theirs)));
    // From here on main goes nowhere without commit 90.
    assert_eq!(rig.node.main(), hash(90), "it was at {main:?}");
    settle(&mut rig);
    assert!(rig.node.included().contains(&hash(90)));
    for event in &rig.events {
        if let Event::MainMoved { from, .. } = event {
            assert!(*from == hash(90) || *from == hash(FOUNDING), "{event:?}");
        }
    }
}

#[test]
fn a_commit_made_on_main_by_another_peer_is_a_fast_forward() {
    let (mut rig, op) = two_heads();
    let main = merged(hash(5), hash(6));
    rig.merge_result(op, Ok(main));
    settle(&mut rig);
    rig.node.handle_connected(rig.now, crate::rig::peer(1));
    rig.outputs();
    rig.events.clear();
    rig.advert(1, &[8], &[]);
    let op = rig.expect_pull(1, &[8]);
    let on_main = UserCommit { made_on: Some(main), ..commit(7, &[5, 6]) };
    rig.pulled(op, &[on_main, commit(8, &[7])]);
    let op = rig.expect_move(main, hash(8));
    rig.moved(op, MoveResult::Moved);
    rig.outputs();
    let moved = Event::MainMoved { from: main, to: hash(8), fast_forward: true };
    assert!(rig.events.contains(&moved), "{:?}", rig.events);
}

#[test]
fn an_engine_error_is_shown_from_the_third_time_on() {
    let (mut rig, mut op) = two_heads();
    for failures in 1..=6 {
        rig.node.handle_merged(rig.now, op, Err(()));
        let stalled = rig.node.stalled().map(|stalled| (stalled.commits, stalled.failures));
        let expected = (failures >= 3).then_some(([hash(5), hash(6)], failures));
        assert_eq!(stalled, expected);
        assert!(rig.node.parked().is_empty(), "an error is no fact about commits");
        // It is tried again, ever later.
        rig.advance(RETRY_DELAY_MAX * 2);
        op = rig.expect_merge(hash(5), hash(6));
    }
    rig.merge_result(op, Ok(merged(hash(5), hash(6))));
    assert_eq!(rig.node.stalled(), None);
    let [_, Output::MoveMain { mut op, .. }] = rig.outputs()[..] else { panic!() };
    for failures in 1..=3 {
        rig.node.handle_moved(rig.now, op, Err(())).unwrap();
        assert_eq!(rig.node.stalled().is_some(), failures == 3);
        rig.advance(RETRY_DELAY_MAX * 2);
        op = rig.expect_move(hash(5), merged(hash(5), hash(6)));
    }
    rig.moved(op, MoveResult::Moved);
    assert_eq!(rig.node.stalled(), None);
}
