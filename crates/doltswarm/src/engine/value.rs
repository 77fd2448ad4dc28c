//! SQL values and rows, the same for every engine.

/// One SQL value.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// SQL NULL.
    #[default]
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// A 64-bit float; never NaN, which SQL stores as NULL.
    Real(f64),
    /// Text.
    Text(String),
    /// Text that is not UTF-8, which SQLite's own storage may hold; stored again byte for byte.
    RawText(Vec<u8>),
    /// Bytes.
    Blob(Vec<u8>),
}

impl Value {
    /// Returns the value as JSON, from which [`Value::from_json`] makes the same value again.
    ///
    /// What JSON has no form for is an object with one field, so that it cannot be taken for a
    /// text: a blob is `{"blob": "<lower-case hex>"}`, text that is not UTF-8 `{"text": "<hex>"}`,
    /// and an infinite number `{"real": "inf"}` or `{"real": "-inf"}`.
    pub fn to_json(&self) -> serde_json::Value {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Integer(n) => (*n).into(),
            Self::Real(x) => serde_json::Number::from_f64(*x).map_or_else(
                || serde_json::json!({ "real": if *x > 0.0 { "inf" } else { "-inf" } }),
                Into::into,
            ),
            Self::Text(text) => text.as_str().into(),
            Self::RawText(bytes) => serde_json::json!({ "text": hex(bytes) }),
            Self::Blob(bytes) => serde_json::json!({ "blob": hex(bytes) }),
        }
    }

    /// Reads what [`Value::to_json`] wrote; `None` when the JSON stands for no value.
    pub fn from_json(json: &serde_json::Value) -> Option<Self> {
        use serde_json::Value as Json;
        Some(match json {
            Json::Null => Self::Null,
            Json::Number(number) => match number.as_i64() {
                Some(n) => Self::Integer(n),
                None => Self::Real(number.as_f64()?),
            },
            Json::String(text) => Self::Text(text.clone()),
            Json::Object(fields) if fields.len() == 1 => {
                let (name, text) = fields.iter().next()?;
                let text = text.as_str()?;
                let bytes = || data_encoding::HEXLOWER.decode(text.as_bytes()).ok();
                match (name.as_str(), text) {
                    ("blob", _) => Self::Blob(bytes()?),
                    ("text", _) => Self::RawText(bytes()?),
                    ("real", "inf") => Self::Real(f64::INFINITY),
                    ("real", "-inf") => Self::Real(f64::NEG_INFINITY),
                    _ => return None,
                }
            }
            _ => return None,
        })
    }

    /// The bytes of a text or a blob.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text.as_bytes()),
            Self::RawText(bytes) | Self::Blob(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Integer(n)
    }
}

impl From<f64> for Value {
    fn from(x: f64) -> Self {
        Self::Real(x)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Blob(bytes)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The rows a query gave: every row has one value for each column.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    /// The columns' names, in the order of the query; names may repeat.
    pub columns: Vec<String>,
    /// The rows, in the order of the query.
    pub rows: Vec<Vec<Value>>,
}

/// SQL with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// One statement, or several separated by semicolons where there are no parameters.
    pub sql: String,
    /// Values for the statement's `?`, in order.
    pub params: Vec<Value>,
}

impl Statement {
    /// A statement with parameters.
    pub fn new(sql: impl Into<String>, params: Vec<Value>) -> Self {
        Self { sql: sql.into(), params }
    }
}

impl From<&str> for Statement {
    fn from(sql: &str) -> Self {
        Self::new(sql, Vec::new())
    }
}

impl From<String> for Statement {
    fn from(sql: String) -> Self {
        Self::new(sql, Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let real =
            any::<f64>().prop_filter("SQL has no NaN", |x| !x.is_nan()).prop_map(Value::Real);
        let raw = proptest::collection::vec(any::<u8>(), 0..20);
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Integer),
            real,
            Just(Value::Real(f64::INFINITY)),
            Just(Value::Real(f64::NEG_INFINITY)),
            Just(Value::Real(-0.0)),
            Just(Value::Real(9_223_372_036_854_775_808.0)),
            any::<String>().prop_map(Value::Text),
            raw.clone().prop_map(Value::Blob),
            raw.prop_map(Value::RawText),
        ]
    }

    proptest! {
        #[test]
        fn json_keeps_each_value_exactly(value in values()) {
            let text = value.to_json().to_string();
            let json = serde_json::from_str(&text).expect("it was written as JSON");
            let read = Value::from_json(&json).expect("it stands for a value");
            prop_assert!(crate::engine::total::same_value(&read, &value), "{value:?} {text} {read:?}");
        }
    }
}
