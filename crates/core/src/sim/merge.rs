//! How the model merges: cell by cell, the later side stands, and what lost is recorded.

use std::collections::{BTreeMap, BTreeSet};

use super::root::{Lost, Root, Row, Table};
use super::settle::Settlement;
use crate::mutant::{Mutant, is_active};

/// Merges two roots over their base, or says why that is impossible.
pub(super) fn merge_roots(
    base: &Root,
    ours: &Root,
    theirs: &Root,
    settles: bool,
) -> Result<Root, String> {
    let mut merged = Root::default();
    merge_known_conflicts(&mut merged, ours, theirs);
    let mut conflicts = Vec::new();
    for name in keys(&ours.tables, &theirs.tables) {
        let sides = [base, ours, theirs].map(|root| root.tables.get(&name));
        if let Some(table) = merge_table(name, sides, &mut conflicts)? {
            merged.tables.insert(name, table);
        }
    }
    if !settles {
        if let Some(conflict) = conflicts.first() {
            return Err(format!("table {}: row {} conflicts", conflict.table, conflict.key));
        }
        if let Some(((table, key), kind)) = merged.violations().into_iter().next() {
            return Err(format!("table {table}: row {key} breaks a rule: {kind}"));
        }
        return Ok(merged);
    }
    let mut settlement = Settlement::new(&mut merged, theirs);
    settlement.settle_rows(conflicts);
    settlement.settle_violations();
    let lost = settlement.lost;
    for lost in lost {
        if !is_active(Mutant::LoserNotRecorded) {
            merged.conflicts.entry(lost).or_insert(false);
        }
    }
    Ok(merged)
}

/// The table of conflicts only grows, and what was resolved on either side is resolved.
fn merge_known_conflicts(merged: &mut Root, ours: &Root, theirs: &Root) {
    for (lost, resolved) in ours.conflicts.iter().chain(&theirs.conflicts) {
        let known = merged.conflicts.entry(lost.clone()).or_insert(*resolved);
        *known |= *resolved;
    }
    if is_active(Mutant::ResolutionUnsticks) {
        for (lost, resolved) in &theirs.conflicts {
            merged.conflicts.insert(lost.clone(), *resolved);
        }
    }
}

/// A row that both sides changed in one cell, or that one deleted and the other changed.
#[derive(Debug)]
pub(super) struct RowConflict {
    pub(super) table: u8,
    pub(super) key: u8,
    pub(super) base: Option<Row>,
    pub(super) ours: Option<Row>,
    pub(super) theirs: Option<Row>,
}

impl RowConflict {
    pub(super) fn lost(&self, table: &Table) -> Lost {
        let version = |row: &Option<Row>| row.as_ref().map(|row| table.version(row));
        Lost {
            kind: "row",
            table: self.table,
            key: self.key,
            base: version(&self.base),
            loser: version(&self.ours),
            winner: version(&self.theirs),
        }
    }
}

fn merge_table(
    name: u8,
    [base, ours, theirs]: [Option<&Table>; 3],
    conflicts: &mut Vec<RowConflict>,
) -> Result<Option<Table>, String> {
    if let Some(table) = pick(&base, &ours, &theirs) {
        return Ok(table.cloned());
    }
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        return Err(format!("table {name} is dropped on one side and changed on the other"));
    };
    let empty = Table::default();
    let base = base.unwrap_or(&empty);
    let mut table = Table::default();
    for column in keys(&ours.columns, &theirs.columns) {
        let [base, ours, theirs] = [base, ours, theirs].map(|t| t.columns.get(&column).copied());
        let kind = match (base, ours, theirs) {
            (None, Some(kind), None) | (None, None, Some(kind)) => Some(kind),
            // A column goes only with its table, which is made again without it.
            (Some(_), None, _) | (Some(_), _, None) => continue,
            _ => pick(&base, &ours, &theirs).flatten(),
        };
        let different = || format!("table {name}: column {column} has two types");
        table.columns.insert(column, kind.ok_or_else(different)?);
    }
    for key in keys(&ours.rows, &theirs.rows) {
        let [base, ours, theirs] = [base, ours, theirs].map(|t| t.rows.get(&key).cloned());
        let row = match merge_row(&base, &ours, &theirs) {
            Some(row) => row,
            None => {
                // Settled later; until then our version holds the place.
                let row = ours.clone();
                conflicts.push(RowConflict { table: name, key, base, ours, theirs });
                row
            }
        };
        row.and_then(|row| table.rows.insert(key, row));
    }
    Ok(Some(table))
}

