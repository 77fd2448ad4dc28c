//! The one connection to each peer.
//!
//! A connection is symmetric: both sides open streams and both answer, so it does not matter who
//! dialled. Never are two kept, because the transport sends new handshakes to a peer only along the
//! path of the connection it has: a peer that came back at another address could not be dialled
//! while its old connection lingers.
//!
//! Two that dial each other at the same moment, and peers that restart, could each keep another
//! connection than the other. So of any two peers the one with the smaller id decides which
//! connection they keep, and says so on it with a number that counts up; the other follows the
//! highest number.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use doltswarm_core::id::PeerId;
use doltswarm_core::limits::CONNECTIONS_MAX;
use iroh::TransportAddr;
use iroh::endpoint::Connection;
use tokio::sync::{mpsc, watch};
use tonic::transport::Channel;

use super::client;
use super::endpoint::CloseCode;
use super::io::{Caller, Received};

/// What happens to connections, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetEvent {
    /// A connection to a peer is there, by whichever side dialled. Where another was there already,
    /// a [`NetEvent::Disconnected`] came first: the peer may have restarted in between. Two that
    /// dial each other at the same moment may see a connection come, go and come before it settles.
    Connected {
        /// The peer.
        peer: PeerId,
        /// Where its packets come from.
        addr: Option<SocketAddr>,
    },
    /// The connection to a peer is gone.
    Disconnected {
        /// The peer.
        peer: PeerId,
    },
}

/// The decision for a connection, by the peer with the smaller id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// A random number for the life of the deciding process: numbers of another life do not
    /// compare.
    pub(crate) life: u64,
    /// Counts up.
    pub(crate) number: u64,
}

/// A connection that was accepted by both sides.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) peer: PeerId,
    pub(crate) connection: Connection,
    pub(crate) caller: Caller,
    verdict: Verdict,
    control: OnceLock<Channel>,
    bulk: OnceLock<Channel>,
    bulk_received: Received,
}

impl Live {
    fn new(connection: Connection, caller: Caller, verdict: Verdict) -> Arc<Self> {
        let (control, bulk) = (OnceLock::new(), OnceLock::new());
        let (peer, bulk_received) = (caller.peer, Received::default());
        Arc::new(Self { peer, connection, caller, verdict, control, bulk, bulk_received })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// The channel for small messages; its stream is opened at the first call.
    pub(crate) fn control(&self) -> Channel {
        let open =
            |received| client::channel(self.connection.clone(), self.caller.clone(), received);
        self.control.get_or_init(|| open(Received::default())).clone()
    }

    /// The channel for transfers: on a stream of its own, so that small messages need not wait.
    pub(crate) fn bulk(&self) -> Channel {
        let open =
            |received| client::channel(self.connection.clone(), self.caller.clone(), received);
        self.bulk.get_or_init(|| open(self.bulk_received.clone())).clone()
    }

    /// How many bytes arrived on the channel for transfers.
    pub(crate) fn bulk_received(&self) -> &Received {
        &self.bulk_received
    }

    /// Where the peer's packets come from.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        observed(&self.connection)
    }
}

/// Where the other side's packets come from.
pub(crate) fn observed(connection: &Connection) -> Option<SocketAddr> {
    let paths = connection.paths();
    let path = paths.iter().find(|path| path.is_selected()).or_else(|| paths.iter().next())?;
    match path.remote_addr() {
        TransportAddr::Ip(address) => Some(*address),
        _ => None,
    }
}

/// The connections, by peer.
#[derive(Debug)]
pub(crate) struct Registry {
    life: u64,
    state: Mutex<State>,
    /// Ticks whenever a connection was added.
    added: watch::Sender<()>,
    events: mpsc::Sender<NetEvent>,
}

#[derive(Debug, Default)]
struct State {
    lives: HashMap<PeerId, Arc<Live>>,
    /// The last verdict's number.
    number: u64,
    closed: bool,
}

impl Registry {
    /// `life` is a random number.
    pub(crate) fn new(life: u64, events: mpsc::Sender<NetEvent>) -> Self {
        Self { life, state: Mutex::default(), added: watch::Sender::new(()), events }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of an event. In the order of the changes, because the caller holds the lock.
    fn tell(&self, event: NetEvent) {
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
            tracing::warn!(?event, "nobody listens to the network; an event is lost");
        }
    }

