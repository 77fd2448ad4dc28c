//! The small calls: hello, adverts, heads, commits, grants.

use std::collections::BTreeSet;

use doltswarm::core::commit::ConflictPolicy;
use doltswarm::core::id::PeerId;
use doltswarm::core::limits::{
    COMMITS_PER_MESSAGE_MAX, GRANT_BYTES_MAX, GRANTS_PER_MESSAGE_MAX, HEADS_PER_MESSAGE_MAX,
};
use doltswarm::core::message::{Advert, HeadRequest, SignedCommit};
use doltswarm::net::{CallError, Fault, Refusal, WireError};

use super::support::{close, commit, connected, hello, pair};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_tells_both_sides_and_a_mismatch_names_both_values() {
    let (a, b) = connected().await;
    let answer = a.net.link(b.id).hello(&hello("a")).await.unwrap();
    assert_eq!(answer, *b.node.hello.lock().unwrap());
    assert_eq!(*b.node.observed.lock().unwrap(), vec![Some(a.net.addresses()[0])]);

    let mut other = hello("a");
    other.policy = ConflictPolicy::Park;
    let error = a.net.link(b.id).hello(&other).await.unwrap_err();
    let text = "policy settle here, park there".to_owned();
    assert_eq!(error, CallError::Refused(Refusal::Mismatch(text)));
    assert!(!error.is_retryable());
    assert_eq!(error.fault(), Fault::Here);
    // The connection is as good as before.
    a.net.link(b.id).request_head().await.unwrap();
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adverts_go_both_ways_on_one_connection() {
    let (a, b) = connected().await;
    let mut heads: Vec<_> = (1..=HEADS_PER_MESSAGE_MAX as u32).map(commit).collect();
    heads.sort();
    let many = Advert::of_all(heads, vec![a.id, b.id]);
    let one = Advert::of_all(vec![commit(5)], Vec::new());
    assert!(!a.net.link(b.id).advertise_head(&many).await.unwrap().duplicate);
    assert!(!b.net.link(a.id).advertise_head(&one).await.unwrap().duplicate);
    assert_eq!(*b.node.adverts.lock().unwrap(), vec![(a.id, many)]);
    assert_eq!(*a.node.adverts.lock().unwrap(), vec![(b.id, one)]);
    for peer in [&a, &b] {
        assert_eq!(peer.net.stats().adverts_sent, 1);
        assert_eq!(peer.net.stats().adverts_received, 1);
    }
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_says_which_links_carry_adverts_travels() {
    let (a, b) = connected().await;
    let advert = Advert::of_all(vec![commit(5)], Vec::new());
    let link = a.net.link(b.id);
    assert!(!link.advertise_head(&advert).await.unwrap().duplicate);
    assert!(link.advertise_head(&advert).await.unwrap().duplicate);
    link.request_head_with(HeadRequest { tell: true, ..HeadRequest::default() }).await.unwrap();
    link.request_head().await.unwrap();
    let told: Vec<bool> = b.node.requests.lock().unwrap().iter().map(|r| r.1.tell).collect();
    assert_eq!(told, [true, false]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_break_the_protocol_is_not_sent() {
    let (a, b) = connected().await;
    let link = a.net.link(b.id);
    let unsorted = Advert::of_all(vec![commit(2), commit(1)], Vec::new());
    let empty = Advert::of_all(Vec::new(), Vec::new());
    for (advert, error) in [
        (unsorted, WireError::Unsorted { field: "heads" }),
        (empty, WireError::Missing { field: "heads" }),
    ] {
        let got = link.advertise_head(&advert).await.unwrap_err();
        assert_eq!(got, CallError::Unsendable(error));
        assert_eq!(got.fault(), Fault::Here);
    }
    let many: Vec<_> = (0..=HEADS_PER_MESSAGE_MAX as u32).map(commit).collect();
    let got = link.list_commits(&many, &[]).await.unwrap_err();
    let (max, got_count) = (HEADS_PER_MESSAGE_MAX, HEADS_PER_MESSAGE_MAX + 1);
    let error = WireError::TooMany { field: "want", max, got: got_count };
    assert_eq!(got, CallError::Unsendable(error));
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_come_with_as_many_peers_as_fit() {
    let (a, b) = connected().await;
    let heads: Vec<_> = (0..HEADS_PER_MESSAGE_MAX as u32).map(commit).collect();
    *b.node.heads.lock().unwrap() = heads.clone();
    for number in 0..200_u8 {
        b.node.members.lock().unwrap().insert(PeerId::from_bytes([number; 32]));
    }
    let reply = a.net.link(b.id).request_head().await.unwrap();
    assert_eq!(reply.answer.page.heads, heads);
    assert_eq!(reply.answer.main.tip, Some(heads[0]));
    assert_eq!(reply.grants_digest, [3; 32]);
    let members = b.node.members.lock().unwrap().clone();
    let named: BTreeSet<_> = reply.peers.iter().map(|record| record.peer).collect();
    assert_eq!(named, members);
    assert_eq!(reply.peers[0].addresses, ["host.example:4000"]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_come_in_batches_and_in_order() {
    let (a, b) = connected().await;
    for count in [0, 1, COMMITS_PER_MESSAGE_MAX, COMMITS_PER_MESSAGE_MAX + 1, 20_000] {
        let signed = |number| SignedCommit {
            hash: commit(number),
            signer: b.id,
            signature: [number as u8; 64],
        };
        let commits: Vec<_> = (0..count as u32).map(signed).collect();
        *b.node.commits.lock().unwrap() = commits.clone();
        let got = a.net.link(b.id).list_commits(&[commit(1)], &[commit(2)]).await.unwrap();
        assert!(got == commits, "{count} commits came as {}", got.len());
    }
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_of_any_number_travel() {
    let (a, b) = connected().await;
    assert!(a.net.link(b.id).list_grants().await.unwrap().is_empty());
    let grants = vec![vec![5; GRANT_BYTES_MAX]; 3 * GRANTS_PER_MESSAGE_MAX + 7];
    *b.node.grants.lock().unwrap() = grants.clone();
    assert!(a.net.link(b.id).list_grants().await.unwrap() == grants);

    // A node that would say more than the protocol allows is told so, and its peer that it failed.
    b.node.grants.lock().unwrap().push(vec![5; GRANT_BYTES_MAX + 1]);
    let error = a.net.link(b.id).list_grants().await.unwrap_err();
    assert!(matches!(error, CallError::Refused(Refusal::Internal(_))), "{error}");
    assert_eq!(error.fault(), Fault::Peer);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_not_connected_is_not_dialled_by_a_call() {
    let (a, b) = pair().await;
    let error = a.net.link(b.id).request_head().await.unwrap_err();
    assert_eq!(error, CallError::NotConnected);
    assert!(error.is_retryable());
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_member_any_more_is_refused_on_the_connection_it_has() {
    let (a, b) = connected().await;
    a.net.link(b.id).request_head().await.unwrap();
    b.node.members.lock().unwrap().remove(&a.id);
    let error = a.net.link(b.id).request_head().await.unwrap_err();
    assert!(matches!(error, CallError::Refused(Refusal::NotAllowed(_))), "{error}");
    let error = a.net.link(b.id).chunk_store().size().await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_calls_at_once_all_get_their_answer() {
    let (a, b) = connected().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..400 {
        let link = a.net.link(b.id);
        calls.spawn(async move { link.request_head().await });
    }
    while let Some(reply) = calls.join_next().await {
        reply.unwrap().unwrap();
    }
    close([a, b]).await;
}
