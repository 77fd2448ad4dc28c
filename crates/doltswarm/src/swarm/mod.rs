//! The library's face: one value that keeps one database in step with its peers.

mod aside;
mod ask;
mod closing;
mod database;
mod error;
mod event;
mod files;
mod import;
mod join;
mod layout;
mod lint;
mod live;
mod newcomer;
mod open;
mod options;
mod origin;
mod report;
mod resolve;
mod revision;
mod undo;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use doltswarm_core::id::{PeerId, SwarmId};
use doltswarm_core::limits::{
    CLOSE_GRACE, COMMIT_MESSAGE_BYTES_MAX, EXEC_TIMEOUT, QUERY_ROWS_MAX, SQL_BYTES_MAX,
};
use doltswarm_core::membership::Role;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) use aside::set_aside_heads;
pub use closing::Closing;
pub use error::{ExecError, JoinError, OpenError, PeersError, QueryError};
pub use event::SwarmEvent;
pub use files::NodeFiles;
pub use import::ImportOptions;
pub use lint::LintFinding;
pub use live::{LiveQuery, QueryChange, Row};
pub(crate) use open::commit_meta;
pub use options::{
    DoltServer, InitOptions, InviteOptions, JoinOptions, JoinProgress, OpenOptions, WaitFor,
};
pub use origin::{ConflictOrigin, ConflictSide};
pub use report::{
    Conflict, ConflictCounts, DatabaseProblem, DiffReport, ExecReport, FoldProblem, LogEntry,
    MemberReport, MissingModule, ParkedHead, PeerStatus, PullReport, RefusedCommit, RejectedHeads,
    RowDiffReport, SetAsideHead, Status, TableDiffReport, Traffic, WaitReport,
};
pub use resolve::{ConflictSelection, Keep, ResolveReport, SHOWN_VALUE_BYTES_MAX};
pub use watch::{EventStream, TableChange, TableWatch};

use crate::driver::{Command, Input, Shared, collect};
use crate::engine::stop::{self, Stop, StopReason};
use crate::engine::{
    CommitMeta, Engine, EngineResult, Executed, Reader, Rows, Statement, Transaction, Value,
};
use crate::lock::DirLock;
use crate::net::{NetStats, Network};

/// One peer of a swarm: its database, its key, and its connections to the other peers.
///
/// Cloning is cheap; all clones are the same node. Every method may be called from any task at any
/// time. Dropping the future of a call never leaves anything half done: a write or a query that is
/// under way is cancelled, and a write that was committed by then stays. The node stops when
/// [`Swarm::close`] is called or the last clone is dropped.
#[derive(Clone)]
pub struct Swarm {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    shared: Arc<Shared>,
    network: Option<Network>,
    readers: Mutex<Vec<Box<dyn Reader>>>,
    /// What ends the reads that are under way, and some that are done.
    reads: Mutex<Vec<Weak<Stop>>>,
    running: Mutex<Option<Running>>,
    /// What founding could not take of the database that it was given.
    left_out: OnceLock<Vec<String>>,
}

/// What [`Swarm::close`] waits for.
struct Running {
    driver: JoinHandle<()>,
    engine_ended: oneshot::Receiver<()>,
    lock: DirLock,
}

/// Cancels work when the future that waits for it is dropped; nothing happens if the work is done.
struct CancelOnDrop(Arc<Stop>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.request(StopReason::Cancelled);
    }
}

impl Inner {
    /// Interrupts the queries that are under way.
    fn interrupt_reads(&self) {
        let reads = std::mem::take(&mut *self.reads.lock().expect("because no holder panics"));
        for stop in reads.iter().filter_map(Weak::upgrade) {
            stop.request(StopReason::Closing);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody can wait here; the driver ends by itself and closes what it holds.
        let _ = self.shared.inputs.send(Input::Command(Command::Close));
    }
}

impl std::fmt::Debug for Swarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swarm")
            .field("peer", &self.peer_id())
            .field("dir", &self.inner.dir)
            .finish()
    }
}

impl Swarm {
    /// What the node's parts share.
    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// This peer.
    pub fn peer_id(&self) -> PeerId {
        self.inner.shared.identity.peer_id()
    }

