//! How the model merges: definitions first, then rows cell by cell; the later side stands, and what
//! lost is recorded.

use std::collections::{BTreeMap, BTreeSet};

use super::root::{Lost, Root, Row, Table, Version};
use super::settle::Settlement;
use crate::commit::ConflictPolicy;
use crate::id::CommitHash;
use crate::mutant::{Mutant, is_active};

/// What a merge depends on beside the three databases.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    pub(super) policy: ConflictPolicy,
    /// The commit that both sides are compared with.
    pub(super) base: CommitHash,
    /// What a default that is no literal evaluates to on this machine. No merge may look at it.
    pub(super) here: u8,
}

/// Merges two roots over their base, or says why that is impossible.
pub(super) fn merge_roots(
    [base, ours, theirs]: [&Root; 3],
    context: &Context,
) -> Result<Root, String> {
    let mut merged = Merged::new(context);
    merge_known_conflicts(&mut merged.root, ours, theirs);
    merged.merge_definitions([base, ours, theirs]);
    let clashes = is_active(Mutant::ClashParks) && !merged.lost.is_empty();
    if context.policy == ConflictPolicy::Park || clashes {
        return merged.into_unanimous();
    }
    let Merged { mut root, mut lost, conflicts, theirs, .. } = merged;
    let mut settlement = Settlement::new(&mut root, &theirs);
    settlement.settle_rows(conflicts);
    settlement.settle_violations();
    lost.append(&mut settlement.lost);
    let names_base = !is_active(Mutant::RecordWithoutBase);
    for lost in lost {
        let lost = Lost { compared_with: names_base.then_some(context.base), ..lost };
        if !is_active(Mutant::LoserNotRecorded) {
            root.conflicts.entry(lost).or_insert(false);
        }
    }
    Ok(root)
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

/// A merge under way.
#[derive(Debug)]
pub(super) struct Merged<'a> {
    pub(super) context: &'a Context,
    pub(super) root: Root,
    /// What was recorded so far.
    pub(super) lost: Vec<Lost>,
    /// The rows to be settled.
    conflicts: Vec<RowConflict>,
    /// Theirs' rows.
    theirs: BTreeMap<u8, TheirRows>,
}

/// Theirs' rows of a table, in its merged form.
#[derive(Debug, Default)]
pub(super) struct TheirRows {
    /// The columns that the table has in theirs.
    pub(super) columns: BTreeSet<u8>,
    pub(super) rows: BTreeMap<u8, Row>,
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
        let version = |row: &Option<Row>| Some(Version::Row(table.cells(row.as_ref()?)));
        Lost {
            kind: "row",
            table: self.table,
            key: Some(self.key),
            base: version(&self.base),
            loser: version(&self.ours),
            winner: version(&self.theirs),
            compared_with: None,
        }
    }
}

impl<'a> Merged<'a> {
    fn new(context: &'a Context) -> Self {
        let (root, theirs) = (Root::default(), BTreeMap::new());
        Self { context, root, lost: Vec::new(), conflicts: Vec::new(), theirs }
    }

    /// The merge, if nothing in it has to be settled.
    fn into_unanimous(self) -> Result<Root, String> {
        if let Some(lost) = self.lost.first() {
            return Err(format!("{} of {}: {:?} clashes", lost.kind, lost.table, lost.loser));
        }
        if let Some(conflict) = self.conflicts.first() {
            return Err(format!("table {}: row {} conflicts", conflict.table, conflict.key));
        }
        if let Some(((table, key), kind)) = self.root.violations().into_iter().next() {
            return Err(format!("table {table}: row {key} breaks a rule: {kind}"));
        }
        Ok(self.root)
    }

    /// Merges the rows of a table, whose definition is known, cell by cell.
    pub(super) fn merge_rows(
        &mut self,
        name: u8,
        [base, ours, theirs]: [&BTreeMap<u8, Row>; 3],
    ) -> BTreeMap<u8, Row> {
        let mut merged = BTreeMap::new();
        for key in keys(ours, theirs) {
            let [base, ours, theirs] = [base, ours, theirs].map(|rows| rows.get(&key).cloned());
            let row = match merge_row(&base, &ours, &theirs) {
                Some(row) => row,
                None => {
                    // Settled later; until then our version holds the place.
                    let row = ours.clone();
                    self.conflicts.push(RowConflict { table: name, key, base, ours, theirs });
                    row
                }
            };
            row.and_then(|row| merged.insert(key, row));
        }
        merged
    }

