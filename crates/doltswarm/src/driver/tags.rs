//! The newest signatures as tags of the database, written when nothing else is going on.
//!
//! The engine rewrites all refs at each commit, so tags are few, and writing them never stands
//! between a caller and its commit.

use std::time::Duration;

use doltswarm_core::id::CommitHash;
use doltswarm_core::sign::tag_message;
use tokio::time::Instant;

use super::Driver;

/// How long the database must be quiet before tags are written.
const QUIET: Duration = Duration::from_millis(250);

/// When to write the tags.
pub(super) struct Tags {
    max: usize,
    stale: bool,
    last_touched: Instant,
}

impl Tags {
    pub(super) fn new(max: usize) -> Self {
        Self { max, stale: true, last_touched: Instant::now() }
    }

    pub(super) fn heads_changed(&mut self) {
        self.stale = true;
        // A node that was idle until now has a pull or a write under way.
        self.last_touched = Instant::now();
    }

    pub(super) fn touched(&mut self, at: Instant) {
        self.last_touched = at;
    }

    /// When the tags are to be written, if they are.
    pub(super) fn due(&self) -> Option<Instant> {
        self.stale.then(|| self.last_touched + QUIET)
    }
}

impl Driver {
    /// Hands the newest signatures to the engine as tags, where they changed.
    pub(super) fn write_tags_now(&mut self) {
        if self.tags.due().is_none() {
            return;
        }
        self.tags.stale = false;
        // The quiet is also when what the store holds back is written.
        if let Err(error) = self.shared.store.flush() {
            tracing::warn!(%error, "the node's store could not be flushed; it is tried again");
        }
        let newest: Vec<CommitHash> =
            self.node.graph().iter_newest().take(self.tags.max).map(|commit| commit.hash).collect();
        let signed = match self.shared.store.signatures(&newest) {
            Ok(signed) => signed,
            Err(error) => {
                tracing::warn!(%error, "signatures could not be read for tags");
                return;
            }
        };
        let tags: Vec<(CommitHash, String)> = signed
            .into_iter()
            .filter_map(|signatures| signatures.into_iter().next())
            .map(|signed| (signed.hash, tag_message(&signed)))
            .collect();
        let _ = self.shared.engine.post(move |engine| {
            if let Err(error) = engine.set_signature_tags(&tags) {
                tracing::warn!(%error, "signature tags could not be written");
            }
        });
    }
}
