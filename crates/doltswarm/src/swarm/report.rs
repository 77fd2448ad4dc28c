//! What a swarm says of itself. Every type here serialises to the JSON of the command line.

use serde::Serialize;

/// What is going on. Hashes are in the engine's own text form.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The swarm's id.
    pub swarm: String,
    /// This peer's id.
    pub peer: String,
    /// This peer's name; may be empty.
    pub name: String,
    /// `doltlite` or `dolt`.
    pub engine: String,
    /// The engine's version.
    pub engine_version: String,
    /// `settle` or `park`.
    pub policy: String,
    /// The tip of main.
    pub main: String,
    /// The engine's hash of the whole database at the tip of main.
    pub state: String,
    /// The heads, sorted.
    pub heads: Vec<String>,
    /// The heads that the fold could not include.
    pub parked: Vec<ParkedHead>,
    /// The heads that take no part in the fold, sorted: by rule, or because their content failed a
    /// check on this node.
    pub set_aside: Vec<SetAsideHead>,
    /// Counts of rows in `swarm_conflicts`.
    pub conflicts: ConflictCounts,
    /// The other peers this node knows, sorted by id.
    pub peers: Vec<PeerStatus>,
    /// The tables in which another program left uncommitted changes, sorted.
    pub dirty: Vec<String>,
    /// What keeps main from following the heads, if the engine failed several times in a row. It is
    /// tried again and again.
    pub problem: Option<FoldProblem>,
    /// The virtual tables whose modules this program lacks, sorted by name: statements cannot use
    /// them here, and they merge as a whole.
    pub missing_modules: Vec<MissingModule>,
    /// Why the database could not be asked; null where it answers. Where it could not, `state` is
    /// empty, `dirty` and `conflicts` are unknown and empty, and the rest is what the node knows by
    /// itself.
    pub database_problem: Option<DatabaseProblem>,
    /// Whether main is the fold of the heads and every connected peer has the same heads. Where
    /// other members are known and none is connected, this is false.
    pub in_sync: bool,
    /// Heads that were refused, with the reason.
    pub rejected: Vec<RejectedHeads>,
    /// Commits of other programs that cannot be part of the swarm, with the reason.
    pub refused: Vec<RefusedCommit>,
    /// How many user commits the node knows.
    pub commits: u64,
    /// Whether the network is on.
    pub online: bool,
    /// Where this node listens, as `host:port`.
    pub addresses: Vec<String>,
    /// What travelled since the node was opened.
    pub traffic: Traffic,
}

/// A virtual table whose module this program lacks: another program made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingModule {
    /// The table.
    pub table: String,
    /// The module, in lower case.
    pub module: String,
}

/// What travelled, and what the engine did with it, since a node was opened. Each count is exact,
/// but they are not taken at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
pub struct Traffic {
    /// Calls made of peers to pull from them: each is at least one round trip.
    pub transfer_calls: u64,
    /// Bytes sent to peers, before encryption.
    pub bytes_sent: u64,
    /// Bytes received from peers, after decryption.
    pub bytes_received: u64,
    /// Chunks received that were what was asked for.
    pub chunks_received: u64,
    /// The bytes of these chunks.
    pub chunk_bytes_received: u64,
    /// How many times the engine took chunks in.
    pub fetches: u64,
    /// How many requests it made of the gateway for that.
    pub fetch_requests: u64,
    /// How many times the engine merged two commits, or tried to.
    pub merges: u64,
}

/// Why the database cannot be asked. The node waits for it and goes on by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatabaseProblem {
    /// Since when the node knows of it, as RFC 3339 in UTC.
    pub since: String,
    /// What is wrong.
    pub reason: String,
}

/// A merge or a move of main that fails again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoldProblem {
    /// What the engine says.
    pub reason: String,
    /// The commits that it is about: the two sides of a merge, or where main is and where it
    /// belongs.
    pub commits: Vec<String>,
    /// How often in a row it failed.
    pub failures: u32,
}

/// A head that the fold could not include.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParkedHead {
    /// The head.
    pub head: String,
    /// Why, and what a person can do.
    pub reason: String,
}

/// A head that takes no part in the fold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetAsideHead {
    /// The head.
    pub head: String,
    /// Why.
    pub reason: String,
    /// Who signed it.
    pub signer: String,
}

