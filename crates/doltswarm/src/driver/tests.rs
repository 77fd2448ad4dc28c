//! What the driver makes of things that happen in an order which the network rarely gives them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use doltswarm_core::id::{ChunkHash, CommitHash, PeerId};
use doltswarm_core::limits::{CHUNK_READ_BYTES, MERGE_DEATHS_MAX};
use doltswarm_core::message::{HeadRequest, Hello, PROTOCOL_VERSION};
use tokio::sync::oneshot;

use super::input::{Asked, Input};
use super::{MergeIntents, Service, Shared, collect};
use crate::engine::Engine;
use crate::net::{CallError, NetEvent, PeerService, Refusal};
use crate::swarm::{InitOptions, InviteOptions, JoinOptions, OpenOptions, SetAsideHead, Swarm};

const PEER: PeerId = PeerId::from_bytes([7; 32]);

/// A good hello of another peer.
fn hello(shared: &Shared) -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        swarm: shared.founding.swarm,
        engine: shared.founding.engine,
        engine_version: shared.engine_version(),
        policy: shared.founding.policy,
        name: "peer".into(),
        addresses: vec!["127.0.0.1:5000".into()],
        grants_digest: shared.membership().digest(),
        life: 7,
    }
}

/// The peer says hello, on whatever connection.
async fn says_hello(shared: &Shared) {
    let (reply, answer) = oneshot::channel();
    let asked = Asked::Hello { from: PEER, hello: hello(shared), seen_at: None, reply };
    assert!(shared.inputs.send(Input::Asked(asked)).is_ok());
    assert!(answer.await.expect("an answer").is_ok());
}

/// Where the node tells others that the peer is.
async fn told_of(shared: &Shared) -> Vec<String> {
    let (reply, answer) = oneshot::channel();
    let asked = Asked::Heads { from: PEER, request: Some(HeadRequest::default()), reply };
    assert!(shared.inputs.send(Input::Asked(asked)).is_ok());
    let answer = answer.await.expect("an answer").expect("no refusal");
    answer.peers.into_iter().flat_map(|record| record.addresses).collect()
}

async fn is_connected(node: &Swarm) -> bool {
    let status = node.status().await.expect("a status");
    status.peers.iter().any(|peer| peer.id == PEER.to_string() && peer.connected)
}

#[tokio::test]
async fn a_hello_counts_only_while_there_is_a_connection() {
    let home = tempfile::tempdir().expect("a directory");
    let node = Swarm::init(&home.path().join("node"), InitOptions::default()).await.expect("init");
    let shared = Arc::clone(node.shared());
    let happens = |input| assert!(shared.inputs.send(input).is_ok());
    let answers_hello = || Input::Greeted { peer: PEER, result: Ok(hello(&shared)) };
    let comes = || Input::Net(NetEvent::Connected { peer: PEER, addr: None });
    let goes = || Input::Net(NetEvent::Disconnected { peer: PEER });

    happens(comes());
    assert!(!is_connected(&node).await);
    happens(answers_hello());
    assert!(is_connected(&node).await);
    happens(goes());
    assert!(!is_connected(&node).await);

    // Words that were under way when the connection went: nobody would say that it is gone again.
    happens(answers_hello());
    assert!(!is_connected(&node).await);
    says_hello(&shared).await;
    assert!(!is_connected(&node).await);

    // The next connection is greeted as the first.
    happens(comes());
    says_hello(&shared).await;
    assert!(is_connected(&node).await);
    happens(answers_hello());
    happens(goes());
    assert!(!is_connected(&node).await);
    node.close().await;
}

#[tokio::test]
async fn where_a_peer_was_while_it_joined_is_told_to_nobody() {
    let home = tempfile::tempdir().expect("a directory");
    let node = Swarm::init(&home.path().join("node"), InitOptions::default()).await.expect("init");
    let shared = Arc::clone(node.shared());
    let addr = Some(([127, 0, 0, 1], 4_000).into());
    let result = Err(CallError::Refused(Refusal::NotAllowed("it is still joining".into())));
    for input in [
        Input::Net(NetEvent::Connected { peer: PEER, addr }),
        Input::Greeted { peer: PEER, result },
        Input::Net(NetEvent::Disconnected { peer: PEER }),
    ] {
        assert!(shared.inputs.send(input).is_ok());
    }
    assert_eq!(told_of(&shared).await, Vec::<String>::new());
    // As a member it says where it is.
    says_hello(&shared).await;
    assert_eq!(told_of(&shared).await, ["127.0.0.1:5000"]);
    node.close().await;
}

#[tokio::test]
async fn large_chunks_are_not_read_together_for_a_peer() {
    let home = tempfile::tempdir().expect("a directory");
    let node = Swarm::init(&home.path().join("node"), InitOptions::default()).await.expect("init");
    let sql = "CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB);
               INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 8)
               SELECT i, randomblob(300000) FROM n";
    let main = node.exec_and_commit("x", [sql]).await.expect("good SQL").main;
    let shared = Arc::clone(node.shared());
    let (mut large, mut level) = (Vec::new(), vec![main.parse::<ChunkHash>().expect("a hash")]);
    while !level.is_empty() {
        let read = shared.chunks.lock().expect("no panic").get_many(&level).expect("the chunks");
        let mut next = Vec::new();
        for (hash, chunk) in level.into_iter().zip(read.into_iter().flatten()) {
            next.extend(shared.format.children(&chunk).expect("a good chunk"));
            if chunk.len() > CHUNK_READ_BYTES {
                large.push(hash);
            }
        }
        level = next;
    }
    // Two rows are in one.
    assert_eq!(large.len(), 4);
    let given = Service::new(shared).chunks(PEER, large).await.expect("no refusal");
    assert_eq!(given.len(), 1);
    node.close().await;
}

