//! Brings what a pull needs from a peer into the staging: signatures first, then chunks.
//!
//! In this order, because bytes cost memory and disk and a signature costs neither: no chunk below
//! a head is taken before the head has a verified signature by a key that may write. Each chunk is
//! staged as it arrives, so a transfer that breaks off at any point goes on from there, with this
//! peer or another.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use doltswarm_core::id::{ChunkHash, CommitHash, SwarmId};
use doltswarm_core::limits::{CHUNKS_PER_REQUEST_MAX, PROGRESS_BYTES};
use doltswarm_core::membership::{Membership, SignedGrant};
use doltswarm_core::message::SignedCommit;

use super::Shared;
use super::input::{FetchError, Input};
use super::signatures::{Signatures, Unverified, verify_signatures};
use crate::engine::ChunkFormat;
use crate::net::{CallError, ChunkStoreError, Difference, PeerLink, RemoteChunkStore};
use crate::staging::Staging;

/// Verifies the signatures of `heads` and of what is new below them, and stages all chunks that the
/// database lacks of them.
///
/// # Errors
///
/// [`FetchError`], by the guilty side. What arrived stays staged.
pub(super) async fn prepare(
    shared: &Arc<Shared>,
    link: &PeerLink,
    heads: &[CommitHash],
    have: &[CommitHash],
) -> Result<Signatures, FetchError> {
    let remote = link.chunk_store();
    let mut difference = remote.difference(heads, have).await.map_err(chunks_failed)?;
    let signed = difference.commits().await.map_err(chunks_failed)?;
    let signatures = verify(shared, link, signed).await?;
    for head in heads {
        let known = shared.store.contains_commit(head);
        let known = known.map_err(|error| FetchError::Local(error.to_string()))?;
        if !known && !signatures.contains_key(head) {
            let reason =
                format!("head {head} has no signature, and a merge commit is never a head");
            return Err(FetchError::Rejected(reason));
        }
    }
    stage_difference(shared, difference, heads).await;
    let has = |hashes| has_locally(shared, hashes);
    let roots = roots(heads, &signatures);
    fetch_chunks(&remote, &shared.format, &shared.staging, &roots, has, |_, _| {}).await?;
    Ok(signatures)
}

/// Verifies signatures, by what this node knows of the members or else by what the peer knows.
async fn verify(
    shared: &Arc<Shared>,
    link: &PeerLink,
    signed: Vec<SignedCommit>,
) -> Result<Signatures, FetchError> {
    let rejected = |error: Unverified| FetchError::Rejected(error.to_string());
    let (swarm, signed) = (shared.founding.swarm, Arc::new(signed));
    let membership = shared.membership().clone();
    match verify_aside(swarm, membership, Arc::clone(&signed)).await? {
        Err(Unverified::NotAWriter(_)) => {}
        other => return other.map_err(rejected),
    }
    // The signer may be a member that this node has not heard of yet.
    let grants = link.list_grants().await.map_err(call_failed)?;
    let _ = shared.inputs.send(Input::Grants { from: link.peer(), grants: grants.clone() });
    let mut membership = shared.membership().clone();
    for grant in grants.iter().filter_map(|bytes| SignedGrant::decode(bytes).ok()) {
        let _ = membership.add(grant);
    }
    verify_aside(swarm, membership, signed).await?.map_err(rejected)
}

/// A long history is seconds of work for one core.
async fn verify_aside(
    swarm: SwarmId,
    membership: Membership,
    signed: Arc<Vec<SignedCommit>>,
) -> Result<Result<Signatures, Unverified>, FetchError> {
    aside(move || Ok(verify_signatures(&swarm, &membership, &signed))).await
}

/// Does `work` on a thread that may block.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    let closing = |_| FetchError::Local("the node is closing".into());
    tokio::task::spawn_blocking(work).await.map_err(closing)?
}

/// Stages what the peer sends as the difference. That it fails, or leaves something out, is mended
/// by [`fetch_chunks`], which asks for every chunk that is missing.
async fn stage_difference(shared: &Shared, mut difference: Difference, heads: &[CommitHash]) {
    // Parents come first, so what no chunk before it refers to was not asked for.
    let mut expected: HashSet<ChunkHash> = heads.iter().map(|head| (*head).into()).collect();
    loop {
        let (hash, data) = match difference.next().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "the difference was cut short");
                return;
            }
        };
        if !expected.remove(&hash) {
            return;
        }
        let Ok(children) = shared.format.children(&data) else { return };
        expected.extend(children);
        if shared.staging.put(hash, &data).is_err() {
            return;
        }
    }
}

/// Where a fetch begins: at the heads, and at all signed commits that the peer says lie under them.
/// From the heads alone a history is as many round trips as it has commits.
pub(crate) fn roots(heads: &[CommitHash], signatures: &Signatures) -> Vec<ChunkHash> {
    let commits: BTreeSet<CommitHash> = heads.iter().chain(signatures.keys()).copied().collect();
    commits.into_iter().map(ChunkHash::from).collect()
}

async fn has_locally(
    shared: &Arc<Shared>,
    hashes: Vec<ChunkHash>,
) -> Result<Vec<bool>, FetchError> {
    let shared = Arc::clone(shared);
    aside(move || {
        let mut chunks = shared.chunks.lock().expect("because no holder of this lock panics");
        chunks.has_many(&hashes).map_err(|error| FetchError::Local(error.to_string()))
    })
    .await
}

