//! Whom a node tells and asks, and when.

use std::time::Duration;

use doltswarm_core::error::PeerFault;
use doltswarm_core::id::{CommitHash, PeerId};
use doltswarm_core::limits::{
    ADVERT_TOLD_MAX, ANTI_ENTROPY_INTERVAL, HEADS_PER_MESSAGE_MAX, PEERS_MAX,
};
use doltswarm_core::message::{Advert, AdvertReply, HeadsAnswer};
use doltswarm_core::node::{Event, OpId, Output, PullError};

use crate::rig::{FOUNDING, Rig, commit, hash, hashes, peer};

#[test]
fn a_peer_that_connects_is_asked_and_told() {
    let mut rig = Rig::founded();
    rig.node.handle_connected(rig.now, peer(1));
    let outputs = rig.outputs();
    let [Output::RequestHeads { peer: asked, .. }, Output::Advertise { peer: told, advert, .. }] =
        &outputs[..]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!((*asked, *told), (peer(1), peer(1)));
    assert_eq!(*advert, Advert::of_all(hashes(&[FOUNDING]), vec![peer(1)]));
    assert_eq!(rig.events, [Event::PeerConnected { peer: peer(1) }]);
}

#[test]
fn all_connected_peers_are_told_of_a_commit_and_of_each_other() {
    let mut rig = Rig::connected(&[1, 2, 3]);
    rig.local_commit(5, &[FOUNDING]);
    for (op, advert) in rig.expect_adverts(&[1, 2, 3]) {
        assert_eq!(advert.heads, hashes(&[5]));
        assert_eq!(advert.told, [peer(1), peer(2), peer(3)]);
        rig.node.handle_advertised(rig.now, op, Ok(AdvertReply::default()));
    }
    rig.assert_idle();
    assert!(rig.node.peers().all(|view| !view.in_sync), "nobody has said yet that it has it");
    // Shortly after they are asked whether they have it.
    rig.advance(Duration::from_secs(2));
    rig.answer_all(&[5]);
    assert!(rig.node.peers().all(|view| view.in_sync));
}

#[test]
fn a_peer_that_takes_long_to_pull_is_asked_until_it_has() {
    let mut rig = Rig::connected(&[1]);
    rig.local_commit(5, &[FOUNDING]);
    rig.answer_all(&[]);
    let mut asked = 0;
    // It pulls for half a minute.
    for _ in 0..30 {
        rig.advance(Duration::from_secs(1));
        let before = asked;
        for output in rig.outputs() {
            let Output::RequestHeads { op, .. } = output else { panic!("{output:?}") };
            rig.heads(op, hashes(&[FOUNDING]));
            asked += 1;
        }
        assert!(asked <= before + 1);
    }
    assert!((4..=8).contains(&asked), "more and more seldom: {asked}");
    rig.advance(2 * ANTI_ENTROPY_INTERVAL);
    rig.answer_all(&[5]);
    assert!(rig.node.peers().all(|view| view.in_sync));
}

#[test]
fn who_is_told_by_another_is_not_told_again() {
    let mut rig = Rig::connected(&[1, 2, 3]);
    rig.advert(1, &[5], &[0, 2]);
    let op = rig.expect_pull(1, &[5]);
    rig.pulled(op, &[commit(5, &[FOUNDING])]);
    let outputs = rig.outputs();
    let told: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Advertise { peer, advert, .. } => Some((*peer, advert.told.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(peer(3), vec![peer(3)])]);
}

#[test]
fn hearsay_that_proves_wrong_is_mended() {
    let mut rig = Rig::connected(&[1, 2]);
    rig.advert(1, &[5], &[2]);
    let op = rig.expect_pull(1, &[5]);
    rig.pulled(op, &[commit(5, &[FOUNDING])]);
    rig.outputs();
    // The regular question shows that nobody told peer 2.
    rig.advance(2 * ANTI_ENTROPY_INTERVAL);
    for output in rig.outputs() {
        let Output::RequestHeads { op, peer: id, .. } = output else { panic!("{output:?}") };
        let heads = if id == peer(1) { hashes(&[5]) } else { hashes(&[FOUNDING]) };
        rig.heads(op, heads);
    }
    rig.expect_adverts(&[2]);
}

