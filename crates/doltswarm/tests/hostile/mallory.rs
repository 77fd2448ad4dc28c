//! The liar: a real member's key, database and store, served by hand.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use doltswarm::core::commit::EngineKind;
use doltswarm::core::id::{ChunkHash, CommitHash, PeerId};
use doltswarm::core::membership::{Membership, SignedGrant};
use doltswarm::core::message::{
    Advert, AdvertReply, HeadReply, HeadRequest, HeadsAnswer, Hello, PROTOCOL_VERSION,
    SignedCommit, SignersDigest,
};
use doltswarm::core::sign::sign_commit;
use doltswarm::engine::{
    ChunkFormat, ChunkReader, CommitMeta, Dolt, DoltFormat, DoltLite, DoltLiteFormat, DoltOptions,
    Engine, Password,
};
use doltswarm::identity::Identity;
use doltswarm::net::{
    BoxFuture, ChunkBatches, JoinAnswer, JoinAsk, NetConfig, Network, PeerService, Refusal,
};
use doltswarm::store::Store;
use doltswarm::{Statement, Swarm};
use tokio::task::block_in_place;

use crate::support::{Home, in_step, loopback};

/// What it serves; tests change it as they like.
pub(crate) struct Words {
    pub(crate) heads: Vec<CommitHash>,
    /// What it says that its heads fold to.
    pub(crate) main: Option<CommitHash>,
    /// Parents first.
    pub(crate) commits: Vec<SignedCommit>,
    /// Chunks whose bytes are false.
    pub(crate) spoiled: Vec<ChunkHash>,
    /// Chunks that it sends as the difference.
    pub(crate) given: Vec<Bytes>,
    pub(crate) hello: Hello,
    grants: Vec<Vec<u8>>,
    members: Membership,
}

pub(crate) struct Mallory {
    pub(crate) network: Network,
    pub(crate) identity: Identity,
    pub(crate) words: Arc<Mutex<Words>>,
    pub(crate) kind: EngineKind,
    engine: Mutex<Box<dyn Engine>>,
    pub(crate) home: Home,
}

impl Mallory {
    /// Joins the swarm of `victim` honestly, closes that node, and takes over its files.
    pub(crate) async fn join(home: Home, victim: &Swarm) -> Self {
        let node = home.join(victim, "mallory").await;
        in_step(&[victim, &node]).await;
        node.close().await;
        let identity = Identity::load(&home.path).expect("a key");
        let store = Store::open(&home.path).expect("a store");
        let (engine, engine_version, head, chunks) = block_in_place(|| {
            let mut engine = open(&home);
            let (version, head) = (engine.version(), engine.main().expect("main"));
            let chunks = engine.chunks().expect("chunks");
            (engine, version, head, chunks)
        });
        let founding = store.founding().clone();
        let grants = store.grants().expect("grants");
        let mut members = Membership::new(founding.swarm, founding.founder);
        for grant in &grants {
            members.add(SignedGrant::decode(grant).expect("a grant")).expect("a good grant");
        }
        let known = store.restore_commits().expect("commits");
        let hashes: Vec<CommitHash> = known.iter().map(|commit| commit.hash).collect();
        let commits = store.signatures(&hashes).expect("signatures");
        store.close().expect("closed");
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            swarm: founding.swarm,
            engine: founding.engine,
            engine_version,
            policy: founding.policy,
            name: "mallory".into(),
            addresses: Vec::new(),
            grants_digest: members.digest(),
            life: 7,
        };
        let heads = vec![head];
        let commits = commits.into_iter().flatten().collect();
        let spoiled = Vec::new();
        let given = Vec::new();
        let words = Words { heads, main: None, commits, spoiled, given, hello, grants, members };
        let words = Arc::new(Mutex::new(words));
        let chunks = Arc::new(Mutex::new(chunks));
        let service = Lies { words: Arc::clone(&words), chunks };
        let config = NetConfig { secret_key: identity.secret_bytes(), bind: vec![loopback()] };
        let kind = founding.engine;
        let format: Arc<dyn ChunkFormat> = match kind {
            EngineKind::DoltLite => Arc::new(DoltLiteFormat),
            EngineKind::Dolt => Arc::new(DoltFormat),
        };
        let network = Network::bind(config, Arc::new(service), format).await.expect("it listens");
        Self { network, identity, words, kind, engine: Mutex::new(engine), home }
    }

    /// Commits on its own database, by the book.
    pub(crate) fn commit(&self, sql: &str) -> CommitHash {
        let meta = CommitMeta {
            author_name: "mallory".into(),
            author_email: "mallory@example.org".into(),
            message: "by the book".into(),
            seconds: 1_800_000_000,
        };
        let executed = block_in_place(|| {
            let mut engine = self.engine.lock().expect("no panic");
            engine.exec_and_commit(&[Statement::from(sql)], &meta).expect("good SQL")
        });
        executed.commit.expect("a change")
    }

    pub(crate) fn signed(&self, commit: &CommitHash) -> SignedCommit {
        let swarm = self.words.lock().expect("no panic").hello.swarm;
        sign_commit(self.identity.signing_key(), &swarm, commit)
    }

    /// Says these heads, and that these signed commits lie under them beside the known ones.
    pub(crate) fn say(&self, heads: &[CommitHash], commits: &[SignedCommit]) {
        let mut words = self.words.lock().expect("no panic");
        words.heads = heads.to_vec();
        words.heads.sort();
        words.commits.extend_from_slice(commits);
    }

    /// Takes back what it said of this commit.
    pub(crate) fn unsay(&self, commit: &CommitHash) {
        let mut words = self.words.lock().expect("no panic");
        words.commits.retain(|signed| signed.hash != *commit);
    }

    /// Connects and advertises, as a node does after a write.
    pub(crate) async fn advertise(&self, to: &Swarm) {
        let connected = self.network.connect(to.peer_id(), &to.addresses()).await;
        connected.expect("a member is let in");
        let link = self.network.link(to.peer_id());
        let (hello, heads) = {
            let words = self.words.lock().expect("no panic");
            (words.hello.clone(), words.heads.clone())
        };
        link.hello(&hello).await.expect("a good hello");
        link.advertise_head(&Advert::of_all(heads, Vec::new())).await.expect("it is heard");
    }

    pub(crate) fn id(&self) -> String {
        self.identity.peer_id().to_string()
    }
}

