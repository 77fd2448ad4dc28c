//! What the network asks of the node: questions for the driver go through its queue, chunk reads go
//! to the database directly.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use doltswarm_core::id::{ChunkHash, CommitHash, PeerId};
use doltswarm_core::limits::{CHUNK_PATIENCE, CHUNK_READ_BYTES, DIFFERENCE_BATCHES_WAITING_MAX};
use doltswarm_core::message::{Advert, AdvertReply, HeadReply, HeadRequest, Hello, SignedCommit};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::difference::Difference;
use super::input::{Asked, Input, Needed, Reply};
use super::{Shared, Stopped};
use crate::engine::{ChunkReader, EngineError, EngineResult};
use crate::net::{BoxFuture, ChunkBatches, JoinAnswer, JoinAsk, PeerService, Refusal};

/// The node behind the network.
pub(crate) struct Service {
    shared: Arc<Shared>,
}

impl Service {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(Reply<Result<T, Refusal>>) -> Asked,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let closing = || Refusal::Internal("the node is closing".into());
        self.shared.inputs.send(Input::Asked(question(reply))).map_err(|_| closing())?;
        answer.await.map_err(|_| closing())?
    }

    /// Reads chunks off the async threads.
    async fn read<T: Send + 'static>(
        &self,
        read: impl Fn(&mut dyn ChunkReader) -> EngineResult<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let shared = Arc::clone(&self.shared);
        let result = tokio::task::spawn_blocking(move || {
            let mut chunks = shared.chunks.lock().expect("because no holder of this lock panics");
            read(chunks.as_mut())
        })
        .await;
        match result {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(unreadable(&error)),
            Err(_) => Err(Refusal::Internal("the node is closing".into())),
        }
    }

    /// The first of the chunks, in the order asked: about one message of them, so that large ones
    /// are not in memory together.
    async fn get(&self, hashes: Vec<ChunkHash>) -> Result<Vec<Option<Vec<u8>>>, Refusal> {
        let asked = hashes.clone();
        let found = self.read(move |chunks| chunks.get_first(&asked, CHUNK_READ_BYTES)).await?;
        if found.iter().all(Option::is_some) {
            return Ok(found);
        }
        // What is being published looks absent, and may be the very commit that the peer just heard
        // of. Between two jobs of the engine thread nothing is being published.
        let shared = Arc::clone(&self.shared);
        let again = self.shared.engine.call(move |_| {
            let mut chunks = shared.chunks.lock().expect("because no holder of this lock panics");
            chunks.get_first(&hashes, CHUNK_READ_BYTES)
        });
        match timeout(CHUNK_PATIENCE, again).await {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(error))) => Err(unreadable(&error)),
            Ok(Err(Stopped)) => Err(Refusal::Internal("the node is closing".into())),
            Err(_) => Ok(found),
        }
    }
}

fn unreadable(error: &EngineError) -> Refusal {
    tracing::error!(%error, "chunks could not be read");
    Refusal::Internal("chunks could not be read".into())
}

/// Makes the difference as fast as it is taken, and ends where nobody takes it any more.
fn send_difference(
    shared: &Shared,
    want: &[CommitHash],
    have: &[CommitHash],
    needed: &Needed,
    batches: &mpsc::Sender<Result<Vec<Bytes>, Refusal>>,
) {
    let commits: HashSet<ChunkHash> = needed.commits.iter().map(|c| ChunkHash::from(*c)).collect();
    // A user commit that the asker has leads to nothing that it lacks.
    let skips = |hash: &ChunkHash| {
        let known = shared.store.contains_commit(&CommitHash::from_bytes(*hash.as_bytes()));
        !commits.contains(hash) && known.unwrap_or(false)
    };
    let mut difference = Difference::new(Arc::clone(&shared.format), want, &needed.bases, have);
    loop {
        let batch = {
            let mut chunks = shared.chunks.lock().expect("because no holder of this lock panics");
            difference.batch(chunks.as_mut(), skips)
        };
        let batch = match batch {
            Ok(Some(batch)) => Ok(batch),
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "chunks could not be read");
                Err(Refusal::Internal("chunks could not be read".into()))
            }
        };
        let failed = batch.is_err();
        if batches.blocking_send(batch).is_err() || failed {
            return;
        }
    }
}

