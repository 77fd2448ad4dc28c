//! Merges that are impossible under the policy `park`, remembered by what they depend on.
//!
//! A parked head is tried again whenever main moves, because a commit may have made the two agree.
//! Mostly it did not, and that can be told without a merge. Ours, here the head, clashes with
//! theirs, in the rows of some table. If another theirs has the same definitions and base, and
//! differs from the first in no table that ours changed, not in that table, and in none that a
//! foreign key joins with one of them, then it clashes too, in the same rows: what is merged is the
//! same in all tables in which both sides differ from the base, and in all that the constraints of
//! the table look at. What else differs is taken from theirs as it is.

use std::cell::RefCell;
use std::collections::BTreeMap;

use doltswarm_core::commit::{Merge, MergeBase};
use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::REFUSALS_REMEMBERED_MAX;

use super::connection::{During, text};
use super::definitions::{ChangedTables, fold_case, has_virtual_tables};
use super::ffi::Connection;
use crate::engine::EngineResult;

/// What is known of impossible merges.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// By ours and the base.
    known: RefCell<BTreeMap<(CommitHash, CommitHash, CommitHash), Refusal>>,
    /// The two commits that were compared last, and what differs between them.
    compared: RefCell<Option<([CommitHash; 2], Difference)>>,
}

/// One impossible merge.
#[derive(Debug)]
struct Refusal {
    /// The newest theirs for which it is known.
    theirs: CommitHash,
    reason: String,
    depends_on: ChangedTables,
}

/// What differs between two commits.
#[derive(Debug)]
pub(super) enum Difference {
    /// Rows of these tables.
    Rows(ChangedTables),
    /// Definitions too.
    Definitions,
}

fn key(merge: &Merge) -> (CommitHash, CommitHash, CommitHash) {
    let Merge { ours, base: MergeBase { commit, ancestor }, .. } = merge;
    (*ours, *commit, *ancestor)
}

impl Refusals {
    /// Remembers that a merge of three commits with the same definitions is impossible because of
    /// rows. `tables` are those that ours changed, and the one with the rows; `connection` stands
    /// at any of the commits.
    pub(super) fn remember(
        &self,
        connection: &Connection,
        merge: &Merge,
        reason: &str,
        tables: &ChangedTables,
    ) -> EngineResult<()> {
        // The rows of a virtual table are in several others.
        if has_virtual_tables(connection)? {
            return Ok(());
        }
        let depends_on = with_related(connection, tables)?;
        let mut known = self.known.borrow_mut();
        if known.len() >= REFUSALS_REMEMBERED_MAX {
            known.clear();
        }
        let refusal = Refusal { theirs: merge.theirs, reason: reason.to_owned(), depends_on };
        known.insert(key(merge), refusal);
        Ok(())
    }

    /// Why this merge is impossible, if that follows from what is remembered. `compare` says what
    /// differs between two commits.
    pub(super) fn recall(
        &self,
        merge: &Merge,
        compare: impl FnOnce(&CommitHash, &CommitHash) -> EngineResult<Difference>,
    ) -> EngineResult<Option<String>> {
        let mut known = self.known.borrow_mut();
        let Some(refusal) = known.get_mut(&key(merge)) else { return Ok(None) };
        let both = [refusal.theirs, merge.theirs];
        if both[0] != both[1] {
            let mut compared = self.compared.borrow_mut();
            let difference = match compared.take() {
                // Main moves once for all the heads that are tried again.
                Some((commits, difference)) if commits == both => difference,
                _ => compare(&both[0], &both[1])?,
            };
            let (_, difference) = compared.insert((both, difference));
            match difference {
                Difference::Rows(tables) if tables.is_disjoint(&refusal.depends_on) => {}
                _ => return Ok(None),
            }
            refusal.theirs = merge.theirs;
        }
        Ok(Some(refusal.reason.clone()))
    }
}

/// These tables and those that a foreign key joins with one of them.
fn with_related(connection: &Connection, tables: &ChangedTables) -> EngineResult<ChangedTables> {
    let sql = "SELECT child.name, key.\"table\" FROM sqlite_schema AS child, \
               pragma_foreign_key_list(child.name) AS key WHERE child.type = 'table'";
    let mut all = tables.clone();
    for row in connection.rows(sql, &[]).during("list the foreign keys")? {
        let [child, parent] = [0, 1].map(|at| fold_case(text(row.get(at))));
        if tables.contains(&child) {
            all.insert(parent);
        } else if tables.contains(&parent) {
            all.insert(child);
        }
    }
    Ok(all)
}
