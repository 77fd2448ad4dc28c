//! A table as merging sees it: its columns, its key, and how to read and write one row.

use super::connection::{During, quote, text};
use super::definitions::Identity;
use super::ffi::{Connection, SqliteError};
use super::record::row_json;
use crate::engine::total::same_row;
use crate::engine::{EngineError, EngineResult, Value};

/// The shape of a table on one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: String,
    /// The columns that can be written, in order; generated ones are left out.
    pub(super) columns: Vec<String>,
    /// Where each of `columns` stands among all columns.
    places: Vec<usize>,
    /// How many columns there are in all.
    width: usize,
    /// The key: positions in `columns`. Empty for a table without a primary key.
    key: Vec<usize>,
}

/// A row's version to be written. `None` leaves a column to its default.
pub(super) type Version = Vec<Option<Value>>;

impl Table {
    /// Reads the shape of `name`, or `None` where there is no such table.
    pub(super) fn load(connection: &Connection, name: &str) -> EngineResult<Option<Self>> {
        // 1 marks the hidden columns of virtual tables, which are none of a row's.
        let sql = "SELECT name, pk, hidden FROM pragma_table_xinfo(?) WHERE hidden <> 1";
        let rows = connection.rows(sql, &[name.into()]).during("read a table's columns")?;
        if rows.is_empty() {
            return Ok(None);
        }
        let mut table = Self {
            name: name.to_owned(),
            columns: Vec::new(),
            places: Vec::new(),
            width: rows.len(),
            key: Vec::new(),
        };
        let mut key = Vec::new();
        for (place, row) in rows.iter().enumerate() {
            if row.get(2) != Some(&Value::Integer(0)) {
                continue;
            }
            if let Some(Value::Integer(rank @ 1..)) = row.get(1) {
                key.push((*rank, table.columns.len()));
            }
            table.columns.push(text(row.first()).to_owned());
            table.places.push(place);
        }
        key.sort_unstable();
        table.key = key.into_iter().map(|(_, column)| column).collect();
        Ok(Some(table))
    }

    /// Whether the table has a primary key.
    pub(super) fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// The names of the key's columns.
    pub(super) fn key_names(&self) -> Vec<&str> {
        self.key.iter().map(|column| self.columns[*column].as_str()).collect()
    }

    /// The positions of the key's columns.
    pub(super) fn key_columns(&self) -> &[usize] {
        &self.key
    }

    /// One more than the greatest number in a column.
    pub(super) fn next_number(&self, connection: &Connection, column: &str) -> EngineResult<Value> {
        let column = quote(column);
        let sql = format!("SELECT coalesce(max({column}), 0) + 1 FROM {}", self.quoted());
        let rows = connection.rows(&sql, &[]).during("number a row")?;
        Ok(rows.into_iter().flatten().next().unwrap_or_default())
    }

    /// How many columns there are, with the generated ones.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Picks the writable columns out of values for all columns.
    pub(super) fn pick(&self, all: &[Value]) -> Option<Vec<Value>> {
        self.places.iter().map(|place| all.get(*place).cloned()).collect()
    }

    /// The key's values in a row.
    pub(super) fn key_of(&self, row: &[Value]) -> Vec<Value> {
        self.key.iter().filter_map(|column| row.get(*column).cloned()).collect()
    }

    /// A row's key as JSON; without a primary key, the whole row.
    pub(super) fn key_json(&self, row: &[Value]) -> String {
        if !self.has_key() {
            return self.json(row);
        }
        let names: Vec<_> = self.key_names().into_iter().map(str::to_owned).collect();
        row_json(&names, &self.key_of(row))
    }

    /// A row as JSON.
    pub(super) fn json(&self, row: &[Value]) -> String {
        row_json(&self.columns, row)
    }

    /// A version as JSON: only the columns that it has.
    pub(super) fn version_json(&self, version: &Version) -> String {
        let (names, values): (Vec<_>, Vec<_>) = self
            .columns
            .iter()
            .zip(version)
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
            .unzip();
        row_json(&names, &values)
    }

    /// Reads the row with this key.
    pub(super) fn get(
        &self,
        connection: &Connection,
        key: &[Value],
    ) -> EngineResult<Option<Vec<Value>>> {
        let columns = join(self.columns.iter(), |name| quote(name), ", ");
        let sql = format!("SELECT {columns} FROM {} WHERE {}", self.quoted(), self.where_key());
        let mut rows = connection.rows(&sql, key).during("read a row")?;
        Ok(rows.pop())
    }

