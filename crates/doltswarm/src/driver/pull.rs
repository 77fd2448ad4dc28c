//! A pull: signatures first, then chunks into the staging, then the engine's own fetch.
//!
//! Nothing is shown to the engine before its hash is checked, and nothing becomes part of the graph
//! before its signature is. The engine never waits for the network: it fetches from chunks that are
//! all here.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use doltswarm_core::commit::UserCommit;
use doltswarm_core::id::{ChunkHash, CommitHash, PeerId};
use doltswarm_core::limits::CHUNKS_PER_REQUEST_MAX;
use doltswarm_core::membership::Membership;
use doltswarm_core::message::SignedCommit;
use doltswarm_core::node::{OpId, PullError};
use doltswarm_core::sign::verify_commit;
use doltswarm_core::walk::{WalkError, WalkResult};

use super::input::{FetchError, Fetched, Infos, Input};
use super::recover::resolve_all;
use super::{Driver, Shared, collect};
use crate::engine::{ChunkFormat, EngineError};
use crate::net::{CallError, ChunkStoreError, PeerLink, RemoteChunkStore};
use crate::staging::Staging;

impl Driver {
    pub(super) fn pull(&mut self, op: OpId, peer: PeerId, heads: Vec<CommitHash>) {
        let Some(network) = &self.network else { return };
        let (link, shared) = (network.link(peer), self.shared());
        let have = self.node.graph().sample();
        tokio::spawn(async move {
            let guard = StagingUse::new(Arc::clone(&shared));
            match prepare(&shared, &link, &heads, have).await {
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
        &self,
        heads: &[CommitHash],
        fetched: Fetched,
    ) -> Result<Vec<UserCommit>, FetchError> {
        let Fetched { infos, mut signatures } = fetched;
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
            let Some(signed) = signatures.remove(&found.hash) else {
                let reason = format!("commit {} has no signature", found.hash);
                return Err(FetchError::Rejected(reason));
            };
            commits.push(found.signed_by(signed.signer));
            kept.push(signed);
        }
        self.shared
            .store
            .add_commits(&commits, &kept)
            .map_err(|error| FetchError::Local(error.to_string()))?;
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

/// Gets and verifies all that the engine will ask for.
async fn prepare(
    shared: &Arc<Shared>,
    link: &PeerLink,
    heads: &[CommitHash],
    have: Vec<CommitHash>,
) -> Result<BTreeMap<CommitHash, SignedCommit>, FetchError> {
    let remote = link.chunk_store();
    // Signatures and most of the chunks travel at the same time.
    let (signed, ()) = tokio::join!(
        link.list_commits(heads, &have),
        stage_difference(&remote, &shared.format, &shared.staging, heads, &have)
    );
    let signed = signed.map_err(call_failed)?;
    let signatures = {
        let first = verify_signatures(&shared.founding.swarm, &shared.membership(), &signed);
        match first {
            Err(Unverified::NotAWriter(_)) => None,
            other => Some(other.map_err(|error| FetchError::Rejected(error.to_string()))?),
        }
    };
    let signatures = match signatures {
        Some(signatures) => signatures,
        None => {
            // The signer may be a member that this node has not heard of yet.
            let grants = link.list_grants().await.map_err(call_failed)?;
            let _ = shared.inputs.send(Input::Grants { from: link.peer(), grants: grants.clone() });
            let mut membership = shared.membership().clone();
            for grant in grants.iter().filter_map(|bytes| decode_grant(bytes)) {
                let _ = membership.add(grant);
            }
            verify_signatures(&shared.founding.swarm, &membership, &signed)
                .map_err(|error| FetchError::Rejected(error.to_string()))?
        }
    };
    let roots = roots(heads, &signatures);
    let local = Arc::clone(shared);
    let has = move |hashes: Vec<ChunkHash>| {
        let local = Arc::clone(&local);
        async move { has_locally(&local, hashes).await }
    };
    let format = Arc::clone(&shared.format);
    fetch_chunks(&remote, &format, &shared.staging, &roots, has, |_, _| {}).await?;
    Ok(signatures)
}

/// Stages what the peer sends as the difference. That it fails, or leaves something out, is mended by
/// [`fetch_chunks`], which asks for every chunk that is missing.
async fn stage_difference(
    remote: &RemoteChunkStore,
    format: &Arc<dyn ChunkFormat>,
    staging: &Staging,
    heads: &[CommitHash],
    have: &[CommitHash],
) {
    // Parents come first, so what no chunk before it refers to was not asked for.
    let mut expected: HashSet<ChunkHash> = heads.iter().map(|head| (*head).into()).collect();
    let take = |hash: ChunkHash, data: Bytes| {
        if !expected.remove(&hash) {
            return false;
        }
        let Ok(children) = format.children(&data) else { return false };
        expected.extend(children);
        staging.put(hash, &data).is_ok()
    };
    if let Err(error) = remote.difference(heads, have, take).await {
        tracing::debug!(%error, "the difference was cut short");
    }
}

/// Where a fetch begins: at the heads, and at all signed commits that the peer says lie under them.
/// From the heads alone a history is as many round trips as it has commits.
pub(crate) fn roots(
    heads: &[CommitHash],
    signatures: &BTreeMap<CommitHash, SignedCommit>,
) -> Vec<ChunkHash> {
    let commits: BTreeSet<CommitHash> = heads.iter().chain(signatures.keys()).copied().collect();
    commits.into_iter().map(ChunkHash::from).collect()
}

fn decode_grant(bytes: &[u8]) -> Option<doltswarm_core::membership::SignedGrant> {
    doltswarm_core::membership::SignedGrant::decode(bytes).ok()
}

/// Lets the engine take the heads from what is staged, and walks back from them.
fn store(
    shared: &Arc<Shared>,
    op: OpId,
    peer: PeerId,
    heads: Vec<CommitHash>,
    signatures: BTreeMap<CommitHash, SignedCommit>,
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
        let result = result
            .and_then(|_| collect(engine, &job.store, &heads))
            .map(|infos| Fetched { infos, signatures })
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

fn call_failed(error: CallError) -> FetchError {
    match error {
        CallError::Malformed(_) => FetchError::Rejected(error.to_string()),
        CallError::Unsendable(_) => FetchError::Local(error.to_string()),
        // A refusal says nothing about the data: the peer may not know this member yet.
        error => FetchError::Unavailable(error.to_string()),
    }
}

fn chunks_failed(error: ChunkStoreError) -> FetchError {
    match error {
        ChunkStoreError::Call(error) => call_failed(error),
        error => FetchError::Rejected(error.to_string()),
    }
}

async fn has_locally(
    shared: &Arc<Shared>,
    hashes: Vec<ChunkHash>,
) -> Result<Vec<bool>, FetchError> {
    let shared = Arc::clone(shared);
    let result = tokio::task::spawn_blocking(move || {
        let mut chunks = shared.chunks.lock().expect("because no holder of this lock panics");
        chunks.has_many(&hashes)
    })
    .await;
    match result {
        Ok(Ok(present)) => Ok(present),
        Ok(Err(error)) => Err(FetchError::Local(error.to_string())),
        Err(_) => Err(FetchError::Local("the node is closing".into())),
    }
}

/// Why signatures were refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unverified {
    /// The signature is not one.
    #[error("commit {0} has a bad signature")]
    Bad(CommitHash),
    /// The signer may not write, as far as this node knows.
    #[error("commit {0} is signed by a key that may not write to this swarm")]
    NotAWriter(CommitHash),
}

/// Checks signatures and that each is by a key that may write.
pub(crate) fn verify_signatures(
    swarm: &doltswarm_core::id::SwarmId,
    membership: &Membership,
    signed: &[SignedCommit],
) -> Result<BTreeMap<CommitHash, SignedCommit>, Unverified> {
    let mut verified = BTreeMap::new();
    for commit in signed {
        if !membership.may_write(&commit.signer) {
            return Err(Unverified::NotAWriter(commit.hash));
        }
        verify_commit(swarm, commit).map_err(|_| Unverified::Bad(commit.hash))?;
        verified.insert(commit.hash, commit.clone());
    }
    Ok(verified)
}

/// Brings every chunk under `roots` that is not here into the staging, level by level. `has` tells
/// what the database holds; a chunk it holds is complete below. `progress` hears the counts of
/// chunks and bytes so far. What is staged already, from an interrupted pull, is not asked for again.
///
/// # Errors
///
/// [`FetchError`], by the guilty side. What arrived stays staged.
pub(crate) async fn fetch_chunks<F, Fut>(
    remote: &RemoteChunkStore,
    format: &Arc<dyn ChunkFormat>,
    staging: &Arc<Staging>,
    roots: &[ChunkHash],
    has: F,
    progress: impl Fn(u64, u64),
) -> Result<(), FetchError>
where
    F: Fn(Vec<ChunkHash>) -> Fut,
    Fut: Future<Output = Result<Vec<bool>, FetchError>>,
{
    let mut seen: HashSet<ChunkHash> = roots.iter().copied().collect();
    let mut level: BTreeSet<ChunkHash> = roots.iter().copied().collect();
    let (mut chunks, mut bytes) = (0u64, 0u64);
    while !level.is_empty() {
        let mut next = BTreeSet::new();
        let all: Vec<ChunkHash> = level.into_iter().collect();
        for batch in all.chunks(CHUNKS_PER_REQUEST_MAX) {
            let present = has(batch.to_vec()).await?;
            let absent: Vec<ChunkHash> = batch
                .iter()
                .zip(present)
                .filter_map(|(hash, present)| (!present).then_some(*hash))
                .collect();
            for (hash, data) in stage(remote, staging, &absent).await? {
                chunks += 1;
                bytes += data.len() as u64;
                let children = format.children(&data).map_err(|error| {
                    FetchError::Rejected(format!("chunk {hash} is malformed: {error}"))
                })?;
                next.extend(children.into_iter().filter(|child| seen.insert(*child)));
            }
            progress(chunks, bytes);
        }
        level = next;
    }
    Ok(())
}

/// The chunks' bytes, from the staging or else from the peer by way of the staging.
async fn stage(
    remote: &RemoteChunkStore,
    staging: &Arc<Staging>,
    hashes: &[ChunkHash],
) -> Result<Vec<(ChunkHash, Vec<u8>)>, FetchError> {
    let mut have = Vec::with_capacity(hashes.len());
    let mut missing = Vec::new();
    for hash in hashes {
        match staging.get(hash).map_err(|error| FetchError::Local(error.to_string()))? {
            Some(data) => have.push((*hash, data)),
            None => missing.push(*hash),
        }
    }
    if missing.is_empty() {
        return Ok(have);
    }
    let arrived = remote.get_many(&missing).await.map_err(chunks_failed)?;
    for (hash, data) in missing.into_iter().zip(arrived) {
        let Some(data) = data else {
            // The peer may have moved on and dropped it; another peer, or the next advert, has it.
            return Err(FetchError::Unavailable(format!("the peer does not have chunk {hash}")));
        };
        staging.put(hash, &data).map_err(|error| FetchError::Local(error.to_string()))?;
        have.push((hash, data.to_vec()));
    }
    Ok(have)
}
