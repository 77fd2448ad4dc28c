//! Connections to the server: opening them, their settings, running one statement, errors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use doltswarm_core::commit::CommitInfo;
use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::{DOLT_BUSY_TRIES_MAX, DOLT_COMMITS_KNOWN_MAX, DOLT_IDLE_CHECK_AFTER};
use mysql_async::{DriverError, Error, OptsBuilder};

use super::client::{Answer, Client, ClientError};
use super::options::DoltOptions;
use super::owner;
use super::value::{from_server, to_server};
use crate::engine::{EngineError, EngineResult, Rows, Value};

/// Settings of every connection. A merge must not depend on the settings of a server, and the judge
/// of statements reads texts by these rules.
const SETTINGS: &str = "SET sql_mode = \
    'NO_ENGINE_SUBSTITUTION,ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES', \
    time_zone = '+00:00', foreign_key_checks = 1, \
    dolt_allow_commit_conflicts = 0, dolt_force_transaction_commit = 0, \
    dolt_transaction_commit = 0";

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Looking at main and moving it: each statement on its own. It keeps other processes from
    /// being a node on the database too.
    Node,
    /// Looking at main: each statement on its own.
    Main,
    /// Work on a private branch, in transactions.
    Branch,
    /// Users' queries.
    Read,
    /// Before the database is there.
    Server,
}

/// What a statement failed with.
#[derive(Debug)]
pub(super) enum SqlError {
    /// The connection is gone; whether the statement ran is not known.
    Lost(String),
    /// The server refused the statement.
    Server {
        /// MySQL's number for the error; 1105 for most of Dolt's own.
        code: u16,
        /// What the server says.
        message: String,
    },
}

/// Words of errors that go away by themselves: another program was faster, or the server, while
/// databases come and go on it, lost sight of one for a moment. *Measured* on Dolt 2.2.0. None of
/// them may be taken for a reason why two commits cannot be merged.
const PASSING: [&str; 6] = [
    "no root value found in session",
    "could not resolve initial root for database",
    "dataset head is not ancestor of commit",
    "this transaction conflicts with a committed transaction",
    "optimistic lock",
    "cannot update manifest",
];

/// How the server begins its answer on a connection to a database that was dropped.
const DROPPED: &str = "database not found";

impl SqlError {
    /// Whether the server refused the statement itself: its text, a constraint, a value. The same
    /// statement on the same data fails again.
    pub(super) fn is_rejection(&self) -> bool {
        matches!(self, Self::Server { .. }) && !self.is_passing() && !self.is_full()
    }

    /// Whether there is no such table.
    pub(super) fn is_no_table(&self) -> bool {
        self.code() == 1146 || self.message().contains("table not found")
    }

    /// The server's words.
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Lost(message) | Self::Server { message, .. } => message,
        }
    }

    /// MySQL's number for the error, 0 for a lost connection.
    pub(super) fn code(&self) -> u16 {
        match self {
            Self::Lost(_) => 0,
            Self::Server { code, .. } => *code,
        }
    }

    /// Whether the same statement may succeed when it is tried again.
    pub(super) fn is_passing(&self) -> bool {
        // Deadlock or serialization failure, lock wait timeout.
        matches!(self.code(), 1213 | 1205)
            || PASSING.iter().any(|words| self.message().contains(words))
    }

    fn is_full(&self) -> bool {
        self.message().contains("no space left on device")
    }

    /// The error of a statement that is the engine module's own; `what` names the task.
    pub(super) fn during(self, what: &'static str) -> EngineError {
        match self {
            Self::Lost(message) => EngineError::Unreachable { message },
            error if error.is_passing() => {
                tracing::debug!(what, message = error.message(), "the server is busy");
                EngineError::Busy
            }
            error if error.is_full() => EngineError::DiskFull,
            Self::Server { message, .. } if message.starts_with(DROPPED) => {
                EngineError::Rejected { message: format!("the Dolt server has lost it: {message}") }
            }
            Self::Server { message, .. } => EngineError::Failed { what, message },
        }
    }

    /// The error of a statement that the caller wrote.
    pub(super) fn of_caller(self) -> EngineError {
        match self {
            Self::Server { message, .. } if message.is_empty() => {
                EngineError::Rejected { message: "the server refused the statement".to_owned() }
            }
            error if error.is_rejection() => {
                EngineError::Rejected { message: error.message().to_owned() }
            }
            error => error.during("run the statement"),
        }
    }
}

