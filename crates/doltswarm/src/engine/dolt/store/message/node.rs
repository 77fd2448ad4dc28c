//! The nodes of Dolt's trees, checked as Dolt's own readers would have to.
//!
//! Dolt, go/store/prolly/message: the accessors there index by what the node says, and panic where
//! it lies. So offsets must rise and end where the items end, every inner node must have as many
//! children and counts as keys, and every name must lie within its items.

use doltswarm_core::id::ChunkHash;
use doltswarm_core::limits::HASH_BYTES;

use super::names::hashes;
use super::{Fault, Kind, Table};

/// How many bytes a key of a closure has: a height and a hash.
pub(in super::super) const CLOSURE_KEY_BYTES: usize = 8 + HASH_BYTES;

/// A node.
#[derive(Debug)]
pub(in super::super) struct Tree<'a> {
    /// How far it is from the leaves, which are 0.
    pub(in super::super) level: u8,
    /// The chunks it names: its children, or what the items of a leaf name.
    pub(in super::super) named: Vec<ChunkHash>,
    /// Its keys, one after another.
    pub(in super::super) keys: &'a [u8],
}

/// Reads a node of a kind that is a tree.
pub(in super::super) fn read<'a>(kind: Kind, table: &Table<'a>) -> Result<Tree<'a>, Fault> {
    match kind {
        Kind::Rows => rows(table),
        Kind::Vectors => vectors(table),
        Kind::Names => names(table),
        Kind::Artifacts => artifacts(table),
        Kind::Closure => closure(table),
        Kind::Blob => blob(table),
        _ => Err("the chunk is not a node of a tree"),
    }
}

fn rows<'a>(table: &Table<'a>) -> Result<Tree<'a>, Fault> {
    let level = table.u8(10)?;
    let keys = table.bytes(0)?;
    let count = items(keys, table.vector(1, 2)?, 2)?;
    tuples(keys, table.vector(1, 2)?)?;
    let children = table.vector(7, 1)?;
    let named = if level > 0 {
        inner(children, table.vector(8, 1)?, count)?
    } else {
        if children.is_some_and(|children| !children.is_empty()) {
            return Err("a leaf has children");
        }
        let values = table.bytes(3)?;
        if items(values, table.vector(4, 2)?, 2)? != count {
            return Err("a leaf has not as many values as keys");
        }
        tuples(values, table.vector(4, 2)?)?;
        within(values, table.vector(6, 2)?)?
    };
    Ok(Tree { level, named, keys })
}

fn artifacts<'a>(table: &Table<'a>) -> Result<Tree<'a>, Fault> {
    let level = table.u8(8)?;
    let keys = table.bytes(0)?;
    let count = items(keys, table.vector(1, 2)?, 2)?;
    let named = if level > 0 {
        inner(table.vector(5, 1)?, table.vector(6, 1)?, count)?
    } else {
        if items(table.bytes(3)?, table.vector(4, 2)?, 2)? != count {
            return Err("a leaf has not as many values as keys");
        }
        within(keys, table.vector(2, 2)?)?
    };
    Ok(Tree { level, named, keys })
}

fn vectors<'a>(table: &Table<'a>) -> Result<Tree<'a>, Fault> {
    let level = table.u8(7)?;
    let keys = table.bytes(0)?;
    let count = items(keys, table.vector(1, 4)?, 4)?;
    let named = if level > 0 {
        inner(table.vector(4, 1)?, table.vector(5, 1)?, count)?
    } else {
        if items(table.bytes(2)?, table.vector(3, 4)?, 4)? != count {
            return Err("a leaf has not as many values as keys");
        }
        Vec::new()
    };
    Ok(Tree { level, named, keys })
}

fn names<'a>(table: &Table<'a>) -> Result<Tree<'a>, Fault> {
    let level = table.u8(5)?;
    let keys = table.bytes(0)?;
    let count = items(keys, table.vector(1, 2)?, 2)?;
    let named = if level > 0 {
        inner(table.vector(2, 1)?, table.vector(3, 1)?, count)?
    } else {
        let named = hashes(table.bytes(2)?)?;
        if named.len() != count {
            return Err("a map has not as many chunks as names");
        }
        named
    };
    Ok(Tree { level, named, keys })
}

