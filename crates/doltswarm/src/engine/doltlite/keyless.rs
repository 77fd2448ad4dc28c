//! Settling row conflicts of tables without a primary key.
//!
//! Their rows go by a number that each side counts up on its own. So new rows of the two sides meet
//! under one number without having anything to do with each other: both stand. Where a row that was
//! there before was changed on both sides, only the engine knows which is which.

use super::ffi::{Connection, SqliteError};
use super::settle::{
    CONSTRAINT, RowConflict, Settlement, Stop, constraint_kind, impossible, stuck,
};
use super::table::Table;
use crate::engine::Value;

/// Settles the conflicts of one table.
pub(super) fn settle(
    settlement: &mut Settlement<'_>,
    table: &Table,
    conflicts: Vec<RowConflict>,
) -> Result<(), Stop> {
    let (added, changed): (Vec<_>, Vec<_>) = conflicts.into_iter().partition(is_added_twice);
    for conflict in &changed {
        settlement.record_row(table, conflict);
    }
    // Taking theirs' versions is what the engine refuses where a foreign key would break, so it is
    // asked only where there is no other way.
    let appends_theirs = changed.is_empty();
    if appends_theirs {
        settlement.clear_conflicts(&table.name)?;
    } else {
        take_theirs(settlement.connection, &table.name)?;
    }
    for RowConflict { ours, theirs, .. } in added {
        match (ours, theirs, appends_theirs) {
            (_, Some(row), true) => append_theirs(settlement, table, &row)?,
            (Some(row), _, false) => append(settlement, table, &row)?,
            _ => {}
        }
    }
    Ok(())
}

fn is_added_twice(conflict: &RowConflict) -> bool {
    conflict.base.is_none() && conflict.ours.is_some() && conflict.theirs.is_some()
}

fn take_theirs(connection: &Connection, name: &str) -> Result<(), Stop> {
    let sql = "SELECT dolt_conflicts_resolve('--theirs', ?)";
    connection.run(sql, &[name.into()]).map_err(|error| {
        impossible(error, name, "settle the conflicts", "give the table a primary key")
    })
}

/// Adds a row of theirs. Rows of ours that have what only one row may have make way for it.
fn append_theirs(
    settlement: &mut Settlement<'_>,
    table: &Table,
    row: &[Value],
) -> Result<(), Stop> {
    let connection = settlement.connection;
    loop {
        let lost = match table.append(connection, row) {
            Ok(None) => return Ok(()),
            Ok(Some(there)) if !settlement.theirs_has(table, &there)? => {
                table.delete_equal(connection, &there).map_err(|error| stuck(error, table))?;
                settlement.record_lost(table, "unique", &there);
                continue;
            }
            Ok(Some(_)) => "unique",
            Err(error) => kind_of(error, table)?,
        };
        settlement.record_lost(table, lost, row);
        return Ok(());
    }
}

/// Adds a row, or records it where a constraint does not let it in.
fn append(settlement: &mut Settlement<'_>, table: &Table, row: &[Value]) -> Result<(), Stop> {
    let lost = match table.append(settlement.connection, row) {
        Ok(None) => return Ok(()),
        Ok(Some(_)) => "unique",
        Err(error) => kind_of(error, table)?,
    };
    settlement.record_lost(table, lost, row);
    Ok(())
}

fn kind_of(error: SqliteError, table: &Table) -> Result<&'static str, Stop> {
    if error.code & 0xff == CONSTRAINT {
        return Ok(constraint_kind(&error));
    }
    Err(stuck(error, table))
}
