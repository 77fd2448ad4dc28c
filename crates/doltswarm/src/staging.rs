//! Chunks that arrived and are not in the database yet, kept so that an interrupted transfer goes
//! on where it stopped.
//!
//! The newest wait in memory, so that a small pull never touches the disk; beyond
//! [`limits::STAGING_MEMORY_BYTES`] all of them are appended to the file `staging/chunks`. Nothing
//! is synced: at a crash the end of the file may be missing, torn or zero, and then those chunks
//! are only fetched again. So a record proves nothing until its chunk has been hashed, which
//! happens when it is read.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doltswarm_core::id::ChunkHash;
use doltswarm_core::limits;

use crate::engine::ChunkFormat;
use crate::engine::ChunkSource;

/// The staging directory in the node's directory.
pub const DIR_NAME: &str = "staging";
const FILE_NAME: &str = "chunks";

/// A record is the hash, the length (`u32`, little-endian) and the bytes.
const RECORD_HEAD_BYTES: usize = ChunkHash::BYTES + 4;

/// The staged chunks of one node. Calls block, and may come from any thread.
pub struct Staging {
    format: Arc<dyn ChunkFormat>,
    path: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    index: HashMap<ChunkHash, Place>,
    /// Bytes of the chunks in memory.
    memory_bytes: usize,
    /// Opened when something is first spilled.
    file: Option<File>,
    /// Where the next record goes.
    file_bytes: u64,
}

enum Place {
    /// Its bytes, verified by who put it.
    Memory(Vec<u8>),
    /// Where its bytes are in the file, unverified.
    File { offset: u64, length: u32 },
}

/// Why a chunk could not be staged or read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StagingError {
    /// The disk is full. The chunk was not kept; those before it are still there.
    #[error("the disk is full: no room for arriving chunks in {}", path.display())]
    DiskFull {
        /// The staging file.
        path: PathBuf,
    },
    /// There are too many chunks.
    #[error("{} chunks are staged already, which is the most", limits::STAGING_CHUNKS_MAX)]
    Full,
    /// A chunk is empty or larger than [`limits::CHUNK_BYTES_MAX`].
    #[error(
        "chunk {hash} has {bytes} bytes: none is empty, and the most is {}",
        limits::CHUNK_BYTES_MAX
    )]
    ChunkSize {
        /// The chunk.
        hash: ChunkHash,
        /// Its size.
        bytes: usize,
    },
    /// The file system refused.
    #[error("cannot {what} the staged chunks in {}: {source}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// The staging file.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
}

