//! Putting ours' changes of a table's rows onto theirs.
//!
//! The table holds theirs' rows, in the form that stands. Each row that ours changed since the base
//! is merged by cell; theirs stands when both changed one cell. All rows that change go first and
//! come back afterwards, so that a unique value can move from one row to another.

use std::collections::{BTreeMap, VecDeque};

use super::super::connection::During;
use super::super::ffi::{Connection, SqliteError};
use super::super::record::{Record, row_json};
use super::super::settle::{CONSTRAINT, constraint_kind};
use super::super::table::Table;
use super::carry::{Added, Columns, Form};
use super::changes::{Change, Identity};
use crate::engine::total::{RowMerge, merge_row};
use crate::engine::{EngineResult, Value};

/// A table in which ours' changes are put onto theirs' rows.
pub(super) struct Rows<'a> {
    /// The connection that merges.
    pub(super) connection: &'a Connection,
    /// The form that stands.
    pub(super) form: &'a Form,
    /// By what rows are known.
    pub(super) identity: &'a Identity,
    /// The records of the merge so far.
    pub(super) records: &'a mut Vec<Record>,
}

/// The tables that the changes of ours were read from, and how their columns lie in the form.
pub(super) struct From<'a> {
    /// The base's table and its columns.
    pub(super) base: Option<(&'a Table, Columns)>,
    /// Ours' table.
    pub(super) ours: &'a Table,
    /// Its columns.
    pub(super) columns: Columns,
    /// The columns that ours added.
    pub(super) added: Option<Added>,
}

/// A row to be put in.
struct Write {
    identity: Vec<Value>,
    row: Vec<Value>,
    /// What it becomes when a constraint does not let `row` in: theirs' row, if there is one.
    theirs: Option<Vec<Value>>,
    /// Whether `row` is theirs' own, which others make way for.
    is_theirs: bool,
}

