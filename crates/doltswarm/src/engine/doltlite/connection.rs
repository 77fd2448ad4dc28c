//! Connections to the database file, their settings, transactions and errors.

use std::io::Read;
use std::path::Path;

use doltswarm_core::id::CommitHash;

use super::ffi::{Connection, SqliteError};
use crate::engine::{EngineError, EngineResult, Value, stop};

/// How long a statement waits for another writer before it gives up as busy.
const BUSY_MILLIS: i32 = 5_000;

/// How much memory a connection keeps nodes of trees in, in KiB. The engine's own default is 64
/// MiB, and a node has a handful of connections and one for each query that ever ran at once; the
/// operating system caches the file anyway.
const CACHE_KIB: u32 = 8 << 10;

/// How the engine says that a schema does not parse. Damage of the file reads differently.
pub(super) const MALFORMED: &str = "malformed database schema";

/// The code of a value or a row that is too large.
const TOO_BIG: i32 = 18;
/// How many bytes a value and a row have at most; the engine's own bound.
const ROW_BYTES_MAX: usize = 1_000_000_000;

/// How the engine's files begin.
const MAGIC: &[u8] = b"CTLD";

impl SqliteError {
    /// Whether the engine rejects the statement itself: its text, a constraint, a value. The same
    /// statement on the same data fails again.
    pub(super) fn is_rejection(&self) -> bool {
        // ERROR, READONLY, TOOBIG, CONSTRAINT, MISMATCH, AUTH, RANGE.
        matches!(self.code & 0xff, 1 | 8 | 18 | 19 | 20 | 23 | 25)
    }

    /// The error of a statement that is the engine module's own; `what` names the task.
    pub(super) fn during(self, what: &'static str) -> EngineError {
        match self.code & 0xff {
            _ if self.is_stopped() => EngineError::Stopped { reason: stop::reason() },
            5 | 6 => EngineError::Busy,
            13 => EngineError::DiskFull,
            11 | 26 => EngineError::Corrupt { message: self.message },
            _ => EngineError::Failed { what, message: self.message },
        }
    }

    /// The error of a statement that the caller wrote.
    pub(super) fn of_caller(self) -> EngineError {
        if self.code & 0xff == TOO_BIG {
            let message = format!("{}: the most is {ROW_BYTES_MAX} bytes", self.message);
            return EngineError::Rejected { message };
        }
        if self.is_rejection() {
            return EngineError::Rejected { message: self.message };
        }
        self.during("run the statement")
    }
}

/// Adds to a result what was being done.
pub(super) trait During<T> {
    /// Turns an engine error into one of a task.
    fn during(self, what: &'static str) -> EngineResult<T>;
}

impl<T> During<T> for Result<T, SqliteError> {
    fn during(self, what: &'static str) -> EngineResult<T> {
        self.map_err(|error| error.during(what))
    }
}

/// Which end of the program a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Users' statements on main: foreign keys are enforced.
    Main,
    /// Reading only.
    Read,
    /// The engine module's own statements, on another branch than main.
    Beside,
    /// Making merges: nothing fires and nothing is enforced, because the merge itself finds and
    /// settles what is broken, and a trigger could call the clock or a random number.
    Merge,
}

/// Opens the file at `path`, on the branch main.
pub(super) fn open(path: &Path, purpose: Purpose) -> EngineResult<Connection> {
    let connection = open_revision(path, purpose)?;
    let branch = connection.rows("SELECT active_branch()", &[]).during("read the branch")?;
    if text(branch.first().and_then(|row| row.first())) != "main" {
        // Another program may have made another branch the default.
        connection.run("SELECT dolt_checkout('main')", &[]).during("check out main")?;
    }
    if purpose == Purpose::Read {
        // The guard refuses writes; this is for what it cannot see.
        connection.batch("PRAGMA query_only = ON").during("open the database")?;
    }
    Ok(connection)
}

/// Opens the database as it was at `commit`, for reading only.
pub(super) fn open_at(path: &Path, commit: &CommitHash) -> EngineResult<Connection> {
    // The engine takes a revision behind the file's name.
    open_revision(&path.join(commit.to_string()), Purpose::Read)
}

/// Opens the file at `path` and reads nothing of it, so that a schema that does not parse is no
/// hindrance.
pub(super) fn open_unread(path: &Path) -> EngineResult<Connection> {
    let connection = Connection::open(path, false).during("open the database")?;
    connection.busy_timeout(BUSY_MILLIS);
    Ok(connection)
}

/// Opens the database on another branch than main, whatever main holds.
pub(super) fn open_branch(path: &Path, branch: &str, purpose: Purpose) -> EngineResult<Connection> {
    open_revision(&path.join(branch), purpose)
}

