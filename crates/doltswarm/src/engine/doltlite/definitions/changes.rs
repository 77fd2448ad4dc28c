//! What one side did to the rows of a table since the base.

use doltswarm_core::id::CommitHash;

use super::super::connection::{During, hash_value, quote, text};
use super::super::ffi::Connection;
use super::super::table::Table;
use crate::engine::total::same_row;
use crate::engine::{EngineError, EngineResult, Value};

/// By what a row is the same row in two commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Identity {
    /// The values of these columns.
    Columns(Vec<String>),
    /// The hidden number of a table without a primary key.
    Number,
    /// Nothing: the definitions have no key in common, so each row is a new one.
    Nothing,
}

/// A row that a side added, changed or removed.
#[derive(Debug)]
pub(super) struct Change {
    /// What identifies the row; empty for [`Identity::Nothing`].
    pub(super) identity: Vec<Value>,
    /// The row in the base, in the columns of the base's table.
    pub(super) before: Option<Vec<Value>>,
    /// The row on the side, in the columns of the side's table.
    pub(super) after: Option<Vec<Value>>,
}

/// A table of one commit.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    /// The database as it is in the commit.
    pub(super) connection: &'a Connection,
    /// The commit.
    pub(super) commit: &'a CommitHash,
    /// The table.
    pub(super) table: &'a Table,
    /// The statement that created it.
    pub(super) sql: &'a str,
}

/// The changes from `base` to `side`, in an order that depends on the two commits alone.
pub(super) fn changes(
    base: Option<At<'_>>,
    side: At<'_>,
    identity: &Identity,
) -> EngineResult<Vec<Change>> {
    let key = side.table.key_names();
    let by_key = match identity {
        Identity::Columns(names) => names.iter().map(String::as_str).eq(key.iter().copied()),
        _ => false,
    };
    match base {
        Some(base) if by_key && base.sql == side.sql => from_difference(base, side),
        base => from_rows(base, side, identity),
    }
}

/// Reads the engine's own difference: costs what differs.
fn from_difference(base: At<'_>, side: At<'_>) -> EngineResult<Vec<Change>> {
    let table = side.table;
    let sql = format!("SELECT * FROM {}(?, ?)", quote(&format!("dolt_diff_{}", table.name)));
    let params = [hash_value(base.commit), hash_value(side.commit)];
    let rows = side.connection.rows(&sql, &params).during("compare a table")?;
    let width = table.width();
    let mut changes = Vec::new();
    for row in rows {
        // to, to_commit, to_commit_date, from, from_commit, from_commit_date, diff_type
        let side = |from: usize| table.pick(row.get(from..from + width)?);
        let kind = text(row.last());
        if row.len() != 2 * width + 5 {
            return Err(EngineError::Failed {
                what: "compare a table",
                message: format!("`{}` has other columns than its difference", table.name),
            });
        }
        let after = if kind == "removed" { None } else { side(0) };
        let before = if kind == "added" { None } else { side(width + 2) };
        let identity = table.key_of(after.as_ref().or(before.as_ref()).map_or(&[], Vec::as_slice));
        changes.push(Change { identity, before, after });
    }
    Ok(changes)
}

/// Compares all rows: for tables whose definition changed, and those without a key.
fn from_rows(base: Option<At<'_>>, side: At<'_>, identity: &Identity) -> EngineResult<Vec<Change>> {
    let mut changes = Vec::new();
    if *identity == Identity::Nothing {
        side.table.scan(side.connection, identity, |identity, row| {
            changes.push(Change { identity, before: None, after: Some(row) });
            Ok(())
        })?;
        return Ok(changes);
    }
    let common = base.map(|base| common(base.table, side.table)).unwrap_or_default();
    side.table.scan(side.connection, identity, |id, row| {
        let before = match base {
            Some(base) => base.table.find(base.connection, identity, &id)?,
            None => None,
        };
        let is_same = before.as_ref().is_some_and(|before| {
            let [a, b] = [(before, 0), (&row, 1)].map(|(row, side)| {
                common.pairs.iter().map(|pair| row[pair[side]].clone()).collect::<Vec<_>>()
            });
            common.is_all && same_row(&a, &b)
        });
        if !is_same {
            changes.push(Change { identity: id, before, after: Some(row) });
        }
        Ok(())
    })?;
    let Some(base) = base else { return Ok(changes) };
    base.table.scan(base.connection, identity, |id, row| {
        if side.table.find(side.connection, identity, &id)?.is_none() {
            changes.push(Change { identity: id, before: Some(row), after: None });
        }
        Ok(())
    })?;
    Ok(changes)
}

/// The columns that two tables share, as pairs of positions.
#[derive(Default)]
struct Common {
    pairs: Vec<[usize; 2]>,
    /// Whether neither has another column.
    is_all: bool,
}

fn common(a: &Table, b: &Table) -> Common {
    let place = |name: &String| b.columns.iter().position(|o| o.eq_ignore_ascii_case(name));
    let pairs: Vec<_> =
        a.columns.iter().enumerate().filter_map(|(at, name)| Some([at, place(name)?])).collect();
    let is_all = pairs.len() == a.columns.len() && pairs.len() == b.columns.len();
    Common { pairs, is_all }
}
