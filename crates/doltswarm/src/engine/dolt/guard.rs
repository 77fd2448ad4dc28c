//! What statements from outside may do, judged by their text.
//!
//! This is the first of two walls. A trigger or a view can hide what the text does not show, so
//! what a transaction did is looked at again before it is committed (`exec`).

use super::lexer::{Piece, Token, split};
use crate::engine::record;
use crate::engine::{EngineError, EngineResult};

/// What statements are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A user's, inside a transaction that ends with a commit.
    Change,
    /// A user's, on a connection that only reads.
    Read,
}

/// Statements that only look.
const READING: [&str; 9] =
    ["SELECT", "WITH", "TABLE", "VALUES", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "("];
/// Statements that change rows.
const CHANGING_ROWS: [&str; 5] = ["INSERT", "UPDATE", "DELETE", "REPLACE", "TRUNCATE"];
/// Statements that change definitions.
const CHANGING_TABLES: [&str; 4] = ["CREATE", "ALTER", "DROP", "RENAME"];
/// Statements of transactions.
const TRANSACTIONS: [&str; 8] =
    ["BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "XA", "LOCK"];

/// Functions of the engine that change nothing.
const READING_FUNCTIONS: [&str; 16] = [
    "dolt_hashof",
    "dolt_hashof_db",
    "dolt_hashof_table",
    "dolt_merge_base",
    "dolt_version",
    "dolt_log",
    "dolt_diff",
    "dolt_diff_stat",
    "dolt_diff_summary",
    "dolt_patch",
    "dolt_schema_diff",
    "dolt_query_diff",
    "dolt_reflog",
    "dolt_preview_merge_conflicts",
    "dolt_preview_merge_conflicts_summary",
    "dolt_storage_format",
];
/// Functions that reach beyond the database.
const REACHING_FUNCTIONS: [&str; 6] =
    ["get_lock", "release_lock", "release_all_locks", "load_file", "sys_exec", "sleep"];
/// Tables of the engine that are ordinary, versioned data.
const DATA_TABLES: [&str; 5] =
    ["dolt_docs", "dolt_ignore", "dolt_schemas", "dolt_procedures", "dolt_tests"];

/// Cuts a text into statements that are all allowed.
///
/// # Errors
///
/// [`EngineError::Rejected`], which says what is not allowed.
pub(super) fn judge<'a>(text: &'a str, mode: Mode, database: &str) -> EngineResult<Vec<Piece<'a>>> {
    let pieces = split(text);
    for piece in &pieces {
        if let Some(message) = refuse(piece, mode, database) {
            return Err(EngineError::Rejected { message });
        }
    }
    Ok(pieces)
}

fn refuse(piece: &Piece<'_>, mode: Mode, database: &str) -> Option<String> {
    if piece.has_hidden_code {
        return Some("comments that run (`/*! … */`) are not allowed here".to_owned());
    }
    let tokens = &piece.tokens;
    let first = match tokens.first()? {
        Token::Word(word) => word.to_ascii_uppercase(),
        Token::Sign(sign) => sign.to_string(),
        _ => String::new(),
    };
    let is = |list: &[&str]| list.contains(&first.as_str());
    if is(&TRANSACTIONS) {
        return Some(format!(
            "{first} is not allowed here: all statements of one call are one transaction already"
        ));
    }
    let kind = if is(&READING) {
        refuse_reading(tokens)
    } else if mode == Mode::Read {
        Some(
            "only statements that read are allowed here: use `doltswarm exec` to change rows"
                .to_owned(),
        )
    } else if is(&CHANGING_ROWS) {
        refuse_rows(&first, tokens, database)
    } else if is(&CHANGING_TABLES) {
        refuse_tables(tokens, database)
    } else if first == "SET" || first == "USE" {
        Some(format!("{first} is not allowed here: settings are not part of a commit"))
    } else if known_statement(&first) {
        Some(format!(
            "{first} is not allowed here: only statements that read or change the swarm's tables are"
        ))
    } else {
        // Not a statement: the server says what is wrong with it.
        None
    };
    kind.or_else(|| refuse_names(tokens, mode == Mode::Change && !is(&READING)))
}

