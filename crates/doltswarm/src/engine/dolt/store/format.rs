//! The rules of Dolt's chunks that need no database.

use doltswarm_core::id::{ChunkHash, CommitHash};

use super::build::Builder;
use super::corrupt;
use super::hash::hash_of;
use super::message::{Expected, links};
use crate::engine::{ChunkFormat, EngineResult};

/// The rules of Dolt's chunks.
///
/// A chunk's hash is the first 20 bytes of the SHA-512 of its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct DoltFormat;

/// The one name in a synthetic root.
const MAIN: &str = "refs/heads/main";

impl ChunkFormat for DoltFormat {
    fn hash(&self, chunk: &[u8]) -> ChunkHash {
        hash_of(chunk)
    }

    fn children(&self, chunk: &[u8]) -> EngineResult<Vec<ChunkHash>> {
        let links = links(chunk, Expected::Any).map_err(corrupt)?;
        Ok(links.into_iter().map(|link| link.hash).collect())
    }

    /// Dolt, go/serial/storeroot.fbs and addressmap.fbs: a root with a map of one name.
    fn synthetic_root(&self, commit: &CommitHash) -> Vec<u8> {
        let mut builder = Builder::default();
        let names = builder.bytes(MAIN.as_bytes());
        let ends = builder.shorts(&[0, MAIN.len() as u16]);
        let commits = builder.bytes(commit.as_bytes());
        let mut fields = builder.table();
        fields.part(0, names);
        fields.part(1, ends);
        fields.part(2, commits);
        fields.u64(4, 1);
        let map = fields.finish();
        let map = builder.finish(map, *b"ADRM");
        let mut builder = Builder::default();
        let map = builder.bytes(&map);
        let mut fields = builder.table();
        fields.part(0, map);
        let root = fields.finish();
        builder.finish(root, *b"STRT")
    }
}
