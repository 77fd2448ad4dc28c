//! What DoltSwarm asks of a storage engine.
//!
//! Architecture Invariant: an engine knows nothing of the network, and the network nothing of an
//! engine; only the driver knows both.

use std::collections::BTreeMap;
use std::sync::Arc;

use doltswarm_core::commit::{CommitInfo, ConflictPolicy, EngineKind, Merge};
use doltswarm_core::id::{ChunkHash, CommitHash, PeerId};

mod date;
mod error;
mod record;
mod source;
pub(crate) mod stop;
mod total;
mod value;

#[cfg(test)]
pub(crate) mod conformance;
pub mod dolt;
pub mod doltlite;

pub use dolt::store::DoltFormat;
pub use dolt::{Dolt, DoltOptions, DoltUrl, Password};
pub use doltlite::{DoltLite, DoltLiteFormat, return_large_blocks};
pub use error::{EngineError, EngineResult};
pub use source::ChunkSource;
pub use value::{Rows, Statement, Value};

/// Who a user commit is by and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitMeta {
    /// The author's name; never empty.
    pub author_name: String,
    /// The author's e-mail; never empty.
    pub author_email: String,
    /// The message, passed to the engine as a parameter, never as SQL text.
    pub message: String,
    /// Seconds since 1970-01-01 UTC.
    pub seconds: i64,
}

/// What an exec-and-commit, or a commit of what lay uncommitted, did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// The new commit, or `None` where nothing changed.
    pub commit: Option<CommitHash>,
    /// The tip of main before it.
    pub parent: CommitHash,
    /// How many rows the statements inserted, updated and deleted, as the engine counts.
    pub rows_affected: u64,
}

/// What a merge came to. A pure function of the two commits and the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeOutcome {
    /// The merge commit, with how many conflicts it recorded.
    Merged {
        /// The merge commit.
        commit: CommitHash,
        /// Rows added to `swarm_conflicts` by this merge.
        conflicts: u64,
    },
    /// The two cannot be merged; `theirs` is to be parked.
    Impossible {
        /// Why, for people: names the table, and says what can be done. The same on every peer.
        reason: String,
    },
}

/// What came of an attempt to move main.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveOutcome {
    /// Main is at the target.
    Moved,
    /// Main was not where the caller thought; nothing changed. It is here.
    MainChanged(CommitHash),
    /// Main has uncommitted changes by another program in these tables; nothing changed.
    Dirty(Vec<String>),
}

/// A table as what writes single rows needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableShape {
    /// The columns that can be written, in order; generated ones are left out.
    pub columns: Vec<String>,
    /// The columns of the primary key, in the key's order; empty if there is none.
    pub key: Vec<String>,
}

/// What happened to a row between two commits.
#[derive(Debug, Clone, PartialEq)]
pub struct RowChange {
    /// The row before, in the order of [`TableDiff::columns`]; `None` where it was added.
    pub before: Option<Vec<Value>>,
    /// The row after; `None` where it was removed.
    pub after: Option<Vec<Value>>,
}

/// What changed in one table between two commits.
#[derive(Debug, Clone, PartialEq)]
pub struct TableDiff {
    /// The table.
    pub table: String,
    /// Whether the table's definition changed (it was created, dropped or altered).
    pub schema_changed: bool,
    /// The columns of the rows below: those of the newer definition, then those it dropped.
    pub columns: Vec<String>,
    /// The changed rows, in the table's key order.
    pub rows: Vec<RowChange>,
    /// Whether `rows` was cut at the caller's limit.
    pub truncated: bool,
}

/// The writing side of an engine: one at a time, on one thread.
///
/// Every method either does the whole of what it says or leaves the database as it was; a process
/// killed in the middle of one leaves the database as before or as after it. A reader
/// ([`Engine::reader`]) sees main as of one commit, never a move half done.
///
/// "User commit" and "merge commit" are as in [`doltswarm_core::commit`]; methods take any commit
/// that the database holds.
///
/// # Errors
///
/// Every method may return [`EngineError`]; what each variant means is said there.
pub trait Engine: Send {
    /// Which engine this is.
    fn kind(&self) -> EngineKind;

    /// The engine's version, for example `0.51.6`. A server may be another one since it was asked
    /// last.
    fn version(&mut self) -> String;

    /// The nodes that the database is marked for. A file is in its node's directory, which is its
    /// mark.
    fn owners(&mut self) -> EngineResult<Vec<PeerId>> {
        Ok(Vec::new())
    }

    /// Marks the database for a node.
    fn mark_owner(&mut self, _owner: &PeerId) -> EngineResult<()> {
        Ok(())
    }

