//! What changed between two commits.

use std::path::Path;

use doltswarm_core::id::CommitHash;

use super::commit::require;
use super::connection::{During, hash_value, head, open_at, quote, text};
use super::ffi::Connection;
use super::table::Table;
use crate::engine::{EngineError, EngineResult, RowChange, TableDiff, Value};

/// The names of the tables that differ, sorted.
pub(super) fn changed_tables(
    connection: &Connection,
    from: &CommitHash,
    to: &CommitHash,
) -> EngineResult<Vec<String>> {
    require(connection, from)?;
    require(connection, to)?;
    let sql = "SELECT from_table_name, to_table_name FROM dolt_diff_summary(?, ?)";
    let params = [hash_value(from), hash_value(to)];
    let rows = connection.rows(sql, &params).during("list the changed tables")?;
    let names = rows.iter().flatten().map(|name| text(Some(name)).to_owned());
    // Views and triggers are listed under a name of the engine's own; they are no tables.
    let mut names: Vec<_> =
        names.filter(|name| !name.is_empty() && name != "dolt_schemas").collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// The statements that make a table, its indexes and its triggers as they were at a commit.
pub(super) fn definition(
    path: &Path,
    connection: &Connection,
    at: &CommitHash,
    table: &str,
) -> EngineResult<Vec<String>> {
    require(connection, at)?;
    let sql = "SELECT sql FROM sqlite_schema WHERE tbl_name = ?1 COLLATE NOCASE AND sql IS NOT NULL \
               AND type IN ('table', 'index', 'trigger') \
               ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 ELSE 2 END, name";
    let rows = open_at(path, at)?.rows(sql, &[table.into()]).during("read a definition")?;
    Ok(rows.iter().map(|row| text(row.first()).to_owned()).collect())
}

/// The rows of a table that differ.
pub(super) fn diff(
    path: &Path,
    connection: &Connection,
    from: &CommitHash,
    to: &CommitHash,
    name: &str,
    limit: usize,
) -> EngineResult<TableDiff> {
    require(connection, from)?;
    require(connection, to)?;
    let sql = "SELECT max(schema_change) FROM dolt_diff_summary(?, ?) \
               WHERE from_table_name = ? COLLATE NOCASE OR to_table_name = ? COLLATE NOCASE";
    let params = [hash_value(from), hash_value(to), name.into(), name.into()];
    let rows = connection.rows(sql, &params).during("compare a table's definitions")?;
    let schema_changed = rows.first().and_then(|row| row.first()) == Some(&Value::Integer(1));
    if !schema_changed && head(connection)? == *to {
        // The usual case, without opening the file again. A connection may not know the engine's
        // tables about a table that came later; then it is not the usual case.
        if let Some(diff) = diff_here(connection, from, to, name, limit)? {
            return Ok(diff);
        }
    }
    // The engine shows both sides of a difference with the columns that the table has where the
    // connection stands.
    let after = side(path, to, name)?;
    let before = if schema_changed { side(path, from, name)? } else { None };
    let (Some((connection, table)), other) = (match after {
        Some(after) => (Some(after), before),
        None => (before, None),
    }) else {
        let message = format!("there is no table `{name}` in either commit");
        return Err(EngineError::Rejected { message });
    };
    let mut diff = empty(&connection, table.name, schema_changed)?;
    read_rows(&connection, from, to, &mut diff, limit)?;
    if let Some((connection, _)) = other {
        add_dropped_columns(&connection, from, to, &mut diff, limit)?;
    }
    Ok(diff)
}

/// The difference as a connection on main sees it, if it knows the table.
fn diff_here(
    connection: &Connection,
    from: &CommitHash,
    to: &CommitHash,
    name: &str,
    limit: usize,
) -> EngineResult<Option<TableDiff>> {
    let Some(table) = Table::load(connection, name)? else { return Ok(None) };
    let sql = "SELECT count(*) FROM pragma_table_xinfo(?) WHERE hidden <> 1";
    let shown = Value::Text(format!("dolt_diff_{}", table.name));
    let width = connection.rows(sql, &[shown]).during("read a table's columns")?;
    let expected = i64::try_from(2 * table.width() + 5).unwrap_or(i64::MAX);
    if width.first().and_then(|row| row.first()) != Some(&Value::Integer(expected)) {
        return Ok(None);
    }
    let mut diff = empty(connection, table.name, false)?;
    read_rows(connection, from, to, &mut diff, limit)?;
    Ok(Some(diff))
}

fn empty(connection: &Connection, table: String, schema_changed: bool) -> EngineResult<TableDiff> {
    let columns = table_columns(connection, &table)?;
    Ok(TableDiff { table, schema_changed, columns, rows: Vec::new(), truncated: false })
}

/// The database at a commit, if the table is there.
fn side(path: &Path, at: &CommitHash, name: &str) -> EngineResult<Option<(Connection, Table)>> {
    let connection = open_at(path, at)?;
    let table = Table::load(&connection, name)?;
    Ok(table.map(|table| (connection, table)))
}

/// The columns that the engine shows in a difference: all of them, generated ones too.
fn table_columns(connection: &Connection, name: &str) -> EngineResult<Vec<String>> {
    let sql = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden <> 1";
    let rows = connection.rows(sql, &[name.into()]).during("read a table's columns")?;
    Ok(rows.iter().map(|row| text(row.first()).to_owned()).collect())
}

fn read_rows(
    connection: &Connection,
    from: &CommitHash,
    to: &CommitHash,
    diff: &mut TableDiff,
    limit: usize,
) -> EngineResult<()> {
    let table = quote(&format!("dolt_diff_{}", diff.table));
    let sql = format!("SELECT * FROM {table}(?, ?)");
    let params = [hash_value(from), hash_value(to)];
    let (rows, more) = connection.read(&sql, &params, limit).during("compare a table")?;
    diff.truncated = more;
    // to, to_commit, to_commit_date, from, from_commit, from_commit_date, diff_type: by place,
    // because a user's column may have one of these names.
    let width = diff.columns.len();
    for row in rows.rows {
        let (Some(after), Some(before), Some(kind), true) = (
            row.get(..width),
            row.get(width + 2..2 * width + 2),
            row.last(),
            row.len() == 2 * width + 5,
        ) else {
            return Err(EngineError::Failed {
                what: "compare a table",
                message: format!("`{}` has other columns than its difference", diff.table),
            });
        };
        let kind = text(Some(kind));
        diff.rows.push(RowChange {
            before: (kind != "added").then(|| before.to_vec()),
            after: (kind != "removed").then(|| after.to_vec()),
        });
    }
    Ok(())
}

/// Adds the columns that only the older definition has: the same rows, seen from there.
fn add_dropped_columns(
    connection: &Connection,
    from: &CommitHash,
    to: &CommitHash,
    diff: &mut TableDiff,
    limit: usize,
) -> EngineResult<()> {
    let columns = table_columns(connection, &diff.table)?;
    let dropped: Vec<_> =
        (0..columns.len()).filter(|place| !diff.columns.contains(&columns[*place])).collect();
    if dropped.is_empty() {
        return Ok(());
    }
    let mut older = TableDiff { columns, rows: Vec::new(), ..diff.clone() };
    read_rows(connection, from, to, &mut older, limit)?;
    for (place, change) in diff.rows.iter_mut().enumerate() {
        let values = |row: Option<&Vec<Value>>| -> Vec<Value> {
            let value = |place: &usize| row.and_then(|row| row.get(*place).cloned());
            dropped.iter().map(|place| value(place).unwrap_or(Value::Null)).collect()
        };
        let older = older.rows.get(place);
        if let Some(before) = &mut change.before {
            before.extend(values(older.and_then(|change| change.before.as_ref())));
        }
        if let Some(after) = &mut change.after {
            after.extend(values(None));
        }
    }
    diff.columns.extend(dropped.iter().map(|place| older.columns[*place].clone()));
    Ok(())
}
