//! A connection to a database file.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::super::guard::{Guard, Mode};
use super::functions;
use super::handle::{Handle, install_limits};
use super::statement::Statement;
use super::{HASH_BYTES, Sqlite3, Stmt};
use crate::engine::stop;
use crate::engine::value::{Rows, Value};

/// The engine's code for a statement that was interrupted.
const INTERRUPTED: i32 = 9;

/// What the engine answered instead of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct SqliteError {
    /// The extended result code.
    pub(in super::super) code: i32,
    /// The engine's words.
    pub(in super::super) message: String,
}

impl SqliteError {
    pub(super) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn stopped() -> Self {
        Self::new(INTERRUPTED, "interrupted")
    }

    /// Whether the statement was interrupted.
    pub(in super::super) fn is_stopped(&self) -> bool {
        self.code & 0xff == INTERRUPTED
    }
}

/// A connection. Moves between threads, but is used by one at a time.
pub(in super::super) struct Connection {
    db: NonNull<Sqlite3>,
    /// How other threads interrupt it.
    pub(super) handle: Arc<Handle>,
    /// Boxed, because the engine keeps its address.
    guard: Box<Guard>,
    /// Prepared statements that are kept, none of them running.
    kept: RefCell<Vec<(&'static str, NonNull<Stmt>)>>,
    /// The last statement of [`Connection::cached`], not running.
    last: RefCell<Option<(String, NonNull<Stmt>)>>,
}

// SAFETY: the engine is built with SQLITE_THREADSAFE=1, so a handle may be used from any thread,
// one at a time; `Connection` is not `Sync`, so there is only one at a time. `guard` is reached by
// the engine only from within calls on this handle, and `kept` belongs to the handle.
unsafe impl Send for Connection {}

impl Connection {
    /// Opens the database at `path`; creates it where `create` says so.
    pub(in super::super) fn open(path: &Path, create: bool) -> Result<Self, SqliteError> {
        Self::open_with(path, super::OPEN_READWRITE | if create { super::OPEN_CREATE } else { 0 })
    }

    /// Opens the database at `path`, which nothing on this connection can change.
    pub(in super::super) fn open_read_only(path: &Path) -> Result<Self, SqliteError> {
        Self::open_with(path, super::OPEN_READONLY)
    }

    fn open_with(path: &Path, flags: c_int) -> Result<Self, SqliteError> {
        let path = path
            .to_str()
            .and_then(|path| CString::new(path).ok())
            .ok_or_else(|| SqliteError::new(14, "the path is not text the engine can take"))?;
        let mut db = ptr::null_mut();
        // SAFETY: `path` is NUL-terminated and `db` is a valid place for the handle.
        let code = unsafe { super::sqlite3_open_v2(path.as_ptr(), &mut db, flags, ptr::null()) };
        let db = NonNull::new(db).ok_or_else(|| SqliteError::new(7, "out of memory"))?;
        let handle = Arc::new(Handle::new(db));
        let (kept, last) = (RefCell::default(), RefCell::default());
        let connection = Self { db, handle, guard: Box::default(), kept, last };
        if code != super::OK {
            return Err(connection.error(code));
        }
        install_limits(db);
        let code = functions::register(db);
        if code != super::OK {
            return Err(connection.error(code));
        }
        Ok(connection)
    }

    /// Runs `work` with what statements do judged as of `mode`.
    ///
    /// The judge is installed for that long only: with one, the engine prepares statements anew all
    /// the time, because it steps out of its way around everything of its own.
    pub(in super::super) fn judging<T>(&self, mode: Mode, work: impl FnOnce() -> T) -> T {
        let context = ptr::from_ref::<Guard>(&self.guard).cast_mut().cast::<c_void>();
        let install = |judge| {
            // SAFETY: the handle is open, and `context` points into the box, which lives and stays
            // put as long as the handle does.
            unsafe { super::sqlite3_set_authorizer(self.db.as_ptr(), judge, context) };
        };
        self.guard.start(mode);
        install(Some(authorize as super::Authorizer));
        let result = work();
        install(None);
        result
    }