impl Rows<'_> {
    /// Puts the changes on.
    pub(super) fn apply(&mut self, from: &From<'_>, changes: Vec<Change>) -> EngineResult<()> {
        let mut writes = Vec::new();
        for change in changes {
            self.merge(from, &change, &mut writes)?;
        }
        for write in &writes {
            if write.theirs.is_some() {
                let removed =
                    self.form.table.remove(self.connection, self.identity, &write.identity);
                removed.during("merge a row")?;
            }
        }
        self.put(writes)
    }

    /// Decides about one row; what is to be written comes to `writes`.
    fn merge(
        &mut self,
        from: &From<'_>,
        change: &Change,
        writes: &mut Vec<Write>,
    ) -> EngineResult<()> {
        let form = self.form;
        self.record_cells_left_out(from, change);
        let base = change.before.as_ref().zip(from.base.as_ref());
        let base = base.map(|(row, (_, columns))| (columns, form.carry(columns, row, None)));
        let before = base.as_ref().map(|(columns, row)| (*columns, row.as_slice()));
        let mut ours = change.after.as_ref().map(|row| form.carry(&from.columns, row, before));
        let is_new = base.is_none();
        if let (Some(carried), Some(row), Some(added), false) =
            (&mut ours, &change.after, &from.added, is_new)
        {
            added.reset_untouched(form, row, carried);
        }
        if let (Some(row), true) = (&mut ours, is_new) {
            self.complete_key(from, change, row)?;
        }
        let identity = match (&ours, is_new) {
            (Some(row), true) => self.identity_of(row, change),
            _ => change.identity.clone(),
        };
        // New rows without a key have nothing to do with each other, whatever their numbers are.
        let theirs = match (self.identity, is_new) {
            (Identity::Number, true) | (Identity::Nothing, _) => None,
            _ => form.table.find(self.connection, self.identity, &identity)?,
        };
        let base = base.map(|(_, row)| row);
        match merge_row(base.as_deref(), ours.as_deref(), theirs.as_deref()) {
            RowMerge::Theirs => {}
            RowMerge::Remove => {
                let removed = form.table.remove(self.connection, self.identity, &identity);
                removed.during("merge a row")?;
            }
            RowMerge::Write(row) => {
                if is_new && theirs.is_none() {
                    self.record_expressions(from, &row);
                }
                writes.push(Write { identity, row, theirs, is_theirs: false });
            }
            RowMerge::Conflict => {
                let any = theirs.as_ref().or(ours.as_ref()).map_or(&[][..], Vec::as_slice);
                let json = |row: &Option<Vec<Value>>| row.as_ref().map(|row| form.table.json(row));
                self.records.push(Record {
                    kind: "row".to_owned(),
                    table: form.table.name.clone(),
                    key: form.table.key_json(any),
                    base: json(&base),
                    loser: json(&ours),
                    winner: json(&theirs),
                });
            }
        }
        Ok(())
    }

    fn identity_of(&self, row: &[Value], change: &Change) -> Vec<Value> {
        let Identity::Columns(names) = self.identity else { return change.identity.clone() };
        let value = |name: &String| {
            let columns = &self.form.table.columns;
            let place = columns.iter().position(|column| column.eq_ignore_ascii_case(name));
            place.and_then(|place| row.get(place)).cloned().unwrap_or_default()
        };
        names.iter().map(value).collect()
    }

    /// Gives a new row of ours a value in the columns of a key that ours' definition does not have:
    /// a function of the row alone.
    fn complete_key(
        &self,
        from: &From<'_>,
        change: &Change,
        row: &mut [Value],
    ) -> EngineResult<()> {
        let table = &self.form.table;
        let missing: Vec<_> =
            from.columns.missing().filter(|column| table.key_columns().contains(column)).collect();
        let Some(whole) = change.after.as_ref().filter(|_| !missing.is_empty()) else {
            return Ok(());
        };
        let hash = blake3::hash(row_json(&from.ours.columns, whole).as_bytes());
        for column in missing {
            row[column] = match &self.form.fills[column].value {
                // A number that rows are counted by: the next free one.
                Value::Integer(_) | Value::Null if table.key_columns().len() == 1 => {
                    table.next_number(self.connection, &table.columns[column])?
                }
                _ => Value::Text(hash.to_hex()[..32].to_owned()),
            };
        }
        Ok(())
    }

    /// Puts rows in. One that a constraint does not let in is recorded, and theirs' version of it
    /// stands; what stands in the way of a version of theirs makes way.
    fn put(&mut self, writes: Vec<Write>) -> EngineResult<()> {
        let mut put: BTreeMap<String, Option<Vec<Value>>> = BTreeMap::new();
        let mut queue = VecDeque::from(writes);
        while let Some(write) = queue.pop_front() {
            let table = &self.form.table;
            let kind = match self.offer(&write) {
                Ok(None) => {
                    if !write.is_theirs {
                        put.insert(format!("{:?}", self.key(&write.row)), write.theirs);
                    }
                    continue;
                }
                Ok(Some(there)) => {
                    let key = format!("{:?}", self.key(&there));
                    if let (true, Some(theirs)) = (write.is_theirs, put.remove(&key)) {
                        self.make_way(&there, theirs, &mut queue)?;
                        queue.push_front(write);
                        continue;
                    }
                    "unique"
                }
                Err(error) if error.code & 0xff == CONSTRAINT => constraint_kind(&error),
                Err(error) => return Err(error.during("merge a row")),
            };
            let winner = write.theirs.as_ref().map(|row| table.json(row));
            self.records.push(Record {
                kind: kind.to_owned(),
                table: table.name.clone(),
                key: table.key_json(&write.row),
                base: None,
                loser: Some(table.json(&write.row)),
                winner,
            });
            if let (Some(row), false) = (write.theirs, write.is_theirs) {
                let identity = write.identity;
                queue.push_front(Write { identity, row, theirs: None, is_theirs: true });
            }
        }
        Ok(())
    }

    /// Removes a row of ours that is in the way of one of theirs; theirs' version of it is put in
    /// later.
    fn make_way(
        &mut self,
        there: &[Value],
        theirs: Option<Vec<Value>>,
        queue: &mut VecDeque<Write>,
    ) -> EngineResult<()> {
        let table = &self.form.table;
        if table.has_key() {
            table.delete(self.connection, &table.key_of(there)).during("merge a row")?;
        } else {
            table.delete_equal(self.connection, there).during("merge a row")?;
        }
        self.records.push(Record {
            kind: "unique".to_owned(),
            table: table.name.clone(),
            key: table.key_json(there),
            base: None,
            loser: Some(table.json(there)),
            winner: theirs.as_ref().map(|row| table.json(row)),
        });
        if let Some(row) = theirs {
            let identity = self.key(&row);
            queue.push_back(Write { identity, row, theirs: None, is_theirs: true });
        }
        Ok(())
    }

    fn offer(&self, write: &Write) -> Result<Option<Vec<Value>>, SqliteError> {
        let (table, connection) = (&self.form.table, self.connection);
        match self.identity {
            _ if table.has_key() => {
                table.offer(connection, &write.row.iter().cloned().map(Some).collect())
            }
            Identity::Number if write.theirs.is_some() || write.is_theirs => {
                table.insert_numbered(connection, &write.identity, &write.row)
            }
            _ => table.append(connection, &write.row),
        }
    }

    /// What a row that was put in is known by: its key, else all of it.
    fn key(&self, row: &[Value]) -> Vec<Value> {
        match self.form.table.has_key() {
            true => self.form.table.key_of(row),
            false => row.to_vec(),
        }
    }

    /// Records the cells that ours set in columns that do not stand.
    fn record_cells_left_out(&mut self, from: &From<'_>, change: &Change) {
        let Some(row) = &change.after else { return };
        let before = change.before.as_ref().zip(from.base.as_ref());
        let before = before.map(|(row, (table, _))| (*table, row.as_slice()));
        let places = from.columns.cells_left_out(before, (from.ours, row));
        record_cells(self.records, &self.form.table.name, from.ours, before, row, &places);
    }

    /// Records the cells of a new row that an expression would have filled on its author's machine.
    fn record_expressions(&mut self, from: &From<'_>, row: &[Value]) {
        let filled: Vec<_> = from
            .columns
            .missing()
            .filter(|column| self.form.fills[*column].stands_for_expression)
            .collect();
        record_fills(self.records, &self.form.table, row, &filled);
    }
}

