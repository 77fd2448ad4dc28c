//! Commits of other programs that cannot be part of the swarm.
//!
//! What another program commits on main is inspected before it is signed. A commit that fails is
//! taken off main and kept on a branch, so that it stops neither this node nor the others.

use std::collections::BTreeMap;

use doltswarm_core::id::CommitHash;

use super::Driver;
use crate::engine::{Engine, EngineError, EngineResult, MoveOutcome};
use crate::swarm::{RefusedCommit, SwarmEvent};

/// The commits that were refused, with the reasons.
pub(crate) type Refused = BTreeMap<CommitHash, String>;

/// Inspects what another program put on main, which was at `expected`, and takes it off again if it
/// fails. Returns where main is, and what was refused.
///
/// # Errors
///
/// [`EngineError::Dirty`] if uncommitted work keeps the commit on main, [`EngineError::Busy`] if
/// main moved meanwhile, and any other engine error.
pub(crate) fn inspect_main(
    engine: &mut dyn Engine,
    main: CommitHash,
    expected: &CommitHash,
) -> EngineResult<(CommitHash, Refused)> {
    let fault = engine.inspect_foreign(&main, expected)?;
    let Some(reason) = fault else { return Ok((main, Refused::new())) };
    match engine.refuse(&main, expected)? {
        MoveOutcome::Moved => Ok((engine.main()?, Refused::from([(main, reason)]))),
        MoveOutcome::MainChanged(_) => Err(EngineError::Busy),
        MoveOutcome::Dirty(tables) => Err(EngineError::Dirty { tables }),
    }
}

/// The commits that were refused before the node was opened, with the reasons as they are now.
///
/// # Errors
///
/// Any engine error.
pub(crate) fn refused_before(engine: &mut dyn Engine) -> EngineResult<Refused> {
    let commits = engine.refused()?;
    let with_reason = |commit: CommitHash| {
        let reason = engine.inspect(&commit, None)?;
        Ok((commit, reason.unwrap_or_else(|| "another program committed it".to_owned())))
    };
    commits.into_iter().map(with_reason).collect()
}

impl Driver {
    /// Takes note of commits that were taken off main.
    pub(super) fn commits_refused(&mut self, refused: Refused) {
        for (commit, reason) in refused {
            tracing::warn!(%commit, %reason, "refused a commit of another program");
            let text = self.shared.text(&commit);
            self.shared.emit(SwarmEvent::CommitRefused { commit: text, reason: reason.clone() });
            self.refused.insert(commit, reason);
        }
    }

    /// What was refused, for a status.
    pub(super) fn refused_commits(&self) -> Vec<RefusedCommit> {
        let report = |(commit, reason): (&CommitHash, &String)| RefusedCommit {
            commit: self.shared.text(commit),
            reason: reason.clone(),
        };
        self.refused.iter().map(report).collect()
    }
}
