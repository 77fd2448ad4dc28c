//! A peer's chunks, read-only, each verified before anyone sees it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use doltswarm_core::id::{ChunkHash, CommitHash, PeerId};
use doltswarm_core::limits::{
    CHUNK_HASH_ASIDE_BYTES, CHUNK_REPLY_BYTES_MAX, CHUNKS_PER_REQUEST_MAX,
    CONTROL_MESSAGE_BYTES_MAX,
};
use tonic::transport::Channel;

use super::client::{Failed, PeerLink, brief, next, slow};
use super::difference::Difference;
use super::pb;
use super::pb::chunk_store_client::ChunkStoreClient;
use super::pieces::{Assembled, Assembly, chunk_from};
use super::registry::Live;
use super::wire::{self, WireError};
use super::{CallError, ChunkStoreError, ReadOnly};
use crate::engine::ChunkFormat;

/// Something that holds part of a peer's chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name, for people.
    pub name: String,
    /// How large it is, in bytes, as the peer says.
    pub bytes: u64,
}

/// Read-only access to the chunks of one peer.
///
/// Every chunk returned has the hash that was asked for: where the peer sends other bytes, the call
/// fails with [`ChunkStoreError::WrongChunk`] and nothing after it is returned. Whether a chunk is
/// absent, the root and the sizes are only the peer's word.
///
/// Cheap to clone; clones share the remembered root. Calls may run at the same time. Dropping a
/// call's future ends its transfer.
///
/// # Errors
///
/// [`ChunkStoreError`], which names the peer and the chunk where the peer is at fault.
#[derive(Clone)]
pub struct RemoteChunkStore {
    link: PeerLink,
    format: Arc<dyn ChunkFormat>,
    root: Arc<Mutex<Option<Vec<CommitHash>>>>,
}

impl RemoteChunkStore {
    pub(crate) fn new(link: PeerLink) -> Self {
        let format = link.inner.format.clone();
        Self { link, format, root: Arc::default() }
    }

    /// The peer.
    pub fn peer(&self) -> PeerId {
        self.link.peer
    }

    /// One chunk; `None` where the peer does not have it.
    pub async fn get(&self, hash: &ChunkHash) -> Result<Option<Bytes>, ChunkStoreError> {
        let mut chunk = None;
        self.get_each(std::slice::from_ref(hash), |_, data| chunk = data).await?;
        Ok(chunk)
    }

    /// Chunks, in the order asked; `None` where the peer does not have one. Any number of hashes:
    /// they are asked for in as many requests as it takes. All of them are held in memory; use
    /// [`RemoteChunkStore::get_each`] where that may be too much.
    pub async fn get_many(
        &self,
        hashes: &[ChunkHash],
    ) -> Result<Vec<Option<Bytes>>, ChunkStoreError> {
        let mut chunks = Vec::with_capacity(hashes.len());
        self.get_each(hashes, |_, data| chunks.push(data)).await?;
        Ok(chunks)
    }

    /// Hands each chunk to `take` as it arrives, in the order asked, each once; `None` where the
    /// peer does not have it. Holds a few messages in memory. Where the call fails, or its future
    /// is dropped, those handed over were verified, and asking for the others goes on from there.
    pub async fn get_each(
        &self,
        hashes: &[ChunkHash],
        mut take: impl FnMut(ChunkHash, Option<Bytes>) + Send,
    ) -> Result<(), ChunkStoreError> {
        let take = |hash, data| {
            take(hash, data);
            true
        };
        self.get_while(hashes, take).await
    }

