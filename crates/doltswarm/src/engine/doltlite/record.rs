//! The table `swarm_conflicts` as SQL.

use doltswarm_core::id::CommitHash;

use super::connection::{During, hash_value, text};
use super::definitions::creates_the_same;
use super::ffi::{Connection, SqliteError};
use crate::engine::{EngineError, EngineResult, Value};

use crate::engine::record::by_id;
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

/// Adds `records` as open conflicts, but those that the table has already, open or resolved.
/// Returns how many were new.
pub(super) fn add(
    connection: &Connection,
    records: &[Record],
    base: &CommitHash,
) -> Result<u64, SqliteError> {
    let rows = by_id(records, base);
    let before = connection.total_changes();
    for (id, record) in rows {
        let sql = "INSERT INTO swarm_conflicts \
                   (id, kind, table_name, row_key, base, loser, winner, state) \
                   VALUES (?, ?, ?, ?, ?, ?, ?, 'open') ON CONFLICT (id) DO NOTHING";
        let params = [
            id.into(),
            record.kind.into(),
            record.table.into(),
            record.key.into(),
            record.base.into(),
            record.loser.into(),
            record.winner.into(),
        ];
        connection.run(sql, &params)?;
    }
    Ok(connection.total_changes() - before)
}

/// The columns of a record but its state.
const CONTENT: [&str; 7] = ["id", "kind", "table_name", "row_key", "base", "loser", "winner"];

/// Whether the table has the form it was founded with.
pub(super) fn has_form(connection: &Connection) -> EngineResult<bool> {
    let sql = "SELECT sql FROM sqlite_schema WHERE name = ? COLLATE NOCASE";
    let rows = connection.rows(sql, &[TABLE.into()]).during("look for swarm_conflicts")?;
    // The engine writes a definition in another way than it was given.
    Ok(rows.first().is_some_and(|row| creates_the_same(text(row.first()), CREATE)))
}

/// Makes sure that the table has the form it was founded with. One that was dropped or altered is
/// made anew, with what it held in `base`; what came after comes back with [`keep`].
pub(super) fn ensure_table(connection: &Connection, base: &CommitHash) -> EngineResult<()> {
    if has_form(connection)? {
        return Ok(());
    }
    for kind in ["TABLE", "VIEW"] {
        // The other kind is refused.
        let _ = connection.batch(&format!("DROP {kind} IF EXISTS {TABLE}"));
    }
    connection.batch(CREATE).during("make swarm_conflicts anew")?;
    restore(connection, base).during("make swarm_conflicts anew")
}

/// The table only grows: brings back what `side` removed or rewrote of the records of `base`, and,
/// when `takes` says so, adds those that it added and resolves those that it resolved.
pub(super) fn keep(
    connection: &Connection,
    base: &CommitHash,
    side: &CommitHash,
    takes: bool,
) -> EngineResult<()> {
    let wanted = |side: &str| CONTENT.map(|name| format!("{side}_{name}")).join(", ");
    let sql = format!(
        "SELECT diff_type, from_state, to_state, {}, {} FROM dolt_diff_swarm_conflicts(?, ?)",
        wanted("from"),
        wanted("to")
    );
    let rows = connection.rows(&sql, &[hash_value(base), hash_value(side)]);
    for row in rows.during("compare the conflicts")? {
        let (before, after) = (row.get(3..10).unwrap_or(&[]), row.get(10..17).unwrap_or(&[]));
        let kind = text(row.first());
        let resolved = |column| text(row.get(column)) == "resolved";
        match kind {
            "added" if takes => put(connection, after, resolved(2), false)?,
            "added" => {}
            "removed" => put(connection, before, resolved(1), true)?,
            _ if before != after => put(connection, before, resolved(1) || resolved(2), true)?,
            _ if takes || resolved(1) => {
                put(connection, before, resolved(1) || resolved(2), false)?
            }
            _ => {}
        }
    }
    Ok(())
}

/// Puts one record in. What is resolved stays resolved.
fn put(
    connection: &Connection,
    content: &[Value],
    resolved: bool,
    rewrite: bool,
) -> EngineResult<()> {
    let state = if resolved { "resolved" } else { "open" };
    let sets: Vec<_> =
        CONTENT[1..].iter().map(|name| format!("{name} = excluded.{name}")).collect();
    let sets = if rewrite { format!("{}, ", sets.join(", ")) } else { String::new() };
    let sql = format!(
        "INSERT INTO swarm_conflicts ({}, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET {sets}\
         state = CASE WHEN excluded.state = 'resolved' THEN 'resolved' ELSE state END",
        CONTENT.join(", ")
    );
    let params: Vec<_> = content.iter().cloned().chain([Value::from(state)]).collect();
    connection.run(&sql, &params).during("keep a conflict")
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
