//! CSV as RFC 4180 has it, and as PostgreSQL tells NULL (empty) from an empty text (`""`).

use serde_json::Value;

use crate::render::text::blob;

/// One cell.
#[derive(Debug)]
pub(crate) enum Cell {
    /// NULL.
    Null,
    /// A number, which needs no quotes.
    Bare(String),
    /// Text, quoted where it must be.
    Text(String),
}

impl Cell {
    /// A cell from the JSON of a SQL value.
    pub(crate) fn from_json(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::String(text) => Self::Text(text.clone()),
            other => Self::Bare(blob(other).unwrap_or_else(|| other.to_string())),
        }
    }
}

/// Adds a line.
pub(crate) fn line(out: &mut String, cells: impl Iterator<Item = Cell>) {
    for (column, cell) in cells.enumerate() {
        if column > 0 {
            out.push(',');
        }
        match cell {
            Cell::Null => {}
            Cell::Bare(text) => out.push_str(&text),
            // A text that looks like a blob is quoted, so that it is not read back as one.
            Cell::Text(text)
                if text.is_empty()
                    || text.starts_with("x'")
                    || text.contains([',', '"', '\r', '\n']) =>
            {
                out.push('"');
                out.push_str(&text.replace('"', "\"\""));
                out.push('"');
            }
            Cell::Text(text) => out.push_str(&text),
        }
    }
    out.push_str("\r\n");
}
