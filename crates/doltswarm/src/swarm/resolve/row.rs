//! Writing one row that a conflict recorded.
//!
//! Names are quoted with back ticks, which both engines take.

use doltswarm_core::limits::QUERY_ROWS_MAX;
use serde_json::Value as Json;

use super::cell::{COUNT, Cell};
use super::rejected;
use crate::engine::{EngineResult, Statement, TableShape, Transaction, Value};
use crate::swarm::Conflict;

/// A version of a row: columns with their values, in the order of the record.
pub(in crate::swarm) type Version = Vec<(String, Cell)>;

/// What a conflict recorded of a row.
pub(in crate::swarm) struct Versions {
    /// The key; without a primary key, the whole row.
    pub(in crate::swarm) key: Version,
    pub(in crate::swarm) base: Option<Version>,
    pub(in crate::swarm) loser: Option<Version>,
    pub(in crate::swarm) winner: Option<Version>,
}

impl Versions {
    /// Reads the record; `None` if it is not about a row.
    pub(in crate::swarm) fn of(conflict: &Conflict) -> Option<Self> {
        let optional = |json: &Json| match json {
            Json::Null => Some(None),
            json => version(json).map(Some),
        };
        Some(Self {
            key: version(&conflict.row_key)?,
            base: optional(&conflict.base)?,
            loser: optional(&conflict.loser)?,
            winner: optional(&conflict.winner)?,
        })
    }
}

fn version(json: &Json) -> Option<Version> {
    let cells = json.as_object()?.iter();
    cells.map(|(column, json)| Some((column.clone(), Cell::from_json(json)?))).collect()
}

pub(super) fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The value of a cell, if the record has it.
fn value_of(column: &str, cell: &Cell) -> EngineResult<Value> {
    match cell {
        Cell::Value(value) => Ok(value.clone()),
        Cell::Large { bytes } => Err(rejected(format!(
            "the value of `{column}` has {bytes} bytes, which the record names by their hash, and it \
             was not found in the history"
        ))),
    }
}

/// `column = ?` for all of `cells`, joined by AND.
fn equal(cells: &[(&str, &Cell)]) -> EngineResult<(String, Vec<Value>)> {
    let (mut terms, mut params) = (Vec::new(), Vec::new());
    for (column, cell) in cells {
        if matches!(cell, Cell::Value(Value::Null)) {
            terms.push(format!("{} IS NULL", quote(column)));
            continue;
        }
        terms.push(format!("{} = ?", quote(column)));
        params.push(value_of(column, cell)?);
    }
    Ok((terms.join(" AND "), params))
}

/// The name of `column` as the table has it now.
fn present<'a>(table: &str, shape: &'a TableShape, column: &str) -> EngineResult<&'a str> {
    let found = shape.columns.iter().find(|name| name.eq_ignore_ascii_case(column));
    found.map(String::as_str).ok_or_else(|| {
        rejected(format!("`{table}` has no column `{column}` any more that could be written"))
    })
}

fn insert(
    transaction: &mut dyn Transaction,
    table: &str,
    cells: &[(&str, &Cell)],
) -> EngineResult<()> {
    let (mut names, mut params) = (Vec::new(), Vec::new());
    for (column, cell) in cells {
        names.push(quote(column));
        params.push(value_of(column, cell)?);
    }
    let (names, marks) = (names.join(", "), vec!["?"; cells.len()].join(", "));
    let sql = format!("INSERT INTO {} ({names}) VALUES ({marks})", quote(table));
    transaction.execute(&Statement::new(sql, params)).map(|_| ())
}

/// The row under one key.
pub(in crate::swarm) struct Row<'a> {
    table: &'a str,
    shape: &'a TableShape,
    /// The key's columns, as the table has them now.
    key: Vec<(&'a str, &'a Cell)>,
}

impl<'a> Row<'a> {
    /// The row of `table` with this key.
    pub(in crate::swarm) fn new(
        table: &'a str,
        shape: &'a TableShape,
        key: &'a Version,
    ) -> EngineResult<Self> {
        let find = |name: &String| key.iter().find(|(column, _)| column.eq_ignore_ascii_case(name));
        let cells: Vec<_> = shape
            .key
            .iter()
            .filter_map(|name| find(name).map(|(_, cell)| (name.as_str(), cell)))
            .collect();
        if cells.len() != shape.key.len() || cells.len() != key.len() {
            return Err(rejected(format!(
                "the primary key of `{table}` is not any more what it was: keep the winner, and \
                 change the rows with an exec"
            )));
        }
        Ok(Self { table, shape, key: cells })
    }

    /// Whether the row is there now.
    pub(in crate::swarm) fn exists(&self, transaction: &mut dyn Transaction) -> EngineResult<bool> {
        let (condition, params) = equal(&self.key)?;
        let sql = format!("SELECT 1 FROM {} WHERE {condition}", quote(self.table));
        Ok(!transaction.query(&sql, &params, 1)?.rows.is_empty())
    }