    /// Decides on a connection to a peer with a greater id than this node's, and takes it in or
    /// closes it and says with which code. One that the peer dialled replaces what is there: the
    /// peer would not have dialled if it had a connection that works. One dialled from here does
    /// not: the peer's own came while this node dialled.
    pub(crate) fn decide(
        &self,
        connection: Connection,
        caller: Caller,
        inbound: bool,
    ) -> Result<(Arc<Live>, Verdict), CloseCode> {
        let mut state = self.lock();
        state.number += 1;
        let verdict = Verdict { life: self.life, number: state.number };
        let live = Live::new(connection, caller, verdict);
        let old = state.lives.get(&live.peer).filter(|old| old.is_open());
        if old.is_some() && !inbound {
            return refuse(&live, CloseCode::Duplicate);
        }
        self.insert(state, &live)?;
        Ok((live, verdict))
    }

    /// Takes in a connection that a peer with a smaller id decided to keep, unless it has meanwhile
    /// decided to keep a newer one.
    pub(crate) fn follow(
        &self,
        connection: Connection,
        caller: Caller,
        verdict: Verdict,
    ) -> Result<Arc<Live>, CloseCode> {
        let state = self.lock();
        let live = Live::new(connection, caller, verdict);
        let newer = |old: &&Arc<Live>| {
            old.is_open() && old.verdict.life == verdict.life && old.verdict.number > verdict.number
        };
        if state.lives.get(&live.peer).filter(newer).is_some() {
            return refuse(&live, CloseCode::Replaced);
        }
        self.insert(state, &live)?;
        Ok(live)
    }

    fn insert(&self, mut state: MutexGuard<'_, State>, live: &Arc<Live>) -> Result<(), CloseCode> {
        if state.closed {
            return refuse(live, CloseCode::Closing);
        }
        if !state.lives.contains_key(&live.peer) && state.lives.len() >= CONNECTIONS_MAX {
            return refuse(live, CloseCode::Busy);
        }
        if let Some(old) = state.lives.insert(live.peer, live.clone()) {
            CloseCode::Replaced.close(&old.connection);
            self.tell(NetEvent::Disconnected { peer: live.peer });
        }
        self.tell(NetEvent::Connected { peer: live.peer, addr: live.address() });
        drop(state);
        self.added.send_replace(());
        Ok(())
    }

    /// Forgets a connection that is closed, unless another took its place.
    pub(crate) fn gone(&self, live: &Arc<Live>) {
        let mut state = self.lock();
        if state.lives.get(&live.peer).is_some_and(|current| Arc::ptr_eq(current, live)) {
            state.lives.remove(&live.peer);
            self.tell(NetEvent::Disconnected { peer: live.peer });
        }
    }

    /// The open connection to a peer.
    pub(crate) fn current(&self, peer: &PeerId) -> Option<Arc<Live>> {
        self.lock().lives.get(peer).filter(|live| live.is_open()).cloned()
    }

    /// The peers with an open connection, sorted.
    pub(crate) fn peers(&self) -> Vec<PeerId> {
        let state = self.lock();
        let open = state.lives.values().filter(|live| live.is_open());
        let mut peers: Vec<PeerId> = open.map(|live| live.peer).collect();
        peers.sort_unstable();
        peers
    }

    /// Returns once a connection to the peer is open.
    pub(crate) async fn connected(&self, peer: &PeerId) {
        // Subscribed before looking, so that no addition falls between the two.
        let mut added = self.added.subscribe();
        while self.current(peer).is_none() {
            if added.changed().await.is_err() {
                // The sender lives as long as the registry.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Closes all connections and takes in no more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for live in state.lives.values() {
            CloseCode::Closing.close(&live.connection);
        }
        for (peer, _) in state.lives.drain() {
            self.tell(NetEvent::Disconnected { peer });
        }
    }
}

fn refuse<T>(live: &Live, code: CloseCode) -> Result<T, CloseCode> {
    code.close(&live.connection);
    Err(code)
}
