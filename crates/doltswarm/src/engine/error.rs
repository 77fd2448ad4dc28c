//! What can go wrong in an engine, by who has to act.

use doltswarm_core::id::CommitHash;

/// The result of an engine call.
pub type EngineResult<T> = Result<T, EngineError>;

/// Why an engine could not do what was asked. The database is as it was before the call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The caller's SQL is wrong, breaks a constraint, or is not allowed here.
    #[error("{message}")]
    Rejected {
        /// What the engine says, without the caller's parameters.
        message: String,
    },
    /// Another program holds the database for writing; trying again later helps.
    #[error("the database is busy: another program is writing to it")]
    Busy,
    /// Another program left uncommitted changes in these tables.
    #[error("there are uncommitted changes in {}: commit them first with `doltswarm commit -m MESSAGE`", tables.join(", "))]
    Dirty {
        /// The tables, sorted.
        tables: Vec<String>,
    },
    /// The database does not hold this commit.
    #[error("the database holds no commit {0}")]
    NoSuchCommit(CommitHash),
    /// The answer is larger than the caller's limit.
    #[error("the answer has more than {limit} rows: narrow the query")]
    TooLarge {
        /// The limit, in rows.
        limit: usize,
    },
    /// The work was stopped before its end: it was cancelled, took more than it may, or the node is
    /// closing. Nothing of it is there.
    #[error("stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
    /// What a commit holds cannot be worked with, or it cannot be merged in the time that a merge
    /// has. It must not become main here.
    #[error("commit {commit} cannot be used: {reason}")]
    Unsound {
        /// The commit.
        commit: CommitHash,
        /// Why.
        reason: String,
    },
    /// The disk is full. What was being written is not there.
    #[error("the disk is full: nothing was changed; free some space and try again")]
    DiskFull,
    /// The file is not a database of this engine, or is damaged.
    #[error("{message}")]
    Corrupt {
        /// What was found, and where.
        message: String,
    },
    /// The server of the database does not answer. What was asked for was done whole or not at all;
    /// trying again later helps.
    #[error("the database server does not answer: {message}")]
    Unreachable {
        /// What the connection says.
        message: String,
    },
    /// The engine failed in a way that the caller cannot mend.
    #[error("the engine failed to {what}: {message}")]
    Failed {
        /// What was being done.
        what: &'static str,
        /// What the engine says.
        message: String,
    },
}

impl EngineError {
    /// Whether the same call may succeed later with nothing changed by the caller.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy | Self::DiskFull | Self::Unreachable { .. })
    }
}
