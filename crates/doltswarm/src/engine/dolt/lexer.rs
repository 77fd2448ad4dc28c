//! Cutting SQL texts into statements, and statements into words.
//!
//! The server has no way to be asked what a statement would do, so the text is read here, by the
//! lexical rules of MySQL under the settings that each connection has.

/// A piece of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A bare word: a keyword or a name.
    Word(&'a str),
    /// A name in backticks, without them.
    Quoted(&'a str),
    /// A text or a number.
    Literal,
    /// Any other character.
    Sign(char),
}

impl<'a> Token<'a> {
    /// The name or keyword, if it is one.
    pub(super) fn name(self) -> Option<&'a str> {
        match self {
            Self::Word(name) | Self::Quoted(name) => Some(name),
            Self::Literal | Self::Sign(_) => None,
        }
    }

    /// Whether this is the keyword `word`.
    pub(super) fn is(self, word: &str) -> bool {
        matches!(self, Self::Word(found) if found.eq_ignore_ascii_case(word))
    }
}

/// One statement of a text.
#[derive(Debug, Clone)]
pub(super) struct Piece<'a> {
    /// Its text, without the semicolon.
    pub(super) sql: &'a str,
    /// Its words; never empty.
    pub(super) tokens: Vec<Token<'a>>,
    /// Whether it has a comment that the server runs.
    pub(super) has_hidden_code: bool,
}

/// Cuts a text at its semicolons, but not at those inside texts, comments and the bodies of
/// triggers and procedures. Pieces with nothing but comments are left out.
pub(super) fn split(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut scanner = Scanner { text, at: 0, has_hidden_code: false };
    let (mut start, mut tokens, mut depth) = (0, Vec::new(), 0_usize);
    loop {
        let token = scanner.next_token();
        match token {
            Some(Token::Sign(';')) if depth == 0 => {}
            Some(token) => {
                tokens.push(token);
                depth = depth_after(&tokens, depth);
                continue;
            }
            None => {}
        }
        let end = if token.is_some() { scanner.at - 1 } else { scanner.at };
        if !tokens.is_empty() {
            let has_hidden_code = std::mem::take(&mut scanner.has_hidden_code);
            let tokens = std::mem::take(&mut tokens);
            pieces.push(Piece { sql: text[start..end].trim(), tokens, has_hidden_code });
        }
        if token.is_none() {
            return pieces;
        }
        (start, depth) = (scanner.at, 0);
    }
}

/// How many blocks of a stored program are open after the last token.
fn depth_after(tokens: &[Token<'_>], depth: usize) -> usize {
    let Some(last) = tokens.last() else { return depth };
    let before = tokens.len().checked_sub(2).and_then(|place| tokens.get(place));
    if before.is_some_and(|before| before.is("END")) {
        // `END CASE` closed a block already; that of a loop or an IF closes none that is counted.
        let closes_other = ["IF", "LOOP", "WHILE", "REPEAT"].iter().any(|word| last.is(word));
        return if closes_other && is_program(tokens) { depth + 1 } else { depth };
    }
    if last.is("END") {
        return depth.saturating_sub(1);
    }
    let opens = last.is("CASE") || last.is("BEGIN");
    if opens && is_program(tokens) { depth + 1 } else { depth }
}

/// Whether a statement makes a trigger or another stored program.
fn is_program(tokens: &[Token<'_>]) -> bool {
    let is_kind = |token: &Token<'_>| {
        ["TRIGGER", "PROCEDURE", "FUNCTION", "EVENT"].iter().any(|kind| token.is(kind))
    };
    // CREATE OR REPLACE DEFINER = a @ b TRIGGER
    tokens.first().is_some_and(|token| token.is("CREATE")) && tokens.iter().take(12).any(is_kind)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    has_hidden_code: bool,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn next_token(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        let rest = self.rest();
        let first = rest.chars().next()?;
        if first == '`' {
            let end = closing(rest, '`', false);
            self.at += end;
            let inner = rest.get(1..end.saturating_sub(1)).unwrap_or("");
            return Some(Token::Quoted(inner));
        }
        if first == '\'' || first == '"' {
            self.at += closing(rest, first, true);
            return Some(Token::Literal);
        }
        let word = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        if word == 0 {
            self.at += first.len_utf8();
            return Some(Token::Sign(first));
        }
        self.at += word;
        let starts_with_digit = first.is_ascii_digit();
        Some(if starts_with_digit { Token::Literal } else { Token::Word(&rest[..word]) })
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len()
                - rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\0').len();
            let comment = if rest[blank..].starts_with("/*") {
                let inner = &rest[blank..];
                self.has_hidden_code |= inner.starts_with("/*!") || inner.starts_with("/*M!");
                inner[2..].find("*/").map_or(inner.len(), |end| end + 4)
            } else if is_line_comment(&rest[blank..]) {
                rest[blank..].find('\n').unwrap_or(rest.len() - blank)
            } else {
                0
            };
            self.at += blank + comment;
            if blank + comment == 0 {
                return;
            }
        }
    }
}

