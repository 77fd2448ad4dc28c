//! What a caller can choose.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use doltswarm_core::commit::{ConflictPolicy, EngineKind};
use doltswarm_core::id::PeerId;
use doltswarm_core::membership::Role;

use crate::engine::DoltUrl;

/// A database on a Dolt server that runs on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoltServer {
    /// The server and the database. It holds no password.
    pub url: DoltUrl,
    /// A file whose first line is the password. `None`: the environment variable
    /// `DOLTSWARM_DOLT_PASSWORD` where it is set, else there is no password.
    pub password_file: Option<PathBuf>,
}

/// How a swarm is founded.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// The founder's name for people; may be empty.
    pub name: String,
    /// The engine of the swarm, for ever.
    pub engine: EngineKind,
    /// Where the database is, with the engine Dolt: one that exists is taken over, else it is
    /// created.
    pub dolt: Option<DoltServer>,
    /// An existing database to start from, with the engine DoltLite; it is copied, never changed.
    pub from: Option<PathBuf>,
    /// What happens to conflicts, for ever.
    pub policy: ConflictPolicy,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            engine: EngineKind::DoltLite,
            dolt: None,
            from: None,
            policy: ConflictPolicy::Settle,
        }
    }
}

/// How a node is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Whether to listen and to dial. Default: no network at all.
    pub network: bool,
    /// Where to listen; empty means what `config.toml` says.
    pub bind: Vec<SocketAddr>,
}

impl OpenOptions {
    /// Opens with the network, listening where `config.toml` says.
    pub fn online() -> Self {
        Self { network: true, bind: Vec::new() }
    }

    /// Opens with the network, listening on `bind` only.
    pub fn online_at(bind: SocketAddr) -> Self {
        Self { network: true, bind: vec![bind] }
    }
}

/// What a ticket permits.
#[derive(Debug, Clone)]
pub struct InviteOptions {
    /// The role its bearer gets.
    pub role: Role,
    /// How many peers may use it.
    pub uses: u32,
    /// How long it is good for.
    pub expires: Duration,
}

impl Default for InviteOptions {
    fn default() -> Self {
        Self { role: Role::Writer, uses: 1, expires: Duration::from_secs(7 * 24 * 3600) }
    }
}

/// How a node joins a swarm.
#[derive(Debug, Clone, Default)]
pub struct JoinOptions {
    /// The new member's name for people; may be empty.
    pub name: String,
    /// Where the database is to be, where the swarm's engine is Dolt: a database that the server
    /// does not have yet.
    pub dolt: Option<DoltServer>,
    /// Where to listen while joining; empty means any port.
    pub bind: Vec<SocketAddr>,
    /// How the node is opened afterwards. Default: without a network.
    pub open: OpenOptions,
}

/// How far a join is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinProgress {
    /// Dialling the peer that the ticket names.
    Connecting {
        /// That peer.
        peer: PeerId,
    },
    /// The swarm took this peer in.
    Admitted,
    /// Chunks are arriving. Totals are not known beforehand; both numbers only grow.
    Fetching {
        /// Chunks so far, those kept from an interrupted join included.
        chunks: u64,
        /// Bytes so far.
        bytes: u64,
    },
    /// Handing the chunks to the engine.
    Storing,
    /// Checking signatures.
    Verifying {
        /// How many user commits.
        commits: u64,
    },
    /// The database is here.
    Done,
}

/// What to wait for.
#[derive(Debug, Clone, Default)]
pub struct WaitFor {
    /// Until this commit is there, rather than until in step.
    pub commit: Option<String>,
    /// On how many peers, this one included. `None`: here and on every connected peer.
    pub peers: Option<usize>,
}