    /// Reads all rows in the order of the table, with what identifies each.
    pub(super) fn scan(
        &self,
        connection: &Connection,
        identity: &Identity,
        mut take: impl FnMut(Vec<Value>, Vec<Value>) -> EngineResult<()>,
    ) -> EngineResult<()> {
        let id = self.identity_columns(identity);
        let wanted: Vec<_> =
            id.iter().cloned().chain(self.columns.iter().map(|name| quote(name))).collect();
        let sql = format!("SELECT {} FROM {}", wanted.join(", "), self.quoted());
        let mut failed = None;
        let result = connection.each(&sql, &[], |mut row| {
            let values = row.split_off(id.len());
            take(row, values).map_err(|error| failed = Some(error)).is_ok()
        });
        result.during("read a table")?;
        failed.map_or(Ok(()), Err)
    }

    /// Reads the row with this identity. Two rows without a value in their key are not told apart.
    pub(super) fn find(
        &self,
        connection: &Connection,
        identity: &Identity,
        id: &[Value],
    ) -> EngineResult<Option<Vec<Value>>> {
        let columns = join(self.columns.iter(), |name| quote(name), ", ");
        let names = self.identity_columns(identity);
        if names.len() != id.len() || names.is_empty() {
            return Ok(None);
        }
        let equal = join(names.iter(), |name| format!("{name} IS ?"), " AND ");
        let sql = format!("SELECT {columns} FROM {} WHERE {equal} LIMIT 1", self.quoted());
        let rows = connection.cached(&sql, id).during("read a row")?;
        Ok(rows.into_iter().next())
    }

    /// Removes the row with this identity.
    pub(super) fn remove(
        &self,
        connection: &Connection,
        identity: &Identity,
        id: &[Value],
    ) -> Result<(), SqliteError> {
        let equal =
            join(self.identity_columns(identity).iter(), |name| format!("{name} IS ?"), " AND ");
        connection.cached(&format!("DELETE FROM {} WHERE {equal}", self.quoted()), id).map(|_| ())
    }

    /// Inserts a row of a table without a primary key under its number, or returns the row that is
    /// in its way.
    pub(super) fn insert_numbered(
        &self,
        connection: &Connection,
        number: &[Value],
        row: &[Value],
    ) -> Result<Option<Vec<Value>>, SqliteError> {
        let names = join(self.columns.iter(), |name| quote(name), ", ");
        let marks = join(self.columns.iter(), |_| "?".to_owned(), ", ");
        let (rowid, table) = (self.rowid(), self.quoted());
        let sql = format!("INSERT INTO {table} ({rowid}, {names}) VALUES (?, {marks})");
        let values: Vec<_> = number.iter().chain(row).cloned().collect();
        let there = self.run_offer(connection, &sql, &values)?;
        Ok((!same_row(&there, row)).then_some(there))
    }

    /// The columns that identify a row, quoted, as this table calls them.
    fn identity_columns(&self, identity: &Identity) -> Vec<String> {
        match identity {
            Identity::Columns(names) => names.iter().map(|name| quote(name)).collect(),
            Identity::Number => vec![self.rowid().to_owned()],
            Identity::Nothing => Vec::new(),
        }
    }

    /// Whether the table has all of these columns.
    pub(super) fn has_columns(&self, names: &[String]) -> bool {
        let has = |name: &String| self.columns.iter().any(|own| own.eq_ignore_ascii_case(name));
        names.iter().all(has)
    }

    /// Removes the row with this key.
    pub(super) fn delete(&self, connection: &Connection, key: &[Value]) -> Result<(), SqliteError> {
        connection.run(&format!("DELETE FROM {} WHERE {}", self.quoted(), self.where_key()), key)
    }

    /// Inserts a row, or returns the row that is in its way: one that has what a unique index
    /// allows only one row to have. The caller has removed the row with the same key.
    pub(super) fn offer(
        &self,
        connection: &Connection,
        version: &Version,
    ) -> Result<Option<Vec<Value>>, SqliteError> {
        let (columns, values): (Vec<_>, Vec<_>) = self
            .columns
            .iter()
            .zip(version)
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .unzip();
        let names = join(columns.iter(), |name| quote(name), ", ");
        let marks = join(columns.iter(), |_| "?".to_owned(), ", ");
        let sql = format!("INSERT INTO {} ({names}) VALUES ({marks})", self.quoted());
        let row = self.run_offer(connection, &sql, &values)?;
        let taken = |place: &usize| match version.get(*place) {
            Some(Some(value)) => row.get(*place) != Some(value),
            _ => true,
        };
        Ok(self.key.iter().any(taken).then_some(row))
    }

