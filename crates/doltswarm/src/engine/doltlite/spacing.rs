//! White space that the engine needs between the tokens of a definition.
//!
//! The engine stores definitions with their name written anew and without comments. It takes an
//! unquoted name to reach up to the next blank, and drops the quotes of a quoted one: `"ix"ON`
//! becomes `ixON`, and the database cannot be opened again. A blank between two tokens changes
//! neither.

use std::borrow::Cow;
use std::ops::Range;

/// What a token is, as far as white space matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// White space.
    Blank,
    /// A comment, up to its end.
    Comment,
    /// A text, a blob, or a quoted name.
    Quoted,
    /// A keyword, an unquoted name, or a number without its sign and point.
    Word,
    /// One character of anything else.
    Mark,
}

/// Puts a blank between two tokens where SQL needs none and the engine does.
pub(super) fn spaced(sql: &str) -> Cow<'_, str> {
    let mut parts = Vec::new();
    let (mut from, mut before) = (0, Kind::Blank);
    for (kind, range) in tokens(sql) {
        if needs_blank(before, kind) {
            parts.push(&sql[from..range.start]);
            from = range.start;
        }
        before = kind;
    }
    if parts.is_empty() {
        return Cow::Borrowed(sql);
    }
    parts.push(&sql[from..]);
    Cow::Owned(parts.join(" "))
}

fn needs_blank(before: Kind, after: Kind) -> bool {
    use Kind::{Blank, Comment, Quoted, Word};
    match (before, after) {
        (Blank, _) | (_, Blank) => false,
        (Comment, _) | (_, Comment) => true,
        (Quoted, Word | Quoted) | (Word, Quoted) => true,
        _ => false,
    }
}

/// The tokens of a text, without a gap, as SQLite's tokenizer splits it.
fn tokens(sql: &str) -> impl Iterator<Item = (Kind, Range<usize>)> {
    let bytes = sql.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let (kind, length) = token(rest);
        let range = at..at + length;
        at = range.end;
        Some((kind, range))
    })
}

/// The kind and the length of the first token of what is not empty.
fn token(rest: &[u8]) -> (Kind, usize) {
    let second = rest.get(1).copied();
    match rest[0] {
        b' ' | b'\t' | b'\n' | b'\x0c' | b'\r' => (Kind::Blank, 1),
        b'-' if second == Some(b'-') => (Kind::Comment, find(rest, 2, b"\n", 0)),
        b'/' if second == Some(b'*') => (Kind::Comment, find(rest, 2, b"*/", 2)),
        b'[' => (Kind::Quoted, find(rest, 1, b"]", 1)),
        quote @ (b'\'' | b'"' | b'`') => (Kind::Quoted, quoted(rest, 0, quote)),
        b'x' | b'X' if second == Some(b'\'') => (Kind::Quoted, quoted(rest, 1, b'\'')),
        byte if is_word(byte) => {
            (Kind::Word, rest.iter().take_while(|byte| is_word(**byte)).count())
        }
        _ => (Kind::Mark, 1),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
}

/// Where `end` begins, from `from` on, and `past` more; or the end of the text.
fn find(text: &[u8], from: usize, end: &[u8], past: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    let found = rest.windows(end.len()).position(|window| window == end);
    found.map_or(text.len(), |place| from + place + past)
}

/// The end of what is quoted from `start` on; a doubled quote is one inside it.
fn quoted(text: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while let Some(byte) = text.get(at) {
        at += 1;
        if *byte == quote {
            if text.get(at) != Some(&quote) {
                return at;
            }
            at += 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_comments_are_set_apart() {
        for (sql, wanted) in [
            (r#"CREATE INDEX "ix"ON "t" ("x")"#, r#"CREATE INDEX "ix" ON "t" ("x")"#),
            ("CREATE INDEX ix/* c */ON t(a)", "CREATE INDEX ix /* c */ ON t(a)"),
            ("CREATE INDEX[ix]ON[t](a)", "CREATE INDEX [ix] ON [t](a)"),
            ("SELECT`a`FROM`t`--x\nWHERE 1", "SELECT `a` FROM `t` --x\nWHERE 1"),
            ("SELECT x'00'AS b", "SELECT x'00' AS b"),
        ] {
            assert_eq!(spaced(sql), wanted);
        }
    }

    #[test]
    fn what_is_quoted_stays_as_it_is() {
        for sql in [
            r#"SELECT '"ix"ON', "a""b", 'it''s', X'00ff', 'open"#,
            "SELECT 1.5e3, :name, ?1, a.b FROM t -- \"ix\"ON",
            "/* \"ix\"ON",
            "",
        ] {
            assert!(matches!(spaced(sql), Cow::Borrowed(same) if same == sql), "{sql}");
        }
    }

    /// The tokens but white space.
    fn words(sql: &str) -> Vec<(Kind, &str)> {
        let all = tokens(sql).map(|(kind, range)| (kind, &sql[range]));
        all.filter(|(kind, _)| *kind != Kind::Blank).collect()
    }

    proptest! {
        #[test]
        fn tokens_stay_the_same(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("\""), Just("'"), Just("`"), Just("["), Just("]"), Just("--"), Just("\n"),
                    Just("/*"), Just("*/"), Just("x"), Just("X'"), Just("ON"), Just(" "), Just("("),
                    Just("."), Just("7"), Just("é"), Just("-"), Just(";"),
                ],
                0..24,
            ),
        ) {
            let sql = parts.concat();
            let spaced_sql = spaced(&sql);
            prop_assert_eq!(words(&spaced_sql), words(&sql));
            prop_assert_eq!(spaced(&spaced_sql), spaced_sql.as_ref());
        }
    }
}