    /// The swarm.
    pub fn swarm_id(&self) -> SwarmId {
        self.inner.shared.founding.swarm
    }

    /// The node's directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// What [`Swarm::init`] could not take of the plain SQLite database that it was given, each
    /// with the reason: views, triggers, indexes and virtual tables that the engine does not take.
    /// Empty in any other case.
    pub fn left_out(&self) -> &[String] {
        self.inner.left_out.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Where this node listens; empty without a network.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.inner.network.as_ref().map(Network::addresses).unwrap_or_default()
    }

    /// What this node's network did since the node was opened; all zero without a network. Each
    /// count is exact, but they are not taken at one instant.
    pub fn net_stats(&self) -> NetStats {
        self.inner.network.as_ref().map(Network::stats).unwrap_or_default()
    }

    /// Drops from the database what no branch or tag reaches, such as merges that newer heads made
    /// superfluous. Writes and moves of main wait meanwhile; reads go on. The node does this by
    /// itself when the database has more than doubled.
    ///
    /// # Errors
    ///
    /// [`ExecError::Engine`] where a pull or a fold is under way, another program writes, or the
    /// disk is full. The database is then as it was.
    pub async fn collect_garbage(&self) -> Result<(), ExecError> {
        let (reply, collected) = oneshot::channel();
        let command = Command::CollectGarbage { reply };
        let sent = self.inner.shared.inputs.send(Input::Command(command));
        sent.map_err(|_| ExecError::Closed)?;
        collected.await.map_err(|_| ExecError::Closed)?
    }

    /// Executes statements and commits, as one atomic step, signed by this peer and advertised.
    ///
    /// On success the commit is durable and main includes it. Where the statements change nothing
    /// there is no commit. Calls from several tasks run one after the other. Dropping the future
    /// cancels the step: it is either done or not done. It ends by itself after [`EXEC_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// [`ExecError::Engine`] where the SQL is wrong, not allowed, or breaks a constraint; where
    /// another program writes or left uncommitted changes; where the disk is full. Nothing of
    /// the statements stays. [`ExecError::Invalid`] where there is nothing to execute or the
    /// message is too long.
    pub async fn exec_and_commit<S: Into<Statement>>(
        &self,
        message: &str,
        statements: impl IntoIterator<Item = S>,
    ) -> Result<ExecReport, ExecError> {
        self.exec_and_commit_within(EXEC_TIMEOUT, message, statements).await
    }

    /// [`Swarm::exec_and_commit`] with another time limit, which counts from the call: waiting for
    /// other writes is part of it.
    ///
    /// # Errors
    ///
    /// As [`Swarm::exec_and_commit`]; [`EngineError::Stopped`](crate::EngineError::Stopped) if the
    /// time is up.
    pub async fn exec_and_commit_within<S: Into<Statement>>(
        &self,
        limit: Duration,
        message: &str,
        statements: impl IntoIterator<Item = S>,
    ) -> Result<ExecReport, ExecError> {
        let statements: Vec<Statement> = statements.into_iter().map(Into::into).collect();
        if statements.iter().all(|statement| statement.sql.trim().is_empty()) {
            return Err(ExecError::Invalid("there is no SQL to execute".into()));
        }
        if statements.iter().map(|statement| statement.sql.len()).sum::<usize>() > SQL_BYTES_MAX {
            return Err(ExecError::Invalid(format!(
                "the SQL is longer than {SQL_BYTES_MAX} bytes"
            )));
        }
        let meta = self.meta(message)?;
        self.write(limit, move |engine| engine.exec_and_commit(&statements, &meta)).await
    }

