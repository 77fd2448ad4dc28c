//! Where in a file each of its chunks lies.

use doltswarm_core::id::ChunkHash;
use doltswarm_core::limits::HASH_BYTES;

/// How many bytes of a hash are in a file's sorted map of prefixes; the others lie elsewhere.
pub(super) const PREFIX_BYTES: usize = 8;
/// How many bytes of a hash are not in its prefix.
pub(super) const SUFFIX_BYTES: usize = HASH_BYTES - PREFIX_BYTES;

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The first byte, from the beginning of the file.
    pub(super) offset: u64,
    /// How many bytes.
    pub(super) length: u32,
    /// In an archive the span that holds the dictionary, counted from 1; 0 where there is none.
    pub(super) dictionary: u32,
}

/// The chunks of one file, sorted by hash: 36 bytes each.
#[derive(Debug, Default)]
pub(super) struct Index {
    // Apart from the rest so that the search stays within few pages.
    prefixes: Vec<u64>,
    suffixes: Vec<[u8; SUFFIX_BYTES]>,
    places: Vec<Place>,
}

impl Index {
    /// Sorts what a file holds. Of two entries with one hash either is as good.
    pub(super) fn new(mut entries: Vec<(u64, [u8; SUFFIX_BYTES], Place)>) -> Self {
        entries.sort_unstable_by_key(|(prefix, suffix, _)| (*prefix, *suffix));
        entries.dedup_by_key(|(prefix, suffix, _)| (*prefix, *suffix));
        let mut index = Self::default();
        index.prefixes.reserve_exact(entries.len());
        index.suffixes.reserve_exact(entries.len());
        index.places.reserve_exact(entries.len());
        for (prefix, suffix, place) in entries {
            index.prefixes.push(prefix);
            index.suffixes.push(suffix);
            index.places.push(place);
        }
        index
    }

    /// Where a chunk lies, or `None` where the file does not hold it.
    pub(super) fn find(&self, hash: &ChunkHash) -> Option<Place> {
        let (prefix, suffix) = split(hash);
        let first = self.prefixes.partition_point(|other| *other < prefix);
        self.prefixes[first..]
            .iter()
            .take_while(|other| **other == prefix)
            .zip(first..)
            .find(|(_, at)| self.suffixes[*at] == suffix)
            .map(|(_, at)| self.places[at])
    }

    /// How many chunks the file holds.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// How many of the chunks are packed with a dictionary.
    #[cfg(test)]
    pub(super) fn with_dictionary(&self) -> usize {
        self.places.iter().filter(|place| place.dictionary != 0).count()
    }

    /// The hashes, sorted.
    pub(super) fn hashes(&self) -> Vec<ChunkHash> {
        let join = |(prefix, suffix): (&u64, &[u8; SUFFIX_BYTES])| {
            let mut hash = [0; HASH_BYTES];
            hash[..PREFIX_BYTES].copy_from_slice(&prefix.to_be_bytes());
            hash[PREFIX_BYTES..].copy_from_slice(suffix);
            ChunkHash::from_bytes(hash)
        };
        self.prefixes.iter().zip(&self.suffixes).map(join).collect()
    }
}

/// Divides a hash as the files do.
pub(super) fn split(hash: &ChunkHash) -> (u64, [u8; SUFFIX_BYTES]) {
    let (mut prefix, mut suffix) = ([0; PREFIX_BYTES], [0; SUFFIX_BYTES]);
    prefix.copy_from_slice(&hash.as_bytes()[..PREFIX_BYTES]);
    suffix.copy_from_slice(&hash.as_bytes()[PREFIX_BYTES..]);
    (u64::from_be_bytes(prefix), suffix)
}

/// Reads a big-endian number at an index of an array of such numbers.
pub(super) fn u32_at(array: &[u8], index: usize) -> Option<u32> {
    let start = index.checked_mul(4)?;
    Some(u32::from_be_bytes(*array.get(start..)?.first_chunk()?))
}

/// Reads a big-endian number at an index of an array of such numbers.
pub(super) fn u64_at(array: &[u8], index: usize) -> Option<u64> {
    let start = index.checked_mul(8)?;
    Some(u64::from_be_bytes(*array.get(start..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_prefixes_are_told_apart() {
        let hash = |last: u8| {
            let mut bytes = [7; HASH_BYTES];
            bytes[HASH_BYTES - 1] = last;
            ChunkHash::from_bytes(bytes)
        };
        let entry = |last: u8| {
            let (prefix, suffix) = split(&hash(last));
            (prefix, suffix, Place { offset: u64::from(last), length: 1, dictionary: 0 })
        };
        let index = Index::new(vec![entry(3), entry(1), entry(2), entry(1)]);
        assert_eq!(index.len(), 3);
        assert_eq!(index.hashes(), [hash(1), hash(2), hash(3)]);
        assert_eq!(index.find(&hash(2)).map(|place| place.offset), Some(2));
        assert_eq!(index.find(&hash(4)), None);
        assert_eq!(index.find(&ChunkHash::from_bytes([9; HASH_BYTES])), None);
        assert_eq!(Index::default().find(&hash(1)), None);
    }
}
