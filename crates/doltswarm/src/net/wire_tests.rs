//! Whatever is sent is what is read, and whatever is read is within the limits.

use bytes::Bytes;
use doltswarm_core::limits::CHUNK_PIECE_BYTES_MAX;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::super::pieces::{Assembled, Assembly, chunk_from, chunk_to};
use super::*;

fn commit_ids() -> impl Strategy<Value = Vec<CommitHash>> {
    btree_set(any::<[u8; 20]>(), 1..50)
        .prop_map(|set| set.into_iter().map(CommitHash::from_bytes).collect())
}

fn peer_ids(max: usize) -> impl Strategy<Value = Vec<PeerId>> {
    vec(any::<[u8; 32]>().prop_map(PeerId::from_bytes), 0..max)
}

fn address_text() -> impl Strategy<Value = String> {
    prop_oneof![
        (any::<std::net::SocketAddr>(), 1..=u16::MAX).prop_map(|(mut address, port)| {
            address.set_port(port);
            address.to_string()
        }),
        "[a-z][a-z0-9.-]{0,20}:[1-9][0-9]{0,3}",
    ]
}

fn address_list() -> impl Strategy<Value = Vec<String>> {
    vec(address_text(), 0..ADDRESSES_PER_PEER_MAX)
}

fn hello() -> impl Strategy<Value = Hello> {
    let policy = prop_oneof![Just(ConflictPolicy::Settle), Just(ConflictPolicy::Park)];
    let engine = prop_oneof![Just(EngineKind::DoltLite), Just(EngineKind::Dolt)];
    let texts = ("[ -~äß]{0,30}", "[0-9.]{0,12}");
    let digests = (any::<[u8; 32]>(), any::<[u8; 32]>());
    ((any::<u32>(), any::<u64>()), digests, engine, policy, texts, address_list()).prop_map(
        |(
            (protocol, life),
            (swarm, grants_digest),
            engine,
            policy,
            (name, engine_version),
            addresses,
        )| {
            Hello {
                protocol,
                swarm: SwarmId::from_bytes(swarm),
                engine,
                engine_version,
                policy,
                name,
                addresses,
                grants_digest,
                life,
            }
        },
    )
}

fn head_reply() -> impl Strategy<Value = HeadReply> {
    let record = (any::<[u8; 32]>(), address_list())
        .prop_map(|(peer, addresses)| PeerRecord { peer: PeerId::from_bytes(peer), addresses });
    let main = proptest::option::of(any::<[u8; 20]>().prop_map(CommitHash::from_bytes));
    (commit_ids(), main, any::<[u8; 32]>(), vec(record, 0..20)).prop_map(
        |(heads, tip, grants_digest, peers)| HeadReply {
            answer: HeadsAnswer {
                main: PeerMain { tip, included: heads.clone(), set_aside: heads.len() as u64 },
                page: HeadsPage { set: HeadSet::of(&heads), more: heads.len() > 9, heads },
            },
            grants_digest,
            signers: SignersDigest::from_bytes(grants_digest),
            peers,
        },
    )
}

fn signed_commit() -> impl Strategy<Value = SignedCommit> {
    (any::<[u8; 20]>(), any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(hash, signer, half)| {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&half);
        signature[32..].copy_from_slice(&half);
        let (hash, signer) = (CommitHash::from_bytes(hash), PeerId::from_bytes(signer));
        SignedCommit { hash, signer, signature }
    })
}

fn grants() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 0..=GRANT_BYTES_MAX), 0..10)
}

/// Through the bytes and back.
fn travelled<M: Message + Default>(message: &M) -> M {
    M::decode(Bytes::from(message.encode_to_vec())).unwrap()
}

