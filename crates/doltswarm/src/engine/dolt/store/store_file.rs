//! One file of chunks, of either form, opened for reading.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use doltswarm_core::id::ChunkHash;

use super::archive::Archive;
use super::hash::{hash_of, text};
use super::index::Index;
use super::sealed;
use super::{corrupt, io_failed, record, table_file};
use crate::engine::EngineResult;

/// What an archive's name ends with.
const ARCHIVE_SUFFIX: &str = ".darc";

/// A file of chunks. It is open as long as this lives, so its chunks can be read even where the
/// server has put another file in its place.
#[derive(Debug)]
pub(super) struct StoreFile {
    name: ChunkHash,
    path: PathBuf,
    file: File,
    bytes: u64,
    index: Index,
    /// How to read it, where it is no table file.
    archive: Option<Archive>,
}

impl StoreFile {
    /// Opens the file of this name, or says `None` where there is none: it was replaced meanwhile.
    pub(super) fn open(dir: &Path, name: ChunkHash) -> EngineResult<Option<Self>> {
        let table = dir.join(text(&name));
        if let Some(file) = open(&table)? {
            return Self::read(name, table, file, false).map(Some);
        }
        let archive = dir.join(text(&name) + ARCHIVE_SUFFIX);
        match open(&archive)? {
            Some(file) => Self::read(name, archive, file, true).map(Some),
            None => Ok(None),
        }
    }

    fn read(name: ChunkHash, path: PathBuf, file: File, archive: bool) -> EngineResult<Self> {
        let failed = |error: &io::Error| io_failed("read a file of chunks", &path, error);
        let bytes = file.metadata().map_err(|error| failed(&error))?.len();
        let read = if archive {
            Archive::read(&file, bytes).map(|read| read.map(|(index, how)| (index, Some(how))))
        } else {
            table_file::read_index(&file, bytes).map(|read| read.map(|index| (index, None)))
        };
        let (index, archive) = read
            .map_err(|error| failed(&error))?
            .map_err(|fault| corrupt(format!("the file {} {fault}", path.display())))?;
        Ok(Self { name, path, file, bytes, index, archive })
    }

    /// The chunk of this hash, verified, or `None` where the file does not hold it.
    pub(super) fn get(&self, hash: &ChunkHash) -> EngineResult<Option<Vec<u8>>> {
        let chunk = self.get_as_stored(hash)?;
        // What is sealed has another hash than the one it stands under.
        Ok(chunk.map(|chunk| sealed::open(&chunk, hash).unwrap_or(chunk)))
    }

    /// The same, but a chunk that is sealed stays so.
    pub(super) fn get_as_stored(&self, hash: &ChunkHash) -> EngineResult<Option<Vec<u8>>> {
        let Some(place) = self.index.find(hash) else { return Ok(None) };
        let damaged = |fault: &str| {
            let (chunk, path) = (text(hash), self.path.display());
            corrupt(format!("the chunk {chunk} in the file {path} is damaged: {fault}"))
        };
        let bytes = read_place(&self.file, self.bytes, place.offset, place.length)
            .map_err(|error| io_failed("read a chunk", &self.path, &error))?
            .ok_or_else(|| damaged("the file is cut short"))?;
        let chunk = match &self.archive {
            Some(archive) => archive.unpack(&self.file, place, &bytes),
            None => record::unpack(&bytes),
        };
        let chunk = chunk.map_err(damaged)?;
        if hash_of(&chunk) == *hash || sealed::open(&chunk, hash).is_some() {
            return Ok(Some(chunk));
        }
        Err(damaged("it does not have its hash"))
    }

    /// Whether the file holds the chunk.
    pub(super) fn has(&self, hash: &ChunkHash) -> bool {
        self.index.find(hash).is_some()
    }

    /// The file's name.
    pub(super) fn name(&self) -> ChunkHash {
        self.name
    }

    /// How many bytes the file has.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many chunks the file holds.
    pub(super) fn chunks(&self) -> usize {
        self.index.len()
    }

    /// The hashes of the chunks, sorted.
    pub(super) fn hashes(&self) -> Vec<ChunkHash> {
        self.index.hashes()
    }

    /// How many of the chunks are packed with a dictionary.
    #[cfg(test)]
    pub(super) fn with_dictionary(&self) -> usize {
        self.index.with_dictionary()
    }
}

/// Reads a part of a file of `size` bytes, or `None` where it is not within.
///
/// The size is looked at first, so that a damaged length does not ask for that much memory.
pub(super) fn read_place(
    file: &File,
    size: u64,
    offset: u64,
    length: u32,
) -> io::Result<Option<Vec<u8>>> {
    if offset.checked_add(u64::from(length)).is_none_or(|end| end > size) {
        return Ok(None);
    }
    let mut bytes = vec![0; length as usize];
    match read_exact_at(file, &mut bytes, offset) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a part of a file without a place that several readers would share.
pub(super) fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset);
    #[cfg(windows)]
    {
        let (mut rest, mut offset) = (bytes, offset);
        while !rest.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(file, rest, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    rest = &mut rest[read..];
                    offset += read as u64;
                }
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> EngineResult<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_failed("open a file of chunks", path, &error)),
    }
}
