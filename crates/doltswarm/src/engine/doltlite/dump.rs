//! Taking a dump as SQLite's shell and Python write it: `PRAGMA foreign_keys=OFF; BEGIN
//! TRANSACTION; … COMMIT;`.
//!
//! All statements of one call are one transaction already, so the lines around the others say
//! nothing new and are left out. A dump has its tables in any order, so foreign keys are not
//! enforced row by row in one that switches them off, but all of them are checked at the end.

use super::commit::{self, Transacted, Trusted};
use super::connection::{During, text};
use super::ffi::Connection;
use crate::engine::{CommitMeta, EngineError, EngineResult, Statement};

/// How many broken foreign keys an error names.
const NAMED_MAX: usize = 5;

/// A text that is a dump, without the lines around it.
#[derive(Debug, PartialEq, Eq)]
struct Dump<'a> {
    body: &'a str,
    /// Whether it switches foreign keys off for as long as it is loaded.
    defers_foreign_keys: bool,
}

/// Runs the statements and commits, as one step.
pub(super) fn exec_and_commit(
    main: &Connection,
    trusted: &mut Trusted,
    statements: &[Statement],
    meta: &CommitMeta,
) -> EngineResult<Transacted> {
    let mut defers = false;
    let mut bare = Vec::with_capacity(statements.len());
    for statement in statements {
        match Dump::read(&statement.sql).filter(|_| statement.params.is_empty()) {
            Some(dump) => {
                defers |= dump.defers_foreign_keys;
                bare.push(Statement::from(dump.body));
            }
            None => bare.push(statement.clone()),
        }
    }
    if !defers {
        return commit::transact(main, trusted, meta, &mut |transaction| {
            bare.iter().try_for_each(|statement| transaction.execute(statement).map(|_| ()))
        });
    }
    // Inside a transaction this setting changes nothing.
    main.batch("PRAGMA foreign_keys = OFF").during("load a dump")?;
    let done = commit::transact(main, trusted, meta, &mut |transaction| {
        for statement in &bare {
            transaction.execute(statement)?;
        }
        require_foreign_keys(main)
    });
    main.batch("PRAGMA foreign_keys = ON").during("load a dump")?;
    done
}

/// Fails if a row refers to one that is not there.
pub(super) fn require_foreign_keys(main: &Connection) -> EngineResult<()> {
    let sql = "SELECT \"table\", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2";
    let rows = main.rows(sql, &[]).during("check the foreign keys")?;
    if rows.is_empty() {
        return Ok(());
    }
    let broken = rows.iter().take(NAMED_MAX).map(|row| {
        let count = match row.get(2) {
            Some(crate::engine::Value::Integer(count)) => *count,
            _ => 0,
        };
        let (child, parent) = (text(row.first()), text(row.get(1)));
        format!("`{child}` refers to `{parent}` in rows that are not there ({count})")
    });
    let broken = broken.collect::<Vec<_>>().join("; ");
    Err(EngineError::Rejected { message: format!("foreign keys are broken: {broken}") })
}

/// What is in a dump between the lines around it; the whole text if it has none.
pub(super) fn body(sql: &str) -> &str {
    Dump::read(sql).map_or(sql, |dump| dump.body)
}

impl<'a> Dump<'a> {
    /// Recognises a dump by its first and last statements.
    fn read(sql: &'a str) -> Option<Self> {
        let mut rest = skip_blank(sql);
        let mut defers_foreign_keys = false;
        while let Some(after) = strip_setting(rest) {
            defers_foreign_keys = true;
            rest = skip_blank(after);
        }
        let after = strip_words(rest, &["begin"])?;
        let after = ["transaction", "deferred transaction", "immediate transaction"]
            .iter()
            .find_map(|kind| strip_words(after, &kind.split(' ').collect::<Vec<_>>()))
            .unwrap_or(after);
        let body = skip_blank(after).strip_prefix(';')?;
        let body = strip_commit(body)?;
        Some(Self { body, defers_foreign_keys })
    }
}

/// What follows `PRAGMA foreign_keys = OFF;` at the start of `sql`.
fn strip_setting(sql: &str) -> Option<&str> {
    let rest = skip_blank(strip_words(sql, &["pragma", "foreign_keys"])?).strip_prefix('=')?;
    let rest = ["off", "0", "false", "no"].iter().find_map(|word| strip_words(rest, &[*word]))?;
    skip_blank(rest).strip_prefix(';')
}

/// What comes before a last `COMMIT;`.
fn strip_commit(sql: &str) -> Option<&str> {
    let end = sql.trim_end().trim_end_matches(';').trim_end();
    let start = end.len().checked_sub("commit".len())?;
    let (before, last) = (end.get(..start)?, end.get(start..)?);
    let is_statement = before.trim_end().is_empty() || before.trim_end().ends_with(';');
    (last.eq_ignore_ascii_case("commit") && is_statement).then_some(before)
}

/// What follows these words, in any case of letters, at the start of `sql`.
fn strip_words<'a>(sql: &'a str, words: &[&str]) -> Option<&'a str> {
    let mut rest = sql;
    for word in words {
        rest = skip_blank(rest);
        let (found, after) = (rest.get(..word.len())?, rest.get(word.len()..)?);
        let ends = !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if !found.eq_ignore_ascii_case(word) || !ends {
            return None;
        }
        rest = after;
    }
    Some(rest)
}

/// `sql` without the white space and the comments at its start.
fn skip_blank(sql: &str) -> &str {
    let mut rest = sql.trim_start_matches('\u{feff}');
    loop {
        rest = rest.trim_start();
        let end = if rest.starts_with("--") {
            rest.find('\n')
        } else if rest.starts_with("/*") {
            rest.find("*/").map(|at| at + 2)
        } else {
            return rest;
        };
        rest = end.and_then(|end| rest.get(end..)).unwrap_or("");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_are_told_from_other_scripts() {
        let read = |sql| Dump::read(sql).map(|dump| (dump.body.trim(), dump.defers_foreign_keys));
        let shell = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nSELECT 1;\nCOMMIT;\n";
        assert_eq!(read(shell), Some(("SELECT 1;", true)));
        assert_eq!(read("BEGIN TRANSACTION;\nSELECT 1;\nCOMMIT;"), Some(("SELECT 1;", false)));
        let noted = "-- a note\n/* another */ begin; SELECT ';'; commit ; ";
        assert_eq!(read(noted), Some(("SELECT ';';", false)));
        assert_eq!(read("begin;commit"), Some(("", false)));
        for other in [
            "",
            "SELECT 1; COMMIT;",
            "BEGIN; SELECT 1;",
            "BEGIN; SELECT 1; ROLLBACK;",
            "BEGIN; INSERT INTO t VALUES (1) COMMIT;",
            "BEGIN; CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END;",
            "PRAGMA foreign_keys=ON; BEGIN; COMMIT;",
            "BEGINNING; COMMIT;",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
