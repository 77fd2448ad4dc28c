//! One SQL database in step on many machines, with no server in the middle.
//!
//! [`Swarm`] is the face of it: found a swarm or join one, execute and commit, query, and hear what
//! changed. Every peer reads and writes its own copy, offline too; peers only pull; all end on the
//! same commit.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use doltswarm::{InitOptions, OpenOptions, Swarm};
//!
//! let dir = std::path::Path::new("inventory");
//! Swarm::init(dir, InitOptions::default()).await?.close().await;
//! let swarm = Swarm::open(dir, OpenOptions::online()).await?;
//! swarm.exec_and_commit("first", ["CREATE TABLE part (id INTEGER PRIMARY KEY, name
//! TEXT)"]).await?; println!("{}", swarm.invite(Default::default()).await?);
//! # Ok(()) }
//! ```

pub use doltswarm_core as core;

pub mod config;
mod date;
mod driver;
pub mod engine;
pub mod gateway;
pub mod identity;
pub mod lock;
pub mod net;
#[cfg(test)]
mod small_disk;
pub mod staging;
pub mod store;
mod swarm;
pub mod ticket;

pub use engine::{DoltUrl, EngineError, EngineResult, Rows, Statement, Transaction, Value};
pub use net::RemoteChunkStore;
pub use swarm::{
    Closing, Conflict, ConflictCounts, ConflictOrigin, ConflictSelection, ConflictSide,
    DatabaseProblem, DiffReport, DoltServer, EventStream, ExecError, ExecReport, FoldProblem,
    ImportOptions, InitOptions, InviteOptions, JoinError, JoinOptions, JoinProgress, Keep,
    LintFinding, LiveQuery, LogEntry, MemberReport, MissingModule, NodeFiles, OpenError,
    OpenOptions, ParkedHead, PeerStatus, PeersError, PullReport, QueryChange, QueryError,
    RefusedCommit, RejectedHeads, ResolveReport, Row, RowDiffReport, SHOWN_VALUE_BYTES_MAX,
    SetAsideHead, Status, Swarm, SwarmEvent, TableChange, TableDiffReport, TableWatch, Traffic,
    WaitFor, WaitReport,
};
pub use ticket::Ticket;
