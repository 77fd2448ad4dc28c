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
    /// Bytes.
    Blob(Vec<u8>),
}

impl Value {
    /// Returns the value as JSON. A blob becomes `{"blob": "<lower-case hex>"}`, so that it cannot be
    /// taken for a text.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Integer(n) => (*n).into(),
            Self::Real(x) => {
                serde_json::Number::from_f64(*x).map_or(serde_json::Value::Null, Into::into)
            }
            Self::Text(text) => text.as_str().into(),
            Self::Blob(bytes) => {
                serde_json::json!({ "blob": data_encoding::HEXLOWER.encode(bytes) })
            }
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
