//! Taking much in: chunk by chunk, children first.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use doltswarm_core::id::{ChunkHash, CommitHash};

use super::super::intake::take_in_batches;
use super::super::{DoltLite, DoltLiteFormat};
use super::{pair, pair_at};
use crate::engine::conformance::{Chunks, Pair, Side, breaking_after, chunks_of, meta_at};
use crate::engine::{ChunkFormat, ChunkReader, ChunkSource, Engine, EngineError, MoveOutcome};

/// A source that says that it holds much.
struct Large {
    chunks: Arc<Chunks>,
    asked: AtomicUsize,
}

impl Large {
    fn new(chunks: Arc<Chunks>) -> Arc<Self> {
        Arc::new(Self { chunks, asked: AtomicUsize::new(0) })
    }
}

impl ChunkSource for Large {
    fn get_many(&self, hashes: &[ChunkHash]) -> Result<Vec<Option<Vec<u8>>>, String> {
        self.asked.fetch_add(hashes.len(), Ordering::Relaxed);
        self.chunks.get_many(hashes)
    }
}

fn rows(pair: &mut Pair) -> CommitHash {
    let rows = (0..4_000).map(|n| format!("({n}, 'text {n}')")).collect::<Vec<_>>().join(", ");
    pair.exec(Side::A, "CREATE TABLE t (id INTEGER PRIMARY KEY, b TEXT); CREATE INDEX i ON t (b)");
    pair.exec(Side::A, &format!("INSERT INTO t VALUES {rows}"))
}

/// All chunks under a commit.
fn all_chunks(engine: &dyn Engine, commit: &CommitHash) -> BTreeSet<ChunkHash> {
    let (mut reader, mut seen) = (engine.chunks().unwrap(), BTreeSet::new());
    let mut next = vec![ChunkHash::from(*commit)];
    while let Some(hash) = next.pop() {
        if seen.insert(hash) {
            next.extend(children(reader.as_mut(), hash));
        }
    }
    seen
}

fn children(reader: &mut dyn ChunkReader, hash: ChunkHash) -> Vec<ChunkHash> {
    let chunk = reader.get_many(&[hash]).unwrap().remove(0).unwrap();
    DoltLiteFormat.children(&chunk).unwrap()
}

#[test]
fn much_is_taken_in_without_the_gateway() {
    let pair = &mut pair();
    let commit = rows(pair);
    let before = pair.b.fetch_requests();
    let source = Large::new(chunks_of(pair.a.as_ref()));
    pair.b.ingest(Arc::clone(&source) as _, &commit).unwrap();
    let requests = pair.b.fetch_requests() - before;
    assert!((1..=2).contains(&requests), "{requests} requests: more than the refs were asked for");
    assert_eq!(all_chunks(pair.b.as_ref(), &commit), all_chunks(pair.a.as_ref(), &commit));
    let main = pair.b.main().unwrap();
    assert_eq!(pair.b.move_main(&main, &commit).unwrap(), MoveOutcome::Moved);
    assert_eq!(pair.a.state_hash().unwrap(), pair.b.state_hash().unwrap());
    assert_eq!(pair.b.check_integrity().unwrap(), None);

    // What is there is not asked for again.
    let asked = source.asked.swap(0, Ordering::Relaxed);
    assert!(asked > 20, "only {asked} chunks");
    pair.b.ingest(Arc::clone(&source) as _, &commit).unwrap();
    assert_eq!(source.asked.load(Ordering::Relaxed), 0);
}

#[test]
fn a_large_source_can_be_cloned() {
    let pair = &mut pair();
    let commit = rows(pair);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clone.db");
    let source = Large::new(chunks_of(pair.a.as_ref()));
    let mut clone = DoltLite::clone_from(&path, source, &commit).unwrap();
    assert_eq!(clone.main().unwrap(), commit);
    assert_eq!(clone.state_hash().unwrap(), pair.a.state_hash().unwrap());
    assert_eq!(clone.check_integrity().unwrap(), None);
    let written = clone.exec_and_commit(&["DELETE FROM t WHERE id = 1".into()], &meta_at("x", 9));
    assert_eq!(written.unwrap().rows_affected, 1);
}

/// Whatever is there is whole below, at each moment.
#[test]
fn a_broken_intake_leaves_whole_chunks_and_is_gone_on_with() {
    let (mut pair, path) = pair_at();
    let path = path.with_file_name("b.db");
    let pair = &mut pair;
    let commit = rows(pair);
    let all = all_chunks(pair.a.as_ref(), &commit);
    let held = |pair: &Pair| {
        let hashes: Vec<ChunkHash> = all.iter().copied().collect();
        let mut reader = pair.b.chunks().unwrap();
        let present = reader.has_many(&hashes).unwrap();
        let held: BTreeSet<_> =
            hashes.into_iter().zip(present).filter(|(_, is)| *is).map(|(hash, _)| hash).collect();
        for hash in &held {
            for child in children(reader.as_mut(), *hash) {
                assert_eq!(reader.has_many(&[child]).unwrap(), [true], "{hash} lacks {child}");
            }
        }
        held.len()
    };
    let mut last = held(pair);
    for _ in 0..3 {
        let source = Large::new(breaking_after(pair.a.as_ref(), 12));
        // Each chunk is made durable at once.
        let error = take_in_batches(&path, source.as_ref(), commit.into(), 1).unwrap_err();
        assert!(matches!(error, EngineError::Failed { .. }), "{error:?}");
        assert_eq!(pair.b.commit_info(&commit).unwrap(), None);
        let now = held(pair);
        assert!(now > last, "nothing was kept: {last}, then {now} chunks");
        last = now;
    }
    let source = Large::new(chunks_of(pair.a.as_ref()));
    pair.b.ingest(source, &commit).unwrap();
    assert_eq!(held(pair), all.len());
}
