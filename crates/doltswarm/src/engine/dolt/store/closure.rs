//! The set of a commit's ancestors, and how it grows.
//!
//! Dolt, go/serial/commitclosure.fbs and go/store/prolly/commit_closure.go: a tree whose keys are a
//! height (64 bits, little-endian) and a hash, in this order. A leaf has keys only; an inner node
//! has for each child its last key, its hash and how many keys are below it.
//!
//! Where Dolt divides its nodes depends on how a set came to be, so there is no one right tree for
//! a set. The trees made here keep every node that gets no new key, divide a node in the middle
//! when it grows too large, and are a pure function of the tree and the new keys. Dolt reads them,
//! and goes on from them, as from its own.

use std::collections::{BTreeMap, BTreeSet};

use doltswarm_core::id::{ChunkHash, CommitHash};
use doltswarm_core::limits::{DOLT_CLOSURE_NODE_KEYS_MAX, HASH_BYTES};

use super::build::Builder;
use super::hash::{hash_of, text};
use super::message::{CLOSURE_KEY_BYTES, Kind, node};
use super::{corrupt, derived::Chunks};
use crate::engine::{ChunkReader, EngineResult};

/// An ancestor: its height, then its hash.
pub(super) type Key = (u64, CommitHash);

/// A child of an inner node.
#[derive(Debug, Clone, Copy)]
struct Child {
    last: Key,
    hash: ChunkHash,
    keys: u64,
}

/// A node that was read.
struct Node {
    level: u8,
    keys: Vec<Key>,
    children: Vec<Child>,
}

/// Reads and writes sets of ancestors.
pub(super) struct Closures<'a> {
    /// Where nodes are read.
    pub(super) chunks: &'a mut dyn ChunkReader,
    /// The nodes that were made.
    pub(super) made: Chunks,
}

impl Closures<'_> {
    /// The keys of a set that are not in another; `None` is the empty set.
    ///
    /// A node that is in both is not looked into, so this costs what differs.
    pub(super) fn difference(
        &mut self,
        of: Option<ChunkHash>,
        without: Option<ChunkHash>,
    ) -> EngineResult<BTreeSet<Key>> {
        let (mut known, mut leaves) = (BTreeSet::new(), BTreeMap::new());
        if let Some(root) = without {
            self.nodes_of(root, &mut known, &mut leaves)?;
        }
        let mut found = BTreeSet::new();
        let mut next = Vec::from_iter(of);
        while let Some(hash) = next.pop() {
            if known.contains(&hash) {
                continue;
            }
            let node = self.read(hash)?;
            if node.level == 0 {
                found.extend(node.keys);
            } else {
                next.extend(node.children.iter().map(|child| child.hash));
            }
        }
        // A key may be in another leaf there: look into those leaves that could have it.
        let mut last_read = None;
        let mut missing = BTreeSet::new();
        for key in found {
            let Some((_, leaf)) = leaves.range(key..).next() else {
                missing.insert(key);
                continue;
            };
            if last_read.as_ref().is_none_or(|(read, _)| read != leaf) {
                last_read = Some((*leaf, self.read(*leaf)?.keys));
            }
            if last_read.as_ref().is_none_or(|(_, keys)| keys.binary_search(&key).is_err()) {
                missing.insert(key);
            }
        }
        Ok(missing)
    }

    /// All nodes of a tree, and its leaves by their last keys.
    fn nodes_of(
        &mut self,
        root: ChunkHash,
        known: &mut BTreeSet<ChunkHash>,
        leaves: &mut BTreeMap<Key, ChunkHash>,
    ) -> EngineResult<()> {
        let mut next = vec![root];
        while let Some(hash) = next.pop() {
            known.insert(hash);
            let node = self.read(hash)?;
            match node.level {
                0 => leaves.extend(node.keys.last().map(|last| (*last, hash))),
                1 => {
                    known.extend(node.children.iter().map(|child| child.hash));
                    leaves.extend(node.children.iter().map(|child| (child.last, child.hash)));
                }
                _ => next.extend(node.children.iter().map(|child| child.hash)),
            }
        }
        Ok(())
    }

    /// The set with these keys added.
    pub(super) fn with(
        &mut self,
        root: Option<ChunkHash>,
        keys: &BTreeSet<Key>,
    ) -> EngineResult<ChunkHash> {
        let keys = keys.iter().copied().collect::<Vec<_>>();
        let (mut level, mut nodes) = match root {
            Some(root) => self.insert(root, &keys)?,
            None => (0, self.leaves(keys)),
        };
        while nodes.len() > 1 {
            level = u8::checked_add(level, 1).ok_or_else(too_deep)?;
            nodes = self.inner(nodes, level);
        }
        nodes.first().map(|node| node.hash).ok_or_else(|| corrupt("a set of ancestors is empty"))
    }

    /// Adds sorted keys below a node, and says what takes its place, and at which level.
    fn insert(&mut self, hash: ChunkHash, keys: &[Key]) -> EngineResult<(u8, Vec<Child>)> {
        let node = self.read(hash)?;
        if node.level == 0 {
            let all = node.keys.iter().chain(keys).copied().collect::<BTreeSet<_>>();
            return Ok((0, self.leaves(all.into_iter().collect())));
        }
        let mut rest = keys;
        let mut children = Vec::with_capacity(node.children.len() + 1);
        for (position, child) in node.children.iter().enumerate() {
            let is_last = position + 1 == node.children.len();
            let mine =
                if is_last { rest.len() } else { rest.partition_point(|key| *key <= child.last) };
            let (mine, others) = rest.split_at(mine);
            rest = others;
            if mine.is_empty() {
                children.push(*child);
            } else {
                children.extend(self.insert(child.hash, mine)?.1);
            }
        }
        Ok((node.level, self.inner(children, node.level)))
    }

    /// Writes leaves with these keys.
    fn leaves(&mut self, keys: Vec<Key>) -> Vec<Child> {
        let leaf = |keys: &[Key]| {
            let last = *keys.last()?;
            let mut builder = Builder::default();
            let bytes = builder.bytes(&encode(keys.iter()));
            let mut fields = builder.table();
            fields.part(0, bytes);
            fields.u64(3, keys.len() as u64);
            let table = fields.finish();
            let chunk = builder.finish(table, *b"CMCL");
            let hash = hash_of(&chunk);
            self.made.insert(hash, chunk);
            Some(Child { last, hash, keys: keys.len() as u64 })
        };
        divide(&keys).filter_map(leaf).collect()
    }

    /// Writes inner nodes with these children.
    fn inner(&mut self, children: Vec<Child>, level: u8) -> Vec<Child> {
        let node = |children: &[Child]| {
            let last = children.last()?.last;
            let keys = children.iter().map(|child| child.keys).sum();
            let mut builder = Builder::default();
            let bytes = builder.bytes(&encode(children.iter().map(|child| &child.last)));
            let hashes = children.iter().flat_map(|child| *child.hash.as_bytes());
            let hashes = builder.bytes(&hashes.collect::<Vec<_>>());
            let counts = builder.bytes(&encode_counts(children.iter().map(|child| child.keys)));
            let mut fields = builder.table();
            fields.part(0, bytes);
            fields.part(1, hashes);
            fields.part(2, counts);
            fields.u64(3, keys);
            fields.u8(4, level);
            let table = fields.finish();
            let chunk = builder.finish(table, *b"CMCL");
            let hash = hash_of(&chunk);
            self.made.insert(hash, chunk);
            Some(Child { last, hash, keys })
        };
        divide(&children).filter_map(node).collect()
    }

    fn read(&mut self, hash: ChunkHash) -> EngineResult<Node> {
        let chunk = self.chunks.get_many(&[hash])?.pop().flatten();
        let bad = |fault: &str| corrupt(format!("the set of ancestors {}: {fault}", text(&hash)));
        let chunk = chunk.ok_or_else(|| bad("is not there"))?;
        decode(&chunk).map_err(bad)
    }
}