    /// Reads the row as it is now: the columns that can be written.
    pub(in crate::swarm) fn read(
        &self,
        transaction: &mut dyn Transaction,
    ) -> EngineResult<Option<Version>> {
        let (condition, params) = equal(&self.key)?;
        let names = self.shape.columns.iter().map(|name| quote(name)).collect::<Vec<_>>();
        let (names, table) = (names.join(", "), quote(self.table));
        let sql = format!("SELECT {names} FROM {table} WHERE {condition}");
        let row = transaction.query(&sql, &params, 1)?.rows.pop();
        let cells = |row: Vec<Value>| {
            let columns = self.shape.columns.iter().cloned();
            columns.zip(row.into_iter().map(Cell::Value)).collect()
        };
        Ok(row.map(cells))
    }

    /// Takes the row away.
    pub(in crate::swarm) fn delete(&self, transaction: &mut dyn Transaction) -> EngineResult<()> {
        let (condition, params) = equal(&self.key)?;
        let sql = format!("DELETE FROM {} WHERE {condition}", quote(self.table));
        transaction.execute(&Statement::new(sql, params)).map(|_| ())
    }

    /// Gives the row the values of a version; columns that it does not have stay as they are, or
    /// get their default.
    pub(in crate::swarm) fn put(
        &mut self,
        transaction: &mut dyn Transaction,
        version: &Version,
    ) -> EngineResult<()> {
        let mut cells = Vec::new();
        for (column, cell) in version {
            let column = present(self.table, self.shape, column)?;
            if !self.key.iter().any(|(name, _)| *name == column) {
                cells.push((column, cell));
            }
        }
        match self.exists(transaction)? {
            true => self.update(transaction, &cells),
            false => {
                let all: Vec<_> = self.key.iter().copied().chain(cells).collect();
                insert(transaction, self.table, &all)
            }
        }
    }

    /// Sets columns of the row; if it is gone, it is put back as it was in `start` before.
    pub(in crate::swarm) fn set(
        &mut self,
        transaction: &mut dyn Transaction,
        start: Option<&Version>,
        cells: &[(String, Value)],
    ) -> EngineResult<()> {
        let mut version = match start {
            Some(start) if !self.exists(transaction)? => start.clone(),
            _ => Vec::new(),
        };
        for (column, value) in cells {
            let name = present(self.table, self.shape, column)?;
            if self.key.iter().any(|(key, _)| *key == name) {
                let what = format!("`{name}` is of the primary key, which says which row it is");
                return Err(rejected(what));
            }
            version.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            version.push((name.to_owned(), Cell::Value(value.clone())));
        }
        self.put(transaction, &version)
    }

    fn update(
        &self,
        transaction: &mut dyn Transaction,
        cells: &[(&str, &Cell)],
    ) -> EngineResult<()> {
        if cells.is_empty() {
            return Ok(());
        }
        let (mut terms, mut params) = (Vec::new(), Vec::new());
        for (column, cell) in cells {
            terms.push(format!("{} = ?", quote(column)));
            params.push(value_of(column, cell)?);
        }
        let (condition, key) = equal(&self.key)?;
        params.extend(key);
        let terms = terms.join(", ");
        let sql = format!("UPDATE {} SET {terms} WHERE {condition}", quote(self.table));
        transaction.execute(&Statement::new(sql, params)).map(|_| ())
    }
}

/// The cells of a version of a row without a key, and how many equal rows it stands for.
fn counted<'a>(
    table: &str,
    shape: &'a TableShape,
    version: &'a Version,
) -> EngineResult<(Vec<(&'a str, &'a Cell)>, usize)> {
    let (mut cells, mut count) = (Vec::new(), 1);
    for (column, cell) in version {
        match (column.as_str(), cell) {
            (COUNT, Cell::Value(Value::Integer(rows))) if !shape.columns.contains(column) => {
                count = usize::try_from(*rows).unwrap_or(0);
            }
            _ => cells.push((present(table, shape, column)?, cell)),
        }
    }
    Ok((cells, count))
}

/// Adds the rows of a version to a table without a primary key.
pub(in crate::swarm) fn add_equal(
    transaction: &mut dyn Transaction,
    table: &str,
    shape: &TableShape,
    version: &Version,
) -> EngineResult<()> {
    let (cells, count) = counted(table, shape, version)?;
    (0..count).try_for_each(|_| insert(transaction, table, &cells))
}

/// Removes as many rows equal to a version as it stands for from a table without a primary key.
///
/// Returns how many went. Neither engine deletes one of several equal rows in the same words, so
/// all of them go and those that stay come back.
pub(in crate::swarm) fn remove_equal(
    transaction: &mut dyn Transaction,
    table: &str,
    shape: &TableShape,
    version: &Version,
) -> EngineResult<usize> {
    let (cells, count) = counted(table, shape, version)?;
    let (condition, params) = equal(&cells)?;
    let names = cells.iter().map(|(column, _)| quote(column)).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT {names} FROM {} WHERE {condition}", quote(table));
    let rows = transaction.query(&sql, &params, QUERY_ROWS_MAX)?.rows;
    if rows.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(rejected(format!(
            "`{table}` has rows that differ only in how their texts are compared: change them with \
             an exec"
        )));
    }
    let sql = format!("DELETE FROM {} WHERE {condition}", quote(table));
    transaction.execute(&Statement::new(sql, params))?;
    (count..rows.len()).try_for_each(|_| insert(transaction, table, &cells))?;
    Ok(rows.len().min(count))
}