fn closure<'a>(table: &Table<'a>) -> Result<Tree<'a>, Fault> {
    let level = table.u8(4)?;
    let keys = table.bytes(0)?;
    if !keys.len().is_multiple_of(CLOSURE_KEY_BYTES) {
        return Err("a set of ancestors is cut short");
    }
    let count = keys.len() / CLOSURE_KEY_BYTES;
    let named = if level > 0 {
        inner(table.vector(1, 1)?, table.vector(2, 1)?, count)?
    } else {
        keys.chunks_exact(CLOSURE_KEY_BYTES)
            .filter_map(|key| ChunkHash::from_slice(&key[CLOSURE_KEY_BYTES - HASH_BYTES..]))
            .collect()
    };
    Ok(Tree { level, named, keys })
}

fn blob<'a>(table: &Table<'a>) -> Result<Tree<'a>, Fault> {
    let level = table.u8(4)?;
    let named = if level > 0 {
        let children = table.vector(1, 1)?.unwrap_or_default();
        inner(Some(children), table.vector(2, 1)?, children.len() / HASH_BYTES)?
    } else {
        table.vector(0, 1)?;
        Vec::new()
    };
    Ok(Tree { level, named, keys: &[] })
}

/// The children of an inner node with `count` keys.
fn inner(
    children: Option<&[u8]>,
    counts: Option<&[u8]>,
    count: usize,
) -> Result<Vec<ChunkHash>, Fault> {
    let children = hashes(children.unwrap_or_default())?;
    if children.len() != count || count == 0 {
        return Err("an inner node has not as many children as keys");
    }
    let mut varints = counts.unwrap_or_default();
    for _ in 0..count {
        varints = skip_varint(varints).ok_or("an inner node has a bad count of rows")?;
    }
    if !varints.is_empty() {
        return Err("an inner node has more counts of rows than children");
    }
    Ok(children)
}

/// Steps over a variable-length number of at most 64 bits, as Go reads it.
fn skip_varint(bytes: &[u8]) -> Option<&[u8]> {
    let last = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    if last == 9 && bytes[9] > 1 {
        return None;
    }
    Some(&bytes[last + 1..])
}

/// How many items there are, by their offsets of `width` bytes: from 0, rising, to the items' end.
fn items(items: &[u8], offsets: Option<&[u8]>, width: usize) -> Result<usize, Fault> {
    let offsets = offsets.ok_or("a node has no offsets")?;
    let mut before = 0;
    let mut count = 0;
    for offset in offsets.chunks_exact(width).map(little_endian) {
        if (count == 0 && offset != 0) || offset < before {
            return Err("the offsets of a node do not rise from 0");
        }
        before = offset;
        count += 1;
    }
    if count == 0 || before != items.len() {
        return Err("the offsets of a node do not end where its items end");
    }
    // Dolt counts in 16 bits.
    if count > usize::from(u16::MAX) {
        return Err("a node has more items than any of Dolt's");
    }
    Ok(count - 1)
}

/// Checks that each item is a tuple: its fields, the ends of all but the last, and their number.
///
/// Dolt, go/store/val/tuple.go. What the fields hold is for the schema to say, and is not looked
/// at.
fn tuples(items: &[u8], offsets: Option<&[u8]>) -> Result<(), Fault> {
    let mut ends = offsets.unwrap_or_default().chunks_exact(2).map(little_endian);
    let mut start = ends.next().unwrap_or_default();
    for end in ends {
        let tuple = items.get(start..end).ok_or("a tuple lies outside of its node")?;
        start = end;
        let (rest, count) = tuple.split_last_chunk::<2>().ok_or("a tuple is too short")?;
        let count = usize::from(u16::from_le_bytes(*count));
        let fields = rest.len().checked_sub(2 * count.saturating_sub(1));
        let fields = fields.ok_or("a tuple has more fields than bytes")?;
        let mut before = 0;
        for end in rest[fields..].chunks_exact(2).map(little_endian) {
            if end < before || end > fields {
                return Err("the fields of a tuple lie outside of it");
            }
            before = end;
        }
    }
    Ok(())
}

/// The hashes at these places of a node's items.
fn within(items: &[u8], places: Option<&[u8]>) -> Result<Vec<ChunkHash>, Fault> {
    let place = |at: usize| {
        let bytes = items.get(at..).and_then(|rest| rest.get(..HASH_BYTES));
        bytes.and_then(ChunkHash::from_slice).ok_or("a name lies outside of its node")
    };
    places.unwrap_or_default().chunks_exact(2).map(little_endian).map(place).collect()
}

/// Reads a number of at most four bytes.
fn little_endian(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |number, byte| (number << 8) | usize::from(*byte))
}
