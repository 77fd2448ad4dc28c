//! What the benchmark and its nodes say to each other: one JSON value a line.
//!
//! The benchmark asks on a node's standard input and the node answers on its standard output, in
//! any order: answers carry the number of their question.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A question with its number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) id: u64,
    pub(crate) request: Request,
}

/// The answer to the question of that number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) id: u64,
    pub(crate) result: Result<serde_json::Value, String>,
}

/// What a node is asked to do. The type of the answer is behind the arrow.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Start a Dolt server with its data in `dir`, for this node's database. -> [`Server`]
    Serve { program: PathBuf, dir: PathBuf },
    /// Found a swarm and listen. -> `()`
    Found { dir: PathBuf, name: String },
    /// Join a swarm and listen. -> [`Joined`]
    Join { dir: PathBuf, name: String, ticket: String },
    /// Make a ticket. -> `String`
    Invite { uses: u32 },
    /// Commit each of these by itself, one after the other, from the moment `at`. -> `Vec<Written>`
    Write { statements: Vec<String>, at: Option<Nanos> },
    /// Run a query that gives one number. -> `i64`
    Count { sql: String },
    /// Begin to wait until a query gives a row; answers at once. -> `()`
    Watch { sql: String },
    /// When the query of the last watch gave its row. -> [`Nanos`]
    Seen,
    /// Begin to take note of when main moves. -> `()`
    Observe,
    /// Where main is, and since when, as observed. -> [`MainAt`]
    Main,
    /// How the node sees the swarm. -> [`Standing`]
    Standing,
    /// What the network did. -> [`Traffic`]
    Traffic,
    /// The memory of the process and its server. -> [`Memories`]
    Memory,
    /// Drop what nothing reaches. -> `()`
    CollectGarbage,
    /// Write rows here and with the engine alone, by turns. -> [`super::alone::Durations`]
    Alone { dir: PathBuf, rounds: usize },
    /// Close the node and end. -> `()`
    Close,
}

/// Nanoseconds since 1970. All nodes run on one machine, so their clocks are one.
pub(crate) type Nanos = u64;

/// Where a node's Dolt server is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Server {
    /// The address of the node's database on it.
    pub(crate) url: String,
}

/// A commit that was acknowledged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) began: Nanos,
    pub(crate) ended: Nanos,
}

/// How long a join took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Joined {
    pub(crate) began: Nanos,
    pub(crate) ended: Nanos,
    /// Nanoseconds until each part of the join began: admission, transfer, storing, and its end.
    pub(crate) parts: Vec<(String, u64)>,
}

/// Where main is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MainAt {
    pub(crate) main: String,
    pub(crate) since: Nanos,
}

/// How a node sees the swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) main: String,
    pub(crate) heads: Vec<String>,
    pub(crate) connected: usize,
    pub(crate) conflicts: u64,
    pub(crate) in_sync: bool,
}

/// What a node's network did.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Traffic {
    pub(crate) adverts_sent: u64,
}

/// The memory of a process, in bytes; `None` where the system does not say.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) now: Option<u64>,
    pub(crate) peak: Option<u64>,
}

/// The memory of a node.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Memories {
    /// Of the node's own process.
    pub(crate) node: Memory,
    /// Of its Dolt server, where it has one.
    pub(crate) server: Option<Memory>,
}

/// The time now.
pub(crate) fn now() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The milliseconds between two times.
pub(crate) fn millis_between(from: Nanos, to: Nanos) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}