/// Records cells of a row that no column stands for.
pub(super) fn record_cells(
    records: &mut Vec<Record>,
    name: &str,
    table: &Table,
    before: Option<(&Table, &[Value])>,
    row: &[Value],
    places: &[usize],
) {
    if places.is_empty() {
        return;
    }
    let names: Vec<_> = places.iter().map(|place| table.columns[*place].clone()).collect();
    let values: Vec<_> = places.iter().map(|place| row[*place].clone()).collect();
    let was = before.map(|(before, row)| {
        let value = |name: &String| {
            let place = before.columns.iter().position(|other| other.eq_ignore_ascii_case(name));
            place.and_then(|place| row.get(place)).cloned().unwrap_or_default()
        };
        row_json(&names, &names.iter().map(value).collect::<Vec<_>>())
    });
    records.push(Record {
        kind: "cell".to_owned(),
        table: name.to_owned(),
        key: table.key_json(row),
        base: was,
        loser: Some(row_json(&names, &values)),
        winner: None,
    });
}

/// Records the cells that hold a fixed value because no merge evaluates their default.
pub(super) fn record_fills(
    records: &mut Vec<Record>,
    table: &Table,
    row: &[Value],
    filled: &[usize],
) {
    if filled.is_empty() {
        return;
    }
    let names: Vec<_> = filled.iter().map(|column| table.columns[*column].clone()).collect();
    let values: Vec<_> = filled.iter().map(|column| row[*column].clone()).collect();
    records.push(Record {
        kind: "default".to_owned(),
        table: table.name.clone(),
        key: table.key_json(row),
        base: None,
        loser: None,
        winner: Some(row_json(&names, &values)),
    });
}
