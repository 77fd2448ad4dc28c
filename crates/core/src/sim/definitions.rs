//! How the model merges definitions: one name after the other, in one namespace that ignores letter
//! case.
//!
//! If only one side changed what a name stands for, that side's stands; if both did, theirs' does,
//! and ours' is recorded. A table that is dropped on one side and changed on the other, in its rows
//! too, is such a case. Columns that the two sides added to one table are united.
//!
//! The rows of all three are then brought to the merged definition by the names of the columns, and
//! what the definition has no place for is recorded cell by cell. A default is never evaluated for
//! this.

use std::collections::{BTreeMap, BTreeSet};

use super::merge::{Merged, TheirRows, pick};
use super::root::{
    Column, Definition, Lost, Object, Preset, Root, Row, Shape, Table, UPPER, Version, folded,
};
use crate::mutant::{Mutant, is_active};

/// What a name stands for on one side, with the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content<'a> {
    Table(&'a Table),
    Object(&'a Object),
}

impl<'a> Content<'a> {
    /// Returns how the name is written too.
    fn find(root: &'a Root, name: u8) -> Option<(u8, Self)> {
        let spelled = |spelled| {
            let table = root.tables.get(&spelled).map(Content::Table);
            let content = table.or_else(|| root.objects.get(&spelled).map(Content::Object));
            content.map(|content| (spelled, content))
        };
        if is_active(Mutant::NamesWithCase) {
            return spelled(name);
        }
        spelled(folded(name)).or_else(|| spelled(name | UPPER))
    }

    fn definition(self) -> Definition {
        match self {
            Self::Table(table) => Definition::Table(table.shape.clone()),
            Self::Object(object) => Definition::Object(*object),
        }
    }

    fn table(self) -> Option<&'a Table> {
        if let Self::Table(table) = self { Some(table) } else { None }
    }
}

