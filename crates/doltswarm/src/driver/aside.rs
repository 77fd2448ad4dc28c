//! Setting commits aside on this node, and releasing them.
//!
//! What others committed is inspected before it is merged and before main moves to it. A head that
//! fails is set aside here, so that it stops nothing else.

use doltswarm_core::commit::{ConflictPolicy, Merge};
use doltswarm_core::fold::{self, MergeResult};
use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::RESCUE_COMMITS_MAX;

use super::Driver;
use crate::engine::stop::{self, StopReason};
use crate::engine::{Engine, EngineError, EngineResult, MergeOutcome};
use crate::swarm::PeersError;

/// Merges, if both sides and what comes of them can be worked with.
///
/// # Errors
///
/// [`EngineError::Unsound`] if they cannot, or the merge took longer than it may; any other engine
/// error.
pub(super) fn merge_sound(
    engine: &mut dyn Engine,
    merge: &Merge,
    policy: ConflictPolicy,
) -> EngineResult<(MergeResult, u64)> {
    let result = inspected_merge(engine, merge, policy);
    match (result, stop::requested()) {
        (Err(EngineError::Stopped { reason }), Some(StopReason::TimedOut(_))) => {
            let reason = format!("its merge was stopped: {reason}");
            Err(EngineError::Unsound { commit: merge.theirs, reason })
        }
        (result, _) => result,
    }
}

fn inspected_merge(
    engine: &mut dyn Engine,
    merge: &Merge,
    policy: ConflictPolicy,
) -> EngineResult<(MergeResult, u64)> {
    let Merge { ours, theirs, base } = merge;
    for side in [ours, theirs] {
        require_sound(engine, side, &base.commit)?;
    }
    let (commit, conflicts) = match engine.merge(merge, policy)? {
        MergeOutcome::Merged { commit, conflicts } => (commit, conflicts),
        MergeOutcome::Impossible { reason } => return Ok((Err(reason), 0)),
    };
    // What is wrong with a side, and was with the base, is not the merge's fault.
    if let Some(reason) = engine.inspect(&commit, Some(ours))?
        && engine.inspect(&commit, Some(theirs))?.is_some()
    {
        return Err(EngineError::Unsound { commit: *theirs, reason });
    }
    Ok((Ok(commit), conflicts))
}

/// Fails if main cannot be worked with once it has moved.
///
/// # Errors
///
/// [`EngineError::Unsound`] if so; any other engine error.
pub(super) fn require_sound_target(
    engine: &mut dyn Engine,
    from: &CommitHash,
    to: &CommitHash,
) -> EngineResult<()> {
    // Most moves are a fast-forward, so the other question is rarely asked.
    let Err(error) = require_sound(engine, to, from) else { return Ok(()) };
    match engine.merge_base(from, to)? {
        Some(base) if base != *from => require_sound(engine, to, &base),
        _ => Err(error),
    }
}

/// Fails if something is wrong with `commit` that is not wrong with `since`, and blames the oldest
/// user commit between them that has it.
fn require_sound(
    engine: &mut dyn Engine,
    commit: &CommitHash,
    since: &CommitHash,
) -> EngineResult<()> {
    let Some(reason) = engine.inspect(commit, Some(since))? else { return Ok(()) };
    let (mut at, mut blamed) = (*commit, *commit);
    for _ in 0..RESCUE_COMMITS_MAX {
        let info = engine.commit_info(&at)?.ok_or(EngineError::NoSuchCommit(at))?;
        if info.as_merge().is_none() {
            blamed = at;
        }
        match info.parents.first() {
            Some(parent) if engine.inspect(parent, Some(since))?.is_some() => at = *parent,
            _ => break,
        }
    }
    Err(EngineError::Unsound { commit: blamed, reason })
}

/// What an engine refused to work with.
pub(super) struct Unsound {
    commit: CommitHash,
    reason: String,
}

impl Unsound {
    /// What an error says about a commit, if it does.
    pub(super) fn of(error: EngineError) -> Option<Self> {
        match error {
            EngineError::Unsound { commit, reason } => Some(Self { commit, reason }),
            _ => None,
        }
    }
}

impl Driver {
    /// Sets aside what the node died merging.
    pub(super) fn set_deadly_aside(&mut self) {
        for head in self.shared.intents.deadly() {
            let reason = "the node died more than once while it merged this".to_owned();
            self.set_unsound_aside(Some(Unsound { commit: head, reason }));
            self.shared.intents.end(&head);
        }
    }