/// The database of the node in `home`, which is not up.
fn open(home: &Home) -> Box<dyn Engine> {
    match home.server() {
        None => Box::new(DoltLite::open(&home.path.join("database.db")).expect("a database")),
        Some(server) => {
            let (url, folder) = (server.url, home.path.join("dolt"));
            let options = DoltOptions { url, password: Password::Empty, folder };
            Box::new(Dolt::open(&options).expect("a database"))
        }
    }
}

struct Lies {
    words: Arc<Mutex<Words>>,
    chunks: Arc<Mutex<Box<dyn ChunkReader>>>,
}

impl Lies {
    fn words<T>(&self, read: impl FnOnce(&Words) -> T) -> T {
        read(&self.words.lock().expect("no panic"))
    }
}

fn answer<T: Send + 'static>(value: T) -> BoxFuture<'static, Result<T, Refusal>> {
    Box::pin(async move { Ok(value) })
}

impl PeerService for Lies {
    fn hello(
        &self,
        _: PeerId,
        _: Hello,
        _: Option<SocketAddr>,
    ) -> BoxFuture<'_, Result<Hello, Refusal>> {
        answer(self.words(|words| words.hello.clone()))
    }

    fn advertise_head(&self, _: PeerId, _: Advert) -> BoxFuture<'_, Result<AdvertReply, Refusal>> {
        answer(AdvertReply::default())
    }

    fn request_head(&self, _: PeerId, _: HeadRequest) -> BoxFuture<'_, Result<HeadReply, Refusal>> {
        answer(self.words(|words| HeadReply {
            answer: HeadsAnswer::of_all(words.heads.clone(), words.main),
            grants_digest: words.hello.grants_digest,
            signers: SignersDigest::default(),
            peers: Vec::new(),
        }))
    }

    fn list_commits(
        &self,
        _: PeerId,
        _: Vec<CommitHash>,
        have: Vec<CommitHash>,
    ) -> BoxFuture<'_, Result<Vec<SignedCommit>, Refusal>> {
        let wanted = |signed: &&SignedCommit| !have.contains(&signed.hash);
        answer(self.words(|words| words.commits.iter().filter(wanted).cloned().collect()))
    }

    fn list_grants(&self, _: PeerId) -> BoxFuture<'_, Result<Vec<Vec<u8>>, Refusal>> {
        answer(self.words(|words| words.grants.clone()))
    }

    fn join(&self, _: PeerId, _: JoinAsk) -> BoxFuture<'_, Result<JoinAnswer, Refusal>> {
        Box::pin(async { Err(Refusal::NotAllowed("not here".into())) })
    }

    fn chunks(
        &self,
        _: PeerId,
        hashes: Vec<ChunkHash>,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, Refusal>> {
        let found = block_in_place(|| self.chunks.lock().expect("no panic").get_many(&hashes));
        let found = found.expect("chunks");
        let spoiled = self.words(|words| words.spoiled.clone());
        let chunks = hashes.iter().zip(found).map(|(hash, chunk)| {
            let mut chunk = chunk?;
            if spoiled.contains(hash) {
                chunk[0] ^= 1;
            }
            Some(Bytes::from(chunk))
        });
        answer(chunks.collect())
    }

    fn difference(
        &self,
        _: PeerId,
        _: Vec<CommitHash>,
        _: Vec<CommitHash>,
    ) -> BoxFuture<'_, Result<ChunkBatches, Refusal>> {
        // No help, or what nobody asked for: honest chunks are asked for by their hash.
        let (batches, taken) = tokio::sync::mpsc::channel(1);
        let given = self.words(|words| words.given.clone());
        tokio::spawn(async move {
            for chunk in given {
                if batches.send(Ok(vec![chunk])).await.is_err() {
                    break;
                }
            }
        });
        answer(taken)
    }

    fn has_chunks(
        &self,
        _: PeerId,
        hashes: Vec<ChunkHash>,
    ) -> BoxFuture<'_, Result<Vec<bool>, Refusal>> {
        answer(vec![true; hashes.len()])
    }

    fn root(&self, _: PeerId) -> BoxFuture<'_, Result<Vec<CommitHash>, Refusal>> {
        answer(self.words(|words| words.heads.clone()))
    }

    fn size(&self, _: PeerId) -> BoxFuture<'_, Result<u64, Refusal>> {
        answer(u64::MAX)
    }

    fn is_member(&self, peer: &PeerId) -> bool {
        self.words(|words| words.members.is_member(peer))
    }

    fn door_open(&self) -> bool {
        false
    }
}
