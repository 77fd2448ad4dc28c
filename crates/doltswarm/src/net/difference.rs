//! The answer to a request for a difference: signatures first, then chunks.

use std::collections::VecDeque;

use bytes::Bytes;
use doltswarm_core::id::ChunkHash;
use doltswarm_core::limits::{DIFFERENCE_BYTES_MAX, SIGNATURES_LISTED_MAX};
use doltswarm_core::message::SignedCommit;
use tonic::Streaming;

use super::chunk_store::hash;
use super::client::{Failed, PeerLink, next};
use super::io::Received;
use super::pb;
use super::pieces::Assembly;
use super::wire::{self, WireError};
use super::{CallError, ChunkStoreError};

/// A difference as it arrives. Dropping it ends the transfer.
///
/// Nothing is read from the transport before it is asked for here, so a caller that has not
/// verified the commits yet holds no chunk.
pub struct Difference {
    link: PeerLink,
    messages: Streaming<pb::DifferenceBatch>,
    received: Received,
    /// Pieces that came and were not taken, each with the number of bytes that follow it.
    pieces: VecDeque<(Bytes, u64)>,
    assembly: Assembly,
    bytes: usize,
    ended: bool,
}

impl Difference {
    pub(crate) fn new(
        link: PeerLink,
        messages: Streaming<pb::DifferenceBatch>,
        received: Received,
    ) -> Self {
        let (pieces, assembly) = (VecDeque::new(), Assembly::default());
        Self { link, messages, received, pieces, assembly, bytes: 0, ended: false }
    }

    /// The signed commits, parents first; at most `SIGNATURES_LISTED_MAX`. Nothing of what the peer
    /// says here is verified. To be called once, before any chunk is taken.
    ///
    /// # Errors
    ///
    /// [`ChunkStoreError::Call`] where the transfer breaks, or the peer breaks the protocol.
    pub async fn commits(&mut self) -> Result<Vec<SignedCommit>, ChunkStoreError> {
        let mut commits = Vec::new();
        while self.pieces.is_empty() {
            let Some(message) = self.message().await? else { break };
            if message.commits.is_empty() {
                self.keep(message)?;
                break;
            }
            if !message.chunks.is_empty() {
                let (field, reason) = ("difference", "commits, or chunks");
                return Err(malformed(WireError::Text { field, reason }));
            }
            commits.extend(wire::commits_from(&message.commits).map_err(malformed)?);
            if commits.len() > SIGNATURES_LISTED_MAX {
                let (field, max) = ("commits", SIGNATURES_LISTED_MAX);
                return Err(malformed(WireError::TooMany { field, max, got: commits.len() }));
            }
        }
        Ok(commits)
    }

    /// The next chunk, with the hash of its bytes; `None` at the end, which comes after
    /// `DIFFERENCE_BYTES_MAX` bytes at the latest. The peer may have left some out and sent some
    /// too many.
    ///
    /// # Errors
    ///
    /// As for [`Difference::commits`]. What came before stands.
    pub async fn next(&mut self) -> Result<Option<(ChunkHash, Bytes)>, ChunkStoreError> {
        loop {
            while let Some((piece, rest)) = self.pieces.pop_front() {
                self.bytes += piece.len();
                if self.bytes > DIFFERENCE_BYTES_MAX {
                    return Ok(None);
                }
                if let Some(data) = self.assembly.add(piece, rest).map_err(malformed)? {
                    self.link.inner.counters.chunk_received(data.len());
                    let hash = hash(&self.link.inner.format, &data).await?;
                    return Ok(Some((hash, data)));
                }
            }
            match self.message().await? {
                Some(message) => self.keep(message)?,
                None => return Ok(None),
            }
        }
    }

    async fn message(&mut self) -> Result<Option<pb::DifferenceBatch>, ChunkStoreError> {
        if self.ended {
            return Ok(None);
        }
        let message =
            next(&mut self.messages, &self.received).await.map_err(|failed| match failed {
                Failed::Broke(reason) => CallError::Unreachable(reason),
                Failed::Call(error) => error,
            })?;
        self.ended = message.is_none();
        Ok(message)
    }

    /// Keeps the chunks of a message.
    fn keep(&mut self, message: pb::DifferenceBatch) -> Result<(), ChunkStoreError> {
        if message.chunks.is_empty() || !message.commits.is_empty() {
            return Err(malformed(WireError::Missing { field: "chunks" }));
        }
        let last = message.chunks.len() - 1;
        let pieces = message.chunks.into_iter().enumerate();
        self.pieces.extend(
            pieces.map(|(place, piece)| (piece, if place == last { message.rest } else { 0 })),
        );
        Ok(())
    }
}

fn malformed(error: WireError) -> ChunkStoreError {
    CallError::Malformed(error).into()
}
