//! Whether commits keep the records of conflicts: there are only ever more of them, and of a record
//! nothing changes but its state.

use std::collections::BTreeMap;
use std::path::Path;

use doltswarm_core::id::{ChunkHash, CommitHash};
use doltswarm_core::limits::RESCUE_COMMITS_MAX;

use super::chunks::{DoltLiteChunks, TableState, parts_of, table_state};
use super::connection::{During, MALFORMED, hash_value, open_at};
use super::ffi::Connection;
use super::record::{TABLE, has_form};
use crate::engine::{EngineError, EngineResult};

/// Which of these commits, each with its first parent, remove or rewrite records that the parent
/// has, and what is wrong.
///
/// A function of the commits alone: nothing that this database has beside them counts.
pub(super) fn lost_records(
    path: &Path,
    commits: &[(CommitHash, CommitHash)],
) -> EngineResult<BTreeMap<CommitHash, String>> {
    let mut comparison = Comparison::open(path)?;
    let mut lost = BTreeMap::new();
    for (commit, parent) in commits {
        if let Some(reason) = comparison.lost(parent, commit)? {
            lost.insert(*commit, reason);
        }
    }
    Ok(lost)
}

/// What is lost between `since` and `commit`, or by a commit on the way: that would be lost for
/// every peer which has the commit before it.
pub(super) fn lost_since(
    path: &Path,
    since: &CommitHash,
    commit: &CommitHash,
) -> EngineResult<Option<String>> {
    let mut comparison = Comparison::open(path)?;
    if let Some(reason) = comparison.lost(since, commit)? {
        return Ok(Some(reason));
    }
    let mut at = *commit;
    for _ in 0..RESCUE_COMMITS_MAX {
        let parents = parts_of(&mut comparison.chunks, &at)?.parents;
        let Some(parent) = parents.first().copied().filter(|_| at != *since) else { break };
        if let Some(reason) = comparison.lost(&parent, &at)? {
            return Ok(Some(reason));
        }
        at = parent;
    }
    Ok(None)
}

/// Compares the records of commits.
struct Comparison<'a> {
    path: &'a Path,
    chunks: DoltLiteChunks,
    /// A connection that sees the table with this definition.
    seen_as: Option<(ChunkHash, Connection)>,
}

impl<'a> Comparison<'a> {
    fn open(path: &'a Path) -> EngineResult<Self> {
        Ok(Self { path, chunks: DoltLiteChunks::open(path)?, seen_as: None })
    }

    fn lost(&mut self, before: &CommitHash, after: &CommitHash) -> EngineResult<Option<String>> {
        let states = [before, after].map(|commit| table_state(&mut self.chunks, commit, TABLE));
        let [was, is] = states;
        // If there are no records yet, none is lost.
        let Some(was) = was? else { return Ok(None) };
        let Some(is) = is? else { return Ok(Some(format!("it drops the table {TABLE}"))) };
        if was == is {
            return Ok(None);
        }
        match self.fault(&was, &is, [before, after]) {
            Ok(fault) => Ok(fault.map(|what| format!("it {what} {TABLE}"))),
            // Nobody can read the records of such a commit again.
            Err(EngineError::Corrupt { message }) if message.contains(MALFORMED) => {
                Ok(Some(format!("records of conflicts cannot be compared: {MALFORMED}")))
            }
            Err(error) => Err(error),
        }
    }

    /// What is wrong with the second of two commits with these states of the table.
    fn fault(
        &mut self,
        was: &TableState,
        is: &TableState,
        [before, after]: [&CommitHash; 2],
    ) -> EngineResult<Option<&'static str>> {
        if was.definition != is.definition && !has_form(&open_at(self.path, after)?)? {
            return Ok(Some("gives another form to the table"));
        }
        if self.seen_as.as_ref().is_none_or(|(seen, _)| *seen != was.definition) {
            // The engine shows both sides with the columns of where the connection stands.
            self.seen_as = Some((was.definition, open_at(self.path, before)?));
        }
        let Some((_, connection)) = &self.seen_as else { return Ok(None) };
        let sql = "SELECT 1 FROM dolt_diff_swarm_conflicts(?, ?) WHERE diff_type = 'removed' \
                   OR (diff_type = 'modified' AND (to_kind, to_table_name, to_row_key) \
                       IS NOT (from_kind, from_table_name, from_row_key)) \
                   OR (diff_type = 'modified' AND (to_base, to_loser, to_winner) \
                       IS NOT (from_base, from_loser, from_winner)) LIMIT 1";
        let lost = match connection.rows(sql, &[hash_value(before), hash_value(after)]) {
            // The table had other columns before, so there were no records.
            Err(error) if error.message.starts_with("no such ") => false,
            rows => !rows.during("compare the records of conflicts")?.is_empty(),
        };
        Ok(lost.then_some("removes or rewrites records of conflicts in"))
    }
}