impl From<ClientError> for SqlError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::MySql(Error::Server(error)) => {
                Self::Server { code: error.code, message: error.message }
            }
            // The number of parameters does not fit, and the like: the connection is as it was.
            ClientError::MySql(Error::Driver(
                error @ (DriverError::StmtParamsMismatch { .. }
                | DriverError::StmtParamsNumberExceedsLimit { .. }
                | DriverError::Params(_)
                | DriverError::MixedParams),
            )) => Self::Server { code: 1210, message: error.to_string() },
            error => Self::Lost(error.to_string()),
        }
    }
}

/// Adds to a result what was being done.
pub(super) trait During<T> {
    /// Turns a server's error into one of a task.
    fn during(self, what: &'static str) -> EngineResult<T>;
}

impl<T> During<T> for Result<T, SqlError> {
    fn during(self, what: &'static str) -> EngineResult<T> {
        self.map_err(|error| error.during(what))
    }
}

/// Counts how often a connection of a database was lost. Where one is gone, the others are too: the
/// server was restarted.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses(Arc<AtomicU64>);

impl Losses {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A place for a connection, opened when it is needed and again when it was lost.
pub(super) struct Session {
    options: DoltOptions,
    purpose: Purpose,
    losses: Losses,
    link: Option<Link>,
}

impl Session {
    pub(super) fn new(options: &DoltOptions, purpose: Purpose, losses: &Losses) -> Self {
        Self { options: options.clone(), purpose, losses: losses.clone(), link: None }
    }

    /// The connection, for one task. It is never replaced in the middle of one: what was done on
    /// the old one would be gone, and the rest would run on another branch.
    pub(super) fn link(&mut self) -> EngineResult<&mut Link> {
        let usable = self.link.as_mut().is_some_and(Link::is_usable);
        if !usable {
            self.link = None;
        }
        match self.link {
            Some(ref mut link) => Ok(link),
            None => Ok(self.link.insert(open(&self.options, self.purpose, &self.losses)?)),
        }
    }

    /// Forgets what the connection knows of commits.
    pub(super) fn forget(&mut self) {
        if let Some(link) = &mut self.link {
            link.forget();
        }
    }

    /// Forgets the connection, so that the next task begins on a new one.
    pub(super) fn close(&mut self) {
        self.link = None;
    }
}

/// One connection.
pub(super) struct Link {
    client: Client,
    /// The server and the database, for messages.
    server: String,
    lost: Option<String>,
    used: Instant,
    losses: Losses,
    opened_after: u64,
    /// What the server said of commits, which never change. One may be gone since: another program
    /// can collect garbage.
    infos: BTreeMap<CommitHash, CommitInfo>,
}

impl Link {
    fn is_usable(&mut self) -> bool {
        if self.lost.is_some() || self.losses.count() != self.opened_after {
            return false;
        }
        // A server that was restarted while nothing was asked of it is noticed before it matters.
        let idle = self.used.elapsed();
        self.used = Instant::now();
        idle < DOLT_IDLE_CHECK_AFTER || self.client.ping()
    }

    /// What is known of a commit.
    pub(super) fn known(&self, commit: &CommitHash) -> Option<&CommitInfo> {
        self.infos.get(commit)
    }

    /// Keeps what the server said of a commit.
    pub(super) fn keep(&mut self, info: &CommitInfo) {
        if self.infos.len() >= DOLT_COMMITS_KNOWN_MAX {
            self.infos.clear();
        }
        self.infos.insert(info.hash, info.clone());
    }

