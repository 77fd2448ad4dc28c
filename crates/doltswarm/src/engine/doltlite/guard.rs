//! What statements from outside may do, judged by the engine's own parser.
//!
//! The engine asks about everything that a statement, its triggers and its views would do, before
//! it runs. So a version-control call hidden in a trigger is found too, and nothing has to be
//! guessed from the text of the SQL.

use std::cell::{Cell, RefCell};

use super::check;
use super::ffi::Connection;
use super::record;
use crate::engine::EngineResult;

/// What statements are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Mode {
    /// A user's, inside a transaction that ends with a commit.
    Change,
    /// A user's, on a connection that only reads.
    #[default]
    Read,
}

/// The judge of one connection.
#[derive(Debug, Default)]
pub(super) struct Guard {
    mode: Cell<Mode>,
    /// Whether a statement that was judged is running: what is prepared then is the engine's own.
    running: Cell<bool>,
    refusal: RefCell<Option<String>>,
}

// The action codes of SQLite's authorizer, as far as they matter here.
const CREATE_INDEX: i32 = 1;
const CREATE_TEMP: [i32; 4] = [3, 4, 5, 6];
const DROP_TEMP: [i32; 4] = [12, 13, 14, 15];
const DELETE: i32 = 9;
const DROP_TABLE: i32 = 11;
const INSERT: i32 = 18;
const PRAGMA: i32 = 19;
const READ: i32 = 20;
const SELECT: i32 = 21;
const TRANSACTION: i32 = 22;
const UPDATE: i32 = 23;
const ATTACH: i32 = 24;
const DETACH: i32 = 25;
const ALTER_TABLE: i32 = 26;
const FUNCTION: i32 = 31;
const SAVEPOINT: i32 = 32;
const RECURSIVE: i32 = 33;

/// Functions of the engine that change nothing.
const READING_FUNCTIONS: [&str; 9] = [
    "dolt_hashof",
    "dolt_hashof_catalog",
    "dolt_hashof_db",
    "dolt_hashof_index",
    "dolt_hashof_table",
    "dolt_merge_base",
    "dolt_version",
    "doltlite_engine",
    "doltlite_version",
];

/// Tables of the engine that are ordinary, versioned data.
const DATA_TABLES: [&str; 4] = ["dolt_docs", "dolt_ignore", "dolt_schemas", "dolt_tests"];

/// Pragmas that set what is part of a commit.
const DATA_PRAGMAS: [&str; 2] = ["application_id", "user_version"];