    /// Runs `work` in a transaction on main, and commits what it did as [`Swarm::exec_and_commit`]
    /// does: for writes that depend on what is read. Returns what `work` returns beside the report.
    ///
    /// `work` runs on the thread of the database, where it keeps every other write waiting, so it
    /// must be short, and must not call this node. Dropping the future cancels the transaction: its
    /// next statement fails. It is either done or not done.
    ///
    /// # Errors
    ///
    /// As [`Swarm::exec_and_commit`]; an error that `work` returns rolls everything back.
    pub async fn transaction<T: Send + 'static>(
        &self,
        message: &str,
        work: impl FnOnce(&mut dyn Transaction) -> EngineResult<T> + Send + 'static,
    ) -> Result<(ExecReport, T), ExecError> {
        let meta = self.meta(message)?;
        let (give, value) = oneshot::channel();
        let mut once = Some((work, give));
        let report = self
            .write(EXEC_TIMEOUT, move |engine| {
                engine.transact(&meta, &mut |transaction| {
                    let (work, give) = once.take().expect("because an engine runs the work once");
                    let value = work(transaction)?;
                    let _ = give.send(value);
                    Ok(())
                })
            })
            .await?;
        Ok((report, value.await.map_err(|_| ExecError::Closed)?))
    }

    /// Commits what other programs left uncommitted on main, signed by this peer.
    ///
    /// # Errors
    ///
    /// As [`Swarm::exec_and_commit`].
    pub async fn commit(&self, message: &str) -> Result<ExecReport, ExecError> {
        let meta = self.meta(message)?;
        self.write(EXEC_TIMEOUT, move |engine| engine.commit_pending(&meta)).await
    }

    /// Throws away what other programs left uncommitted on main and returns the tables that had
    /// changes, sorted. Tables that the database ignores (`dolt_ignore`) are kept.
    ///
    /// # Errors
    ///
    /// [`ExecError::Engine`] if another program writes to the database; nothing is thrown away
    /// then.
    pub async fn discard(&self) -> Result<Vec<String>, ExecError> {
        let (reply, tables) = oneshot::channel();
        let stop = Arc::new(Stop::after(EXEC_TIMEOUT));
        let posted = self.inner.shared.engine.post_write(stop, move |engine| {
            let _ = reply.send(engine.discard());
        });
        posted.map_err(|_| ExecError::Closed)?;
        Ok(tables.await.map_err(|_| ExecError::Closed)??)
    }

    fn meta(&self, message: &str) -> Result<CommitMeta, ExecError> {
        if message.len() > COMMIT_MESSAGE_BYTES_MAX {
            let text = format!("the message is longer than {COMMIT_MESSAGE_BYTES_MAX} bytes");
            return Err(ExecError::Invalid(text));
        }
        if message.trim().is_empty() {
            return Err(ExecError::Invalid("the message is empty".into()));
        }
        let shared = &self.inner.shared;
        let me = shared.identity.peer_id();
        let membership = shared.membership();
        if !membership.may_write(&me) {
            let role = membership.role(&me).map_or("stranger", Role::as_str);
            return Err(ExecError::NotAWriter { role });
        }
        Ok(open::commit_meta(&shared.name, &shared.identity.peer_id(), message))
    }

    /// Runs a write on the engine thread, which itself tells the driver, so that the driver hears
    /// of commits and moves of main in the order in which they happened.
    async fn write(
        &self,
        limit: Duration,
        job: impl FnOnce(&mut dyn Engine) -> EngineResult<Executed> + Send + 'static,
    ) -> Result<ExecReport, ExecError> {
        let (reply, report) = oneshot::channel();
        let shared = Arc::clone(&self.inner.shared);
        let stop = Arc::new(Stop::after(limit));
        let _cancel = CancelOnDrop(Arc::clone(&stop));
        let posted = self.inner.shared.engine.post_write(stop, move |engine| match job(engine) {
            Err(error) => {
                let _ = reply.send(Err(error.into()));
            }
            Ok(executed) => {
                // The commit's own description is enough where the driver knows its parent.
                let infos = executed
                    .commit
                    .and_then(|commit| collect(engine, &shared.store, &[commit]).ok())
                    .unwrap_or_default();
                let _ = shared.inputs.send(Input::Executed { executed, infos, reply });
            }
        });
        posted.map_err(|_| ExecError::Closed)?;
        report.await.map_err(|_| ExecError::Closed)?
    }

    /// Runs one read-only statement against main, on a connection of its own. It sees every commit
    /// that was acknowledged or folded before the call, and never half of one. Dropping the future
    /// cancels it.
    ///
    /// # Errors
    ///
    /// [`QueryError::Engine`] where the SQL is wrong, would write, or gives more than
    /// [`QUERY_ROWS_MAX`] rows.
    pub async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Rows, QueryError> {
        self.query_up_to(QUERY_ROWS_MAX, sql, params).await
    }

    /// [`Swarm::query`] with another limit of rows.
    async fn query_up_to(
        &self,
        rows_max: usize,
        sql: &str,
        params: Vec<Value>,
    ) -> Result<Rows, QueryError> {
        let sql = sql.to_owned();
        self.read(None, move |reader| reader.query(&sql, &params, rows_max)).await
    }

    /// [`Swarm::query`] with a time limit.
    ///
    /// # Errors
    ///
    /// As [`Swarm::query`]; [`EngineError::Stopped`](crate::EngineError::Stopped) if the time is
    /// up.
    pub async fn query_within(
        &self,
        limit: Duration,
        sql: &str,
        params: Vec<Value>,
    ) -> Result<Rows, QueryError> {
        let sql = sql.to_owned();
        self.read(Some(limit), move |reader| reader.query(&sql, &params, QUERY_ROWS_MAX)).await
    }

    /// Runs a read on a pooled reader, off the async threads.
    async fn read<T: Send + 'static>(
        &self,
        limit: Option<Duration>,
        job: impl FnOnce(&mut dyn Reader) -> EngineResult<T> + Send + 'static,
    ) -> Result<T, QueryError> {
        let pooled = self.inner.readers.lock().expect("because no holder panics").pop();
        let reader = match pooled {
            Some(reader) => reader,
            None => {
                let opened = self.inner.shared.engine.call(|engine| engine.reader()).await;
                opened.map_err(|_| QueryError::Closed)??
            }
        };
        let stop = Arc::new(limit.map_or_else(Stop::default, Stop::after));
        let _cancel = CancelOnDrop(Arc::clone(&stop));
        {
            let mut reads = self.inner.reads.lock().expect("because no holder panics");
            reads.retain(|read| read.strong_count() > 0);
            reads.push(Arc::downgrade(&stop));
        }
        let inner = Arc::clone(&self.inner);
        let task = tokio::task::spawn_blocking(move || {
            let mut reader = reader;
            let result = stop::run(&stop, || job(reader.as_mut()));
            inner.readers.lock().expect("because no holder panics").push(reader);
            result
        });
        Ok(task.await.map_err(|_| QueryError::Closed)??)
    }

    /// Cuts this node off: closes its connections, and neither dials nor answers until it is
    /// called with `false`. For tests and demonstrations of a partition.
    pub async fn set_isolated(&self, isolated: bool) {
        let (reply, done) = oneshot::channel();
        let command = Command::Isolate { isolated, reply };
        if self.inner.shared.inputs.send(Input::Command(command)).is_ok() {
            let _ = done.await;
        }
    }

    /// Stops the node and waits until what is under way has ended: the running job on the database,
    /// the connections, and the node's store. Work on the database is interrupted after
    /// [`CLOSE_GRACE`], and leaves the database as it was. Afterwards another process may open the
    /// directory. Calls on other clones fail from then on.
    pub async fn close(self) {
        let running = self.inner.running.lock().expect("because no holder panics").take();
        let Some(Running { driver, engine_ended, lock }) = running else { return };
        let engine = self.inner.shared.engine.clone();
        let grace = tokio::spawn(async move {
            tokio::time::sleep(CLOSE_GRACE).await;
            engine.interrupt_all();
        });
        let _ = self.inner.shared.inputs.send(Input::Command(Command::Close));
        let _ = driver.await;
        self.inner.interrupt_reads();
        self.inner.readers.lock().expect("because no holder panics").clear();
        // The engine thread ends with the last handle; the facade's own would keep it for ever.
        self.inner.shared.engine.stop();
        let _ = engine_ended.await;
        grace.abort();
        self.inner.shared.events.end();
        // Clones of this value, and what the network was still answering, hold on to the store.
        if let Err(error) = self.inner.shared.store.close() {
            tracing::warn!(%error, "the node's store could not be flushed; it is derived again at start");
        }
        drop(lock);
    }
}
