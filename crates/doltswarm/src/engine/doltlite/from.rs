//! Making a database out of a file that is none of the engine's: a plain SQLite database, or a
//! dump.

use std::path::Path;

use doltswarm_core::limits::SQL_BYTES_MAX;

use super::connection::{During, quote, text, transaction};
use super::ffi::{Connection, SqliteError};
use super::guard::Mode;
use super::table::Table;
use super::{DoltLite, dump};
use crate::engine::{EngineError, EngineResult, Value};

/// How a plain SQLite file begins.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// How long to wait for a program that writes to the file.
const BUSY_MILLIS: i32 = 5_000;

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A database of the engine, or something that is not any of these.
    Own,
    /// A plain SQLite database.
    Sqlite,
    /// SQL.
    Dump,
}

/// Looks at how the file begins.
pub(super) fn source_of(from: &Path) -> EngineResult<Source> {
    let head = super::connection::read_head(from)?;
    let is_text = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
    Ok(if head.starts_with(SQLITE_MAGIC) {
        Source::Sqlite
    } else if !head.is_empty() && !head.starts_with(b"CTLD") && head.iter().all(is_text) {
        Source::Dump
    } else {
        Source::Own
    })
}

/// Runs the dump in the file `from` in a new database; what it makes stays uncommitted.
pub(super) fn load_dump(engine: &DoltLite, from: &Path) -> EngineResult<()> {
    let failed = |what: String| EngineError::Rejected { message: what };
    let name = from.display();
    let bytes = std::fs::metadata(from).map(|file| file.len()).unwrap_or(0);
    if usize::try_from(bytes).unwrap_or(usize::MAX) > SQL_BYTES_MAX {
        let limit = SQL_BYTES_MAX >> 20;
        return Err(failed(format!("the dump has more than {limit} MiB: load it in parts")));
    }
    let sql = std::fs::read_to_string(from)
        .map_err(|error| failed(format!("{name} cannot be read as a dump: {error}")))?;
    let main = &engine.main;
    let body = dump::body(&sql);
    main.batch("PRAGMA foreign_keys = OFF").during("load a dump")?;
    let loaded = transaction(main, || {
        main.judging(Mode::Change, || main.batch(body)).map_err(SqliteError::of_caller)?;
        dump::require_foreign_keys(main)
    });
    main.batch("PRAGMA foreign_keys = ON").during("load a dump")?;
    loaded
}

/// Copies all of the plain SQLite database at `from` into a new database; it stays uncommitted.
/// Returns what could not be taken, each with the reason. The file is only read.
pub(super) fn load_sqlite(engine: &DoltLite, from: &Path) -> EngineResult<Vec<String>> {
    let named = |error: SqliteError| match error.during("read the SQLite file") {
        EngineError::Corrupt { message } => {
            EngineError::Corrupt { message: format!("{} is damaged: {message}", from.display()) }
        }
        error => error,
    };
    let source = Connection::open_read_only(from).map_err(named)?;
    source.busy_timeout(BUSY_MILLIS);
    source.batch("BEGIN").map_err(named)?;
    let check = source.rows("PRAGMA integrity_check(1)", &[]).map_err(named)?;
    let found = text(check.first().and_then(|row| row.first())).to_owned();
    if found != "ok" {
        let message = format!("{} is damaged: {found}", from.display());
        return Err(EngineError::Corrupt { message });
    }
    let main = &engine.main;
    main.batch("PRAGMA foreign_keys = OFF").during("copy a database")?;
    let copied = transaction(main, || {
        let copy = Copy { source: &source, main, left: Vec::new() };
        let left = copy.run().map_err(|stop| match stop {
            Stop::Source(error) => named(error),
            Stop::Engine(error) => error,
        })?;
        dump::require_foreign_keys(main)?;
        Ok(left)
    });
    main.batch("PRAGMA foreign_keys = ON").during("copy a database")?;
    copied
}

/// Why a copy does not come about.
enum Stop {
    Source(SqliteError),
    Engine(EngineError),
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// A copy that is under way.
struct Copy<'a> {
    source: &'a Connection,
    main: &'a Connection,
    left: Vec<String>,
}

/// A table, index, view or trigger of the source.
struct Object {
    kind: String,
    name: String,
    sql: String,
}

