//! The inbox: a `file://` store that the node fills, and the server reads by `DOLT_FETCH`.
//!
//! It holds what one pull brought, and a root that shows just the commit that is wanted. What the
//! server already has it does not ask for, so it need not be here.
//!
//! Architecture Invariant: no byte gets in here that was not hashed and looked at. The server
//! verifies nothing, and what it takes from here it may show in every other database.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use doltswarm_core::id::{ChunkHash, CommitHash};
use doltswarm_core::limits::{DOLT_INBOX_BATCH, DOLT_INBOX_CHUNKS_MAX};

use super::hash::{hash_of, text};
use super::manifest::Manifest;
use super::message::{Expected, Link, links};
use super::sealed;
use super::table_file::TableWriter;
use super::{ChunkSource, DoltFormat, corrupt, io_failed, is_store_file, url_of};
use crate::engine::{ChunkFormat, EngineError, EngineResult};

/// A store that shows one commit at a time.
#[derive(Debug, Clone)]
pub struct Inbox {
    dir: PathBuf,
}

/// What an inbox was filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// The synthetic root.
    pub root: ChunkHash,
    /// The name of the file of chunks.
    pub file: ChunkHash,
    /// How many chunks it holds, the root included.
    pub chunks: u32,
    /// How many bytes the file of them has.
    pub bytes: u64,
}

impl Inbox {
    /// Opens an inbox, and makes its directory where there is none.
    pub fn open(dir: impl Into<PathBuf>) -> EngineResult<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(|error| io_failed("make the inbox", &dir, &error))?;
        Ok(Self { dir })
    }

    /// The URL by which `DOLT_REMOTE` adds the inbox.
    pub fn url(&self) -> String {
        url_of(&self.dir)
    }

    /// Fills the inbox with `commit` and all below it that the source has, in place of what was in
    /// it, so that `DOLT_FETCH` of the branch `main` brings `commit`.
    ///
    /// What the source does not have is taken to be in the database: where it is not, the server's
    /// fetch fails and changes nothing. One fill and fetch at a time. Memory holds
    /// [`DOLT_INBOX_BATCH`] chunks and the hashes of all.
    ///
    /// # Errors
    ///
    /// [`EngineError::Corrupt`] where a chunk does not have its hash, or is not what it is named
    /// as. The inbox is then as it was.
    pub fn fill(&self, commit: &CommitHash, source: &dyn ChunkSource) -> EngineResult<Filled> {
        let failed = |error: io::Error| io_failed("write the inbox", &self.dir, &error);
        let mut writer = TableWriter::create(&self.dir).map_err(failed)?;
        let mut add = |hash, chunk: &[u8]| match sealed::is_sealed_kind(chunk) {
            true => writer.add(hash, &sealed::seal(chunk)).map_err(failed),
            false => writer.add(hash, chunk).map_err(failed),
        };
        walk(commit, source, &mut add)?;
        let root = DoltFormat.synthetic_root(commit);
        let root_hash = hash_of(&root);
        writer.add(root_hash, &root).map_err(failed)?;
        let written = writer.finish(&self.dir).map_err(failed)?;
        let manifest = Manifest { root: root_hash, files: vec![(written.name, written.chunks)] };
        manifest.write(&self.dir).map_err(failed)?;
        self.remove_all_but(&text(&written.name)).map_err(failed)?;
        let (chunks, bytes) = (written.chunks, written.bytes);
        Ok(Filled { root: root_hash, file: written.name, chunks, bytes })
    }

    /// Removes the chunks of the last pull, which the database has by now.
    pub fn clear(&self) -> EngineResult<()> {
        let failed = |error: io::Error| io_failed("empty the inbox", &self.dir, &error);
        match fs::remove_file(self.dir.join(super::manifest::FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        self.remove_all_but("").map_err(failed)
    }

    fn remove_all_but(&self, kept: &str) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if is_store_file(&entry.file_name()) && entry.file_name() != *kept {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Visits each chunk below a commit that the source has, once, verified.
fn walk(
    commit: &CommitHash,
    source: &dyn ChunkSource,
    visit: &mut dyn FnMut(ChunkHash, &[u8]) -> EngineResult<()>,
) -> EngineResult<()> {
    let first = Link { hash: (*commit).into(), expected: Expected::Commit };
    // A chunk that is named as two things must be both, so it is read for each.
    let mut named = HashSet::from([first]);
    let mut visited = HashSet::new();
    let mut next = VecDeque::from([first]);
    while !next.is_empty() {
        let batch = next.drain(..next.len().min(DOLT_INBOX_BATCH)).collect::<Vec<_>>();
        let hashes = batch.iter().map(|link| link.hash).collect::<Vec<_>>();
        let chunks = source
            .get_many(&hashes)
            .map_err(|message| EngineError::Failed { what: "read what a pull brought", message })?;
        if chunks.len() != batch.len() {
            return Err(corrupt("the source gave another number of chunks than was asked for"));
        }
        for (link, chunk) in batch.iter().zip(chunks) {
            let Some(chunk) = chunk else { continue };
            let wrong =
                |fault| corrupt(format!("the chunk {} is refused: {fault}", text(&link.hash)));
            if hash_of(&chunk) != link.hash {
                return Err(wrong("it does not have its hash"));
            }
            for below in links(&chunk, link.expected).map_err(wrong)? {
                if named.insert(below) {
                    next.push_back(below);
                }
            }
            if visited.insert(link.hash) {
                visit(link.hash, &chunk)?;
            }
            if named.len() > DOLT_INBOX_CHUNKS_MAX {
                let message = format!("a fetch may bring at most {DOLT_INBOX_CHUNKS_MAX} chunks");
                return Err(EngineError::Failed { what: "fill the inbox", message });
            }
        }
    }
    Ok(())
}
