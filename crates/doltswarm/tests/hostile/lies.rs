//! False commits, signatures, chunks and heads.

use bytes::Bytes;
use doltswarm::core::id::{ChunkHash, CommitHash};
use doltswarm::core::message::SignedCommit;
use doltswarm::core::sign::sign_commit;
use doltswarm::identity::Identity;
use doltswarm::{Swarm, SwarmEvent};

use crate::forgery;
use crate::mallory::Mallory;
use crate::support::{Home, close, eventually, exec, homes, in_step, rows};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)";

/// Two honest nodes, and the liar.
async fn swarm() -> (Swarm, Swarm, Mallory, [Home; 2]) {
    let [home_a, home_b, home_m] = homes();
    let a = home_a.found(SCHEMA).await;
    let b = home_b.join(&a, "b").await;
    let mallory = Mallory::join(home_m, &a).await;
    in_step(&[&a, &b]).await;
    (a, b, mallory, [home_a, home_b])
}

async fn main_of(node: &Swarm) -> String {
    node.status().await.expect("a status").main
}

/// The node says why it does not take `head` from the liar, and main stays.
async fn is_refused(node: &Swarm, mallory: &Mallory, why: &str) {
    let before = main_of(node).await;
    mallory.advertise(node).await;
    eventually(&format!("it is refused: {why}"), async || {
        let status = node.status().await.expect("a status");
        let rejected = status.rejected.iter();
        let mut reasons = rejected.filter(|one| one.peer == mallory.id()).map(|one| &one.reason);
        let peer = status.peers.iter().find(|peer| peer.id == mallory.id());
        let problem = peer.and_then(|peer| peer.problem.as_deref()).unwrap_or_default();
        reasons.any(|reason| reason.contains(why)) || problem.contains(why)
    })
    .await;
    assert_eq!(main_of(node).await, before, "{why}");
}

/// The honest go on, whatever the liar says.
async fn the_others_go_on(a: &Swarm, b: &Swarm, id: i64) {
    let commit = exec(b, &format!("INSERT INTO t VALUES ({id}, 'honest')")).await;
    eventually("the honest commit is on both", async || {
        main_of(a).await == commit && main_of(b).await == commit
    })
    .await;
}

