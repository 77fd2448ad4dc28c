//! The answering side of chunk transfers: reads no more of the store than the asker takes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use doltswarm_core::id::{ChunkHash, PeerId};
use doltswarm_core::limits::{
    CHUNK_BYTES_MAX, CHUNK_MESSAGE_BYTES, CHUNKS_READ_AT_ONCE_MAX, COMMITS_PER_MESSAGE_MAX,
};
use doltswarm_core::message::SignedCommit;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Request, Response, Status};

use super::Refusal;
use super::endpoint::Gate;
use super::io::Caller;
use super::pb;
use super::pb::chunk_store_server::ChunkStore;
use super::pieces::{chunk_to, pieces};
use super::server::{Answers, call, guilty, ours};
use super::service::{ChunkBatches, PeerService};
use super::wire;

/// What a chunk's hash, length and tags cost in a message, in bytes.
const CHUNK_OVERHEAD: usize = 32;

/// Read-only access to this node's chunks.
pub(crate) struct ChunkService {
    gate: Gate,
}

impl ChunkService {
    pub(crate) fn new(gate: Gate) -> Self {
        Self { gate }
    }
}

#[tonic::async_trait]
impl ChunkStore for ChunkService {
    type GetManyStream = Answers<pb::ChunkBatch>;

    async fn get_many(
        &self,
        request: Request<pb::HashesRequest>,
    ) -> Result<Response<Self::GetManyStream>, Status> {
        let call = call(&self.gate, &request, true)?;
        let hashes = wire::hashes_from(request.get_ref()).map_err(guilty)?;
        let permit = call.caller.streamed.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Refusal::Busy.into_status())?;
        let transfer = Transfer {
            service: call.service,
            from: call.from,
            hashes: hashes.into(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            _held: (permit, call.caller),
        };
        // Lazy: the next batch is read when the transport has taken the one before.
        let batches = stream::try_unfold(transfer, |mut transfer| async move {
            Ok(transfer.batch().await?.map(|batch| (batch, transfer)))
        });
        Ok(Response::new(Box::pin(batches)))
    }

    type DifferenceStream = Answers<pb::DifferenceBatch>;

    async fn difference(
        &self,
        request: Request<pb::CommitsRequest>,
    ) -> Result<Response<Self::DifferenceStream>, Status> {
        let call = call(&self.gate, &request, true)?;
        let (want, have) = wire::commits_request_from(request.get_ref()).map_err(guilty)?;
        let permit = call.caller.streamed.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Refusal::Busy.into_status())?;
        let (service, from) = (&call.service, call.from);
        let commits = service.list_commits(from, want.clone(), have.clone()).await;
        let commits = commits.map_err(Refusal::into_status)?.into();
        let batches = service.difference(from, want, have).await;
        let batches = batches.map_err(Refusal::into_status)?;
        let held = (permit, call.caller);
        let given = Given { commits, batches, pieces: VecDeque::new() };
        let messages = stream::try_unfold((given, held), |(mut given, held)| async move {
            Ok(given.message().await?.map(|message| (message, (given, held))))
        });
        Ok(Response::new(Box::pin(messages)))
    }

    async fn has(
        &self,
        request: Request<pb::GetRequest>,
    ) -> Result<Response<pb::HasReply>, Status> {
        let call = call(&self.gate, &request, true)?;
        let hash = wire::chunk_hash("hash", &request.get_ref().hash).map_err(guilty)?;
        let present = call.service.has_chunks(call.from, vec![hash]).await;
        let present = present.map_err(Refusal::into_status)?;
        Ok(Response::new(pb::HasReply { present: present == [true] }))
    }

    async fn has_many(
        &self,
        request: Request<pb::HashesRequest>,
    ) -> Result<Response<pb::HasManyReply>, Status> {
        let call = call(&self.gate, &request, true)?;
        let hashes = wire::hashes_from(request.get_ref()).map_err(guilty)?;
        let asked = hashes.len();
        let present = call.service.has_chunks(call.from, hashes).await;
        let present = present.map_err(Refusal::into_status)?;
        let present = wire::presences_from(asked, present).map_err(ours)?;
        Ok(Response::new(pb::HasManyReply { present }))
    }

    async fn root(
        &self,
        request: Request<pb::RootRequest>,
    ) -> Result<Response<pb::RootReply>, Status> {
        let call = call(&self.gate, &request, true)?;
        let heads = call.service.root(call.from).await.map_err(Refusal::into_status)?;
        let heads = wire::heads_to("heads", &heads).map_err(ours)?;
        Ok(Response::new(pb::RootReply { heads }))
    }

    async fn rebase(
        &self,
        request: Request<pb::RootRequest>,
    ) -> Result<Response<pb::RootReply>, Status> {
        self.root(request).await
    }

    async fn sources(
        &self,
        request: Request<pb::RootRequest>,
    ) -> Result<Response<pb::SourcesReply>, Status> {
        let call = call(&self.gate, &request, true)?;
        let bytes = call.service.size(call.from).await.map_err(Refusal::into_status)?;
        // The files an engine keeps its chunks in are its own affair: a peer sees one source.
        let source = pb::Source { name: "chunks".to_owned(), bytes };
        Ok(Response::new(pb::SourcesReply { sources: vec![source] }))
    }

    async fn size(
        &self,
        request: Request<pb::RootRequest>,
    ) -> Result<Response<pb::SizeReply>, Status> {
        let call = call(&self.gate, &request, true)?;
        let bytes = call.service.size(call.from).await.map_err(Refusal::into_status)?;
        Ok(Response::new(pb::SizeReply { bytes }))
    }
}