impl Merged<'_> {
    /// Merges all definitions, and the rows of all tables.
    pub(super) fn merge_definitions(&mut self, roots: [&Root; 3]) {
        let names = roots.iter().flat_map(|root| root.names());
        let names: BTreeSet<u8> = if is_active(Mutant::NamesWithCase) {
            names.collect()
        } else {
            names.map(folded).collect()
        };
        for name in names {
            let sides = roots.map(|root| Content::find(root, name));
            let spelled = sides.map(|side| side.map(|(spelled, _)| spelled));
            let [base, ours, theirs] = sides.map(|side| side.map(|(_, content)| content));
            // A name that both sides write in another way is written as in theirs.
            let spelled = match spelled {
                [base, Some(ours), Some(theirs)] => {
                    pick(&base, &Some(ours), &Some(theirs)).flatten().unwrap_or(theirs)
                }
                [_, ours, theirs] => theirs.or(ours).unwrap_or(name),
            };
            if let (Some(Content::Table(ours)), Some(Content::Table(theirs))) = (ours, theirs) {
                let base = base.and_then(Content::table);
                self.merge_tables(folded(name), spelled, [base, Some(ours), Some(theirs)]);
                continue;
            }
            let stands = if theirs == base { ours } else { theirs };
            if ours != base && theirs != base && ours != theirs {
                self.record_content(folded(name), [base, ours, theirs]);
            }
            match stands {
                Some(Content::Table(table)) => {
                    let theirs = theirs.and_then(Content::table).map(their_rows);
                    let theirs = theirs.unwrap_or_default();
                    self.insert_table(spelled, folded(name), table.clone(), theirs);
                }
                Some(Content::Object(object)) => {
                    self.root.objects.insert(spelled, *object);
                }
                None => {}
            }
        }
        if !is_active(Mutant::BrokenViewLeft) {
            self.take_away_broken(roots[0]);
        }
    }

    /// Records what ours made of a name, which goes: the definition if ours changed it, and of a
    /// table the rows that ours added or changed.
    fn record_content(&mut self, name: u8, [base, ours, theirs]: [Option<Content<'_>>; 3]) {
        let definitions = [base, ours, theirs].map(|side| side.map(Content::definition));
        if definitions[1] != definitions[0] && definitions[1] != definitions[2] {
            self.record_definition(name, definitions);
        }
        let Some(Content::Table(ours)) = ours else { return };
        let before = base.and_then(Content::table).map(|base| self.bring(base, None, &ours.shape));
        for (key, row) in &ours.rows {
            let before = before.as_ref().and_then(|rows| rows.get(key));
            if before != Some(row) && !is_active(Mutant::DroppedRowsNotRecorded) {
                self.lost.push(Lost {
                    kind: "row",
                    table: name,
                    key: Some(*key),
                    base: before.map(|row| Version::Row(ours.cells(row))),
                    loser: Some(Version::Row(ours.cells(row))),
                    winner: None,
                    compared_with: None,
                });
            }
        }
    }

    fn record_definition(&mut self, name: u8, [base, ours, theirs]: [Option<Definition>; 3]) {
        if is_active(Mutant::DefinitionNotRecorded) {
            return;
        }
        let version = |definition: Option<Definition>| definition.map(Version::Definition);
        self.lost.push(Lost {
            kind: "schema",
            table: name,
            key: None,
            base: version(base),
            loser: version(ours),
            winner: version(theirs),
            compared_with: None,
        });
    }

    /// Merges a table that both sides have.
    fn merge_tables(&mut self, name: u8, spelled: u8, sides: [Option<&Table>; 3]) {
        let [base, Some(ours), Some(theirs)] = sides else { return };
        let (shape, is_whole) =
            merge_shapes(base.map(|base| &base.shape), &ours.shape, &theirs.shape);
        if !is_whole {
            let table = |table: &Table| Definition::Table(table.shape.clone());
            self.record_definition(name, sides.map(|side| side.map(table)));
        }
        for side in [ours, theirs] {
            self.record_cells(name, base, side, &shape);
        }
        let empty = Table::default();
        let rows = [
            self.bring(base.unwrap_or(&empty), None, &shape),
            self.bring(ours, base, &shape),
            self.bring(theirs, base, &shape),
        ];
        let merged = self.merge_rows(name, [&rows[0], &rows[1], &rows[2]]);
        let [_, _, their_rows] = rows;
        let columns = theirs.shape.columns.keys().copied().collect();
        let theirs = TheirRows { columns, rows: their_rows };
        self.insert_table(spelled, name, Table { shape, rows: merged }, theirs);
    }

    /// A table's rows in another form, by the names of the columns.
    ///
    /// What only the default of a column put into the rows of the base is no change: the merged
    /// definition may have another default.
    fn bring(&self, table: &Table, base: Option<&Table>, shape: &Shape) -> BTreeMap<u8, Row> {
        let cell = |key: u8, row: &Row, number: u8, column: Column| {
            let value = row.get(&number).copied();
            if let Some(own) = table.shape.columns.get(&number)
                && !is_filled(base, key, number, *own, value)
            {
                return value.filter(|value| column.fits(*value));
            }
            match column.preset {
                Some(Preset::Evaluated) if is_active(Mutant::DefaultEvaluated) => {
                    Some(self.context.here)
                }
                _ => column.literal(),
            }
        };
        let bring = |key: u8, row: &Row| -> Row {
            let cells = shape.columns.iter();
            let cells = cells.filter_map(|(number, column)| {
                let value = cell(key, row, *number, *column)?;
                Some((*number, value))
            });
            cells.collect()
        };
        table.rows.iter().map(|(key, row)| (*key, bring(*key, row))).collect()
    }

    /// Records the cells that a side inserted or updated and that the merged definition has no
    /// place for.
    fn record_cells(&mut self, name: u8, base: Option<&Table>, side: &Table, shape: &Shape) {
        if is_active(Mutant::CellsNotRecorded) {
            return;
        }
        for (key, row) in &side.rows {
            for (number, column) in &side.shape.columns {
                let value = row.get(number).copied();
                let place = shape.columns.get(number);
                let fits = |column: &Column| value.is_none_or(|value| column.fits(value));
                let before = before(base, *key, *number, *column);
                let is_meant = !is_active(Mutant::UnchangedCellsRecorded);
                if place.is_some_and(fits) || (value == before && is_meant) {
                    continue;
                }
                let cell = |value| Version::Row([(*number, value)].into());
                self.lost.push(Lost {
                    kind: "cell",
                    table: name,
                    key: Some(*key),
                    base: before.map(|value| cell(Some(value))),
                    loser: Some(cell(value)),
                    winner: None,
                    compared_with: None,
                });
            }
        }
    }

    /// Takes away the views and triggers that cannot work on the merged schema.
    fn take_away_broken(&mut self, base: &Root) {
        loop {
            let broken = self.root.broken();
            if broken.is_empty() {
                return;
            }
            for spelled in broken {
                let loser = self.root.objects.remove(&spelled).map(Definition::Object);
                self.lost.push(Lost {
                    kind: "object",
                    table: folded(spelled),
                    key: None,
                    base: base.definition(spelled).map(Version::Definition),
                    loser: loser.map(Version::Definition),
                    winner: None,
                    compared_with: None,
                });
            }
        }
    }
}

