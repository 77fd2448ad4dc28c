//! What a database is at one commit in the model: tables with constraints, and the book of conflicts.
//!
//! The schema is fixed by number, so that a real engine can be given the same one:
//!
//! | table | rule |
//! |---|---|
//! | 0 | column 1 is unique |
//! | 1 | column 1 refers to a row of table 0 |
//! | 2 | column 0 is at most column 1 |
//! | 3 | none; it is dropped and made again |
//!
//! A value that is absent is NULL, and NULL breaks no rule.

use std::collections::{BTreeMap, BTreeSet};

/// How many tables the founding commit makes.
pub const TABLES: u8 = 4;
/// The table whose column 1 is unique, and which table [`CHILD`] refers to.
pub const PARENT: u8 = 0;
/// The table whose column 1 refers to a row of [`PARENT`].
pub const CHILD: u8 = 1;
/// The table in which column 0 is at most column 1.
pub const CHECKED: u8 = 2;
/// The table without rules.
pub const PLAIN: u8 = 3;
/// The column that some table has a rule on.
const RULED: u8 = 1;

/// A row: values by column; a column that is absent is NULL.
pub type Row = BTreeMap<u8, u8>;

/// A row as the book of conflicts writes it: every column of its table.
pub type Version = BTreeMap<u8, Option<u8>>;

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The type of each column.
    pub columns: BTreeMap<u8, u8>,
    /// Rows by key.
    pub rows: BTreeMap<u8, Row>,
}

/// A row version that lost, as `swarm_conflicts` keeps it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lost {
    /// `row`, or the rule that was broken.
    pub kind: &'static str,
    /// The table.
    pub table: u8,
    /// The row's key.
    pub key: u8,
    /// The version both sides started from.
    pub base: Option<Version>,
    /// The version that lost; nothing where it was a deletion.
    pub loser: Option<Version>,
    /// The version that stands; nothing where it is a deletion.
    pub winner: Option<Version>,
}

/// The whole database at one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Root {
    /// The tables.
    pub tables: BTreeMap<u8, Table>,
    /// The rows of `swarm_conflicts`, named by their content; true where a person has settled it.
    pub conflicts: BTreeMap<Lost, bool>,
}

/// A change that a user makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Sets one cell, and makes the row where there is none.
    Set {
        /// The table.
        table: u8,
        /// The row.
        key: u8,
        /// The column.
        column: u8,
        /// The new value.
        value: u8,
    },
    /// Deletes a row.
    Delete {
        /// The table.
        table: u8,
        /// The row.
        key: u8,
    },
    /// Adds a column.
    AddColumn {
        /// The table.
        table: u8,
        /// The new column.
        column: u8,
        /// Its type.
        kind: u8,
    },
    /// Drops a table, or makes it where it was dropped.
    ToggleTable {
        /// The table.
        table: u8,
    },
    /// Settles the first open conflict.
    Resolve,
}

/// What came of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The database is another one now.
    Changed,
    /// There was nothing to change.
    Unchanged,
    /// It breaks a rule; nothing changed.
    Refused,
}

impl Table {
    fn new() -> Self {
        Self { columns: [(0, 0), (1, 0)].into(), rows: BTreeMap::new() }
    }

    /// Writes a row out in full.
    pub fn version(&self, row: &Row) -> Version {
        self.columns.keys().map(|column| (*column, row.get(column).copied())).collect()
    }
}

impl Root {
    /// The database of a founding commit: empty tables.
    pub fn founding() -> Self {
        let tables = (0..TABLES).map(|table| (table, Table::new())).collect();
        Self { tables, ..Self::default() }
    }

    /// The first open conflict, which is what [`Edit::Resolve`] settles.
    pub fn first_open(&self) -> Option<&Lost> {
        self.conflicts.iter().find(|(_, resolved)| !**resolved).map(|(lost, _)| lost)
    }

    /// Makes a change, as far as there is something to change and the rules allow it.
    pub fn apply(&mut self, edit: &Edit) -> Applied {
        let mut changed = self.clone();
        changed.change(edit);
        if changed == *self {
            return Applied::Unchanged;
        }
        if !changed.violations().is_empty() {
            return Applied::Refused;
        }
        *self = changed;
        Applied::Changed
    }

