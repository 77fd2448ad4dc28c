//! What must hold of the rows of a merge.

use std::collections::BTreeSet;

use super::super::engine::{Commit, Store};
use super::super::root::{Lost, Root, Row};
use super::rules::{Verdict, fail};
use crate::id::CommitHash;

/// A row's place: the table and the key.
type Place = (u8, u8);

/// **Nothing lost**, of rows: what a side changed in a row is in the merge, or the row is recorded.
/// And **nothing back**: where a side knows all that the other did to a row, its version stands, or the
/// row is recorded.
pub(super) fn kept(store: &Store, merged: &Commit) -> Verdict {
    let Some((ours, theirs)) = merged.info.as_merge() else { return Ok(()) };
    let sides = [store.get(&ours), store.get(&theirs)];
    let base = merged.base.and_then(|base| store.get(&base.commit));
    let ([Some(ours), Some(theirs)], Some(base)) = (sides, base) else { return Ok(()) };
    for (side, other) in [(ours, theirs), (theirs, ours)] {
        for place in places(&[&base.root, &side.root, &merged.root]) {
            let [before, wanted, now] = [base, side, merged].map(|commit| row(&commit.root, place));
            if is_recorded(&merged.root, place) {
                continue;
            }
            if !is_kept(before, wanted, now) {
                let detail = format!("row {place:?} became {now:?}, not {wanted:?}");
                return fail("nothing lost", detail);
            }
            if wanted != now && !touches(store, other, side, place) {
                let detail = format!(
                    "row {place:?} is {now:?}; {:?} knew all of the other side, and has {wanted:?}",
                    side.info.hash
                );
                return fail("nothing back", detail);
            }
        }
    }
    Ok(())
}

fn places(roots: &[&Root]) -> BTreeSet<Place> {
    let tables = roots.iter().flat_map(|root| &root.tables);
    tables.flat_map(|(name, table)| table.rows.keys().map(|key| (*name, *key))).collect()
}

fn row(root: &Root, (table, key): Place) -> Option<&Row> {
    root.tables.get(&table)?.rows.get(&key)
}

fn is_recorded(root: &Root, place: Place) -> bool {
    root.conflicts.keys().any(|lost: &Lost| (lost.table, lost.key) == place)
}

/// Whether some user commit under `side` and not under `other` did anything to a row.
fn touches(store: &Store, side: &Commit, other: &Commit, place: Place) -> bool {
    let known = store.ancestors(&other.info.hash);
    let unknown: Vec<CommitHash> =
        store.ancestors(&side.info.hash).difference(&known).copied().collect();
    unknown.iter().filter_map(|hash| store.get(hash)).any(|commit| {
        let mut parents = commit.info.parents.iter().filter_map(|parent| store.get(parent));
        commit.info.as_merge().is_none()
            && parents.any(|parent| row(&parent.root, place) != row(&commit.root, place))
    })
}

/// Whether what was changed from `before` to `wanted` is there now.
fn is_kept(before: Option<&Row>, wanted: Option<&Row>, now: Option<&Row>) -> bool {
    match (wanted, now) {
        _ if before == wanted => true,
        (None, now) => now.is_none(),
        (Some(_), None) => false,
        (Some(wanted), Some(now)) => {
            let cell = |column: &u8| before.and_then(|row| row.get(column));
            let columns: BTreeSet<u8> = wanted
                .keys()
                .chain(before.into_iter().flatten().map(|(c, _)| c))
                .copied()
                .collect();
            columns.iter().all(|column| {
                wanted.get(column) == cell(column) || wanted.get(column) == now.get(column)
            })
        }
    }
}
