//! Reading a recorded cell back.

use serde_json::Value as Json;

use crate::engine::Value;

/// In a version of a row of a table without a primary key: how many equal rows it stands for.
pub(in crate::swarm) const COUNT: &str = "×";

/// A cell of a recorded version.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::swarm) enum Cell {
    /// A value, exactly as it was.
    Value(Value),
    /// A value that the record names only by its length and hash.
    Large {
        /// Its length, in bytes.
        bytes: u64,
    },
}

impl Cell {
    /// Reads a cell of a record; `None` if the JSON is not of one.
    pub(in crate::swarm) fn from_json(json: &Json) -> Option<Self> {
        if let Some(bytes) = json.get("bytes").filter(|_| json.get("blake3").is_some()) {
            return Some(Self::Large { bytes: bytes.as_u64()? });
        }
        Value::from_json(json).map(Self::Value)
    }
}
