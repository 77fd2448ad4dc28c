//! The table `swarm_conflicts` as SQL.

use std::collections::BTreeMap;

use doltswarm_core::id::CommitHash;

use super::connection::{During, hash_value};
use super::ffi::{Connection, SqliteError};
use crate::engine::{EngineError, EngineResult};

pub(super) use crate::engine::record::{Record, TABLE, row_json};

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

/// Makes the table what it is in `commit`.
pub(super) fn restore(connection: &Connection, commit: &CommitHash) -> Result<(), SqliteError> {
    connection.run("DELETE FROM swarm_conflicts", &[])?;
    let sql = "INSERT INTO swarm_conflicts \
               (id, kind, table_name, row_key, base, loser, winner, state) \
               SELECT id, kind, table_name, row_key, base, loser, winner, state \
               FROM dolt_at_swarm_conflicts(?)";
    connection.run(sql, &[hash_value(commit)])
}
