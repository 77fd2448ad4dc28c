//! SQLite's lexical rules, as far as comparing and taking apart definitions needs them.
//!
//! The rules are those of "SQL As Understood By SQLite". A text that the engine has accepted as a
//! definition is well formed; anything else gives tokens too, and means nothing.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword or an identifier without quotes.
    Word,
    /// An identifier in double quotes, back quotes or brackets.
    Quoted,
    /// A text in single quotes, a blob, a number, a parameter.
    Literal,
    /// One character of punctuation.
    Mark,
}

/// One token of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// What it is.
    pub(super) kind: Kind,
    /// Its text, quotes included.
    pub(super) text: &'a str,
    /// Where it starts, in bytes.
    pub(super) start: usize,
}

impl Token<'_> {
    /// Where it ends, in bytes.
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether it is this keyword.
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether it is this character.
    pub(super) fn is_mark(&self, mark: &str) -> bool {
        self.kind == Kind::Mark && self.text == mark
    }

    /// The name that it stands for, without quotes.
    pub(super) fn name(&self) -> String {
        if self.kind != Kind::Quoted {
            return self.text.to_owned();
        }
        let inner = self.text.get(1..self.text.len().saturating_sub(1)).unwrap_or("");
        match &self.text[..1] {
            "[" => inner.to_owned(),
            quote => inner.replace(&quote.repeat(2), quote),
        }
    }

    /// The token in the form in which equal texts mean the same: names and keywords compare without
    /// case and quotes, literals exactly.
    fn meaning(&self) -> String {
        match self.kind {
            Kind::Word => self.text.to_ascii_lowercase(),
            Kind::Quoted => self.name().to_ascii_lowercase(),
            Kind::Literal | Kind::Mark => self.text.to_owned(),
        }
    }
}

/// The tokens of a text; blanks and comments are left out.
pub(super) fn tokens(sql: &str) -> Vec<Token<'_>> {
    let (bytes, mut at, mut tokens) = (sql.as_bytes(), 0, Vec::new());
    while at < bytes.len() {
        let (kind, end) = next(bytes, at);
        let end = ceil_char(sql, end);
        if let Some(kind) = kind {
            tokens.push(Token { kind, text: &sql[at..end], start: at });
        }
        at = end;
    }
    tokens
}

fn ceil_char(sql: &str, mut at: usize) -> usize {
    while !sql.is_char_boundary(at) {
        at += 1;
    }
    at
}

/// The kind of what begins at `at`, `None` for blanks and comments, and where it ends.
fn next(bytes: &[u8], at: usize) -> (Option<Kind>, usize) {
    let rest = &bytes[at..];
    let until = |end: Option<usize>| at + end.unwrap_or(rest.len());
    match rest {
        [b' ' | b'\t' | b'\n' | b'\r' | 0x0c, ..] => (None, at + 1),
        [b'-', b'-', ..] => (None, until(rest.iter().position(|b| *b == b'\n'))),
        [b'/', b'*', ..] => {
            let end = rest.windows(2).skip(2).position(|pair| pair == b"*/");
            (None, until(end.map(|end| end + 4)))
        }
        [quote @ (b'"' | b'`'), ..] => (Some(Kind::Quoted), until(quoted(rest, *quote))),
        [b'[', ..] => {
            (Some(Kind::Quoted), until(rest.iter().position(|b| *b == b']').map(|end| end + 1)))
        }
        [b'\'', ..] => (Some(Kind::Literal), until(quoted(rest, b'\''))),
        [b'x' | b'X', b'\'', ..] => {
            (Some(Kind::Literal), until(quoted(&rest[1..], b'\'').map(|end| end + 1)))
        }
        [b'0'..=b'9', ..] | [b'.', b'0'..=b'9', ..] => (Some(Kind::Literal), at + number(rest)),
        [first, ..] if is_word(*first) => {
            (Some(Kind::Word), until(rest.iter().position(|b| !is_word(*b))))
        }
        _ => (Some(Kind::Mark), at + 1),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// Where a quoted token ends; a doubled quote is one inside.
fn quoted(rest: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    while let Some(found) = rest.get(at..)?.iter().position(|byte| *byte == quote) {
        at += found + 1;
        if rest.get(at) != Some(&quote) {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn number(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = rest.get(at) {
        let signed = matches!(byte, b'+' | b'-')
            && at > 0
            && matches!(rest[at - 1], b'e' | b'E')
            && !rest.starts_with(b"0x");
        if !(is_word(*byte) || *byte == b'.' || signed) {
            break;
        }
        at += 1;
    }
    at
}

/// The text in a form in which equal texts mean the same.
pub(super) fn meaning(tokens: &[Token<'_>]) -> String {
    tokens.iter().map(Token::meaning).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        tokens(sql).iter().map(|token| token.text).collect()
    }

    #[test]
    fn quotes_comments_and_numbers_are_tokens() {
        assert_eq!(
            texts("CREATE/* x */TABLE \"a\"\"b\"(x'0a', 'it''s',-1.5e-3) -- end\n;[c d]`e`"),
            [
                "CREATE",
                "TABLE",
                "\"a\"\"b\"",
                "(",
                "x'0a'",
                ",",
                "'it''s'",
                ",",
                "-",
                "1.5e-3",
                ")",
                ";",
                "[c d]",
                "`e`"
            ]
        );
        assert_eq!(texts("naïve \"open"), ["naïve", "\"open"]);
        assert_eq!(texts("/* open"), [""; 0]);
    }

    #[test]
    fn meaning_ignores_case_blanks_and_quotes() {
        let [a, b, c] = [
            "create TABLE \"Ab\" (x  int default 'Y')",
            "CREATE TABLE ab(X INT DEFAULT 'Y')",
            "CREATE TABLE ab(X INT DEFAULT 'y')",
        ]
        .map(|sql| meaning(&tokens(sql)));
        assert_eq!(a, b);
        assert_ne!(b, c);
    }

    proptest::proptest! {
        #[test]
        fn each_text_is_covered_in_order(sql in ".{0,60}") {
            let mut at = 0;
            for token in tokens(&sql) {
                proptest::prop_assert!(token.start >= at && !token.text.is_empty());
                at = token.end();
            }
            proptest::prop_assert!(at <= sql.len());
        }
    }
}
