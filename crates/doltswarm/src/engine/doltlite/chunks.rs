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

    /// The store as it is now: the only way to it. Costs one look at the file's size where nothing
    /// was written, else the reading of what was.
    fn fresh(&mut self) -> EngineResult<&mut ReadOnlyStore> {
        self.store.refresh().map_err(failed)?;
        Ok(&mut self.store)
    }
}

/// Turns the engine's bare code into an error.
pub(super) fn failed(code: i32) -> EngineError {
    SqliteError { code, message: format!("the engine answered {code}") }.during("read chunks")
}

pub(super) fn bytes(hashes: &[ChunkHash]) -> Vec<[u8; HASH_BYTES]> {
    hashes.iter().map(|hash| *hash.as_bytes()).collect()
}

impl ChunkReader for DoltLiteChunks {
    fn get_many(&mut self, hashes: &[ChunkHash]) -> EngineResult<Vec<Option<Vec<u8>>>> {
        self.fresh()?.get(&bytes(hashes)).map_err(failed)
    }

    fn get_first(
        &mut self,
        hashes: &[ChunkHash],
        size: usize,
    ) -> EngineResult<Vec<Option<Vec<u8>>>> {
        let store = self.fresh()?;
        let mut chunks = Vec::new();
        let mut got = 0;
        for hash in bytes(hashes) {
            let chunk = store.get(&[hash]).map_err(failed)?.pop().flatten();
            got += chunk.as_ref().map_or(0, Vec::len);
            chunks.push(chunk);
            if got >= size {
                break;
            }
        }
        Ok(chunks)
    }

    fn has_many(&mut self, hashes: &[ChunkHash]) -> EngineResult<Vec<bool>> {
        self.fresh()?.has(&bytes(hashes)).map_err(failed)
    }

    fn size(&mut self) -> EngineResult<u64> {
        let metadata = std::fs::metadata(&self.path).map_err(|error| EngineError::Failed {
            what: "read the size of the store",
            message: error.to_string(),
        })?;
        Ok(metadata.len())
    }
}

/// A number that names the schema of a commit: equal for equal schemas.
///
/// It is the hash of the commit's list of tables without the roots of their rows. The schema itself
/// is the table with the lowest number, so its root counts.
pub(super) fn schema_of(
    chunks: &mut DoltLiteChunks,
    commit: &CommitHash,
) -> EngineResult<ChunkHash> {
    let hash = parts_of(chunks, commit)?.catalog;
    let catalog = chunks.get_many(&[hash])?.into_iter().flatten().next();
    let mut catalog = catalog.ok_or(EngineError::NoSuchCommit(*commit))?;
    blank_roots(&mut catalog);
    Ok(DoltLiteFormat.hash(&catalog))
}

/// What a commit refers to, read without a connection, which a schema that does not parse would
/// stop.
pub(super) fn parts_of(
    chunks: &mut DoltLiteChunks,
    commit: &CommitHash,
) -> EngineResult<CommitParts> {
    let chunk = chunks.get_many(&[(*commit).into()])?.into_iter().flatten().next();
    let chunk = chunk.ok_or(EngineError::NoSuchCommit(*commit))?;
    commit_parts(&chunk)
        .ok_or_else(|| EngineError::Corrupt { message: format!("commit {commit} is damaged") })
}

/// What a commit refers to.
pub(super) struct CommitParts {
    pub(super) parents: Vec<CommitHash>,
    /// The list of tables.
    pub(super) catalog: ChunkHash,
}

/// Reads a commit: a version, the number of parents, their hashes, the hash of the list of tables.
fn commit_parts(chunk: &[u8]) -> Option<CommitParts> {
    if chunk_kind(chunk) != ChunkKind::Commit {
        return None;
    }
    let (count, rest) = chunk.get(1..)?.split_first()?;
    let (parents, rest) = rest.split_at_checked(usize::from(*count) * HASH_BYTES)?;
    let hashes = parents.chunks_exact(HASH_BYTES).filter_map(|hash| hash.try_into().ok());
    let catalog = rest.first_chunk::<HASH_BYTES>()?;
    Some(CommitParts {
        parents: hashes.map(CommitHash::from_bytes).collect(),
        catalog: ChunkHash::from_bytes(*catalog),
    })
}

