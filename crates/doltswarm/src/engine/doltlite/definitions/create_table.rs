//! Taking a `CREATE TABLE` apart into columns, constraints and options, and writing one.

use super::super::connection::quote;
use super::tokens::{Kind, Token, meaning, tokens};
use crate::engine::total::{Definition, Part};

/// Takes the definition of a table apart, or returns `None` when the text has another form.
pub(super) fn parse(sql: &str) -> Option<Definition> {
    let tokens = tokens(sql);
    let open = tokens.iter().position(|token| token.is_mark("("))?;
    let (mut depth, mut start, mut close) = (0_usize, open + 1, None);
    let mut parts = Vec::new();
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" if token.kind == Kind::Mark => depth += 1,
            ")" if token.kind == Kind::Mark => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    parts.push(&tokens[start..at]);
                    close = Some(at);
                    break;
                }
            }
            "," if token.kind == Kind::Mark && depth == 1 => {
                parts.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    let options = part(sql, &tokens[close? + 1..], String::new());
    let mut definition = Definition { columns: Vec::new(), constraints: Vec::new(), options };
    for tokens in parts {
        let first = tokens.first()?;
        if is_constraint(first) {
            let unnamed = if first.is_word("constraint") { tokens.get(2..)? } else { tokens };
            let part = part(sql, unnamed, String::new());
            definition.constraints.push(part);
        } else {
            definition.columns.push(part(sql, tokens, first.name()));
        }
    }
    Some(definition)
}

fn is_constraint(first: &Token<'_>) -> bool {
    ["constraint", "primary", "unique", "check", "foreign"].iter().any(|word| first.is_word(word))
}

fn part(sql: &str, tokens: &[Token<'_>], name: String) -> Part {
    let text = match (tokens.first(), tokens.last()) {
        (Some(first), Some(last)) => &sql[first.start..last.end()],
        _ => "",
    };
    Part { name, meaning: meaning(tokens), sql: text.to_owned() }
}

/// Writes a definition as a statement that creates the table.
pub(super) fn write(name: &str, definition: &Definition) -> String {
    let parts = definition.columns.iter().chain(&definition.constraints);
    let parts: Vec<_> = parts.map(|part| part.sql.as_str()).collect();
    let options = &definition.options.sql;
    format!("CREATE TABLE {} ({}){}{options}", quote(name), parts.join(", "), blank(options))
}

fn blank(options: &str) -> &'static str {
    if options.is_empty() { "" } else { " " }
}

/// A foreign key: the table that it refers to, as written, and the columns there in lower case. No
/// columns stand for the parent's primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForeignKey {
    /// The table that it refers to.
    pub(super) parent: String,
    /// The columns there, sorted.
    pub(super) columns: Vec<String>,
}

/// The foreign keys of a definition.
pub(super) fn foreign_keys(definition: &Definition) -> Vec<ForeignKey> {
    let mut keys = Vec::new();
    for part in definition.columns.iter().chain(&definition.constraints) {
        let tokens = tokens(&part.sql);
        for (at, pair) in tokens.windows(2).enumerate() {
            if pair[0].is_word("references") {
                let columns = names_in_parentheses(&tokens[at + 2..]).unwrap_or_default();
                keys.push(ForeignKey { parent: pair[1].name(), columns });
            }
        }
    }
    keys
}

/// The names of a list like `(a, b)` that begins here, sorted and in lower case; `None` when
/// something else than names is in it.
fn names_in_parentheses(tokens: &[Token<'_>]) -> Option<Vec<String>> {
    let (open, rest) = tokens.split_first()?;
    let end = rest.iter().position(|token| token.is_mark(")"))?;
    if !open.is_mark("(") {
        return None;
    }
    let mut names = Vec::new();
    for item in rest[..end].split(|token| token.is_mark(",")) {
        let (name, order) = item.split_first()?;
        let plain = order.iter().all(|token| token.is_word("asc") || token.is_word("desc"));
        if name.kind == Kind::Mark || !plain {
            return None;
        }
        names.push(name.name().to_ascii_lowercase());
    }
    names.sort();
    Some(names)
}

/// Sets of columns of a table that no two rows share: what a foreign key can refer to. The primary
/// key is there under no columns too.
pub(super) fn unique_columns<'a>(
    definition: &Definition,
    unique_indexes: impl Iterator<Item = &'a str>,
) -> Vec<Vec<String>> {
    let mut sets = Vec::new();
    for column in &definition.columns {
        let tokens = tokens(&column.sql);
        let has = |word: &str| tokens.iter().any(|token| token.is_word(word));
        if has("primary") || has("unique") {
            sets.push(vec![column.name.to_ascii_lowercase()]);
        }
        if has("primary") {
            sets.push(Vec::new());
        }
    }
    for constraint in &definition.constraints {
        let tokens = tokens(&constraint.sql);
        let Some(first) = tokens.first() else { continue };
        if first.is_word("primary") {
            sets.push(Vec::new());
            sets.extend(tokens.get(2..).and_then(names_in_parentheses));
        } else if first.is_word("unique") {
            sets.extend(tokens.get(1..).and_then(names_in_parentheses));
        }
    }
    for sql in unique_indexes {
        let tokens = tokens(sql);
        let on = tokens.iter().position(|token| token.is_word("on"));
        // A partial index keeps nothing apart for the rows that it leaves out.
        let partial = tokens.iter().any(|token| token.is_word("where"));
        if let (Some(on), false) = (on, partial) {
            sets.extend(tokens.get(on + 2..).and_then(names_in_parentheses));
        }
    }
    sets
}