#[test]
fn a_slow_peer_gets_the_newest_state_and_no_queue() {
    let mut rig = Rig::connected(&[1]);
    rig.local_commit(5, &[FOUNDING]);
    let (first, _) = rig.expect_adverts(&[1]).remove(0);
    rig.local_commit(6, &[5]);
    rig.local_commit(7, &[6]);
    rig.assert_idle();
    rig.node.handle_advertised(rig.now, first, Ok(AdvertReply::default()));
    let (_, advert) = rig.expect_adverts(&[1]).remove(0);
    assert_eq!(advert.heads, hashes(&[7]));
}

#[test]
fn a_failed_advert_is_tried_again_while_the_peer_is_connected() {
    let mut rig = Rig::connected(&[1]);
    rig.local_commit(5, &[FOUNDING]);
    let mut delay_max = Duration::from_millis(150);
    for _ in 0..5 {
        let (op, _) = rig.expect_adverts(&[1]).remove(0);
        rig.node.handle_advertised(rig.now, op, Err(()));
        rig.assert_idle();
        let failing = rig.node.peers().next().unwrap().failing.map(str::to_owned);
        assert_eq!(failing.as_deref(), Some("it did not take an advert"));
        rig.advance(delay_max);
        delay_max *= 2;
    }
    let (op, _) = rig.expect_adverts(&[1]).remove(0);
    rig.node.handle_advertised(rig.now, op, Err(()));
    rig.node.handle_disconnected(rig.now, peer(1));
    rig.advance(Duration::from_secs(600));
    rig.assert_idle();
    assert_eq!(rig.node.poll_timeout(), None, "nothing to wait for without peers");
    // A new connection is a new start.
    rig.node.handle_connected(rig.now, peer(1));
    assert_eq!(rig.outputs().len(), 2);
}

/// Peer 2 did not take our advert of commit 5, and then advertises 6, which we do not know.
fn lags_behind_peer_2() -> (Rig, OpId) {
    let mut rig = Rig::connected(&[1, 2]);
    rig.local_commit(5, &[FOUNDING]);
    let adverts = rig.expect_adverts(&[1, 2]);
    rig.node.handle_advertised(rig.now, adverts[0].0, Ok(AdvertReply::default()));
    rig.node.handle_advertised(rig.now, adverts[1].0, Err(()));
    rig.advert(2, &[6], &[]);
    let op = rig.expect_pull(2, &[6]);
    rig.advance(Duration::from_millis(500));
    rig.assert_idle();
    (rig, op)
}

#[test]
fn what_may_lie_under_heads_being_pulled_is_not_told() {
    let (mut rig, op) = lags_behind_peer_2();
    // It does: peer 2 had it from peer 1.
    rig.pulled(op, &[commit(6, &[5])]);
    let to: Vec<_> = rig
        .outputs()
        .into_iter()
        .filter_map(|output| match output {
            Output::Advertise { peer, .. } => Some(peer),
            _ => None,
        })
        .collect();
    assert_eq!(to, [peer(1)], "only peer 1 may lack commit 6");
}

#[test]
fn what_did_not_lie_under_pulled_heads_is_told() {
    let (mut rig, op) = lags_behind_peer_2();
    rig.pulled(op, &[commit(6, &[FOUNDING])]);
    let heads = rig.outputs().into_iter().find_map(|output| match output {
        Output::Advertise { peer: id, advert, .. } if id == peer(2) => Some(advert.heads),
        _ => None,
    });
    assert_eq!(heads, Some(hashes(&[5, 6])));

    // Where the pull fails nobody knows, so it is told too.
    let (mut rig, op) = lags_behind_peer_2();
    rig.pull_failed(op, PullError::Unavailable);
    rig.expect_adverts(&[2]);
}

#[test]
fn a_peer_that_connects_anew_may_have_forgotten_everything() {
    let mut rig = Rig::connected(&[1]);
    rig.node.handle_connected(rig.now, peer(1));
    let outputs = rig.outputs();
    assert!(matches!(outputs[..], [Output::RequestHeads { .. }, Output::Advertise { .. }]));
    assert_eq!(rig.events, [], "it was connected before");
}