    /// Sets aside what is to blame for what an engine refused.
    pub(super) fn set_unsound_aside(&mut self, unsound: Option<Unsound>) {
        let Some(Unsound { commit, reason }) = unsound else { return };
        let Some(blamed) = self.blamed(&commit) else {
            tracing::error!(%commit, %reason, "no commit of another peer can be set aside for this");
            return;
        };
        if let Err(error) = self.set_aside(blamed, &reason) {
            tracing::warn!(%error, commit = %blamed, "a commit could not be set aside");
        }
    }

    /// The commit itself, if nothing made here builds on it; else the last head of another peer
    /// that is folded with it. What was made here is never set aside by this.
    fn blamed(&self, commit: &CommitHash) -> Option<CommitHash> {
        let (graph, me) = (self.node.graph(), self.shared.identity.peer_id());
        let is_mine = |hash: &CommitHash| graph.get(hash).is_none_or(|it| it.signer == me);
        let order = fold::order(self.node.fold_heads(), graph);
        let holds = |head: &CommitHash| head == commit || graph.is_ancestor(commit, head);
        if order.iter().any(holds) && !order.iter().any(|head| is_mine(head) && holds(head)) {
            return Some(*commit);
        }
        let end = order.iter().position(|head| head == commit).map_or(order.len(), |at| at + 1);
        order[..end].iter().rev().find(|head| !is_mine(head)).copied()
    }

    /// Sets a commit aside with all that builds on it: its content failed a check on this node or
    /// exceeded a budget. Durable before main is computed without it, so that a restart does not
    /// try it again.
    ///
    /// # Errors
    ///
    /// [`PeersError::Invalid`] for the founding commit; the store's error, when nothing is set
    /// aside.
    pub(super) fn set_aside(&mut self, commit: CommitHash, reason: &str) -> Result<(), PeersError> {
        if commit == self.shared.founding.founding {
            let text = "the founding commit cannot be set aside: every commit builds on it";
            return Err(PeersError::Invalid(text.into()));
        }
        let kept = self.shared.store.add_set_aside(&commit, reason);
        kept.map_err(|error| PeersError::Store(error.to_string()))?;
        let now = self.now();
        if self.node.handle_set_aside(now, commit, reason.to_owned()) {
            tracing::warn!(commit = %self.shared.text(&commit), %reason, "set a commit aside");
        }
        Ok(())
    }

    /// Releases a commit that was set aside on this node. Returns whether it was.
    ///
    /// # Errors
    ///
    /// The store's error; the commit stays set aside then.
    pub(super) fn release(&mut self, commit: CommitHash) -> Result<bool, PeersError> {
        let forgotten = self.shared.store.remove_set_aside(&commit);
        forgotten.map_err(|error| PeersError::Store(error.to_string()))?;
        let now = self.now();
        Ok(self.node.handle_release(now, commit))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use doltswarm_core::commit::MergeBase;

    use super::*;
    use crate::engine::stop::Stop;
    use crate::engine::{CommitMeta, DoltLite};

    fn commit(engine: &mut dyn Engine, sql: &str, seconds: i64) -> CommitHash {
        let meta = CommitMeta {
            author_name: "a".into(),
            author_email: "a@b".into(),
            message: "m".into(),
            seconds,
        };
        let executed = engine.exec_and_commit(&[sql.into()], &meta).expect("good SQL");
        executed.commit.expect("a change")
    }

    #[test]
    fn only_a_merge_whose_time_is_up_is_blamed() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut engine = DoltLite::create(&dir.path().join("db")).expect("a database");
        let base = commit(&mut engine, "CREATE TABLE t (id INTEGER PRIMARY KEY, n)", 1);
        let ours = commit(&mut engine, "INSERT INTO t VALUES (1, 1)", 2);
        engine.move_main(&ours, &base).expect("a move");
        let theirs = commit(&mut engine, "INSERT INTO t VALUES (2, 2)", 3);
        let merge = Merge { ours, theirs, base: MergeBase::from(base) };
        let mut run = |stop: Stop| {
            let merged = || merge_sound(&mut engine, &merge, ConflictPolicy::Settle);
            stop::run(&Arc::new(stop), merged)
        };
        match run(Stop::after(Duration::ZERO)) {
            Err(EngineError::Unsound { commit, .. }) => assert_eq!(commit, theirs),
            result => panic!("{result:?}"),
        }
        let closing = Stop::default();
        closing.request(StopReason::Closing);
        let result = run(closing);
        assert!(matches!(result, Err(EngineError::Stopped { .. })), "{result:?}");
        run(Stop::default()).expect("a merge").0.expect("a merge");
    }
}
