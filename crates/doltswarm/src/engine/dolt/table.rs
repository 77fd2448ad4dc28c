//! A table as merging sees it: its columns, its key, and how to read and write one row.
//!
//! Rows of theirs are copied inside the server, so that no type of a column has to make the way
//! through this program and back.

use doltswarm_core::id::CommitHash;

use super::definition::{self, Created, Filler};
use super::session::{During, Link, SqlError, number, quote};
use super::store::commit_text;
use crate::engine::record::row_json;
use crate::engine::{EngineError, EngineResult, Value};

/// The shape of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: String,
    /// The columns that can be written, in order; generated ones are left out.
    pub(super) columns: Vec<String>,
    /// The key: positions in `columns`. Empty for a table without a primary key.
    key: Vec<usize>,
    /// The columns that together may not repeat, with how many characters of each count.
    unique: Vec<Vec<(String, Option<i64>)>>,
}

impl Table {
    /// Reads the shape of `name`, or `None` where there is no such table.
    pub(super) fn load(link: &mut Link, name: &str) -> EngineResult<Option<Self>> {
        Ok(definition::read(link, name, None)?.map(|created| Self::of(&created)))
    }

    fn of(created: &Created) -> Self {
        let columns = created.written_columns();
        let place = |name: &String| columns.iter().position(|other| other == name);
        let key = created.key_columns().iter().filter_map(place).collect();
        Self { name: created.name.clone(), key, unique: created.unique_keys(), columns }
    }

    /// Whether the table has a primary key.
    pub(super) fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// The names of the key's columns.
    pub(super) fn key_names(&self) -> Vec<String> {
        self.key.iter().map(|column| self.columns[*column].clone()).collect()
    }

    /// Picks the writable columns out of values for other columns; NULL where one is missing.
    pub(super) fn pick(&self, names: &[String], values: &[Value]) -> Vec<Value> {
        let value = |name: &String| {
            let place = names.iter().position(|other| other.eq_ignore_ascii_case(name));
            place.and_then(|place| values.get(place)).cloned().unwrap_or(Value::Null)
        };
        self.columns.iter().map(value).collect()
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
        row_json(&self.key_names(), &self.key_of(row))
    }

    /// A row as JSON.
    pub(super) fn json(&self, row: &[Value]) -> String {
        row_json(&self.columns, row)
    }

    /// How many equal rows there are, as JSON. For tables without a primary key.
    pub(super) fn counted_json(&self, row: &[Value], count: i64) -> String {
        let mut json = self.json(row);
        json.truncate(json.len().saturating_sub(1));
        format!("{json},\"×\":{count}}}")
    }

    /// Reads the row with this key.
    pub(super) fn get(&self, link: &mut Link, key: &[Value]) -> EngineResult<Option<Vec<Value>>> {
        let columns = list(&self.columns, "");
        let sql = format!("SELECT {columns} FROM {} WHERE {}", quote(&self.name), self.where_key());
        Ok(link.rows(&sql, key).during("read a row")?.pop())
    }

    /// Reads the row with this key as of a commit that has the table in the same form.
    pub(super) fn get_at(
        &self,
        link: &mut Link,
        key: &[Value],
        at: &CommitHash,
    ) -> EngineResult<Option<Vec<Value>>> {
        let sql = format!(
            "SELECT {} FROM {} AS OF '{}' WHERE {}",
            list(&self.columns, ""),
            quote(&self.name),
            commit_text(at),
            self.where_key()
        );
        Ok(link.rows(&sql, key).during("read a row")?.pop())
    }

    /// Removes the row with this key.
    pub(super) fn delete(&self, link: &mut Link, key: &[Value]) -> Result<(), SqlError> {
        let sql = format!("DELETE FROM {} WHERE {}", quote(&self.name), self.where_key());
        link.run(&sql, key).map(|_| ())
    }

    /// Copies the row with this key from theirs. `kept` are columns that theirs does not have, with
    /// the values they are to have; others of that kind get their default.
    pub(super) fn copy(
        &self,
        link: &mut Link,
        theirs: &Theirs,
        key: &[Value],
        kept: &[(String, Value)],
    ) -> Result<(), SqlError> {
        let own = list(&theirs.columns, "");
        let (mut into, mut from) = (own.clone(), own);
        let mut params = Vec::new();
        for (name, value) in kept {
            into.push_str(&format!(", {}", quote(name)));
            from.push_str(", ?");
            params.push(value.clone());
        }
        for (name, value) in &theirs.fillers {
            if !kept.iter().any(|(kept, _)| kept == name) {
                into.push_str(&format!(", {}", quote(name)));
                from.push_str(&format!(", {value}"));
            }
        }
        params.extend(key.iter().cloned());
        let table = quote(&self.name);
        let sql = format!(
            "INSERT INTO {table} ({into}) SELECT {from} FROM {table} AS OF '{}' WHERE {}",
            commit_text(&theirs.commit),
            self.where_key()
        );
        link.run(&sql, &params).map(|_| ())
    }

