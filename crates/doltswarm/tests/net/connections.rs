//! Who may connect, which connection stays, and how the end of one is noticed.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use doltswarm::core::limits::{DIAL_TIMEOUT, IDLE_TIMEOUT};
use doltswarm::net::{BindError, CallError, DialError, NetConfig, NetEvent, Network};

use super::support::{Format, LIMIT, Node, Peer, close, connected, event, eventually, pair};

/// Both can call each other, once they have settled on a connection.
async fn both_work(a: &Peer, b: &Peer) {
    for (from, to) in [(a, b), (b, a)] {
        let start = Instant::now();
        while let Err(error) = from.net.link(to.id).request_head().await {
            assert!(error.is_retryable() && start.elapsed() < LIMIT, "{error}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_gets_no_further_than_the_handshake() {
    let (mut host, stranger) = (Peer::start(1).await, Peer::start(2).await);
    let error = stranger.net.connect(host.id, &host.net.addresses()).await.unwrap_err();
    assert_eq!(error, DialError::Refused);
    assert!(!error.is_retryable());
    assert!(!stranger.net.is_connected(&host.id));
    assert!(!host.net.is_connected(&stranger.id));
    // Let in later, it needs nothing but another dial, and the first was never seen.
    host.admit(&stranger);
    stranger.dial(&host).await;
    let first = event(&mut host.events).await;
    let addr = Some(stranger.net.addresses()[0]);
    assert_eq!(first, NetEvent::Connected { peer: stranger.id, addr });
    assert!(host.events.try_recv().is_err());
    close([host, stranger]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_that_reaches_nobody_or_somebody_else_says_so() {
    let (a, b) = pair().await;
    let c = Peer::start(3).await;
    let error = a.net.connect(c.id, &b.net.addresses()).await.unwrap_err();
    assert_eq!(error, DialError::WrongKey);

    let error = a.net.connect(a.id, &a.net.addresses()).await.unwrap_err();
    assert!(matches!(error, DialError::Unreachable(_)), "{error}");

    let d = Peer::start(4).await;
    let error = a.net.connect(d.id, &[]).await.unwrap_err();
    assert!(matches!(error, DialError::Unreachable(_)), "{error}");
    // A socket that never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let start = Instant::now();
    let error = a.net.connect(d.id, &[silent.local_addr().unwrap()]).await.unwrap_err();
    assert_eq!(error, DialError::TimedOut);
    assert!(start.elapsed() < 2 * DIAL_TIMEOUT);
    close([a, b, c, d]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_dials_of_one_peer_are_one() {
    let (mut a, mut b) = pair().await;
    let addresses = b.net.addresses();
    let mut dials = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (net, peer, addresses) = (a.net.clone(), b.id, addresses.clone());
        dials.spawn(async move { net.connect(peer, &addresses).await });
    }
    while let Some(dial) = dials.join_next().await {
        dial.unwrap().unwrap();
    }
    both_work(&a, &b).await;
    a.dial(&b).await;
    assert!(matches!(event(&mut a.events).await, NetEvent::Connected { .. }));
    assert!(matches!(event(&mut b.events).await, NetEvent::Connected { .. }));
    assert!(a.events.try_recv().is_err() && b.events.try_recv().is_err());
    assert_eq!(a.net.connected_peers(), [b.id]);
    close([a, b]).await;
}

/// Disconnects the two. A dial that was under way may connect them again, so more than once.
async fn part(a: &Peer, b: &Peer) {
    eventually("the connection is gone", || {
        a.net.disconnect(&b.id);
        a.net.connected_peers().is_empty() && b.net.connected_peers().is_empty()
    })
    .await;
}

/// Events come in turn: never two connections, never an end without a beginning.
fn in_turn(peer: &mut Peer) {
    let mut open = 0;
    while let Ok(event) = peer.events.try_recv() {
        open += if matches!(event, NetEvent::Connected { .. }) { 1 } else { -1 };
        assert!((0..=1).contains(&open), "{event:?} out of turn");
    }
    assert_eq!(open, i32::from(!peer.net.connected_peers().is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_dial_each_other_at_once_end_with_one_connection() {
    let (mut a, mut b) = pair().await;
    for round in 0..100 {
        let (to_a, to_b) = (a.net.addresses(), b.net.addresses());
        let dials = tokio::join!(a.net.connect(b.id, &to_b), b.net.connect(a.id, &to_a));
        assert_eq!(dials, (Ok(()), Ok(())), "round {round}");
        both_work(&a, &b).await;
        part(&a, &b).await;
    }
    // And what is left in the end is one connection, which stays.
    let (to_a, to_b) = (a.net.addresses(), b.net.addresses());
    let dials = tokio::join!(a.net.connect(b.id, &to_b), b.net.connect(a.id, &to_a));
    assert_eq!(dials, (Ok(()), Ok(())));
    for _ in 0..100 {
        both_work(&a, &b).await;
    }
    in_turn(&mut a);
    in_turn(&mut b);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_that_was_overtaken_does_not_disturb_the_connection_that_overtook_it() {
    // The one that decides is dialled: it would take the late dial for a sign that the peer lost
    // what the two had.
    let (mut a, mut b) = pair().await;
    assert!(b.id < a.id, "the keys are the wrong way round");
    // The early dial is on its way: its packets go to where nobody answers, until there is a better
    // way.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (net, id, address) = (a.net.clone(), b.id, silent.local_addr().unwrap());
    let early = tokio::spawn(async move { net.connect(id, &[address]).await });
    let heard = tokio::task::spawn_blocking(move || silent.recv(&mut [0; 2_048]).map(|_| silent));
    let _silent = heard.await.unwrap().unwrap();
    b.dial(&a).await;
    assert_eq!(early.await.unwrap(), Ok(()));
    assert!(matches!(event(&mut a.events).await, NetEvent::Connected { .. }));
    assert!(matches!(event(&mut b.events).await, NetEvent::Connected { .. }));
    // As long as the early dial could go on.
    let more = tokio::time::timeout(DIAL_TIMEOUT, b.events.recv()).await;
    assert!(more.is_err(), "{more:?}");
    assert!(a.events.try_recv().is_err());
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_hear_of_a_disconnect_and_calls_say_so() {
    let (mut a, mut b) = connected().await;
    a.net.link(b.id).request_head().await.unwrap();
    b.net.disconnect(&a.id);
    assert_eq!(event(&mut a.events).await, NetEvent::Disconnected { peer: b.id });
    assert_eq!(event(&mut b.events).await, NetEvent::Disconnected { peer: a.id });
    assert!(!a.net.is_connected(&b.id) && !b.net.is_connected(&a.id));
    let error = a.net.link(b.id).request_head().await.unwrap_err();
    assert_eq!(error, CallError::NotConnected);
    // And back again, from the other side.
    b.dial(&a).await;
    assert!(matches!(event(&mut a.events).await, NetEvent::Connected { .. }));
    both_work(&a, &b).await;
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_tells_the_peers_and_leaves_nothing() {
    let (mut a, b) = connected().await;
    both_work(&a, &b).await;
    let (id, node, link) = (b.id, b.node.clone(), b.net.link(a.id));
    let port = b.net.addresses()[0].port();
    let start = Instant::now();
    b.net.close().await;
    b.net.close().await;
    assert_eq!(event(&mut a.events).await, NetEvent::Disconnected { peer: id });
    // It was told, and did not have to notice.
    assert!(start.elapsed() < IDLE_TIMEOUT, "{:?}", start.elapsed());

    assert_eq!(link.request_head().await.unwrap_err(), CallError::NotConnected);
    let error = b.net.connect(a.id, &a.net.addresses()).await.unwrap_err();
    assert_eq!(error, DialError::Closed);
    assert!(b.net.addresses().is_empty());
    // Nobody holds the node above any more, though handles of the network are still around.
    drop(b.node);
    assert_eq!(Arc::strong_count(&node), 1);
    // The port is free.
    eventually("the port is free", || UdpSocket::bind(("127.0.0.1", port)).is_ok()).await;
    let again = Peer::on(node, 2, port).await;
    again.dial(&a).await;
    both_work(&a, &again).await;
    close([a, again]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_closes_too() {
    let (a, b) = connected().await;
    let node = b.node.clone();
    drop(b);
    eventually("the node is let go", || Arc::strong_count(&node) == 1).await;
    eventually("the peer is gone", || !a.net.connected_peers().iter().any(|_| true)).await;
    close([a]).await;
}

/// A node that can be killed: its runtime stops without a word to anybody.
struct Mortal {
    runtime: Option<tokio::runtime::Runtime>,
    peer: Peer,
}

impl Mortal {
    /// A node with key 2 that knows `other`, and whether it dials `other` or is dialled by it.
    async fn start(other: &Peer, dials: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
        let node = Node::new("mortal");
        node.members.lock().unwrap().insert(other.id);
        let peer = runtime.spawn(Peer::on(node, 2, 0)).await.unwrap();
        other.admit(&peer);
        if dials {
            let (net, id, addresses) = (peer.net.clone(), other.id, other.net.addresses());
            let dial = runtime.spawn(async move { net.connect(id, &addresses).await });
            dial.await.unwrap().unwrap();
        } else {
            other.dial(&peer).await;
        }
        both_work(other, &peer).await;
        Self { runtime: Some(runtime), peer }
    }

    fn kill(&mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::block_in_place(|| runtime.shutdown_timeout(LIMIT));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_restarts_on_another_port_is_back_at_once() {
    for dials in [false, true] {
        let mut host = Peer::start(1).await;
        let mut old = Mortal::start(&host, dials).await;
        assert!(matches!(event(&mut host.events).await, NetEvent::Connected { .. }));
        old.kill();
        // The host has not noticed.
        assert!(host.net.is_connected(&old.peer.id));

        let start = Instant::now();
        let node = Node::new("back");
        node.members.lock().unwrap().insert(host.id);
        let new = Peer::on(node, 2, 0).await;
        assert_ne!(new.net.addresses(), old.peer.net.addresses());
        new.dial(&host).await;
        both_work(&host, &new).await;
        let took = start.elapsed();
        // The host did not have to notice first that the old one is gone.
        assert!(took < IDLE_TIMEOUT / 2, "dialled by the old: {dials}; took {took:?}");
        assert_eq!(event(&mut host.events).await, NetEvent::Disconnected { peer: new.id });
        let addr = Some(new.net.addresses()[0]);
        assert_eq!(event(&mut host.events).await, NetEvent::Connected { peer: new.id, addr });
        close([host, new]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_falls_silent_is_noticed_and_can_be_dialled_elsewhere() {
    let mut host = Peer::start(1).await;
    let mut old = Mortal::start(&host, false).await;
    assert!(matches!(event(&mut host.events).await, NetEvent::Connected { .. }));
    old.kill();
    // A pending call hears of it from the channel's ping or the connection's end.
    let start = Instant::now();
    let error = host.net.link(old.peer.id).request_head().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(start.elapsed() < 2 * IDLE_TIMEOUT, "{:?}", start.elapsed());
    assert_eq!(event(&mut host.events).await, NetEvent::Disconnected { peer: old.peer.id });

    let node = Node::new("back");
    node.members.lock().unwrap().insert(host.id);
    let new = Peer::on(node, 2, 0).await;
    let start = Instant::now();
    host.dial(&new).await;
    both_work(&host, &new).await;
    assert!(start.elapsed() < IDLE_TIMEOUT / 2, "{:?}", start.elapsed());
    close([host, new]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_under_way_survives_that_its_connection_is_replaced() {
    let (a, b) = connected().await;
    let failures = Arc::new(AtomicUsize::new(0));
    let (net, peer, count) = (a.net.clone(), b.id, failures.clone());
    let caller = tokio::spawn(async move {
        for _ in 0..500 {
            if net.link(peer).request_head().await.is_err() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    // While it calls, the connection goes and comes a few times.
    for _ in 0..5 {
        part(&a, &b).await;
        let (to_a, to_b) = (a.net.addresses(), b.net.addresses());
        let dials = tokio::join!(a.net.connect(b.id, &to_b), b.net.connect(a.id, &to_a));
        assert_eq!(dials, (Ok(()), Ok(())));
    }
    tokio::time::timeout(LIMIT, caller).await.unwrap().unwrap();
    both_work(&a, &b).await;
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_to_listen_is_said_or_refused_by_name() {
    let a = Peer::start(1).await;
    let taken = a.net.addresses()[0];
    let bind = |bind: Vec<SocketAddr>| {
        let config = NetConfig { secret_key: [2; 32], bind };
        Network::bind(config, Node::new("b"), Arc::new(Format))
    };
    match bind(vec![taken]).await.err().unwrap() {
        BindError::Address { address, .. } => assert_eq!(address, taken.to_string()),
        error => panic!("{error}"),
    }
    let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
    for addresses in [Vec::new(), vec![any(0)]] {
        let net = bind(addresses).await.unwrap();
        let addresses = net.addresses();
        assert!(!addresses.is_empty());
        assert!(addresses.iter().all(|a| !a.ip().is_unspecified() && a.port() > 0));
        net.close().await;
    }
    let two = vec![SocketAddr::from(([127, 0, 0, 1], 0)), SocketAddr::from(([127, 0, 0, 2], 0))];
    let net = bind(two).await.unwrap();
    assert_eq!(net.addresses().len(), 2);
    net.close().await;
    close([a]).await;
}
