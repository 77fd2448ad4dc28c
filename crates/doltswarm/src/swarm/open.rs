//! Founding a node and opening one.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use doltswarm_core::id::{PeerId, SwarmId};
use doltswarm_core::limits::{NAME_BYTES_MAX, SETTLE_AT_OPEN_TIMEOUT};
use doltswarm_core::membership::Membership;
use doltswarm_core::sign::sign_commit;
use doltswarm_core::walk::Found;
use tokio::sync::{mpsc, watch};

use super::database::{Database, format_of};
use super::layout::Layout;
use super::{DoltServer, InitOptions, Inner, OpenError, OpenOptions, Running, Swarm};
use crate::config::{Config, ConfigError, DoltConfig};
use crate::driver::{
    Absence, Driver, DriverParts, EngineHandle, Events, MergeIntents, Service, Shared, Stopped,
    recover, restore_membership,
};
use crate::engine::{ChunkReader, CommitMeta, Engine, EngineError};
use crate::identity::{Identity, IdentityError};
use crate::lock::DirLock;
use crate::net::{NetConfig, Network};
use crate::staging::Staging;
use crate::store::{Founding, Store, StoreError};

pub(crate) fn file_error(what: &'static str, path: &Path, source: std::io::Error) -> OpenError {
    if is_full(&source) {
        return OpenError::DiskFull;
    }
    OpenError::File { what, path: path.to_owned(), source }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

pub(crate) fn store_error(error: StoreError) -> OpenError {
    match error {
        StoreError::DiskFull => OpenError::DiskFull,
        error => OpenError::Store(error.to_string()),
    }
}

pub(crate) fn database_error(path: &Path, source: EngineError) -> OpenError {
    match source {
        EngineError::DiskFull => OpenError::DiskFull,
        source => OpenError::Database { path: path.to_owned(), source },
    }
}

/// Who a commit of this peer is by, now.
pub(crate) fn commit_meta(name: &str, peer: &PeerId, message: &str) -> CommitMeta {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    CommitMeta {
        author_name: if name.is_empty() { peer.short() } else { name.to_owned() },
        author_email: format!("{}@doltswarm", peer.short()),
        message: message.to_owned(),
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
    }
}

/// A name is shown to people on other machines: one line, without control characters.
pub(crate) fn check_name(name: &str) -> Result<(), OpenError> {
    // The engine writes authors as `name <e-mail>`.
    let bad = |c: char| c.is_control() || c == '<' || c == '>';
    if name.len() > NAME_BYTES_MAX || name.chars().any(bad) || name.trim() != name {
        return Err(OpenError::Config(format!(
            "the name must be one line of at most {NAME_BYTES_MAX} bytes without < and > in it or \
             white space around it"
        )));
    }
    Ok(())
}

impl Swarm {
    /// Founds a swarm in `dir`: makes a key, takes over or creates a database, and signs the
    /// founding commit. The node is opened without a network.
    ///
    /// # Errors
    ///
    /// [`OpenError::AlreadyANode`], [`OpenError::Server`], [`OpenError::Database`] where
    /// `options.from` is not a database of the engine. Nothing is left in `dir` but an empty
    /// folder.
    pub async fn init(dir: &Path, options: InitOptions) -> Result<Self, OpenError> {
        check_name(&options.name)?;
        let layout = Layout::new(dir);
        if layout.is_node() {
            return Err(OpenError::AlreadyANode { dir: dir.to_owned() });
        }
        if let Some(path) = layout.in_the_way() {
            return Err(OpenError::InTheWay { path });
        }
        std::fs::create_dir_all(dir).map_err(|source| file_error("create", dir, source))?;
        let lock = layout.lock()?;
        let built = tokio::task::spawn_blocking(move || {
            layout.prepare()?;
            let result = found(&layout, &options);
            if result.is_err() {
                let _ = std::fs::remove_dir_all(layout.building());
            }
            result
        });
        let left_out =
            built.await.map_err(|_| OpenError::Store("founding was interrupted".into()))??;
        let swarm = Self::open_locked(dir, OpenOptions::default(), lock).await?;
        let _ = swarm.inner.left_out.set(left_out);
        Ok(swarm)
    }

    /// Opens the node in `dir`. What is derived is derived again: commits of this peer that lack a
    /// signature are signed, and main is moved to the fold.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotANode`], [`OpenError::Locked`] where another process has it open.
    pub async fn open(dir: &Path, options: OpenOptions) -> Result<Self, OpenError> {
        let layout = Layout::new(dir);
        if !layout.is_node() {
            return Err(OpenError::NotANode { dir: dir.to_owned() });
        }
        let lock = layout.lock()?;
        Self::open_locked(dir, options, lock).await
    }

    pub(super) async fn open_locked(
        dir: &Path,
        options: OpenOptions,
        lock: DirLock,
    ) -> Result<Self, OpenError> {
        let layout = Layout::new(dir);
        layout.finish()?;
        let config = Config::load(dir).map_err(|error| OpenError::Config(error.to_string()))?;
        let identity = Identity::load(dir).map_err(|error| OpenError::Key(error.to_string()))?;
        let store = Store::open(dir).map_err(store_error)?;
        let founding = store.founding().clone();
        let server = config.dolt.as_ref().map(DoltServer::from);
        let database = Database::of(founding.engine, &layout, server.as_ref())?;
        let parts = Parts { identity, store, founding, name: config.name.clone() };
        let opened = tokio::task::spawn_blocking(move || {
            let opened = parts.open(&database, layout.dir());
            opened.map(|opened| (parts, opened))
        });
        let (parts, opened) =
            opened.await.map_err(|_| OpenError::Store("opening was interrupted".into()))??;
        let (inner, inputs, recovered) = parts.assemble(dir, opened, lock).await?;
        let network = match options.network {
            false => None,
            true => Some(listen(&inner.shared, &config, &options).await?),
        };
        let driver = Driver::new(DriverParts {
            shared: Arc::clone(&inner.shared),
            network: network.clone(),
            inputs,
            recovered,
            foreign_poll: config.sync.foreign_commit_poll(),
            auto_commit: config.sidecar.auto_commit(),
            tags_max: config.sync.signature_tags,
        });
        let driver = tokio::spawn(driver.run());
        let swarm = inner.start(network, driver);
        swarm.settled().await;
        Ok(swarm)
    }

    /// Waits until main is the fold of the heads, for a bounded time: work of another program may
    /// be in the way, which the status says.
    async fn settled(&self) {
        let mut rounds = self.inner.shared.rounds.subscribe();
        let settled = async {
            while self.is_busy().await {
                if rounds.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(SETTLE_AT_OPEN_TIMEOUT, settled).await;
    }
}

/// Makes the key, the database and the store. Returns what could not be taken of the database that
/// is there.
fn found(layout: &Layout, options: &InitOptions) -> Result<Vec<String>, OpenError> {
    let building = Layout::new(&layout.building());
    let database = Database::of(options.engine, &building, options.dolt.as_ref())?;
    let (mut engine, left_out) = database.create(options.from.as_deref())?;
    let had_key = layout.key().exists();
    let identity = key_of(layout.dir())?;
    let result = (|| {
        let me = identity.peer_id();
        database.require_no_other(engine.as_mut(), &me)?;
        let policy = options.policy.as_str();
        let message =
            format!("found a swarm\n\npolicy: {policy}\nengine: {}", options.engine.as_str());
        let meta = commit_meta(&options.name, &me, &message);
        let commit = engine.found(&meta).map_err(|error| database.failed(error))?;
        drop(engine);
        let swarm = SwarmId::derive(&me, &commit);
        let founding = Founding {
            swarm,
            founder: me,
            founding: commit,
            engine: options.engine,
            policy: options.policy,
        };
        let store = Store::create(building.dir(), &founding).map_err(store_error)?;
        let root = Found { hash: commit, builds_on: Vec::new(), made_on: None }.signed_by(me);
        let signed = sign_commit(identity.signing_key(), &swarm, &commit);
        store.add_commits(&[root], &[signed]).map_err(store_error)?;
        drop(store);
        write_config(building.dir(), &options.name, options.dolt.as_ref())?;
        layout.put_in_place()
    })();
    if result.is_err() && !had_key {
        let _ = std::fs::remove_file(layout.key());
    }
    result.map(|()| left_out)
}

/// The key in `dir`, made where there is none.
pub(crate) fn key_of(dir: &Path) -> Result<Identity, OpenError> {
    let loaded = match Layout::new(dir).key().exists() {
        true => Identity::load(dir),
        false => Identity::create(dir),
    };
    loaded.map_err(|error| match error {
        IdentityError::Io { source, .. } if is_full(&source) => OpenError::DiskFull,
        error => OpenError::Key(error.to_string()),
    })
}

/// Writes a commented `config.toml` into the place where a node is built.
pub(super) fn write_config(
    building: &Path,
    name: &str,
    server: Option<&DoltServer>,
) -> Result<(), OpenError> {
    let dolt = server.map(DoltConfig::from);
    let config = Config { name: name.to_owned(), dolt, ..Config::default() };
    config.write_new(building).map_err(|error| match error {
        ConfigError::Io { source, .. } if is_full(&source) => OpenError::DiskFull,
        error => OpenError::Config(error.to_string()),
    })
}

/// What a node is made of, before anything runs.
struct Parts {
    identity: Identity,
    store: Store,
    founding: Founding,
    name: String,
}

/// A node whose parts are joined and whose driver is not running yet.
struct Assembled {
    dir: PathBuf,
    shared: Arc<Shared>,
    engine_ended: tokio::sync::oneshot::Receiver<()>,
    lock: DirLock,
}

type Inputs = mpsc::UnboundedReceiver<crate::driver::Input>;

/// An open database, whose mark names this node.
struct Opened {
    engine: Box<dyn Engine>,
    version: String,
    chunks: Box<dyn ChunkReader>,
    membership: Membership,
}

impl Parts {
    /// Opens the database, where this node is a member.
    fn open(&self, database: &Database, dir: &Path) -> Result<Opened, OpenError> {
        let me = self.identity.peer_id();
        let membership = restore_membership(&self.store, &self.founding)?;
        if !membership.is_member(&me) {
            let text = format!(
                "{} is the key of {}, who is no member of this swarm: put back the node's own key",
                Layout::new(dir).key().display(),
                me.short()
            );
            return Err(OpenError::Key(text));
        }
        let mut engine = database.open()?;
        let chunks = engine.chunks().map_err(|error| database.failed(error))?;
        database.claim(engine.as_mut(), &me)?;
        Ok(Opened { version: engine.version(), engine, chunks, membership })
    }

    async fn assemble(
        self,
        dir: &Path,
        opened: Opened,
        lock: DirLock,
    ) -> Result<(Assembled, Inputs, crate::driver::Recovered), OpenError> {
        let Self { identity, store, founding, name } = self;
        let Opened { engine, version: engine_version, chunks, membership } = opened;
        let format = format_of(founding.engine);
        let staging = Staging::open(dir, Arc::clone(&format))
            .map_err(|error| OpenError::Store(error.to_string()))?;
        let (engine, engine_ended) = EngineHandle::spawn(engine);
        let recovered = recover(&store, &engine, &identity, &founding, &membership).await?;
        let (inputs, queue) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            identity,
            founding,
            name,
            engine_version: Mutex::new(engine_version),
            membership: RwLock::new(membership),
            store,
            engine,
            format,
            chunks: Mutex::new(chunks),
            staging: Arc::new(staging),
            events: Events::default(),
            inputs,
            rounds: watch::Sender::new(0),
            isolated: AtomicBool::new(false),
            absence: Absence::default(),
            intents: MergeIntents::open(dir),
            fetches: AtomicU64::new(0),
            fetch_requests: AtomicU64::new(0),
            merges: AtomicU64::new(0),
            pulls: Mutex::new(0),
        });
        Ok((Assembled { dir: dir.to_owned(), shared, engine_ended, lock }, queue, recovered))
    }
}

impl Assembled {
    fn start(self, network: Option<Network>, driver: tokio::task::JoinHandle<()>) -> Swarm {
        let Self { dir, shared, engine_ended, lock } = self;
        let running = Mutex::new(Some(Running { driver, engine_ended, lock }));
        let readers = Mutex::new(Vec::new());
        let (reads, left_out) = (Mutex::new(Vec::new()), OnceLock::new());
        let inner = Inner { dir, shared, network, readers, reads, running, left_out };
        Swarm { inner: Arc::new(inner) }
    }
}

/// Binds the network and feeds its events to the driver. The port is kept for the next start, so
/// that tickets and what peers remember stay good.
async fn listen(
    shared: &Arc<Shared>,
    config: &Config,
    options: &OpenOptions,
) -> Result<Network, OpenError> {
    let mut bind =
        if options.bind.is_empty() { config.network.bind.clone() } else { options.bind.clone() };
    let kept = shared.store.own_addresses().map_err(store_error)?;
    let any_port: Vec<std::net::SocketAddr> = bind.clone();
    for addr in bind.iter_mut().filter(|addr| addr.port() == 0) {
        if let Some(port) = kept.iter().map(std::net::SocketAddr::port).find(|port| *port != 0) {
            addr.set_port(port);
        }
    }
    let service = Arc::new(Service::new(Arc::clone(shared)));
    let start = |bind: Vec<std::net::SocketAddr>| {
        let config = NetConfig { secret_key: shared.identity.secret_bytes(), bind };
        Network::bind(config, Arc::clone(&service) as _, Arc::clone(&shared.format))
    };
    let network = match start(bind.clone()).await {
        Ok(network) => network,
        // The kept port may be taken by now; a port asked for by name must not be swapped.
        Err(_) if bind != any_port => {
            start(any_port).await.map_err(|error| OpenError::Bind(error.to_string()))?
        }
        Err(error) => return Err(OpenError::Bind(error.to_string())),
    };
    shared.store.set_own_addresses(&network.addresses()).map_err(store_error)?;
    let mut events = network.take_events().expect("because nobody took them before");
    let inputs = shared.inputs.clone();
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if inputs.send(crate::driver::Input::Net(event)).is_err() {
                return;
            }
        }
    });
    Ok(network)
}

impl From<Stopped> for OpenError {
    fn from(_: Stopped) -> Self {
        Self::Store("the engine stopped".into())
    }
}
