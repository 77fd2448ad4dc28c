//! Reading CSV as RFC 4180 has it, and as `query --format csv` writes it.
//!
//! Written here and not taken from a crate: those forget whether a field was quoted, which is what
//! tells NULL from an empty text, and read broken quotes as they please.

use crate::engine::Value;

/// What is wrong with a text that should be CSV.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(super) struct CsvError {
    /// The line, counted from 1.
    pub(super) line: usize,
    /// What is wrong there.
    pub(super) what: String,
}

/// Reads records one after the other.
pub(super) struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    /// Reads `text`; a byte order mark at its start is left out.
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 }
    }

    /// The line that the next record begins on.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The next record; `None` at the end. Lines with nothing on them are passed over.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Field>>, CsvError> {
        while let Some(after) = strip_end(self.rest) {
            self.rest = after;
            self.line += 1;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut fields = Vec::new();
        loop {
            fields.push(self.field()?);
            if let Some(after) = self.rest.strip_prefix(',') {
                self.rest = after;
                continue;
            }
            match strip_end(self.rest) {
                Some(after) => {
                    self.rest = after;
                    self.line += 1;
                }
                None if self.rest.is_empty() => {}
                None => return Err(self.error("a quoted field goes on after its last quote")),
            }
            return Ok(Some(fields));
        }
    }

    fn field(&mut self) -> Result<Field, CsvError> {
        let Some(mut inside) = self.rest.strip_prefix('"') else {
            let end = self.rest.find([',', '\r', '\n']).unwrap_or(self.rest.len());
            let (text, after) = self.rest.split_at(end);
            if text.contains('"') {
                return Err(self.error("a quote inside a field that does not begin with one"));
            }
            self.rest = after;
            return Ok(Field { text: text.to_owned(), is_quoted: false });
        };
        let mut text = String::new();
        loop {
            let Some(end) = inside.find('"') else {
                return Err(self.error("a quoted field does not end"));
            };
            text.push_str(&inside[..end]);
            inside = &inside[end + 1..];
            match inside.strip_prefix('"') {
                Some(after) => {
                    text.push('"');
                    inside = after;
                }
                None => break,
            }
        }
        self.line += text.matches('\n').count();
        self.rest = inside;
        Ok(Field { text, is_quoted: true })
    }

    fn error(&self, what: &str) -> CsvError {
        CsvError { line: self.line, what: what.to_owned() }
    }
}

/// What follows the end of a line at the start of `text`.
fn strip_end(text: &str) -> Option<&str> {
    text.strip_prefix("\r\n").or_else(|| text.strip_prefix(['\n', '\r']))
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// What it says, without its quotes.
    pub(super) text: String,
    /// Whether it was quoted.
    pub(super) is_quoted: bool,
}

impl Field {
    /// Its value: nothing between two commas is NULL, `x'…'` without quotes is a blob, and the rest
    /// is a text, of which a column makes what its type says.
    pub(super) fn value(self) -> Value {
        if self.is_quoted {
            return Value::Text(self.text);
        }
        if self.text.is_empty() {
            return Value::Null;
        }
        let hex = self.text.strip_prefix("x'").and_then(|rest| rest.strip_suffix('\''));
        let bytes =
            hex.and_then(|hex| data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok());
        bytes.map_or(Value::Text(self.text), Value::Blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Vec<Value>>, CsvError> {
        let (mut reader, mut records) = (Reader::new(text), Vec::new());
        while let Some(fields) = reader.next()? {
            records.push(fields.into_iter().map(Field::value).collect());
        }
        Ok(records)
    }

    #[test]
    fn fields_are_told_apart() {
        let text = "\u{feff}a,\"b, \"\"c\"\"\n\",\r\n\n1,\"\",x'00fF'\r\"x'00'\",é,x'0'";
        let texts = |values: [&str; 2]| values.map(Value::from);
        let [b, one] = texts(["b, \"c\"\n", "1"]);
        assert_eq!(
            read(text).unwrap(),
            [
                vec!["a".into(), b, Value::Null],
                vec![one, "".into(), Value::Blob(vec![0, 255])],
                vec!["x'00'".into(), "é".into(), "x'0'".into()],
            ]
        );
        assert_eq!(read("").unwrap(), Vec::<Vec<Value>>::new());
        assert_eq!(read("a,").unwrap(), [["a".into(), Value::Null]]);
    }

    #[test]
    fn broken_quotes_are_named_with_their_line() {
        for (text, line) in
            [("a\n\"b", 2), ("a,b\"c", 1), ("\"a\n\"b,c", 2), ("a\r\n\r\n\"b\"c", 3)]
        {
            assert_eq!(read(text).unwrap_err().line, line, "{text}");
        }
    }
}
