//! A peer's chunks, read-only, each verified before anyone sees it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use doltswarm_core::id::{ChunkHash, CommitHash, PeerId};
use doltswarm_core::limits::{
    CHUNK_BYTES_MAX, CHUNK_HASH_ASIDE_BYTES, CHUNK_REPLY_BYTES_MAX, CHUNKS_PER_REQUEST_MAX,
    CONTROL_MESSAGE_BYTES_MAX, DIFFERENCE_BYTES_MAX,
};
use tonic::transport::Channel;

use super::client::{Failed, PeerLink, brief, next, slow};
use super::pb;
use super::pb::chunk_store_client::ChunkStoreClient;
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
/// Cheap to clone; clones share the remembered root. Calls may run at the same time. Dropping a call's
/// future ends its transfer.
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
        let request = &pb::GetRequest { hash: Bytes::copy_from_slice(hash.as_bytes()) };
        let call = self.link.attempts(|live| async move {
            let chunk = slow(chunks(live.bulk()).get(request.clone())).await?;
            Ok(wire::chunk_from(hash, chunk)?)
        });
        match call.await? {
            Some(data) => Ok(Some(self.verified(hash, data).await?)),
            None => Ok(None),
        }
    }

    /// Chunks, in the order asked; `None` where the peer does not have one. Any number of hashes: they
    /// are asked for in as many requests as it takes. All of them are held in memory; use
    /// [`RemoteChunkStore::get_each`] where that may be too much.
    pub async fn get_many(
        &self,
        hashes: &[ChunkHash],
    ) -> Result<Vec<Option<Bytes>>, ChunkStoreError> {
        let mut chunks = Vec::with_capacity(hashes.len());
        self.get_each(hashes, |_, data| chunks.push(data)).await?;
        Ok(chunks)
    }

    /// Hands each chunk to `take` as it arrives, in the order asked, each once; `None` where the peer
    /// does not have it. Holds a few messages in memory. Where the call fails, or its future is
    /// dropped, those handed over were verified, and asking for the others goes on from there.
    pub async fn get_each(
        &self,
        hashes: &[ChunkHash],
        mut take: impl FnMut(ChunkHash, Option<Bytes>) + Send,
    ) -> Result<(), ChunkStoreError> {
        for part in hashes.chunks(CHUNKS_PER_REQUEST_MAX) {
            // Where the first attempt breaks, the second asks for what is still missing.
            let mut done = 0;
            let mut attempt = self.link.attempt()?;
            loop {
                match self.transfer(attempt.live.bulk(), part, &mut done, &mut take).await {
                    Ok(()) => break,
                    Err(Stopped::Failed(failed)) => attempt.failed(failed).await?,
                    Err(Stopped::Wrong(error)) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// One streamed request for those of `part` from `done` on; moves `done` along.
    async fn transfer(
        &self,
        channel: Channel,
        part: &[ChunkHash],
        done: &mut usize,
        take: &mut (impl FnMut(ChunkHash, Option<Bytes>) + Send),
    ) -> Result<(), Stopped> {
        let request = wire::hashes_to(&part[*done..]);
        let mut batches = slow(chunks(channel).get_many(request)).await?;
        while let Some(batch) = next(&mut batches).await? {
            if batch.chunks.is_empty() {
                return Err(Failed::from(WireError::Missing { field: "chunks" }).into());
            }
            for chunk in batch.chunks {
                let Some(asked) = part.get(*done) else {
                    let (field, asked) = ("chunks", part.len());
                    let error = WireError::Count { field, asked, got: asked + 1 };
                    return Err(Failed::from(error).into());
                };
                let data = match wire::chunk_from(asked, chunk).map_err(Failed::from)? {
                    Some(data) => Some(self.verified(asked, data).await.map_err(Stopped::Wrong)?),
                    None => None,
                };
                take(*asked, data);
                *done += 1;
            }
        }
        if *done < part.len() {
            let (field, asked, got) = ("chunks", part.len(), *done);
            return Err(Failed::from(WireError::Count { field, asked, got }).into());
        }
        Ok(())
    }

    /// Hands chunks to `take` that are under `want` and that a peer with all under `have` lacks, each
    /// with the hash of its bytes: one request for what would else be one for each level of a tree.
    /// The peer may leave some out and send some too many; the transfer ends at
    /// `DIFFERENCE_BYTES_MAX`, or where `take` says no. Where the call fails, what was handed over
    /// stands.
    pub async fn difference(
        &self,
        want: &[CommitHash],
        have: &[CommitHash],
        mut take: impl FnMut(ChunkHash, Bytes) -> bool + Send,
    ) -> Result<(), ChunkStoreError> {
        let request = wire::commits_request_to(want, have).map_err(CallError::Unsendable)?;
        let attempt = self.link.attempt()?;
        let mut bytes = 0;
        let transfer = async {
            let mut batches = slow(chunks(attempt.live.bulk()).difference(request)).await?;
            while let Some(batch) = next(&mut batches).await? {
                if batch.chunks.is_empty() {
                    return Err(Failed::from(WireError::Missing { field: "chunks" }));
                }
                for data in batch.chunks {
                    bytes += data.len();
                    if data.len() > CHUNK_BYTES_MAX || bytes > DIFFERENCE_BYTES_MAX {
                        return Ok(());
                    }
                    self.link.inner.counters.chunk_received(data.len());
                    if !take(self.format.hash(&data), data) {
                        return Ok(());
                    }
                }
            }
            Ok(())
        };
        transfer.await.map_err(|failed| match failed {
            Failed::Broke(reason) => CallError::Unreachable(reason).into(),
            Failed::Call(error) => error.into(),
        })
    }

    /// Whether the peer says that it has a chunk, and so all below it.
    pub async fn has(&self, hash: &ChunkHash) -> Result<bool, ChunkStoreError> {
        let request = &pb::GetRequest { hash: Bytes::copy_from_slice(hash.as_bytes()) };
        let call = self.link.attempts(|live| async move {
            let reply = brief(chunks(live.bulk()).has(request.clone())).await?;
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
                let reply = slow(chunks(live.bulk()).has_many(request.clone())).await?;
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
        if data.len() > CHUNK_BYTES_MAX {
            let (peer, hash, bytes) = (self.link.peer, *asked, data.len());
            return Err(ChunkStoreError::ChunkTooLarge { peer, hash, bytes });
        }
        let got = if data.len() < CHUNK_HASH_ASIDE_BYTES {
            self.format.hash(&data)
        } else {
            let (format, data) = (self.format.clone(), data.clone());
            let hash = tokio::task::spawn_blocking(move || format.hash(&data)).await;
            // Only where the runtime shuts down, or the format panicked.
            hash.map_err(|error| CallError::Unreachable(format!("cannot hash: {error}")))?
        };
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