/// Takes the foreign keys that refer to `parent` out of a definition.
pub(super) fn without_references(definition: &Definition, parent: &str) -> Definition {
    let refers = |part: &Part| {
        tokens(&part.sql).windows(2).any(|pair| {
            pair[0].is_word("references") && pair[1].name().eq_ignore_ascii_case(parent)
        })
    };
    let mut definition = definition.clone();
    definition.constraints.retain(|part| !refers(part));
    for part in &mut definition.columns {
        while refers(part) {
            *part = without_reference(part, parent);
        }
    }
    definition
}

/// Takes the first clause `REFERENCES parent …` out of a column.
fn without_reference(column: &Part, parent: &str) -> Part {
    let tokens = tokens(&column.sql);
    let is_start = |at: &usize| {
        tokens[*at].is_word("references")
            && tokens.get(at + 1).is_some_and(|name| name.name().eq_ignore_ascii_case(parent))
    };
    let Some(start) = (0..tokens.len()).find(is_start) else { return column.clone() };
    let end = end_of_reference(&tokens, start);
    // A name of the constraint goes with it.
    let named = start >= 2 && tokens[start - 2].is_word("constraint");
    let start = if named { start - 2 } else { start };
    let before = &column.sql[..tokens[start].start];
    let after = tokens.get(end).map_or("", |token| &column.sql[token.start..]);
    let sql = format!("{} {after}", before.trim_end()).trim_end().to_owned();
    let meaning = meaning(&super::tokens::tokens(&sql));
    Part { name: column.name.clone(), meaning, sql }
}

/// Where the clause that begins with `REFERENCES` at `start` ends.
fn end_of_reference(tokens: &[Token<'_>], start: usize) -> usize {
    let mut at = start + 2;
    if tokens.get(at).is_some_and(|token| token.is_mark("(")) {
        while tokens.get(at).is_some_and(|token| !token.is_mark(")")) {
            at += 1;
        }
        at += 1;
    }
    loop {
        let word = |offset: usize, word: &str| {
            tokens.get(at + offset).is_some_and(|token| token.is_word(word))
        };
        at += if word(0, "on") && (word(2, "set") || word(2, "no")) {
            4
        } else if word(0, "on") {
            3
        } else if word(0, "match")
            || word(0, "initially")
            || (word(0, "not") && word(1, "deferrable"))
        {
            2
        } else if word(0, "deferrable") {
            1
        } else {
            return at.min(tokens.len());
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_constraints_and_options_are_told_apart() {
        let sql = "CREATE TABLE IF NOT EXISTS \"t\" (id INTEGER PRIMARY KEY, -- the key\n \
                   \"a b\" DECIMAL(10, 2) DEFAULT (1 + 2), CONSTRAINT u UNIQUE (id, \"a b\"), \
                   CHECK (id > 0)) STRICT, WITHOUT ROWID";
        let definition = parse(sql).unwrap();
        let names: Vec<_> = definition.columns.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["id", "a b"]);
        assert_eq!(definition.columns[0].sql, "id INTEGER PRIMARY KEY");
        let constraints: Vec<_> =
            definition.constraints.iter().map(|part| part.sql.as_str()).collect();
        assert_eq!(constraints, ["UNIQUE (id, \"a b\")", "CHECK (id > 0)"]);
        assert_eq!(definition.options.sql, "STRICT, WITHOUT ROWID");
        assert_eq!(parse(&write("t", &definition)), Some(definition));
        assert_eq!(parse("CREATE VIEW v AS SELECT 1"), None);
    }

    #[test]
    fn definitions_compare_by_meaning() {
        let [a, b] =
            ["CREATE TABLE t(ID integer, a TEXT)", "create table \"T\" (\"id\" INTEGER, A text)"]
                .map(|sql| parse(sql).unwrap());
        assert_eq!(a, b);
    }

    #[test]
    fn foreign_keys_can_be_taken_out() {
        let sql = "CREATE TABLE c (a INT CONSTRAINT f REFERENCES P(id) ON DELETE SET NULL ON UPDATE \
                   CASCADE NOT DEFERRABLE INITIALLY DEFERRED NOT NULL, b INT REFERENCES q, \
                   FOREIGN KEY (b) REFERENCES \"p\" (id))";
        let definition = parse(sql).unwrap();
        let keys = foreign_keys(&definition);
        let parents: Vec<_> = keys.iter().map(|key| key.parent.as_str()).collect();
        assert_eq!(parents, ["P", "q", "p"]);
        assert_eq!(keys[0].columns, ["id"]);
        assert_eq!(keys[1].columns, [""; 0]);
        let without = without_references(&definition, "p");
        assert_eq!(write("c", &without), "CREATE TABLE \"c\" (a INT NOT NULL, b INT REFERENCES q)");
    }

    #[test]
    fn what_keys_can_refer_to_is_found() {
        let sql =
            "CREATE TABLE p (id INT, \"A\" TEXT UNIQUE, PRIMARY KEY (id, A DESC), UNIQUE (b + 1))";
        let definition = parse(sql).unwrap();
        let indexes =
            ["CREATE UNIQUE INDEX i ON p (c, b)", "CREATE UNIQUE INDEX j ON p (d) WHERE d > 1"];
        let sets = unique_columns(&definition, indexes.into_iter());
        let wanted: [&[&str]; 4] = [&["a"], &[], &["a", "id"], &["b", "c"]];
        assert_eq!(sets, wanted);
    }
}
