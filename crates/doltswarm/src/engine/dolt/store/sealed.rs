//! Working sets that a commit's conflicts name.
//!
//! Two clients of one server can commit the conflicts of a table, and each conflict names the
//! working set that it came from. That is a list of hashes of what nobody has committed: the rows
//! must not travel, and the server asks for everything that a chunk names. So a working set travels
//! as it is, nothing that it names is asked for, and the server gets it *sealed*: as the content of
//! a blob, which names nothing, under its own hash.
//!
//! A sealed chunk can take the place of no other one: what is sealed has that hash and is a working
//! set, which nothing that a commit can reach is. The server verifies no hash; whoever reads it
//! back from a spool opens it.

use doltswarm_core::id::ChunkHash;

use super::build::Builder;
use super::hash::hash_of;
use super::message::Kind;

/// Whether a chunk is handed to the server sealed.
pub(super) fn is_sealed_kind(chunk: &[u8]) -> bool {
    Kind::WorkingSet.open(chunk).is_ok()
}

/// A blob with the chunk as its content.
pub(super) fn seal(chunk: &[u8]) -> Vec<u8> {
    let mut builder = Builder::default();
    let content = builder.bytes(chunk);
    let mut fields = builder.table();
    fields.part(0, content);
    fields.u64(3, chunk.len() as u64);
    let table = fields.finish();
    builder.finish(table, *b"BLOB")
}

/// The working set in a sealed chunk that stands under this hash.
pub(super) fn open(chunk: &[u8], hash: &ChunkHash) -> Option<Vec<u8>> {
    let table = Kind::Blob.open(chunk).ok()?;
    let content = table.vector(0, 1).ok()??;
    (hash_of(content) == *hash && is_sealed_kind(content)).then(|| content.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn working_set() -> Vec<u8> {
        let mut builder = Builder::default();
        let root = builder.bytes(&[7; 20]);
        let [name, email, text] = ["n", "e", "d"].map(|text| builder.text(text));
        let mut fields = builder.table();
        for (slot, part) in [(0, root), (2, name), (3, email), (4, text)] {
            fields.part(slot, part);
        }
        let table = fields.finish();
        builder.finish(table, *b"WRST")
    }

    #[test]
    fn a_sealed_working_set_is_opened_under_its_hash_alone() {
        let chunk = working_set();
        assert!(is_sealed_kind(&chunk));
        let sealed = seal(&chunk);
        assert_eq!(open(&sealed, &hash_of(&chunk)), Some(chunk.clone()));
        assert_eq!(open(&sealed, &hash_of(&sealed)), None);
        assert_eq!(open(&chunk, &hash_of(&chunk)), None);
        let links = super::super::message::links(&sealed, super::super::message::Expected::Value);
        assert_eq!(links, Ok(Vec::new()));
    }

    #[test]
    fn nothing_but_a_working_set_is_opened() {
        let inner = seal(b"text");
        let sealed = seal(&inner);
        assert!(!is_sealed_kind(&inner));
        assert_eq!(open(&sealed, &hash_of(&inner)), None);
    }
}
