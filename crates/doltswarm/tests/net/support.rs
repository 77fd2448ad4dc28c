//! A faked node with its data in memory, and ways to wait for something to become true.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use doltswarm::core::commit::{ConflictPolicy, EngineKind};
use doltswarm::core::id::{ChunkHash, CommitHash, PeerId, SwarmId};
use doltswarm::core::message::{
    Advert, AdvertReply, HeadReply, HeadRequest, HeadsAnswer, Hello, PeerRecord, SignedCommit,
    SignersDigest,
};
use doltswarm::engine::{ChunkFormat, EngineResult};
use doltswarm::net::{
    BoxFuture, ChunkBatches, JoinAnswer, JoinAsk, NetConfig, NetEvent, Network, PeerService,
    Refusal,
};
use tokio::sync::mpsc;

/// How long anything may take before a test gives up. Generous: a test machine is busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Waits until something is true.
pub(crate) async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < LIMIT, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The next event, of which there must be one.
pub(crate) async fn event(events: &mut mpsc::Receiver<NetEvent>) -> NetEvent {
    let next = tokio::time::timeout(LIMIT, events.recv()).await;
    next.expect("an event within the limit").expect("an open network")
}

/// Chunks named by the first 20 bytes of their BLAKE3 hash.
pub(crate) struct Format;

impl ChunkFormat for Format {
    fn hash(&self, chunk: &[u8]) -> ChunkHash {
        ChunkHash::from_slice(&blake3::hash(chunk).as_bytes()[..20]).unwrap()
    }

    fn children(&self, _chunk: &[u8]) -> EngineResult<Vec<ChunkHash>> {
        Ok(Vec::new())
    }

    fn synthetic_root(&self, commit: &CommitHash) -> Vec<u8> {
        commit.as_bytes().to_vec()
    }
}

pub(crate) fn commit(number: u32) -> CommitHash {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    CommitHash::from_bytes(bytes)
}

pub(crate) fn hello(name: &str) -> Hello {
    Hello {
        protocol: 1,
        swarm: SwarmId::from_bytes([7; 32]),
        engine: EngineKind::DoltLite,
        engine_version: "0.51.6".into(),
        policy: ConflictPolicy::Settle,
        name: name.into(),
        addresses: vec!["192.0.2.1:4000".into()],
        grants_digest: [7; 32],
        life: 7,
    }
}

/// The secret that opens the door of every faked node.
pub(crate) const SECRET: [u8; 16] = [9; 16];

/// The node above the network.
pub(crate) struct Node {
    pub(crate) hello: Mutex<Hello>,
    pub(crate) members: Mutex<BTreeSet<PeerId>>,
    pub(crate) heads: Mutex<Vec<CommitHash>>,
    pub(crate) commits: Mutex<Vec<SignedCommit>>,
    pub(crate) grants: Mutex<Vec<Vec<u8>>>,
    pub(crate) chunks: Mutex<BTreeMap<ChunkHash, Bytes>>,
    pub(crate) adverts: Mutex<Vec<(PeerId, Advert)>>,
    pub(crate) requests: Mutex<Vec<(PeerId, HeadRequest)>>,
    pub(crate) observed: Mutex<Vec<Option<SocketAddr>>>,
    pub(crate) door_open: AtomicBool,
    /// The most chunks asked for in one go.
    pub(crate) largest_read: AtomicUsize,
    /// How many chunks were asked for.
    pub(crate) read: AtomicUsize,
}

impl Node {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            hello: Mutex::new(hello(name)),
            members: Mutex::default(),
            heads: Mutex::new(vec![commit(1)]),
            commits: Mutex::default(),
            grants: Mutex::default(),
            chunks: Mutex::default(),
            adverts: Mutex::default(),
            requests: Mutex::default(),
            observed: Mutex::default(),
            door_open: AtomicBool::new(false),
            largest_read: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
        })
    }

    /// Adds a chunk under its true name.
    pub(crate) fn add_chunk(&self, bytes: impl Into<Bytes>) -> ChunkHash {
        let bytes = bytes.into();
        let hash = Format.hash(&bytes);
        self.chunks.lock().unwrap().insert(hash, bytes);
        hash
    }

    fn head_reply(&self) -> HeadReply {
        let heads = self.heads.lock().unwrap().clone();
        let members = self.members.lock().unwrap();
        let record = |peer| PeerRecord { peer, addresses: vec!["host.example:4000".into()] };
        let main = heads[0];
        HeadReply {
            answer: HeadsAnswer::of_all(heads, Some(main)),
            grants_digest: [3; 32],
            signers: SignersDigest::default(),
            peers: members.iter().copied().map(record).collect(),
        }
    }
}

fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, T> {
    Box::pin(std::future::ready(value))
}