/// Counts of rows in `swarm_conflicts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
pub struct ConflictCounts {
    /// Not yet resolved.
    pub open: u64,
    /// All.
    pub total: u64,
}

/// Another peer as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// Its id.
    pub id: String,
    /// Its name; may be empty.
    pub name: String,
    /// The version of its engine, or null where it was not heard since the node started. Where it
    /// is not this peer's, merges may differ.
    pub engine_version: Option<String>,
    /// Its role in the swarm.
    pub role: String,
    /// Where it was last seen, as `host:port`, or null.
    pub address: Option<String>,
    /// Whether there is a connection now.
    pub connected: bool,
    /// Whether its last known heads equal this node's.
    pub in_sync: bool,
    /// Milliseconds since it was last heard, or null where it never was since the node started.
    pub last_seen_ms: Option<u64>,
    /// Its last known heads.
    pub heads: Vec<String>,
    /// Why it is not in step, for people; null where it is.
    pub problem: Option<String>,
}

/// Heads that a peer offered and this node refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectedHeads {
    /// The peer that offered them.
    pub peer: String,
    /// The heads.
    pub heads: Vec<String>,
    /// Why.
    pub reason: String,
}

/// A commit of another program that cannot be part of the swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedCommit {
    /// The commit, which is on the branch `refused/<commit>`.
    pub commit: String,
    /// Why.
    pub reason: String,
}

/// A row of `swarm_conflicts`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conflict {
    /// The hash of its content.
    pub id: String,
    /// What kind of conflict: `row`, `unique`, `foreign key`, `check` or `not null`.
    pub kind: String,
    /// The table of the row.
    pub table_name: String,
    /// The key of the row, as JSON.
    pub row_key: serde_json::Value,
    /// The row that both sides started from; null where it did not exist.
    pub base: serde_json::Value,
    /// The version that lost; null where it was deleted.
    pub loser: serde_json::Value,
    /// The version that stands; null where it was deleted.
    pub winner: serde_json::Value,
    /// `open` or `resolved`.
    pub state: String,
}

/// A commit of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// The commit.
    pub commit: String,
    /// `user`, `merge`, `founding`, or `before` for history older than the swarm.
    pub kind: String,
    /// Its parents.
    pub parents: Vec<String>,
    /// Who signed; null for a merge commit.
    pub signer: Option<String>,
    /// The signer's name, if it is known and not empty.
    pub signer_name: Option<String>,
    /// The author, as `name <e-mail>`.
    pub author: String,
    /// The date, as RFC 3339 in UTC.
    pub date: String,
    /// The message.
    pub message: String,
}

/// What an exec-and-commit did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExecReport {
    /// The new commit; null where the statements changed nothing.
    pub commit: Option<String>,
    /// The tip of main afterwards.
    pub main: String,
    /// Rows inserted, updated and deleted.
    pub rows_affected: u64,
}

/// What asking for heads brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PullReport {
    /// How many peers answered.
    pub asked: usize,
    /// How many new user commits arrived.
    pub commits: u64,
    /// The tip of main afterwards.
    pub main: String,
    /// Whether the node is in step afterwards.
    pub in_sync: bool,
}

/// What a wait came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitReport {
    /// Whether what was waited for came true before the time was up.
    pub reached: bool,
    /// On how many peers it was true at the end, this one included.
    pub peers: usize,
    /// The tip of main at the end.
    pub main: String,
}

/// Who is a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberReport {
    /// The member.
    pub id: String,
    /// Its name; may be empty.
    pub name: String,
    /// `reader`, `writer` or `admin`.
    pub role: String,
    /// Whether it is this peer.
    pub this: bool,
}

/// What changed between two commits, by table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DiffReport {
    /// The older commit.
    pub from: String,
    /// The newer commit.
    pub to: String,
    /// The tables that differ, sorted by name.
    pub tables: Vec<TableDiffReport>,
}

/// What changed in one table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableDiffReport {
    /// The table.
    pub table: String,
    /// Whether its definition changed.
    pub schema_changed: bool,
    /// The changed rows: each side an object by column, or null.
    pub rows: Vec<RowDiffReport>,
    /// Whether rows were left out at the limit.
    pub truncated: bool,
}

/// One changed row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowDiffReport {
    /// `added`, `removed` or `modified`.
    pub change: &'static str,
    /// The row before.
    pub before: serde_json::Value,
    /// The row after.
    pub after: serde_json::Value,
}