    /// Forgets what is known of commits: something went wrong, and one of them may be gone.
    pub(super) fn forget(&mut self) {
        self.infos.clear();
    }

    /// Runs a statement and returns its rows.
    pub(super) fn rows(
        &mut self,
        sql: &str,
        params: &[Value],
    ) -> Result<Vec<Vec<Value>>, SqlError> {
        Ok(self.read(sql, params, usize::MAX)?.0.rows)
    }

    /// Runs a statement and returns how many rows it changed.
    pub(super) fn run(&mut self, sql: &str, params: &[Value]) -> Result<u64, SqlError> {
        let mut changed = 0;
        self.each(sql, params, |_| {}, &mut changed, |_| false)?;
        Ok(changed)
    }

    /// Runs a statement and returns at most `limit` rows, and whether there are more.
    pub(super) fn read(
        &mut self,
        sql: &str,
        params: &[Value],
        limit: usize,
    ) -> Result<(Rows, bool), SqlError> {
        let (mut columns, mut rows, mut more) = (Vec::new(), Vec::new(), false);
        let mut changed = 0;
        self.each(
            sql,
            params,
            |names| columns = names,
            &mut changed,
            |row| {
                more = rows.len() >= limit;
                if !more {
                    rows.push(row);
                }
                !more
            },
        )?;
        Ok((Rows { columns, rows }, more))
    }