proptest! {
    #[test]
    fn hello_round_trips(hello in hello()) {
        let message = travelled(&hello_to(&hello).unwrap());
        prop_assert_eq!(hello_from(&message).unwrap(), hello);
    }

    #[test]
    fn heads_round_trip(heads in commit_ids(), told in peer_ids(20), reply in head_reply()) {
        let request = HeadRequest {
            tell: told.len() > 9, set: Some(HeadSet::of(&heads)), after: heads.first().copied(),
        };
        let message = travelled(&head_request_to(&request));
        prop_assert_eq!(head_request_from(&message).unwrap(), request);
        let advert = Advert::of_all(heads, told);
        let message = travelled(&advert_to(&advert).unwrap());
        prop_assert_eq!(advert_from(&message).unwrap(), advert);
        let message = travelled(&head_reply_to(&reply).unwrap());
        prop_assert_eq!(head_reply_from(&message).unwrap(), reply);
    }

    #[test]
    fn commits_and_grants_round_trip(
        want in commit_ids(),
        have in commit_ids(),
        commits in vec(signed_commit(), 1..20),
        grants in grants(),
    ) {
        let message = travelled(&commits_request_to(&want, &have).unwrap());
        prop_assert_eq!(commits_request_from(&message).unwrap(), (want, have));
        let message = travelled(&commits_reply_to(&commits));
        prop_assert_eq!(commits_reply_from(&message).unwrap(), commits);
        let message = pb::GrantsReply { grants: grants_to(grants.clone()).unwrap(), more: true };
        prop_assert_eq!(grants_from(&travelled(&message).grants).unwrap(), grants);
    }

    #[test]
    fn joining_round_trips(
        hello in hello(),
        ids in any::<([u8; 32], [u8; 20], [u8; 16])>(),
        grants in grants(),
    ) {
        let ask = JoinAsk { swarm: hello.swarm, secret: ids.2, name: hello.name.clone() };
        prop_assert_eq!(join_from(&travelled(&join_to(&ask).unwrap())).unwrap(), ask);
        let (founder, founding) = (PeerId::from_bytes(ids.0), CommitHash::from_bytes(ids.1));
        let answer = JoinAnswer { hello, founder, founding, grants };
        let message = travelled(&join_answer_to(answer.clone()).unwrap());
        prop_assert_eq!(join_answer_from(&message).unwrap(), answer);
    }

    #[test]
    fn chunks_round_trip(
        hashes in vec(any::<[u8; 20]>().prop_map(ChunkHash::from_bytes), 1..50),
        data in proptest::option::of(vec(any::<u8>(), 0..1_000)),
    ) {
        prop_assert_eq!(hashes_from(&travelled(&hashes_to(&hashes))).unwrap(), hashes.clone());
        let data = data.map(Bytes::from);
        let messages: Vec<_> = chunk_to(&hashes[0], data.clone()).collect();
        prop_assert_eq!(messages.len(), 1);
        let got = match chunk_from(&hashes[0], travelled(&messages[0]), &mut Assembly::default()) {
            Ok(Assembled::Whole(bytes)) => Some(bytes),
            Ok(Assembled::Absent) => None,
            other => panic!("{:?}", other.err()),
        };
        prop_assert_eq!(got, data);
    }

    /// Random bytes, and messages whose fields are random, are read or refused; what is read is
    /// within the limits.
    #[test]
    fn garbage_is_refused_without_a_panic(
        bytes in vec(any::<u8>(), 0..400),
        fields in vec(vec(any::<u8>(), 0..70), 0..8),
        text in any::<String>(),
    ) {
        let bytes = Bytes::from(bytes);
        let fields: Vec<Bytes> = fields.into_iter().map(Bytes::from).collect();
        let field = |at: usize| fields.get(at).cloned().unwrap_or_default();

        let mut hellos = vec![pb::HelloMessage {
            swarm: field(0), name: text.clone(), addresses: vec![text.clone()], ..Default::default()
        }];
        hellos.extend(pb::HelloMessage::decode(bytes.clone()));
        for hello in hellos.iter().filter_map(|hello| hello_from(hello).ok()) {
            prop_assert!(hello.name.len() <= NAME_BYTES_MAX);
            prop_assert!(hello.addresses.len() <= ADDRESSES_PER_PEER_MAX);
        }
        let mut adverts =
            vec![pb::AdvertMessage {
                heads: fields.clone(),
                told: fields.clone(),
                set: Some(pb::HeadSet { count: 1, digest: field(2) }),
            }];
        adverts.extend(pb::AdvertMessage::decode(bytes.clone()));
        for advert in adverts.iter().filter_map(|advert| advert_from(advert).ok()) {
            prop_assert!(!advert.heads.is_empty() && advert.heads.is_sorted());
        }
        let record = pb::PeerRecord { peer: field(1), addresses: vec![text.clone()] };
        let reply = pb::HeadReply {
            heads: fields.clone(), main: field(0), grants_digest: field(2), signers: field(2), peers: vec![record],
            ..pb::HeadReply::default()
        };
        let _ = head_reply_from(&reply);
        let commit = pb::SignedCommit { hash: field(0), signer: field(1), signature: field(2) };
        let _ = commits_reply_from(&pb::CommitsReply { commits: vec![commit] });
        let _ = chunk_hash("hash", &field(3));
        let _ = address(&text);

        let _ = pb::HeadRequest::decode(bytes.clone()).map(|m| head_request_from(&m));
        let _ = pb::HeadReply::decode(bytes.clone()).map(|m| head_reply_from(&m));
        let _ = pb::CommitsRequest::decode(bytes.clone()).map(|m| commits_request_from(&m));
        let _ = pb::CommitsReply::decode(bytes.clone()).map(|m| commits_reply_from(&m));
        let _ = pb::GrantsReply::decode(bytes.clone()).map(|m| grants_from(&m.grants));
        let _ = pb::JoinRequest::decode(bytes.clone()).map(|m| join_from(&m));
        let _ = pb::JoinReply::decode(bytes.clone()).map(|m| join_answer_from(&m));
        let _ = pb::HashesRequest::decode(bytes.clone()).map(|m| hashes_from(&m));
        let _ = pb::SourcesReply::decode(bytes.clone()).map(|m| sources_from(&m));
        let asked = ChunkHash::from_bytes([0; 20]);
        let _ = pb::Chunk::decode(bytes).map(|m| chunk_from(&asked, m, &mut Assembly::default()));
    }
}