#[test]
fn each_peer_is_asked_regularly() {
    let mut rig = Rig::connected(&[1, 2]);
    for _ in 0..20 {
        rig.advance(ANTI_ENTROPY_INTERVAL * 3 / 2);
        let requests = rig.outputs();
        assert_eq!(requests.len(), 2, "{requests:?}");
        for request in requests {
            let Output::RequestHeads { op, .. } = request else { panic!("{request:?}") };
            rig.heads(op, hashes(&[FOUNDING]));
        }
    }
    rig.node.handle_pull_request(rig.now, Some(peer(2)));
    assert!(matches!(rig.outputs()[..], [Output::RequestHeads { peer: id, .. }] if id == peer(2)));
    rig.node.handle_pull_request(rig.now, None);
    assert!(matches!(rig.outputs()[..], [Output::RequestHeads { peer: id, .. }] if id == peer(1)));
}

#[test]
fn hostile_adverts_are_refused() {
    let mut rig = Rig::connected(&[1]);
    let mut many: Vec<CommitHash> = Vec::new();
    for n in 0..=HEADS_PER_MESSAGE_MAX {
        many.push(CommitHash::from_slice(&[&n.to_be_bytes()[..], &[0; 12]].concat()).unwrap());
    }
    let told = vec![peer(3); ADVERT_TOLD_MAX + 1];
    let malformed = [
        Advert::of_all(vec![], vec![]),
        Advert::of_all(vec![hash(7), hash(6)], vec![]),
        Advert::of_all(vec![hash(7), hash(7)], vec![]),
        Advert::of_all(many, vec![]),
        Advert::of_all(vec![hash(7)], told),
    ];
    for advert in malformed {
        let fault = rig.node.handle_advert(rig.now, peer(1), advert.clone());
        assert!(matches!(fault, Err(PeerFault::Malformed { .. })), "{advert:?}");
    }
    let advert = Advert::of_all(vec![hash(7)], vec![]);
    let fault = rig.node.handle_advert(rig.now, peer(0), advert);
    assert!(matches!(fault, Err(PeerFault::Misbehaved { .. })));
    rig.assert_idle();
}

#[test]
fn a_malformed_answer_counts_as_none() {
    let mut rig = Rig::connected(&[1]);
    rig.node.handle_pull_request(rig.now, None);
    let [Output::RequestHeads { op, .. }] = rig.outputs()[..] else { panic!() };
    rig.node.handle_heads(
        rig.now,
        op,
        Ok(HeadsAnswer::of_all(vec![hash(7), hash(6)], Some(hash(1)))),
    );
    rig.assert_idle();
    assert!(rig.node.peers().next().unwrap().failing.is_some());
    // It is asked again soon, and a good answer makes it well.
    rig.advance(Duration::from_millis(150));
    rig.answer_all(&[FOUNDING]);
    assert!(rig.node.peers().next().unwrap().failing.is_none());
}

#[test]
fn strangers_do_not_push_out_connected_peers() {
    let mut rig = Rig::connected(&[1]);
    for n in 0..2 * PEERS_MAX {
        let id = PeerId::from_slice(&[&[7; 24], &n.to_be_bytes()[..]].concat()).unwrap();
        let advert = Advert::of_all(hashes(&[FOUNDING]), vec![]);
        rig.node.handle_advert(rig.now, id, advert).unwrap();
    }
    assert_eq!(rig.node.peers().count(), PEERS_MAX);
    assert!(rig.node.peers().any(|view| view.peer == peer(1) && view.connected));
    rig.node.handle_forgotten(rig.now, peer(1));
    assert!(rig.node.peers().all(|view| view.peer != peer(1)));
}

#[test]
fn engines_that_merge_differently_are_reported_once() {
    let mut rig = Rig::connected(&[1]);
    for _ in 0..10 {
        rig.advance(ANTI_ENTROPY_INTERVAL);
        for output in rig.outputs() {
            let Output::RequestHeads { op, .. } = output else { panic!("{output:?}") };
            rig.node.handle_heads(
                rig.now,
                op,
                Ok(HeadsAnswer::of_all(hashes(&[FOUNDING]), Some(hash(99)))),
            );
        }
    }
    rig.outputs();
    let (ours, theirs) = (hash(FOUNDING), hash(99));
    assert_eq!(rig.events, [Event::EnginesDisagree { peer: peer(1), ours, theirs }]);
}
