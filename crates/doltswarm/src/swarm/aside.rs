//! Setting a commit aside on this node alone, and releasing it.

use doltswarm_core::commit::EngineKind;
use doltswarm_core::graph::{SetAside, Standing};
use doltswarm_core::id::CommitHash;

use super::{PeersError, SetAsideHead, Swarm};
use crate::driver::Command;

impl Swarm {
    /// Sets a commit aside on this node, with all that builds on it: main is computed without them,
    /// also after a restart. Other peers are not affected, and the commits are passed on as before.
    /// The commit need not be here yet.
    ///
    /// # Errors
    ///
    /// [`PeersError::Invalid`] if the commit is not written as a hash, or is the founding commit;
    /// [`PeersError::Store`] if that cannot be kept.
    pub async fn set_aside(&self, commit: &str, reason: &str) -> Result<(), PeersError> {
        let (commit, reason) = (self.read_commit(commit)?, reason.to_owned());
        let command = |reply| Command::SetAside { commit, reason, reply };
        self.command(command).await.ok_or(PeersError::Closed)?
    }

    /// Releases a commit that this node set aside: it takes part in main again. Returns whether it
    /// was set aside here.
    ///
    /// # Errors
    ///
    /// As [`Swarm::set_aside`].
    pub async fn release(&self, commit: &str) -> Result<bool, PeersError> {
        let commit = self.read_commit(commit)?;
        self.command(|reply| Command::Release { commit, reply }).await.ok_or(PeersError::Closed)?
    }

    fn read_commit(&self, text: &str) -> Result<CommitHash, PeersError> {
        let engine = self.inner.shared.founding.engine;
        engine.read_hash(text).map_err(|error| PeersError::Invalid(error.to_string()))
    }
}

/// The heads that take no part in the fold, for the status.
pub(crate) fn set_aside_heads(standing: &Standing, engine: EngineKind) -> Vec<SetAsideHead> {
    let head = |aside: &SetAside| SetAsideHead {
        head: engine.write_hash(&aside.head),
        reason: aside.reason.to_string(),
        signer: aside.signer.to_string(),
    };
    standing.set_aside().iter().map(head).collect()
}