/// Statements of MySQL that are never allowed; others are no statements at all.
fn known_statement(first: &str) -> bool {
    const NEVER: [&str; 28] = [
        "CALL",
        "DO",
        "HANDLER",
        "LOAD",
        "PREPARE",
        "EXECUTE",
        "DEALLOCATE",
        "GRANT",
        "REVOKE",
        "ANALYZE",
        "CHECK",
        "OPTIMIZE",
        "REPAIR",
        "CHECKSUM",
        "FLUSH",
        "KILL",
        "RESET",
        "PURGE",
        "CHANGE",
        "STOP",
        "INSTALL",
        "UNINSTALL",
        "IMPORT",
        "CLONE",
        "SHUTDOWN",
        "RESTART",
        "UNLOCK",
        "BINLOG",
    ];
    NEVER.contains(&first)
}

fn refuse_reading(tokens: &[Token<'_>]) -> Option<String> {
    // SELECT … INTO writes a file or a variable.
    let into = tokens.iter().any(|token| token.is("INTO"));
    let explains =
        tokens.first().is_some_and(|t| t.is("EXPLAIN") || t.is("DESCRIBE") || t.is("DESC"));
    // EXPLAIN ANALYZE runs what it explains.
    let runs = explains && tokens.iter().any(|token| token.is("ANALYZE"));
    let changes = tokens.first().is_some_and(|token| token.is("WITH"))
        && tokens
            .iter()
            .any(|t| CHANGING_ROWS[..3].iter().any(|word| t.is(word)) && !t.is("REPLACE"));
    (into && !explains || runs || changes)
        .then(|| "a statement that reads must not write on the way".to_owned())
}

fn refuse_rows(first: &str, tokens: &[Token<'_>], database: &str) -> Option<String> {
    let targets = targets(first, tokens);
    if let Some(other) = targets.iter().find_map(|target| other_database(target, database)) {
        return Some(beyond(other));
    }
    if targets.iter().any(|target| is_record(target)) && !resolves(first, tokens) {
        return Some(format!(
            "{table} is the swarm's own: resolve a conflict with \
             UPDATE {table} SET state = 'resolved' WHERE id = …",
            table = record::TABLE
        ));
    }
    None
}

fn beyond(database: &str) -> String {
    format!("`{database}` is not allowed here: a statement works on the swarm's database only")
}

/// The parts of the statement that name what it changes.
fn targets<'a, 'b>(first: &str, tokens: &'b [Token<'a>]) -> Vec<&'b [Token<'a>]> {
    let ends: &[&str] = match first {
        "UPDATE" => &["SET"],
        "DELETE" => &["WHERE", "ORDER", "LIMIT"],
        _ => &["VALUES", "VALUE", "SELECT", "SET", "WITH", "TABLE"],
    };
    let after_first = tokens.get(1..).unwrap_or(&[]);
    // TRUNCATE TABLE t
    let skipped = usize::from(after_first.first().is_some_and(|token| token.is("TABLE")));
    let rest = &after_first[skipped..];
    // A list of columns in brackets ends the name of the table too.
    let is_end = |t: &Token<'_>| {
        ends.iter().any(|e| t.is(e)) || (first != "UPDATE" && *t == Token::Sign('('))
    };
    let end = rest.iter().position(is_end).unwrap_or(rest.len());
    vec![&rest[..end]]
}

fn is_record(target: &[Token<'_>]) -> bool {
    target.iter().filter_map(|token| token.name()).any(|n| n.eq_ignore_ascii_case(record::TABLE))
}

/// The first part of a table's name with a dot that is not this database. A condition of a join has
/// names with dots too; they stand elsewhere.
fn other_database<'a>(target: &[Token<'a>], database: &str) -> Option<&'a str> {
    const BEFORE_TABLES: [&str; 9] = [
        "INTO",
        "FROM",
        "JOIN",
        "ON",
        "IGNORE",
        "LOW_PRIORITY",
        "HIGH_PRIORITY",
        "QUICK",
        "EXISTS",
    ];
    let is_start = |place: usize| match place.checked_sub(1).map(|before| target[before]) {
        None | Some(Token::Sign(',')) => true,
        Some(before) => BEFORE_TABLES.iter().any(|word| before.is(word)),
    };
    // CREATE INDEX i ON t, but UPDATE t JOIN u ON t.a = u.a
    let is_condition = target.iter().any(|token| token.is("JOIN"));
    target.windows(3).enumerate().find_map(|(place, part)| match part {
        [_, Token::Sign('.'), Token::Sign('*')] => None,
        _ if is_condition && place > 0 && target[place - 1].is("ON") => None,
        [name, Token::Sign('.'), _] if is_start(place) => {
            name.name().filter(|name| !name.eq_ignore_ascii_case(database))
        }
        _ => None,
    })
}