    /// Makes the founding commit on top of what the database holds: creates `swarm_conflicts` and
    /// commits it together with all uncommitted work. `meta.message` names the policy.
    fn found(&mut self, meta: &CommitMeta) -> EngineResult<CommitHash>;

    /// The tip of main.
    fn main(&mut self) -> EngineResult<CommitHash>;

    /// Describes a commit, or `None` where the database does not hold it. Costs one commit, not its
    /// history.
    fn commit_info(&mut self, commit: &CommitHash) -> EngineResult<Option<CommitInfo>>;

    /// Describes a commit and perhaps some of those below it, at most `limit` in all, the commit
    /// first; nothing where the database does not hold it. For an engine that is asked for many
    /// commits at hardly more than the price of one.
    fn commit_infos(
        &mut self,
        commit: &CommitHash,
        _limit: usize,
    ) -> EngineResult<Vec<CommitInfo>> {
        Ok(self.commit_info(commit)?.into_iter().collect())
    }

    /// The newest commits under the tip of main, at most `limit`, newest first.
    fn log(&mut self, limit: usize) -> EngineResult<Vec<CommitInfo>>;

    /// Runs `work` in a transaction on main and commits what it did, as one atomic step.
    ///
    /// Nothing of it stays where `work` fails. Statements that would end the transaction, call the
    /// engine's version control, change settings, or do more to `swarm_conflicts` than resolve are
    /// refused, inside triggers and views too. Foreign keys are enforced. Uncommitted work of other
    /// programs must not be swept into the commit: where there is any, the error is
    /// [`EngineError::Dirty`] and `work` does not run.
    fn transact(
        &mut self,
        meta: &CommitMeta,
        work: &mut dyn FnMut(&mut dyn Transaction) -> EngineResult<()>,
    ) -> EngineResult<Executed>;

    /// Runs `statements` on main in order and commits, as one atomic step: [`Engine::transact`]
    /// with nothing but these.
    fn exec_and_commit(
        &mut self,
        statements: &[Statement],
        meta: &CommitMeta,
    ) -> EngineResult<Executed> {
        self.transact(meta, &mut |transaction| {
            statements.iter().try_for_each(|statement| transaction.execute(statement).map(|_| ()))
        })
    }

    /// Commits to main what other programs left uncommitted on it. How many rows that were is not
    /// known: `rows_affected` is 0.
    fn commit_pending(&mut self, meta: &CommitMeta) -> EngineResult<Executed>;

    /// Makes a commit by `meta`'s author with these two parents and exactly the tables of
    /// `content`, beside main. No branch moves, so what is not made part of main is dropped by
    /// [`Engine::collect_garbage`].
    fn commit_joining(
        &mut self,
        parents: [&CommitHash; 2],
        content: &CommitHash,
        meta: &CommitMeta,
    ) -> EngineResult<CommitHash>;

    /// The tables with uncommitted changes on main, sorted.
    fn dirty_tables(&mut self) -> EngineResult<Vec<String>>;

    /// What is wrong with the content of `commit`, for people, or `None`: its schema does not
    /// parse, or a view or a trigger cannot be prepared. What is wrong with `since` already does
    /// not count.
    ///
    /// A commit for which this is not `None` is not signed, and main does not move to it. A commit
    /// that changes rows alone costs next to nothing.
    fn inspect(
        &mut self,
        _commit: &CommitHash,
        _since: Option<&CommitHash>,
    ) -> EngineResult<Option<String>> {
        Ok(None)
    }

    /// What is wrong with what another program committed on main between `since` and `commit`, for
    /// people, or `None`: what [`Engine::inspect`] finds; records of conflicts that are gone or
    /// rewritten, of which there are only ever more; and what is too large to travel.
    fn inspect_foreign(
        &mut self,
        commit: &CommitHash,
        since: &CommitHash,
    ) -> EngineResult<Option<String>> {
        self.inspect(commit, Some(since))
    }

    /// Which of these commits, each with its first parent, remove or rewrite records of conflicts
    /// that the parent has, and what is wrong, for people. There are only ever more records.
    ///
    /// A function of the commits alone. Where the records did not change it costs next to nothing.
    fn lost_records(
        &mut self,
        _commits: &[(CommitHash, CommitHash)],
    ) -> EngineResult<BTreeMap<CommitHash, String>> {
        Ok(BTreeMap::new())
    }

    /// Takes a commit of another program off main: moves main from `tip` back to `to`, and keeps
    /// the commit on the branch `refused/<tip>`. Uncommitted work stays where it is, and nothing
    /// moves.
    fn refuse(&mut self, tip: &CommitHash, to: &CommitHash) -> EngineResult<MoveOutcome> {
        self.move_main(tip, to)
    }