/// What a cell of a side was before that side's commits: a column that the side added was filled
/// with its default, if that is a literal.
pub(super) fn before(base: Option<&Table>, key: u8, number: u8, column: Column) -> Option<u8> {
    let base = base?;
    let row = base.rows.get(&key)?;
    match base.shape.columns.get(&number) {
        Some(_) => row.get(&number).copied(),
        None => column.literal(),
    }
}

/// Whether a cell has what the default of a column that is new put into a row of the base.
pub(super) fn is_filled(
    base: Option<&Table>,
    key: u8,
    number: u8,
    column: Column,
    value: Option<u8>,
) -> bool {
    let is_new =
        |base: &Table| base.rows.contains_key(&key) && !base.shape.columns.contains_key(&number);
    base.is_some_and(is_new) && value == column.literal()
}

fn their_rows(table: &Table) -> TheirRows {
    let columns = table.shape.columns.keys().copied().collect();
    TheirRows { columns, rows: table.rows.clone() }
}

/// The merged definition of a table, and whether it has all that ours' has.
fn merge_shapes(base: Option<&Shape>, ours: &Shape, theirs: &Shape) -> (Shape, bool) {
    if let Some(shape) = pick(&base, &Some(ours), &Some(theirs)).flatten() {
        return (shape.clone(), true);
    }
    let is_added = |number: &u8| base.is_none_or(|base| !base.columns.contains_key(number));
    let differing = |number: &&u8| ours.columns.get(number) != theirs.columns.get(number);
    let mut differing = ours.columns.keys().chain(theirs.columns.keys()).filter(differing);
    if ours.unique != theirs.unique || !differing.all(is_added) {
        return (theirs.clone(), false);
    }
    let mut shape = ours.clone();
    // A column that was added with two types has theirs'.
    shape.columns.extend(&theirs.columns);
    let is_whole = ours.columns.iter().all(|(number, column)| shape.columns[number] == *column);
    (shape, is_whole)
}

#[cfg(test)]
mod tests {
    use super::super::edit::{Applied, Edit, SchemaEdit};
    use super::super::merge::{Context, merge_roots};
    use super::super::root::{ObjectKind, PLAIN, SMALL};
    use super::*;
    use crate::commit::ConflictPolicy;
    use crate::id::CommitHash;

    fn edited(root: &Root, edits: &[Edit]) -> Root {
        let mut root = root.clone();
        for edit in edits {
            assert_eq!(root.apply(edit), Applied::Changed, "{edit:?}");
        }
        root
    }

    fn set(key: u8, column: u8, value: u8) -> Edit {
        Edit::Set { table: PLAIN, key, column, value }
    }

    fn add(column: u8, kind: u8, preset: Option<Preset>) -> Edit {
        let definition = Column { kind, preset };
        Edit::Schema(SchemaEdit::AddColumn { table: PLAIN, column, definition })
    }

    fn drop_column(column: u8) -> Edit {
        Edit::Schema(SchemaEdit::DropColumn { table: PLAIN, column })
    }

    fn make(name: u8, kind: ObjectKind, target: u8, column: u8) -> Edit {
        Edit::Schema(SchemaEdit::Make { name, object: Object { kind, target, column } })
    }

    /// A table with the rows 1 and 2.
    fn base() -> Root {
        edited(&Root::founding(), &[set(1, 0, 1), set(2, 0, 2)])
    }

