//! Dolt's chunks: what kind one is, whether it is well made, and which chunks it names.
//!
//! Dolt, go/serial/*.fbs, go/store/types/serial_message.go (`WalkAddrs`) and
//! go/store/prolly/message. A chunk is a byte 27, its length in 24 bits, big-endian, and a
//! FlatBuffer whose file identifier tells the kind. Only what a commit can reach is known here: no
//! tag, stash or statistic, and no list of refs. A working set is known because a committed
//! conflict names it, but not what is in it.
//!
//! Dolt follows names without asking what they lead to, and its readers panic where a tree is not
//! what they expect. So each name carries what it may lead to, and a chunk is read against that.

mod names;
pub(super) mod node;

use doltswarm_core::id::ChunkHash;
use doltswarm_core::limits::{DOLT_CHUNK_BYTES_MAX, HASH_BYTES};

pub(super) use super::flatbuffer::Fault;
use super::flatbuffer::Table;
pub(super) use names::{hashes, links};
pub(super) use node::CLOSURE_KEY_BYTES;

/// The first byte of every message (Dolt: `SerialMessageKind`).
pub(super) const MESSAGE: u8 = 27;
/// How many bytes precede the FlatBuffer.
pub(super) const PREFIX_BYTES: usize = 4;

/// What kind a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A commit.
    Commit,
    /// The root value of a commit: its tables.
    RootValue,
    /// A table: its schema and its indexes.
    Table,
    /// A table's schema.
    Schema,
    /// The foreign keys of all tables.
    ForeignKeys,
    /// A node of a tree of rows.
    Rows,
    /// A node of an index of vectors.
    Vectors,
    /// A node of a map from names to chunks.
    Names,
    /// A node of the conflicts and violations of a table.
    Artifacts,
    /// A node of the set of a commit's ancestors.
    Closure,
    /// A node of a large value.
    Blob,
    /// What nobody has committed; only a conflict names it, and nothing that it names is followed.
    WorkingSet,
}

/// What a name may lead to. A level counts from the leaves of a tree, which are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Expected {
    /// Anything that a commit can reach.
    Any,
    /// A commit.
    Commit,
    /// A root value.
    RootValue,
    /// A table.
    Table,
    /// A schema.
    Schema,
    /// A collection of foreign keys.
    ForeignKeys,
    /// The root of a set of ancestors.
    Closure,
    /// The root of an index: of rows or of vectors.
    Index,
    /// The root of a table's conflicts and violations.
    Artifacts,
    /// A value too large for its row: a blob, or a document indexed by its paths.
    Value,
    /// A node within a tree, at this level.
    Node(Kind, u8),
    /// A node within a map of names, at this level; the leaves name this.
    NamesOf(Named, u8),
}

/// What a map of names leads to at its leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Named {
    /// The tables of a root value.
    Tables,
    /// The secondary indexes of a table.
    Indexes,
    /// The parts of a document.
    Parts,
    /// Nobody knows: the map was read on its own.
    Unknown,
}

/// A name within a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Link {
    /// The chunk it names.
    pub(super) hash: ChunkHash,
    /// What that may be.
    pub(super) expected: Expected,
}

impl Kind {
    /// The file identifier and how many fields the root table has in the newest version known.
    ///
    /// Dolt, go/serial/fileidentifiers.go and the `*NumFields` of go/gen/fb/serial.
    const ALL: [(Self, [u8; 4], usize); 12] = [
        (Self::Commit, *b"DCMT", 12),
        (Self::RootValue, *b"RTVL", 5),
        (Self::Table, *b"DTBL", 7),
        (Self::Schema, *b"DSCH", 8),
        (Self::ForeignKeys, *b"DFKC", 1),
        (Self::Rows, *b"TUPM", 11),
        (Self::Vectors, *b"IVFF", 10),
        (Self::Names, *b"ADRM", 6),
        (Self::Artifacts, *b"ARTM", 9),
        (Self::Closure, *b"CMCL", 5),
        (Self::Blob, *b"BLOB", 5),
        (Self::WorkingSet, *b"WRST", 8),
    ];

    /// The root table of a message, and what kind it is.
    pub(super) fn read(message: &[u8]) -> Result<(Self, Table<'_>), Fault> {
        let (kind, fields, buffer) = Self::of(message)?;
        Ok((kind, Table::root(buffer, fields)?))
    }

    /// The root table of a message of this kind.
    pub(super) fn open<'a>(self, message: &'a [u8]) -> Result<Table<'a>, Fault> {
        let (kind, table) = Self::read(message)?;
        if kind == self { Ok(table) } else { Err("a chunk is not of the kind that it is named as") }
    }

    fn of(message: &[u8]) -> Result<(Self, usize, &[u8]), Fault> {
        if message.len() > DOLT_CHUNK_BYTES_MAX {
            return Err("a chunk is larger than any of Dolt's");
        }
        let Some((&[MESSAGE, a, b, c], buffer)) = message.split_first_chunk::<PREFIX_BYTES>()
        else {
            return Err("the bytes are no message of Dolt");
        };
        if u32::from_be_bytes([0, a, b, c]) as usize != buffer.len() {
            return Err("a message does not have the length that it says");
        }
        let id = buffer.get(4..8).ok_or("a message is too short")?;
        let found = Self::ALL.iter().find(|(_, known, _)| known == id);
        found
            .map(|(kind, _, fields)| (*kind, *fields, buffer))
            .ok_or("the chunk is of a kind that no commit can reach")
    }
}

/// A hash in a field, or `None` where it is absent or zero, which names no chunk.
pub(super) fn hash_in(bytes: Option<&[u8]>) -> Result<Option<ChunkHash>, Fault> {
    let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
    let hash = ChunkHash::from_slice(bytes).ok_or("a hash does not have 20 bytes")?;
    Ok(Some(hash).filter(|hash| *hash.as_bytes() != [0; HASH_BYTES]))
}