fn open_revision(path: &Path, purpose: Purpose) -> EngineResult<Connection> {
    let open = || {
        let connection = Connection::open(path, false)?;
        connection.busy_timeout(BUSY_MILLIS);
        configure(&connection, purpose)?;
        Ok(connection)
    };
    open().map_err(|error: SqliteError| match error.during("open the database") {
        EngineError::Corrupt { message } => {
            EngineError::Corrupt { message: format!("{}: {message}", path.display()) }
        }
        error => error,
    })
}

fn configure(connection: &Connection, purpose: Purpose) -> Result<(), SqliteError> {
    // Reading the schema makes the engine look at the file, so damage shows here and not later.
    connection.batch(&format!("PRAGMA cache_size = -{CACHE_KIB}"))?;
    connection.batch("SELECT count(*) FROM sqlite_schema")?;
    match purpose {
        Purpose::Main => connection.batch("PRAGMA foreign_keys = ON"),
        Purpose::Read | Purpose::Beside => Ok(()),
        Purpose::Merge => {
            connection.enable_triggers(false);
            connection.batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON")
        }
    }
}

/// Checks how the file begins: the engine opens a plain SQLite file without a word, and calling its
/// version control on one is not safe.
pub(super) fn check_file(path: &Path) -> EngineResult<()> {
    let corrupt =
        |what: &str| EngineError::Corrupt { message: format!("{} {what}", path.display()) };
    let head = read_head(path)?;
    if head.starts_with(MAGIC) {
        return Ok(());
    }
    Err(corrupt(match &head[..] {
        [] => "is empty: it is not a DoltLite database",
        b"SQLite format 3\0" => {
            "is a plain SQLite database, not a DoltLite one: `doltswarm init --from FILE` makes a \
             DoltLite one of it"
        }
        _ => "is not a DoltLite database",
    }))
}

/// Reads the first bytes of a file: at most as many as tell what it is.
pub(super) fn read_head(path: &Path) -> EngineResult<Vec<u8>> {
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
    read.map_err(|error| {
        let message = format!("{} cannot be read: {error}", path.display());
        EngineError::Corrupt { message }
    })?;
    Ok(head)
}

/// Runs `work` in a transaction that holds the right to write from the start. What it returns is
/// committed; where it fails, all is rolled back.
pub(super) fn transaction<T>(
    connection: &Connection,
    work: impl FnOnce() -> EngineResult<T>,
) -> EngineResult<T> {
    connection.hot("BEGIN IMMEDIATE", &[]).during("begin a transaction")?;
    let result = work().and_then(|value| {
        connection.batch("COMMIT").map_err(SqliteError::of_caller).map(|()| value)
    });
    if result.is_err() && connection.in_transaction() {
        stop::shielded(|| connection.batch("ROLLBACK")).during("roll back")?;
    }
    result
}

/// Writes an identifier so that it is one, whatever is in it.
pub(super) fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// A commit's hash as a parameter.
pub(super) fn hash_value(commit: &CommitHash) -> Value {
    Value::Text(commit.to_string())
}

/// The text in a column, or an empty one.
pub(super) fn text(value: Option<&Value>) -> &str {
    match value {
        Some(Value::Text(text)) => text,
        _ => "",
    }
}

/// Reads a commit's hash that the engine wrote.
pub(super) fn parse_hash(value: Option<&Value>) -> EngineResult<CommitHash> {
    text(value).parse().map_err(|error: doltswarm_core::id::ParseIdError| EngineError::Failed {
        what: "read a commit hash",
        message: error.to_string(),
    })
}

/// The commit that the connection's branch stands at.
pub(super) fn head(connection: &Connection) -> EngineResult<CommitHash> {
    head_of(connection, "HEAD")
}

/// The commit that a branch stands at.
pub(super) fn head_of(connection: &Connection, branch: &str) -> EngineResult<CommitHash> {
    let read = || connection.hot("SELECT dolt_hashof(?)", &[branch.into()]);
    let rows = match read() {
        // The first statement of a connection reads the schema, the next one does without.
        Err(error) if error.message.contains(MALFORMED) => read(),
        rows => rows,
    };
    let rows = rows.during("read a tip")?;
    parse_hash(rows.first().and_then(|row| row.first()))
}

/// The tables with uncommitted changes on the connection's branch, sorted.
pub(super) fn dirty_tables(connection: &Connection) -> EngineResult<Vec<String>> {
    let rows =
        connection.hot("SELECT table_name FROM dolt_status", &[]).during("read the status")?;
    let mut tables: Vec<_> = rows.iter().map(|row| text(row.first()).to_owned()).collect();
    tables.sort();
    // A table can be listed as staged and as changed since.
    tables.dedup();
    Ok(tables)
}