/// An honest commit on top of all, which everyone takes.
async fn it_behaves(a: &Swarm, b: &Swarm, mallory: &Mallory, commits: &[CommitHash]) {
    let last = mallory.commit("INSERT INTO t VALUES (900, 'honest again')");
    for commit in commits {
        mallory.unsay(commit);
    }
    let signed: Vec<SignedCommit> =
        commits.iter().chain([&last]).map(|commit| mallory.signed(commit)).collect();
    mallory.say(&[last], &signed);
    mallory.advertise(a).await;
    for node in [a, b] {
        eventually("what was refused is taken when it is true", async || {
            rows(node, "SELECT id FROM t WHERE id = 900").await.len() == 1
        })
        .await;
    }
    eventually("both have one main", async || main_of(a).await == main_of(b).await).await;
    let status = a.status().await.expect("a status");
    assert_eq!(status.rejected, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_without_a_good_signature_of_a_writer_is_refused() {
    let (a, b, mallory, _homes) = swarm().await;
    let first = mallory.commit("INSERT INTO t VALUES (1, 'unsigned')");
    mallory.say(&[first], &[]);
    is_refused(&a, &mallory, "has no signature").await;
    the_others_go_on(&a, &b, 101).await;

    let second = mallory.commit("INSERT INTO t VALUES (2, 'badly signed')");
    let mut bad = mallory.signed(&second);
    bad.signature[10] ^= 1;
    mallory.say(&[second], &[mallory.signed(&first), bad]);
    is_refused(&a, &mallory, "bad signature").await;
    the_others_go_on(&a, &b, 102).await;

    // Signed by itself in another's name, and by a key that nobody let in.
    let in_the_name_of_a = SignedCommit { signer: a.peer_id(), ..mallory.signed(&second) };
    let third = mallory.commit("INSERT INTO t VALUES (3, 'in another name')");
    mallory.unsay(&second);
    mallory.say(&[third], &[in_the_name_of_a, mallory.signed(&third)]);
    is_refused(&a, &mallory, "bad signature").await;
    let stranger = Identity::generate().expect("a key");
    let swarm = a.swarm_id();
    let fourth = mallory.commit("INSERT INTO t VALUES (4, 'by a stranger')");
    mallory.unsay(&second);
    let by_stranger = sign_commit(stranger.signing_key(), &swarm, &fourth);
    mallory.say(&[fourth], &[mallory.signed(&second), by_stranger]);
    is_refused(&a, &mallory, "may not write").await;
    the_others_go_on(&a, &b, 103).await;

    it_behaves(&a, &b, &mallory, &[first, second, third, fourth]).await;
    mallory.network.close().await;
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_chunk_is_taken_before_a_writers_signature() {
    let (a, b, mallory, _homes) = swarm().await;
    let chunk = |number: u8| Bytes::from(vec![number; 100 << 10]);
    mallory.words.lock().expect("no panic").given = (0..100).map(chunk).collect();
    let received = || a.net_stats().chunk_bytes_received;

    let unsigned = mallory.commit("INSERT INTO t VALUES (1, 'unsigned')");
    let before = received();
    mallory.say(&[unsigned], &[]);
    is_refused(&a, &mallory, "has no signature").await;
    let stranger = Identity::generate().expect("a key");
    let by_stranger = sign_commit(stranger.signing_key(), &a.swarm_id(), &unsigned);
    mallory.say(&[unsigned], &[by_stranger]);
    is_refused(&a, &mallory, "may not write").await;
    assert_eq!(received(), before, "chunks were taken of a head that nobody signed");

    // With a signature the first chunk that is none of the head's ends the difference.
    mallory.unsay(&unsigned);
    it_behaves(&a, &b, &mallory, &[unsigned]).await;
    let taken = received() - before;
    assert!((1..1 << 20).contains(&taken), "{taken} bytes of chunks were taken");
    mallory.network.close().await;
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_with_false_bytes_are_refused() {
    let (a, b, mallory, _homes) = swarm().await;
    let commit = mallory.commit("INSERT INTO t VALUES (1, 'spoiled')");
    mallory.words.lock().expect("no panic").spoiled = vec![ChunkHash::from(commit)];
    mallory.say(&[commit], &[mallory.signed(&commit)]);
    is_refused(&a, &mallory, "with bytes whose hash is").await;
    the_others_go_on(&a, &b, 101).await;
    mallory.words.lock().expect("no panic").spoiled.clear();
    it_behaves(&a, &b, &mallory, &[commit]).await;
    mallory.network.close().await;
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_does_not_exist_holds_nobody_up() {
    let (a, b, mallory, _homes) = swarm().await;
    // Signed as it should be, so that only its chunk is missing.
    let nothing = CommitHash::from_bytes([7; 20]);
    mallory.say(&[nothing], &[mallory.signed(&nothing)]);
    is_refused(&a, &mallory, "could not be fetched").await;
    the_others_go_on(&a, &b, 101).await;
    mallory.unsay(&nothing);
    it_behaves(&a, &b, &mallory, &[]).await;
    mallory.network.close().await;
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_merge_commit_is_no_head() {
    let (a, b, mallory, _homes) = swarm().await;
    let base = main_of(&a).await;
    let ours = mallory.commit("INSERT INTO t VALUES (1, 'ours')");
    let theirs = forgery::side(&mallory, &base);
    let forged = forgery::merge(&mallory, &ours, &theirs, "INSERT INTO t VALUES (666, 'forged')");
    mallory.say(&[forged], &[mallory.signed(&ours), mallory.signed(&theirs)]);
    is_refused(&a, &mallory, "merge commit").await;
    the_others_go_on(&a, &b, 101).await;
    it_behaves(&a, &b, &mallory, &[ours]).await;
    for node in [&a, &b] {
        assert!(rows(node, "SELECT id FROM t WHERE id = 666").await.is_empty());
    }
    mallory.network.close().await;
    close([a, b]).await;
}

/// A liar, or an engine that merges differently: nobody can tell, so it is told and nothing is
/// done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_main_of_the_same_heads_is_told() {
    let (a, b, mallory, _homes) = swarm().await;
    let status_of = async || a.status().await.expect("a status");
    let problem_of = async || {
        let status = status_of().await;
        let peer = status.peers.into_iter().find(|peer| peer.id == mallory.id());
        peer.and_then(|peer| peer.problem)
    };
    let mut events = a.events();
    let main = CommitHash::from_bytes([7; 20]);
    mallory.words.lock().expect("no panic").main = Some(main);
    mallory.advertise(&a).await;
    loop {
        match events.next().await.expect("the node is open") {
            SwarmEvent::EnginesDisagree { peer, theirs, .. } if peer == mallory.id() => {
                assert_eq!(theirs, mallory.kind.write_hash(&main));
                break;
            }
            _ => continue,
        }
    }
    let problem = problem_of().await.expect("a problem");
    assert!(problem.contains("the same heads and another main"), "{problem}");
    assert!(!status_of().await.in_sync);
    the_others_go_on(&a, &b, 1).await;
    close([a, b]).await;
}
