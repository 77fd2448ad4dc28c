//! The network: one encrypted connection to each peer, and gRPC over it.
//!
//! A peer's key is its address and its identity. Two peers share one symmetric QUIC connection,
//! whichever of them dialled, and each side opens two streams on it: one for small messages and one
//! for transfers. Nothing is sent to anyone that the node above did not name: no relay, no name
//! service, no discovery.
//!
//! Architecture Invariant: the network knows nothing of an engine but the rules of its chunks
//! ([`crate::engine::ChunkFormat`]), and of the node above only [`PeerService`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use doltswarm_core::id::PeerId;
use doltswarm_core::limits::EVENTS_BUFFERED_MAX;
use iroh::Endpoint;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::engine::ChunkFormat;

mod accept;
mod chunk_server;
mod chunk_store;
mod client;
mod dial;
mod difference;
mod door;
mod endpoint;
mod error;
mod greet;
mod io;
mod pb;
mod pieces;
mod registry;
mod server;
mod service;
mod stats;
mod wire;

pub use chunk_store::{RemoteChunkStore, Source};
pub use client::PeerLink;
pub use difference::Difference;
pub use error::{BindError, CallError, ChunkStoreError, DialError, Fault, ReadOnly, Refusal};
pub use registry::NetEvent;
pub use service::{BoxFuture, ChunkBatches, JoinAnswer, JoinAsk, PeerService};
pub use stats::NetStats;
pub use wire::WireError;

use endpoint::{CloseCode, Gate};
use io::Alive;
use registry::{Live, Registry};
use server::Intake;
use stats::Counters;

/// How long closing waits for the peers to hear of it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// How a node takes part in the network.
#[derive(Clone)]
pub struct NetConfig {
    /// The seed of the ed25519 key, which is the node's name and address.
    pub secret_key: [u8; 32],
    /// Where to listen. Empty: on every address of the machine, at a free port. Port 0 is a free
    /// port.
    pub bind: Vec<SocketAddr>,
}

impl std::fmt::Debug for NetConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key must not get into a log.
        f.debug_struct("NetConfig").field("bind", &self.bind).finish_non_exhaustive()
    }
}

/// What all parts of one network share.
pub(crate) struct Inner {
    id: PeerId,
    /// Gone once closed: the sockets are free when the last handle is.
    endpoint: RwLock<Option<Endpoint>>,
    gate: Gate,
    registry: Registry,
    flights: dial::Flights,
    member_intake: Intake,
    door_intake: Intake,
    counters: Arc<Counters>,
    format: Arc<dyn ChunkFormat>,
    /// Handed to whatever works for a connection.
    alive: Mutex<Option<(Alive, mpsc::Receiver<Infallible>)>>,
    /// Everything that runs; `None` once closed.
    tasks: Mutex<Option<JoinSet<()>>>,
}

impl Inner {
    fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For whatever works for a connection to hold; `None` once closed.
    fn alive(&self) -> Option<Alive> {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.as_ref().map(|(alive, _)| alive.clone())
    }

    /// Runs a task that ends with the network; once closed, drops it at once.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tasks) = tasks.as_mut() else { return };
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the network failed");
            }
        }
        tasks.spawn(task);
    }

    /// Serves a connection that this side dialled.
    fn serve(self: &Arc<Self>, live: Arc<Live>) {
        let inner = self.clone();
        self.spawn(async move { accept::streams(&inner, &live).await });
    }

    /// Closes what can be closed without waiting.
    fn shut(&self) -> (Option<Endpoint>, Option<JoinSet<()>>) {
        self.gate.close();
        self.registry.close();
        let endpoint = self.endpoint.write().unwrap_or_else(PoisonError::into_inner).take();
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        (endpoint, tasks)
    }
}

fn random() -> Result<u64, BindError> {
    getrandom::u64().map_err(|error| BindError::Random(error.to_string()))
}

/// Closes the network with the last handle.
struct Handle {
    inner: Arc<Inner>,
    events: Mutex<Option<mpsc::Receiver<NetEvent>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The tasks are aborted as their set is dropped. Peers notice by silence, unless `close`
        // was awaited before.
        drop(self.inner.shut());
    }
}

/// A node's part in the network. Cheap to clone; all clones are the same network.
///
/// End it with [`Network::close`]. Dropping the last clone ends it too, but then peers only notice
/// after a while.
#[derive(Clone)]
pub struct Network(Arc<Handle>);

impl Network {
    /// Opens the sockets and begins to answer peers. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`BindError`] where an address cannot be listened on.
    pub async fn bind(
        config: NetConfig,
        service: Arc<dyn PeerService>,
        format: Arc<dyn ChunkFormat>,
    ) -> Result<Self, BindError> {
        let gate = Gate::new(service);
        let endpoint = endpoint::bind(&config, gate.clone()).await?;
        let id = PeerId::from_bytes(*endpoint.id().as_bytes());
        let (tell, events) = mpsc::channel(EVENTS_BUFFERED_MAX);
        let counters = Arc::new(Counters::default());
        let (member_intake, members) = server::members(gate.clone(), counters.clone());
        let (door_intake, door) = server::door(door::DoorService::new(gate.clone()));
        let inner = Arc::new(Inner {
            id,
            endpoint: RwLock::new(Some(endpoint.clone())),
            gate,
            registry: Registry::new(random()?, tell),
            flights: dial::Flights::default(),
            member_intake,
            door_intake,
            counters,
            format,
            alive: Mutex::new(Some(mpsc::channel(1))),
            tasks: Mutex::new(Some(JoinSet::new())),
        });
        inner.spawn(members);
        inner.spawn(door);
        inner.spawn(accept::run(inner.clone(), endpoint));
        Ok(Self(Arc::new(Handle { inner, events: Mutex::new(Some(events)) })))
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.0.inner
    }

