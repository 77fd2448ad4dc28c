//! What must hold of the content of a merge: what its sides changed is in it, or is recorded.
//!
//! Nothing here knows how the model merges. A side's changes are what it has and the base has not;
//! a record counts if it is of this merge, and has the version that the side made.

use std::collections::BTreeSet;

use super::super::definitions::{before, is_filled};
use super::super::engine::{Commit, Store};
use super::super::root::{Definition, Lost, Root, Row, Shape, Version, folded};
use super::rules::{Verdict, fail};
use crate::id::CommitHash;

/// A row's place: the table and the key.
type Place = (u8, u8);

/// A merge with the commits that it is made of.
#[derive(Clone, Copy)]
struct View<'a> {
    base: &'a Commit,
    side: &'a Commit,
    other: &'a Commit,
    merged: &'a Commit,
}

/// **Nothing lost**: what a side changed in a definition, a row or a cell is in the merge, or that
/// version is recorded. **Nothing back**: if a side knows all that the other did to a row, its
/// version stands, or the row is recorded. **Bounded work**: a merge records and rewrites only rows
/// that a side changed.
pub(super) fn kept(store: &Store, merged: &Commit) -> Verdict {
    let Some((ours, theirs)) = merged.info.as_merge() else { return Ok(()) };
    let sides = [store.get(&ours), store.get(&theirs)];
    let base = merged.base.and_then(|base| store.get(&base.commit));
    let ([Some(ours), Some(theirs)], Some(base)) = (sides, base) else { return Ok(()) };
    for (side, other) in [(ours, theirs), (theirs, ours)] {
        let view = View { base, side, other, merged };
        let roots = [&base.root, &side.root, &merged.root];
        let names: BTreeSet<u8> = roots.iter().flat_map(|root| root.names()).map(folded).collect();
        names.into_iter().try_for_each(|name| view.definition_kept(name))?;
        for place in places(&roots) {
            view.row_kept(place)?;
            view.row_not_back(store, place)?;
        }
    }
    bounded([base, ours, theirs, merged])
}

fn places(roots: &[&Root]) -> BTreeSet<Place> {
    let tables = roots.iter().flat_map(|root| &root.tables);
    tables.flat_map(|(name, table)| table.rows.keys().map(|key| (folded(*name), *key))).collect()
}

fn row(root: &Root, (table, key): Place) -> Option<&Row> {
    root.table(table)?.rows.get(&key)
}

