//! Dropping what nothing refers to, only at a moment when nothing that is needed is loose.
//!
//! A head that was fetched and not folded yet hangs on no branch, and a remembered merge may be one
//! that no tip includes. So garbage is collected only while the node is settled, not after a fetch
//! that the driver has not heard of, and what is remembered of merges is forgotten afterwards: a
//! merge is made again, to the same bytes.
//!
//! The size after the last collection is kept, because a node may live for ever in short runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Driver;
use super::input::{Input, Reply};
use crate::engine::EngineError;
use crate::swarm::ExecError;

/// By how many bytes the store must have grown, beyond twice its size after the last collection,
/// before the node collects by itself.
const GROWTH_BYTES: u64 = 64 << 20;

/// Who hears of the end of a collection.
pub(crate) type Collected = Option<Reply<Result<(), ExecError>>>;

impl Driver {
    /// Collects where nothing is under way.
    pub(super) fn collect_garbage(&mut self, reply: Collected) {
        if !self.node.is_settled() {
            answer(reply, Err(EngineError::Busy));
            return;
        }
        let shared = Arc::clone(&self.shared);
        let fetches = shared.fetches.load(Ordering::Acquire);
        // An own commit may hang on such a branch alone, and setting it may have failed.
        let Some(kept) = self.kept.clone() else {
            answer(reply, Err(EngineError::Busy));
            return;
        };
        let posted = self.shared.engine.post(move |engine| {
            let loose = shared.fetches.load(Ordering::Acquire) != fetches;
            let result = match loose {
                true => Err(EngineError::Busy),
                false => engine.set_parked(&kept).and_then(|()| engine.collect_garbage()),
            };
            let _ = shared.inputs.send(Input::GarbageCollected { result, reply });
        });
        if posted.is_err() {
            tracing::error!("the engine stopped");
        }
    }

    pub(super) fn garbage_collected(&mut self, result: Result<(), EngineError>, reply: Collected) {
        if result.is_ok() {
            self.forget_merges();
            self.size_after_collection = self.store_size();
            let kept = self.shared.store.set_size_after_collection(self.size_after_collection);
            if let Err(error) = kept {
                tracing::warn!(%error, "the size of the database could not be kept");
            }
        }
        answer(reply, result);
    }

    /// Collects where the store grew much, at a quiet moment.
    pub(super) fn collect_if_grown(&mut self) {
        let limit = self.size_after_collection.saturating_mul(2).saturating_add(GROWTH_BYTES);
        let size = self.store_size();
        if size > limit && self.node.is_settled() {
            tracing::info!(size, "collecting garbage");
            self.collect_garbage(None);
        }
    }

    /// A merge commit that was remembered is not in the database any more.
    pub(super) fn forget_merges(&mut self) {
        if let Err(error) = self.shared.store.forget_merges() {
            tracing::warn!(%error, "what is remembered of merges could not be forgotten");
        }
        let now = self.now();
        self.node.handle_merges_lost(now);
    }

    pub(super) fn store_size(&self) -> u64 {
        let mut chunks = self.shared.chunks.lock().expect("because no holder of this lock panics");
        chunks.size().unwrap_or(0)
    }
}

fn answer(reply: Collected, result: Result<(), EngineError>) {
    match (reply, result) {
        (Some(reply), result) => {
            let _ = reply.send(result.map_err(ExecError::from));
        }
        (None, Err(error)) => tracing::debug!(%error, "garbage was not collected"),
        (None, Ok(())) => {}
    }
}
