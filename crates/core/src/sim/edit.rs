//! What users do to a database in the model, and what the rules allow of it.

use super::root::{Column, Object, ObjectKind, Preset, Root, Row, Shape, Table, UPPER, folded};

/// A change that a user makes. Names may be in either letter case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Sets one cell, and makes the row if there is none.
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
    /// Adds a column without a default.
    AddColumn {
        /// The table.
        table: u8,
        /// The new column.
        column: u8,
        /// Its type.
        kind: u8,
    },
    /// Drops a table, or makes it if it was dropped.
    ToggleTable {
        /// The table.
        table: u8,
    },
    /// Resolves the first open conflict.
    Resolve,
    /// Changes the schema otherwise.
    Schema(SchemaEdit),
}

/// A change of the schema that only the model's engine makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaEdit {
    /// Makes a table, in the place of the one that has the name.
    Create {
        /// The table.
        table: u8,
        /// Its definition.
        shape: Shape,
    },
    /// Writes the name of a table, view or trigger in the other letter case.
    RenameCase {
        /// The table or object.
        name: u8,
    },
    /// Adds a column.
    AddColumn {
        /// The table.
        table: u8,
        /// The new column.
        column: u8,
        /// Its definition.
        definition: Column,
    },
    /// Drops a column.
    DropColumn {
        /// The table.
        table: u8,
        /// The column.
        column: u8,
    },
    /// Gives a column another type.
    Retype {
        /// The table.
        table: u8,
        /// The column.
        column: u8,
        /// The new type.
        kind: u8,
    },
    /// Lets no value come twice in a column.
    AddUnique {
        /// The table.
        table: u8,
        /// The column.
        column: u8,
    },
    /// Makes a view or a trigger, in the place of the object that has the name.
    Make {
        /// The object.
        name: u8,
        /// Its definition.
        object: Object,
    },
    /// Drops a view or a trigger.
    Drop {
        /// The object.
        name: u8,
    },
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

/// What a new row has that nobody gave a value. What the writer's machine evaluates is data like
/// any other: here it is the row's key.
fn preset(column: Column, key: u8) -> Option<u8> {
    match column.preset? {
        Preset::Literal(value) => Some(value),
        Preset::Evaluated => Some(key),
    }
}

fn new_row(shape: &Shape, key: u8) -> Row {
    let cell = |(number, column): (&u8, &Column)| Some((*number, preset(*column, key)?));
    shape.columns.iter().filter_map(cell).collect()
}

impl Root {
    /// Makes a change, as far as there is something to change and the rules allow it.
    pub fn apply(&mut self, edit: &Edit) -> Applied {
        let mut changed = self.clone();
        changed.change(edit);
        if changed == *self {
            return Applied::Unchanged;
        }
        if changed.fault().is_some() {
            return Applied::Refused;
        }
        *self = changed;
        Applied::Changed
    }

    fn change(&mut self, edit: &Edit) {
        match *edit {
            Edit::Set { table, key, column, value } => {
                if let Some(Table { shape, rows }) = self.table_mut(table)
                    && shape.columns.contains_key(&column)
                {
                    rows.entry(key).or_insert_with(|| new_row(shape, key)).insert(column, value);
                }
            }
            Edit::Delete { table, key } => {
                self.table_mut(table).and_then(|table| table.rows.remove(&key));
            }
            Edit::AddColumn { table, column, kind } => {
                self.add_column(table, column, Column::of(kind));
            }
            Edit::ToggleTable { table } => {
                if !self.drop_table(table) && self.object(table).is_none() {
                    self.tables.insert(table, Table::new());
                }
            }
            Edit::Resolve => {
                if let Some(open) = self.conflicts.values_mut().find(|resolved| !**resolved) {
                    *open = true;
                }
            }
            Edit::Schema(ref edit) => self.change_schema(edit),
        }
    }

    fn change_schema(&mut self, edit: &SchemaEdit) {
        match *edit {
            SchemaEdit::Create { table, ref shape } => {
                if self.object(table).is_none() {
                    self.drop_table(table);
                    self.tables.insert(table, Table { shape: shape.clone(), ..Table::default() });
                }
            }
            SchemaEdit::RenameCase { name } => {
                for (from, to) in [(folded(name), name | UPPER), (name | UPPER, folded(name))] {
                    if let Some(table) = self.tables.remove(&from) {
                        self.tables.insert(to, table);
                        return;
                    }
                    if let Some(object) = self.objects.remove(&from) {
                        self.objects.insert(to, object);
                        return;
                    }
                }
            }
            SchemaEdit::AddColumn { table, column, definition } => {
                self.add_column(table, column, definition);
            }
            SchemaEdit::DropColumn { table, column } => {
                if let Some(Table { shape, rows }) = self.table_mut(table) {
                    shape.columns.remove(&column);
                    shape.unique.remove(&column);
                    for row in rows.values_mut() {
                        row.remove(&column);
                    }
                }
            }
            SchemaEdit::Retype { table, column, kind } => {
                let table = self.table_mut(table);
                if let Some(column) = table.and_then(|table| table.shape.columns.get_mut(&column)) {
                    column.kind = kind;
                }
            }
            SchemaEdit::AddUnique { table, column } => {
                if let Some(Table { shape, .. }) = self.table_mut(table)
                    && shape.columns.contains_key(&column)
                {
                    shape.unique.insert(column);
                }
            }
            SchemaEdit::Make { name, object } => {
                if self.table(name).is_none() {
                    self.drop_object(name);
                    self.objects.insert(name, object);
                }
            }
            SchemaEdit::Drop { name } => {
                self.drop_object(name);
            }
        }
    }