impl PeerService for Service {
    fn hello(
        &self,
        from: PeerId,
        hello: Hello,
        seen_at: Option<SocketAddr>,
    ) -> BoxFuture<'_, Result<Hello, Refusal>> {
        Box::pin(self.ask(move |reply| Asked::Hello { from, hello, seen_at, reply }))
    }

    fn advertise_head(
        &self,
        from: PeerId,
        advert: Advert,
    ) -> BoxFuture<'_, Result<AdvertReply, Refusal>> {
        Box::pin(self.ask(move |reply| Asked::Advert { from, advert, reply }))
    }

    fn request_head(
        &self,
        from: PeerId,
        request: HeadRequest,
    ) -> BoxFuture<'_, Result<HeadReply, Refusal>> {
        let request = Some(request);
        Box::pin(self.ask(move |reply| Asked::Heads { from, request, reply }))
    }

    fn list_commits(
        &self,
        _from: PeerId,
        want: Vec<CommitHash>,
        have: Vec<CommitHash>,
    ) -> BoxFuture<'_, Result<Vec<SignedCommit>, Refusal>> {
        Box::pin(self.ask(move |reply| Asked::Commits { want, have, reply }))
    }

    fn list_grants(&self, _from: PeerId) -> BoxFuture<'_, Result<Vec<Vec<u8>>, Refusal>> {
        Box::pin(self.ask(move |reply| Asked::Grants { reply }))
    }

    fn join(&self, from: PeerId, ask: JoinAsk) -> BoxFuture<'_, Result<JoinAnswer, Refusal>> {
        Box::pin(self.ask(move |reply| Asked::Join { from, ask, reply }))
    }

    fn chunks(
        &self,
        _from: PeerId,
        hashes: Vec<ChunkHash>,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, Refusal>> {
        Box::pin(async move {
            let found = self.get(hashes).await?;
            Ok(found.into_iter().map(|chunk| chunk.map(Bytes::from)).collect())
        })
    }

    fn difference(
        &self,
        _from: PeerId,
        want: Vec<CommitHash>,
        have: Vec<CommitHash>,
    ) -> BoxFuture<'_, Result<ChunkBatches, Refusal>> {
        Box::pin(async move {
            let (asked_want, asked_have) = (want.clone(), have.clone());
            let needed = self
                .ask(|reply| Asked::Needed { want: asked_want, have: asked_have, reply })
                .await?;
            let (batches, taken) = mpsc::channel(DIFFERENCE_BATCHES_WAITING_MAX);
            let shared = Arc::clone(&self.shared);
            tokio::task::spawn_blocking(move || {
                send_difference(&shared, &want, &have, &needed, &batches);
            });
            Ok(taken)
        })
    }

    fn has_chunks(
        &self,
        _from: PeerId,
        hashes: Vec<ChunkHash>,
    ) -> BoxFuture<'_, Result<Vec<bool>, Refusal>> {
        let read = move |chunks: &mut dyn ChunkReader| chunks.has_many(&hashes);
        Box::pin(self.read(read))
    }

    fn root(&self, from: PeerId) -> BoxFuture<'_, Result<Vec<CommitHash>, Refusal>> {
        let asked = self.ask(move |reply| Asked::Heads { from, request: None, reply });
        Box::pin(async move { Ok(asked.await?.answer.page.heads) })
    }

    fn size(&self, _from: PeerId) -> BoxFuture<'_, Result<u64, Refusal>> {
        Box::pin(self.read(|chunks| chunks.size()))
    }

    fn is_member(&self, peer: &PeerId) -> bool {
        !self.shared.isolated.load(Ordering::Acquire) && self.shared.membership().is_member(peer)
    }

    fn door_open(&self) -> bool {
        !self.shared.isolated.load(Ordering::Acquire)
            && self.shared.store.has_open_invite(super::connect::unix_ms()).unwrap_or(false)
    }
}