impl View<'_> {
    /// The records of this merge about a row, or about the definition that a name stands for.
    fn records(&self, name: u8, key: Option<u8>) -> impl Iterator<Item = &Lost> {
        let base = Some(self.base.info.hash);
        let is_of_it =
            move |lost: &&Lost| lost.table == name && lost.key == key && lost.compared_with == base;
        self.merged.root.conflicts.keys().filter(is_of_it)
    }

    /// Whether what this side made of the definition is recorded.
    fn is_definition_recorded(&self, name: u8) -> bool {
        let wanted = self.side.root.definition(name).map(Version::Definition);
        self.records(name, None).any(|lost| lost.loser == wanted)
    }

    fn definition_kept(&self, name: u8) -> Verdict {
        let [before, wanted, now] =
            [self.base, self.side, self.merged].map(|commit| commit.root.definition(name));
        let is_kept = match (&before, &wanted, &now) {
            _ if before == wanted || wanted == now => true,
            (before, Some(Definition::Table(wanted)), Some(Definition::Table(now))) => {
                let before = match before {
                    Some(Definition::Table(before)) => before,
                    _ => &Shape::default(),
                };
                is_shape_kept(before, wanted, now)
            }
            _ => false,
        };
        if is_kept || self.is_definition_recorded(name) {
            return Ok(());
        }
        fail("nothing lost", format!("what {name} stands for became {now:?}, not {wanted:?}"))
    }

    fn row_kept(&self, place @ (table, key): Place) -> Verdict {
        let [before, wanted, now] =
            [self.base, self.side, self.merged].map(|commit| row(&commit.root, place));
        let lost = match (before, wanted, now) {
            (None, None, _) | (Some(_), None, None) => false,
            (Some(_), None, Some(_)) => self.records(table, Some(key)).next().is_none(),
            (_, Some(_), _) => self.cells_lost(place),
        };
        // Who drops a table deletes its rows, and may have lost that as a whole.
        if !lost || (wanted.is_none() && self.is_definition_recorded(table)) {
            return Ok(());
        }
        fail("nothing lost", format!("row {place:?} became {now:?}, not {wanted:?}"))
    }

    /// Whether some cell of a row that this side has, and changed, is neither there nor recorded.
    fn cells_lost(&self, place @ (table, key): Place) -> bool {
        let Some(side) = self.side.root.table(table) else { return false };
        let now = row(&self.merged.root, place);
        let is_new = row(&self.base.root, place).is_none();
        if is_new && now.is_none() {
            // All of its cells may be empty.
            return self.records(table, Some(key)).next().is_none();
        }
        side.shape.columns.iter().any(|(number, column)| {
            let value = side.rows[&key].get(number).copied();
            let place = self.merged.root.table(table);
            let is_there = now.is_some_and(|now| now.get(number).copied() == value)
                && place.is_some_and(|table| table.shape.columns.contains_key(number));
            let is_changed = value != before(self.base.root.table(table), key, *number, *column);
            let is_recorded = |lost: &Lost| match &lost.loser {
                Some(Version::Row(cells)) => cells.get(number) == Some(&value),
                _ => false,
            };
            is_changed && !is_there && !self.records(table, Some(key)).any(is_recorded)
        })
    }

    fn row_not_back(&self, store: &Store, place: Place) -> Verdict {
        let [wanted, now] = [self.side, self.merged].map(|commit| row(&commit.root, place));
        if self.is_alike(place, wanted, now)
            || self.touches(store, place)
            || self.is_version_recorded(place)
        {
            return Ok(());
        }
        let side = self.side.info.hash;
        fail(
            "nothing back",
            format!(
                "row {place:?} is {now:?}; {side:?} knew all of the other side, and has {wanted:?}"
            ),
        )
    }

    /// Whether this side's version of a row is recorded, by this merge or an earlier one.
    fn is_version_recorded(&self, place @ (table, key): Place) -> bool {
        let (merged, wanted) = (&self.merged.root, row(&self.side.root, place));
        let now = row(merged, place);
        let definition = self.side.root.definition(table).map(Version::Definition);
        let side = self.side.root.table(table);
        merged.conflicts.keys().filter(|lost| lost.table == table).any(|lost| {
            let is_it = |version: &Option<Version>| match (version, wanted) {
                (None, wanted) => wanted.is_none(),
                (Some(Version::Row(cells)), Some(wanted)) => {
                    // A record is of the merged definition: a column may be new to this side. Other
                    // cells of the row may have changed since it was made.
                    let has = |column| side.is_some_and(|t| t.shape.columns.contains_key(column));
                    let differs =
                        |column| now.is_none_or(|now| now.get(column) != wanted.get(column));
                    let mut cells = cells
                        .iter()
                        .filter(|(column, _)| has(column) && differs(column))
                        .peekable();
                    cells.peek().is_some()
                        && cells.all(|(column, value)| wanted.get(column).copied() == *value)
                }
                _ => false,
            };
            match lost.key {
                // It may also be what came of a dispute that others decided in another way.
                Some(at) if at == key => {
                    let is_winner = lost.kind != "cell" && is_it(&lost.winner);
                    is_winner || is_it(&lost.loser)
                }
                Some(_) => false,
                // Who drops a table deletes its rows, also if the table is made again afterwards.
                None => {
                    [&lost.loser, &lost.winner].contains(&&definition)
                        || (wanted.is_none() && lost.loser.is_none())
                }
            }
        })
    }

    /// Whether two versions of a row are the same in the columns that both the side's and the
    /// merge's definition have, but for what a default put there.
    fn is_alike(&self, (name, key): Place, wanted: Option<&Row>, now: Option<&Row>) -> bool {
        let (Some(wanted), Some(now)) = (wanted, now) else { return wanted == now };
        let [base, side, merged] =
            [self.base, self.side, self.merged].map(|commit| commit.root.table(name));
        let (Some(side), Some(merged)) = (side, merged) else { return true };
        side.shape.columns.iter().all(|(number, column)| {
            let value = wanted.get(number).copied();
            let is_shared = merged.shape.columns.contains_key(number);
            !is_shared
                || value == now.get(number).copied()
                || is_filled(base, key, *number, *column, value)
        })
    }

    /// Whether some user commit under the other side and not under this one did anything to a row.
    fn touches(&self, store: &Store, place: Place) -> bool {
        let known = store.ancestors(&self.side.info.hash);
        let unknown: Vec<CommitHash> =
            store.ancestors(&self.other.info.hash).difference(&known).copied().collect();
        unknown.iter().filter_map(|hash| store.get(hash)).any(|commit| {
            let mut parents = commit.info.parents.iter().filter_map(|parent| store.get(parent));
            commit.info.as_merge().is_none()
                && parents.any(|parent| row(&parent.root, place) != row(&commit.root, place))
        })
    }
}

/// Whether all that was changed from `before` to `wanted` is so now.
fn is_shape_kept(before: &Shape, wanted: &Shape, now: &Shape) -> bool {
    let columns = before.columns.keys().chain(wanted.columns.keys());
    let mut columns =
        columns.filter(|column| before.columns.get(column) != wanted.columns.get(column));
    let mut unique = before.unique.symmetric_difference(&wanted.unique);
    columns.all(|column| now.columns.get(column) == wanted.columns.get(column))
        && unique.all(|column| now.unique.contains(column) == wanted.unique.contains(column))
}

/// Whether a side changed a row, or made or dropped it with its table.
fn changes(base: &Root, side: &Root, place @ (name, key): Place) -> bool {
    match (side.table(name), row(base, place), row(side, place)) {
        (Some(table), Some(_), Some(row)) => table.shape.columns.iter().any(|(number, column)| {
            row.get(number).copied() != before(base.table(name), key, *number, *column)
        }),
        (_, before, now) => before.is_some() != now.is_some(),
    }
}

/// Whether what a merge wrote and recorded is about what its sides changed.
fn bounded([base, ours, theirs, merged]: [&Commit; 4]) -> Verdict {
    let is_changed =
        |place| [ours, theirs].iter().any(|side| changes(&base.root, &side.root, place));
    for lost in merged.root.conflicts.keys() {
        let is_known = [ours, theirs].iter().any(|side| side.root.conflicts.contains_key(lost));
        let place = lost.key.map(|key| (lost.table, key));
        if !is_known && !place.is_none_or(is_changed) {
            return fail("bounded work", format!("nobody changed what {lost:?} is about"));
        }
    }
    for place in places(&[&ours.root, &merged.root]) {
        let [wanted, now] = [ours, merged].map(|commit| row(&commit.root, place).is_some());
        if wanted != now && !is_changed(place) {
            return fail("bounded work", format!("nobody changed the row {place:?}"));
        }
    }
    Ok(())
}