    /// Waits up to `millis` for another writer instead of failing at once.
    pub(in super::super) fn busy_timeout(&self, millis: i32) {
        // SAFETY: the handle is open. The call cannot fail on an open handle.
        unsafe { super::sqlite3_busy_timeout(self.db.as_ptr(), millis) };
    }

    /// Makes a function known that gives NULL for any arguments: for one that a definition calls
    /// and only another program has.
    pub(in super::super) fn define_absent(&self, name: &str) -> Result<(), SqliteError> {
        let name = CString::new(name)
            .map_err(|_| SqliteError::new(1, "the name of a function has a NUL byte"))?;
        match functions::register_absent(self.db, &name) {
            super::OK => Ok(()),
            code => Err(self.error(code)),
        }
    }

    /// Switches triggers on or off for this connection.
    pub(in super::super) fn enable_triggers(&self, on: bool) {
        let (on, now) = (c_int::from(on), ptr::null_mut::<c_int>());
        // SAFETY: this option takes an int and a pointer to an int that may be null.
        unsafe {
            super::sqlite3_db_config(self.db.as_ptr(), super::DBCONFIG_ENABLE_TRIGGER, on, now);
        }
    }

    /// How many rows were inserted, updated and deleted since the connection was opened.
    pub(in super::super) fn total_changes(&self) -> u64 {
        // SAFETY: the handle is open.
        u64::try_from(unsafe { super::sqlite3_total_changes64(self.db.as_ptr()) }).unwrap_or(0)
    }

    /// Whether a transaction is open.
    pub(in super::super) fn in_transaction(&self) -> bool {
        // SAFETY: the handle is open.
        unsafe { super::sqlite3_get_autocommit(self.db.as_ptr()) == 0 }
    }

    /// Makes `theirs` the second parent of the next commit on this connection, as an open merge
    /// does.
    pub(in super::super) fn set_merge_parent(
        &self,
        theirs: &[u8; HASH_BYTES],
    ) -> Result<(), SqliteError> {
        let none = [0_u8; HASH_BYTES];
        // SAFETY: the handle is open; both hashes are readable for their length and copied. The
        // second call writes down what the first has set in memory, so that the next statement,
        // which reads it again, sees it.
        let code = unsafe {
            let code = super::doltliteSetSessionMergeState(
                self.db.as_ptr(),
                1,
                theirs.as_ptr(),
                none.as_ptr(),
            );
            if code == super::OK {
                super::doltlitePersistOrSaveWorkingSet(self.db.as_ptr())
            } else {
                code
            }
        };
        if code == super::OK { Ok(()) } else { Err(self.error(code)) }
    }

    /// Runs all statements of `sql`; their rows are dropped.
    pub(in super::super) fn batch(&self, sql: &str) -> Result<(), SqliteError> {
        let mut rest = sql;
        while !rest.is_empty() {
            let (statement, tail) = self.prepare(rest)?;
            if let Some(mut statement) = statement {
                statement.check_parameters(0)?;
                while statement.step()? {}
            }
            rest = tail;
        }
        Ok(())
    }

    /// Runs one statement with its parameters; its rows are dropped.
    pub(in super::super) fn run(&self, sql: &str, params: &[Value]) -> Result<(), SqliteError> {
        let mut statement = self.prepare_one(sql, params)?;
        while statement.step()? {}
        Ok(())
    }

    /// Runs one statement and returns its rows without their columns' names.
    pub(in super::super) fn rows(
        &self,
        sql: &str,
        params: &[Value],
    ) -> Result<Vec<Vec<Value>>, SqliteError> {
        let mut statement = self.prepare_one(sql, params)?;
        let mut rows = Vec::new();
        while statement.step()? {
            rows.push(statement.row());
        }
        Ok(rows)
    }