impl Copy<'_> {
    /// Copies everything: tables with their rows first, so that no trigger sees them as new.
    fn run(mut self) -> Result<Vec<String>, Stop> {
        let sql = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'";
        let shadows = self.names(sql)?;
        let sql = "SELECT type, name, sql FROM sqlite_schema \
                   WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid";
        let rows = self.source.rows(sql, &[]).map_err(Stop::Source)?;
        let part = |value: Option<&Value>| text(value).to_owned();
        let objects = rows.iter().map(|row| Object {
            kind: part(row.first()),
            name: part(row.get(1)),
            sql: part(row.get(2)),
        });
        let (tables, others): (Vec<_>, Vec<_>) = objects
            .filter(|object| !shadows.contains(&object.name))
            .partition(|object| object.kind == "table");
        let (plain, virtual_ones): (Vec<_>, Vec<_>) =
            tables.into_iter().partition(|table| !is_virtual(&table.sql));
        for table in &plain {
            self.table(table)?;
        }
        self.counters()?;
        self.numbers()?;
        for table in &virtual_ones {
            self.virtual_table(table);
        }
        for kind in ["index", "view", "trigger"] {
            for object in others.iter().filter(|object| object.kind == kind) {
                self.try_object(object, |copy| copy.main.batch(&object.sql));
            }
        }
        Ok(self.left)
    }

    fn names(&self, sql: &str) -> Result<Vec<String>, Stop> {
        let rows = self.source.rows(sql, &[]).map_err(Stop::Source)?;
        Ok(rows.iter().map(|row| text(row.first()).to_owned()).collect())
    }

    /// Copies an ordinary table. That one cannot be had is no detail, so it ends the copy.
    fn table(&self, table: &Object) -> Result<(), Stop> {
        self.main.judging(Mode::Change, || self.main.batch(&table.sql)).map_err(|error| {
            let message = format!("table `{}` cannot be taken: {}", table.name, error.message);
            Stop::Engine(EngineError::Rejected { message })
        })?;
        let shape = Table::load(self.source, &table.name)?;
        let columns = shape.map(|shape| shape.columns).unwrap_or_default();
        self.rows(&table.name, &columns)
    }

    fn rows(&self, name: &str, columns: &[String]) -> Result<(), Stop> {
        let names = columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
        let marks = vec!["?"; columns.len()].join(", ");
        let table = quote(name);
        let select = format!("SELECT {names} FROM main.{table}");
        let insert = format!("INSERT INTO main.{table} ({names}) VALUES ({marks})");
        self.source.copy_rows(&select, self.main, &insert).map_err(Stop::Source)
    }

    /// Counted keys go on where they were.
    fn counters(&self) -> Result<(), Stop> {
        let sql = "SELECT name FROM sqlite_schema WHERE name = 'sqlite_sequence'";
        if self.names(sql)?.is_empty() {
            return Ok(());
        }
        self.main.batch("DELETE FROM sqlite_sequence").during("copy the counters")?;
        self.rows("sqlite_sequence", &["name".to_owned(), "seq".to_owned()])
    }

    /// The two numbers that applications keep in the file's header.
    fn numbers(&self) -> Result<(), Stop> {
        for name in ["user_version", "application_id"] {
            let rows = self.source.rows(&format!("PRAGMA {name}"), &[]).map_err(Stop::Source)?;
            if let Some(Value::Integer(number)) = rows.first().and_then(|row| row.first())
                && *number != 0
            {
                let sql = format!("PRAGMA {name} = {number}");
                self.main.batch(&sql).during("copy the header's numbers")?;
            }
        }
        Ok(())
    }

    /// Copies a virtual table by what can be read from it: its own tables are its module's.
    fn virtual_table(&mut self, table: &Object) {
        let told = table.sql.replace(char::is_whitespace, "").to_ascii_lowercase();
        self.try_object(table, |copy| {
            if ["content=''", "content=\"\""].iter().any(|option| told.contains(option)) {
                let message = "it keeps no texts that could be copied".to_owned();
                return Err(SqliteError { code: 1, message });
            }
            copy.main.batch(&table.sql)?;
            let name = quote(&table.name);
            let sql = format!("SELECT * FROM main.{name} LIMIT 0");
            let (shown, _) = copy.source.read(&sql, &[], 0)?;
            let names = shown.columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
            let marks = vec!["?"; shown.columns.len() + 1].join(", ");
            let select = format!("SELECT rowid, {names} FROM main.{name}");
            let insert = format!("INSERT INTO main.{name} (rowid, {names}) VALUES ({marks})");
            copy.source.copy_rows(&select, copy.main, &insert)
        });
    }

    /// Makes an object, or notes why it cannot be made.
    fn try_object(&mut self, object: &Object, make: impl FnOnce(&Self) -> Result<(), SqliteError>) {
        let main = self.main;
        let savepoint = main.batch("SAVEPOINT swarm_object");
        let made = savepoint.and_then(|()| make(self));
        let end = match &made {
            Ok(()) => "RELEASE swarm_object",
            Err(_) => "ROLLBACK TO swarm_object; RELEASE swarm_object",
        };
        if let Err(error) = made.and_then(|()| main.batch(end)) {
            let _ = main.batch(end);
            self.left.push(format!("{} `{}`: {}", object.kind, object.name, error.message));
        }
    }
}

fn is_virtual(sql: &str) -> bool {
    let mut words = sql.split_ascii_whitespace();
    words.next();
    words.next().is_some_and(|word| word.eq_ignore_ascii_case("virtual"))
}
