//! The table `swarm_conflicts`: one row for each version of a row that lost.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use serde_json::Value as Json;

use super::connection::During;
use super::ffi::{Connection, SqliteError};
use crate::engine::{EngineError, EngineResult, Value};

/// The table's name. It does not begin with `dolt`, which the engine reserves.
pub(super) const TABLE: &str = "swarm_conflicts";

const CREATE: &str = "CREATE TABLE swarm_conflicts (
    id TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    table_name TEXT NOT NULL,
    row_key TEXT NOT NULL,
    base TEXT,
    loser TEXT,
    winner TEXT,
    state TEXT NOT NULL CHECK (state IN ('open', 'resolved'))
)";

/// A row's version that lost, and what it lost to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// `row`, or the constraint that was broken.
    pub(super) kind: String,
    /// The table.
    pub(super) table: String,
    /// The row's key, as JSON.
    pub(super) key: String,
    /// The version both sides started from, as JSON.
    pub(super) base: Option<String>,
    /// The version that is gone; `None` where a deletion lost.
    pub(super) loser: Option<String>,
    /// The version that stands; `None` where there is none.
    pub(super) winner: Option<String>,
}

impl Record {
    /// A hash over the content: the same conflict is one row, however it was met.
    fn id(&self) -> String {
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
pub(super) fn row_json(columns: &[String], values: &[Value]) -> String {
    let fields = columns.iter().cloned().zip(values.iter().map(Value::to_json));
    Json::Object(fields.collect()).to_string()
}

/// Creates the table; refuses where something of that name is there.
pub(super) fn create_table(main: &Connection) -> EngineResult<()> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE name = ? COLLATE NOCASE";
    if !main.rows(sql, &[TABLE.into()]).during("look for swarm_conflicts")?.is_empty() {
        let message = format!(
            "the database already has a table `{TABLE}`: it belongs to a swarm already, or the \
             table has to be renamed first"
        );
        return Err(EngineError::Rejected { message });
    }
    main.batch(CREATE).during("create swarm_conflicts")
}

/// Adds `records` as open conflicts, but those that the table has already, open or resolved. Returns
/// how many were new.
pub(super) fn add(connection: &Connection, records: &[Record]) -> Result<u64, SqliteError> {
    let rows: BTreeMap<_, _> = records.iter().map(|record| (record.id(), record)).collect();
    let before = connection.total_changes();
    for (id, record) in rows {
        let sql = "INSERT INTO swarm_conflicts \
                   (id, kind, table_name, row_key, base, loser, winner, state) \
                   VALUES (?, ?, ?, ?, ?, ?, ?, 'open') ON CONFLICT (id) DO NOTHING";
        let params = [
            id.into(),
            record.kind.clone().into(),
            record.table.clone().into(),
            record.key.clone().into(),
            record.base.clone().into(),
            record.loser.clone().into(),
            record.winner.clone().into(),
        ];
        connection.run(sql, &params)?;
    }
    Ok(connection.total_changes() - before)
}