fn too_deep() -> crate::engine::EngineError {
    corrupt("a set of ancestors is too deep")
}

/// Divides what would be one node into equal parts that are not too large.
fn divide<T>(items: &[T]) -> std::slice::Chunks<'_, T> {
    let parts = items.len().div_ceil(DOLT_CLOSURE_NODE_KEYS_MAX).max(1);
    items.chunks(items.len().div_ceil(parts).max(1))
}

fn encode<'a>(keys: impl Iterator<Item = &'a Key>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (height, hash) in keys {
        bytes.extend(height.to_le_bytes());
        bytes.extend(hash.as_bytes());
    }
    bytes
}

/// Writes counts as Dolt does: each as the signed difference to the one before.
///
/// Dolt, go/store/prolly/message/varint.go.
fn encode_counts(counts: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut before = 0;
    for count in counts {
        let delta = count.cast_signed().wrapping_sub(before);
        before = count.cast_signed();
        let mut rest = ((delta << 1) ^ (delta >> 63)).cast_unsigned();
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    bytes
}

fn decode_counts(bytes: &[u8]) -> Option<Vec<u64>> {
    let mut counts = Vec::new();
    let (mut before, mut number, mut shift) = (0_i64, 0_u64, 0);
    for byte in bytes {
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            let delta = (number >> 1).cast_signed() ^ -((number & 1).cast_signed());
            before = before.wrapping_add(delta);
            counts.push(before.cast_unsigned());
            (number, shift) = (0, 0);
        }
    }
    Some(counts)
}

fn decode(chunk: &[u8]) -> Result<Node, &'static str> {
    let table = Kind::Closure.open(chunk)?;
    let tree = node::read(Kind::Closure, &table)?;
    let key = |bytes: &[u8]| {
        let (height, hash) = bytes.split_at_checked(CLOSURE_KEY_BYTES - HASH_BYTES)?;
        Some((u64::from_le_bytes(height.try_into().ok()?), CommitHash::from_slice(hash)?))
    };
    let keys = tree.keys.chunks_exact(CLOSURE_KEY_BYTES).filter_map(key).collect::<Vec<_>>();
    if keys.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err("its keys are not sorted");
    }
    let mut children = Vec::new();
    if tree.level > 0 {
        let counts = decode_counts(table.vector(2, 1)?.unwrap_or_default());
        let counts = counts.filter(|counts| counts.len() == keys.len());
        let counts = counts.ok_or("its counts do not fit its children")?;
        for ((last, hash), keys) in keys.iter().zip(&tree.named).zip(counts) {
            children.push(Child { last: *last, hash: *hash, keys });
        }
    }
    Ok(Node { level: tree.level, keys, children })
}

/// All keys of a set, for tests.
#[cfg(test)]
pub(super) fn keys_of(chunks: &mut dyn ChunkReader, root: ChunkHash) -> Vec<Key> {
    let mut closures = Closures { chunks, made: Chunks::new() };
    closures.difference(Some(root), None).unwrap().into_iter().collect()
}
