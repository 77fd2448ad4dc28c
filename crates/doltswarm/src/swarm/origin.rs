//! Who made the two versions of a conflict, and when: read from the history.

use std::collections::{BTreeSet, VecDeque};

use doltswarm_core::commit::{CommitInfo, EngineKind};
use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::QUERY_ROWS_MAX;
use serde::Serialize;

use super::{Conflict, QueryError, Swarm};
use crate::engine::{Engine, EngineError, EngineResult, Reader, RowChange, TableDiff, Value};

/// How many commits are looked at for the one that recorded a conflict, and on each side for the
/// one that made its version. It bounds the time of one question to a few seconds.
const COMMITS_LOOKED_AT_MAX: usize = 2_000;

/// A commit that made one version of a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConflictSide {
    /// The commit.
    pub commit: String,
    /// Its author, as `name <e-mail>`.
    pub author: String,
    /// Its date, as RFC 3339 in UTC.
    pub date: String,
    /// Its message.
    pub message: String,
}

/// Where a conflict comes from. What cannot be found within a bounded time is null.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConflictOrigin {
    /// The commit that recorded it: mostly a merge.
    pub recorded_in: Option<String>,
    /// Who made the version that lost.
    pub loser_by: Option<ConflictSide>,
    /// Who made the version that stands.
    pub winner_by: Option<ConflictSide>,
}

impl Swarm {
    /// Finds out who made the two versions of a conflict, from the history: the newest commit on
    /// each side of the merge that changed the row.
    ///
    /// # Errors
    ///
    /// As [`Swarm::query`].
    pub async fn conflict_origin(&self, conflict: &Conflict) -> Result<ConflictOrigin, QueryError> {
        let (kind, conflict) = (self.inner.shared.founding.engine, conflict.clone());
        let found = self.engine(move |engine| find(engine, kind, &conflict)).await?;
        let Found { recorded_in, loser, winner } = found;
        let shared = &self.inner.shared;
        let side = |info: CommitInfo| ConflictSide {
            commit: shared.text(&info.hash),
            author: format!("{} <{}>", info.author_name, info.author_email),
            date: crate::date::rfc3339(info.seconds),
            message: info.message,
        };
        Ok(ConflictOrigin {
            recorded_in: recorded_in.map(|commit| shared.text(&commit)),
            loser_by: loser.map(side),
            winner_by: winner.map(side),
        })
    }
}

#[derive(Default)]
struct Found {
    recorded_in: Option<CommitHash>,
    loser: Option<CommitInfo>,
    winner: Option<CommitInfo>,
}

fn find(engine: &mut dyn Engine, kind: EngineKind, conflict: &Conflict) -> EngineResult<Found> {
    let mut reader = engine.reader()?;
    let Some(merge) = recording(engine, reader.as_mut(), kind, &conflict.id)? else {
        return Ok(Found::default());
    };
    let recorded_in = Some(merge.hash);
    let [ours, theirs] = merge.parents[..] else {
        return Ok(Found { recorded_in, ..Found::default() });
    };
    let loser = changing(engine, &ours, conflict)?;
    let winner = changing(engine, &theirs, conflict)?;
    Ok(Found { recorded_in, loser, winner })
}

/// The commit that has the record while none of its parents has it. Records only ever grow in
/// number, so the way down is along the parents that have it.
fn recording(
    engine: &mut dyn Engine,
    reader: &mut dyn Reader,
    kind: EngineKind,
    id: &str,
) -> EngineResult<Option<CommitInfo>> {
    let mut at = engine.main()?;
    for _ in 0..COMMITS_LOOKED_AT_MAX {
        let Some(info) = engine.commit_info(&at)? else { return Ok(None) };
        let mut below = None;
        for parent in &info.parents {
            if below.is_none() && has_record(reader, kind, parent, id)? {
                below = Some(*parent);
            }
        }
        match below {
            Some(parent) => at = parent,
            None => return Ok(Some(info)),
        }
    }
    Ok(None)
}

fn has_record(
    reader: &mut dyn Reader,
    kind: EngineKind,
    at: &CommitHash,
    id: &str,
) -> EngineResult<bool> {
    let hash = kind.write_hash(at);
    let table = match kind {
        EngineKind::DoltLite => format!("dolt_at_swarm_conflicts('{hash}')"),
        EngineKind::Dolt => format!("swarm_conflicts AS OF '{hash}'"),
    };
    let sql = format!("SELECT 1 FROM {table} WHERE id = ?");
    match reader.query(&sql, &[id.into()], 1) {
        Ok(rows) => Ok(!rows.rows.is_empty()),
        // Below the founding there is no such table.
        Err(EngineError::Rejected { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The newest commit of a person under `tip` that changed the conflict's row.
fn changing(
    engine: &mut dyn Engine,
    tip: &CommitHash,
    conflict: &Conflict,
) -> EngineResult<Option<CommitInfo>> {
    let (mut queue, mut seen) = (VecDeque::from([*tip]), BTreeSet::new());
    while let Some(commit) = queue.pop_front() {
        if !seen.insert(commit) || seen.len() > COMMITS_LOOKED_AT_MAX {
            continue;
        }
        let Some(info) = engine.commit_info(&commit)? else { continue };
        // The later of two parents first: it is the one whose changes stand.
        queue.extend(info.parents.iter().rev());
        let [parent] = info.parents[..] else { continue };
        let tables = engine.changed_tables(&parent, &commit)?;
        if !tables.contains(&conflict.table_name) {
            continue;
        }
        let diff = engine.diff(&parent, &commit, &conflict.table_name, QUERY_ROWS_MAX)?;
        if diff.rows.iter().any(|change| is_about(&diff, change, conflict)) {
            return Ok(Some(info));
        }
    }
    Ok(None)
}

/// Whether a change is one of the conflict's row.
fn is_about(diff: &TableDiff, change: &RowChange, conflict: &Conflict) -> bool {
    let Some(key) = conflict.row_key.as_object() else { return false };
    let fits = |row: &Vec<Value>| {
        key.iter().all(|(name, value)| {
            let place = diff.columns.iter().position(|column| column == name);
            place.and_then(|place| row.get(place)).is_some_and(|cell| cell.to_json() == *value)
        })
    };
    [&change.before, &change.after].into_iter().flatten().any(fits)
}
