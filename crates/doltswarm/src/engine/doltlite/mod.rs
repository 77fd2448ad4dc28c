//! The engine DoltLite: a SQLite fork on content-addressed trees, linked into this program.
//!
//! A database is one file. Three kinds of connections are open on it: one for users' statements on
//! `main`, one that makes merges on the branch `swarm/merge`, and one for each reader. A
//! checked-out branch belongs to a connection, so they do not disturb each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use doltswarm_core::commit::{CommitInfo, ConflictPolicy, EngineKind, Merge};
use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::INGEST_BY_FETCH_BYTES_MAX;

use self::check::Checker;
use self::commit::Trusted;
use self::connection::{During, Purpose, check_file, open, text};
use self::ffi::Connection;
use self::history::History;
use self::keeper::Keeper;
use self::merge::Workbench;
use super::{
    ChunkFormat, ChunkReader, ChunkSource, CommitMeta, Engine, EngineError, EngineResult, Executed,
    MergeOutcome, MoveOutcome, Reader, Statement, TableDiff, Transaction,
};
use super::{date, stop};
use crate::gateway::{Gateway, GatewayError};

mod actions;
mod check;
mod chunks;
mod closing;
mod commit;
mod connection;
mod copy;
mod definitions;
mod diff;
mod dump;
mod ffi;
mod from;
mod guard;
mod history;
mod intake;
mod keeper;
mod log;
mod losses;
mod merge;
mod reader;
mod record;
mod refs;
mod refusals;
mod settle;
mod sizes;
mod soundness;
mod spacing;
mod table;
mod violations;

#[cfg(test)]
mod tests;

pub use chunks::DoltLiteFormat;
pub use ffi::return_large_blocks;

/// More than an empty database takes.
const ROOM_BYTES: usize = 64 << 10;

/// A DoltLite database, opened for writing.
pub struct DoltLite {
    path: PathBuf,
    main: Connection,
    /// Opened by the first merge; dropped where a merge fails, so that the next one starts clean.
    workbench: Option<Workbench>,
    /// Opened when main is moved first; dropped if a move fails, so that the next one starts clean.
    keeper: Option<Keeper>,
    checker: Checker,
    trusted: Trusted,
    /// A commit that main stood at and that was found good.
    good_main: Option<CommitHash>,
    history: History,
    stand_ins_above: u64,
    version: String,
    /// Started by the first fetch.
    gateway: Option<Gateway>,
}

impl DoltLite {
    /// Opens the existing database at `path`.
    ///
    /// # Errors
    ///
    /// [`EngineError::Corrupt`] where there is no file, or it is not a DoltLite database.
    pub fn open(path: &Path) -> EngineResult<Self> {
        check_file(path)?;
        let main = match open(path, Purpose::Main) {
            Err(EngineError::Corrupt { message }) if message.contains(connection::MALFORMED) => {
                tracing::warn!(message, "main cannot be opened");
                keeper::rescue(path)?;
                open(path, Purpose::Main)?
            }
            main => main?,
        };
        let rows = main
            .rows("SELECT doltlite_engine(), dolt_version()", &[])
            .during("open the database")?;
        let row = rows.first().map_or(&[][..], Vec::as_slice);
        if text(row.first()) != "prolly" {
            let message = format!("{} is not a DoltLite database", path.display());
            return Err(EngineError::Corrupt { message });
        }
        let version = text(row.get(1)).trim_start_matches('v').to_owned();
        let (workbench, history) = (None, History::default());
        let stand_ins_above = merge::STAND_INS_ABOVE;
        let (path, gateway) = (path.to_owned(), None);
        let (keeper, checker, good_main) = (None, Checker::default(), None);
        let trusted = Trusted::default();
        Ok(Self {
            path,
            main,
            workbench,
            keeper,
            checker,
            trusted,
            good_main,
            history,
            stand_ins_above,
            version,
            gateway,
        })
    }

    /// Creates a database at `path`, where nothing may be yet.
    ///
    /// # Errors
    ///
    /// [`EngineError::Rejected`] where a file is there already.
    pub fn create(path: &Path) -> EngineResult<Self> {
        let connection = create_file(path)?;
        // The engine writes the file with the first thing that needs it.
        let result = connection.run("SELECT dolt_hashof('main')", &[]);
        drop(connection);
        result.during("create the database").map_err(|error| room_or(path, error))?;
        Self::open(path)
    }