    fn add_column(&mut self, table: u8, column: u8, definition: Column) {
        let Some(Table { shape, rows }) = self.table_mut(table) else { return };
        if shape.columns.contains_key(&column) {
            return;
        }
        shape.columns.insert(column, definition);
        for (key, row) in rows {
            row.extend(preset(definition, *key).map(|value| (column, value)));
        }
    }

    /// Drops a table with its triggers; says whether there was one.
    fn drop_table(&mut self, name: u8) -> bool {
        let spelled = [folded(name), name | UPPER];
        let is_there = spelled.iter().any(|name| self.tables.remove(name).is_some());
        if is_there {
            self.drop_triggers(name);
        }
        is_there
    }

    fn drop_object(&mut self, name: u8) {
        let spelled = [folded(name), name | UPPER];
        if spelled.iter().any(|name| self.objects.remove(name).is_some()) {
            self.drop_triggers(name);
        }
    }

    fn drop_triggers(&mut self, target: u8) {
        self.objects
            .retain(|_, object| object.kind == ObjectKind::View || object.target != folded(target));
    }
}

#[cfg(test)]
mod tests {
    use super::super::root::{CHECKED, CHILD, PARENT, PLAIN, SMALL};
    use super::*;

    fn set(table: u8, key: u8, column: u8, value: u8) -> Edit {
        Edit::Set { table, key, column, value }
    }

    fn check(root: &mut Root, edit: Edit, expected: Applied) {
        assert_eq!(root.apply(&edit), expected, "{edit:?}");
    }

    #[test]
    fn rules_are_kept() {
        let mut root = Root::founding();
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

    #[test]
    fn names_ignore_letter_case() {
        let mut root = Root::founding();
        let make = |name| {
            let object = Object { kind: ObjectKind::View, target: PLAIN, column: 0 };
            Edit::Schema(SchemaEdit::Make { name, object })
        };
        check(&mut root, make(PLAIN | UPPER), Applied::Unchanged);
        check(&mut root, set(PLAIN | UPPER, 1, 0, 5), Applied::Changed);
        check(&mut root, Edit::Schema(SchemaEdit::RenameCase { name: PLAIN }), Applied::Changed);
        assert_eq!(root.tables[&(PLAIN | UPPER)].rows[&1], [(0, 5)].into());
        check(&mut root, make(5), Applied::Changed);
        check(&mut root, make(5 | UPPER), Applied::Changed);
        assert_eq!(root.objects.keys().collect::<Vec<_>>(), [&(5 | UPPER)]);
    }

    #[test]
    fn a_schema_change_that_breaks_something_is_refused() {
        let mut root = Root::founding();
        let schema = Edit::Schema;
        let view = Object { kind: ObjectKind::View, target: PLAIN, column: 1 };
        let trigger = Object { kind: ObjectKind::Trigger, target: 4, column: 1 };
        check(&mut root, set(PLAIN, 1, 1, 80), Applied::Changed);
        check(&mut root, schema(SchemaEdit::Make { name: 4, object: view }), Applied::Changed);
        check(&mut root, schema(SchemaEdit::Make { name: 5, object: trigger }), Applied::Changed);
        let drop_column = schema(SchemaEdit::DropColumn { table: PLAIN, column: 1 });
        check(&mut root, drop_column.clone(), Applied::Refused);
        check(&mut root, Edit::ToggleTable { table: PLAIN }, Applied::Refused);
        let retype = SchemaEdit::Retype { table: PLAIN, column: 1, kind: SMALL };
        check(&mut root, schema(retype), Applied::Refused);
        // The trigger goes with what it is on.
        check(&mut root, schema(SchemaEdit::Drop { name: 4 }), Applied::Changed);
        assert!(root.objects.is_empty());
        check(&mut root, drop_column, Applied::Changed);
        assert_eq!(root.tables[&PLAIN].rows[&1], Row::new());
    }

    #[test]
    fn defaults_fill_new_rows_and_new_columns() {
        let mut root = Root::founding();
        check(&mut root, set(PLAIN, 4, 0, 1), Applied::Changed);
        for (column, preset) in [(5, Preset::Literal(9)), (6, Preset::Evaluated)] {
            let definition = Column { kind: 0, preset: Some(preset) };
            let edit = SchemaEdit::AddColumn { table: PLAIN, column, definition };
            check(&mut root, Edit::Schema(edit), Applied::Changed);
        }
        check(&mut root, set(PLAIN, 3, 0, 2), Applied::Changed);
        assert_eq!(root.tables[&PLAIN].rows[&4], [(0, 1), (5, 9), (6, 4)].into());
        assert_eq!(root.tables[&PLAIN].rows[&3], [(0, 2), (5, 9), (6, 3)].into());
    }
}
