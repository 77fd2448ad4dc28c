//! Joining with a ticket's secret.

use std::sync::atomic::Ordering;

use doltswarm::core::id::{PeerId, SwarmId};
use doltswarm::net::{CallError, DialError, JoinAsk, NetEvent, Refusal};

use super::support::{Peer, SECRET, close, commit, event};

fn ask(secret: [u8; 16]) -> JoinAsk {
    JoinAsk { swarm: SwarmId::from_bytes([7; 32]), secret, name: "new".into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_with_the_secret_becomes_a_member_and_can_then_connect() {
    let (mut host, new) = (Peer::start(1).await, Peer::start(2).await);
    new.admit(&host);
    host.node.door_open.store(true, Ordering::Relaxed);
    *host.node.grants.lock().unwrap() = vec![vec![1, 2, 3]; 100];
    let addresses = host.net.addresses();
    let answer = new.net.join(host.id, &addresses, ask(SECRET)).await.unwrap();
    assert_eq!(answer.hello, *host.node.hello.lock().unwrap());
    assert_eq!(answer.founder, PeerId::from_bytes([1; 32]));
    assert_eq!(answer.founding, commit(1));
    assert_eq!(answer.grants.len(), 100);
    assert!(!new.net.is_connected(&host.id));
    // Again, as after a lost answer; and now as any other member.
    new.net.join(host.id, &addresses, ask(SECRET)).await.unwrap();
    new.dial(&host).await;
    new.net.link(host.id).request_head().await.unwrap();
    let first = event(&mut host.events).await;
    assert!(matches!(first, NetEvent::Connected { peer, .. } if peer == new.id), "{first:?}");
    close([host, new]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_door_is_told_from_a_wrong_secret() {
    let (host, new) = (Peer::start(1).await, Peer::start(2).await);
    let addresses = host.net.addresses();
    let error = new.net.join(host.id, &addresses, ask(SECRET)).await.unwrap_err();
    assert_eq!(error, CallError::Dial(DialError::DoorClosed));

    host.node.door_open.store(true, Ordering::Relaxed);
    let error = new.net.join(host.id, &addresses, ask([0; 16])).await.unwrap_err();
    let text = "no such invitation".to_owned();
    assert_eq!(error, CallError::Refused(Refusal::NotAllowed(text)));
    // The open door opens nothing but itself.
    let error = new.net.connect(host.id, &addresses).await.unwrap_err();
    assert_eq!(error, DialError::Refused);
    close([host, new]).await;
}