/// Makes a node sign what another program commits, without a look at it.
async fn signs_unseen(node: &Swarm, dir: &Path, sql: &str) -> CommitHash {
    let other = doltlite::Connection::open(dir.join("database.db")).expect("the database opens");
    other.execute_batch(sql).expect("good SQL");
    let sql = "SELECT dolt_commit('-A', '-m', 'by another program')";
    other.execute_batch(sql).expect("a commit");
    let shared = Arc::clone(node.shared());
    let store = shared.store.clone();
    let look = move |engine: &mut dyn Engine| {
        let main = engine.main()?;
        collect(engine, &store, &[main]).map(|infos| (main, infos))
    };
    let (main, infos) = shared.engine.call(look).await.expect("it runs").expect("the commit");
    assert!(shared.inputs.send(Input::MainSeen { main, infos }).is_ok());
    main
}

/// Two nodes in step, online, with a table `t`; where main is; and the second one's directory,
/// which does not look for other programs' commits by itself.
async fn two_nodes(home: &Path) -> [Swarm; 2] {
    let [ours, theirs] = ["a", "b"].map(|name| home.join(name));
    let local: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    let online = || OpenOptions::online_at(local);
    Swarm::init(&ours, InitOptions::default()).await.expect("init").close().await;
    let a = Swarm::open(&ours, online()).await.expect("the node opens");
    let table = "CREATE TABLE t (id INTEGER PRIMARY KEY)";
    a.exec_and_commit("x", [table]).await.expect("good SQL");
    let ticket = a.invite(InviteOptions::default()).await.expect("a ticket");
    let options = JoinOptions { bind: vec![local], open: online(), ..JoinOptions::default() };
    Swarm::join(&theirs, &ticket, options, |_| {}).await.expect("the join").close().await;
    let config = theirs.join("config.toml");
    let text = std::fs::read_to_string(&config).expect("the file");
    let slow = text.replace("[sync]\n", "[sync]\nforeign_commit_poll_ms = 60000\n");
    assert_ne!(slow, text);
    std::fs::write(&config, slow).expect("written");
    let b = Swarm::open(&theirs, online()).await.expect("the node opens");
    [a, b]
}

/// The head that is set aside at a node, once `head` is.
async fn set_aside(node: &Swarm, head: &CommitHash) -> SetAsideHead {
    let mut rounds = node.shared().rounds.subscribe();
    loop {
        let status = node.status().await.expect("a status");
        if let Some(aside) = status.set_aside.iter().find(|it| it.head == head.to_string()) {
            return aside.clone();
        }
        rounds.changed().await.expect("the node is open");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_of_a_peer_that_cannot_be_used_is_set_aside() {
    let home = tempfile::tempdir().expect("a directory");
    let [a, b] = two_nodes(home.path()).await;
    let (ours, theirs) = (home.path().join("a"), home.path().join("b"));
    let good = a.status().await.expect("a status").main;
    signs_unseen(&b, &theirs, "CREATE VIEW v AS SELECT * FROM nowhere").await;
    let above = signs_unseen(&b, &theirs, "INSERT INTO t VALUES (7)").await;
    let aside = set_aside(&a, &above).await;
    assert!(aside.reason.contains("view `v`"), "{}", aside.reason);
    assert_eq!(a.status().await.expect("a status").main, good);
    let commit = a.exec_and_commit("x", ["INSERT INTO t VALUES (1)"]).await.expect("good SQL").main;
    a.close().await;
    b.close().await;
    // A restart does not try it again.
    let a = Swarm::open(&ours, OpenOptions::default()).await.expect("the node opens");
    let status = a.status().await.expect("a status");
    assert_eq!(status.set_aside.len(), 1);
    assert_eq!(status.main, commit);
    a.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_killed_the_node_twice_is_set_aside() {
    let home = tempfile::tempdir().expect("a directory");
    let [a, b] = two_nodes(home.path()).await;
    let (ours, theirs) = (home.path().join("a"), home.path().join("b"));
    let head = signs_unseen(&b, &theirs, "INSERT INTO t VALUES (7)").await;
    let mut rounds = a.shared().rounds.subscribe();
    while a.status().await.expect("a status").main != head.to_string() {
        rounds.changed().await.expect("the node is open");
    }
    a.close().await;
    b.close().await;
    for _ in 0..MERGE_DEATHS_MAX {
        MergeIntents::open(&ours).begin(&head);
    }
    let a = Swarm::open(&ours, OpenOptions::default()).await.expect("the node opens");
    let aside = set_aside(&a, &head).await;
    assert!(aside.reason.contains("died"), "{}", aside.reason);
    assert!(a.release(&head.to_string()).await.expect("a release"));
    a.close().await;
    let a = Swarm::open(&ours, OpenOptions::default()).await.expect("the node opens");
    assert_eq!(a.status().await.expect("a status").set_aside, []);
    a.close().await;
}
