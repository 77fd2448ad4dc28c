//! How the model settles what a merge breaks: theirs' version of a row stands, what lost is
//! recorded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::merge::{RowConflict, TheirRows};
use super::root::{Lost, Root, Row, Version};

/// After this many passes theirs' versions are no longer put in: then rows only go, and so it ends.
const ADOPTING_PASSES: usize = 8;

/// A merge that is being settled.
pub(super) struct Settlement<'a> {
    merged: &'a mut Root,
    theirs: &'a BTreeMap<u8, TheirRows>,
    /// What was recorded so far.
    pub(super) lost: Vec<Lost>,
}

/// What a row is to become: what it is in theirs, if it is there.
type Want = (u8, Option<Row>);

impl<'a> Settlement<'a> {
    pub(super) fn new(merged: &'a mut Root, theirs: &'a BTreeMap<u8, TheirRows>) -> Self {
        Self { merged, theirs, lost: Vec::new() }
    }

    /// Settles the rows that both sides changed, table by table.
    pub(super) fn settle_rows(&mut self, conflicts: Vec<RowConflict>) {
        let mut tables: BTreeMap<u8, Vec<Want>> = BTreeMap::new();
        for conflict in conflicts {
            if let Some(table) = self.merged.table(conflict.table) {
                self.lost.push(conflict.lost(table));
            }
            tables.entry(conflict.table).or_default().push((conflict.key, conflict.theirs));
        }
        for (table, wants) in tables {
            self.adopt(table, wants);
        }
    }

    /// Settles what breaks a rule, in passes: first theirs' versions are put in, and when that
    /// changes nothing the rows go.
    pub(super) fn settle_violations(&mut self) {
        for pass in 0.. {
            let violations = self.merged.violations();
            if violations.is_empty() {
                return;
            }
            let changed = pass < ADOPTING_PASSES && self.adopt_all(&violations);
            if !changed {
                for ((table, key), kind) in violations {
                    let Some(row) = self.row(table, key) else { continue };
                    self.record(kind, table, key, &row, None);
                    self.delete(table, key);
                }
            }
        }
    }

    fn adopt_all(&mut self, violations: &BTreeMap<(u8, u8), &'static str>) -> bool {
        let mut changed = false;
        let tables: BTreeSet<u8> = violations.keys().map(|(table, _)| *table).collect();
        for table in tables {
            let mut wants = Vec::new();
            for (&(_, key), kind) in violations.iter().filter(|((t, _), _)| *t == table) {
                let Some(row) = self.row(table, key) else { continue };
                let theirs = self.theirs(table, key, &row);
                if theirs.as_ref() == Some(&row) {
                    continue;
                }
                self.record(kind, table, key, &row, theirs.as_ref());
                wants.push((key, theirs));
            }
            changed |= !wants.is_empty();
            self.adopt(table, wants);
        }
        changed
    }

    /// Makes rows of a table what they are in theirs; a row that is not theirs' and is in the way
    /// of one becomes what it is in theirs too.
    fn adopt(&mut self, table: u8, wants: Vec<Want>) {
        let mut done = BTreeSet::new();
        for (key, _) in &wants {
            self.delete(table, *key);
            done.insert(*key);
        }
        let mut queue: VecDeque<(u8, Row)> =
            wants.into_iter().filter_map(|(key, row)| Some((key, row?))).collect();
        while let Some((key, row)) = queue.pop_front() {
            let colliders = self.merged.colliders(table, &row);
            if colliders.is_empty() {
                self.insert(table, key, row);
                continue;
            }
            match self.make_way(table, &colliders, &mut done) {
                Some(moved) => {
                    queue.push_front((key, row));
                    queue.extend(moved);
                }
                None => self.record("unique", table, key, &row, None),
            }
        }
    }

    fn make_way(
        &mut self,
        table: u8,
        colliders: &[u8],
        done: &mut BTreeSet<u8>,
    ) -> Option<Vec<(u8, Row)>> {
        let mut losers = Vec::new();
        for &key in colliders {
            let row = self.row(table, key)?;
            let theirs = self.theirs(table, key, &row);
            if done.contains(&key) || theirs.as_ref() == Some(&row) {
                return None;
            }
            losers.push((key, row, theirs));
        }
        let mut moved = Vec::new();
        for (key, row, theirs) in losers {
            self.delete(table, key);
            done.insert(key);
            self.record("unique", table, key, &row, theirs.as_ref());
            moved.extend(theirs.map(|row| (key, row)));
        }
        Some(moved)
    }

    /// The row as it is in theirs; columns that theirs does not have keep their value.
    fn theirs(&self, table: u8, key: u8, current: &Row) -> Option<Row> {
        let there = self.theirs.get(&table)?;
        let mut row = there.rows.get(&key)?.clone();
        row.retain(|column, _| there.columns.contains(column));
        let kept = current.iter().filter(|(column, _)| !there.columns.contains(column));
        row.extend(kept.map(|(column, value)| (*column, *value)));
        Some(row)
    }

    fn row(&self, table: u8, key: u8) -> Option<Row> {
        self.merged.table(table)?.rows.get(&key).cloned()
    }

    fn delete(&mut self, table: u8, key: u8) {
        self.merged.table_mut(table).and_then(|table| table.rows.remove(&key));
    }

    fn insert(&mut self, table: u8, key: u8, row: Row) {
        self.merged.table_mut(table).and_then(|table| table.rows.insert(key, row));
    }

    fn record(
        &mut self,
        kind: &'static str,
        table: u8,
        key: u8,
        loser: &Row,
        winner: Option<&Row>,
    ) {
        let Some(shape) = self.merged.table(table) else { return };
        let version = |row: &Row| Version::Row(shape.cells(row));
        let (loser, winner) = (Some(version(loser)), winner.map(version));
        let (key, base, compared_with) = (Some(key), None, None);
        self.lost.push(Lost { kind, table, key, base, loser, winner, compared_with });
    }
}
