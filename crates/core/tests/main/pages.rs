//! Many heads travel in pages; what is new costs what it is.

use std::collections::BTreeSet;
use std::time::Duration;

use doltswarm_core::commit::UserCommit;
use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::HEADS_PER_MESSAGE_MAX;
use doltswarm_core::message::{AdvertReply, HeadRequest};
use doltswarm_core::node::{MoveResult, Output};

use crate::rig::{FOUNDING, Rig, hash, merged, peer, restored};

const MANY: u32 = 5_000;

/// Commit `n` of a peer, on the founding commit.
fn wide(n: u32) -> UserCommit {
    let mut bytes = [1; 20];
    bytes[..4].copy_from_slice(&(1 << 24 | n).to_be_bytes());
    let (hash, builds_on) = (CommitHash::from_bytes(bytes), vec![hash(FOUNDING)]);
    UserCommit { hash, builds_on, made_on: None, signer: peer(1) }
}

/// A node that has many heads already.
fn crowded() -> Rig {
    let commits: Vec<UserCommit> = (0..MANY).map(wide).collect();
    let mut rig = Rig::restored(restored(&commits, hash(FOUNDING), &[FOUNDING]));
    while !rig.node.is_settled() {
        work(&mut rig, None);
    }
    rig
}

/// What went over the link.
#[derive(Default)]
struct Traffic {
    requests: usize,
    heads: usize,
    pulls: usize,
    merges: usize,
    adverts: Vec<usize>,
}

/// Carries out what a node asks for; requests and pulls are answered by the other one, if there is
/// one.
fn work(rig: &mut Rig, other: Option<&Rig>) -> Traffic {
    let mut traffic = Traffic::default();
    for output in rig.outputs() {
        match output {
            Output::Merge { op, merge } => {
                traffic.merges += 1;
                rig.merge_result(op, Ok(merged(merge.ours, merge.theirs)));
            }
            Output::MoveMain { op, .. } => rig.moved(op, MoveResult::Moved),
            Output::Advertise { op, advert, .. } => {
                traffic.adverts.push(advert.heads.len());
                rig.node.handle_advertised(rig.now, op, Ok(AdvertReply::default()));
            }
            Output::RequestHeads { op, request, .. } => {
                let other = other.expect("because only a connected node asks");
                let answer = other.node.heads_answer(&request);
                assert!(answer.page.heads.len() <= HEADS_PER_MESSAGE_MAX);
                traffic.requests += 1;
                traffic.heads += answer.page.heads.len();
                rig.node.handle_heads(rig.now, op, Ok(answer));
            }
            Output::Pull { op, heads, .. } => {
                let graph = other.expect("because only a connected node pulls").node.graph();
                assert!(heads.len() <= HEADS_PER_MESSAGE_MAX);
                traffic.pulls += 1;
                let here: Vec<CommitHash> = rig.node.heads().iter().copied().collect();
                let missing = graph.difference(&heads, &here);
                let commits: Vec<_> = missing.iter().filter_map(|hash| graph.get(hash)).collect();
                rig.pulled(op, &commits);
            }
            Output::SetParked { .. } | Output::Event(_) => {}
        }
    }
    traffic
}

#[test]
fn a_newcomer_gets_thousands_of_heads_in_pages() {
    let source = crowded();
    let mut rig = Rig::founded();
    rig.node.handle_connected(rig.now, peer(1));
    let (mut requests, mut pulls) = (0, 0);
    let deadline = rig.now + Duration::from_secs(60);
    while rig.node.heads() != source.node.heads() || !rig.node.is_settled() {
        let traffic = work(&mut rig, Some(&source));
        requests += traffic.requests;
        pulls += traffic.pulls;
        if traffic.requests + traffic.pulls + traffic.merges == 0 {
            rig.advance(Duration::from_secs(1));
        }
        assert!(rig.now < deadline, "{} heads after a minute", rig.node.heads().len());
    }
    assert_eq!(rig.node.main(), source.node.main());
    assert!((5..=20).contains(&requests), "{requests} requests");
    assert!((5..=10).contains(&pulls), "{pulls} pulls");

    // With equal heads, questions and answers name none.
    rig.advance(Duration::from_secs(60));
    let traffic = work(&mut rig, Some(&source));
    assert_eq!((traffic.requests, traffic.heads, traffic.adverts.len()), (1, 0, 0));
    assert!(rig.node.peers().all(|view| view.in_sync && view.main.tip == Some(rig.node.main())));
}

#[test]
fn a_commit_beside_thousands_of_heads_is_advertised_alone() {
    let source = crowded();
    let mut rig = crowded();
    rig.node.handle_connected(rig.now, peer(1));
    let traffic = work(&mut rig, Some(&source));
    // The answer to the first question says that the heads are equal before the adverts went far.
    assert!(traffic.adverts.iter().all(|heads| *heads <= HEADS_PER_MESSAGE_MAX));
    rig.advance(Duration::from_secs(60));
    work(&mut rig, Some(&source));
    let new = wide(MANY + 7);
    let (main, included) = (new.hash, vec![new.hash]);
    rig.node.handle_local_commits(rig.now, vec![new], main, included).unwrap();
    let traffic = work(&mut rig, Some(&source));
    assert_eq!((traffic.adverts, traffic.requests), (vec![1], 0));
}

#[test]
fn pages_name_each_head_once() {
    let source = crowded();
    let mut request = HeadRequest::default();
    let mut seen = BTreeSet::new();
    loop {
        let page = source.node.heads_answer(&request).page;
        assert_eq!(page.set.count, u64::from(MANY));
        assert!(page.heads.iter().all(|head| seen.insert(*head)));
        request.after = page.heads.last().copied();
        if !page.more {
            break;
        }
    }
    assert!(seen.iter().eq(source.node.heads()));
    let request = HeadRequest { set: Some(doltswarm_core::message::HeadSet::of(&seen)), ..request };
    let equal = source.node.heads_answer(&HeadRequest { after: None, ..request });
    assert_eq!((equal.page.heads.len(), equal.page.more), (0, false));
}