    fn merge(ours: &[Edit], theirs: &[Edit]) -> Root {
        let (base, context) = (
            base(),
            Context {
                policy: ConflictPolicy::Settle,
                base: CommitHash::from_bytes([1; 20]),
                here: 99,
            },
        );
        let sides = [&base, &edited(&base, ours), &edited(&base, theirs)];
        let merged = merge_roots(sides, &context).unwrap();
        assert_eq!(merged.fault(), None);
        merged
    }

    /// Kind, table, key and loser of each record.
    fn records(root: &Root) -> Vec<(&'static str, u8, Option<u8>, Option<Version>)> {
        let record = |lost: &Lost| (lost.kind, lost.table, lost.key, lost.loser.clone());
        root.conflicts.keys().map(record).collect()
    }

    fn row(cells: &[(u8, Option<u8>)]) -> Option<Version> {
        Some(Version::Row(cells.iter().copied().collect()))
    }

    #[test]
    fn a_table_dropped_and_changed_is_as_in_theirs() {
        let drop_table = [Edit::ToggleTable { table: PLAIN }];
        let change = [set(1, 0, 7), set(3, 1, 8), Edit::Delete { table: PLAIN, key: 2 }];
        let gone = merge(&change, &drop_table);
        assert_eq!(gone.table(PLAIN), None);
        let rows = [(1, [(0, Some(7)), (1, None)]), (3, [(0, None), (1, Some(8))])];
        let rows = rows.map(|(key, cells)| ("row", PLAIN, Some(key), row(&cells)));
        assert_eq!(records(&gone), rows);
        let stays = merge(&drop_table, &change);
        assert_eq!(stays.table(PLAIN).unwrap().rows.keys().collect::<Vec<_>>(), [&1, &3]);
        assert_eq!(records(&stays), [("schema", PLAIN, None, None)]);
        // Dropped on one side and untouched on the other is no dispute.
        for (ours, theirs) in [(&drop_table[..], &[][..]), (&[], &drop_table)] {
            let merged = merge(ours, theirs);
            assert_eq!((merged.table(PLAIN), merged.conflicts.len()), (None, 0));
        }
    }

    #[test]
    fn added_columns_are_united() {
        let merged = merge(&[add(5, 0, None), set(1, 5, 7)], &[add(6, 1, None), set(2, 6, 8)]);
        assert_eq!(records(&merged), []);
        let table = merged.table(PLAIN).unwrap();
        assert_eq!(table.shape.columns.keys().collect::<Vec<_>>(), [&0, &1, &5, &6]);
        assert_eq!(table.rows, [(1, [(0, 1), (5, 7)].into()), (2, [(0, 2), (6, 8)].into())].into());
    }

    #[test]
    fn a_column_added_with_two_types_has_theirs() {
        let ours = [add(5, 0, None), set(1, 5, 7), set(2, 5, 70)];
        let merged = merge(&ours, &[add(5, SMALL, None)]);
        let table = merged.table(PLAIN).unwrap();
        assert_eq!(table.shape.columns[&5], Column::of(SMALL));
        // What fits is carried over, what does not is recorded.
        assert_eq!(table.rows, [(1, [(0, 1), (5, 7)].into()), (2, [(0, 2)].into())].into());
        let shape = edited(&base(), &ours).table(PLAIN).unwrap().shape.clone();
        let schema = Some(Version::Definition(Definition::Table(shape)));
        let expected =
            [("cell", PLAIN, Some(2), row(&[(5, Some(70))])), ("schema", PLAIN, None, schema)];
        assert_eq!(records(&merged), expected);
    }

    #[test]
    fn cells_of_a_dropped_column_are_recorded() {
        let change = [set(1, 1, 7), set(3, 1, 8)];
        let expected = [(1, 7), (3, 8)];
        let expected =
            expected.map(|(key, value)| ("cell", PLAIN, Some(key), row(&[(1, Some(value))])));
        for (ours, theirs) in [(&change[..], &[drop_column(1)][..]), (&[drop_column(1)], &change)] {
            let merged = merge(ours, theirs);
            assert_eq!(records(&merged), expected);
            assert_eq!(merged.table(PLAIN).unwrap().rows[&3], Row::new());
        }
    }

