//! Which commits may be signed and built on: what is wrong with one is found out before main stays
//! there, and a commit with a fault is taken off main.

use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::RESCUE_COMMITS_MAX;

use super::commit::Transacted;
use super::keeper::Moved;
use super::{DoltLite, chunks, connection, losses, refs};
use crate::engine::{EngineError, EngineResult, Executed, MoveOutcome, stop};

impl DoltLite {
    /// Fails if main stands at a commit of another program that is not to be built on.
    pub(super) fn require_good_main(&mut self) -> EngineResult<()> {
        let main = connection::head(&self.main)?;
        if self.good_main == Some(main) {
            return Ok(());
        }
        let since = self.good_main.unwrap_or(main);
        if let Some(reason) = self.foreign_fault(&main, &since)? {
            let message = format!("another program committed what cannot be used: {reason}");
            return Err(EngineError::Rejected { message });
        }
        self.good_main = Some(main);
        Ok(())
    }

    /// What is wrong with `commit` and not with `since`.
    pub(super) fn new_fault(
        &mut self,
        commit: &CommitHash,
        since: &CommitHash,
    ) -> EngineResult<Option<String>> {
        if commit == since {
            return Ok(None);
        }
        let keeper = self.keeper(since)?;
        let faults = self.checker.faults(&self.path, &keeper, commit)?;
        let known = match faults.is_empty() {
            true => Vec::new(),
            false => self.checker.faults(&self.path, &keeper, since)?,
        };
        self.keeper = Some(keeper);
        Ok(faults.into_iter().find(|fault| !known.contains(fault)))
    }

    /// What is wrong with what another program committed between `since` and `commit`.
    pub(super) fn foreign_fault(
        &mut self,
        commit: &CommitHash,
        since: &CommitHash,
    ) -> EngineResult<Option<String>> {
        if commit == since {
            return Ok(None);
        }
        if let Some(fault) = self.new_fault(commit, since)? {
            return Ok(Some(fault));
        }
        if let Some(fault) = losses::lost_since(&self.path, since, commit)? {
            return Ok(Some(fault));
        }
        self.checker.too_large(&self.path, commit, Some(since))
    }

    /// What is wrong with a commit that was just made here on `parent`.
    pub(super) fn own_fault(
        &mut self,
        commit: &CommitHash,
        parent: &CommitHash,
        schema_changed: bool,
    ) -> EngineResult<Option<String>> {
        if schema_changed && let Some(fault) = self.new_fault(commit, parent)? {
            return Ok(Some(fault));
        }
        self.checker.too_large(&self.path, commit, Some(parent))
    }

    /// Keeps the commit that was just made, if nothing is wrong with it.
    pub(super) fn accept_own(&mut self, done: Transacted) -> EngineResult<Executed> {
        let Executed { commit, parent, .. } = done.executed;
        if let Some(commit) = commit {
            self.require_sound(&commit, &parent, done.schema_changed)?;
            self.good_main = Some(commit);
        }
        Ok(done.executed)
    }

    /// Takes the commit that was just made on `parent` back if something is wrong with it.
    fn require_sound(
        &mut self,
        commit: &CommitHash,
        parent: &CommitHash,
        schema_changed: bool,
    ) -> EngineResult<()> {
        let error = match self.own_fault(commit, parent, schema_changed) {
            Ok(None) => return Ok(()),
            Ok(Some(reason)) => EngineError::Rejected { message: reason },
            Err(error) => error,
        };
        let taken_back = stop::shielded(|| {
            let moved = self.keeper(parent)?.move_main(commit, parent)?;
            self.outcome(moved, commit, parent)
        });
        match taken_back {
            Ok(MoveOutcome::Moved) => {}
            Ok(_) => tracing::error!(%commit, "another program built on a commit that is refused"),
            Err(failed) => tracing::error!(%commit, %failed, "a commit could not be taken back"),
        }
        Err(error)
    }

    /// What came of a move. If there is more on main than its commit, main is moved on main itself,
    /// unless that is uncommitted work.
    pub(super) fn outcome(
        &self,
        moved: Moved,
        from: &CommitHash,
        to: &CommitHash,
    ) -> EngineResult<MoveOutcome> {
        match moved {
            Moved::Yes => Ok(MoveOutcome::Moved),
            Moved::MainChanged(main) => Ok(MoveOutcome::MainChanged(main)),
            Moved::Dirty => refs::move_main(&self.main, from, to),
        }
    }

    /// The newest commit from `tip` down its first parents to `floor` with which nothing new is
    /// wrong.
    pub(super) fn newest_sound(
        &mut self,
        tip: &CommitHash,
        floor: &CommitHash,
    ) -> EngineResult<CommitHash> {
        let mut chunks = chunks::DoltLiteChunks::open(&self.path)?;
        let mut commit = *tip;
        for _ in 0..RESCUE_COMMITS_MAX {
            let parents = chunks::parts_of(&mut chunks, &commit)?.parents;
            let Some(parent) = parents.first().copied() else { break };
            if self.foreign_fault(&parent, floor)?.is_none() {
                return Ok(parent);
            }
            commit = parent;
        }
        Ok(*floor)
    }
}