    /// Creates a database at `path` with `commit` of `source`, and all below it, as its `main`.
    ///
    /// # Errors
    ///
    /// [`EngineError::Rejected`] where a file is there already. Where cloning fails, no file is
    /// left.
    pub fn clone_from(
        path: &Path,
        source: Arc<dyn ChunkSource>,
        commit: &CommitHash,
    ) -> EngineResult<Self> {
        let gateway = start_gateway()?;
        let connection = create_file(path)?;
        if source.bytes() > INGEST_BY_FETCH_BYTES_MAX {
            intake::take_in(path, source.as_ref(), (*commit).into()).inspect_err(|_| {
                let _ = std::fs::remove_file(path);
            })?;
        }
        let shown = gateway.show(DoltLiteFormat.synthetic_root(commit), source);
        let cloned = connection
            .run("SELECT dolt_clone(?)", &[shown.url().into()])
            .during("clone")
            .and_then(|()| refs::remove_remote(&connection, "origin"));
        drop(connection);
        cloned.and_then(|()| Self::open(path)).inspect_err(|_| {
            // Half a copy would pass for a database; that it cannot be removed is not the news.
            let _ = std::fs::remove_file(path);
        })
    }

    /// Creates a database at `path` from the file `from`: a copy of a DoltLite database, its
    /// uncommitted changes included, or, as uncommitted changes, all that a plain SQLite database
    /// or a dump has. Returns also what could not be taken of a SQLite database, each with the
    /// reason. The file is only read; writers on it wait meanwhile.
    ///
    /// # Errors
    ///
    /// [`EngineError::Corrupt`] if `from` is none of these or damaged, [`EngineError::Rejected`] if
    /// a table cannot be taken or foreign keys are broken, [`EngineError::Busy`] if another program
    /// writes to it, [`EngineError::DiskFull`]. No file is left then.
    pub fn create_from(from: &Path, path: &Path) -> EngineResult<(Self, Vec<String>)> {
        let source = from::source_of(from)?;
        if source == from::Source::Own {
            return Ok((Self::copy_from(from, path)?, Vec::new()));
        }
        let engine = Self::create(path)?;
        let loaded = match source {
            from::Source::Dump => from::load_dump(&engine, from).map(|()| Vec::new()),
            _ => from::load_sqlite(&engine, from),
        };
        match loaded {
            Ok(left) => Ok((engine, left)),
            Err(error) => {
                drop(engine);
                // Half a copy would pass for a database; that it cannot be removed is not the news.
                let _ = std::fs::remove_file(path);
                Err(error)
            }
        }
    }

    /// Creates a database at `path` as a copy of the file `from`, its uncommitted changes included.
    /// The source is only read; writers on it wait meanwhile.
    ///
    /// # Errors
    ///
    /// [`EngineError::Corrupt`] where `from` is not a DoltLite database, [`EngineError::Busy`]
    /// where another program writes to it, [`EngineError::DiskFull`]. No file is left then.
    pub fn copy_from(from: &Path, path: &Path) -> EngineResult<Self> {
        copy::copy(from, path)?;
        Self::open(path).inspect_err(|_| {
            let _ = std::fs::remove_file(path);
        })
    }

    fn workbench(&mut self, ours: &CommitHash) -> EngineResult<Workbench> {
        match self.workbench.take() {
            Some(workbench) => Ok(workbench),
            None => Workbench::open(&self.path, ours),
        }
    }

    /// The connection beside main; `at` is a commit whose schema opens.
    fn keeper(&mut self, at: &CommitHash) -> EngineResult<Keeper> {
        match self.keeper.take() {
            Some(keeper) => Ok(keeper),
            None => Keeper::open(&self.path, &self.main, at),
        }
    }
}

fn start_gateway() -> EngineResult<Gateway> {
    let failed = |error: GatewayError| EngineError::Failed {
        what: "start the gateway",
        message: error.to_string(),
    };
    Gateway::start().map_err(failed)
}

/// The error, or that there is no room, of which the engine says nothing when it begins a file.
fn room_or(path: &Path, error: EngineError) -> EngineError {
    let trial = path.with_extension("trial");
    let written = std::fs::write(&trial, [0; ROOM_BYTES]);
    let _ = std::fs::remove_file(trial);
    match written {
        Err(trial) if trial.kind() == std::io::ErrorKind::StorageFull => EngineError::DiskFull,
        _ => error,
    }
}

fn create_file(path: &Path) -> EngineResult<Connection> {
    if path.exists() {
        let message = format!("{} exists already", path.display());
        return Err(EngineError::Rejected { message });
    }
    Connection::open(path, true).during("create the database")
}

impl Engine for DoltLite {
    fn kind(&self) -> EngineKind {
        EngineKind::DoltLite
    }

