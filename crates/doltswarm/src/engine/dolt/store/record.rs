//! One chunk as it lies in a table file: a snappy block and its CRC32-C.
//!
//! Dolt, go/store/nbs/table_reader.go (`NewCompressedChunk`): the checksum is over the compressed
//! bytes, big-endian, behind them.

use crc::{CRC_32_ISCSI, Crc, Table};
use doltswarm_core::limits::DOLT_CHUNK_BYTES_MAX;

/// How many bytes the checksum has.
const CHECKSUM_BYTES: usize = 4;

const CASTAGNOLI: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Packs a chunk.
///
/// # Panics
///
/// Never for a chunk of at most [`DOLT_CHUNK_BYTES_MAX`]: snappy takes up to 4 GiB.
pub(super) fn pack(chunk: &[u8]) -> Vec<u8> {
    let mut record = snap::raw::Encoder::new()
        .compress_vec(chunk)
        .expect("snappy takes any chunk, because they are at most 16 MiB");
    let checksum = CASTAGNOLI.checksum(&record);
    record.extend(checksum.to_be_bytes());
    record
}

/// Unpacks a chunk, or says what is wrong with the record.
pub(super) fn unpack(record: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (packed, checksum) = record
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or("a record is shorter than its checksum")?;
    if CASTAGNOLI.checksum(packed) != u32::from_be_bytes(*checksum) {
        return Err("a record does not have its checksum");
    }
    let length = snap::raw::decompress_len(packed).map_err(|_| "a record is not snappy")?;
    if length > DOLT_CHUNK_BYTES_MAX {
        return Err("a chunk is larger than any of Dolt's");
    }
    snap::raw::Decoder::new().decompress_vec(packed).map_err(|_| "a record is not snappy")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(CASTAGNOLI.checksum(b"123456789"), 0xe306_9283);
    }

    proptest! {
        #[test]
        fn records_round_trip(chunk: Vec<u8>) {
            prop_assert_eq!(unpack(&pack(&chunk)), Ok(chunk));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = unpack(&bytes);
            let mut with_checksum = bytes.clone();
            with_checksum.extend(CASTAGNOLI.checksum(&bytes).to_be_bytes());
            let _ = unpack(&with_checksum);
        }
    }
}
