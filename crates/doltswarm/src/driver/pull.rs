//! A pull, from what core asks for to what it is told. [`transfer`](super::transfer) is how the
//! chunks get here.
//!
//! Nothing is shown to the engine before its hash is checked, and nothing becomes part of the graph
//! before its signature is. The engine never waits for the network: it fetches from chunks that are
//! all here.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use doltswarm_core::commit::UserCommit;
use doltswarm_core::id::{CommitHash, PeerId};
use doltswarm_core::node::{OpId, PullError};
use doltswarm_core::walk::{WalkError, WalkResult};

use super::input::{FetchError, Fetched, Infos, Input};
use super::losses::lost_records;
use super::recover::resolve_all;
use super::signatures::{Signatures, add_to};
use super::transfer::prepare;
use super::{Driver, Shared, collect};
use crate::engine::EngineError;

impl Driver {
    pub(super) fn pull(&mut self, op: OpId, peer: PeerId, heads: Vec<CommitHash>) {
        let Some(network) = &self.network else { return };
        let (link, shared) = (network.link(peer), self.shared());
        let have = self.node.graph().sample();
        tokio::spawn(async move {
            let guard = StagingUse::new(Arc::clone(&shared));
            match prepare(&shared, &link, &heads, &have).await {
                Ok(signatures) => store(&shared, op, peer, heads, signatures, guard),
                Err(error) => {
                    let result = Err(error);
                    let _ = shared.inputs.send(Input::Fetched { op, peer, heads, result });
                }
            }
        });
    }

    pub(super) fn fetched(
        &mut self,
        op: OpId,
        peer: PeerId,
        heads: &[CommitHash],
        result: Result<Fetched, FetchError>,
    ) {
        let result = result.and_then(|fetched| self.accept(heads, fetched));
        if let Some(known) = self.known.get_mut(&peer) {
            known.problem = match &result {
                Err(FetchError::Local(reason)) => {
                    Some(format!("what it sent could not be kept: {reason}"))
                }
                _ => None,
            };
        }
        let now = self.now();
        let result = result.map_err(|error| {
            tracing::debug!(%peer, ?error, "a pull failed");
            match error {
                FetchError::Unavailable(_) => PullError::Unavailable,
                FetchError::Rejected(reason) => PullError::Rejected { reason },
                FetchError::Local(reason) => {
                    tracing::warn!(%peer, %reason, "a pull could not be stored");
                    PullError::Local { reason }
                }
            }
        });
        self.node.handle_pulled(now, op, result);
    }

    /// Every user commit on the way must carry a verified signature, relayed or not.
    fn accept(
        &mut self,
        heads: &[CommitHash],
        fetched: Fetched,
    ) -> Result<Vec<UserCommit>, FetchError> {
        let Fetched { infos, mut signatures, lost_records } = fetched;
        let WalkResult { found, .. } =
            resolve_all(self.node.graph(), heads, &infos).map_err(|error| match error {
                // What is missing here was dropped from the database meanwhile, or never stored.
                WalkError::Unfinished { missing } => {
                    FetchError::Local(format!("commit {missing} is not in the database"))
                }
                error => FetchError::Rejected(error.to_string()),
            })?;
        let new: HashSet<CommitHash> = found.iter().map(|found| found.hash).collect();
        let user_commit =
            |head: &CommitHash| new.contains(head) || self.node.graph().contains(head);
        if let Some(merge) = heads.iter().find(|head| !user_commit(head)) {
            // Merges are derived by everyone, so nobody vouches for this one.
            let reason = format!("head {merge} is a merge commit, which is never a head");
            return Err(FetchError::Rejected(reason));
        }
        let mut commits = Vec::with_capacity(found.len());
        let mut kept = Vec::with_capacity(found.len());
        for found in found {
            let signed = signatures.remove(&found.hash).unwrap_or_default();
            let Some(first) = signed.first() else {
                let reason = format!("commit {} has no signature", found.hash);
                return Err(FetchError::Rejected(reason));
            };
            commits.push(found.signed_by(first.signer));
            kept.extend(signed);
        }
        self.set_losing_aside(&commits, lost_records)
            .map_err(|error| FetchError::Local(error.to_string()))?;
        self.shared
            .store
            .add_commits(&commits, &kept)
            .map_err(|error| FetchError::Local(error.to_string()))?;
        add_to(&mut self.signers, &kept);
        Ok(commits)
    }
}

/// Counts the pulls that use the staged chunks; the last one out throws them away, if it was good.
struct StagingUse {
    shared: Arc<Shared>,
}

impl StagingUse {
    fn new(shared: Arc<Shared>) -> Self {
        *shared.pulls.lock().expect("because no holder of this lock panics") += 1;
        Self { shared }
    }

    /// The chunks of this pull are in the database.
    fn done(&self) {
        let pulls = self.shared.pulls.lock().expect("because no holder of this lock panics");
        if *pulls == 1
            && let Err(error) = self.shared.staging.clear()
        {
            tracing::warn!(%error, "staged chunks were not cleared");
        }
    }
}

impl Drop for StagingUse {
    fn drop(&mut self) {
        *self.shared.pulls.lock().expect("because no holder of this lock panics") -= 1;
    }
}

/// Lets the engine take the heads from what is staged, and walks back from them.
fn store(
    shared: &Arc<Shared>,
    op: OpId,
    peer: PeerId,
    heads: Vec<CommitHash>,
    signatures: Signatures,
    guard: StagingUse,
) {
    let job = Arc::clone(shared);
    let posted = shared.engine.post(move |engine| {
        job.fetches.fetch_add(1, Ordering::AcqRel);
        let mut result = Ok(Infos::new());
        for head in &heads {
            if let Err(error) = engine.ingest(Arc::clone(&job.staging) as _, head) {
                result = Err(error);
                break;
            }
        }
        job.fetch_requests.store(engine.fetch_requests(), Ordering::Release);
        let result = result
            .and_then(|_| collect(engine, &job.store, &heads))
            .and_then(|infos| {
                let lost_records = lost_records(engine, &infos)?;
                Ok(Fetched { infos, signatures, lost_records })
            })
            .map_err(fetch_failed);
        if result.is_ok() {
            guard.done();
        }
        drop(guard);
        let _ = job.inputs.send(Input::Fetched { op, peer, heads, result });
    });
    if posted.is_err() {
        tracing::error!("the engine stopped");
    }
}

fn fetch_failed(error: EngineError) -> FetchError {
    match error {
        // Hashes were checked chunk by chunk, so bytes the engine cannot read are the peer's doing.
        EngineError::Corrupt { message } => FetchError::Rejected(message),
        error => FetchError::Local(error.to_string()),
    }
}
