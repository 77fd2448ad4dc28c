//! A table dropped on one side and changed on the other, which the engine does not always notice.
//!
//! *Measured* on DoltLite 0.51.6: where some other table has a unique index, a table that ours dropped
//! and theirs inserted into is dropped by the merge without a word, and theirs' rows are gone.

use std::collections::BTreeSet;

use doltswarm_core::id::CommitHash;

use super::connection::{During, hash_value, text};
use super::ffi::Connection;
use super::settle::Stop;
use crate::engine::EngineResult;

/// What one side did to the tables since the two went apart.
#[derive(Default)]
struct Side {
    dropped: BTreeSet<String>,
    changed: BTreeSet<String>,
}

/// Stops the merge where one side dropped a table and the other changed it.
pub(super) fn refuse(
    connection: &Connection,
    base: &CommitHash,
    ours: &CommitHash,
    theirs: &CommitHash,
) -> Result<(), Stop> {
    let their_side = side(connection, base, theirs)?;
    let our_side = side(connection, base, ours)?;
    let mut lost = our_side.dropped.intersection(&their_side.changed);
    let mut kept = their_side.dropped.intersection(&our_side.changed);
    match lost.next().or_else(|| kept.next()) {
        None => Ok(()),
        Some(name) => Err(Stop::Impossible(format!(
            "table `{name}`: it is dropped on one side and changed on the other; make its \
             definition the same on both sides with a new commit"
        ))),
    }
}

fn side(connection: &Connection, base: &CommitHash, tip: &CommitHash) -> EngineResult<Side> {
    let sql = "SELECT from_table_name, to_table_name FROM dolt_diff_summary(?, ?)";
    let rows = connection.rows(sql, &[hash_value(base), hash_value(tip)]);
    let mut side = Side::default();
    for row in rows.during("list the changed tables")? {
        let (from, to) = (text(row.first()), text(row.get(1)));
        if !from.is_empty() {
            let names = if to.is_empty() { &mut side.dropped } else { &mut side.changed };
            names.insert(from.to_owned());
        }
    }
    Ok(side)
}