/// Pragmas that only look, with an argument or without.
const READING_PRAGMAS: [&str; 20] = [
    "collation_list",
    "compile_options",
    "data_version",
    "database_list",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "module_list",
    "page_count",
    "page_size",
    "pragma_list",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// Pragmas that only look as long as they have no argument.
const READING_BARE_PRAGMAS: [&str; 2] = ["foreign_keys", "schema_version"];

impl Guard {
    /// Judges as of `mode` from now on.
    pub(super) fn start(&self, mode: Mode) {
        self.mode.set(mode);
        self.running.set(false);
        self.refusal.take();
    }

    /// Says whether a statement that was judged is running.
    pub(super) fn set_running(&self, running: bool) {
        self.running.set(running);
    }

    /// Whether the statement being prepared may do this; remembers why not.
    pub(super) fn allows(&self, action: i32, first: Option<&str>, second: Option<&str>) -> bool {
        // An R-Tree checks itself in a transaction of its own.
        if self.running.get() && matches!(action, TRANSACTION | SAVEPOINT) {
            return true;
        }
        let refusal = match self.mode.get() {
            Mode::Change => refuse(action, first, second),
            Mode::Read => {
                refuse(action, first, second).or_else(|| refuse_write(action, first, second))
            }
        };
        let allowed = refusal.is_none();
        if !allowed {
            // The first refusal of a statement is the one that names what the user wrote.
            self.refusal.borrow_mut().get_or_insert(refusal.unwrap_or_default());
        }
        allowed
    }

    /// Why the last statement was refused, once.
    pub(super) fn take_refusal(&self) -> Option<String> {
        self.refusal.take()
    }
}

/// Whether a text is one ordinary change of rows, of which nothing can be refused.
///
/// Installing the judge makes the engine prepare all statements of the connection anew, which costs
/// as much as a small commit. What triggers do is judged once for each schema
/// ([`harmless_triggers`]).
pub(super) fn is_plain(sql: &str) -> bool {
    const CHANGES: [&str; 4] = ["INSERT", "UPDATE", "DELETE", "REPLACE"];
    const SUSPECT: [&str; 4] = ["dolt", "pragma", "extension", record::TABLE];
    let sql = sql.trim_ascii().trim_end_matches(';');
    let first = sql.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
    let lower = sql.to_ascii_lowercase();
    CHANGES.iter().any(|change| first.eq_ignore_ascii_case(change))
        && !sql.contains(';')
        && !SUSPECT.iter().any(|word| lower.contains(word))
}

/// Whether a plain statement cannot do more by a trigger than by itself: whether no trigger does
/// anything that is refused.
pub(super) fn harmless_triggers(connection: &Connection) -> EngineResult<bool> {
    for table in check::triggered(connection)? {
        let Ok(changes) = check::changes(connection, &table.name) else { return Ok(false) };
        for sql in changes {
            match connection.judging(Mode::Change, || connection.prepares(&sql)) {
                Ok(()) => {}
                Err(error) if table.takes_no(&error) => {}
                Err(_) => return Ok(false),
            }
        }
    }
    Ok(true)
}

fn refuse(action: i32, first: Option<&str>, second: Option<&str>) -> Option<String> {
    let name = first.unwrap_or("");
    match action {
        TRANSACTION => Some(format!(
            "{name} is not allowed here: all statements of one call are one transaction already"
        )),
        SAVEPOINT => Some(
            "savepoints are not allowed here: all statements of one call are one transaction \
             already"
                .to_owned(),
        ),
        ATTACH | DETACH => Some(
            "ATTACH, DETACH and VACUUM are not allowed here: a statement works on the swarm's \
             database only"
                .to_owned(),
        ),
        _ if CREATE_TEMP.contains(&action) || DROP_TEMP.contains(&action) => Some(
            "temporary tables, views, triggers and indexes are not allowed here: they would not \
             be in the commit"
                .to_owned(),
        ),
        PRAGMA => refuse_pragma(name, second),
        FUNCTION => refuse_function(second.unwrap_or("")),
        INSERT | UPDATE | DELETE => {
            refuse_engine_table(name).or_else(|| refuse_record(action, name, second))
        }
        DROP_TABLE => refuse_record(action, name, None),
        ALTER_TABLE | CREATE_INDEX => refuse_record(action, second.unwrap_or(""), None),
        _ => None,
    }
}

/// Conflicts are only ever added, by merges, and then resolved.
fn refuse_record(action: i32, table: &str, column: Option<&str>) -> Option<String> {
    let resolves =
        action == UPDATE && column.is_some_and(|column| column.eq_ignore_ascii_case("state"));
    (table.eq_ignore_ascii_case(record::TABLE) && !resolves).then(|| {
        format!(
            "{table} is the swarm's own: resolve a conflict with \
             UPDATE {table} SET state = 'resolved' WHERE id = …"
        )
    })
}

fn refuse_pragma(name: &str, argument: Option<&str>) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let reads = READING_PRAGMAS.contains(&name.as_str())
        || (argument.is_none() && READING_BARE_PRAGMAS.contains(&name.as_str()))
        || DATA_PRAGMAS.contains(&name.as_str())
        // It lasts only until the end of the transaction.
        || name == "defer_foreign_keys";
    (!reads)
        .then(|| format!("PRAGMA {name} is not allowed here: settings are not part of a commit"))
}

fn refuse_function(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let is_command = name.starts_with("dolt") && !READING_FUNCTIONS.contains(&name.as_str());
    (is_command || name == "load_extension").then(|| {
        format!(
            "{name}() is not allowed here: the swarm commits, merges and moves branches itself; \
             run the statements without it"
        )
    })
}

fn refuse_engine_table(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    (name.starts_with("dolt_") && !DATA_TABLES.contains(&name.as_str()))
        .then(|| format!("{name} cannot be written to here: the swarm keeps it itself"))
}

/// Whether a table by its name may be one in which a full-text or a spatial index keeps itself. An
/// index prepares its writes when it is opened to be read; readers cannot run them.
fn is_shadow(table: &str) -> bool {
    const ENDS: [&str; 8] =
        ["_config", "_content", "_data", "_docsize", "_idx", "_node", "_parent", "_rowid"];
    ENDS.iter().any(|end| table.ends_with(end))
}

