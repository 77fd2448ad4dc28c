//! Whether what was committed can travel: a chunk above the limit would stop every peer that needs
//! it, and stays in history whatever is deleted later. So the writer is refused.

use std::collections::BTreeSet;

use doltswarm_core::id::{ChunkHash, CommitHash};
use doltswarm_core::limits::RESCUE_COMMITS_MAX;

use super::chunks::{CommitParts, DoltLiteChunks, DoltLiteFormat, parts_of};
use crate::engine::{ChunkFormat, ChunkReader, EngineResult};

/// What is too large in `commit`, or in a commit between it and `since`, for people, or `None`.
///
/// Costs what was changed, and nothing while the whole file is smaller than `limit` bytes.
pub(super) fn too_large(
    chunks: &mut DoltLiteChunks,
    commit: &CommitHash,
    since: Option<&CommitHash>,
    limit: usize,
) -> EngineResult<Option<String>> {
    if chunks.size()? <= limit as u64 {
        return Ok(None);
    }
    let mut at = *commit;
    for _ in 0..RESCUE_COMMITS_MAX {
        if since == Some(&at) {
            break;
        }
        let CommitParts { parents, catalog } = parts_of(chunks, &at)?;
        let parent = parents.first().copied();
        let below = parent.map(|parent| parts_of(chunks, &parent)).transpose()?;
        if let Some(bytes) = larger(chunks, catalog, below.map(|parts| parts.catalog), limit)? {
            let reason = format!(
                "a row takes {bytes} bytes with what is stored beside it: more than {limit} bytes \
                 in one piece cannot travel to other peers"
            );
            return Ok(Some(reason));
        }
        let Some(parent) = parent else { break };
        at = parent;
    }
    Ok(None)
}

/// The size of a chunk that is under `wanted`, not under `base`, and larger than `limit`.
///
/// The two trees are walked down side by side, and what is in both is not followed.
fn larger(
    chunks: &mut DoltLiteChunks,
    wanted: ChunkHash,
    base: Option<ChunkHash>,
    limit: usize,
) -> EngineResult<Option<usize>> {
    let mut wanted = BTreeSet::from([wanted]);
    let mut base: BTreeSet<_> = base.into_iter().collect();
    let mut seen = BTreeSet::new();
    while !wanted.is_empty() {
        let mut next = BTreeSet::new();
        for hash in wanted.difference(&base) {
            let size = children_of(chunks, hash, &mut next)?;
            if size > limit {
                return Ok(Some(size));
            }
        }
        let mut below = BTreeSet::new();
        // If nothing more is wanted, nothing has to be compared.
        for hash in base.difference(&wanted).filter(|_| !next.is_empty()) {
            children_of(chunks, hash, &mut below)?;
        }
        seen.append(&mut base);
        seen.append(&mut wanted);
        wanted = next.into_iter().filter(|hash| !seen.contains(hash)).collect();
        base = below;
    }
    Ok(None)
}

/// Adds what a chunk refers to, and returns the chunk's size.
fn children_of(
    chunks: &mut DoltLiteChunks,
    hash: &ChunkHash,
    children: &mut BTreeSet<ChunkHash>,
) -> EngineResult<usize> {
    // An absent one is found by the engine itself.
    let chunk = chunks.get_many(&[*hash])?.pop().flatten().unwrap_or_default();
    if !chunk.is_empty() {
        children.extend(DoltLiteFormat.children(&chunk)?);
    }
    Ok(chunk.len())
}
