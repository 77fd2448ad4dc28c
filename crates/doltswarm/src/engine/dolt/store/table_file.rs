//! Table files: the classic form of a file of chunks.
//!
//! Dolt, go/store/nbs/table.go and table_writer.go. All numbers are big-endian:
//!
//! ```text
//! records | prefixes: count × (8 bytes of hash, u32 ordinal), sorted | lengths: count × u32
//!         | suffixes: count × 12 bytes of hash | u32 count | u64 uncompressed bytes | 8 bytes
//!         magic
//! ```
//!
//! Records, lengths and suffixes are in the order of ordinals. The file's name is the hash over its
//! suffixes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use doltswarm_core::id::ChunkHash;
use doltswarm_core::limits::DOLT_FILE_CHUNKS_MAX;
use sha2::{Digest, Sha512};

use super::hash::{self, shortened};
use super::index::{Index, PREFIX_BYTES, Place, SUFFIX_BYTES, split, u32_at, u64_at};
use super::record;
use super::store_file::read_exact_at;

/// What a table file ends with.
pub(super) const MAGIC: [u8; 8] = [0xff, 0xb5, 0xd8, 0xc2, 0x24, 0x63, 0xee, 0x50];
/// How many bytes the count, the uncompressed size and the magic take.
const FOOTER_BYTES: u64 = 20;
/// How many bytes one entry of the map of prefixes takes.
const TUPLE_BYTES: usize = PREFIX_BYTES + 4;
/// How many bytes of index there are for each chunk.
const ENTRY_BYTES: usize = TUPLE_BYTES + 4 + SUFFIX_BYTES;

/// Reads the index of a table file of `size` bytes.
///
/// # Errors
///
/// What is wrong with the file, for an error that names it.
pub(super) fn read_index(file: &File, size: u64) -> io::Result<Result<Index, &'static str>> {
    let Some(footer_at) = size.checked_sub(FOOTER_BYTES) else {
        return Ok(Err("is cut short: it has no footer"));
    };
    let mut footer = [0; FOOTER_BYTES as usize];
    read_exact_at(file, &mut footer, footer_at)?;
    if !footer.ends_with(&MAGIC) {
        return Ok(Err("is cut short or is no table file: it does not end with the magic number"));
    }
    let count = u32_at(&footer, 0).unwrap_or_default() as usize;
    if count > DOLT_FILE_CHUNKS_MAX {
        return Ok(Err("claims more chunks than a file may have"));
    }
    let Some(index_at) = footer_at.checked_sub((count * ENTRY_BYTES) as u64) else {
        return Ok(Err("is cut short: its index does not fit"));
    };
    let mut index = vec![0; count * ENTRY_BYTES];
    read_exact_at(file, &mut index, index_at)?;
    Ok(parse_index(&index, count, index_at))
}

/// Parses the index of a file whose records end at `index_at`.
fn parse_index(index: &[u8], count: usize, index_at: u64) -> Result<Index, &'static str> {
    let (tuples, rest) = index.split_at(count * TUPLE_BYTES);
    let (lengths, suffixes) = rest.split_at(count * 4);
    let mut places = Vec::with_capacity(count);
    let mut offset = 0_u64;
    for ordinal in 0..count {
        let length = u32_at(lengths, ordinal).ok_or("has a damaged index")?;
        places.push(Place { offset, length, dictionary: 0 });
        offset += u64::from(length);
    }
    if offset != index_at {
        return Err("has records whose lengths do not add up");
    }
    let mut entries = Vec::with_capacity(count);
    let mut seen = vec![false; count];
    for tuple in tuples.chunks_exact(TUPLE_BYTES) {
        let prefix = u64_at(tuple, 0).ok_or("has a damaged index")?;
        let ordinal = u32_at(&tuple[PREFIX_BYTES..], 0).ok_or("has a damaged index")? as usize;
        match seen.get_mut(ordinal) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err("has a map of prefixes that does not fit its records"),
        }
        let suffix =
            suffixes[ordinal * SUFFIX_BYTES..].first_chunk().ok_or("has a damaged index")?;
        entries.push((prefix, *suffix, places[ordinal]));
    }
    Ok(Index::new(entries))
}

/// Writes a table file: chunk after chunk as they come, the index at the end.
///
/// Only the index is kept in memory, 24 bytes for each chunk. A writer that is dropped unfinished
/// leaves nothing behind.
pub(super) struct TableWriter {
    out: BufWriter<File>,
    temporary: Option<PathBuf>,
    entries: Vec<(ChunkHash, u32)>,
    bytes: u64,
    uncompressed: u64,
}

/// A finished table file.
pub(super) struct Written {
    /// Its name: also that of the file.
    pub(super) name: ChunkHash,
    /// How many chunks it holds.
    pub(super) chunks: u32,
    /// How many bytes the file has.
    pub(super) bytes: u64,
}

impl TableWriter {
    /// Begins a file in a directory, under a name that no store would read.
    pub(super) fn create(dir: &Path) -> io::Result<Self> {
        let temporary = dir.join("new_table");
        let out = BufWriter::with_capacity(256 << 10, File::create(&temporary)?);
        let (entries, bytes, uncompressed) = (Vec::new(), 0, 0);
        Ok(Self { out, temporary: Some(temporary), entries, bytes, uncompressed })
    }

    /// Adds a chunk, whose hash the caller has verified. A chunk may come only once.
    pub(super) fn add(&mut self, hash: ChunkHash, chunk: &[u8]) -> io::Result<()> {
        let record = record::pack(chunk);
        let length = u32::try_from(record.len()).map_err(io::Error::other)?;
        self.out.write_all(&record)?;
        self.entries.push((hash, length));
        self.bytes += u64::from(length);
        self.uncompressed += chunk.len() as u64;
        Ok(())
    }

    /// Writes the index and gives the file its name.
    ///
    /// It is not flushed to the disk: a file that a crash tears is never read, because the inbox is
    /// filled anew before each fetch.
    pub(super) fn finish(mut self, dir: &Path) -> io::Result<Written> {
        let count = u32::try_from(self.entries.len()).map_err(io::Error::other)?;
        let mut order = (0..count).collect::<Vec<_>>();
        order.sort_unstable_by_key(|ordinal| self.entries[*ordinal as usize].0);
        for ordinal in order {
            let (prefix, _) = split(&self.entries[ordinal as usize].0);
            self.out.write_all(&prefix.to_be_bytes())?;
            self.out.write_all(&ordinal.to_be_bytes())?;
        }
        for (_, length) in &self.entries {
            self.out.write_all(&length.to_be_bytes())?;
        }
        let mut hasher = Sha512::new();
        for (hash, _) in &self.entries {
            let (_, suffix) = split(hash);
            self.out.write_all(&suffix)?;
            hasher.update(suffix);
        }
        self.out.write_all(&count.to_be_bytes())?;
        self.out.write_all(&self.uncompressed.to_be_bytes())?;
        self.out.write_all(&MAGIC)?;
        self.out.flush()?;
        let name = shortened(&hasher.finalize());
        if let Some(temporary) = &self.temporary {
            std::fs::rename(temporary, dir.join(hash::text(&name)))?;
        }
        self.temporary = None;
        let index = u64::from(count) * ENTRY_BYTES as u64;
        Ok(Written { name, chunks: count, bytes: self.bytes + index + FOOTER_BYTES })
    }
}

impl Drop for TableWriter {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Nothing is lost where it stays: the next writer begins with the same name.
            let _ = std::fs::remove_file(temporary);
        }
    }
}
