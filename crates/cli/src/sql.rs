//! Just enough of SQL's lexical rules for the shell: where a statement ends, and whether it reads.

/// Cuts the first whole statement off `text`: returns it, with its semicolon, and the rest. `None`
/// where the statement goes on, or there is none.
pub(crate) fn split_statement(text: &str) -> Option<(&str, &str)> {
    let mut words = Vec::new();
    for token in tokens(text) {
        match token.kind {
            Kind::Word => words.push(token.text.to_ascii_uppercase()),
            Kind::Semicolon if !inside_trigger(&words) => return Some(text.split_at(token.end)),
            // In a trigger a semicolon separates; only the one after END ends it.
            Kind::Semicolon => words.push(";".to_owned()),
            Kind::Open | Kind::Close | Kind::Other => {}
        }
    }
    None
}

/// Whether there is nothing in `text` but white space, comments and semicolons.
pub(crate) fn is_blank(text: &str) -> bool {
    tokens(text).all(|token| token.kind == Kind::Semicolon)
}

/// Whether a statement only reads, so that it is a query. What it calls is not looked at: a query
/// that would write is refused by the engine.
pub(crate) fn is_query(statement: &str) -> bool {
    let mut depth = 0_usize;
    let mut with = false;
    for token in tokens(statement) {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            Kind::Word if depth == 0 => {
                let word = token.text.to_ascii_uppercase();
                match (with, word.as_str()) {
                    (false, "SELECT" | "VALUES" | "EXPLAIN" | "PRAGMA" | "SHOW" | "DESCRIBE") => {
                        return true;
                    }
                    (false, "WITH") => with = true,
                    (false, _) => return false,
                    (true, "INSERT" | "UPDATE" | "DELETE" | "REPLACE") => return false,
                    (true, _) => {}
                }
            }
            _ => {}
        }
    }
    with
}

/// Whether the words so far are those of a `CREATE TRIGGER` whose `END` has not come.
fn inside_trigger(words: &[String]) -> bool {
    let mut start = words.iter().map(String::as_str).filter(|word| *word != ";");
    let creates = match start.next() {
        Some("CREATE") => match start.next() {
            Some("TEMP" | "TEMPORARY") => start.next() == Some("TRIGGER"),
            second => second == Some("TRIGGER"),
        },
        _ => false,
    };
    let ended =
        words.len() >= 2 && words[words.len() - 2] == ";" && words[words.len() - 1] == "END";
    creates && !ended
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Semicolon,
    Open,
    Close,
    /// A quoted thing, a number, an operator.
    Other,
}

struct Token<'a> {
    kind: Kind,
    text: &'a str,
    end: usize,
}

/// The tokens of `text`. An unfinished quote swallows the rest; comments and white space are
/// skipped.
fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
            let first = rest.chars().next()?;
            let (kind, length) = match first {
                c if c.is_whitespace() => (None, c.len_utf8()),
                '-' if rest.starts_with("--") => (None, rest.find('\n').unwrap_or(rest.len())),
                '/' if rest.starts_with("/*") => {
                    (None, rest.get(2..)?.find("*/").map_or(rest.len(), |end| end + 4))
                }
                '\'' | '"' | '`' => (Some(Kind::Other), quoted(rest, first)),
                ';' => (Some(Kind::Semicolon), 1),
                '(' => (Some(Kind::Open), 1),
                ')' => (Some(Kind::Close), 1),
                c if c.is_alphabetic() || c == '_' => {
                    let word = |c: char| c.is_alphanumeric() || c == '_';
                    (Some(Kind::Word), rest.find(|c| !word(c)).unwrap_or(rest.len()))
                }
                c => (Some(Kind::Other), c.len_utf8()),
            };
            let start = at;
            at += length;
            if let Some(kind) = kind {
                return Some(Token { kind, text: &text[start..at], end: at });
            }
        }
    })
}

/// How long the quoted thing at the start of `rest` is. A doubled quote is two of them in a row,
/// which comes to the same.
fn quoted(rest: &str, quote: char) -> usize {
    rest.get(1..).and_then(|inside| inside.find(quote)).map_or(rest.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_all(mut text: &str) -> (Vec<&str>, &str) {
        let mut statements = Vec::new();
        while let Some((statement, rest)) = split_statement(text) {
            statements.push(statement.trim());
            text = rest;
        }
        (statements, text.trim())
    }

    #[test]
    fn statements_end_at_semicolons_outside_quotes_and_comments() {
        let (statements, rest) = split_all("select ';' ; insert into t values ('a''; b'); sel");
        assert_eq!(statements, ["select ';' ;", "insert into t values ('a''; b');"]);
        assert_eq!(rest, "sel");
        assert_eq!(split_all("select 1 -- ; no\n + 1;").0.len(), 1);
        assert_eq!(split_all("/* ; */ select \"a;b\", `c;d`;").0.len(), 1);
        assert_eq!(split_all("select 'open ;").0.len(), 0);
        assert_eq!(split_all("/* open ;").0.len(), 0);
    }

    #[test]
    fn a_trigger_ends_at_its_end() {
        let trigger =
            "create trigger x after insert on t begin update t set a = 1; delete from u; end;";
        assert_eq!(split_all(trigger).0, [trigger]);
        assert_eq!(split_all("create table t (a); select 1;").0.len(), 2);
    }

    #[test]
    fn reading_statements_are_told_from_writing_ones() {
        for query in [
            "select 1",
            "-- why\n SELECT 1",
            "with a as (select 1) select * from a",
            "with a as (delete_me as (1)) select 1",
            "explain select 1",
            "values (1)",
        ] {
            assert!(is_query(query), "{query}");
        }
        for write in [
            "insert into t select 1",
            "with a as (select 1) insert into t select * from a",
            "create table t (a)",
            "",
        ] {
            assert!(!is_query(write), "{write}");
        }
    }

    #[test]
    fn blank_is_what_holds_no_statement() {
        assert!(is_blank(" ;\n-- words\n/* more */ ;"));
        assert!(!is_blank("select 1"));
    }
}
