//! Archives: the newer form of a file of chunks, `.darc`.
//!
//! Dolt, go/store/nbs/archive.go and archive_reader.go. All numbers are big-endian:
//!
//! ```text
//! spans | index: ends of the spans (u64 each), prefixes (8 bytes of hash each, sorted), references
//!         (u32 span of the dictionary, u32 span of the data, counted from 1; 0 is none), suffixes
//!         (12 bytes of hash each) | metadata | footer
//! footer: index length (u64; u32 before version 3) | u32 spans | u32 chunks | u32 metadata length
//!         | 192 bytes unused | u8 version | "DOLTARC"
//! ```
//!
//! A chunk with a dictionary is a zstd frame; one without is a record as in a table file. A
//! dictionary is itself a zstd frame.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};

use doltswarm_core::limits::{
    DOLT_ARCHIVE_INDEX_BYTES_MAX, DOLT_CHUNK_BYTES_MAX, DOLT_DICTIONARIES_CACHED_MAX,
    DOLT_DICTIONARY_BYTES_MAX, DOLT_FILE_CHUNKS_MAX,
};
use ruzstd::decoding::{BlockDecodingStrategy, Dictionary, FrameDecoder};

use super::index::{Index, PREFIX_BYTES, Place, SUFFIX_BYTES, u32_at, u64_at};
use super::record;
use super::store_file::{read_exact_at, read_place};

/// What an archive ends with.
const SIGNATURE: &[u8] = b"DOLTARC";
/// The newest version that is known.
const VERSION_MAX: u8 = 3;
/// From this version on a chunk without a dictionary is a snappy record, and not an error.
const VERSION_SNAPPY: u8 = 2;
/// From this version on the index length has 64 bits.
const VERSION_LARGE: u8 = 3;
/// How many bytes the footer has from version 3 on.
const FOOTER_BYTES: u64 = 8 + 4 + 4 + 4 + 192 + 1 + 7;

/// Where the spans of the dictionaries are, by their number: the first byte and how many.
type Dictionaries = BTreeMap<u32, (u64, u32)>;

/// How to read the chunks of one archive.
pub(super) struct Archive {
    version: u8,
    bytes: u64,
    dictionaries: Dictionaries,
    /// Decoders that have read their dictionary, by its span.
    decoders: Mutex<BTreeMap<u32, FrameDecoder>>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Archive {
    /// Reads the index of an archive of `size` bytes.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, for an error that names it.
    pub(super) fn read(file: &File, size: u64) -> io::Result<Result<(Index, Self), &'static str>> {
        let Some(footer_at) = size.checked_sub(FOOTER_BYTES) else {
            return Ok(Err("is cut short: it has no footer"));
        };
        let mut footer = [0; FOOTER_BYTES as usize];
        read_exact_at(file, &mut footer, footer_at)?;
        let footer = match Footer::parse(&footer, size) {
            Ok(footer) => footer,
            Err(fault) => return Ok(Err(fault)),
        };
        let mut index = vec![0; footer.index_bytes];
        read_exact_at(file, &mut index, footer.index_at)?;
        Ok(footer.index(&index).map(|(index, dictionaries)| {
            let decoders = Mutex::default();
            (index, Self { version: footer.version, bytes: size, dictionaries, decoders })
        }))
    }

    /// Unpacks the data of a chunk.
    pub(super) fn unpack(
        &self,
        file: &File,
        place: Place,
        data: &[u8],
    ) -> Result<Vec<u8>, &'static str> {
        if place.dictionary == 0 {
            if self.version < VERSION_SNAPPY {
                return Err("it has no dictionary");
            }
            return record::unpack(data);
        }
        let mut decoders = self.decoders.lock().unwrap_or_else(PoisonError::into_inner);
        if !decoders.contains_key(&place.dictionary) {
            let decoder = self.decoder(file, place.dictionary)?;
            if decoders.len() >= DOLT_DICTIONARIES_CACHED_MAX {
                decoders.pop_first();
            }
            decoders.insert(place.dictionary, decoder);
        }
        let decoder = decoders.get_mut(&place.dictionary).ok_or("its dictionary is missing")?;
        unzip(decoder, data, DOLT_CHUNK_BYTES_MAX)
    }

    /// Makes a decoder with a dictionary.
    fn decoder(&self, file: &File, dictionary: u32) -> Result<FrameDecoder, &'static str> {
        let (offset, length) =
            self.dictionaries.get(&dictionary).ok_or("its dictionary is missing")?;
        let packed = read_place(file, self.bytes, *offset, *length)
            .map_err(|_| "its dictionary cannot be read")?
            .ok_or("its dictionary is cut short")?;
        let raw = unzip(&mut FrameDecoder::new(), &packed, DOLT_DICTIONARY_BYTES_MAX)?;
        let dictionary = Dictionary::decode_dict(&raw).map_err(|_| "its dictionary is damaged")?;
        let mut decoder = FrameDecoder::new();
        decoder.add_dict(dictionary).map_err(|_| "its dictionary is damaged")?;
        Ok(decoder)
    }
}