/// Merges a row cell by cell; nothing where both sides changed the same thing differently.
fn merge_row(base: &Option<Row>, ours: &Option<Row>, theirs: &Option<Row>) -> Option<Option<Row>> {
    if let Some(row) = pick(base, ours, theirs) {
        return Some(row);
    }
    let (Some(base), Some(ours), Some(theirs)) = (base, ours, theirs) else { return None };
    let mut row = Row::new();
    for column in keys(&keys_of(base, ours), theirs) {
        let [base, ours, theirs] = [base, ours, theirs].map(|row| row.get(&column).copied());
        if let Some(value) = pick(&base, &ours, &theirs)? {
            row.insert(column, value);
        }
    }
    Some(Some(row))
}

fn keys_of(a: &Row, b: &Row) -> BTreeMap<u8, ()> {
    keys(a, b).into_iter().map(|key| (key, ())).collect()
}

/// The side that changed, where only one did or both did alike.
fn pick<T: Clone + PartialEq>(base: &T, ours: &T, theirs: &T) -> Option<T> {
    if ours == theirs || theirs == base {
        Some(ours.clone())
    } else if ours == base {
        Some(theirs.clone())
    } else {
        None
    }
}

fn keys<V, W>(a: &BTreeMap<u8, V>, b: &BTreeMap<u8, W>) -> BTreeSet<u8> {
    a.keys().chain(b.keys()).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::super::root::{Edit, PARENT, PLAIN};
    use super::*;

    fn edited(root: &Root, edits: &[Edit]) -> Root {
        let mut root = root.clone();
        edits.iter().for_each(|edit| {
            root.apply(edit);
        });
        root
    }

    fn set(key: u8, column: u8, value: u8) -> Edit {
        Edit::Set { table: PLAIN, key, column, value }
    }

    #[test]
    fn cells_merge_and_the_later_version_of_a_row_stands() {
        let base = edited(&Root::founding(), &[set(1, 0, 1), set(2, 0, 2)]);
        let ours = edited(&base, &[set(1, 0, 10), set(2, 0, 20)]);
        let theirs = edited(&base, &[set(1, 1, 11), set(2, 0, 22)]);
        let merged = merge_roots(&base, &ours, &theirs, true).unwrap();
        assert_eq!(merged.tables[&PLAIN].rows[&1], [(0, 10), (1, 11)].into());
        assert_eq!(merged.tables[&PLAIN].rows[&2], [(0, 22)].into());
        let lost = merged.first_open().unwrap();
        assert_eq!(lost.loser, Some([(0, Some(20)), (1, None)].into()));
        assert_eq!(merged.conflicts.len(), 1);
        assert!(merge_roots(&base, &ours, &theirs, false).unwrap_err().contains("row 2"));

        // Resolved on one side, met again on the other: it stays resolved.
        let resolved = edited(&merged, &[Edit::Resolve]);
        let again = merge_roots(&base, &resolved, &merged, true).unwrap();
        assert!(again.conflicts.values().all(|resolved| *resolved));
    }

    #[test]
    fn what_breaks_a_rule_together_is_settled_and_recorded() {
        let unique = |key| Edit::Set { table: PARENT, key, column: 1, value: 7 };
        let base = Root::founding();
        let (ours, theirs) = (edited(&base, &[unique(1)]), edited(&base, &[unique(2)]));
        let merged = merge_roots(&base, &ours, &theirs, true).unwrap();
        assert!(merged.violations().is_empty());
        assert_eq!(merged.tables[&PARENT].rows.keys().collect::<Vec<_>>(), [&2]);
        assert_eq!(merged.first_open().unwrap().kind, "unique");
    }

    #[test]
    fn schemas_that_clash_are_impossible() {
        let base = Root::founding();
        let drop = edited(&base, &[Edit::ToggleTable { table: PLAIN }]);
        let change = edited(&base, &[set(1, 0, 1)]);
        assert!(merge_roots(&base, &drop, &change, true).unwrap_err().contains("dropped"));
        let column = |kind| edited(&base, &[Edit::AddColumn { table: 1, column: 7, kind }]);
        assert!(
            merge_roots(&base, &column(1), &column(2), true).unwrap_err().contains("two types")
        );
        assert_eq!(merge_roots(&base, &column(1), &column(1), true), Ok(column(1)));
    }
}
