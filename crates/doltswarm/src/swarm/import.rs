//! Importing a table from CSV: one commit, all rows or none.

mod csv;

use std::collections::BTreeSet;

use doltswarm_core::commit::EngineKind;

use self::csv::{CsvError, Field, Reader};
use super::resolve::rejected;
use super::{ExecError, ExecReport, Swarm};
use crate::engine::{EngineError, EngineResult, Statement, Transaction, Value};

/// Where CSV goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportOptions {
    /// The table: one that is there, which gets the rows, or a new one.
    pub table: String,
    /// For a new table: the column that is its primary key. Without one rows are known by their
    /// values alone.
    pub key: Option<String>,
}

impl Swarm {
    /// Inserts the records of a CSV text, whose first one names the columns, and commits.
    ///
    /// Nothing between two commas is NULL, `""` an empty text, and `x'…'` a blob, as
    /// `doltswarm query --format csv` writes them. Columns that the header does not name get their
    /// default. A new table gets a column for each field of the header: of integers, of numbers or
    /// of texts, whatever fits all records.
    ///
    /// # Errors
    ///
    /// [`ExecError::Engine`] with [`EngineError::Rejected`] if a quote is broken, a record has
    /// another number of fields than the header, a column is not there, or a row breaks a
    /// constraint; the message names the line. Nothing is imported then.
    pub async fn import_csv(
        &self,
        text: String,
        options: ImportOptions,
        message: &str,
    ) -> Result<ExecReport, ExecError> {
        let kind = self.inner.shared.founding.engine;
        let import =
            move |transaction: &mut dyn Transaction| import(transaction, &text, &options, kind);
        Ok(self.transaction(message, import).await?.0)
    }
}

impl From<CsvError> for EngineError {
    fn from(error: CsvError) -> Self {
        rejected(error.to_string())
    }
}

fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn import(
    transaction: &mut dyn Transaction,
    text: &str,
    options: &ImportOptions,
    kind: EngineKind,
) -> EngineResult<()> {
    let mut reader = Reader::new(text);
    let header = reader.next()?.ok_or_else(|| rejected("there is no header, and no record"))?;
    let names: Vec<String> = header.into_iter().map(|field| field.text.trim().to_owned()).collect();
    check_names(&names)?;
    match transaction.table(&options.table)? {
        Some(shape) => {
            let missing = |name: &&String| {
                !shape.columns.iter().any(|column| column.eq_ignore_ascii_case(name))
            };
            if let Some(name) = names.iter().find(missing) {
                let what = format!("`{}` has no column `{name}` to write to", options.table);
                return Err(rejected(what));
            }
            if options.key.is_some() {
                let what = format!("`{}` is there already, with its own key", options.table);
                return Err(rejected(what));
            }
        }
        None => create(transaction, text, &names, options, kind)?,
    }
    let columns = names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
    let marks = vec!["?"; names.len()].join(", ");
    let sql = format!("INSERT INTO {} ({columns}) VALUES ({marks})", quote(&options.table));
    loop {
        let line = reader.line();
        let Some(values) = record(&mut reader, names.len())? else { return Ok(()) };
        transaction.execute(&Statement::new(sql.as_str(), values)).map_err(
            |error| match error {
                EngineError::Rejected { message } => rejected(format!("line {line}: {message}")),
                error => error,
            },
        )?;
    }
}

fn check_names(names: &[String]) -> EngineResult<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if name.is_empty() {
            return Err(rejected("line 1: the header has a column without a name"));
        }
        if !seen.insert(name.to_lowercase()) {
            return Err(rejected(format!("line 1: the header names `{name}` twice")));
        }
    }
    Ok(())
}

/// The values of the next record.
fn record(reader: &mut Reader<'_>, width: usize) -> EngineResult<Option<Vec<Value>>> {
    let line = reader.line();
    let Some(fields) = reader.next()? else { return Ok(None) };
    if fields.len() != width {
        let found = fields.len();
        let what = format!("line {line}: {found} fields where the header has {width}");
        return Err(rejected(what));
    }
    Ok(Some(fields.into_iter().map(Field::value).collect()))
}

/// What all values of a column so far have in common; each kind takes in those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Type {
    Integer,
    /// Integers that a floating-point number would not hold exactly.
    LongInteger,
    Real,
    Text,
    Blob,
}

/// How many decimal digits a floating-point number gives back as they were.
const EXACT_DIGITS: usize = 15;