    fn version(&mut self) -> String {
        self.version.clone()
    }

    fn found(&mut self, meta: &CommitMeta) -> EngineResult<CommitHash> {
        let commit = commit::found(&self.main, meta)?;
        match self.checker.too_large(&self.path, &commit, None)? {
            Some(message) => Err(EngineError::Rejected { message }),
            None => Ok(commit),
        }
    }

    fn main(&mut self) -> EngineResult<CommitHash> {
        connection::head(&self.main)
    }

    fn commit_info(&mut self, commit: &CommitHash) -> EngineResult<Option<CommitInfo>> {
        commit::info(&self.main, commit)
    }

    fn log(&mut self, limit: usize) -> EngineResult<Vec<CommitInfo>> {
        log::log(&self.main, limit)
    }

    fn transact(
        &mut self,
        meta: &CommitMeta,
        work: &mut dyn FnMut(&mut dyn Transaction) -> EngineResult<()>,
    ) -> EngineResult<Executed> {
        self.require_good_main()?;
        let done = commit::transact(&self.main, &mut self.trusted, meta, work)?;
        self.accept_own(done)
    }

    fn exec_and_commit(
        &mut self,
        statements: &[Statement],
        meta: &CommitMeta,
    ) -> EngineResult<Executed> {
        self.require_good_main()?;
        let done = dump::exec_and_commit(&self.main, &mut self.trusted, statements, meta)?;
        self.accept_own(done)
    }

    fn commit_pending(&mut self, meta: &CommitMeta) -> EngineResult<Executed> {
        self.require_good_main()?;
        let executed = commit::pending(&self.main, meta)?;
        if let Some(commit) = executed.commit {
            let fault = match losses::lost_since(&self.path, &executed.parent, &commit) {
                Ok(None) => self.own_fault(&commit, &executed.parent, true),
                fault => fault,
            };
            if !matches!(fault, Ok(None)) {
                // The work is another program's: it is to be there as before.
                stop::shielded(|| commit::uncommit(&self.main, &executed.parent))?;
            }
            if let Some(message) = fault? {
                return Err(EngineError::Rejected { message });
            }
            self.good_main = Some(commit);
        }
        Ok(executed)
    }

    fn inspect(
        &mut self,
        commit: &CommitHash,
        since: Option<&CommitHash>,
    ) -> EngineResult<Option<String>> {
        if self.good_main == Some(*commit) {
            return Ok(None);
        }
        let main = connection::head(&self.main)?;
        self.new_fault(commit, since.unwrap_or(&main))
    }

    fn inspect_foreign(
        &mut self,
        commit: &CommitHash,
        since: &CommitHash,
    ) -> EngineResult<Option<String>> {
        if self.good_main == Some(*commit) {
            return Ok(None);
        }
        let fault = self.foreign_fault(commit, since)?;
        if fault.is_none() && *commit == connection::head(&self.main)? {
            self.good_main = Some(*commit);
        }
        Ok(fault)
    }

    fn lost_records(
        &mut self,
        commits: &[(CommitHash, CommitHash)],
    ) -> EngineResult<BTreeMap<CommitHash, String>> {
        losses::lost_records(&self.path, commits)
    }

    fn refuse(&mut self, tip: &CommitHash, floor: &CommitHash) -> EngineResult<MoveOutcome> {
        let to = self.newest_sound(tip, floor)?;
        let keeper = self.keeper(floor)?;
        let moved = keeper.refuse(tip, &to)?;
        self.keeper = Some(keeper);
        match self.outcome(moved, tip, &to) {
            // A schema that does not parse does not say which tables have changes.
            Err(EngineError::Corrupt { .. }) => Ok(MoveOutcome::Dirty(Vec::new())),
            outcome => outcome,
        }
    }

    fn refused(&mut self) -> EngineResult<Vec<CommitHash>> {
        refs::refused(&self.main)
    }

    fn commit_joining(
        &mut self,
        parents: [&CommitHash; 2],
        content: &CommitHash,
        meta: &CommitMeta,
    ) -> EngineResult<CommitHash> {
        closing::commit(&self.path, &self.main, parents, content, meta)
    }

    fn dirty_tables(&mut self) -> EngineResult<Vec<String>> {
        connection::dirty_tables(&self.main)
    }

    fn missing_modules(&mut self) -> EngineResult<Vec<(String, String)>> {
        definitions::missing_modules(&self.main)
    }

    fn discard(&mut self) -> EngineResult<Vec<String>> {
        commit::discard(&self.main)
    }