/// `#`, or two dashes and a blank.
fn is_line_comment(rest: &str) -> bool {
    let after_dashes = rest.strip_prefix("--");
    rest.starts_with('#')
        || after_dashes.is_some_and(|rest| {
            rest.chars().next().is_none_or(|c| c.is_whitespace() || c.is_control())
        })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// Where a quoted piece ends, behind its closing quote. A doubled quote stands for itself.
fn closing(text: &str, quote: char, escapes: bool) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote {
            match chars.peek() {
                Some((_, next)) if *next == quote => {
                    chars.next();
                }
                _ => return at + 1,
            }
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<&str> {
        split(text).into_iter().map(|piece| piece.sql).collect()
    }

    #[test]
    fn texts_are_cut_at_semicolons_only() {
        assert_eq!(cut("SELECT 1; SELECT ';' ; ;"), ["SELECT 1", "SELECT ';'"]);
        assert_eq!(cut("a -- b;c\n; d /* ; */ e # ;\n;f"), ["a -- b;c", "d /* ; */ e # ;", "f"]);
        assert_eq!(cut(r"SELECT 'it\'s;', 'a''b;'; x"), [r"SELECT 'it\'s;', 'a''b;'", "x"]);
        assert_eq!(cut("SELECT `a``;b`, 5--6; y"), ["SELECT `a``;b`, 5--6", "y"]);
        assert_eq!(cut("-- nothing"), Vec::<&str>::new());
        assert_eq!(cut("SELECT 'open; SELECT 2"), ["SELECT 'open; SELECT 2"]);
        assert_eq!(cut("SELECT '日本;語'; ü"), ["SELECT '日本;語'", "ü"]);
    }

    #[test]
    fn bodies_of_triggers_are_whole() {
        let trigger = "CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW BEGIN
            IF NEW.a > 0 THEN UPDATE x SET b = CASE WHEN 1 THEN 2 ELSE 3 END; END IF;
            CASE NEW.a WHEN 1 THEN SET @a = 1; END CASE; END";
        assert_eq!(cut(&format!("{trigger}; SELECT 1")), [trigger, "SELECT 1"]);
        let plain = "SELECT CASE WHEN 1 THEN 'end;' ELSE 'x' END";
        assert_eq!(cut(&format!("{plain}; SELECT 1")), [plain, "SELECT 1"]);
        let begin = cut("BEGIN; COMMIT");
        assert_eq!(begin, ["BEGIN", "COMMIT"]);
    }

    #[test]
    fn comments_that_run_are_noticed() {
        assert!(split("SELECT /*!99 dolt_gc() */ 1")[0].has_hidden_code);
        assert!(!split("SELECT '/*!' /* ! */")[0].has_hidden_code);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_cut_without_a_crash(text in ".{0,80}") {
            for piece in split(&text) {
                proptest::prop_assert!(text.contains(piece.sql));
            }
        }
    }
}
