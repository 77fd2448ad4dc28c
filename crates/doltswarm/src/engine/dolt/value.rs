//! Values to and from the server.

use mysql_async::Column;
use mysql_async::consts::{ColumnFlags, ColumnType};

use crate::engine::Value;

/// The number of the character set of columns that hold bytes and not text.
const BINARY: u16 = 63;

/// Writes a value as a parameter.
pub(super) fn to_server(value: &Value) -> mysql_async::Value {
    match value {
        Value::Null => mysql_async::Value::NULL,
        Value::Integer(n) => mysql_async::Value::Int(*n),
        Value::Real(x) => mysql_async::Value::Double(*x),
        Value::Text(text) => mysql_async::Value::Bytes(text.as_bytes().to_vec()),
        Value::RawText(bytes) | Value::Blob(bytes) => mysql_async::Value::Bytes(bytes.clone()),
    }
}

/// Reads a value of a column.
pub(super) fn from_server(value: mysql_async::Value, column: &Column) -> Value {
    match value {
        mysql_async::Value::NULL => Value::Null,
        mysql_async::Value::Int(n) => Value::Integer(n),
        mysql_async::Value::UInt(n) => {
            i64::try_from(n).map_or_else(|_| Value::Text(n.to_string()), Value::Integer)
        }
        mysql_async::Value::Double(x) => Value::Real(x),
        // The shortest text of a short float is the number a person means; widening adds digits.
        mysql_async::Value::Float(x) => x.to_string().parse().map_or(Value::Null, Value::Real),
        mysql_async::Value::Bytes(bytes) => from_bytes(bytes, column),
        mysql_async::Value::Date(..) | mysql_async::Value::Time(..) => moment(&value, column),
    }
}

/// Reads what the server writes as text.
fn from_bytes(bytes: Vec<u8>, column: &Column) -> Value {
    use ColumnType::*;
    let kind = column.column_type();
    let is_number = matches!(
        kind,
        MYSQL_TYPE_TINY
            | MYSQL_TYPE_SHORT
            | MYSQL_TYPE_INT24
            | MYSQL_TYPE_LONG
            | MYSQL_TYPE_LONGLONG
            | MYSQL_TYPE_YEAR
    );
    // A sum of integers is a decimal without a fraction.
    let is_whole =
        matches!(kind, MYSQL_TYPE_NEWDECIMAL | MYSQL_TYPE_DECIMAL) && column.decimals() == 0;
    let is_bytes = column.character_set() == BINARY
        && matches!(
            kind,
            MYSQL_TYPE_BLOB
                | MYSQL_TYPE_TINY_BLOB
                | MYSQL_TYPE_MEDIUM_BLOB
                | MYSQL_TYPE_LONG_BLOB
                | MYSQL_TYPE_STRING
                | MYSQL_TYPE_VAR_STRING
                | MYSQL_TYPE_VARCHAR
        )
        && column.flags().contains(ColumnFlags::BINARY_FLAG);
    if is_bytes || matches!(kind, MYSQL_TYPE_GEOMETRY | MYSQL_TYPE_BIT) {
        return Value::Blob(bytes);
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Value::Blob(error.into_bytes()),
    };
    let number = match kind {
        _ if is_number || is_whole => text.parse().ok().map(Value::Integer),
        MYSQL_TYPE_FLOAT | MYSQL_TYPE_DOUBLE => text.parse().ok().map(Value::Real),
        _ => None,
    };
    number.unwrap_or(Value::Text(text))
}

/// Writes a date or a time as the server does where it sends text.
fn moment(value: &mysql_async::Value, column: &Column) -> Value {
    let digits = usize::from(column.decimals()).min(6);
    let fraction = |micros: u32| match (digits, micros) {
        (0, 0) => String::new(),
        (0, _) => format!(".{micros:06}"),
        _ => format!(".{micros:06}")[..=digits].to_owned(),
    };
    Value::Text(match *value {
        mysql_async::Value::Date(year, month, day, hour, minute, second, micros) => {
            let date = format!("{year:04}-{month:02}-{day:02}");
            match column.column_type() {
                ColumnType::MYSQL_TYPE_DATE => date,
                _ => format!("{date} {hour:02}:{minute:02}:{second:02}{}", fraction(micros)),
            }
        }
        mysql_async::Value::Time(negative, days, hours, minutes, seconds, micros) => {
            let sign = if negative { "-" } else { "" };
            let hours = days * 24 + u32::from(hours);
            format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{}", fraction(micros))
        }
        _ => return Value::Null,
    })
}
