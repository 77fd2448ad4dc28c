//! Closing heads that main does not include: an ordinary signed commit that has the head among its
//! parents.

use std::sync::Arc;

use doltswarm_core::commit::{ConflictPolicy, Merge};
use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::EXEC_TIMEOUT;
use tokio::sync::oneshot;

use super::undo::not_found;
use super::{ExecError, ExecReport, Swarm};
use crate::driver::{Input, collect};
use crate::engine::stop::Stop;
use crate::engine::{
    CommitMeta, Engine, EngineError, EngineResult, Executed, MergeOutcome, MoveOutcome,
};

/// What becomes of the work of a head that is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Main's tables stay as they are. The head's work stays in the history.
    Drop,
    /// The head is merged into main; if both changed the same, the head's version stands and main's
    /// is recorded in `swarm_conflicts`.
    Take,
}

impl Swarm {
    /// Closes a head that main does not include, by a commit of this peer with the parents main and
    /// the head. Every peer then has it as part of main. The head is named as for
    /// [`Swarm::resolve_commit`].
    ///
    /// # Errors
    ///
    /// [`ExecError::Invalid`] if no such head is waiting; [`ExecError::Engine`] with
    /// [`EngineError::Rejected`] if it cannot be merged as it is, with
    /// [`EngineError::Dirty`] or [`EngineError::Busy`] if another program's work is in the way.
    pub async fn close_head(
        &self,
        head: &str,
        how: Closing,
        message: &str,
    ) -> Result<ExecReport, ExecError> {
        let meta = self.meta(message)?;
        let commit = self.commit_named(head).await.map_err(not_found)?;
        let shared = Arc::clone(&self.inner.shared);
        let text = shared.text(&commit);
        let status = self.status().await.map_err(not_found)?;
        if !status.parked.iter().any(|parked| parked.head == text) {
            let what = format!("{text} is not a parked head, so there is nothing to close");
            return Err(ExecError::Invalid(what));
        }
        let (reply, report) = oneshot::channel();
        let stop = Arc::new(Stop::after(EXEC_TIMEOUT));
        let posted = self.inner.shared.engine.post_write(stop, move |engine| {
            let closed = close(engine, commit, how, &meta).and_then(|executed| {
                let made = executed.commit.unwrap_or(executed.parent);
                Ok((executed, collect(engine, &shared.store, &[made])?))
            });
            match closed {
                Ok((executed, infos)) => {
                    let _ = shared.inputs.send(Input::Executed { executed, infos, reply });
                }
                Err(error) => {
                    let _ = reply.send(Err(error.into()));
                }
            }
        });
        posted.map_err(|_| ExecError::Closed)?;
        report.await.map_err(|_| ExecError::Closed)?
    }
}

/// Makes the commit beside main, and moves main to it unless main has moved meanwhile.
fn close(
    engine: &mut dyn Engine,
    head: CommitHash,
    how: Closing,
    meta: &CommitMeta,
) -> EngineResult<Executed> {
    let tables = engine.dirty_tables()?;
    if !tables.is_empty() {
        return Err(EngineError::Dirty { tables });
    }
    let main = engine.main()?;
    let content = match how {
        Closing::Drop => main,
        Closing::Take => merged(engine, main, head)?,
    };
    let commit = engine.commit_joining([&main, &head], &content, meta)?;
    match engine.move_main(&main, &commit)? {
        MoveOutcome::Moved => Ok(Executed { commit: Some(commit), parent: main, rows_affected: 0 }),
        MoveOutcome::MainChanged(_) => Err(EngineError::Busy),
        MoveOutcome::Dirty(tables) => Err(EngineError::Dirty { tables }),
    }
}

/// The merge of the head into main. It needs not be the one that a fold would make: the commit with
/// its tables is a user's, who says that this is how they are to be.
fn merged(
    engine: &mut dyn Engine,
    ours: CommitHash,
    theirs: CommitHash,
) -> EngineResult<CommitHash> {
    let rejected = |message: String| EngineError::Rejected { message };
    let base = engine
        .merge_base(&ours, &theirs)?
        .ok_or_else(|| rejected("the head and main have no commit in common".to_owned()))?;
    let merge = Merge { ours, theirs, base: base.into() };
    match engine.merge(&merge, ConflictPolicy::Settle)? {
        MergeOutcome::Merged { commit, .. } => Ok(commit),
        MergeOutcome::Impossible { reason } => {
            Err(rejected(format!("the head cannot be taken as it is: {reason}")))
        }
    }
}