    #[test]
    fn other_changes_of_both_are_decided_by_theirs() {
        let unique = Edit::Schema(SchemaEdit::AddUnique { table: PLAIN, column: 0 });
        let merged = merge(&[add(5, 0, None), set(1, 5, 7)], &[unique]);
        let shape = &merged.table(PLAIN).unwrap().shape;
        assert!(!shape.columns.contains_key(&5) && shape.unique.contains(&0));
        let kinds: Vec<_> =
            records(&merged).iter().map(|(kind, _, key, _)| (*kind, *key)).collect();
        assert_eq!(kinds, [("cell", Some(1)), ("schema", None)]);
    }

    #[test]
    fn defaults_are_never_evaluated() {
        let presets = [Preset::Literal(9), Preset::Evaluated];
        let [literal, evaluated] = presets.map(|preset| add(5, 0, Some(preset)));
        for (ours, theirs) in [(literal.clone(), set(3, 0, 3)), (set(3, 0, 3), literal)] {
            let merged = merge(&[ours], &[theirs]);
            assert_eq!(merged.table(PLAIN).unwrap().rows[&3], [(0, 3), (5, 9)].into());
        }
        for (ours, theirs) in [(evaluated.clone(), set(3, 0, 3)), (set(3, 0, 3), evaluated)] {
            let merged = merge(&[ours], &[theirs]);
            let table = merged.table(PLAIN).unwrap();
            assert_eq!(table.rows[&3], [(0, 3)].into());
            // What the writer's machine evaluated is data.
            assert_eq!(table.rows[&1], [(0, 1), (5, 1)].into());
        }
    }

    #[test]
    fn a_value_that_is_only_a_default_is_no_change() {
        let [ours, theirs] = [None, Some(Preset::Literal(9))].map(|preset| add(5, 0, preset));
        let merged = merge(&[ours, set(2, 5, 4)], &[theirs]);
        let rows = &merged.table(PLAIN).unwrap().rows;
        assert_eq!(*rows, [(1, [(0, 1), (5, 9)].into()), (2, [(0, 2), (5, 4)].into())].into());
    }

    #[test]
    fn names_that_differ_in_case_are_one() {
        let create = |table, column| {
            let shape = Shape { columns: [(column, Column::of(0))].into(), ..Shape::default() };
            Edit::Schema(SchemaEdit::Create { table, shape })
        };
        let fill = |table, column| Edit::Set { table, key: 1, column, value: 4 };
        let merged =
            merge(&[create(5, 0), fill(5, 0)], &[create(5 | UPPER, 1), fill(5 | UPPER, 1)]);
        let table = &merged.tables[&(5 | UPPER)];
        assert_eq!(table.shape.columns.keys().collect::<Vec<_>>(), [&0, &1]);
        assert_eq!(table.rows[&1], [(1, 4)].into());
        assert_eq!(records(&merged), [("row", 5, Some(1), row(&[(0, Some(4)), (1, None)]))]);

        let view = make(5 | UPPER, ObjectKind::View, PLAIN, 0);
        let merged = merge(&[create(5, 0), fill(5, 0)], &[view]);
        assert_eq!((merged.table(5), merged.objects.len()), (None, 1));
        let kinds: Vec<_> =
            records(&merged).iter().map(|(kind, _, key, _)| (*kind, *key)).collect();
        assert_eq!(kinds, [("row", Some(1)), ("schema", None)]);
    }

    #[test]
    fn objects_that_cannot_work_are_taken_away() {
        let objects = [
            make(5, ObjectKind::View, PLAIN, 1),
            make(6, ObjectKind::View, 5, 1),
            make(4, ObjectKind::Trigger, PLAIN, 0),
        ];
        let merged = merge(&objects, &[drop_column(1)]);
        assert_eq!(merged.objects.keys().collect::<Vec<_>>(), [&4]);
        let records = records(&merged);
        assert_eq!(records.len(), 2);
        for (record, name) in records.iter().zip([5, 6]) {
            assert_eq!((record.0, record.1, record.2), ("object", name, None));
            assert!(matches!(record.3, Some(Version::Definition(Definition::Object(_)))));
        }
    }
}
