//! Takes much into a database: chunk by chunk, what a chunk refers to before the chunk.
//!
//! The engine's own fetch holds up to 4,096 chunks in memory at once, in three copies, and writes a
//! parent before its children: one that breaks off leaves a commit that looks present and is not
//! whole. In this order whatever is there is whole below, at each moment; so an intake that was cut
//! off goes on where it was, and the engine's fetch after it finds everything and only moves its
//! ref.

use std::collections::HashSet;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use doltswarm_core::id::ChunkHash;
use doltswarm_core::limits::{INTAKE_BATCH_BYTES, INTAKE_BUSY_TIMEOUT};

use super::chunks::{DoltLiteFormat, bytes, failed};
use super::ffi::ChunkWriter;
use crate::engine::{ChunkFormat, ChunkSource, EngineError, EngineResult};

/// How long to wait before another try where someone else writes.
const BUSY_RETRY_DELAY: Duration = Duration::from_millis(5);

/// What is left to do, the next step last.
enum Step {
    /// Look at a chunk, and at those below it first.
    Visit(ChunkHash),
    /// All below it is there.
    Put(ChunkHash),
}

/// Takes `root` and all below it that the database at `path` lacks from `source`.
///
/// Holds one chunk in memory, [`INTAKE_BATCH_BYTES`] in the engine, and the hashes of what it took.
///
/// # Errors
///
/// [`EngineError::Failed`] where the source lacks a chunk or breaks. What was taken until then
/// stays.
pub(super) fn take_in(path: &Path, source: &dyn ChunkSource, root: ChunkHash) -> EngineResult<()> {
    take_in_batches(path, source, root, INTAKE_BATCH_BYTES)
}

/// As [`take_in`], and makes durable what was taken after each `batch_bytes`.
pub(super) fn take_in_batches(
    path: &Path,
    source: &dyn ChunkSource,
    root: ChunkHash,
    batch_bytes: u64,
) -> EngineResult<()> {
    let writer = ChunkWriter::open(path).ok_or_else(|| EngineError::Failed {
        what: "take chunks in",
        message: format!("the engine cannot write {}", path.display()),
    })?;
    let mut intake = Intake { writer, source, seen: HashSet::new(), uncommitted: 0, batch_bytes };
    let mut steps = vec![Step::Visit(root)];
    while let Some(step) = steps.pop() {
        match step {
            Step::Visit(hash) => intake.visit(hash, &mut steps)?,
            Step::Put(hash) => {
                let chunk = intake.read(&hash)?;
                intake.put(&hash, &chunk)?;
            }
        }
    }
    intake.commit()
}

struct Intake<'a> {
    writer: ChunkWriter,
    source: &'a dyn ChunkSource,
    /// Those that were visited, or that the database had.
    seen: HashSet<ChunkHash>,
    /// Bytes put since the last commit.
    uncommitted: u64,
    batch_bytes: u64,
}

impl Intake<'_> {
    fn visit(&mut self, hash: ChunkHash, steps: &mut Vec<Step>) -> EngineResult<()> {
        if !self.seen.insert(hash) || self.has(&[hash])? == [true] {
            return Ok(());
        }
        let chunk = self.read(&hash)?;
        let mut children = DoltLiteFormat.children(&chunk)?;
        children.retain(|child| !self.seen.contains(child));
        let present = self.has(&children)?;
        let mut present = present.into_iter();
        children.retain(|_| present.next() == Some(false));
        if children.is_empty() {
            return self.put(&hash, &chunk);
        }
        steps.push(Step::Put(hash));
        // The first child is taken first, so chunks lie in the file as a scan reads them.
        steps.extend(children.into_iter().rev().map(Step::Visit));
        Ok(())
    }

    fn has(&mut self, hashes: &[ChunkHash]) -> EngineResult<Vec<bool>> {
        self.writer.has(&bytes(hashes)).map_err(failed)
    }

    fn read(&self, hash: &ChunkHash) -> EngineResult<Vec<u8>> {
        let what = "take chunks in";
        let read = self.source.get_many(&[*hash]);
        let mut chunks = read.map_err(|message| EngineError::Failed { what, message })?;
        chunks.pop().flatten().ok_or_else(|| EngineError::Failed {
            what,
            message: format!("chunk {hash} is missing"),
        })
    }

    fn put(&mut self, hash: &ChunkHash, chunk: &[u8]) -> EngineResult<()> {
        let deadline = Instant::now() + INTAKE_BUSY_TIMEOUT;
        loop {
            match self.writer.put(hash.as_bytes(), chunk).map_err(failed) {
                Ok(()) => break,
                // Nothing is put while someone else writes.
                Err(EngineError::Busy) if Instant::now() < deadline => {
                    thread::sleep(BUSY_RETRY_DELAY);
                }
                Err(error) => return Err(error),
            }
        }
        self.uncommitted += chunk.len() as u64;
        if self.uncommitted >= self.batch_bytes { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> EngineResult<()> {
        if self.uncommitted > 0 {
            self.uncommitted = 0;
            self.writer.commit().map_err(failed)?;
        }
        Ok(())
    }
}