fn refuse_write(action: i32, first: Option<&str>, second: Option<&str>) -> Option<String> {
    let reads = matches!(action, PRAGMA | READ | SELECT | FUNCTION | RECURSIVE)
        || is_shadow(first.unwrap_or(""));
    let is_pragma = |name: &str| first.is_some_and(|first| first.eq_ignore_ascii_case(name));
    let sets = action == PRAGMA
        && (is_pragma("defer_foreign_keys")
            || (second.is_some() && DATA_PRAGMAS.iter().any(|name| is_pragma(name))));
    (!reads || sets).then(|| {
        "only statements that read are allowed here: use `doltswarm exec` to change rows".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(mode: Mode, action: i32, first: Option<&str>, second: Option<&str>) -> bool {
        let guard = Guard::default();
        guard.start(mode);
        guard.allows(action, first, second)
    }

    #[test]
    fn names_are_compared_without_case() {
        assert!(!allowed(Mode::Change, FUNCTION, None, Some("DOLT_Commit")));
        assert!(allowed(Mode::Change, FUNCTION, None, Some("DOLT_HashOf")));
        assert!(!allowed(Mode::Change, PRAGMA, Some("Foreign_Keys"), Some("off")));
        assert!(allowed(Mode::Change, PRAGMA, Some("Foreign_Keys"), None));
    }

    #[test]
    fn conflicts_can_only_be_resolved() {
        let table = Some("Swarm_Conflicts");
        assert!(allowed(Mode::Change, UPDATE, table, Some("state")));
        assert!(!allowed(Mode::Change, UPDATE, table, Some("loser")));
        for action in [INSERT, DELETE, DROP_TABLE] {
            assert!(!allowed(Mode::Change, action, table, None));
        }
        assert!(!allowed(Mode::Change, ALTER_TABLE, Some("main"), table));
    }

    #[test]
    fn a_reader_refuses_what_a_change_allows() {
        assert!(allowed(Mode::Change, INSERT, Some("t"), None));
        assert!(!allowed(Mode::Read, INSERT, Some("t"), None));
        assert!(allowed(Mode::Read, INSERT, Some("r_node"), None));
        assert!(!allowed(Mode::Read, PRAGMA, Some("defer_foreign_keys"), Some("1")));
        for name in DATA_PRAGMAS {
            assert!(allowed(Mode::Change, PRAGMA, Some(name), Some("5")));
            assert!(allowed(Mode::Read, PRAGMA, Some(name), None));
            assert!(!allowed(Mode::Read, PRAGMA, Some(name), Some("5")));
        }
    }

    #[test]
    fn the_engine_may_use_transactions_while_it_runs() {
        let guard = Guard::default();
        guard.start(Mode::Read);
        guard.set_running(true);
        assert!(guard.allows(TRANSACTION, Some("BEGIN"), None));
        assert!(!guard.allows(DELETE, Some("t"), None));
        guard.start(Mode::Read);
        assert!(!guard.allows(TRANSACTION, Some("BEGIN"), None));
    }

    #[test]
    fn only_one_change_of_rows_is_plain() {
        for sql in
            ["INSERT INTO t VALUES (?, ?)", " update t SET a = 1 ; ", "REPLACE INTO t SELECT 1"]
        {
            assert!(is_plain(sql), "{sql}");
        }
        for sql in [
            "INSERT INTO t VALUES (1); COMMIT",
            "INSERT INTO t SELECT Dolt_Commit('x')",
            "DELETE FROM Swarm_Conflicts",
            "/* x */ INSERT INTO t VALUES (1)",
            "INSERTED",
            "SELECT 1",
            "",
        ] {
            assert!(!is_plain(sql), "{sql}");
        }
    }

    #[test]
    fn the_first_refusal_is_kept_and_given_once() {
        let guard = Guard::default();
        guard.start(Mode::Change);
        guard.allows(TRANSACTION, Some("COMMIT"), None);
        guard.allows(ATTACH, None, None);
        assert!(guard.take_refusal().unwrap().starts_with("COMMIT"));
        assert_eq!(guard.take_refusal(), None);
    }
}
