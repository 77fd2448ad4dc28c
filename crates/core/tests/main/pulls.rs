//! What a node pulls from whom, and what follows a failure.

use std::time::Duration;

use doltswarm_core::limits::{PULLS_AT_ONCE_MAX, REJECTED_RETRY_DELAY_MIN};
use doltswarm_core::message::AdvertReply;
use doltswarm_core::node::{Event, Output, PullError, RejectedHeads};

use crate::rig::{FOUNDING, Rig, commit, hashes, peer};

fn rejected() -> PullError {
    PullError::Rejected { reason: "bad signature".into() }
}

/// Takes only the pulls among the outputs: from whom and which heads.
fn pulls(rig: &mut Rig) -> Vec<(u8, Vec<u8>)> {
    let pull = |output| match output {
        Output::Pull { peer, heads, .. } => {
            let heads = heads.iter().map(|head| head.as_bytes()[0]).collect();
            Some((peer.as_bytes()[0], heads))
        }
        _ => None,
    };
    rig.outputs().into_iter().filter_map(pull).collect()
}

#[test]
fn no_head_is_in_two_pulls_and_another_peer_helps_out() {
    let mut rig = Rig::connected(&[1, 2]);
    rig.advert(1, &[5], &[]);
    let op = rig.expect_pull(1, &[5]);
    rig.advert(2, &[5, 6], &[]);
    let second = rig.expect_pull(2, &[6]);
    rig.pull_failed(op, PullError::Unavailable);
    rig.assert_idle();
    rig.pulled(second, &[commit(6, &[FOUNDING])]);
    assert_eq!(pulls(&mut rig), [(2, vec![5])], "peer 1 waits, peer 2 has it too");
    let reason = "what it advertised could not be fetched".to_owned();
    assert!(rig.events.contains(&Event::PullFailed { peer: peer(1), reason }));
}

#[test]
fn pulls_are_few_and_one_for_each_peer() {
    let peers: Vec<u8> = (1..=8).collect();
    let mut rig = Rig::connected(&peers);
    for &n in &peers {
        rig.advert(n, &[100 + n], &[]);
        rig.advert(n, &[100 + n, 200 + n], &[]);
    }
    assert_eq!(pulls(&mut rig).len(), PULLS_AT_ONCE_MAX);
}

#[test]
fn newer_heads_are_pulled_after_the_pull_under_way() {
    let mut rig = Rig::connected(&[1]);
    rig.advert(1, &[5], &[]);
    let op = rig.expect_pull(1, &[5]);
    rig.advert(1, &[6], &[]);
    rig.advert(1, &[7], &[]);
    rig.assert_idle();
    rig.pulled(op, &[commit(5, &[FOUNDING])]);
    assert_eq!(pulls(&mut rig), [(1, vec![7])]);
    assert!(rig.events.contains(&Event::Pulled { peer: peer(1), commits: 1 }));
}

#[test]
fn an_unavailable_peer_is_tried_again_with_growing_pauses() {
    let mut rig = Rig::connected(&[1]);
    rig.advert(1, &[5], &[]);
    let mut attempts = 0;
    let start = rig.now;
    while rig.now - start < Duration::from_secs(60) {
        for output in rig.outputs() {
            match output {
                Output::Pull { op, .. } => {
                    attempts += 1;
                    rig.pull_failed(op, PullError::Unavailable);
                }
                Output::RequestHeads { op, .. } => {
                    rig.heads(op, hashes(&[5]));
                }
                Output::Advertise { op, .. } => {
                    rig.node.handle_advertised(rig.now, op, Ok(AdvertReply::default()))
                }
                other => panic!("{other:?}"),
            }
        }
        rig.advance(Duration::from_millis(50));
    }
    assert!((7..14).contains(&attempts), "{attempts} attempts in a minute");
}

#[test]
fn a_pull_that_brings_too_little_is_a_failure() {
    let mut rig = Rig::connected(&[1]);
    rig.advert(1, &[5], &[]);
    let op = rig.expect_pull(1, &[5]);
    rig.pulled(op, &[]);
    assert_eq!(pulls(&mut rig), []);
    assert!(rig.events.iter().any(|event| matches!(event, Event::PullFailed { .. })));
    // So is one whose commits do not fit.
    rig.advance(Duration::from_millis(150));
    let op = rig.expect_pull(1, &[5]);
    rig.pulled(op, &[commit(5, &[77])]);
    assert_eq!(pulls(&mut rig), []);
}