    /// Runs an insert that, where a unique index is in its way, changes nothing. Returns the row
    /// that was inserted, or is in the way.
    ///
    /// The engine itself says which row it is, so indexes on expressions, partial indexes and
    /// collations need no thought.
    fn run_offer(
        &self,
        connection: &Connection,
        insert: &str,
        values: &[Value],
    ) -> Result<Vec<Value>, SqliteError> {
        let own = join(self.columns.iter(), |name| quote(name), ", ");
        let first = self.columns.first().map_or_else(String::new, |name| quote(name));
        let sql = format!("{insert} ON CONFLICT DO UPDATE SET {first} = {first} RETURNING {own}");
        Ok(connection.rows(&sql, values)?.pop().unwrap_or_default())
    }

    /// How often a row with exactly these values is there.
    pub(super) fn count_equal(&self, connection: &Connection, row: &[Value]) -> EngineResult<i64> {
        let equal = join(self.columns.iter(), |name| format!("{} IS ?", quote(name)), " AND ");
        let sql = format!("SELECT count(*) FROM {} WHERE {equal}", self.quoted());
        let rows = connection.rows(&sql, row).during("look for a row")?;
        match rows.first().and_then(|row| row.first()) {
            Some(Value::Integer(count)) => Ok(*count),
            _ => Ok(0),
        }
    }

    /// Removes one row with exactly these values: the first. For tables without a primary key.
    pub(super) fn delete_equal(
        &self,
        connection: &Connection,
        row: &[Value],
    ) -> Result<(), SqliteError> {
        let rowid = self.rowid();
        let equal = join(self.columns.iter(), |name| format!("{} IS ?", quote(name)), " AND ");
        let table = self.quoted();
        let sql = format!(
            "DELETE FROM {table} WHERE {rowid} = \
             (SELECT {rowid} FROM {table} WHERE {equal} ORDER BY {rowid} LIMIT 1)"
        );
        connection.run(&sql, row)
    }

    /// Makes one row with exactly these values another one.
    pub(super) fn update_equal(
        &self,
        connection: &Connection,
        row: &[Value],
        version: &[Value],
    ) -> Result<(), SqliteError> {
        let table = self.quoted();
        let sets = join(self.columns.iter(), |name| format!("{} = ?", quote(name)), ", ");
        let (condition, values) = if self.has_key() {
            (self.where_key(), self.key_of(row))
        } else {
            let equal = join(self.columns.iter(), |name| format!("{} IS ?", quote(name)), " AND ");
            let rowid = self.rowid();
            let first =
                format!("SELECT {rowid} FROM {table} WHERE {equal} ORDER BY {rowid} LIMIT 1");
            (format!("{rowid} = ({first})"), row.to_vec())
        };
        let values: Vec<_> = version.iter().chain(&values).cloned().collect();
        connection.run(&format!("UPDATE {table} SET {sets} WHERE {condition}"), &values)
    }

    /// Inserts a row under the next free number, or returns the row that is in its way. For tables
    /// without a primary key.
    ///
    /// The engine's own choice of a number depends on what the file has seen in other branches, so
    /// it would not be the same on every peer.
    pub(super) fn append(
        &self,
        connection: &Connection,
        row: &[Value],
    ) -> Result<Option<Vec<Value>>, SqliteError> {
        let (rowid, table) = (self.rowid(), self.quoted());
        let names = join(self.columns.iter(), |name| quote(name), ", ");
        let marks = join(self.columns.iter(), |_| "?".to_owned(), ", ");
        let sql = format!(
            "INSERT INTO {table} ({rowid}, {names}) \
             VALUES ((SELECT coalesce(max({rowid}), 0) + 1 FROM {table}), {marks})"
        );
        let there = self.run_offer(connection, &sql, row)?;
        Ok((there != row).then_some(there))
    }

    /// The name of the number that rows without a primary key go by.
    fn rowid(&self) -> &'static str {
        let free = |name: &&str| !self.columns.iter().any(|c| c.eq_ignore_ascii_case(name));
        ["rowid", "_rowid_", "oid"].into_iter().find(free).unwrap_or("rowid")
    }

    fn where_key(&self) -> String {
        join(self.key.iter(), |column| format!("{} = ?", quote(&self.columns[*column])), " AND ")
    }

    fn quoted(&self) -> String {
        format!("main.{}", quote(&self.name))
    }
}

/// The table, or an error where the engine names one that is not there.
pub(super) fn require(connection: &Connection, name: &str) -> EngineResult<Table> {
    Table::load(connection, name)?.ok_or_else(|| EngineError::Failed {
        what: "read a table's columns",
        message: format!("there is no table `{name}`"),
    })
}

fn join<T>(items: impl Iterator<Item = T>, write: impl Fn(T) -> String, between: &str) -> String {
    items.map(write).collect::<Vec<_>>().join(between)
}