    /// As [`RemoteChunkStore::get_each`], until `take` says no.
    pub async fn get_while(
        &self,
        hashes: &[ChunkHash],
        mut take: impl FnMut(ChunkHash, Option<Bytes>) -> bool + Send,
    ) -> Result<(), ChunkStoreError> {
        for part in hashes.chunks(CHUNKS_PER_REQUEST_MAX) {
            // Where the first attempt breaks, the second asks for what is still missing.
            let mut done = 0;
            let mut attempt = self.link.attempt()?;
            loop {
                match self.transfer(&attempt.live, part, &mut done, &mut take).await {
                    Ok(true) => break,
                    Ok(false) => return Ok(()),
                    Err(Stopped::Failed(failed)) => attempt.failed(failed).await?,
                    Err(Stopped::Wrong(error)) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// One streamed request for those of `part` from `done` on; moves `done` along. Says whether
    /// more is wanted.
    async fn transfer(
        &self,
        live: &Live,
        part: &[ChunkHash],
        done: &mut usize,
        take: &mut (impl FnMut(ChunkHash, Option<Bytes>) -> bool + Send),
    ) -> Result<bool, Stopped> {
        let mut assembly = Assembly::default();
        let request = wire::hashes_to(&part[*done..]);
        let mut batches =
            slow(live.bulk_received(), chunks(self.link.bulk(live)).get_many(request)).await?;
        while let Some(batch) = next(&mut batches, live.bulk_received()).await? {
            if batch.chunks.is_empty() {
                return Err(Failed::from(WireError::Missing { field: "chunks" }).into());
            }
            for chunk in batch.chunks {
                let Some(asked) = part.get(*done) else {
                    let (field, asked) = ("chunks", part.len());
                    let error = WireError::Count { field, asked, got: asked + 1 };
                    return Err(Failed::from(error).into());
                };
                let came = chunk_from(asked, chunk, &mut assembly).map_err(Failed::from)?;
                let data = match came {
                    Assembled::NotYet => continue,
                    Assembled::Absent => None,
                    Assembled::Whole(data) => {
                        Some(self.verified(asked, data).await.map_err(Stopped::Wrong)?)
                    }
                };
                *done += 1;
                if !take(*asked, data) {
                    return Ok(false);
                }
            }
        }
        if *done < part.len() {
            let (field, asked, got) = ("chunks", part.len(), *done);
            return Err(Failed::from(WireError::Count { field, asked, got }).into());
        }
        Ok(true)
    }

    /// Asks for what is under `want` and not under `have`: the signed commits, then chunks that a
    /// peer with all under `have` lacks. One request for what would else be one for each level of a
    /// tree.
    pub async fn difference(
        &self,
        want: &[CommitHash],
        have: &[CommitHash],
    ) -> Result<Difference, ChunkStoreError> {
        let request = &wire::commits_request_to(want, have).map_err(CallError::Unsendable)?;
        let begun = self.link.attempts(|live| async move {
            let channel = self.link.bulk(&live);
            let messages =
                slow(live.bulk_received(), chunks(channel).difference(request.clone())).await?;
            Ok((messages, live.bulk_received().clone()))
        });
        let (messages, received) = begun.await?;
        Ok(Difference::new(self.link.clone(), messages, received))
    }

    /// Whether the peer says that it has a chunk, and so all below it.
    pub async fn has(&self, hash: &ChunkHash) -> Result<bool, ChunkStoreError> {
        let request = &pb::GetRequest { hash: Bytes::copy_from_slice(hash.as_bytes()) };
        let call = self.link.attempts(|live| async move {
            let reply =
                slow(live.bulk_received(), chunks(self.link.bulk(&live)).has(request.clone()))
                    .await?;
            Ok(reply.present)
        });
        Ok(call.await?)
    }

    /// The same for many chunks, in the order asked.
    pub async fn has_many(&self, hashes: &[ChunkHash]) -> Result<Vec<bool>, ChunkStoreError> {
        let mut present = Vec::with_capacity(hashes.len());
        for part in hashes.chunks(CHUNKS_PER_REQUEST_MAX) {
            let request = &wire::hashes_to(part);
            let call = self.link.attempts(|live| async move {
                let reply = slow(
                    live.bulk_received(),
                    chunks(self.link.bulk(&live)).has_many(request.clone()),
                )
                .await?;
                Ok(wire::presences_from(part.len(), reply.present)?)
            });
            present.extend(call.await?);
        }
        Ok(present)
    }

    /// The peer's heads, sorted by hash: as last read, or read now where they never were.
    pub async fn root(&self) -> Result<Vec<CommitHash>, ChunkStoreError> {
        let known = self.root.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(heads) => Ok(heads),
            None => {
                let call = self.link.attempts(|live| async move {
                    let reply = brief(small(live.control()).root(pb::RootRequest {})).await?;
                    Ok(wire::heads("heads", &reply.heads)?)
                });
                Ok(self.remember(call.await?))
            }
        }
    }

    /// Reads the peer's heads anew. Nothing is written anywhere.
    pub async fn rebase(&self) -> Result<Vec<CommitHash>, ChunkStoreError> {
        let call = self.link.attempts(|live| async move {
            let reply = brief(small(live.control()).rebase(pb::RootRequest {})).await?;
            Ok(wire::heads("heads", &reply.heads)?)
        });
        Ok(self.remember(call.await?))
    }

    fn remember(&self, heads: Vec<CommitHash>) -> Vec<CommitHash> {
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = Some(heads.clone());
        heads
    }

    /// What the peer's chunks are in.
    pub async fn sources(&self) -> Result<Vec<Source>, ChunkStoreError> {
        let call = self.link.attempts(|live| async move {
            let reply = brief(small(live.control()).sources(pb::RootRequest {})).await?;
            Ok(wire::sources_from(&reply)?)
        });
        let sources = call.await?.into_iter();
        Ok(sources.map(|(name, bytes)| Source { name, bytes }).collect())
    }

    /// The size of the peer's chunks, in bytes.
    pub async fn size(&self) -> Result<u64, ChunkStoreError> {
        let call = self.link.attempts(|live| async move {
            let reply = brief(small(live.control()).size(pb::RootRequest {})).await?;
            Ok(reply.bytes)
        });
        Ok(call.await?)
    }

    /// Checks a chunk against the hash that was asked for.
    async fn verified(&self, asked: &ChunkHash, data: Bytes) -> Result<Bytes, ChunkStoreError> {
        let got = hash(&self.format, &data).await?;
        if got != *asked {
            return Err(ChunkStoreError::WrongChunk { peer: self.link.peer, asked: *asked, got });
        }
        self.link.inner.counters.chunk_received(data.len());
        Ok(data)
    }

    /// Refused: peers only pull.
    pub fn put(&self, _chunk: &[u8]) -> Result<(), ReadOnly> {
        Err(ReadOnly { call: "put" })
    }

    /// Refused: peers only pull.
    pub fn commit(&self, _current: &ChunkHash, _last: &ChunkHash) -> Result<bool, ReadOnly> {
        Err(ReadOnly { call: "commit" })
    }

    /// Refused: peers only pull.
    pub fn write_table_file(&self, _name: &str, _bytes: &[u8]) -> Result<(), ReadOnly> {
        Err(ReadOnly { call: "write_table_file" })
    }

    /// Refused: peers only pull.
    pub fn add_table_files_to_manifest(&self, _names: &[&str]) -> Result<(), ReadOnly> {
        Err(ReadOnly { call: "add_table_files_to_manifest" })
    }

    /// Refused: peers only pull.
    pub fn prune_table_files(&self) -> Result<(), ReadOnly> {
        Err(ReadOnly { call: "prune_table_files" })
    }

    /// Refused: peers only pull.
    pub fn set_root_chunk(&self, _root: &ChunkHash, _last: &ChunkHash) -> Result<(), ReadOnly> {
        Err(ReadOnly { call: "set_root_chunk" })
    }
}

/// The hash of a chunk's bytes. A large one is hashed on a thread of its own.
pub(super) async fn hash(
    format: &Arc<dyn ChunkFormat>,
    data: &Bytes,
) -> Result<ChunkHash, CallError> {
    if data.len() < CHUNK_HASH_ASIDE_BYTES {
        return Ok(format.hash(data));
    }
    let (format, data) = (format.clone(), data.clone());
    let hash = tokio::task::spawn_blocking(move || format.hash(&data)).await;
    // Only where the runtime shuts down, or the format panicked.
    hash.map_err(|error| CallError::Unreachable(format!("cannot hash: {error}")))
}

/// Why a transfer stopped.
enum Stopped {
    /// The call failed.
    Failed(Failed),
    /// The peer sent what it must not send.
    Wrong(ChunkStoreError),
}

impl From<Failed> for Stopped {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

/// For answers that may hold a chunk.
fn chunks(channel: Channel) -> ChunkStoreClient<Channel> {
    ChunkStoreClient::new(channel).max_decoding_message_size(CHUNK_REPLY_BYTES_MAX)
}

/// For answers that may not.
fn small(channel: Channel) -> ChunkStoreClient<Channel> {
    ChunkStoreClient::new(channel).max_decoding_message_size(CONTROL_MESSAGE_BYTES_MAX)
}
