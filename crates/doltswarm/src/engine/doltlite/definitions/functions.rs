//! Which functions a schema calls.
//!
//! An application may have functions of its own, and its definitions call them. A merge cannot:
//! there they give NULL, by which a check passes.

use std::collections::BTreeSet;

use super::tokens::{Kind, Token, tokens};
use crate::engine::EngineResult;
use crate::engine::doltlite::connection::{During, text};
use crate::engine::doltlite::ffi::Connection;

/// Words that stand before a parenthesis and are no function.
const KEYWORDS: [&str; 31] = [
    "and",
    "as",
    "between",
    "by",
    "case",
    "cast",
    "check",
    "distinct",
    "else",
    "escape",
    "except",
    "exists",
    "filter",
    "from",
    "in",
    "intersect",
    "is",
    "key",
    "not",
    "on",
    "or",
    "over",
    "select",
    "set",
    "then",
    "union",
    "unique",
    "using",
    "values",
    "when",
    "where",
];

/// The names, in lower case, of what may be functions in a definition. Those of tables and types
/// can be among them.
pub(super) fn called(sql: &str) -> BTreeSet<String> {
    names(&tokens(sql))
}

/// Whether a connection knows a function.
pub(in super::super) fn is_known(connection: &Connection, name: &str) -> EngineResult<bool> {
    let sql = "SELECT 1 FROM pragma_function_list WHERE name = ? COLLATE NOCASE LIMIT 1";
    let rows = connection.rows(sql, &[name.into()]).during("look for a function")?;
    Ok(!rows.is_empty())
}

/// Makes all functions known to a connection that its schema may call and that it lacks. They give
/// NULL.
pub(in super::super) fn define_lacking(connection: &Connection) -> EngineResult<()> {
    let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL";
    let rows = connection.rows(sql, &[]).during("read the schema")?;
    let names: BTreeSet<_> = rows.iter().flat_map(|row| called(text(row.first()))).collect();
    for name in names {
        if !is_known(connection, &name)? {
            connection.define_absent(&name).during("define a function")?;
        }
    }
    Ok(())
}

/// The names, in lower case, of the functions that the checks of a table call.
pub(in super::super) fn called_in_checks(sql: &str) -> BTreeSet<String> {
    let all = tokens(sql);
    let mut names_of_all = BTreeSet::new();
    for at in 1..all.len() {
        if all[at - 1].is_word("check") && all[at].is_mark("(") {
            names_of_all.append(&mut names(in_parentheses(&all[at..])));
        }
    }
    names_of_all
}

/// The tokens up to the parenthesis that closes the first one.
fn in_parentheses<'a, 't>(all: &'a [Token<'t>]) -> &'a [Token<'t>] {
    let mut depth = 0_usize;
    for (at, token) in all.iter().enumerate() {
        if token.is_mark("(") {
            depth += 1;
        } else if token.is_mark(")") {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return &all[..=at];
            }
        }
    }
    all
}

fn names(all: &[Token<'_>]) -> BTreeSet<String> {
    let called = all.windows(2).filter(|pair| {
        let is_name = match pair[0].kind {
            Kind::Word => !KEYWORDS.iter().any(|keyword| pair[0].is_word(keyword)),
            kind => kind == Kind::Quoted,
        };
        is_name && pair[1].is_mark("(")
    });
    called.map(|pair| pair[0].name().to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_checks_are_found() {
        let sql = "CREATE TABLE t (a VARCHAR(9) CHECK (Their_Own(a, (1)) IN (1, 2)), b AS (gen(a)),
                   CHECK (a NOT IN (3) AND \"my own\"(a) > length(b)), UNIQUE (a, b))";
        let all = ["gen", "length", "my own", "t", "their_own", "varchar"];
        assert_eq!(called(sql), all.map(str::to_owned).into());
        let checks = ["length", "my own", "their_own"];
        assert_eq!(called_in_checks(sql), checks.map(str::to_owned).into());
        assert_eq!(called_in_checks("CREATE TABLE t (a CHECK (f(a"), ["f".to_owned()].into());
    }
}
