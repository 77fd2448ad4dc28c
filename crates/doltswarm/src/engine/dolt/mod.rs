//! The engine Dolt: a running `dolt sql-server` on the node's machine, spoken to over the MySQL
//! protocol.
//!
//! Other programs may read and write the same database at any time. Users' statements run on the
//! branch `swarm/exec`, merges on `swarm/merge`; a branch is checked out for each connection on its
//! own, so neither disturbs main or its readers. Main only ever moves by what the server does as a
//! compare-and-swap. `docs/dolt.md` says why each step is as it is.

use std::sync::{Arc, Mutex, PoisonError};

use doltswarm_core::commit::{CommitInfo, ConflictPolicy, EngineKind, Merge};
use doltswarm_core::id::{CommitHash, PeerId};

use self::catch_up::Metas;
use self::chunks::{DoltChunks, Pusher};
use self::counters::Counters;
use self::cut::Note;
use self::grafts::Ways;
use self::losses::Records;
use self::merge::Way;
use self::session::{During, Link, Losses, Purpose, Session, is_busy, retry_busy, text};
use self::settle::Stop;
use self::store::Inbox;
use super::{
    ChunkReader, ChunkSource, CommitMeta, Engine, EngineError, EngineResult, Executed,
    MergeOutcome, MoveOutcome, Reader, TableDiff, Transaction,
};

mod artifacts;
mod catch_up;
mod check;
mod chunks;
mod client;
mod closing;
mod commit;
mod counters;
mod cut;
mod definition;
mod diff;
mod exec;
mod grafts;
mod guard;
mod ingest;
mod lexer;
mod losses;
mod merge;
mod moving;
mod objects;
mod options;
mod owner;
mod reader;
mod record;
mod refs;
mod remotes;
mod rows;
mod sandbox;
mod session;
mod settle;
mod steps;
pub mod store;
mod table;
mod total;
mod value;
mod violations;

#[cfg(test)]
mod tests;

pub use check::{Fault, check, require};
pub use options::{DoltOptions, DoltUrl, DoltUrlError, Password};
pub use sandbox::{Sandbox, SandboxError};

/// A database on a Dolt server.
///
/// # Panics
///
/// Whatever speaks to the server waits for its answer, so it panics on a thread that drives an
/// asynchronous runtime: use `tokio::task::spawn_blocking` there, or a thread of one's own.
pub struct Dolt {
    options: DoltOptions,
    /// Looks at main and moves it.
    main: Session,
    /// Users' statements.
    exec: Session,
    /// Merges.
    workbench: Session,
    inbox: Inbox,
    note: Note,
    pusher: Arc<Mutex<Pusher>>,
    losses: Losses,
    version: String,
    /// Which tables have a counter.
    counters: Counters,
    /// The commit of main that was last looked at for conflicts.
    looked_at: Option<CommitHash>,
    /// The newest commit of main that has all records of those before it.
    whole_at: Option<CommitHash>,
}

impl Dolt {
    /// Opens the existing database.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unreachable`] where the server does not answer, [`EngineError::Rejected`]
    /// where it does not let the user in or has no such database.
    pub fn open(options: &DoltOptions) -> EngineResult<Self> {
        let losses = Losses::default();
        let mut main = Session::new(options, Purpose::Node, &losses);
        let version = read_version(main.link()?)?;
        Ok(Self {
            options: options.clone(),
            main,
            exec: Session::new(options, Purpose::Branch, &losses),
            workbench: Session::new(options, Purpose::Branch, &losses),
            inbox: Inbox::open(options.folder.join("inbox"))?,
            note: Note::read(&options.folder)?,
            pusher: Pusher::open(options, &losses)?,
            losses,
            version,
            counters: Counters::default(),
            looked_at: None,
            whole_at: None,
        })
    }

    /// Opens the database, which is created where the server does not have it.
    ///
    /// # Errors
    ///
    /// As [`Dolt::open`].
    pub fn create(options: &DoltOptions) -> EngineResult<Self> {
        let mut server = session::open(options, Purpose::Server, &Losses::default())?;
        let name = session::quote(&options.url.database);
        let sql = format!("CREATE DATABASE IF NOT EXISTS {name}");
        server.run(&sql, &[]).during("create the database")?;
        Self::open(options)
    }
}

impl Dolt {
    /// The connection to main, whose tables are those of its commit and what others left there.
    fn main_link(&mut self) -> EngineResult<&mut Link> {
        let link = self.main.link()?;
        self.note.mend(link)?;
        Ok(link)
    }