/// Brings every chunk under `roots` that is not here into the staging, level by level. `has` tells
/// what the database holds; a chunk it holds is complete below. `progress` hears the counts of
/// chunks and bytes so far. What is staged already, from an interrupted pull, is not asked for
/// again.
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
    progress: impl Fn(u64, u64) + Send,
) -> Result<(), FetchError>
where
    F: Fn(Vec<ChunkHash>) -> Fut,
    Fut: Future<Output = Result<Vec<bool>, FetchError>>,
{
    let mut descent = Descent {
        format,
        staging,
        progress,
        seen: roots.iter().copied().collect(),
        next: BTreeSet::new(),
        counts: Counts::default(),
    };
    let mut level: BTreeSet<ChunkHash> = roots.iter().copied().collect();
    while !level.is_empty() {
        let all: Vec<ChunkHash> = level.into_iter().collect();
        for batch in all.chunks(CHUNKS_PER_REQUEST_MAX) {
            let missing = descent.take_staged(batch.to_vec()).await?;
            let present = has(missing.clone()).await?;
            let mut present = present.into_iter();
            let absent: Vec<ChunkHash> =
                missing.into_iter().filter(|_| present.next() == Some(false)).collect();
            descent.ask(remote, &absent).await?;
        }
        level = std::mem::take(&mut descent.next);
    }
    descent.tell();
    Ok(())
}

/// A walk down from the roots of a pull.
struct Descent<'a, P> {
    format: &'a Arc<dyn ChunkFormat>,
    staging: &'a Arc<Staging>,
    progress: P,
    seen: HashSet<ChunkHash>,
    /// The level below the one at hand.
    next: BTreeSet<ChunkHash>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    chunks: u64,
    bytes: u64,
    /// The bytes when progress was told last.
    told: u64,
}

impl<P: Fn(u64, u64) + Send> Descent<'_, P> {
    /// Goes on below those that are staged; returns the others.
    async fn take_staged(&mut self, hashes: Vec<ChunkHash>) -> Result<Vec<ChunkHash>, FetchError> {
        let (format, staging) = (Arc::clone(self.format), Arc::clone(self.staging));
        let (staged, missing) = aside(move || read_staged(&format, &staging, hashes)).await?;
        for (bytes, children) in staged {
            self.count(bytes);
            self.below(children);
        }
        Ok(missing)
    }

    /// Gets chunks from the peer. Each is staged before the next one is looked at.
    async fn ask(
        &mut self,
        remote: &RemoteChunkStore,
        hashes: &[ChunkHash],
    ) -> Result<(), FetchError> {
        if hashes.is_empty() {
            return Ok(());
        }
        let mut failed = None;
        let arrived = remote.get_while(hashes, |hash, data| match self.keep(hash, data) {
            Ok(()) => true,
            Err(error) => {
                failed = Some(error);
                false
            }
        });
        arrived.await.map_err(chunks_failed)?;
        failed.map_or(Ok(()), Err)
    }

    fn keep(&mut self, hash: ChunkHash, data: Option<bytes::Bytes>) -> Result<(), FetchError> {
        let Some(data) = data else {
            // The peer may have moved on and dropped it; another peer, or the next advert, has it.
            return Err(FetchError::Unavailable(format!("the peer does not have chunk {hash}")));
        };
        let children = children(self.format, &hash, &data)?;
        self.staging.put(hash, &data).map_err(|error| FetchError::Local(error.to_string()))?;
        self.count(data.len());
        self.below(children);
        Ok(())
    }

    fn below(&mut self, children: Vec<ChunkHash>) {
        self.next.extend(children.into_iter().filter(|child| self.seen.insert(*child)));
    }

    fn count(&mut self, bytes: usize) {
        self.counts.chunks += 1;
        self.counts.bytes += bytes as u64;
        if self.counts.bytes - self.counts.told >= PROGRESS_BYTES {
            self.tell();
        }
    }

    fn tell(&mut self) {
        self.counts.told = self.counts.bytes;
        (self.progress)(self.counts.chunks, self.counts.bytes);
    }
}

/// Of staged chunks, the size and what each refers to.
type Staged = Vec<(usize, Vec<ChunkHash>)>;

/// Reads the chunks that are staged, one after the other; the second list has the others.
fn read_staged(
    format: &Arc<dyn ChunkFormat>,
    staging: &Staging,
    hashes: Vec<ChunkHash>,
) -> Result<(Staged, Vec<ChunkHash>), FetchError> {
    let (mut staged, mut missing) = (Vec::new(), Vec::new());
    for hash in hashes {
        match staging.get(&hash).map_err(|error| FetchError::Local(error.to_string()))? {
            Some(data) => staged.push((data.len(), children(format, &hash, &data)?)),
            None => missing.push(hash),
        }
    }
    Ok((staged, missing))
}

fn children(
    format: &Arc<dyn ChunkFormat>,
    hash: &ChunkHash,
    data: &[u8],
) -> Result<Vec<ChunkHash>, FetchError> {
    format
        .children(data)
        .map_err(|error| FetchError::Rejected(format!("chunk {hash} is malformed: {error}")))
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