    /// Runs a statement; `take` gets each row until it has enough.
    fn each(
        &mut self,
        sql: &str,
        params: &[Value],
        mut columns: impl FnMut(Vec<String>),
        changed: &mut u64,
        mut take: impl FnMut(Vec<Value>) -> bool,
    ) -> Result<(), SqlError> {
        if let Some(lost) = &self.lost {
            return Err(SqlError::Lost(lost.clone()));
        }
        let mut wanted = true;
        let mut answer = Answer {
            columns: &mut |them| {
                columns(them.iter().map(|column| column.name_str().into_owned()).collect());
            },
            row: &mut |row| {
                // What follows is read and dropped, so that the connection can go on.
                wanted = wanted && take(values(row));
            },
            changed: 0,
        };
        let done = self.client.run(sql, params.iter().map(to_server).collect(), &mut answer);
        *changed = answer.changed;
        match done.map_err(SqlError::from) {
            Err(SqlError::Lost(message)) => {
                let message = format!(
                    "the connection to {} was lost; is `dolt sql-server` running? ({message})",
                    self.server
                );
                self.lost = Some(message.clone());
                self.losses.0.fetch_add(1, Ordering::Relaxed);
                Err(SqlError::Lost(message))
            }
            result => result,
        }
    }
}

fn values(row: mysql_async::Row) -> Vec<Value> {
    let kinds = row.columns();
    let values = row.unwrap_raw().into_iter().zip(kinds.iter());
    values
        .map(|(value, kind)| value.map_or(Value::Null, |value| from_server(value, kind)))
        .collect()
}

/// Opens a connection.
pub(super) fn open(options: &DoltOptions, purpose: Purpose, losses: &Losses) -> EngineResult<Link> {
    let url = &options.url;
    let password = options.password.read()?;
    let database = (purpose != Purpose::Server).then(|| url.database.clone());
    let opts = OptsBuilder::default()
        .user(Some(url.user.clone()))
        .pass(password)
        .db_name(database)
        .ip_or_hostname(url.host.clone())
        .tcp_port(url.port)
        .socket(url.socket.clone())
        .prefer_socket(false)
        .tcp_nodelay(true);
    let opened_after = losses.count();
    let client = Client::connect(opts.into()).map_err(|error| refused(options, error))?;
    let (used, losses) = (Instant::now(), losses.clone());
    let server = url.to_string();
    let mut link =
        Link { client, server, lost: None, used, losses, opened_after, infos: BTreeMap::new() };
    link.run(SETTINGS, &[]).during("prepare a connection")?;
    match purpose {
        Purpose::Server => {}
        Purpose::Main | Purpose::Read => on_main(&mut link)?,
        Purpose::Node => {
            owner::lock(&mut link, &url.database)?;
            on_main(&mut link)?;
        }
        Purpose::Branch => {
            link.run("SET autocommit = 0", &[]).during("prepare a connection")?;
        }
    }
    Ok(link)
}

/// Another program may have made another branch the default one.
fn on_main(link: &mut Link) -> EngineResult<()> {
    let rows = link.rows("SELECT active_branch()", &[]).during("read the branch")?;
    if text(rows.first().and_then(|row| row.first())) != "main" {
        link.run("CALL DOLT_CHECKOUT('main')", &[]).during("check out main")?;
    }
    Ok(())
}

/// Says why no connection came about, without the password.
fn refused(options: &DoltOptions, error: ClientError) -> EngineError {
    let url = &options.url;
    match error {
        // Access denied; unknown database. Trying again does not help.
        ClientError::MySql(Error::Server(error)) if matches!(error.code, 1044 | 1045 | 1698) => {
            let message = format!(
                "the Dolt server does not let `{}` in: check the user, the password and what it \
                 may do ({url})",
                url.user
            );
            EngineError::Rejected { message }
        }
        ClientError::MySql(Error::Server(error)) if error.code == 1049 => {
            let message = format!("the Dolt server has no database `{}` ({url})", url.database);
            EngineError::Rejected { message }
        }
        error => EngineError::Unreachable {
            message: format!("{url} does not answer; is `dolt sql-server` running? ({error})"),
        },
    }
}

/// Writes an identifier so that it is one, whatever is in it.
pub(super) fn quote(identifier: &str) -> String {
    format!("`{}`", identifier.replace('`', "``"))
}

/// The text in a column, or an empty one.
pub(super) fn text(value: Option<&Value>) -> &str {
    match value {
        Some(Value::Text(text)) => text,
        _ => "",
    }
}

/// The number in a column, or 0.
pub(super) fn number(value: Option<&Value>) -> i64 {
    match value {
        Some(Value::Integer(n)) => *n,
        _ => 0,
    }
}

/// How long to wait before the `n`-th try of something that another program was faster with.
pub(super) fn pause(attempt: u32) {
    std::thread::sleep(Duration::from_millis(u64::from(attempt.min(20))));
}

/// Whether the server calls itself busy.
pub(super) fn is_busy(error: &EngineError) -> bool {
    matches!(error, EngineError::Busy)
}

/// Does work on a branch that only this node uses, and does it again while the server calls itself
/// busy, at most [`DOLT_BUSY_TRIES_MAX`] times in all. Each try starts from nothing.
pub(super) fn retry_busy<T, E>(
    is_busy: impl Fn(&E) -> bool,
    mut work: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let mut attempt = 1;
    loop {
        match work() {
            Err(error) if is_busy(&error) && attempt < DOLT_BUSY_TRIES_MAX => pause(attempt),
            done => return done,
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_work_is_tried_a_limited_number_of_times() {
        for (busy, tries, succeeds) in [(0, 1, true), (4, 5, true), (5, 5, false)] {
            let mut calls = 0;
            let done = retry_busy(is_busy, || {
                calls += 1;
                if calls <= busy { Err(EngineError::Busy) } else { Ok(calls) }
            });
            assert_eq!((calls, done.is_ok()), (tries, succeeds));
        }
        let mut calls = 0;
        let done = retry_busy(is_busy, || {
            calls += 1;
            Err::<(), _>(EngineError::DiskFull)
        });
        assert!(matches!(done, Err(EngineError::DiskFull)));
        assert_eq!(calls, 1);
    }

    #[test]
    fn a_server_that_lost_sight_of_a_database_is_busy_and_refuses_nothing() {
        let message = "no root value found in session".to_owned();
        let error = SqlError::Server { code: 1105, message };
        assert!(error.is_passing() && !error.is_rejection());
        assert!(matches!(error.during("merge"), EngineError::Busy));
    }
}