    /// Creates the database with `commit` of `source`, and all below it, as its `main`.
    ///
    /// The server's own way to clone is not used: it also copies what nobody has committed.
    ///
    /// # Errors
    ///
    /// [`EngineError::Rejected`] where the server has a database of that name already. Where
    /// cloning fails, no database is left.
    pub fn clone_from(
        options: &DoltOptions,
        source: Arc<dyn ChunkSource>,
        commit: &CommitHash,
    ) -> EngineResult<Self> {
        let mut server = session::open(options, Purpose::Server, &Losses::default())?;
        let name = session::quote(&options.url.database);
        let sql = format!("CREATE DATABASE {name}");
        server.run(&sql, &[]).map_err(|error| match error.code() {
            1007 => EngineError::Rejected {
                message: format!(
                    "the Dolt server already has a database `{}`: name another one",
                    options.url.database
                ),
            },
            _ => error.during("create the database"),
        })?;
        Self::fill(options, source, commit).inspect_err(|_| {
            // Half a copy would pass for a database; that it cannot be removed is not the news.
            let _ = server.run(&format!("DROP DATABASE {name}"), &[]);
        })
    }

    /// Takes the database off the server, with all that is in it.
    ///
    /// # Errors
    ///
    /// As [`Dolt::open`].
    pub fn drop_database(options: &DoltOptions) -> EngineResult<()> {
        let mut server = session::open(options, Purpose::Server, &Losses::default())?;
        let sql = format!("DROP DATABASE {}", session::quote(&options.url.database));
        server.run(&sql, &[]).map(|_| ()).during("drop the database")
    }

    fn fill(
        options: &DoltOptions,
        source: Arc<dyn ChunkSource>,
        commit: &CommitHash,
    ) -> EngineResult<Self> {
        let mut engine = Self::open(options)?;
        engine.ingest(source, commit)?;
        // Nothing can be lost: the database is new. Its own first commit is gone with this.
        let sql = "CALL DOLT_RESET('--hard', ?)";
        let params = [commit::hash_value(commit)];
        engine.main.link()?.run(sql, &params).during("make the commit main")?;
        Ok(engine)
    }
}

fn read_version(link: &mut Link) -> EngineResult<String> {
    let rows = link.rows("SELECT dolt_version()", &[]).during("read the version")?;
    Ok(text(rows.first().and_then(|row| row.first())).to_owned())
}

impl Dolt {
    fn merge_by(
        &mut self,
        merge: &Merge,
        policy: ConflictPolicy,
        way: Way,
    ) -> Result<MergeOutcome, Stop> {
        let stopped_busy = |stop: &Stop| matches!(stop, Stop::Engine(error) if is_busy(error));
        retry_busy(stopped_busy, || self.try_merge(merge, policy, way))
    }

    /// Brings back what main, which stands at `main`, lacks of records; returns where it is then.
    fn bring_back_records(&mut self, main: CommitHash) -> EngineResult<CommitHash> {
        let since = self.whole_at.unwrap_or(main);
        if since == main {
            return Ok(main);
        }
        let link = self.main.link()?;
        let main = match losses::bring_back(link, &mut self.exec, &mut self.note, &since, &main)? {
            Records::Whole => main,
            Records::Restored(commit) => {
                tracing::warn!(%main, "records of conflicts were removed and are brought back");
                moving::show_commit(link, &commit);
                commit
            }
            // The next commit on main is compared with the same records.
            Records::Waiting => return Ok(main),
        };
        self.whole_at = Some(main);
        Ok(main)
    }

    fn try_merge(
        &mut self,
        merge: &Merge,
        policy: ConflictPolicy,
        way: Way,
    ) -> Result<MergeOutcome, Stop> {
        let main = self.main.link()?;
        let mut ways = Ways { main, inbox: &self.inbox, pusher: &self.pusher };
        let outcome = merge::merge(self.workbench.link()?, &mut ways, merge, policy, way);
        if !matches!(outcome, Ok(MergeOutcome::Merged { .. })) {
            // The next merge starts clean.
            self.workbench.close();
        }
        outcome
    }
}

impl Engine for Dolt {
    fn kind(&self) -> EngineKind {
        EngineKind::Dolt
    }

    fn version(&mut self) -> String {
        if let Ok(found) = self.main.link().and_then(read_version) {
            self.version = found;
        }
        self.version.clone()
    }

    fn found(&mut self, meta: &CommitMeta) -> EngineResult<CommitHash> {
        exec::found(self.main.link()?, meta)
    }

