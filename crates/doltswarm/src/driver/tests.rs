//! What the driver makes of things that happen in an order which the network rarely gives them.

use std::sync::Arc;

use doltswarm_core::id::PeerId;
use doltswarm_core::message::{HeadRequest, Hello, PROTOCOL_VERSION};
use tokio::sync::oneshot;

use super::Shared;
use super::input::{Asked, Input};
use crate::net::{CallError, NetEvent, Refusal};
use crate::swarm::{InitOptions, Swarm};

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
