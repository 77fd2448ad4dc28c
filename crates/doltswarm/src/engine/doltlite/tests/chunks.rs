//! The format of chunks, also where the bytes are hostile.

use std::collections::BTreeSet;

use doltswarm_core::id::{ChunkHash, CommitHash};
use proptest::prelude::*;

use super::super::{DoltLite, DoltLiteFormat};
use crate::engine::conformance::meta_at;
use crate::engine::{ChunkFormat, Engine, EngineError};

/// All chunks of a small database.
fn chunks() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = DoltLite::create(&dir.path().join("a.db")).unwrap();
    engine.found(&meta_at("found", 1_700_000_000)).unwrap();
    let rows = (0..2000).map(|n| format!("({n}, 'text {n}')")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, b TEXT); CREATE INDEX i ON t (b);
         INSERT INTO t VALUES {rows}; CREATE TABLE k (k TEXT PRIMARY KEY); CREATE TABLE n (a)"
    );
    engine.exec_and_commit(&[sql.into()], &meta_at("rows", 1_700_000_001)).unwrap();
    let (tip, mut reader) = (engine.main().unwrap(), engine.chunks().unwrap());
    let (mut seen, mut next, mut chunks) = (BTreeSet::new(), vec![tip.into()], Vec::new());
    while let Some(hash) = next.pop() {
        if seen.insert(hash) {
            let chunk = reader.get_many(&[hash]).unwrap().remove(0).unwrap();
            next.extend(DoltLiteFormat.children(&chunk).unwrap());
            chunks.push(chunk);
        }
    }
    chunks
}

#[test]
fn the_synthetic_root_is_the_one_measured() {
    let root = DoltLiteFormat.synthetic_root(&CommitHash::from_bytes([0xab; 20]));
    let mut expected = vec![7, 4, 0, 0, 0];
    expected.extend(b"main\x01\0\0\0\x04\0\0\0main");
    expected.extend([0xab; 20]);
    expected.extend([0; 20 + 16]);
    assert_eq!(root.len(), 77);
    assert_eq!(root, expected);
}

#[test]
fn only_what_a_commit_reaches_is_a_chunk() {
    let format = DoltLiteFormat;
    let root = format.synthetic_root(&CommitHash::from_bytes([1; 20]));
    for bytes in [&root[..], b"", b"DLC\x01\0\0\0\0", b"DCV\x01\0\0\0\0", &[2; 250], &[0; 64]] {
        let error = format.children(bytes).unwrap_err();
        assert!(matches!(error, EngineError::Corrupt { .. }), "{error:?}");
    }
}

#[test]
fn hashes_are_the_first_bytes_of_blake3() {
    let hash = DoltLiteFormat.hash(b"");
    assert_eq!(hash.to_string(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9");
    let all = chunks();
    assert!(all.len() > 10);
    assert!(all.iter().all(|chunk| DoltLiteFormat.hash(chunk) != hash));
    let zero = ChunkHash::from_bytes([0; 20]);
    assert!(all.iter().all(|chunk| !DoltLiteFormat.children(chunk).unwrap().contains(&zero)));
}

#[test]
fn damaged_chunks_are_read_or_refused_but_never_crash() {
    let chunks = chunks();
    let config = ProptestConfig { cases: 4_000, failure_persistence: None, ..Default::default() };
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8);
    let strategy = (any::<prop::sample::Index>(), damage, any::<prop::sample::Index>());
    proptest!(config, |((which, damage, cut) in strategy)| {
        let mut chunk = which.get(&chunks).clone();
        for (place, byte) in damage {
            // Most of what decides anything is at the start.
            let place = if byte % 2 == 0 { place.index(chunk.len()) } else { place.index(chunk.len().min(64)) };
            chunk[place] = byte;
        }
        let _ = DoltLiteFormat.children(&chunk);
        chunk.truncate(cut.index(chunk.len()));
        let _ = DoltLiteFormat.children(&chunk);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..Default::default() })]
    #[test]
    fn random_bytes_never_crash(
        head in prop::sample::select(vec![
            &b""[..], b"\x02", b"\x07", b"C", b"D", b"E", b"DLC\x01", b"DCV\x01", b"NLRP", b"PRLN",
        ]),
        tail in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let _ = DoltLiteFormat.children(&[head, &tail].concat());
    }
}
