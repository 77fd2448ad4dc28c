//! Chunks: reading them, and the rules of their format.

use std::path::{Path, PathBuf};

use doltswarm_core::id::{ChunkHash, CommitHash};
use doltswarm_core::limits::HASH_BYTES;

use super::ffi::{ChunkKind, ReadOnlyStore, SqliteError, chunk_children, chunk_kind};
use crate::engine::{ChunkFormat, ChunkReader, EngineError, EngineResult};

/// Reads the chunks of a database file, apart from every connection to it.
pub(super) struct DoltLiteChunks {
    path: PathBuf,
    store: ReadOnlyStore,
}

impl DoltLiteChunks {
    pub(super) fn open(path: &Path) -> EngineResult<Self> {
        let store = ReadOnlyStore::open(path).ok_or_else(|| EngineError::Failed {
            what: "open the chunks",
            message: format!("the engine cannot read {}", path.display()),
        })?;
        Ok(Self { path: path.to_owned(), store })
    }
}

/// Turns the engine's bare code into an error.
fn failed(code: i32) -> EngineError {
    SqliteError { code, message: format!("the engine answered {code}") }.during("read chunks")
}

fn bytes(hashes: &[ChunkHash]) -> Vec<[u8; HASH_BYTES]> {
    hashes.iter().map(|hash| *hash.as_bytes()).collect()
}

impl ChunkReader for DoltLiteChunks {
    fn get_many(&mut self, hashes: &[ChunkHash]) -> EngineResult<Vec<Option<Vec<u8>>>> {
        self.store.get(&bytes(hashes)).map_err(failed)
    }

    fn has_many(&mut self, hashes: &[ChunkHash]) -> EngineResult<Vec<bool>> {
        self.store.has(&bytes(hashes)).map_err(failed)
    }

    fn refresh(&mut self) -> EngineResult<()> {
        self.store.refresh().map_err(failed)
    }

    fn size(&mut self) -> EngineResult<u64> {
        let metadata = std::fs::metadata(&self.path).map_err(|error| EngineError::Failed {
            what: "read the size of the store",
            message: error.to_string(),
        })?;
        Ok(metadata.len())
    }
}

/// The rules of DoltLite's chunks.
///
/// A chunk's hash is the first 20 bytes of the BLAKE3 hash of its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct DoltLiteFormat;

/// The version byte of the engine's list of refs.
const REFS_VERSION: u8 = 7;
const MAIN: &[u8] = b"main";

impl ChunkFormat for DoltLiteFormat {
    fn hash(&self, chunk: &[u8]) -> ChunkHash {
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(&blake3::hash(chunk).as_bytes()[..HASH_BYTES]);
        ChunkHash::from_bytes(hash)
    }

    fn children(&self, chunk: &[u8]) -> EngineResult<Vec<ChunkHash>> {
        let corrupt = |message: &str| EngineError::Corrupt { message: message.to_owned() };
        if chunk_kind(chunk) == ChunkKind::Other {
            return Err(corrupt("the bytes are not a commit, a list of tables or a table's node"));
        }
        let children = chunk_children(chunk)
            .map_err(|_| corrupt("the chunk does not keep to the engine's format"))?;
        // An empty table has the hash zero, which names no chunk.
        let children = children.into_iter().filter(|hash| *hash != [0; HASH_BYTES]);
        Ok(children.map(ChunkHash::from_bytes).collect())
    }

    fn synthetic_root(&self, commit: &CommitHash) -> Vec<u8> {
        let mut root = vec![REFS_VERSION];
        let number = |root: &mut Vec<u8>, n: u32| root.extend(n.to_le_bytes());
        // The default branch; then one branch, with its commit and no working set.
        number(&mut root, MAIN.len() as u32);
        root.extend(MAIN);
        number(&mut root, 1);
        number(&mut root, MAIN.len() as u32);
        root.extend(MAIN);
        root.extend(commit.as_bytes());
        root.extend([0; HASH_BYTES]);
        // No tags, remotes, tracking branches or sequences.
        for _ in 0..4 {
            number(&mut root, 0);
        }
        root
    }
}