/// The version of a list of tables that says more in its head.
const CATALOG_WITH_META: u8 = 0x46;
/// The oldest version of a list of tables: entries with one text instead of three.
const CATALOG_WITHOUT_KINDS: u8 = 0x44;

/// What a list of tables says of one object.
struct Entry<'a> {
    /// Where it begins.
    at: usize,
    /// The number of the table; what has no rows of its own has 0.
    number: u32,
    /// `table`, `index` and so on; none in the oldest version.
    kind: Option<&'a [u8]>,
    name: &'a [u8],
}

/// The number of the table, its flags, the root of its rows, the hash of its definition.
const ENTRY_FIXED_BYTES: usize = 4 + 1 + 2 * HASH_BYTES;

/// The entries of a list of tables, as far as the bytes read as some.
fn entries(catalog: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let version = catalog.first().copied();
    let texts = if version == Some(CATALOG_WITHOUT_KINDS) { 1 } else { 3 };
    let mut at = if version == Some(CATALOG_WITH_META) { 13 } else { 5 };
    std::iter::from_fn(move || {
        // The lengths of the texts that follow them.
        let fixed = catalog.get(at..at + ENTRY_FIXED_BYTES + 2 * texts)?;
        let number = u32::from_le_bytes([fixed[0], fixed[1], fixed[2], fixed[3]]);
        let lengths = fixed[ENTRY_FIXED_BYTES..].chunks_exact(2);
        let mut end = at + fixed.len();
        let mut parts = [&[][..]; 3];
        for (part, length) in parts.iter_mut().zip(lengths) {
            let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
            // A text that is cut off ends the list.
            *part = catalog.get(end..end + length).unwrap_or_default();
            end += length;
        }
        let (kind, name) = if texts == 1 { (None, parts[0]) } else { (Some(parts[0]), parts[1]) };
        let entry = Entry { at, number, kind, name };
        at = end;
        Some(entry)
    })
}

/// Overwrites the roots of the rows in a list of tables. What does not read as one stays as it is,
/// and is then another schema for each content, which costs time and nothing else.
fn blank_roots(catalog: &mut [u8]) {
    let tables: Vec<usize> =
        entries(catalog).filter(|entry| entry.number > 1).map(|entry| entry.at).collect();
    for at in tables {
        catalog[at + 5..at + 5 + HASH_BYTES].fill(0);
    }
}

/// A table as a commit has it: equal for equal rows and definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableState {
    pub(super) rows: ChunkHash,
    pub(super) definition: ChunkHash,
}

/// The state of a table in a commit, or `None` if there is no table of that name.
pub(super) fn table_state(
    chunks: &mut DoltLiteChunks,
    commit: &CommitHash,
    name: &str,
) -> EngineResult<Option<TableState>> {
    let hash = parts_of(chunks, commit)?.catalog;
    if hash.as_bytes() == &[0; HASH_BYTES] {
        // The commit that a database begins with has no tables.
        return Ok(None);
    }
    let catalog = chunks.get_many(&[hash])?.into_iter().flatten().next();
    let catalog = catalog.ok_or(EngineError::NoSuchCommit(*commit))?;
    let mut found = entries(&catalog).filter(|entry| {
        entry.kind.is_none_or(|kind| kind == b"table")
            && entry.name.eq_ignore_ascii_case(name.as_bytes())
    });
    let at = found.next().map(|entry| entry.at);
    let hash = |at: usize| {
        let bytes = catalog.get(at..).and_then(|bytes| bytes.first_chunk());
        bytes.copied().map(ChunkHash::from_bytes)
    };
    Ok(at.and_then(|at| {
        Some(TableState { rows: hash(at + 5)?, definition: hash(at + 5 + HASH_BYTES)? })
    }))
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