/// Whether an update changes nothing but `state`. That it only resolves is looked at afterwards.
fn resolves(first: &str, tokens: &[Token<'_>]) -> bool {
    let set = tokens.iter().position(|token| token.is("SET"));
    let Some(set) = set.filter(|_| first == "UPDATE") else { return false };
    let tail = &tokens[set + 1..];
    let end = tail.iter().position(|token| token.is("WHERE")).unwrap_or(tail.len());
    let name = tail
        .iter()
        .take(end)
        .take_while(|t| **t != Token::Sign('='))
        .filter_map(|t| t.name())
        .last();
    let one = !tail[..end].contains(&Token::Sign(','));
    one && name.is_some_and(|name| name.eq_ignore_ascii_case("state"))
}

fn refuse_tables(tokens: &[Token<'_>], database: &str) -> Option<String> {
    const BEYOND: [&str; 11] = [
        "DATABASE",
        "SCHEMA",
        "USER",
        "ROLE",
        "EVENT",
        "SERVER",
        "TABLESPACE",
        "INSTANCE",
        "LOGFILE",
        "UNDO",
        "SPATIAL REFERENCE",
    ];
    // The kind of thing comes soon: CREATE OR REPLACE ALGORITHM = MERGE DEFINER = a @ b SQL
    // SECURITY …
    let head: Vec<_> = tokens.iter().skip(1).take(14).copied().collect();
    let kind = head.iter().position(|token| {
        ["TABLE", "TABLES", "VIEW", "INDEX", "TRIGGER", "PROCEDURE", "FUNCTION"]
            .iter()
            .chain(&BEYOND)
            .any(|word| token.is(word))
    })?;
    if BEYOND.iter().any(|word| head[kind].is(word)) {
        return Some(
            "only tables, views, indexes, triggers and procedures can be made or changed here"
                .to_owned(),
        );
    }
    if head[..kind].iter().any(|token| token.is("TEMPORARY")) {
        return Some(
            "temporary tables are not allowed here: they would not be in the commit".to_owned(),
        );
    }
    let is_view = head[kind].is("VIEW");
    let rest = &tokens[kind + 2..];
    if is_record(rest) && !is_view {
        return Some(format!(
            "{} is the swarm's own: only the state of its conflicts can be changed",
            record::TABLE
        ));
    }
    // The name itself; what follows it may have names with dots of its own.
    let end = rest
        .iter()
        .position(|t| *t == Token::Sign('(') || t.is("AS") || t.is("BEFORE") || t.is("AFTER"));
    other_database(&rest[..end.unwrap_or(rest.len()).min(8)], database).map(beyond)
}

/// Refuses calls of the engine's version control, and names of branches as databases.
fn refuse_names(tokens: &[Token<'_>], changes: bool) -> Option<String> {
    for (place, token) in tokens.iter().enumerate() {
        let Some(name) = token.name() else { continue };
        let lower = name.to_ascii_lowercase();
        let is_call = tokens.get(place + 1) == Some(&Token::Sign('('));
        if is_call && REACHING_FUNCTIONS.contains(&lower.as_str()) {
            return Some(format!("{lower}() is not allowed here"));
        }
        if matches!(token, Token::Quoted(_))
            && tokens.get(place + 1) == Some(&Token::Sign('.'))
            && name.contains('/')
        {
            return Some(beyond(name));
        }
        if !lower.starts_with("dolt_") {
            continue;
        }
        let reads = READING_FUNCTIONS.contains(&lower.as_str());
        let is_command = is_call && !reads && !is_column_list(tokens, place);
        if is_command
            || tokens.first().is_some_and(|first| first.is("CREATE"))
                && is_program_call(tokens, place)
        {
            return Some(format!(
                "{lower}() is not allowed here: the swarm commits, merges and moves branches \
                 itself; run the statements without it"
            ));
        }
        let is_data = DATA_TABLES.contains(&lower.as_str());
        if changes && !reads && !is_data && is_target(tokens, place) {
            return Some(format!("{lower} cannot be written to here: the swarm keeps it itself"));
        }
    }
    None
}

/// `INSERT INTO dolt_docs (…)`: a bracket behind a table's name is no call.
fn is_column_list(tokens: &[Token<'_>], place: usize) -> bool {
    place.checked_sub(1).and_then(|before| tokens.get(before)).is_some_and(|t| t.is("INTO"))
}

/// `CALL dolt_…` inside the body of a trigger or a procedure.
fn is_program_call(tokens: &[Token<'_>], place: usize) -> bool {
    place.checked_sub(1).and_then(|before| tokens.get(before)).is_some_and(|t| t.is("CALL"))
}

fn is_target(tokens: &[Token<'_>], place: usize) -> bool {
    let before = place.checked_sub(1).and_then(|before| tokens.get(before));
    before.is_some_and(|t| {
        ["INTO", "UPDATE", "FROM", "TABLE", "REPLACE", "INSERT", "IGNORE", "TRUNCATE"]
            .iter()
            .any(|word| t.is(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(sql: &str, mode: Mode) -> Option<String> {
        judge(sql, mode, "shop").err().map(|error| error.to_string())
    }

    #[test]
    fn ordinary_statements_pass() {
        for sql in [
            "INSERT INTO t VALUES (1, 'CALL dolt_gc()')",
            "insert into `t` (a) select count(*) from dolt_log",
            "UPDATE t JOIN u ON t.a = u.a SET t.b = 1",
            "DELETE FROM shop.t WHERE a = 1",
            "CREATE TABLE x (id INT PRIMARY KEY, state TEXT, CHECK (id > 0))",
            "CREATE TABLE y (a INT, FOREIGN KEY (a) REFERENCES x (id))",
            "CREATE OR REPLACE VIEW v AS SELECT * FROM swarm_conflicts",
            "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1",
            "ALTER TABLE t ADD COLUMN b INT",
            "WITH x AS (SELECT 1) SELECT * FROM x",
            "UPDATE swarm_conflicts SET state = 'resolved'",
            "UPDATE swarm_conflicts SET `state` = 'resolved' WHERE id IN ('a', 'b')",
            "INSERT INTO dolt_docs (doc_name, doc_text) VALUES ('README.md', 'x')",
            "nonsense",
        ] {
            assert_eq!(refusal(sql, Mode::Change), None, "{sql}");
        }
        for sql in ["SELECT 1", "(SELECT 1) UNION (SELECT 2)", "SHOW TABLES", "EXPLAIN SELECT 1"] {
            assert_eq!(refusal(sql, Mode::Read), None, "{sql}");
        }
    }

    #[test]
    fn what_reaches_beyond_a_commit_is_refused() {
        for sql in [
            "CALL dolt_commit('-A')",
            "CALL mine()",
            "SELECT DOLT_RESET('--hard')",
            "SELECT 1; select `dolt_gc`()",
            "SET foreign_key_checks = 0",
            "USE other",
            "CREATE DATABASE x",
            "CREATE USER u",
            "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1",
            "CREATE TEMPORARY TABLE x (a INT)",
            "INSERT INTO other.t VALUES (1)",
            "DROP TABLE other.t",
            "UPDATE `shop/dev`.t SET a = 1",
            "SELECT * FROM `shop/dev`.t",
            "SELECT * FROM t INTO OUTFILE '/tmp/x'",
            "SELECT get_lock('a', 1)",
            "DELETE FROM dolt_branches",
            "INSERT INTO dolt_branch_control VALUES (1)",
            "CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW CALL dolt_commit('-A', '-m', 'x')",
            "INSERT INTO t VALUES (1) /*!99999 , (2) */",
            "LOAD DATA INFILE 'x' INTO TABLE t",
            "LOCK TABLES t WRITE",
            "PREPARE x FROM 'CALL dolt_gc()'",
        ] {
            assert!(refusal(sql, Mode::Change).is_some(), "{sql}");
        }
    }

    #[test]
    fn conflicts_can_only_be_resolved() {
        for sql in [
            "INSERT INTO swarm_conflicts (id) VALUES ('x')",
            "DELETE FROM Swarm_Conflicts",
            "TRUNCATE TABLE swarm_conflicts",
            "REPLACE INTO `swarm_conflicts` SELECT 1",
            "UPDATE swarm_conflicts SET loser = 'x'",
            "UPDATE swarm_conflicts SET state = 'resolved', loser = NULL",
            "DROP TABLE swarm_conflicts",
            "ALTER TABLE shop.swarm_conflicts DROP COLUMN state",
            "CREATE INDEX i ON swarm_conflicts (kind)",
            "RENAME TABLE swarm_conflicts TO x",
        ] {
            assert!(refusal(sql, Mode::Change).is_some(), "{sql}");
        }
    }

    #[test]
    fn a_reader_refuses_what_a_change_allows() {
        for sql in ["INSERT INTO t VALUES (1)", "DROP TABLE t", "SELECT 1; DELETE FROM t"] {
            assert!(refusal(sql, Mode::Read).is_some(), "{sql}");
        }
        let sql = "WITH x AS (SELECT 1) DELETE FROM t";
        assert!(refusal(sql, Mode::Read).is_some() && refusal(sql, Mode::Change).is_some());
    }
}