    pub(super) fn insert_table(&mut self, spelled: u8, name: u8, table: Table, theirs: TheirRows) {
        self.root.tables.insert(spelled, table);
        self.theirs.insert(name, theirs);
    }
}

/// Merges a row cell by cell; nothing if both sides changed the same thing differently.
fn merge_row(base: &Option<Row>, ours: &Option<Row>, theirs: &Option<Row>) -> Option<Option<Row>> {
    if let Some(row) = pick(base, ours, theirs) {
        return Some(row);
    }
    let (Some(base), Some(ours), Some(theirs)) = (base, ours, theirs) else { return None };
    let mut row = Row::new();
    for column in base.keys().chain(ours.keys()).chain(theirs.keys()).collect::<BTreeSet<_>>() {
        let [base, ours, theirs] = [base, ours, theirs].map(|row| row.get(column).copied());
        if let Some(value) = pick(&base, &ours, &theirs)? {
            row.insert(*column, value);
        }
    }
    Some(Some(row))
}

/// The side that changed, if only one did or both did alike.
pub(super) fn pick<T: Clone + PartialEq>(base: &T, ours: &T, theirs: &T) -> Option<T> {
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
    use super::super::edit::Edit;
    use super::super::root::{PARENT, PLAIN};
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

    fn merge(sides: [&Root; 3], policy: ConflictPolicy, base: u8) -> Result<Root, String> {
        merge_roots(sides, &Context { policy, base: CommitHash::from_bytes([base; 20]), here: 99 })
    }

    #[test]
    fn cells_merge_and_the_later_version_of_a_row_stands() {
        let base = edited(&Root::founding(), &[set(1, 0, 1), set(2, 0, 2)]);
        let ours = edited(&base, &[set(1, 0, 10), set(2, 0, 20)]);
        let theirs = edited(&base, &[set(1, 1, 11), set(2, 0, 22)]);
        let merged = merge([&base, &ours, &theirs], ConflictPolicy::Settle, 1).unwrap();
        assert_eq!(merged.tables[&PLAIN].rows[&1], [(0, 10), (1, 11)].into());
        assert_eq!(merged.tables[&PLAIN].rows[&2], [(0, 22)].into());
        let lost = merged.first_open().unwrap();
        assert_eq!(lost.loser, Some(Version::Row([(0, Some(20)), (1, None)].into())));
        assert_eq!(merged.conflicts.len(), 1);
        let parked = merge([&base, &ours, &theirs], ConflictPolicy::Park, 1).unwrap_err();
        assert!(parked.contains("row 2"));

        // Resolved on one side, met again on the other: it stays resolved.
        let resolved = edited(&merged, &[Edit::Resolve]);
        let again = merge([&base, &resolved, &merged], ConflictPolicy::Settle, 1).unwrap();
        assert!(again.conflicts.values().all(|resolved| *resolved));
    }

    #[test]
    fn a_later_dispute_over_the_same_values_is_open() {
        let base = edited(&Root::founding(), &[set(1, 0, 1)]);
        let sides = [edited(&base, &[set(1, 0, 10)]), edited(&base, &[set(1, 0, 11)])];
        let merged = merge([&base, &sides[0], &sides[1]], ConflictPolicy::Settle, 1).unwrap();
        let resolved = edited(&merged, &[Edit::Resolve, set(1, 0, 1)]);
        assert_eq!(resolved.first_open(), None);
        let sides = [edited(&resolved, &[set(1, 0, 10)]), edited(&resolved, &[set(1, 0, 11)])];
        let merged = merge([&resolved, &sides[0], &sides[1]], ConflictPolicy::Settle, 2).unwrap();
        assert_eq!(merged.conflicts.len(), 2);
        let open = merged.first_open().unwrap();
        assert_eq!(open.compared_with, Some(CommitHash::from_bytes([2; 20])));
        assert_eq!(open.loser, Some(Version::Row([(0, Some(10)), (1, None)].into())));
    }

    #[test]
    fn what_breaks_a_rule_together_is_settled_and_recorded() {
        let unique = |key| Edit::Set { table: PARENT, key, column: 1, value: 7 };
        let base = Root::founding();
        let (ours, theirs) = (edited(&base, &[unique(1)]), edited(&base, &[unique(2)]));
        let merged = merge([&base, &ours, &theirs], ConflictPolicy::Settle, 1).unwrap();
        assert!(merged.violations().is_empty());
        assert_eq!(merged.tables[&PARENT].rows.keys().collect::<Vec<_>>(), [&2]);
        assert_eq!(merged.first_open().unwrap().kind, "unique");
    }
}