/// Where things are in an archive.
struct Footer {
    version: u8,
    spans: usize,
    chunks: usize,
    index_at: u64,
    index_bytes: usize,
}

impl Footer {
    fn parse(footer: &[u8], size: u64) -> Result<Self, &'static str> {
        let Some((version, rest)) =
            footer.strip_suffix(SIGNATURE).and_then(|footer| footer.split_last())
        else {
            return Err("is cut short or is no archive: it does not end with the signature");
        };
        if *version == 0 || *version > VERSION_MAX {
            return Err("is an archive of a version that is not known");
        }
        let damaged = "has a damaged footer";
        let (footer_bytes, index_bytes) = if *version < VERSION_LARGE {
            (FOOTER_BYTES - 4, u64::from(u32_at(rest, 1).ok_or(damaged)?))
        } else {
            (FOOTER_BYTES, u64_at(rest, 0).ok_or(damaged)?)
        };
        let number = |at| u32_at(rest, at).map(|number| number as usize).ok_or(damaged);
        let (spans, chunks, metadata) = (number(2)?, number(3)?, number(4)?);
        if chunks > DOLT_FILE_CHUNKS_MAX || index_bytes > DOLT_ARCHIVE_INDEX_BYTES_MAX {
            return Err("claims more chunks than a file may have");
        }
        let needed = spans as u64 * 8 + (chunks * (PREFIX_BYTES + 8 + SUFFIX_BYTES)) as u64;
        if needed != index_bytes {
            return Err("has an index of another size than its chunks need");
        }
        let index_at = size
            .checked_sub(footer_bytes + metadata as u64)
            .and_then(|end| end.checked_sub(index_bytes))
            .ok_or("is cut short: its index does not fit")?;
        let index_bytes = usize::try_from(index_bytes).map_err(|_| damaged)?;
        Ok(Self { version: *version, spans, chunks, index_at, index_bytes })
    }

    /// Parses the index: where the chunks are, and where the dictionaries are.
    fn index(&self, index: &[u8]) -> Result<(Index, Dictionaries), &'static str> {
        let damaged = "has a damaged index";
        let (ends, rest) = index.split_at(self.spans * 8);
        let (prefixes, rest) = rest.split_at(self.chunks * PREFIX_BYTES);
        let (references, suffixes) = rest.split_at(self.chunks * 8);
        let span = |number: u32| {
            let last = (number as usize).checked_sub(1).ok_or(damaged)?;
            let end = u64_at(ends, last).ok_or("names a span that it does not have")?;
            let start = last.checked_sub(1).map_or(Some(0), |before| u64_at(ends, before));
            let start = start.filter(|start| *start <= end && end <= self.index_at);
            let start = start.ok_or("has spans that do not follow each other")?;
            let length = u32::try_from(end - start).map_err(|_| "has a span that is too long")?;
            Ok::<_, &'static str>((start, length))
        };
        let mut entries = Vec::with_capacity(self.chunks);
        let mut dictionaries = BTreeMap::new();
        for chunk in 0..self.chunks {
            let prefix = u64_at(prefixes, chunk).ok_or(damaged)?;
            let suffix = suffixes[chunk * SUFFIX_BYTES..].first_chunk().ok_or(damaged)?;
            let dictionary = u32_at(references, 2 * chunk).ok_or(damaged)?;
            let (offset, length) = span(u32_at(references, 2 * chunk + 1).ok_or(damaged)?)?;
            if dictionary != 0 {
                dictionaries.insert(dictionary, span(dictionary)?);
            }
            entries.push((prefix, *suffix, Place { offset, length, dictionary }));
        }
        Ok((Index::new(entries), dictionaries))
    }
}

/// Unpacks one zstd frame of at most `max` bytes.
fn unzip(decoder: &mut FrameDecoder, frame: &[u8], max: usize) -> Result<Vec<u8>, &'static str> {
    let bad = "it is not zstd";
    let mut rest = frame;
    decoder.set_max_window_size(max.next_power_of_two() as u64);
    decoder.reset(&mut rest).map_err(|_| "it is not zstd, or needs another dictionary")?;
    let strategy = || BlockDecodingStrategy::UptoBytes(1 << 20);
    let mut chunk = Vec::new();
    loop {
        let done = decoder.decode_blocks(&mut rest, strategy()).map_err(|_| bad)?;
        let before = chunk.len();
        decoder.collect_to_writer(&mut chunk).map_err(|_| bad)?;
        if chunk.len() > max {
            return Err("it is larger than any of Dolt's");
        }
        if done {
            break;
        }
        if chunk.len() == before && rest.is_empty() {
            return Err(bad);
        }
    }
    if !rest.is_empty() {
        return Err("more follows it");
    }
    Ok(chunk)
}
