//! One error for each operation of [`super::Swarm`]; every message says what to do.

use std::path::{Path, PathBuf};

use doltswarm_core::id::PeerId;

use crate::engine::EngineError;

/// Why a node could not be made, opened or joined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory holds no node.
    #[error("{} is not a doltswarm node: run `doltswarm init` or `doltswarm join` there, or name another directory with -C", .dir.display())]
    NotANode {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds a node already.
    #[error("{} already holds a doltswarm node", .dir.display())]
    AlreadyANode {
        /// The directory.
        dir: PathBuf,
    },
    /// Another process has the node open.
    #[error("the node in {} is already open in process {pid}: stop it, or talk to it with the other commands", .dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The process, or 0 where it could not be told.
        pid: u32,
    },
    /// A file of that name, which is not this node's, is in the way.
    #[error("{} is in the way: move it, or pass it to `doltswarm init --from`", .path.display())]
    InTheWay {
        /// The file.
        path: PathBuf,
    },
    /// The swarm's engine is Dolt, and no server is named.
    #[error(
        "this swarm is on Dolt servers: name the database on yours with --dolt-url mysql://USER@HOST:PORT/DATABASE, or in config.toml under [dolt]"
    )]
    NoServer,
    /// The swarm's engine is not Dolt, and a server is named.
    #[error(
        "a Dolt server is of no use here: the engine of this swarm is doltlite, so leave --dolt-url and [dolt] out"
    )]
    NoServerNeeded,
    /// A file cannot become a database of a server.
    #[error(
        "a Dolt server takes no file: name an existing database of it with --dolt-url, and leave --from out"
    )]
    FileForServer,
    /// The Dolt server, or the database on it, cannot be used.
    #[error("the Dolt database {url}: {source}")]
    Server {
        /// The server and the database, without a password.
        url: String,
        /// What is wrong.
        source: EngineError,
    },
    /// The database on the Dolt server is another node's.
    #[error(
        "the Dolt database {url} belongs to another node, the one with the key {owner}: name another \
         database. If that node is gone for good, its database can be taken over after \
         CALL DOLT_BRANCH('-D', '-f', 'swarm/node/{owner}') in it"
    )]
    OtherNode {
        /// The server and the database, without a password.
        url: String,
        /// The node.
        owner: PeerId,
    },
    /// `config.toml` is wrong.
    #[error("{0}")]
    Config(String),
    /// The key file is wrong.
    #[error("{0}")]
    Key(String),
    /// The node's store is damaged or of another version.
    #[error("{0}")]
    Store(String),
    /// The database could not be opened, or is not of this engine.
    #[error("{}", about_database(.path, .source))]
    Database {
        /// The file.
        path: PathBuf,
        /// What the engine says.
        source: EngineError,
    },
    /// The node's own database is damaged.
    #[error("{what}; restore a backup of it, or move the directory away and join again")]
    Damaged {
        /// What was found, and where.
        what: String,
    },
    /// The listener could not be bound.
    #[error("{0}")]
    Bind(String),
    /// The disk is full.
    #[error("the disk is full: nothing was changed; free some space and try again")]
    DiskFull,
    /// A file could not be read or written.
    #[error("{what} {}: {source}", .path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// What the engine says names the file only where the file itself is the matter.
fn about_database(path: &Path, source: &EngineError) -> String {
    match source {
        EngineError::Corrupt { message } => message.clone(),
        source => format!("database {}: {source}", path.display()),
    }
}

/// Why a join failed. Chunks that arrived are kept: the same command goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The node could not be made here.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The peer that the ticket names could not be reached.
    #[error(
        "cannot reach the peer that made the ticket ({peer} at {addresses}): {reason}; is `doltswarm up` running there?"
    )]
    Unreachable {
        /// The peer.
        peer: String,
        /// Its addresses.
        addresses: String,
        /// What happened.
        reason: String,
    },
    /// The peer refused the ticket.
    #[error("the ticket was refused: {0}")]
    Refused(String),
    /// The peer sent what does not verify.
    #[error("the peer sent data that does not verify: {0}; nothing of it was kept")]
    PeerMisbehaved(String),
    /// The peer went away in the middle.
    #[error("the transfer was interrupted: {0}; run the same command again to go on")]
    Interrupted(String),
}

/// Why nothing was executed or committed. The database is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The SQL is wrong or not allowed, the database is busy or dirty, or the disk is full.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The message is too long, or there is nothing to execute.
    #[error("{0}")]
    Invalid(String),
    /// This peer's role does not allow it: no other peer would take the commit.
    #[error("this peer is a {role}: only writers and admins can change the database")]
    NotAWriter {
        /// This peer's role.
        role: &'static str,
    },
    /// The node is closing.
    #[error("the node is closing: nothing was executed")]
    Closed,
    /// The commit is made, but the node could not take note of it; it does so at the next start.
    #[error("the commit {commit} is made, but the node could not record it: {reason}")]
    NotRecorded {
        /// The commit.
        commit: String,
        /// Why.
        reason: String,
    },
}

/// Why a question could not be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The SQL is wrong, would write, or gives too many rows; or the engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The node is closing.
    #[error("the node is closing")]
    Closed,
}

/// Why the membership or the list of peers was not changed, or could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeersError {
    /// This peer's role does not allow it.
    #[error("this peer is a {role}: only an admin can do that")]
    NotAdmin {
        /// This peer's role.
        role: &'static str,
    },
    /// What was named does not exist or is malformed.
    #[error("{0}")]
    Invalid(String),
    /// The node runs without a network.
    #[error("the node has no network: start it with `doltswarm up`")]
    Offline,
    /// The node's store failed.
    #[error("{0}")]
    Store(String),
    /// The node is closing.
    #[error("the node is closing")]
    Closed,
}