impl PeerService for Node {
    fn hello(
        &self,
        _from: PeerId,
        theirs: Hello,
        observed: Option<SocketAddr>,
    ) -> BoxFuture<'_, Result<Hello, Refusal>> {
        self.observed.lock().unwrap().push(observed);
        let ours = self.hello.lock().unwrap().clone();
        if theirs.policy != ours.policy {
            let text =
                format!("policy {} here, {} there", ours.policy.as_str(), theirs.policy.as_str());
            return ready(Err(Refusal::Mismatch(text)));
        }
        ready(Ok(ours))
    }

    /// Says of every second advert that it told nothing new.
    fn advertise_head(
        &self,
        from: PeerId,
        advert: Advert,
    ) -> BoxFuture<'_, Result<AdvertReply, Refusal>> {
        let mut adverts = self.adverts.lock().unwrap();
        adverts.push((from, advert));
        ready(Ok(AdvertReply { duplicate: adverts.len().is_multiple_of(2) }))
    }

    fn request_head(
        &self,
        from: PeerId,
        request: HeadRequest,
    ) -> BoxFuture<'_, Result<HeadReply, Refusal>> {
        self.requests.lock().unwrap().push((from, request));
        ready(Ok(self.head_reply()))
    }

    fn list_commits(
        &self,
        _from: PeerId,
        want: Vec<CommitHash>,
        have: Vec<CommitHash>,
    ) -> BoxFuture<'_, Result<Vec<SignedCommit>, Refusal>> {
        assert!(!want.is_empty() && have.len() <= want.len());
        ready(Ok(self.commits.lock().unwrap().clone()))
    }

    fn list_grants(&self, _from: PeerId) -> BoxFuture<'_, Result<Vec<Vec<u8>>, Refusal>> {
        ready(Ok(self.grants.lock().unwrap().clone()))
    }

    fn join(&self, from: PeerId, ask: JoinAsk) -> BoxFuture<'_, Result<JoinAnswer, Refusal>> {
        if ask.secret != SECRET {
            return ready(Err(Refusal::NotAllowed("no such invitation".into())));
        }
        self.members.lock().unwrap().insert(from);
        ready(Ok(JoinAnswer {
            hello: self.hello.lock().unwrap().clone(),
            founder: PeerId::from_bytes([1; 32]),
            founding: commit(1),
            grants: self.grants.lock().unwrap().clone(),
        }))
    }

    fn chunks(
        &self,
        _from: PeerId,
        hashes: Vec<ChunkHash>,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, Refusal>> {
        self.largest_read.fetch_max(hashes.len(), Ordering::Relaxed);
        self.read.fetch_add(hashes.len(), Ordering::Relaxed);
        let chunks = self.chunks.lock().unwrap();
        ready(Ok(hashes.iter().map(|hash| chunks.get(hash).cloned()).collect()))
    }

    fn difference(
        &self,
        _from: PeerId,
        _want: Vec<CommitHash>,
        _have: Vec<CommitHash>,
    ) -> BoxFuture<'_, Result<ChunkBatches, Refusal>> {
        // All that there is, in an order that no engine would choose.
        let chunks: Vec<Bytes> = self.chunks.lock().unwrap().values().cloned().collect();
        let (batches, taken) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            for chunk in chunks {
                let _ = batches.send(Ok(vec![chunk])).await;
            }
        });
        ready(Ok(taken))
    }

    fn has_chunks(
        &self,
        _from: PeerId,
        hashes: Vec<ChunkHash>,
    ) -> BoxFuture<'_, Result<Vec<bool>, Refusal>> {
        let chunks = self.chunks.lock().unwrap();
        ready(Ok(hashes.iter().map(|hash| chunks.contains_key(hash)).collect()))
    }

    fn root(&self, _from: PeerId) -> BoxFuture<'_, Result<Vec<CommitHash>, Refusal>> {
        ready(Ok(self.heads.lock().unwrap().clone()))
    }

    fn size(&self, _from: PeerId) -> BoxFuture<'_, Result<u64, Refusal>> {
        ready(Ok(self.chunks.lock().unwrap().values().map(|chunk| chunk.len() as u64).sum()))
    }

    fn is_member(&self, peer: &PeerId) -> bool {
        self.members.lock().unwrap().contains(peer)
    }

    fn door_open(&self) -> bool {
        self.door_open.load(Ordering::Relaxed)
    }
}

/// A faked node and its network.
pub(crate) struct Peer {
    pub(crate) node: Arc<Node>,
    pub(crate) net: Network,
    pub(crate) id: PeerId,
    pub(crate) events: mpsc::Receiver<NetEvent>,
}

impl Peer {
    /// A node with the key of this number, on a free port of loopback.
    pub(crate) async fn start(key: u8) -> Self {
        Self::on(Node::new(&format!("node {key}")), key, 0).await
    }

    pub(crate) async fn on(node: Arc<Node>, key: u8, port: u16) -> Self {
        let bind = vec![SocketAddr::from(([127, 0, 0, 1], port))];
        let config = NetConfig { secret_key: [key; 32], bind };
        let net = Network::bind(config, node.clone(), Arc::new(Format)).await.unwrap();
        let events = net.take_events().unwrap();
        let id = net.peer_id();
        Self { node, net, id, events }
    }

    pub(crate) fn admit(&self, peer: &Self) {
        self.node.members.lock().unwrap().insert(peer.id);
    }

    pub(crate) async fn dial(&self, peer: &Self) {
        self.net.connect(peer.id, &peer.net.addresses()).await.unwrap();
    }
}

/// Two members of one swarm, not connected.
pub(crate) async fn pair() -> (Peer, Peer) {
    let (a, b) = (Peer::start(1).await, Peer::start(2).await);
    a.admit(&b);
    b.admit(&a);
    (a, b)
}

/// Two members, the first of which dialled the second; both know that they are connected.
pub(crate) async fn connected() -> (Peer, Peer) {
    let (mut a, mut b) = pair().await;
    a.dial(&b).await;
    assert!(matches!(event(&mut a.events).await, NetEvent::Connected { peer, .. } if peer == b.id));
    assert!(matches!(event(&mut b.events).await, NetEvent::Connected { peer, .. } if peer == a.id));
    (a, b)
}

pub(crate) async fn close(peers: impl IntoIterator<Item = Peer>) {
    for peer in peers {
        peer.net.close().await;
    }
}
