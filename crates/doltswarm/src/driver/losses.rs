//! Commits of other peers that take records of conflicts away.
//!
//! Such a commit is set aside with all that builds on it. That is decided when it is accepted, by
//! its content and that of its first parent alone, so every node decides it alike, in whatever order
//! commits arrive.

use std::collections::{BTreeMap, BTreeSet};

use doltswarm_core::commit::{CommitInfo, UserCommit};
use doltswarm_core::id::CommitHash;

use super::Driver;
use super::input::Infos;
use crate::engine::{Engine, EngineResult};
use crate::swarm::PeersError;

/// The user commits among `infos` that take records of conflicts away, with the reasons. A derived
/// commit is the doing of whoever signed the commit that is made on it.
///
/// # Errors
///
/// Any engine error.
pub(crate) fn lost_records(
    engine: &mut dyn Engine,
    infos: &Infos,
) -> EngineResult<BTreeMap<CommitHash, String>> {
    let with_parent = |info: &CommitInfo| Some((info.hash, *info.parents.first()?));
    let commits: Vec<_> = infos.values().filter_map(with_parent).collect();
    let lost = engine.lost_records(&commits)?;
    if lost.is_empty() {
        return Ok(lost);
    }
    let reason = |info: &CommitInfo| {
        let mut at = info;
        loop {
            if let Some(reason) = lost.get(&at.hash) {
                return Some((info.hash, reason.clone()));
            }
            at = infos.get(at.parents.first()?).filter(|below| is_derived(below))?;
        }
    };
    Ok(infos.values().filter(|info| !is_derived(info)).filter_map(reason).collect())
}

fn is_derived(info: &CommitInfo) -> bool {
    info.as_merge().is_some() || info.as_join().is_some()
}

impl Driver {
    /// Sets aside those of the new `commits`, parents first, that take records away. What builds on
    /// one needs no entry of its own.
    ///
    /// # Errors
    ///
    /// The store's error.
    pub(super) fn set_losing_aside(
        &mut self,
        commits: &[UserCommit],
        lost: BTreeMap<CommitHash, String>,
    ) -> Result<(), PeersError> {
        if lost.is_empty() {
            return Ok(());
        }
        let mut aside = BTreeSet::new();
        for commit in commits {
            let below = commit.builds_on.iter().any(|below| aside.contains(below));
            if !below && let Some(reason) = lost.get(&commit.hash) {
                self.set_aside(commit.hash, reason)?;
            }
            if below || lost.contains_key(&commit.hash) {
                aside.insert(commit.hash);
            }
        }
        Ok(())
    }
}