impl Staging {
    /// Opens the staging of the node in `dir` and finds what an earlier run left.
    ///
    /// Costs a look at each record's head; no chunk is read. What cannot be a record, and all after
    /// it, is cut off.
    pub fn open(dir: &Path, format: Arc<dyn ChunkFormat>) -> Result<Self, StagingError> {
        let path = dir.join(DIR_NAME).join(FILE_NAME);
        let failed = |source| sort("open", &path, source);
        let mut inner = Inner { index: HashMap::new(), memory_bytes: 0, file: None, file_bytes: 0 };
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(mut file) => {
                inner.file_bytes = scan(&mut file, &mut inner.index).map_err(failed)?;
                file.set_len(inner.file_bytes).map_err(failed)?;
                inner.file = Some(file);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        Ok(Self { format, path, inner: Mutex::new(inner) })
    }

    /// Whether a chunk is here. One that turns out to be damaged when it is read stops being here.
    pub fn contains(&self, hash: &ChunkHash) -> bool {
        self.inner().index.contains_key(hash)
    }

    /// Keeps a chunk, which the caller has verified.
    pub fn put(&self, hash: ChunkHash, chunk: &[u8]) -> Result<(), StagingError> {
        if chunk.is_empty() || chunk.len() > limits::CHUNK_BYTES_MAX {
            return Err(StagingError::ChunkSize { hash, bytes: chunk.len() });
        }
        let mut inner = self.inner();
        if inner.index.contains_key(&hash) {
            return Ok(());
        }
        if inner.index.len() >= limits::STAGING_CHUNKS_MAX {
            return Err(StagingError::Full);
        }
        inner.index.insert(hash, Place::Memory(chunk.to_vec()));
        inner.memory_bytes += chunk.len();
        if inner.memory_bytes > limits::STAGING_MEMORY_BYTES
            && let Err(source) = inner.spill(&self.path)
        {
            // So that memory stays bounded while the disk is full.
            inner.index.remove(&hash);
            inner.memory_bytes -= chunk.len();
            return Err(sort("append to", &self.path, source));
        }
        Ok(())
    }

    /// A chunk, or `None` where it is not here or its record is damaged.
    pub fn get(&self, hash: &ChunkHash) -> Result<Option<Vec<u8>>, StagingError> {
        let mut inner = self.inner();
        let Inner { index, file, .. } = &mut *inner;
        let (offset, length) = match index.get(hash) {
            None => return Ok(None),
            Some(Place::Memory(chunk)) => return Ok(Some(chunk.clone())),
            Some(Place::File { offset, length }) => (*offset, *length),
        };
        let chunk = file
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
            .and_then(|file| read_at(file, offset, length))
            .map_err(|source| sort("read", &self.path, source))?;
        match chunk {
            Some(chunk) if self.format.hash(&chunk) == *hash => Ok(Some(chunk)),
            _ => {
                tracing::warn!(%hash, "a staged chunk is damaged; it will be fetched again");
                index.remove(hash);
                Ok(None)
            }
        }
    }

    /// Chunks in the order asked, each as [`Self::get`] gives it.
    pub fn get_many(&self, hashes: &[ChunkHash]) -> Result<Vec<Option<Vec<u8>>>, StagingError> {
        hashes.iter().map(|hash| self.get(hash)).collect()
    }

    /// How many chunks are here.
    pub fn chunks(&self) -> usize {
        self.inner().index.len()
    }

    /// How many bytes are here, in memory and in the file.
    pub fn bytes(&self) -> u64 {
        let inner = self.inner();
        inner.memory_bytes as u64 + inner.file_bytes
    }

    /// Forgets everything, once the database has it, and gives the disk space back.
    pub fn clear(&self) -> Result<(), StagingError> {
        let mut inner = self.inner();
        inner.index = HashMap::new();
        inner.memory_bytes = 0;
        inner.file_bytes = 0;
        let cut = inner.file.as_ref().map_or(Ok(()), |file| file.set_len(0));
        cut.map_err(|source| sort("clear", &self.path, source))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic cannot leave more than a wrong record, and every record is checked when read.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Appends all chunks in memory to the file. Where that fails they stay in memory, and the next
    /// spill writes over what got there.
    fn spill(&mut self, path: &Path) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(create(path)?);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.seek(SeekFrom::Start(self.file_bytes))?;
        let mut out = BufWriter::with_capacity(limits::STAGING_MEMORY_BYTES, &mut *file);
        let mut end = self.file_bytes;
        let mut spilled = Vec::new();
        for (hash, place) in &self.index {
            let Place::Memory(chunk) = place else { continue };
            let length = u32::try_from(chunk.len()).map_err(io::Error::other)?;
            out.write_all(hash.as_bytes())?;
            out.write_all(&length.to_le_bytes())?;
            out.write_all(chunk)?;
            spilled.push((*hash, end + RECORD_HEAD_BYTES as u64, length));
            end += RECORD_HEAD_BYTES as u64 + u64::from(length);
        }
        out.flush()?;
        for (hash, offset, length) in spilled {
            self.index.insert(hash, Place::File { offset, length });
        }
        self.memory_bytes = 0;
        self.file_bytes = end;
        Ok(())
    }
}

impl ChunkSource for Staging {
    fn get_many(&self, hashes: &[ChunkHash]) -> Result<Vec<Option<Vec<u8>>>, String> {
        Staging::get_many(self, hashes).map_err(|error| error.to_string())
    }

    fn has_many(&self, hashes: &[ChunkHash]) -> Result<Vec<bool>, String> {
        Ok(hashes.iter().map(|hash| self.contains(hash)).collect())
    }

    fn bytes(&self) -> u64 {
        Staging::bytes(self)
    }
}

impl Drop for Staging {
    /// Keeps for the next run what an unfinished pull brought; losing it costs only time.
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        if inner.memory_bytes > 0
            && let Err(error) = inner.spill(&self.path)
        {
            tracing::debug!(%error, "staged chunks were not kept");
        }
    }
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staging").field("path", &self.path).finish_non_exhaustive()
    }
}

fn sort(what: &'static str, path: &Path, source: io::Error) -> StagingError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StagingError::DiskFull { path: path.to_owned() }
        }
        _ => StagingError::Io { what, path: path.to_owned(), source },
    }
}

/// Makes the file, and its directory where it is missing, for the owner only.
fn create(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Finds the records and returns where the last good one ends.
fn scan(file: &mut File, index: &mut HashMap<ChunkHash, Place>) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let mut at = 0;
    file.rewind()?;
    while index.len() < limits::STAGING_CHUNKS_MAX {
        let mut head = [0; RECORD_HEAD_BYTES];
        match file.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
        let (hash, length) = head.split_at(ChunkHash::BYTES);
        let hash = ChunkHash::from_slice(hash).expect("because it was split at a hash's length");
        let length = u32::from_le_bytes(length.try_into().expect("because four bytes are left"));
        let offset = at + RECORD_HEAD_BYTES as u64;
        let end = offset + u64::from(length);
        // A chunk is never empty; a tail of zeros is what some file systems leave at a crash.
        if length == 0 || length as usize > limits::CHUNK_BYTES_MAX || end > size {
            break;
        }
        index.insert(hash, Place::File { offset, length });
        at = end;
        file.seek(SeekFrom::Start(at))?;
    }
    Ok(at)
}

/// Reads bytes of the file; `None` where it is too short.
fn read_at(file: &mut File, offset: u64, length: u32) -> io::Result<Option<Vec<u8>>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut chunk = vec![0; length as usize];
    match file.read_exact(&mut chunk) {
        Ok(()) => Ok(Some(chunk)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