impl Type {
    /// The type of a value; `None` for NULL. A number that would not come out as it went in is a
    /// text: 007, +1, 1e5.
    fn of(value: &Value) -> Option<Self> {
        let text = match value {
            Value::Null => return None,
            Value::Text(text) => text,
            _ => return Some(Self::Blob),
        };
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        if text.parse::<i64>().is_ok_and(|n| n.to_string() == *text) {
            return Some(if digits > EXACT_DIGITS { Self::LongInteger } else { Self::Integer });
        }
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let is_real = unsigned.split_once('.').is_some_and(|(whole, part)| {
            let all_digits =
                |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            all_digits(whole) && all_digits(part) && (whole == "0" || !whole.starts_with('0'))
        });
        Some(if is_real && digits <= EXACT_DIGITS { Self::Real } else { Self::Text })
    }

    /// The type that holds both.
    fn join(self, other: Self) -> Self {
        match (self.min(other), self.max(other)) {
            (Self::LongInteger, Self::Real) => Self::Text,
            (_, wider) => wider,
        }
    }

    /// The word for it in a definition. A server needs a length for a key.
    fn word(self, kind: EngineKind, is_key: bool) -> &'static str {
        match (kind, self) {
            (EngineKind::DoltLite, Self::Integer | Self::LongInteger) => "INTEGER",
            (EngineKind::DoltLite, Self::Real) => "REAL",
            (EngineKind::DoltLite, Self::Text) => "TEXT",
            (EngineKind::DoltLite, Self::Blob) => "BLOB",
            (EngineKind::Dolt, Self::Integer | Self::LongInteger) => "BIGINT",
            (EngineKind::Dolt, Self::Real) => "DOUBLE",
            (EngineKind::Dolt, Self::Text) if is_key => "VARCHAR(255)",
            (EngineKind::Dolt, Self::Text) => "LONGTEXT",
            (EngineKind::Dolt, Self::Blob) if is_key => "VARBINARY(255)",
            (EngineKind::Dolt, Self::Blob) => "LONGBLOB",
        }
    }
}

/// Makes the table, after a look at all records.
fn create(
    transaction: &mut dyn Transaction,
    text: &str,
    names: &[String],
    options: &ImportOptions,
    kind: EngineKind,
) -> EngineResult<()> {
    let key = options.key.as_deref();
    let is_key = |name: &String| key.is_some_and(|key| key.eq_ignore_ascii_case(name));
    if let Some(key) = key.filter(|_| !names.iter().any(is_key)) {
        return Err(rejected(format!("the header has no column `{key}` for the key")));
    }
    let mut types: Vec<Option<Type>> = vec![None; names.len()];
    let mut reader = Reader::new(text);
    reader.next()?;
    while let Some(values) = record(&mut reader, names.len())? {
        for (found, value) in types.iter_mut().zip(&values) {
            *found = match (*found, Type::of(value)) {
                (Some(found), Some(next)) => Some(found.join(next)),
                (found, next) => found.or(next),
            };
        }
    }
    let columns = names.iter().zip(types).map(|(name, found)| {
        let word = found.unwrap_or(Type::Text).word(kind, is_key(name));
        let key = if is_key(name) { " NOT NULL PRIMARY KEY" } else { "" };
        format!("{} {word}{key}", quote(name))
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    let sql = format!("CREATE TABLE {} ({columns})", quote(&options.table));
    transaction.execute(&sql.into()).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_keep_values_as_they_are_written() {
        let of = |text: &str| Type::of(&Value::from(text));
        for (text, expected) in [
            ("1", Type::Integer),
            ("-9223372036854775808", Type::LongInteger),
            ("1.5", Type::Real),
            ("0.25", Type::Real),
            ("007", Type::Text),
            ("+1", Type::Text),
            ("1e5", Type::Text),
            ("99999999999999999999", Type::Text),
            ("0.1234567890123456", Type::Text),
            ("00.5", Type::Text),
            (".5", Type::Text),
            ("1-2", Type::Text),
            ("", Type::Text),
            ("inf", Type::Text),
        ] {
            assert_eq!(of(text), Some(expected), "{text}");
        }
        assert_eq!(Type::of(&Value::Null), None);
        assert_eq!(Type::Integer.join(Type::Real), Type::Real);
        assert_eq!(Type::Real.join(Type::LongInteger), Type::Text);
        assert_eq!(Type::Blob.join(Type::Integer), Type::Blob);
    }
}
