//! A member that asks for what it must not: it is refused, and everybody else goes on.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use doltswarm::core::limits::{
    ADVERT_TOLD_MAX, CHUNKS_PER_REQUEST_MAX, DOOR_BURST, HEADS_PER_MESSAGE_MAX,
    STREAMED_ANSWERS_MAX,
};
use doltswarm::net::{DialError, NetEvent};
use iroh::endpoint::QuicTransportConfig;
use tonic::Code;

use super::raw::pb::chunk_store_client::ChunkStoreClient;
use super::raw::pb::door_client::DoorClient;
use super::raw::pb::syncer_client::SyncerClient;
use super::raw::{self, pb};
use super::support::{LIMIT, Peer, close, event};

fn hashes(count: usize) -> Vec<Bytes> {
    let hash = |number: usize| {
        let mut bytes = vec![0; 20];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        Bytes::from(bytes)
    };
    (0..count).map(hash).collect()
}

fn hello() -> pb::HelloMessage {
    pb::HelloMessage {
        protocol: 1,
        swarm: Bytes::from_static(&[7; 32]),
        engine: "doltlite".into(),
        engine_version: "0.51.6".into(),
        policy: "settle".into(),
        name: "raw".into(),
        addresses: vec!["127.0.0.1:4000".into(), "[fe80::1%eth0]:1".into(), "a-b.c:65535".into()],
        grants_digest: Bytes::from_static(&[7; 32]),
        life: 7,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_break_a_rule_are_refused_and_the_connection_goes_on() {
    let (host, endpoint, connection) = raw::member().await;
    let mut syncer = SyncerClient::new(raw::channel(&connection));
    let mut sorted = hashes(2);
    sorted.reverse();
    let peers = vec![Bytes::from_static(&[1; 32]); ADVERT_TOLD_MAX + 1];
    let set = Some(pb::HeadSet { count: 2_000, digest: Bytes::from_static(&[1; 32]) });
    let advert = |heads, told| pb::AdvertMessage { heads, told, set: set.clone() };
    for (bad, code) in [
        (advert(hashes(HEADS_PER_MESSAGE_MAX + 1), Vec::new()), Code::InvalidArgument),
        (advert(sorted, Vec::new()), Code::InvalidArgument),
        (advert(vec![hashes(1)[0].clone(); 2], Vec::new()), Code::InvalidArgument),
        (advert(Vec::new(), Vec::new()), Code::InvalidArgument),
        (advert(vec![Bytes::from_static(&[1; 19])], Vec::new()), Code::InvalidArgument),
        (advert(hashes(1), peers), Code::InvalidArgument),
        (advert(hashes(1), vec![Bytes::new()]), Code::InvalidArgument),
        (pb::AdvertMessage { set: None, ..advert(hashes(1), Vec::new()) }, Code::InvalidArgument),
        (advert(hashes(1_000_000), Vec::new()), Code::OutOfRange),
    ] {
        let status = syncer.advertise_head(bad).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
    }
    assert!(host.node.adverts.lock().unwrap().is_empty());

    syncer.hello(hello()).await.unwrap();
    for spoil in [
        |hello: &mut pb::HelloMessage| hello.swarm = Bytes::from_static(&[7; 31]),
        |hello: &mut pb::HelloMessage| hello.engine = "sqlite".into(),
        |hello: &mut pb::HelloMessage| hello.policy = "x".repeat(1_000),
        |hello: &mut pb::HelloMessage| hello.name = "x".repeat(65),
        |hello: &mut pb::HelloMessage| hello.name = "\u{1b}[2J".into(),
        |hello: &mut pb::HelloMessage| hello.addresses = vec!["1.2.3.4:5".into(); 9],
        |hello: &mut pb::HelloMessage| hello.addresses = vec!["1.2.3.4".into()],
        |hello: &mut pb::HelloMessage| hello.addresses = vec!["a b:1".into()],
        |hello: &mut pb::HelloMessage| hello.addresses = vec!["[::1:2".into()],
        |hello: &mut pb::HelloMessage| hello.addresses = vec!["h:0".into()],
    ] {
        let mut bad = hello();
        spoil(&mut bad);
        let status = syncer.hello(bad.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{bad:?}: {status}");
        assert!(status.message().len() < 600);
    }

    let mut chunks = ChunkStoreClient::new(raw::channel(&connection));
    let many = pb::HashesRequest { hashes: hashes(CHUNKS_PER_REQUEST_MAX + 1) };
    let status = chunks.get_many(many.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let status = chunks.has_many(many).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let status = chunks.has(pb::GetRequest { hash: Bytes::new() }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(host.node.read.load(Ordering::Relaxed), 0);

    // The door is not on this side of the house.
    let ask = pb::JoinRequest { swarm: Bytes::new(), secret: Bytes::new(), name: String::new() };
    let status = DoorClient::new(raw::channel(&connection)).join(ask).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status}");

    syncer.request_head(pb::HeadRequest::default()).await.unwrap();
    endpoint.close().await;
    close([host]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cannot_be_told_that_it_is_kept_is_let_go() {
    let mut host = Peer::start(raw::HOST).await;
    let no_words = QuicTransportConfig::builder().max_concurrent_uni_streams(0u32.into()).build();
    let endpoint = raw::with_transport(&[raw::MEMBERS], no_words).await;
    let peer = raw::id(&endpoint);
    host.node.members.lock().unwrap().insert(peer);
    let connection = raw::dial(&endpoint, &host, raw::MEMBERS).await;
    assert!(matches!(event(&mut host.events).await, NetEvent::Connected { .. }));
    assert_eq!(event(&mut host.events).await, NetEvent::Disconnected { peer });
    assert!(!host.net.is_connected(&peer));
    tokio::time::timeout(LIMIT, connection.closed()).await.unwrap();
    endpoint.close().await;
    close([host]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_garbage_harm_nobody() {
    let (host, endpoint, connection) = raw::member().await;
    for round in 0..30_u8 {
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        // Ends early where the host gives the stream up first.
        let _ = send.write_all(&vec![round; 5_000]).await;
        let _ = send.finish();
    }
    let mut syncer = SyncerClient::new(raw::channel(&connection));
    syncer.request_head(pb::HeadRequest::default()).await.unwrap();
    assert!(host.net.is_connected(&raw::id(&endpoint)));
    endpoint.close().await;
    close([host]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_do_not_fill_the_memory() {
    let (host, endpoint, connection) = raw::member().await;
    let count = 1_000;
    let chunk = |number: usize| {
        let mut bytes = vec![0; 256 << 10];
        bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
        host.node.add_chunk(bytes)
    };
    let hashes: Vec<_> =
        (0..count).map(|number| Bytes::copy_from_slice(chunk(number).as_bytes())).collect();
    let mut chunks =
        ChunkStoreClient::new(raw::channel(&connection)).max_decoding_message_size(1 << 30);
    let request = pb::HashesRequest { hashes };
    let mut unread = Vec::new();
    for _ in 0..STREAMED_ANSWERS_MAX {
        unread.push(chunks.get_many(request.clone()).await.unwrap());
    }
    let status = chunks.get_many(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    // What was read of the store is what the windows and the buffers hold, far from all of it.
    let read = host.node.read.load(Ordering::Relaxed);
    assert!(read < STREAMED_ANSWERS_MAX * count / 8, "{read} chunks were read");
    // Another stream of the same connection still gets its answers.
    let mut syncer = SyncerClient::new(raw::channel(&connection));
    syncer.request_head(pb::HeadRequest::default()).await.unwrap();
    // And one that is given up makes room.
    unread.clear();
    tokio::time::timeout(LIMIT, async { while chunks.get_many(request.clone()).await.is_err() {} })
        .await
        .unwrap();
    endpoint.close().await;
    close([host]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_at_the_door_is_slowed_down() {
    let host = Peer::start(raw::HOST).await;
    host.node.door_open.store(true, Ordering::Relaxed);
    let endpoint = raw::endpoint(&[raw::DOOR]).await;
    let connection = raw::dial(&endpoint, &host, raw::DOOR).await;
    let door = DoorClient::new(raw::channel(&connection));
    let mut guesses = tokio::task::JoinSet::new();
    for _ in 0..2 * DOOR_BURST {
        let mut door = door.clone();
        let swarm = Bytes::from_static(&[7; 32]);
        let secret = Bytes::from_static(&[0; 16]);
        let ask = pb::JoinRequest { swarm, secret, name: String::new() };
        guesses.spawn(async move { door.join(ask).await.unwrap_err().code() });
    }
    let codes = guesses.join_all().await;
    assert!(codes.contains(&Code::PermissionDenied), "{codes:?}");
    assert!(codes.contains(&Code::ResourceExhausted), "{codes:?}");
    // Nothing but the door is behind this one.
    let mut syncer = SyncerClient::new(raw::channel(&connection));
    let call = syncer.request_head(pb::HeadRequest::default());
    let end = tokio::time::timeout(LIMIT, call).await;
    assert!(end.is_ok_and(|answer| answer.is_err()));
    endpoint.close().await;
    close([host]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_speaks_something_else_is_named_so() {
    let host = Peer::start(raw::HOST).await;
    let endpoint = raw::endpoint(&[b"something/else"]).await;
    let accepting = endpoint.clone();
    let accept = tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            let _ = incoming.await;
        }
    });
    let peer = raw::id(&endpoint);
    let error = host.net.connect(peer, &endpoint.bound_sockets()).await.unwrap_err();
    assert_eq!(error, DialError::WrongProtocol);
    endpoint.close().await;
    accept.await.unwrap();
    close([host]).await;
}
