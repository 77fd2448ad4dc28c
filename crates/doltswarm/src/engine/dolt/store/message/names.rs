//! Which chunks a chunk names.

use doltswarm_core::id::ChunkHash;
use doltswarm_core::limits::HASH_BYTES;

use super::node::{self, Tree};
use super::{Expected, Fault, Kind, Link, Named, Table, hash_in};

/// The chunks that a chunk names, after checking that it is what it may be and well made.
///
/// # Errors
///
/// What is wrong with it.
pub(in super::super) fn links(chunk: &[u8], expected: Expected) -> Result<Vec<Link>, Fault> {
    let (kind, table) = Kind::read(chunk)?;
    let mut links = Vec::new();
    match kind {
        Kind::Commit => commit(&table, &mut links)?,
        Kind::RootValue => root_value(&table, &mut links)?,
        Kind::Table => self::table(&table, &mut links)?,
        Kind::Schema => {
            table.vector(0, 4)?.ok_or("a schema has no columns")?;
            table.table(1, 15)?.ok_or("a schema has no clustered index")?;
        }
        Kind::ForeignKeys => {
            table.vector(0, 4)?;
        }
        // It names what nobody has committed, which stays where it is.
        Kind::WorkingSet => {}
        Kind::Rows | Kind::Vectors | Kind::Names | Kind::Artifacts | Kind::Closure | Kind::Blob => {
            let tree = node::read(kind, &table)?;
            check(kind, Some(tree.level), expected)?;
            tree_links(kind, &tree, named_by(expected, tree.level), &mut links);
            return Ok(links);
        }
    }
    check(kind, None, expected)?;
    Ok(links)
}

/// Whether a chunk may stand where its name stands.
fn check(kind: Kind, level: Option<u8>, expected: Expected) -> Result<(), Fault> {
    let fits = match expected {
        Expected::Any => true,
        Expected::Commit => kind == Kind::Commit,
        Expected::RootValue => kind == Kind::RootValue,
        Expected::Table => kind == Kind::Table,
        Expected::Schema => kind == Kind::Schema,
        Expected::ForeignKeys => kind == Kind::ForeignKeys,
        Expected::Closure => kind == Kind::Closure,
        Expected::Artifacts => kind == Kind::Artifacts,
        Expected::Index => matches!(kind, Kind::Rows | Kind::Vectors),
        // The leaves of a document are blobs, so its map begins at level 1.
        Expected::Value => kind == Kind::Blob || (kind == Kind::Names && level > Some(0)),
        Expected::Node(within, at) => kind == within && level == Some(at),
        Expected::NamesOf(_, at) => kind == Kind::Names && level == Some(at),
    };
    if fits { Ok(()) } else { Err("a chunk is not of the kind that it is named as") }
}

/// What the leaves of a map of names lead to, by how the map is named.
fn named_by(expected: Expected, level: u8) -> Named {
    match expected {
        Expected::NamesOf(named, _) => named,
        Expected::Value if level > 0 => Named::Parts,
        _ => Named::Unknown,
    }
}

fn commit(table: &Table<'_>, links: &mut Vec<Link>) -> Result<(), Fault> {
    let root = hash_in(Some(table.bytes(0)?))?.ok_or("a commit has no root value")?;
    for hash in hashes(table.bytes(2)?)? {
        push(links, hash, Expected::Commit);
    }
    push(links, root, Expected::RootValue);
    if let Some(closure) = hash_in(table.vector(3, 1)?)? {
        push(links, closure, Expected::Closure);
    }
    for text in [4, 5, 6] {
        table.string(text)?.ok_or("a commit lacks its author or message")?;
    }
    for text in [9, 10, 11] {
        table.string(text)?;
    }
    Ok(())
}

fn root_value(table: &Table<'_>, links: &mut Vec<Link>) -> Result<(), Fault> {
    embedded(Kind::Names, table.bytes(1)?, Named::Tables, links)?;
    if let Some(keys) = hash_in(table.vector(2, 1)?)? {
        push(links, keys, Expected::ForeignKeys);
    }
    // The schemas of a database are only names.
    table.vector(4, 4)?;
    Ok(())
}

fn table(table: &Table<'_>, links: &mut Vec<Link>) -> Result<(), Fault> {
    let schema = hash_in(Some(table.bytes(0)?))?.ok_or("a table has no schema")?;
    push(links, schema, Expected::Schema);
    embedded(Kind::Rows, table.bytes(1)?, Named::Unknown, links)?;
    embedded(Kind::Names, table.bytes(2)?, Named::Indexes, links)?;
    if let Some(conflicts) = table.table(4, 4)? {
        for field in 0..4 {
            if let Some(hash) = hash_in(conflicts.vector(field, 1)?)? {
                push(links, hash, Expected::Any);
            }
        }
    }
    if let Some(violations) = hash_in(table.vector(5, 1)?)? {
        push(links, violations, Expected::Any);
    }
    if let Some(artifacts) = hash_in(table.vector(6, 1)?)? {
        push(links, artifacts, Expected::Artifacts);
    }
    Ok(())
}

/// The names in a tree's root that is a part of another chunk.
fn embedded(kind: Kind, message: &[u8], named: Named, links: &mut Vec<Link>) -> Result<(), Fault> {
    let tree = node::read(kind, &kind.open(message)?)?;
    tree_links(kind, &tree, named, links);
    Ok(())
}

fn tree_links(kind: Kind, tree: &Tree<'_>, named: Named, links: &mut Vec<Link>) {
    let below = tree.level.checked_sub(1).map(|level| match kind {
        Kind::Names if named == Named::Parts && level == 0 => Expected::Node(Kind::Blob, 0),
        Kind::Names if named == Named::Unknown => Expected::Any,
        Kind::Names => Expected::NamesOf(named, level),
        _ => Expected::Node(kind, level),
    });
    let at_leaves = match (kind, named) {
        (Kind::Names, Named::Tables) => Expected::Table,
        (Kind::Names, Named::Indexes) => Expected::Index,
        (Kind::Rows, _) => Expected::Value,
        (Kind::Closure, _) => Expected::Commit,
        _ => Expected::Any,
    };
    let expected = below.unwrap_or(at_leaves);
    for hash in &tree.named {
        push(links, *hash, expected);
    }
}

/// The hashes in a vector of them.
pub(in super::super) fn hashes(bytes: &[u8]) -> Result<Vec<ChunkHash>, Fault> {
    if !bytes.len().is_multiple_of(HASH_BYTES) {
        return Err("a list of hashes is cut short");
    }
    Ok(bytes.chunks_exact(HASH_BYTES).filter_map(ChunkHash::from_slice).collect())
}

/// Adds a name; the zero hash names nothing.
fn push(links: &mut Vec<Link>, hash: ChunkHash, expected: Expected) {
    if *hash.as_bytes() != [0; HASH_BYTES] {
        links.push(Link { hash, expected });
    }
}