    fn owners(&mut self) -> EngineResult<Vec<PeerId>> {
        owner::owners(self.main.link()?)
    }

    fn mark_owner(&mut self, owner: &PeerId) -> EngineResult<()> {
        let link = self.main.link()?;
        let at = commit::tip(link)?;
        owner::mark(link, owner, &at)
    }

    fn main(&mut self) -> EngineResult<CommitHash> {
        if self.whole_at.is_none() {
            // Where main stood when the node was last up, before the next line changes it.
            self.whole_at = moving::shown(self.main_link()?)?;
        }
        let main = moving::main(self.main_link()?)?;
        if self.looked_at == Some(main) {
            return Ok(main);
        }
        let link = self.main.link()?;
        let at = commit::tip(link)?;
        if moving::fold_tip(link, &at)? != main {
            return Ok(main);
        }
        let main = match artifacts::settle(link, &mut self.exec, &at)? {
            Some(settled) => {
                moving::show_commit(link, &settled);
                settled
            }
            None => main,
        };
        let main = self.bring_back_records(main)?;
        self.looked_at = Some(main);
        Ok(main)
    }

    fn commit_info(&mut self, commit: &CommitHash) -> EngineResult<Option<CommitInfo>> {
        commit::info(self.main.link()?, commit)
    }

    fn commit_infos(&mut self, at: &CommitHash, limit: usize) -> EngineResult<Vec<CommitInfo>> {
        let link = self.main.link()?;
        match limit {
            1 => Ok(commit::info(link, at)?.into_iter().collect()),
            _ => commit::infos_under(link, at, limit),
        }
    }

    fn log(&mut self, limit: usize) -> EngineResult<Vec<CommitInfo>> {
        let tip = Engine::main(self)?;
        commit::infos(self.main.link()?, &store::commit_text(&tip), limit)
    }

    fn transact(
        &mut self,
        meta: &CommitMeta,
        work: &mut dyn FnMut(&mut dyn Transaction) -> EngineResult<()>,
    ) -> EngineResult<Executed> {
        let database = &self.options.url.database;
        let (main, branch, note) = (&mut self.main, &mut self.exec, &mut self.note);
        let done = exec::transact(main, branch, note, database, meta, work)?;
        if let Some(commit) = done.commit {
            // A commit of another program that it was made on is looked at with it.
            let is_next = self.whole_at == Some(done.parent);
            self.looked_at = is_next.then_some(commit);
            self.whole_at = if is_next { Some(commit) } else { self.whole_at };
        }
        Ok(done)
    }

    fn commit_pending(&mut self, meta: &CommitMeta) -> EngineResult<Executed> {
        exec::pending(self.main_link()?, meta)
    }

    fn commit_joining(
        &mut self,
        parents: [&CommitHash; 2],
        content: &CommitHash,
        meta: &CommitMeta,
    ) -> EngineResult<CommitHash> {
        closing::commit(self.main.link()?, &self.inbox, &self.pusher, parents, content, meta)
    }

    fn dirty_tables(&mut self) -> EngineResult<Vec<String>> {
        commit::dirty_tables(self.main_link()?)
    }

    fn discard(&mut self) -> EngineResult<Vec<String>> {
        exec::discard(self.main_link()?)
    }

    fn merge(&mut self, merge: &Merge, policy: ConflictPolicy) -> EngineResult<MergeOutcome> {
        let mut outcome = self.merge_by(merge, policy, Way::Chosen);
        if let Err(Stop::Refused(reason)) = &outcome {
            tracing::warn!(%reason, "the server refused a merge; it is made object by object");
            outcome = self.merge_by(merge, policy, Way::ByDefinition);
        }
        outcome.map_err(|stop| match stop {
            Stop::Engine(error) => error,
            Stop::Refused(message) | Stop::Impossible(message) => {
                EngineError::Failed { what: "merge", message }
            }
        })
    }

    fn merge_base(
        &mut self,
        ours: &CommitHash,
        theirs: &CommitHash,
    ) -> EngineResult<Option<CommitHash>> {
        let link = self.main.link()?;
        for commit in [ours, theirs] {
            commit::require(link, commit)?;
        }
        merge::merge_base(link, ours, theirs)
    }

    fn ingest(&mut self, source: Arc<dyn ChunkSource>, commit: &CommitHash) -> EngineResult<()> {
        retry_busy(is_busy, || {
            ingest::ingest(self.main.link()?, &self.inbox, &self.pusher, source.as_ref(), commit)
        })
    }

