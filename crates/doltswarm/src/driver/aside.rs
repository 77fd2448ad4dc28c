//! Setting commits aside on this node, and releasing them.

use doltswarm_core::id::CommitHash;

use super::Driver;
use crate::swarm::PeersError;

impl Driver {
    /// Sets a commit aside with all that builds on it: its content failed a check on this node or
    /// exceeded a budget. Durable before main is computed without it, so that a restart does not try it
    /// again.
    ///
    /// # Errors
    ///
    /// [`PeersError::Invalid`] for the founding commit; the store's error, when nothing is set aside.
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