    /// This node's id.
    pub fn peer_id(&self) -> PeerId {
        self.inner().id
    }

    /// Where others on the same machine or network can reach this node. May change as interfaces
    /// come and go. Empty once closed.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.inner().endpoint().map(|endpoint| endpoint::addresses(&endpoint)).unwrap_or_default()
    }

    /// The stream of events, for one listener: `None` at the second call. A listener that lags more
    /// than `EVENTS_BUFFERED_MAX` events behind misses some; [`Network::connected_peers`] says what
    /// is.
    pub fn take_events(&self) -> Option<mpsc::Receiver<NetEvent>> {
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Connects to a peer that is or may be at one of these addresses; addresses where it was
    /// reached before are tried too. At once where it is connected. Returns when the peer has
    /// accepted the connection, after at most `DIAL_TIMEOUT`.
    ///
    /// Calls for the same peer at the same time share one dial, that with the first call's
    /// addresses. It goes on where the returned future is dropped.
    ///
    /// # Errors
    ///
    /// [`DialError`], which says whether the peer was reached and why it said no.
    pub async fn connect(&self, peer: PeerId, addresses: &[SocketAddr]) -> Result<(), DialError> {
        if peer == self.peer_id() {
            return Err(DialError::Unreachable("this is the node itself".into()));
        }
        dial::connect(self.inner(), peer, addresses).await
    }

    /// Whether a connection to the peer is open. A lost peer is noticed after at most
    /// `IDLE_TIMEOUT`.
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.inner().registry.current(peer).is_some()
    }

    /// The peers with an open connection, sorted.
    pub fn connected_peers(&self) -> Vec<PeerId> {
        self.inner().registry.peers()
    }

    /// Where the packets of a connected peer come from.
    pub fn address_of(&self, peer: &PeerId) -> Option<SocketAddr> {
        self.inner().registry.current(peer)?.address()
    }

    /// Closes the connection to a peer. Calls on it fail; the peer may dial again, which only
    /// [`PeerService::is_member`] can prevent.
    pub fn disconnect(&self, peer: &PeerId) {
        if let Some(live) = self.inner().registry.current(peer) {
            CloseCode::Done.close(&live.connection);
        }
    }

    /// The calls to a peer. They fail with [`CallError::NotConnected`] while it is not connected:
    /// nothing here dials by itself.
    pub fn link(&self, peer: PeerId) -> PeerLink {
        PeerLink { inner: self.inner().clone(), peer }
    }

    /// Asks a peer to be let into its swarm, with a ticket's secret. No connection stays:
    /// afterwards the peer is dialled as any other. May be repeated where the answer got lost.
    ///
    /// # Errors
    ///
    /// [`CallError::Dial`] with [`DialError::DoorClosed`] where the peer has no invitation open,
    /// and [`CallError::Refused`] where the secret is not that of one.
    pub async fn join(
        &self,
        peer: PeerId,
        addresses: &[SocketAddr],
        ask: JoinAsk,
    ) -> Result<JoinAnswer, CallError> {
        door::join(self.inner(), peer, addresses, &ask).await
    }

    /// What the network did since it was opened.
    pub fn stats(&self) -> NetStats {
        self.inner().counters.snapshot()
    }

    /// Closes all connections and the sockets, and tells the peers. Returns when nothing of the
    /// network runs any more and no call into the node above is under way, after at most a few
    /// seconds; the system frees the ports a moment later. Closing twice is harmless.
    pub async fn close(&self) {
        let (endpoint, tasks) = self.inner().shut();
        if let Some(endpoint) = endpoint {
            // Waits until the peers have heard that the connections are closed.
            if timeout(CLOSE_TIMEOUT, endpoint.close()).await.is_err() {
                tracing::debug!("a peer did not confirm the end of its connection");
            }
        }
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
        let alive = self.inner().alive.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((alive, mut ended)) = alive {
            drop(alive);
            // Nothing is ever sent: it ends when the last holder does.
            if timeout(CLOSE_TIMEOUT, ended.recv()).await.is_err() {
                tracing::warn!("a call was still under way when the network was closed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent<T: Send>(_: T) {}

    /// Every call can be made on a spawned task. Compiling is the test.
    #[expect(dead_code, reason = "compiling is the test")]
    fn the_futures_of_calls_are_send(
        network: Network,
        link: PeerLink,
        store: RemoteChunkStore,
        hello: doltswarm_core::message::Hello,
        advert: doltswarm_core::message::Advert,
        ask: JoinAsk,
        hash: doltswarm_core::id::ChunkHash,
    ) {
        sent(network.connect(link.peer, &[]));
        sent(network.join(link.peer, &[], ask));
        sent(network.close());
        sent(link.hello(&hello));
        sent(link.advertise_head(&advert));
        sent(link.request_head());
        sent(link.list_commits(&[], &[]));
        sent(link.list_grants());
        sent(store.get(&hash));
        sent(store.get_many(&[hash]));
        sent(store.get_each(&[hash], |_, _| ()));
        sent(store.has(&hash));
        sent(store.has_many(&[hash]));
        sent(store.root());
        sent(store.rebase());
        sent(store.sources());
        sent(store.size());
    }
}