#[test]
fn what_fails_verification_is_left_alone_but_the_rest_goes_on() {
    let mut rig = Rig::connected(&[1, 2]);
    rig.advert(1, &[5, 6], &[]);
    let op = rig.expect_pull(1, &[5, 6]);
    rig.pull_failed(op, rejected());
    assert!(rig.node.rejected().is_empty(), "one of the two may be good");
    // Each is tried alone.
    rig.advance(Duration::from_millis(200));
    let op = rig.expect_pull(1, &[5]);
    rig.pull_failed(op, rejected());
    rig.advance(Duration::from_millis(400));
    let op = rig.expect_pull(1, &[6]);
    rig.pulled(op, &[commit(6, &[FOUNDING])]);
    rig.outputs();
    let heads = hashes(&[5]);
    let reason = "bad signature".to_owned();
    let quarantined = RejectedHeads { heads: heads.clone(), peer: peer(1), reason: reason.clone() };
    assert_eq!(rig.node.rejected(), [quarantined]);
    assert!(rig.events.contains(&Event::Rejected { peer: peer(1), heads, reason }));

    // The true commit may come from another peer: a liar must not keep it from us.
    rig.advert(2, &[5], &[]);
    assert_eq!(pulls(&mut rig), [(2, vec![5])]);
}

#[test]
fn rejected_heads_are_tried_again_when_the_membership_changes_or_ever_more_rarely() {
    let mut rig = Rig::connected(&[1]);
    rig.advert(1, &[5], &[]);
    let op = rig.expect_pull(1, &[5]);
    rig.pull_failed(op, rejected());
    rig.advance(REJECTED_RETRY_DELAY_MIN / 2);
    rig.advert(1, &[5], &[]);
    rig.node.handle_pull_request(rig.now, None);
    assert_eq!(pulls(&mut rig), []);
    rig.node.handle_membership_changed(rig.now);
    assert!(rig.node.rejected().is_empty());
    let op = rig.expect_pull(1, &[5]);
    rig.pull_failed(op, rejected());
    assert_eq!(rig.node.rejected().len(), 1);
    let mut delay = REJECTED_RETRY_DELAY_MIN;
    for _ in 0..4 {
        rig.advance(delay - Duration::from_millis(1));
        assert_eq!(pulls(&mut rig), []);
        rig.advance(Duration::from_millis(1));
        let op = rig.expect_pull(1, &[5]);
        rig.pull_failed(op, rejected());
        delay *= 2;
    }
}

#[test]
fn rejections_end_with_the_heads_they_are_about() {
    let mut rig = Rig::connected(&[1]);
    rig.advert(1, &[5], &[]);
    let op = rig.expect_pull(1, &[5]);
    rig.pull_failed(op, rejected());
    assert_eq!(rig.node.rejected().len(), 1);
    rig.advert(1, &[FOUNDING], &[]);
    assert!(rig.node.rejected().is_empty());
}

#[test]
fn a_failure_of_this_machine_stops_all_pulls_for_a_while() {
    let mut rig = Rig::connected(&[1, 2]);
    rig.advert(1, &[5], &[]);
    let op = rig.expect_pull(1, &[5]);
    rig.pull_failed(op, PullError::Local { reason: "the disk is full".into() });
    rig.advert(2, &[6], &[]);
    assert_eq!(pulls(&mut rig), []);
    assert!(rig.node.peers().all(|view| view.failing.is_none()), "it is not the peers' fault");
    rig.advance(Duration::from_millis(150));
    assert_eq!(pulls(&mut rig), [(1, vec![5]), (2, vec![6])]);
}

#[test]
fn a_pull_outlives_its_connection_and_late_answers_are_ignored() {
    let mut rig = Rig::connected(&[1]);
    rig.advert(1, &[5], &[]);
    let op = rig.expect_pull(1, &[5]);
    rig.node.handle_disconnected(rig.now, peer(1));
    rig.pulled(op, &[commit(5, &[FOUNDING])]);
    assert!(rig.node.graph().contains(&crate::rig::hash(5)));
    let before = rig.node.graph().len();
    rig.pulled(op, &[commit(6, &[5])]);
    assert_eq!(rig.node.graph().len(), before);
}
