//! What lost in a merge, the same for every engine: one row of `swarm_conflicts` for each version.

use data_encoding::HEXLOWER;
use serde_json::Value as Json;

use super::Value;

/// The table's name. It does not begin with `dolt`, which the engines reserve.
pub(crate) const TABLE: &str = "swarm_conflicts";

/// A row's version that lost, and what it lost to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// `row`, or the constraint that was broken.
    pub(crate) kind: String,
    /// The table.
    pub(crate) table: String,
    /// The row's key, as JSON.
    pub(crate) key: String,
    /// The version both sides started from, as JSON.
    pub(crate) base: Option<String>,
    /// The version that is gone; `None` where a deletion lost.
    pub(crate) loser: Option<String>,
    /// The version that stands; `None` where there is none.
    pub(crate) winner: Option<String>,
}

impl Record {
    /// A hash over the content: the same conflict is one row, however it was met.
    pub(crate) fn id(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("doltswarm v1 conflict id");
        let mut part = |text: Option<&str>| {
            // The length goes first, so that no two lists of parts run together alike.
            let length = text.map_or(u64::MAX, |text| text.len() as u64);
            hasher.update(&length.to_be_bytes());
            hasher.update(text.unwrap_or("").as_bytes());
        };
        for text in [&self.kind, &self.table, &self.key] {
            part(Some(text));
        }
        for text in [&self.base, &self.loser, &self.winner] {
            part(text.as_deref());
        }
        HEXLOWER.encode(hasher.finalize().as_bytes())
    }
}

/// Writes a row's version as JSON, in the order of its columns.
pub(crate) fn row_json(columns: &[String], values: &[Value]) -> String {
    let fields = columns.iter().cloned().zip(values.iter().map(Value::to_json));
    Json::Object(fields.collect()).to_string()
}