    /// Runs one statement and hands out its rows one by one, until `take` returns false.
    pub(in super::super) fn each(
        &self,
        sql: &str,
        params: &[Value],
        mut take: impl FnMut(Vec<Value>) -> bool,
    ) -> Result<(), SqliteError> {
        let mut statement = self.prepare_one(sql, params)?;
        while statement.step()? {
            if !take(statement.row()) {
                break;
            }
        }
        Ok(())
    }

    /// Like [`Self::rows`], for a statement that runs again and again: keeps it prepared until
    /// another one comes.
    pub(in super::super) fn cached(
        &self,
        sql: &str,
        params: &[Value],
    ) -> Result<Vec<Vec<Value>>, SqliteError> {
        let mut statement = match self.last.take() {
            Some((text, raw)) if text == sql => {
                let mut statement = Statement { connection: self, raw };
                statement.bind_all(params)?;
                statement
            }
            other => {
                self.finalize(other);
                self.prepare_one(sql, params)?
            }
        };
        let mut rows = Vec::new();
        while statement.step()? {
            rows.push(statement.row());
        }
        self.finalize(self.last.replace(Some((sql.to_owned(), statement.reset_into_raw()))));
        Ok(rows)
    }

    fn finalize(&self, kept: Option<(String, NonNull<Stmt>)>) {
        if let Some((_, raw)) = kept {
            drop(Statement { connection: self, raw });
        }
    }

    /// Whether a statement can be prepared; it does not run.
    pub(in super::super) fn prepares(&self, sql: &str) -> Result<(), SqliteError> {
        self.prepare(sql).map(|_| ())
    }

    /// Like [`Self::rows`], for statements that run all the time: keeps them prepared, which for
    /// the engine's own tables is most of their cost. Only for the engine module's own statements.
    pub(in super::super) fn hot(
        &self,
        sql: &'static str,
        params: &[Value],
    ) -> Result<Vec<Vec<Value>>, SqliteError> {
        let place = self.kept.borrow().iter().position(|(kept, _)| *kept == sql);
        let mut statement = match place {
            Some(place) => {
                let (_, raw) = self.kept.borrow_mut().swap_remove(place);
                let mut statement = Statement { connection: self, raw };
                statement.bind_all(params)?;
                statement
            }
            None => self.prepare_one(sql, params)?,
        };
        let mut rows = Vec::new();
        while statement.step()? {
            rows.push(statement.row());
        }
        // Where anything fails it is finalized instead.
        self.kept.borrow_mut().push((sql, statement.reset_into_raw()));
        Ok(rows)
    }

    /// Runs one statement that only reads and returns at most `limit` rows, and whether there were
    /// more.
    pub(in super::super) fn read(
        &self,
        sql: &str,
        params: &[Value],
        limit: usize,
    ) -> Result<(Rows, bool), SqliteError> {
        let mut statement = self.prepare_one(sql, params)?;
        if !statement.is_read_only() {
            return Err(SqliteError::new(8, "only statements that read are allowed here"));
        }
        self.guard.set_running(true);
        let result = read_rows(&mut statement, limit);
        self.guard.set_running(false);
        result
    }

    /// Runs `insert` on `to` once for each row that `select` gives here, with the row's values as
    /// its parameters. One row is in memory at a time.
    pub(in super::super) fn copy_rows(
        &self,
        select: &str,
        to: &Self,
        insert: &str,
    ) -> Result<(), SqliteError> {
        let mut from = self.prepare_one(select, &[])?;
        let width = from.columns().len();
        let mut into = to.prepare_one(insert, &vec![Value::Null; width])?;
        while from.step()? {
            into.bind_all(&from.row())?;
            while into.step()? {}
            into.reset();
        }
        Ok(())
    }

    fn prepare_one(&self, sql: &str, params: &[Value]) -> Result<Statement<'_>, SqliteError> {
        let (statement, tail) = self.prepare(sql)?;
        let mut statement =
            statement.ok_or_else(|| SqliteError::new(1, "there is no SQL in it"))?;
        if self.prepare_rest(tail)? {
            return Err(SqliteError::new(1, "more than one statement where one is expected"));
        }
        statement.bind_all(params)?;
        Ok(statement)
    }