    /// The commits that [`Engine::refuse`] took off main, sorted.
    fn refused(&mut self) -> EngineResult<Vec<CommitHash>> {
        Ok(Vec::new())
    }

    /// The virtual tables on main whose modules this program lacks, each with its module, sorted by
    /// name. Statements cannot use them here; they merge as a whole.
    fn missing_modules(&mut self) -> EngineResult<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    /// Throws away what is uncommitted on main and returns the tables that had changes, sorted.
    /// Tables that the database ignores (`dolt_ignore`) are kept.
    fn discard(&mut self) -> EngineResult<Vec<String>>;

    /// Merges on a private branch and settles conflicts and constraint violations by `policy`. Main
    /// does not move. Deterministic: the same arguments give the same bytes on every peer.
    ///
    /// Both sides are compared with the tables of the base, whatever the engine itself would
    /// compare them with; `swarm_conflicts` with what it is in the base's ancestor. Where the base
    /// is `theirs` there is nothing to merge, and the outcome is `ours` itself.
    ///
    /// What is not made part of main or parked is dropped by [`Engine::collect_garbage`]; merging
    /// again makes the same commit again.
    ///
    /// [`MergeOutcome::Impossible`] is what the same two commits give every time. What may go
    /// another way next time (a busy database, a full disk) is an error.
    ///
    /// The algorithm is section "The fold" of `docs/protocol.md`.
    fn merge(&mut self, merge: &Merge, policy: ConflictPolicy) -> EngineResult<MergeOutcome>;

    /// Why [`Engine::merge`] would find this merge impossible under the policy `park`, if that
    /// follows from merges before it. So a parked head that is tried again costs next to nothing.
    fn recall_impossible(&mut self, _merge: &Merge) -> EngineResult<Option<String>> {
        Ok(None)
    }

    /// The common ancestor that the engine's own merge compares two commits with; `None` where they
    /// have none.
    ///
    /// Where histories cross this is one of several. What the swarm compares with is the fold's to
    /// say ([`Merge::base`]).
    fn merge_base(
        &mut self,
        ours: &CommitHash,
        theirs: &CommitHash,
    ) -> EngineResult<Option<CommitHash>>;

    /// Takes `commit` and all below it from `source` with the engine's own `DOLT_FETCH`; what the
    /// database holds already is not asked for. Afterwards the database holds the commit and all
    /// below it; no local branch moved. Where the source lacks something, nothing of the commit is
    /// there.
    ///
    /// The engine may trust the source: every chunk has the hash it was asked by.
    fn ingest(&mut self, source: Arc<dyn ChunkSource>, commit: &CommitHash) -> EngineResult<()>;

    /// How many requests the engine's fetches have made of this program since the database was
    /// opened; 0 for an engine that takes its chunks in another way.
    fn fetch_requests(&self) -> u64 {
        0
    }

    /// Moves main from `expected` to `to`: a compare-and-swap that never discards uncommitted work.
    fn move_main(&mut self, expected: &CommitHash, to: &CommitHash) -> EngineResult<MoveOutcome>;

    /// Makes a *catch-up commit*: a commit on main, by `meta`'s author, that brings `to` into a
    /// main that is above `expected`. Its second parent is `to`, or, if main and `to` do not agree,
    /// a merge of the two by `policy`. Returns it; `None` if main is not above `expected`,
    /// uncommitted work is in the way, or the swarm parks what does not agree.
    ///
    /// This is for a main that other programs commit to so often that it is never where a fold
    /// began when the fold is known. An engine that keeps others out while it merges needs none.
    /// `to` descends from `expected`. Uncommitted work is never taken along; with `pending` it is
    /// committed first, as what that says.
    fn catch_up(
        &mut self,
        _expected: &CommitHash,
        _to: &CommitHash,
        _meta: &CommitMeta,
        _pending: Option<&CommitMeta>,
    ) -> EngineResult<Option<CommitHash>> {
        Ok(None)
    }

    /// Makes the branches `parked/<hash>` exactly those of `heads`, so that the engine's garbage
    /// collection keeps parked work and people can look at it.
    fn set_parked(&mut self, heads: &[CommitHash]) -> EngineResult<()>;

    /// Makes the tags under the prefix `sig/` exactly these: (commit, message). The name of a tag
    /// is `sig/<hash>`.
    fn set_signature_tags(&mut self, tags: &[(CommitHash, String)]) -> EngineResult<()>;

    /// The tags under `sig/`: (commit, message), sorted by commit.
    fn signature_tags(&mut self) -> EngineResult<Vec<(CommitHash, String)>>;