    fn merge(&mut self, merge: &Merge, policy: ConflictPolicy) -> EngineResult<MergeOutcome> {
        commit::require(&self.main, &merge.ours)?;
        let workbench = self.workbench(&merge.ours)?;
        let (history, bound) = (&mut self.history, self.stand_ins_above);
        let outcome = workbench.merge(history, merge, policy, bound)?;
        self.workbench = Some(workbench);
        Ok(outcome)
    }

    fn recall_impossible(&mut self, merge: &Merge) -> EngineResult<Option<String>> {
        self.workbench.as_ref().map_or(Ok(None), |workbench| workbench.recall(merge))
    }

    fn merge_base(
        &mut self,
        ours: &CommitHash,
        theirs: &CommitHash,
    ) -> EngineResult<Option<CommitHash>> {
        for commit in [ours, theirs] {
            commit::require(&self.main, commit)?;
            self.history.learn(&self.main, commit)?;
        }
        Ok(self.history.base(ours, theirs))
    }

    fn ingest(&mut self, source: Arc<dyn ChunkSource>, commit: &CommitHash) -> EngineResult<()> {
        if source.bytes() > INGEST_BY_FETCH_BYTES_MAX {
            intake::take_in(&self.path, source.as_ref(), (*commit).into())?;
        }
        let gateway = match &mut self.gateway {
            Some(gateway) => gateway,
            none => none.insert(start_gateway()?),
        };
        let shown = gateway.show(DoltLiteFormat.synthetic_root(commit), source);
        refs::fetch(&self.main, shown.url(), commit)
    }

    fn fetch_requests(&self) -> u64 {
        self.gateway.as_ref().map_or(0, Gateway::requests)
    }

    fn move_main(&mut self, expected: &CommitHash, to: &CommitHash) -> EngineResult<MoveOutcome> {
        commit::require(&self.main, to)?;
        let keeper = self.keeper(expected)?;
        let moved = keeper.move_main(expected, to)?;
        self.keeper = Some(keeper);
        let outcome = self.outcome(moved, expected, to)?;
        if outcome == MoveOutcome::Moved {
            self.good_main = Some(*to);
        }
        Ok(outcome)
    }

    fn set_parked(&mut self, heads: &[CommitHash]) -> EngineResult<()> {
        refs::set_parked(&self.main, heads)
    }

    fn set_signature_tags(&mut self, tags: &[(CommitHash, String)]) -> EngineResult<()> {
        refs::set_signature_tags(&self.main, tags)
    }

    fn signature_tags(&mut self) -> EngineResult<Vec<(CommitHash, String)>> {
        refs::signature_tags(&self.main)
    }

    fn changed_tables(&mut self, from: &CommitHash, to: &CommitHash) -> EngineResult<Vec<String>> {
        diff::changed_tables(&self.main, from, to)
    }

    fn diff(
        &mut self,
        from: &CommitHash,
        to: &CommitHash,
        table: &str,
        limit: usize,
    ) -> EngineResult<TableDiff> {
        diff::diff(&self.path, &self.main, from, to, table, limit)
    }

    fn definition(&mut self, at: &CommitHash, table: &str) -> EngineResult<Vec<String>> {
        diff::definition(&self.path, &self.main, at, table)
    }

    fn state_hash(&mut self) -> EngineResult<String> {
        let rows = self.main.hot("SELECT dolt_hashof_db('main')", &[]).during("hash the tables")?;
        Ok(text(rows.first().and_then(|row| row.first())).to_owned())
    }

    fn collect_garbage(&mut self) -> EngineResult<()> {
        self.main.run("SELECT dolt_gc()", &[]).during("collect garbage")
    }

    fn check_integrity(&mut self) -> EngineResult<Option<String>> {
        // A full-text index checks itself by what its connection remembers of it, so this one is
        // new. Checks that call functions of other programs must not stop this one.
        let connection = open(&self.path, Purpose::Read)?;
        definitions::define_lacking(&connection)?;
        let rows = connection.rows("PRAGMA integrity_check", &[]).during("check the database")?;
        let found: Vec<_> = rows.iter().map(|row| text(row.first())).collect();
        Ok(if found == ["ok"] { None } else { Some(found.join("; ")) })
    }

    fn reader(&self) -> EngineResult<Box<dyn Reader>> {
        Ok(Box::new(reader::DoltLiteReader::open(&self.path)?))
    }

    fn chunks(&self) -> EngineResult<Box<dyn ChunkReader>> {
        Ok(Box::new(chunks::DoltLiteChunks::open(&self.path)?))
    }
}
