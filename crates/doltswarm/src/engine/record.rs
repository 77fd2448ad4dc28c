//! What lost in a merge, the same for every engine: one row of `swarm_conflicts` for each version.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::RECORDED_VALUE_BYTES_MAX;
use serde_json::{Map, Value as Json};

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
    /// A definition of ours that does not stand: `object` says what it is (`table`, `view`, …), the
    /// versions are base, ours and theirs.
    pub(crate) fn definition(object: &str, name: &str, versions: [Option<&str>; 3]) -> Self {
        let [base, loser, winner] = versions.map(|sql| sql.map(definition_json));
        let (kind, key) = ("schema".to_owned(), object_key(object));
        Self { kind, table: name.to_owned(), key, base, loser, winner }
    }

    /// An object that cannot work any more after a merge, and so goes.
    pub(crate) fn unusable(object: &str, name: &str, sql: &str) -> Self {
        let (kind, key) = ("object".to_owned(), object_key(object));
        let loser = Some(definition_json(sql));
        Self { kind, table: name.to_owned(), key, base: None, loser, winner: None }
    }

    /// A hash over the content and over what the two sides were compared with: the same conflict is
    /// one row however it was met, and a later dispute over the same values is another one.
    pub(crate) fn id(&self, base: &CommitHash) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("doltswarm v2 conflict id");
        let mut part = |bytes: Option<&[u8]>| {
            // The length goes first, so that no two lists of parts run together alike.
            let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
            hasher.update(&length.to_be_bytes());
            hasher.update(bytes.unwrap_or(&[]));
        };
        part(Some(base.as_bytes()));
        for text in [&self.kind, &self.table, &self.key] {
            part(Some(text.as_bytes()));
        }
        for text in [&self.base, &self.loser, &self.winner] {
            part(text.as_deref().map(str::as_bytes));
        }
        HEXLOWER.encode(hasher.finalize().as_bytes())
    }

    /// Leaves out the columns in which no version differs from another, when there are a loser and
    /// a winner; a version that stands alone is recorded whole.
    fn trim(mut self) -> Self {
        let object = |text: &Option<String>| match text.as_deref().map(serde_json::from_str) {
            Some(Ok(Json::Object(fields))) => Some(fields),
            _ => None,
        };
        let versions = [&self.base, &self.loser, &self.winner].map(object);
        let [_, Some(loser), Some(winner)] = &versions else { return self };
        let names: Vec<_> = winner.keys().chain(loser.keys()).cloned().collect();
        let differs = |name: &String| {
            // A column that a version does not have holds nothing in it.
            let value =
                |version: &Map<String, Json>| version.get(name).cloned().unwrap_or_default();
            let mut values = versions.iter().flatten().map(value);
            let first = values.next().unwrap_or_default();
            values.any(|value| value != first)
        };
        let keep: BTreeSet<String> = names.into_iter().filter(differs).collect();
        if keep.is_empty() {
            return self;
        }
        let [base, loser, winner] = versions.map(|version| {
            let fields = version?.into_iter().filter(|(name, _)| keep.contains(name));
            Some(Json::Object(fields.collect()).to_string())
        });
        (self.base, self.loser, self.winner) = (base, loser, winner);
        self
    }
}

fn object_key(object: &str) -> String {
    serde_json::json!({ "object": object }).to_string()
}

fn definition_json(sql: &str) -> String {
    serde_json::json!({ "sql": sql }).to_string()
}

/// The records of one merge by id, as they are stored. `base` is what the two sides were compared
/// with.
pub(crate) fn by_id(records: &[Record], base: &CommitHash) -> BTreeMap<String, Record> {
    let trimmed = records.iter().map(|record| record.clone().trim());
    trimmed.map(|record| (record.id(base), record)).collect()
}

/// Writes a row's version as JSON, in the order of its columns. A large text or blob is written as
/// its length and hash ([`RECORDED_VALUE_BYTES_MAX`]).
pub(crate) fn row_json(columns: &[String], values: &[Value]) -> String {
    let fields = columns.iter().cloned().zip(values.iter().map(value_json));
    Json::Object(fields.collect()).to_string()
}

fn value_json(value: &Value) -> Json {
    match value.bytes() {
        Some(bytes) if bytes.len() > RECORDED_VALUE_BYTES_MAX => {
            let hash = blake3::hash(bytes).to_hex();
            serde_json::json!({ "bytes": bytes.len(), "blake3": hash.as_str() })
        }
        _ => value.to_json(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(versions: [Option<&str>; 3]) -> Record {
        let [base, loser, winner] = versions.map(|text| text.map(str::to_owned));
        let (kind, table, key) = ("row".to_owned(), "t".to_owned(), r#"{"id":1}"#.to_owned());
        Record { kind, table, key, base, loser, winner }
    }

    #[test]
    fn only_columns_that_differ_are_recorded() {
        let versions =
            [r#"{"id":1,"a":0,"b":2}"#, r#"{"id":1,"a":1,"b":2}"#, r#"{"id":1,"a":3,"b":2}"#];
        let trimmed = record(versions.map(Some)).trim();
        assert_eq!(trimmed.base.as_deref(), Some(r#"{"a":0}"#));
        assert_eq!(trimmed.loser.as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(trimmed.winner.as_deref(), Some(r#"{"a":3}"#));
        let alone = record([Some(versions[0]), Some(versions[1]), None]);
        assert_eq!(alone.clone().trim(), alone);
    }

    #[test]
    fn another_base_makes_another_conflict() {
        let record = record([None, Some("{}"), None]);
        let [a, b] = [1, 2].map(|n| record.id(&CommitHash::from_bytes([n; 20])));
        assert_ne!(a, b);
    }

    #[test]
    fn large_values_are_recorded_by_length_and_hash() {
        let columns = ["a".to_owned(), "b".to_owned()];
        let large = Value::Blob(vec![7; RECORDED_VALUE_BYTES_MAX + 1]);
        let text = row_json(&columns, &[large.clone(), "small".into()]);
        let hash = blake3::hash(large.bytes().unwrap()).to_hex();
        assert_eq!(text, format!(r#"{{"a":{{"bytes":4097,"blake3":"{hash}"}},"b":"small"}}"#));
        let fits = row_json(&columns[..1], &[Value::Text("x".repeat(RECORDED_VALUE_BYTES_MAX))]);
        assert_eq!(fits.len(), RECORDED_VALUE_BYTES_MAX + r#"{"a":""}"#.len());
    }
}
