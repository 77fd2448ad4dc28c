//! Fetching, and reading chunks.

use std::collections::BTreeSet;

use doltswarm_core::id::{ChunkHash, CommitHash};
use serde_json::json;

use super::{MoveOutcome, Pair, Side, query};

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 0)";

pub(crate) fn fetched_commits_are_whole(pair: &mut Pair) {
    let first = pair.exec(Side::A, TABLE);
    let second = pair.exec(Side::A, "UPDATE t SET a = 1; CREATE TABLE n (id INTEGER PRIMARY KEY)");
    assert_eq!(pair.b.commit_info(&second).unwrap(), None);
    pair.transfer(Side::A, &second);
    assert_eq!(pair.b.commit_info(&second).unwrap(), pair.a.commit_info(&second).unwrap());
    assert_eq!(pair.b.commit_info(&first).unwrap(), pair.a.commit_info(&first).unwrap());
    let main = pair.b.main().unwrap();
    assert_eq!(pair.b.move_main(&main, &second).unwrap(), MoveOutcome::Moved);
    assert_eq!(pair.query("SELECT * FROM t"), json!([[1, 1]]));
    assert_eq!(pair.a.state_hash().unwrap(), pair.b.state_hash().unwrap());
}

pub(crate) fn fetching_moves_nothing(pair: &mut Pair) {
    let commit = pair.exec(Side::A, TABLE);
    let mine = pair.exec(Side::B, "CREATE TABLE mine (id INTEGER PRIMARY KEY)");
    let state = pair.b.state_hash().unwrap();
    pair.backend.meddle(Side::B, "INSERT INTO mine VALUES (1)");
    pair.transfer(Side::A, &commit);
    assert_eq!(pair.b.main().unwrap(), mine);
    assert_eq!(pair.b.dirty_tables().unwrap(), ["mine"]);
    assert_eq!(query(pair.b.as_ref(), "SELECT * FROM mine"), json!([[1]]));
    let meta = pair.meta("pending");
    let done = pair.b.commit_pending(&meta).unwrap();
    let changed = pair.b.changed_tables(&mine, &done.commit.unwrap()).unwrap();
    assert_eq!(changed, ["mine"], "fetching leaks into commits");
    assert_ne!(pair.b.state_hash().unwrap(), state);
}

pub(crate) fn old_commits_can_be_fetched(pair: &mut Pair) {
    let first = pair.exec(Side::A, TABLE);
    let second = pair.exec(Side::A, "UPDATE t SET a = 1");
    for commit in [second, first, second] {
        pair.transfer(Side::A, &commit);
        assert!(pair.b.commit_info(&commit).unwrap().is_some());
    }
}

pub(crate) fn chunks_are_read_while_others_write(pair: &mut Pair) {
    let mut chunks = pair.a.chunks().unwrap();
    let first = pair.exec(Side::A, TABLE);
    assert_eq!(chunks.has_many(&[first.into()]).unwrap(), [true]);
    let second = pair.exec(Side::A, "UPDATE t SET a = 1");
    pair.backend.meddle(Side::A, "INSERT INTO t VALUES (7, 7)");
    let missing = CommitHash::from_bytes([9; 20]);
    let asked = [second.into(), missing.into(), first.into(), second.into()];
    assert_eq!(chunks.has_many(&asked).unwrap(), [true, false, true, true]);
    let got = chunks.get_many(&asked).unwrap();
    assert_eq!(got.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true, true]);
    assert_eq!(got[0], got[3]);
    assert!(chunks.size().unwrap() > 0);
    assert_eq!(chunks.get_many(&[]).unwrap(), Vec::<Option<Vec<u8>>>::new());
}

/// Walking down from a commit meets only chunks that are there and have the hash that names them.
pub(crate) fn what_children_name_is_there(pair: &mut Pair) {
    let rows = (0..3000).map(|n| format!("({n}, {n}, 'text {n}')")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "CREATE TABLE big (id INTEGER PRIMARY KEY, a INT, b VARCHAR(20)); CREATE INDEX i ON big (a);
         INSERT INTO big VALUES {rows}; CREATE TABLE bare (id INTEGER PRIMARY KEY)"
    );
    let split =
        pair.split(&sql, "UPDATE big SET a = 0 WHERE id = 5", "DELETE FROM big WHERE id = 9");
    pair.settle(&split);
    let tip = pair.a.main().unwrap();
    let (format, mut chunks) = (pair.backend.format(), pair.a.chunks().unwrap());
    let mut seen = BTreeSet::new();
    let mut next = vec![ChunkHash::from(tip)];
    while let Some(hash) = next.pop() {
        if seen.insert(hash) {
            let chunk = chunks.get_many(&[hash]).unwrap().remove(0).expect("a child is there");
            assert_eq!(format.hash(&chunk), hash);
            next.extend(format.children(&chunk).unwrap());
        }
    }
    assert!(seen.len() > 30, "only {} chunks", seen.len());
}