    fn move_main(&mut self, expected: &CommitHash, to: &CommitHash) -> EngineResult<MoveOutcome> {
        let main = Engine::main(self)?;
        if main != *expected {
            return Ok(MoveOutcome::MainChanged(main));
        }
        let (link, bench) = (self.main.link()?, &mut self.exec);
        let (inbox, pusher) = (&self.inbox, self.pusher.as_ref());
        let (note, counters) = (&mut self.note, &mut self.counters);
        let mover = moving::Mover { link, bench, counters, note, inbox, pusher };
        let moved = mover.move_main(expected, to).inspect_err(|_| self.main.forget());
        if let Ok(MoveOutcome::Moved) = moved {
            self.looked_at = Some(*to);
            self.whole_at = Some(*to);
        }
        moved
    }

    fn catch_up(
        &mut self,
        expected: &CommitHash,
        to: &CommitHash,
        meta: &CommitMeta,
        pending: Option<&CommitMeta>,
    ) -> EngineResult<Option<CommitHash>> {
        let metas = Metas { catch_up: meta, pending };
        self.counters.raise(self.exec.link()?, expected, to)?;
        let made = catch_up::catch_up(self.main_link()?, expected, to, metas)?;
        if made.is_some() {
            ingest::drop_kept(self.main.link()?, made.as_ref())?;
        }
        Ok(made)
    }

    fn set_parked(&mut self, heads: &[CommitHash]) -> EngineResult<()> {
        refs::set_parked(self.main.link()?, heads)
    }

    fn set_signature_tags(&mut self, tags: &[(CommitHash, String)]) -> EngineResult<()> {
        refs::set_signature_tags(self.main.link()?, tags)
    }

    fn signature_tags(&mut self) -> EngineResult<Vec<(CommitHash, String)>> {
        refs::signature_tags(self.main.link()?)
    }

    fn changed_tables(&mut self, from: &CommitHash, to: &CommitHash) -> EngineResult<Vec<String>> {
        diff::changed_tables(self.main.link()?, from, to)
    }

    fn diff(
        &mut self,
        from: &CommitHash,
        to: &CommitHash,
        table: &str,
        limit: usize,
    ) -> EngineResult<TableDiff> {
        diff::diff(self.main.link()?, from, to, table, limit)
    }

    fn definition(&mut self, at: &CommitHash, table: &str) -> EngineResult<Vec<String>> {
        diff::definition(self.main.link()?, at, table)
    }

    fn state_hash(&mut self) -> EngineResult<String> {
        let sql = "SELECT DOLT_HASHOF_DB('main')";
        let rows = self.main.link()?.rows(sql, &[]).during("hash the tables")?;
        Ok(text(rows.first().and_then(|row| row.first())).to_owned())
    }

    fn collect_garbage(&mut self) -> EngineResult<()> {
        self.exec.close();
        self.workbench.close();
        let link = self.main.link()?;
        link.forget();
        for name in [exec::BRANCH, merge::BRANCH, violations::BRANCH] {
            if commit::branch(link, name)?.is_some() {
                refs::drop_branch(link, name)?;
            }
        }
        ingest::drop_kept(link, None)?;
        let mut pusher = self.pusher.lock().unwrap_or_else(PoisonError::into_inner);
        // The branches of remotes keep alive what was fetched and pushed.
        for remote in [ingest::REMOTE, chunks::REMOTE] {
            remotes::forget(link, remote)?;
        }
        // Only this drops what an earlier collection kept.
        link.run("CALL DOLT_GC('--full')", &[]).during("collect garbage")?;
        pusher.renew()
    }

    fn check_integrity(&mut self) -> EngineResult<Option<String>> {
        let tip = commit::tip(self.main.link()?)?;
        let link = self.workbench.link()?;
        exec::reset(link, violations::BRANCH, &tip)?;
        let broken = violations::verify_all(link)?;
        let names: Vec<_> = broken.iter().map(|plan| format!("`{}`", plan.table())).collect();
        Ok((!names.is_empty()).then(|| format!("constraints are broken in {}", names.join(", "))))
    }

    fn reader(&self) -> EngineResult<Box<dyn Reader>> {
        Ok(Box::new(reader::DoltReader::open(&self.options, &self.losses)?))
    }

    fn chunks(&self) -> EngineResult<Box<dyn ChunkReader>> {
        Ok(Box::new(DoltChunks::open(&self.pusher)?))
    }
}
