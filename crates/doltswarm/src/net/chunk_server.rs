//! The answering side of chunk transfers: reads no more of the store than the asker takes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use doltswarm_core::id::{ChunkHash, PeerId};
use doltswarm_core::limits::{CHUNK_BYTES_MAX, CHUNK_MESSAGE_BYTES, CHUNKS_READ_AT_ONCE_MAX};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Request, Response, Status};

use super::Refusal;
use super::endpoint::Gate;
use super::io::Caller;
use super::pb;
use super::pb::chunk_store_server::ChunkStore;
use super::server::{Answers, call, guilty, ours};
use super::service::PeerService;
use super::wire;

/// How many chunks are read at first; from then on as many as fill about one message.
const FIRST_READ: usize = 8;
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
    async fn get(&self, request: Request<pb::GetRequest>) -> Result<Response<pb::Chunk>, Status> {
        let call = call(&self.gate, &request, true)?;
        let hash = wire::chunk_hash("hash", &request.get_ref().hash).map_err(guilty)?;
        let mut chunks = read(&call.service, call.from, vec![hash]).await?;
        let data = chunks.pop().flatten();
        Ok(Response::new(wire::chunk_to(&hash, data)))
    }

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
            next_read: FIRST_READ,
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
        let batches = call.service.difference(call.from, want, have).await;
        let batches = batches.map_err(Refusal::into_status)?;
        let held = (permit, call.caller);
        let batches = stream::unfold((batches, held), |(mut batches, held)| async move {
            let batch = match batches.recv().await? {
                Ok(chunks) => Ok(pb::DifferenceBatch { chunks }),
                Err(refusal) => Err(refusal.into_status()),
            };
            Some((batch, (batches, held)))
        });
        Ok(Response::new(Box::pin(batches)))
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

/// Reads chunks and checks that the node above kept its word.
async fn read(
    service: &Arc<dyn PeerService>,
    from: PeerId,
    hashes: Vec<ChunkHash>,
) -> Result<Vec<Option<Bytes>>, Status> {
    let asked = hashes.len();
    let chunks = service.chunks(from, hashes).await.map_err(Refusal::into_status)?;
    if chunks.len() != asked {
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
    /// How many to read next.
    next_read: usize,
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
        let count = self.next_read.min(self.hashes.len());
        let hashes: Vec<ChunkHash> = self.hashes.drain(..count).collect();
        let chunks = read(&self.service, self.from, hashes.clone()).await?;
        let mut bytes = 0;
        for (hash, data) in hashes.iter().zip(chunks) {
            let chunk = wire::chunk_to(hash, data);
            bytes += chunk.data.len() + CHUNK_OVERHEAD;
            self.ready.push_back(chunk);
        }
        self.ready_bytes += bytes;
        // Neither a call for each small chunk nor a heap of large ones.
        let mean = (bytes / count.max(1)).max(1);
        self.next_read = (CHUNK_MESSAGE_BYTES / mean).clamp(1, CHUNKS_READ_AT_ONCE_MAX);
        Ok(())
    }
}