/// A difference on its way.
struct Given {
    /// Not sent yet: they come before all chunks.
    commits: VecDeque<SignedCommit>,
    batches: ChunkBatches,
    /// Cut and not sent.
    pieces: VecDeque<(Bytes, u64)>,
}

impl Given {
    /// The next message, or `None` at the end.
    async fn message(&mut self) -> Result<Option<pb::DifferenceBatch>, Status> {
        if !self.commits.is_empty() {
            let some = self.commits.len().min(COMMITS_PER_MESSAGE_MAX);
            let commits: Vec<SignedCommit> = self.commits.drain(..some).collect();
            let commits = wire::commits_to(&commits);
            return Ok(Some(pb::DifferenceBatch { commits, ..Default::default() }));
        }
        if self.pieces.is_empty() {
            match self.batches.recv().await {
                Some(Ok(chunks)) => self.pieces.extend(chunks.into_iter().flat_map(pieces)),
                Some(Err(refusal)) => return Err(refusal.into_status()),
                None => return Ok(None),
            }
        }
        let mut message = pb::DifferenceBatch::default();
        let mut size = 0;
        while let Some((piece, _)) = self.pieces.front() {
            let is_full = size + piece.len() > CHUNK_MESSAGE_BYTES;
            if !message.chunks.is_empty() && (is_full || message.rest > 0) {
                break;
            }
            let Some((piece, rest)) = self.pieces.pop_front() else { break };
            size += piece.len();
            message.chunks.push(piece);
            message.rest = rest;
        }
        Ok(Some(message))
    }
}

/// Reads the first of the chunks and checks that the node above kept its word.
async fn read(
    service: &Arc<dyn PeerService>,
    from: PeerId,
    hashes: Vec<ChunkHash>,
) -> Result<Vec<Option<Bytes>>, Status> {
    let asked = hashes.len();
    let chunks = service.chunks(from, hashes).await.map_err(Refusal::into_status)?;
    if chunks.len() > asked || (chunks.is_empty() && asked > 0) {
        let (field, got) = ("chunks", chunks.len());
        return Err(ours(wire::WireError::Count { field, asked, got }));
    }
    for chunk in chunks.iter().flatten() {
        if chunk.len() > CHUNK_BYTES_MAX {
            let (field, max) = ("chunk", CHUNK_BYTES_MAX);
            return Err(ours(wire::WireError::TooLong { field, max, got: chunk.len() }));
        }
    }
    Ok(chunks)
}

/// One streamed answer.
struct Transfer {
    service: Arc<dyn PeerService>,
    from: PeerId,
    /// Not read yet.
    hashes: VecDeque<ChunkHash>,
    /// Read and not sent.
    ready: VecDeque<pb::Chunk>,
    ready_bytes: usize,
    /// Counts this answer among those of its connection, and among what the network waits for.
    _held: (OwnedSemaphorePermit, Caller),
}

impl Transfer {
    /// The next message, or `None` at the end.
    async fn batch(&mut self) -> Result<Option<pb::ChunkBatch>, Status> {
        while self.ready_bytes < CHUNK_MESSAGE_BYTES && !self.hashes.is_empty() {
            self.read_some().await?;
        }
        let mut chunks = Vec::new();
        let mut size = 0;
        while let Some(chunk) = self.ready.front() {
            let bytes = chunk.data.len() + CHUNK_OVERHEAD;
            if !chunks.is_empty() && size + bytes > CHUNK_MESSAGE_BYTES {
                break;
            }
            size += bytes;
            chunks.extend(self.ready.pop_front());
        }
        self.ready_bytes -= size;
        Ok((!chunks.is_empty()).then_some(pb::ChunkBatch { chunks }))
    }

    async fn read_some(&mut self) -> Result<(), Status> {
        let count = CHUNKS_READ_AT_ONCE_MAX.min(self.hashes.len());
        let hashes: Vec<ChunkHash> = self.hashes.iter().take(count).copied().collect();
        let chunks = read(&self.service, self.from, hashes).await?;
        for data in chunks {
            let Some(hash) = self.hashes.pop_front() else { break };
            for piece in chunk_to(&hash, data) {
                self.ready_bytes += piece.data.len() + CHUNK_OVERHEAD;
                self.ready.push_back(piece);
            }
        }
        Ok(())
    }
}
