//! Bringing one table into the form that stands, with the rows of both sides.

use super::carry::{Added, Form};
use super::changes::{At, Identity, changes};
use super::plan::Plan;
use super::rows::{From, Rows, record_cells, record_fills};
use super::schema::Object;
use super::{DefinitionMerge, Side, identity};
use crate::engine::EngineResult;
use crate::engine::doltlite::connection::{During, hash_value, quote};
use crate::engine::doltlite::settle::{CONSTRAINT, constraint_kind};
use crate::engine::doltlite::table::{Table, require};

/// Where a table's rows come from before the other side's changes are put onto them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Ours' table is what stands.
    Ours,
    /// Theirs' table, taken over as it is.
    Theirs,
    /// A new table in the form that stands, filled with theirs' rows.
    New,
}

impl DefinitionMerge<'_> {
    /// Makes a table what stands.
    pub(super) fn make_table(
        &mut self,
        plan: &Plan,
        name: &str,
        object: &Object,
    ) -> EngineResult<()> {
        let [ours, theirs] = [&self.ours, &self.theirs].map(|side| side.schema.table(name));
        let start = self.start(plan, name, object);
        // When only one side has a table of this name, nothing is put onto it.
        let puts_changes = ours.is_some() && theirs.is_some() && start != Start::Ours;
        match start {
            Start::Ours => return self.record_cells_of_theirs(name),
            Start::Theirs => self.take_over(name, object)?,
            Start::New => {
                self.drop_table(name)?;
                self.connection.batch(&object.sql).during("make a table")?;
                for index in plan.unique_indexes(name) {
                    match self.connection.batch(&index.sql) {
                        Ok(()) => {}
                        // It needs a column that is gone; `make_indexes` records it.
                        Err(error) if error.is_rejection() => {}
                        Err(error) => return Err(error.during("make an index")),
                    }
                }
                self.copy_theirs(name, object)?;
            }
        }
        if puts_changes && self.has_changed(name) {
            self.put_changes(name, object)?;
        }
        self.record_cells_of_theirs(name)
    }

    fn start(&self, plan: &Plan, name: &str, object: &Object) -> Start {
        let [ours, theirs] = [&self.ours, &self.theirs].map(|side| side.schema.table(name));
        let unique = |side: &Side| {
            let has = |index: &&Object| side.schema.indexes(name).any(|other| other == *index);
            plan.unique_indexes(name).iter().all(has)
        };
        let is = |side: Option<&Object>| side.is_some_and(|side| side.sql == object.sql);
        match (ours, theirs) {
            (Some(_), None) if is(ours) => Start::Ours,
            (None, Some(_)) if is(theirs) => Start::Theirs,
            (Some(_), Some(_)) => {
                let their_rows =
                    self.their_rows.contains(name) || self.base.schema.table(name).is_none();
                if is(ours) && !their_rows && unique(&self.ours) {
                    Start::Ours
                } else if is(theirs) && unique(&self.theirs) {
                    Start::Theirs
                } else {
                    Start::New
                }
            }
            _ => Start::New,
        }
    }

    /// Whether ours changed rows of a table, or created it.
    fn has_changed(&self, name: &str) -> bool {
        self.our_rows.contains(name) || self.base.schema.table(name).is_none()
            // A rebuilt table may have other values in the same rows.
            || self.ours.schema.table(name) != self.base.schema.table(name)
    }

    fn drop_table(&self, name: &str) -> EngineResult<()> {
        let sql = format!("DROP TABLE IF EXISTS {}", quote(name));
        self.connection.batch(&sql).during("replace a table")
    }

    /// Takes a table over from theirs, with its indexes: costs no row.
    fn take_over(&self, name: &str, object: &Object) -> EngineResult<()> {
        self.drop_table(name)?;
        // Their indexes come with the table; what stands of these names is made again afterwards.
        for index in self.theirs.schema.indexes(name) {
            let sql = format!("DROP INDEX IF EXISTS {}", quote(&index.name));
            self.connection.batch(&sql).during("replace an index")?;
        }
        let params = [hash_value(&self.theirs.commit), object.name.as_str().into()];
        self.connection.run("SELECT dolt_checkout(?, ?)", &params).during("take a table over")
    }

    /// The rows that a new table starts with: theirs', or ours' when theirs has no such table.
    fn copy_theirs(&mut self, name: &str, object: &Object) -> EngineResult<()> {
        let side = if self.theirs.schema.table(name).is_some() { &self.theirs } else { &self.ours };
        let Some((from, _)) = side.table(name)? else { return Ok(()) };
        let form = Form::load(self.connection, require(self.connection, &object.name)?)?;
        let columns = form.columns_of(&from);
        let identity = identity(&[Some(&form.table), Some(&from)]);
        let by_expression: Vec<_> =
            columns.missing().filter(|column| form.fills[*column].stands_for_expression).collect();
        let ours = self.ours.table(name)?.filter(|_| !by_expression.is_empty());
        let (connection, records) = (self.connection, &mut self.records);
        let our_connection = &self.ours.connection;
        from.scan(&side.connection, &identity, |id, row| {
            let row = form.carry(&columns, &row, None);
            let there = match form.table.has_key() {
                true => form.table.offer(connection, &row.iter().cloned().map(Some).collect()),
                false if identity == Identity::Number => {
                    form.table.insert_numbered(connection, &id, &row)
                }
                false => form.table.append(connection, &row),
            };
            let lost = match there {
                Ok(None) => None,
                Ok(Some(_)) => Some("unique"),
                Err(error) if error.code & 0xff == CONSTRAINT => Some(constraint_kind(&error)),
                Err(error) => return Err(error.during("carry a row")),
            };
            match lost {
                Some(kind) => records.push(super::lost_row(&form.table, kind, &row)),
                None => {
                    let ours = match &ours {
                        Some((table, _)) => table.find(our_connection, &identity, &id)?,
                        None => None,
                    };
                    if ours.is_none() {
                        record_fills(records, &form.table, &row, &by_expression);
                    }
                }
            }
            Ok(())
        })
    }

    /// Puts ours' changes onto theirs' rows.
    fn put_changes(&mut self, name: &str, object: &Object) -> EngineResult<()> {
        let form = Form::load(self.connection, require(self.connection, &object.name)?)?;
        let (Some((ours, our_object)), base) = (self.ours.table(name)?, self.base.table(name)?)
        else {
            return Ok(());
        };
        let base_table = base.as_ref().map(|(table, _)| table);
        let identity = identity(&[Some(&form.table), Some(&ours), base_table]);
        let changes = {
            let base = base.as_ref().map(|(table, object)| at(&self.base, table, object));
            changes(base, at(&self.ours, &ours, our_object), &identity)?
        };
        let columns = form.columns_of(&ours);
        let base = base_table.map(|table| (table, form.columns_of(table)));
        let own = Form::load(&self.ours.connection, ours.clone())?;
        let added = base.as_ref().map(|(_, base)| Added::new(&form, base, &columns, &own));
        let from = From { base, ours: &ours, columns, added };
        let (connection, records) = (self.connection, &mut self.records);
        Rows { connection, form: &form, identity: &identity, records }.apply(&from, changes)
    }

    /// Records the cells that theirs set in columns that do not stand.
    fn record_cells_of_theirs(&mut self, name: &str) -> EngineResult<()> {
        if !self.their_rows.contains(name) {
            return Ok(());
        }
        let (Some((theirs, object)), base) = (self.theirs.table(name)?, self.base.table(name)?)
        else {
            return Ok(());
        };
        let Some(stands) = Table::load(self.connection, &theirs.name)? else { return Ok(()) };
        if stands.has_columns(&theirs.columns) {
            return Ok(());
        }
        let columns = Form::load(self.connection, stands)?.columns_of(&theirs);
        let base_table = base.as_ref().map(|(table, _)| table);
        let identity = identity(&[Some(&theirs), base_table]);
        let changes = {
            let base = base.as_ref().map(|(table, object)| at(&self.base, table, object));
            changes(base, at(&self.theirs, &theirs, object), &identity)?
        };
        for change in changes {
            let Some(row) = &change.after else { continue };
            let before = base_table.zip(change.before.as_deref());
            let places = columns.cells_left_out(before, (&theirs, row));
            record_cells(&mut self.records, &theirs.name, &theirs, before, row, &places);
        }
        Ok(())
    }
}

/// A table of a side.
pub(super) fn at<'a>(side: &'a Side, table: &'a Table, object: &'a Object) -> At<'a> {
    At { connection: &side.connection, commit: &side.commit, table, sql: &object.sql }
}