    /// The names of the tables that differ between two commits, sorted. `swarm_conflicts` included;
    /// views and triggers are no tables.
    fn changed_tables(&mut self, from: &CommitHash, to: &CommitHash) -> EngineResult<Vec<String>>;

    /// The rows of `table` that differ between two commits, at most `limit` of them. A table that
    /// is in neither of them is [`EngineError::Rejected`].
    fn diff(
        &mut self,
        from: &CommitHash,
        to: &CommitHash,
        table: &str,
        limit: usize,
    ) -> EngineResult<TableDiff>;

    /// The statements that make a table as it was at a commit: first the table, then its indexes
    /// and triggers, if they are not part of that; nothing if there was no such table.
    fn definition(&mut self, at: &CommitHash, table: &str) -> EngineResult<Vec<String>>;

    /// The engine's hash of all tables at the tip of main, as the engine writes it, in lower case:
    /// equal exactly where the contents are equal.
    fn state_hash(&mut self) -> EngineResult<String>;

    /// Drops what no branch or tag reaches: also what was fetched and is neither below main nor
    /// parked.
    fn collect_garbage(&mut self) -> EngineResult<()>;

    /// Runs the engine's own integrity check; `Ok(None)` means sound, else what it found.
    fn check_integrity(&mut self) -> EngineResult<Option<String>>;

    /// Opens a reader on a connection of its own.
    fn reader(&self) -> EngineResult<Box<dyn Reader>>;

    /// Opens the database's chunks for reading, on a handle of their own.
    fn chunks(&self) -> EngineResult<Box<dyn ChunkReader>>;
}

/// A transaction on main that is under way.
pub trait Transaction {
    /// Runs statements, one with parameters or several without, and returns how many rows they
    /// changed.
    fn execute(&mut self, statement: &Statement) -> EngineResult<u64>;

    /// Runs one statement that only reads; it sees what the transaction did so far. At most `limit`
    /// rows; more is [`EngineError::TooLarge`].
    fn query(&mut self, sql: &str, params: &[Value], limit: usize) -> EngineResult<Rows>;

    /// The shape of a table as the transaction has it now, or `None` if there is no such table.
    fn table(&mut self, name: &str) -> EngineResult<Option<TableShape>>;
}

/// A connection that only reads.
pub trait Reader: Send {
    /// Runs one read-only statement against main. A statement that would write is refused with
    /// [`EngineError::Rejected`]. At most `limit` rows; more is [`EngineError::TooLarge`].
    fn query(&mut self, sql: &str, params: &[Value], limit: usize) -> EngineResult<Rows>;
}

/// Reads chunks by hash, also while another connection writes.
///
/// Each call sees everything that was committed before it began. What is published while it runs
/// may look absent.
pub trait ChunkReader: Send {
    /// The chunks, in the order asked; `None` where absent.
    fn get_many(&mut self, hashes: &[ChunkHash]) -> EngineResult<Vec<Option<Vec<u8>>>>;

    /// The first of the chunks, in the order asked: one at least, and no further ones once they
    /// have `bytes` together. A reader of large chunks so holds one of them and not all.
    fn get_first(
        &mut self,
        hashes: &[ChunkHash],
        bytes: usize,
    ) -> EngineResult<Vec<Option<Vec<u8>>>> {
        let mut chunks = Vec::new();
        let mut size = 0;
        for hash in hashes {
            chunks.extend(self.get_many(std::slice::from_ref(hash))?);
            size += chunks.last().and_then(Option::as_ref).map_or(0, Vec::len);
            if size >= bytes {
                break;
            }
        }
        Ok(chunks)
    }

    /// Whether each chunk is present, in the order asked. A present chunk means that all chunks
    /// below it are present too.
    fn has_many(&mut self, hashes: &[ChunkHash]) -> EngineResult<Vec<bool>>;

    /// The size of the store, in bytes.
    fn size(&mut self) -> EngineResult<u64>;
}

/// The rules of an engine's chunks that need no database.
pub trait ChunkFormat: Send + Sync {
    /// The hash that names a chunk with these bytes.
    fn hash(&self, chunk: &[u8]) -> ChunkHash;

    /// The chunks that this one refers to, or an error where the bytes are not a chunk of a kind
    /// that a commit can reach. The bytes may be hostile.
    fn children(&self, chunk: &[u8]) -> EngineResult<Vec<ChunkHash>>;

    /// The bytes of a root that shows exactly one branch, `main`, at `commit`: no tags, no working
    /// set, no other branch.
    fn synthetic_root(&self, commit: &CommitHash) -> Vec<u8>;
}