    /// The rows that have what a unique index allows only one row to have, and that theirs' row
    /// with this key has too. Sorted by key; the row with the same key is left out.
    pub(super) fn in_the_way(
        &self,
        link: &mut Link,
        theirs: &Theirs,
        key: &[Value],
    ) -> EngineResult<Vec<Vec<Value>>> {
        let mut found: Vec<Vec<Value>> = Vec::new();
        for parts in &self.unique {
            if !parts.iter().all(|(name, _)| theirs.columns.contains(name)) {
                continue;
            }
            let same = |(name, length): &(String, Option<i64>)| match length {
                Some(n) => format!("LEFT(x.{0}, {n}) = LEFT(y.{0}, {n})", quote(name)),
                None => format!("x.{0} = y.{0}", quote(name)),
            };
            let same = parts.iter().map(same).collect::<Vec<_>>().join(" AND ");
            let table = quote(&self.name);
            let sql = format!(
                "SELECT {} FROM {table} AS x JOIN (SELECT * FROM {table} AS OF '{}' WHERE {}) AS y \
                 ON {same}",
                list(&self.columns, "x."),
                commit_text(&theirs.commit),
                self.where_key(),
            );
            let rows = link.rows(&sql, key).during("look for a row in the way")?;
            found.extend(rows.into_iter().filter(|row| self.key_of(row) != key));
        }
        found.sort_by_cached_key(|row| self.key_json(row));
        found.dedup();
        Ok(found)
    }

    /// How often a row with exactly these values is there, as of a commit or now.
    pub(super) fn count_equal(
        &self,
        link: &mut Link,
        at: Option<&CommitHash>,
        row: &[Value],
    ) -> EngineResult<i64> {
        let as_of = at.map_or_else(String::new, |at| format!(" AS OF '{}'", commit_text(at)));
        let sql = format!(
            "SELECT count(*) FROM {}{as_of} WHERE {}",
            quote(&self.name),
            equal(&self.columns)
        );
        let rows = link.rows(&sql, row).during("look for a row")?;
        Ok(number(rows.first().and_then(|row| row.first())))
    }

    /// Removes `count` rows with exactly these values. For tables without a primary key.
    pub(super) fn delete_equal(
        &self,
        link: &mut Link,
        row: &[Value],
        count: i64,
    ) -> Result<(), SqlError> {
        let (table, equal) = (quote(&self.name), equal(&self.columns));
        let sql = format!("DELETE FROM {table} WHERE {equal} LIMIT {count}");
        link.run(&sql, row).map(|_| ())
    }

    fn where_key(&self) -> String {
        equal(&self.key_names())
    }
}

/// A table as it is in theirs.
#[derive(Debug, Clone)]
pub(super) struct Theirs {
    /// Theirs.
    pub(super) commit: CommitHash,
    /// The columns that it shares with the merged table.
    pub(super) columns: Vec<String>,
    /// The other columns whose default is computed, with what stands there, as SQL.
    fillers: Vec<(String, String)>,
}

impl Theirs {
    /// Reads what theirs has of a table, or `None` where it has no such table with the same key.
    pub(super) fn load(
        link: &mut Link,
        table: &Table,
        commit: &CommitHash,
    ) -> EngineResult<Option<Self>> {
        let Some(created) = definition::read(link, &table.name, Some(commit))? else {
            return Ok(None);
        };
        let (mut key, mut own) = (created.key_columns(), table.key_names());
        key.sort();
        own.sort();
        if key != own {
            return Ok(None);
        }
        let mut columns = created.written_columns();
        columns.retain(|name| table.columns.contains(name));
        let mut fillers = Vec::new();
        if columns.len() < table.columns.len()
            && let Some(created) = definition::read(link, &table.name, None)?
        {
            let missing = created.definition.columns.iter();
            let missing = missing.filter(|part| !columns.contains(&part.name));
            fillers.extend(
                missing.filter_map(|part| {
                    Some((part.name.clone(), Filler::of(part)?.sql().to_owned()))
                }),
            );
        }
        Ok(Some(Self { commit: *commit, columns, fillers }))
    }
}

/// The table, or an error where the server names one that is not there.
pub(super) fn require(link: &mut Link, name: &str) -> EngineResult<Table> {
    Table::load(link, name)?.ok_or_else(|| EngineError::Failed {
        what: "read a table's columns",
        message: format!("there is no table `{name}`"),
    })
}

fn list(names: &[String], prefix: &str) -> String {
    names.iter().map(|name| format!("{prefix}{}", quote(name))).collect::<Vec<_>>().join(", ")
}

fn equal(names: &[String]) -> String {
    names.iter().map(|name| format!("{} <=> ?", quote(name))).collect::<Vec<_>>().join(" AND ")
}

/// A condition for `count` rows: each has its own values in these columns, which are never NULL.
pub(super) fn equal_any(prefix: &str, names: &[String], count: usize) -> String {
    if let [name] = names {
        let marks = vec!["?"; count].join(", ");
        return format!("{prefix}{} IN ({marks})", quote(name));
    }
    let one = names.iter().map(|name| format!("{prefix}{} = ?", quote(name)));
    let one = format!("({})", one.collect::<Vec<_>>().join(" AND "));
    vec![one; count].join(" OR ")
}
