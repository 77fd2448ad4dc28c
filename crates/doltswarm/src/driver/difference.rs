//! What a peer lacks of this node's chunks, found by comparing trees.
//!
//! Two trees are walked down side by side, the one that is wanted and those that the asker has.
//! What is in both is not followed, so the walk costs what differs, not what there is.
//!
//! It is a help: a tree that grew or shrank by a level is compared level against level all the
//! same, and then some chunks are sent that the asker has.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use doltswarm_core::id::{ChunkHash, CommitHash};
use doltswarm_core::limits::{
    CHUNK_READ_BYTES, CHUNKS_READ_AT_ONCE_MAX, DIFFERENCE_BASE_CHUNKS_MAX, DIFFERENCE_BYTES_MAX,
};

use crate::engine::{ChunkFormat, ChunkReader, EngineResult};

/// A walk that gives the difference batch by batch.
pub(super) struct Difference {
    format: Arc<dyn ChunkFormat>,
    /// Wanted and not yet read, of the level at hand and of the next.
    level: VecDeque<ChunkHash>,
    next: BTreeSet<ChunkHash>,
    /// The asker's side, one level at a time.
    base: BTreeSet<ChunkHash>,
    /// What was given, and what the asker has.
    seen: HashSet<ChunkHash>,
    base_read: usize,
    given: usize,
}

impl Difference {
    /// The difference between what is under `want` and what is under `bases`. `seen` are commits
    /// that the asker has anyway.
    pub(super) fn new(
        format: Arc<dyn ChunkFormat>,
        want: &[CommitHash],
        bases: &[CommitHash],
        have: &[CommitHash],
    ) -> Self {
        let chunk = |commit: &CommitHash| ChunkHash::from(*commit);
        let mut seen: HashSet<ChunkHash> = bases.iter().chain(have).map(chunk).collect();
        let level = want.iter().map(chunk).filter(|hash| seen.insert(*hash)).collect();
        let base = bases.iter().map(chunk).collect();
        Self { format, level, next: BTreeSet::new(), base, seen, base_read: 0, given: 0 }
    }

    /// The next chunks, about `CHUNK_READ_BYTES` of them, or `None` at the end. `skips` tells which
    /// commits the asker does not need.
    pub(super) fn batch(
        &mut self,
        reader: &mut dyn ChunkReader,
        skips: impl Fn(&ChunkHash) -> bool,
    ) -> EngineResult<Option<Vec<Bytes>>> {
        let mut batch = Vec::new();
        let mut size = 0;
        while size < CHUNK_READ_BYTES && self.given < DIFFERENCE_BYTES_MAX {
            if self.level.is_empty() && !self.descend(reader)? {
                break;
            }
            let some = self.level.len().min(CHUNKS_READ_AT_ONCE_MAX);
            let hashes = &self.level.make_contiguous()[..some];
            let read = reader.get_first(hashes, CHUNK_READ_BYTES - size)?;
            self.level.drain(..read.len());
            // What is missing here the asker will miss and ask for by its hash.
            for data in read.into_iter().flatten() {
                for child in self.format.children(&data)? {
                    if !self.seen.contains(&child) && !skips(&child) {
                        self.next.insert(child);
                    }
                }
                size += data.len();
                self.given += data.len();
                batch.push(Bytes::from(data));
            }
        }
        Ok((!batch.is_empty()).then_some(batch))
    }

    /// Goes down one level on both sides; says whether anything is wanted there.
    fn descend(&mut self, reader: &mut dyn ChunkReader) -> EngineResult<bool> {
        let below = self.base_below(reader)?;
        self.seen.extend(&below);
        let wanted = std::mem::take(&mut self.next);
        // What both sides have needs no following on either.
        self.base = below.difference(&wanted).copied().collect();
        self.level = wanted.into_iter().filter(|hash| self.seen.insert(*hash)).collect();
        Ok(!self.level.is_empty())
    }

    fn base_below(&mut self, reader: &mut dyn ChunkReader) -> EngineResult<BTreeSet<ChunkHash>> {
        let mut below = BTreeSet::new();
        let level: Vec<ChunkHash> = std::mem::take(&mut self.base).into_iter().collect();
        let mut left = &level[..];
        while !left.is_empty() && self.base_read <= DIFFERENCE_BASE_CHUNKS_MAX {
            let some = left.len().min(CHUNKS_READ_AT_ONCE_MAX);
            let read = reader.get_first(&left[..some], CHUNK_READ_BYTES)?;
            left = &left[read.len()..];
            self.base_read += read.len();
            for data in read.into_iter().flatten() {
                // Rows are that large, and never what leads to them: the trees have other heights.
                if data.len() > CHUNK_READ_BYTES {
                    return Ok(below);
                }
                below.extend(self.format.children(&data)?);
            }
        }
        Ok(below)
    }
}