    /// Whether another statement follows; blanks and comments are none.
    fn prepare_rest(&self, mut rest: &str) -> Result<bool, SqliteError> {
        while !rest.trim_start_matches([' ', '\t', '\r', '\n', ';']).is_empty() {
            let (statement, tail) = self.prepare(rest)?;
            if statement.is_some() {
                return Ok(true);
            }
            rest = tail;
        }
        Ok(false)
    }

    /// Prepares the first statement of `sql` and returns what follows it.
    fn prepare<'sql>(
        &self,
        sql: &'sql str,
    ) -> Result<(Option<Statement<'_>>, &'sql str), SqliteError> {
        if sql.as_bytes().contains(&0) {
            return Err(SqliteError::new(1, "the SQL contains a NUL byte"));
        }
        let bytes = c_int::try_from(sql.len())
            .map_err(|_| SqliteError::new(18, "the SQL is longer than the engine takes"))?;
        if stop::is_over(1) {
            return Err(SqliteError::stopped());
        }
        let start = sql.as_ptr().cast::<c_char>();
        let (mut statement, mut tail) = (ptr::null_mut(), ptr::null());
        // SAFETY: `start` is readable for `bytes` bytes; both out-pointers are valid.
        let code = unsafe {
            super::sqlite3_prepare_v2(self.db.as_ptr(), start, bytes, &mut statement, &mut tail)
        };
        if code != super::OK {
            return Err(self.error(code));
        }
        let used = (tail as usize).saturating_sub(start as usize);
        let statement = NonNull::new(statement).map(|raw| Statement { connection: self, raw });
        Ok((statement, sql.get(used..).unwrap_or("")))
    }

    pub(super) fn error(&self, code: c_int) -> SqliteError {
        // SAFETY: the handle is open (or failed to open, which allows these calls too); the message
        // is NUL-terminated and copied before the next call on the handle.
        let (extended, message) = unsafe {
            let message = super::sqlite3_errmsg(self.db.as_ptr());
            let message = if message.is_null() {
                String::new()
            } else {
                CStr::from_ptr(message).to_string_lossy().into_owned()
            };
            (super::sqlite3_extended_errcode(self.db.as_ptr()), message)
        };
        // The extended code of an earlier call says nothing about this one.
        let code = if extended & 0xff == code & 0xff { extended } else { code };
        SqliteError { code, message: self.guard.take_refusal().unwrap_or(message) }
    }
}

/// The rows of a statement, at most `limit`, and whether there were more.
fn read_rows(statement: &mut Statement<'_>, limit: usize) -> Result<(Rows, bool), SqliteError> {
    let mut rows = Rows { columns: statement.columns(), rows: Vec::new() };
    while statement.step()? {
        if rows.rows.len() == limit {
            return Ok((rows, true));
        }
        rows.rows.push(statement.row());
    }
    Ok((rows, false))
}

impl Drop for Connection {
    fn drop(&mut self) {
        for (_, raw) in self.kept.take() {
            drop(Statement { connection: self, raw });
        }
        self.finalize(self.last.take());
        self.handle.close();
        // SAFETY: the handle is open and no statement outlives the connection.
        unsafe { super::sqlite3_close_v2(self.db.as_ptr()) };
    }
}

/// Asks the guard of the connection whether a statement being prepared may do `action`.
unsafe extern "C" fn authorize(
    context: *mut c_void,
    action: c_int,
    first: *const c_char,
    second: *const c_char,
    _database: *const c_char,
    _inner: *const c_char,
) -> c_int {
    // SAFETY: the engine hands back the pointer it was given at `open`, which lives as long as the
    // handle; its texts are null or NUL-terminated for the length of this call.
    let (guard, first, second) = unsafe {
        let text = |text: *const c_char| {
            (!text.is_null()).then(|| CStr::from_ptr(text).to_str().unwrap_or(""))
        };
        (&*context.cast::<Guard>(), text(first), text(second))
    };
    if guard.allows(action, first, second) { super::OK } else { super::AUTH_DENY }
}
