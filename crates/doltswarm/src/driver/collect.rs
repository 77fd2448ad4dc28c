//! Walking back from new commits to known ones, on the engine thread.

use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::{COMMITS_READ_AHEAD_MAX, PULL_COMMITS_MAX};

use super::input::Infos;
use crate::engine::{Engine, EngineError, EngineResult};
use crate::store::Store;

/// Describes every commit under `tips` that the store does not know as a user commit, down to the
/// known ones. Costs the new commits, never the history.
///
/// # Errors
///
/// [`EngineError::NoSuchCommit`] where a commit on the way is missing, and any other engine error.
pub(crate) fn collect(
    engine: &mut dyn Engine,
    store: &Store,
    tips: &[CommitHash],
) -> EngineResult<Infos> {
    let mut infos = Infos::new();
    // What the engine said of commits that were not asked for yet.
    let mut ahead = Infos::new();
    let mut batch = 1;
    let mut open: Vec<CommitHash> = tips.to_vec();
    while let Some(commit) = open.pop() {
        if infos.contains_key(&commit) || store.contains_commit(&commit).map_err(store_failed)? {
            continue;
        }
        if infos.len() > PULL_COMMITS_MAX {
            return Err(EngineError::TooLarge { limit: PULL_COMMITS_MAX });
        }
        if !ahead.contains_key(&commit) {
            let told = engine.commit_infos(&commit, batch)?;
            ahead.extend(told.into_iter().map(|info| (info.hash, info)));
            // Mostly there is one new commit; where there are more, there may be many.
            batch = (batch * 4).min(COMMITS_READ_AHEAD_MAX);
        }
        let info = ahead.remove(&commit).ok_or(EngineError::NoSuchCommit(commit))?;
        open.extend(info.content_parents());
        infos.insert(commit, info);
    }
    Ok(infos)
}

fn store_failed(error: crate::store::StoreError) -> EngineError {
    EngineError::Failed { what: "look a commit up in the node's store", message: error.to_string() }
}
