//! Chunks on the wire: a large one is cut into pieces, and put together again.

use bytes::{Bytes, BytesMut};
use doltswarm_core::id::ChunkHash;
use doltswarm_core::limits::{CHUNK_BYTES_MAX, CHUNK_PIECE_BYTES_MAX};

use super::pb;
use super::wire::{Wire, WireError, bytes_of, chunk_hash};

/// The messages for one chunk: one, or several pieces of a large one.
pub(crate) fn chunk_to(hash: &ChunkHash, data: Option<Bytes>) -> impl Iterator<Item = pb::Chunk> {
    let (hash, absent) = (bytes_of(hash.as_bytes()), data.is_none());
    pieces(data.unwrap_or_default()).map(move |(data, rest)| pb::Chunk {
        hash: hash.clone(),
        data,
        absent,
        rest,
    })
}

/// What came for `asked`: its bytes, not yet compared with its hash, once they are all there.
pub(crate) fn chunk_from(
    asked: &ChunkHash,
    chunk: pb::Chunk,
    assembly: &mut Assembly,
) -> Wire<Assembled> {
    let got = chunk_hash("hash", &chunk.hash)?;
    if got != *asked {
        return Err(WireError::Unasked { asked: *asked, got });
    }
    if chunk.absent {
        if !chunk.data.is_empty() || chunk.rest > 0 || !assembly.is_empty() {
            return Err(WireError::Text { field: "chunk", reason: "absent, or bytes" });
        }
        return Ok(Assembled::Absent);
    }
    let whole = assembly.add(chunk.data, chunk.rest)?;
    Ok(whole.map_or(Assembled::NotYet, Assembled::Whole))
}

/// What there is of a chunk that was asked for.
pub(crate) enum Assembled {
    /// The peer does not have it.
    Absent,
    /// More of it follows.
    NotYet,
    /// All its bytes.
    Whole(Bytes),
}

/// Cuts a chunk into pieces that fit into a message, each with the number of bytes that follow it.
pub(crate) fn pieces(mut data: Bytes) -> impl Iterator<Item = (Bytes, u64)> {
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let piece = data.split_to(data.len().min(CHUNK_PIECE_BYTES_MAX));
        ended = data.is_empty();
        Some((piece, data.len() as u64))
    })
}

/// Puts the pieces of one chunk after the other together. Takes as much memory as arrived, whatever
/// was announced.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    data: BytesMut,
    rest: u64,
}

impl Assembly {
    /// Whether no chunk is half here.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest == 0
    }

    /// Takes a piece that `rest` bytes follow; returns the chunk where it is whole now.
    pub(crate) fn add(&mut self, piece: Bytes, rest: u64) -> Wire<Option<Bytes>> {
        let more = piece.len() as u64;
        if self.is_empty() {
            let size = rest.saturating_add(more);
            let (field, max) = ("chunk", CHUNK_BYTES_MAX);
            if size > max as u64 {
                let got = usize::try_from(size).unwrap_or(usize::MAX);
                return Err(WireError::TooLong { field, max, got });
            }
            if rest == 0 {
                return Ok(Some(piece));
            }
        } else if more.checked_add(rest) != Some(self.rest) {
            return Err(WireError::Text {
                field: "rest",
                reason: "of another size than announced",
            });
        }
        if piece.is_empty() {
            return Err(WireError::Missing { field: "chunk" });
        }
        self.data.extend_from_slice(&piece);
        self.rest = rest;
        Ok((rest == 0).then(|| std::mem::take(&mut self.data).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(bytes: usize) -> Vec<(Bytes, u64)> {
        pieces(Bytes::from(vec![7; bytes])).collect()
    }

    #[test]
    fn pieces_become_the_chunk_again() {
        let max = CHUNK_PIECE_BYTES_MAX;
        for (bytes, count) in [(0, 1), (1, 1), (max, 1), (max + 1, 2), (3 * max, 3)] {
            let pieces = cut(bytes);
            assert_eq!(pieces.len(), count, "{bytes}");
            let mut assembly = Assembly::default();
            let mut whole = None;
            for (piece, rest) in pieces {
                assert!(whole.is_none(), "{bytes}");
                whole = assembly.add(piece, rest).unwrap();
            }
            assert_eq!(whole.map(|whole| whole.len()), Some(bytes));
            assert!(assembly.is_empty());
        }
    }

    #[test]
    fn pieces_keep_to_the_announced_size() {
        let half = || Bytes::from_static(b"half");
        let begun = || {
            let mut assembly = Assembly::default();
            assert_eq!(assembly.add(half(), 4), Ok(None));
            assembly
        };
        assert_eq!(begun().add(half(), 0).unwrap().unwrap(), &b"halfhalf"[..]);
        for (piece, rest) in [(half(), 1), (half(), u64::MAX), (Bytes::from_static(b"hal"), 0)] {
            assert!(matches!(begun().add(piece, rest), Err(WireError::Text { .. })), "{rest}");
        }
        let nothing = begun().add(Bytes::new(), 4);
        assert_eq!(nothing, Err(WireError::Missing { field: "chunk" }));
    }

    #[test]
    fn a_chunk_above_the_limit_is_refused_at_its_first_piece() {
        for rest in [CHUNK_BYTES_MAX as u64, u64::MAX] {
            let refused = Assembly::default().add(Bytes::from_static(b"x"), rest);
            assert!(matches!(refused, Err(WireError::TooLong { .. })), "{refused:?}");
        }
    }
}
