//! The names of chunks.
//!
//! Dolt, go/store/hash/hash.go: a chunk is named by the first 20 bytes of the SHA-512 of its bytes.
//! As text that is 32 digits to base 32, `0-9a-v`.

use data_encoding::BASE32_DNSSEC;
use doltswarm_core::id::{ChunkHash, CommitHash};
use doltswarm_core::limits::HASH_BYTES;
use sha2::{Digest, Sha512};

/// How many digits the text of a hash has.
pub(super) const TEXT_BYTES: usize = 32;

/// A short name for a text of any length.
pub(in crate::engine::dolt) fn name_of(name: &str) -> String {
    text(&hash_of(name.as_bytes()))
}

/// Names a chunk.
pub(super) fn hash_of(bytes: &[u8]) -> ChunkHash {
    shortened(&Sha512::digest(bytes))
}

/// Takes the part of a SHA-512 that Dolt keeps.
pub(super) fn shortened(digest: &[u8]) -> ChunkHash {
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(&digest[..HASH_BYTES]);
    ChunkHash::from_bytes(hash)
}

/// Writes a hash as Dolt does.
pub(super) fn text(hash: &ChunkHash) -> String {
    BASE32_DNSSEC.encode(hash.as_bytes())
}

/// Reads what [`text`] writes, and nothing else: no capitals, no other length.
pub(super) fn parse(text: &str) -> Option<ChunkHash> {
    if text.len() != TEXT_BYTES || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    ChunkHash::from_slice(&BASE32_DNSSEC.decode(text.as_bytes()).ok()?)
}

/// Writes a commit's hash as Dolt's SQL expects it.
pub fn commit_text(commit: &CommitHash) -> String {
    text(&ChunkHash::from(*commit))
}

/// Reads a commit's hash as Dolt's SQL writes it.
pub fn commit_from_text(text: &str) -> Option<CommitHash> {
    parse(text).map(|hash| CommitHash::from_bytes(*hash.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let hash = hash_of(b"abc");
        // The first 20 bytes of SHA-512("abc"): ddaf35a193617abacc417349ae20413112e6fa4e.
        assert_eq!(text(&hash), "rmnjb8cjc5tblj21ed4qs821649eduie");
        assert_eq!(parse(&text(&hash)), Some(hash));
    }

    #[test]
    fn only_one_spelling_is_read() {
        let good = text(&hash_of(b"abc"));
        let bad =
            [good.to_uppercase(), good[1..].to_owned(), format!("{good}0"), good.replace('d', "w")];
        for text in bad {
            assert_eq!(parse(&text), None, "{text}");
        }
        assert_eq!(parse("äääääääääääääääa"), None);
    }
}