    fn change(&mut self, edit: &Edit) {
        match *edit {
            Edit::Set { table, key, column, value } => {
                if let Some(table) = self.tables.get_mut(&table)
                    && table.columns.contains_key(&column)
                {
                    table.rows.entry(key).or_default().insert(column, value);
                }
            }
            Edit::Delete { table, key } => {
                self.tables.get_mut(&table).and_then(|table| table.rows.remove(&key));
            }
            Edit::AddColumn { table, column, kind } => {
                if let Some(table) = self.tables.get_mut(&table) {
                    table.columns.entry(column).or_insert(kind);
                }
            }
            Edit::ToggleTable { table } => {
                if self.tables.remove(&table).is_none() {
                    self.tables.insert(table, Table::new());
                }
            }
            Edit::Resolve => {
                if let Some(open) = self.conflicts.values_mut().find(|resolved| !**resolved) {
                    *open = true;
                }
            }
        }
    }

    /// The rows that break a rule, by table and key, and which: of several the first by name.
    pub fn violations(&self) -> BTreeMap<(u8, u8), &'static str> {
        let mut found = BTreeMap::new();
        let rows = |table: u8| self.tables.get(&table).into_iter().flat_map(|table| &table.rows);
        let mut seen: BTreeMap<u8, u8> = BTreeMap::new();
        for (key, row) in rows(PARENT) {
            let Some(value) = row.get(&RULED) else { continue };
            if let Some(other) = seen.insert(*value, *key) {
                found.insert((PARENT, other), "unique");
                found.insert((PARENT, *key), "unique");
            }
        }
        let parents: BTreeSet<u8> = rows(PARENT).map(|(key, _)| *key).collect();
        for (key, row) in rows(CHILD) {
            if row.get(&RULED).is_some_and(|parent| !parents.contains(parent)) {
                found.insert((CHILD, *key), "foreign key");
            }
        }
        for (key, row) in rows(CHECKED) {
            if let (Some(low), Some(high)) = (row.get(&0), row.get(&1))
                && low > high
            {
                found.insert((CHECKED, *key), "check");
            }
        }
        found
    }

    /// The other rows of a table that `row` cannot stand beside.
    pub(super) fn colliders(&self, table: u8, row: &Row) -> Vec<u8> {
        let Some(value) = row.get(&RULED).filter(|_| table == PARENT) else { return Vec::new() };
        let rows = self.tables.get(&table).into_iter().flat_map(|table| &table.rows);
        rows.filter(|(_, other)| other.get(&RULED) == Some(value)).map(|(key, _)| *key).collect()
    }

    /// Feeds the whole content to a hash.
    pub(super) fn digest(&self, hasher: &mut blake3::Hasher) {
        let mut bytes = Vec::new();
        for (name, table) in &self.tables {
            bytes.extend([0xf0, *name]);
            bytes.extend(table.columns.iter().flat_map(|(column, kind)| [*column, *kind]));
            for (key, row) in &table.rows {
                bytes.extend([0xf1, *key]);
                bytes.extend(row.iter().flat_map(|(column, value)| [*column, *value]));
            }
        }
        for (lost, resolved) in &self.conflicts {
            bytes.extend([0xf2, u8::from(*resolved), lost.table, lost.key]);
            bytes.extend(lost.kind.as_bytes());
            for version in [&lost.base, &lost.loser, &lost.winner] {
                bytes.push(0xf3);
                let cells = version.iter().flatten();
                bytes.extend(cells.flat_map(|(column, value)| match value {
                    Some(value) => [*column, 1, *value],
                    None => [*column, 0, 0],
                }));
            }
        }
        hasher.update(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(table: u8, key: u8, column: u8, value: u8) -> Edit {
        Edit::Set { table, key, column, value }
    }

    #[test]
    fn rules_are_kept() {
        let mut root = Root::founding();
        let check = |root: &mut Root, edit, expected| {
            assert_eq!(root.apply(&edit), expected, "{edit:?}");
        };
        check(&mut root, set(PARENT, 1, 1, 7), Applied::Changed);
        check(&mut root, set(PARENT, 1, 1, 7), Applied::Unchanged);
        check(&mut root, set(PARENT, 2, 1, 7), Applied::Refused);
        check(&mut root, set(CHILD, 1, 1, 2), Applied::Refused);
        check(&mut root, set(CHILD, 1, 1, 1), Applied::Changed);
        check(&mut root, Edit::Delete { table: PARENT, key: 1 }, Applied::Refused);
        check(&mut root, set(CHECKED, 1, 0, 5), Applied::Changed);
        check(&mut root, set(CHECKED, 1, 1, 4), Applied::Refused);
        check(&mut root, Edit::Resolve, Applied::Unchanged);
        assert!(root.violations().is_empty());
    }
}