#[test]
fn the_largest_messages_of_each_kind_fit_their_limits() {
    use doltswarm_core::limits::{
        CHUNK_REPLY_BYTES_MAX, CHUNK_REQUEST_BYTES_MAX, COMMITS_MESSAGE_BYTES_MAX,
        GRANTS_MESSAGE_BYTES_MAX, PEER_RECORDS_SHARED,
    };
    let heads: Vec<_> = (0..HEADS_PER_MESSAGE_MAX as u32)
        .map(|number| {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            CommitHash::from_bytes(bytes)
        })
        .collect();
    let told = vec![PeerId::from_bytes([1; 32]); 2 * ADVERT_TOLD_MAX];
    let advert = advert_to(&Advert::of_all(heads.clone(), told)).unwrap();
    assert!(advert.encoded_len() <= CONTROL_MESSAGE_BYTES_MAX);
    assert_eq!(advert_from(&advert).unwrap().told.len(), ADVERT_TOLD_MAX);

    let request = commits_request_to(&heads, &heads).unwrap();
    assert!(request.encoded_len() <= CONTROL_MESSAGE_BYTES_MAX);

    // More peers than fit: as many as fit go along.
    let long = format!("{}:65535", "h".repeat(ADDRESS_BYTES_MAX - 6));
    let peer = PeerId::from_bytes([2; 32]);
    let record = PeerRecord { peer, addresses: vec![long; 20] };
    let mut answer = HeadsAnswer::of_all(heads.clone(), Some(heads[0]));
    answer.main.included.clone_from(&heads);
    let reply = HeadReply {
        answer,
        grants_digest: [0; 32],
        signers: SignersDigest::default(),
        peers: vec![record; 2 * PEER_RECORDS_MAX],
    };
    let message = head_reply_to(&reply).unwrap();
    assert!(message.encoded_len() <= CONTROL_MESSAGE_BYTES_MAX);
    let read = head_reply_from(&message).unwrap();
    assert!(
        (PEER_RECORDS_SHARED..PEER_RECORDS_MAX).contains(&read.peers.len()),
        "{}",
        read.peers.len()
    );
    assert_eq!(read.peers[0].addresses.len(), ADDRESSES_PER_PEER_MAX);

    let commit = SignedCommit { hash: heads[0], signer: peer, signature: [9; 64] };
    let commits = commits_reply_to(&vec![commit; COMMITS_PER_MESSAGE_MAX]);
    assert!(commits.encoded_len() <= COMMITS_MESSAGE_BYTES_MAX);

    let grants = grants_to(vec![vec![1; GRANT_BYTES_MAX]; GRANTS_PER_MESSAGE_MAX]).unwrap();
    let reply = pb::JoinReply { grants, ..Default::default() };
    assert!(reply.encoded_len() + 2_000 <= GRANTS_MESSAGE_BYTES_MAX);

    let hashes = vec![ChunkHash::from_bytes([3; 20]); CHUNKS_PER_REQUEST_MAX];
    assert!(hashes_to(&hashes).encoded_len() <= CHUNK_REQUEST_BYTES_MAX);
    let piece = || chunk_to(&hashes[0], Some(Bytes::from(vec![0; CHUNK_PIECE_BYTES_MAX])));
    let mut chunks: Vec<_> = piece().collect();
    chunks.extend(hashes.iter().flat_map(|hash| chunk_to(hash, None)));
    assert!(pb::ChunkBatch { chunks }.encoded_len() <= CHUNK_REPLY_BYTES_MAX);
}

#[test]
fn addresses_are_hosts_and_ports() {
    for good in ["1.2.3.4:1", "[::1]:65535", "[fe80::1%3]:9", "a.example:80", "under_score:7"] {
        assert_eq!(address(good).as_deref(), Ok(good));
    }
    for bad in [
        "",
        ":",
        ":1",
        "host",
        "host:",
        "host:0",
        "host:65536",
        "host:+1",
        "a b:1",
        "[::1]",
        "::1:2",
    ] {
        assert!(address(bad).is_err(), "{bad}");
    }
}
