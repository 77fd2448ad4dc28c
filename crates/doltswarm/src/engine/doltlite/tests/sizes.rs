//! What is too large to travel is not committed.

use std::path::PathBuf;

use serde_json::json;

use super::super::DoltLite;
use super::super::ffi::Connection;
use crate::engine::conformance::{meta_at, query};
use crate::engine::{Engine, EngineError, EngineResult, Executed, MoveOutcome};
use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::{CHUNK_BYTES_MAX, WRITTEN_CHUNK_BYTES_MAX};

/// A limit that a test can exceed.
const LIMIT: usize = 100_000;

struct Rig {
    engine: DoltLite,
    path: PathBuf,
    good: CommitHash,
    _dir: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let mut engine = DoltLite::create(&path).unwrap();
        engine.checker.set_chunk_limit(LIMIT);
        engine.found(&meta_at("found", 1_700_000_000)).unwrap();
        let mut rig = Self { engine, path, good: CommitHash::from_bytes([0; 20]), _dir: dir };
        let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB);
                     CREATE TABLE k (b BLOB PRIMARY KEY)";
        rig.good = rig.exec(table).unwrap().commit.unwrap();
        // Only then is the file so large that anything has to be looked at.
        let many = "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100)
                    SELECT i, randomblob(2000) FROM n";
        rig.good = rig.exec(many).unwrap().commit.unwrap();
        rig
    }

    fn exec(&mut self, sql: &str) -> EngineResult<Executed> {
        self.engine.exec_and_commit(&[sql.into()], &meta_at("x", 1_700_000_001))
    }

    /// What another program does.
    fn other(&self, sql: &str) {
        Connection::open(&self.path, false).unwrap().batch(sql).unwrap();
    }

    fn assert_unchanged(&mut self) {
        assert_eq!(self.engine.main().unwrap(), self.good);
        assert_eq!(self.engine.dirty_tables().unwrap(), Vec::<String>::new());
        assert_eq!(query(&self.engine, "SELECT count(*) FROM t"), json!([[100]]));
    }
}

/// Requires that the text names a size above the limit, and the limit.
fn names_both(text: &str) {
    let numbers: Vec<usize> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(numbers.len() == 2 && numbers[0] > LIMIT && numbers[1] == LIMIT, "{text}");
}

#[test]
fn a_row_above_the_limit_is_refused_at_its_commit() {
    let mut rig = Rig::new();
    for sql in [
        "INSERT INTO t VALUES (500, zeroblob(150000))",
        // Again: the file has not grown this time.
        "INSERT INTO t VALUES (500, zeroblob(150000))",
        "UPDATE t SET b = randomblob(150000) WHERE id = 50",
        "INSERT INTO k VALUES (randomblob(150000))",
        // Side by side they are in one chunk.
        "INSERT INTO t VALUES (500, randomblob(60000)), (501, randomblob(60000))",
        "CREATE TABLE n (b BLOB); INSERT INTO n VALUES (randomblob(150000))",
    ] {
        let error = rig.exec(sql).unwrap_err();
        assert!(matches!(error, EngineError::Rejected { .. }), "{sql}: {error:?}");
        names_both(&error.to_string());
        rig.assert_unchanged();
    }
    rig.exec("INSERT INTO t VALUES (500, zeroblob(90000))").unwrap().commit.unwrap();
}

#[test]
fn uncommitted_work_above_the_limit_stays_uncommitted() {
    let mut rig = Rig::new();
    rig.other("INSERT INTO t VALUES (500, randomblob(150000))");
    let error = rig.engine.commit_pending(&meta_at("x", 1_700_000_001)).unwrap_err();
    names_both(&error.to_string());
    assert_eq!(rig.engine.main().unwrap(), rig.good);
    assert_eq!(rig.engine.dirty_tables().unwrap(), ["t"]);
}

#[test]
fn a_commit_of_another_program_above_the_limit_is_taken_off() {
    let mut rig = Rig::new();
    let commit = "SELECT dolt_commit('-A', '-m', 'x')";
    rig.other(&format!("INSERT INTO t VALUES (500, randomblob(150000)); {commit}"));
    // That the row goes does not help: it stays in history.
    rig.other(&format!("DELETE FROM t WHERE id = 500; {commit}"));
    let bad = rig.engine.main().unwrap();
    let error = rig.exec("INSERT INTO t VALUES (501, NULL)").unwrap_err();
    assert!(matches!(error, EngineError::Rejected { .. }), "{error:?}");
    let reason = rig.engine.inspect_foreign(&bad, &rig.good).unwrap().unwrap();
    names_both(&reason);
    assert_eq!(rig.engine.refuse(&bad, &rig.good).unwrap(), MoveOutcome::Moved);
    rig.assert_unchanged();
    assert_eq!(rig.engine.refused().unwrap(), [bad]);
    rig.other(&format!("INSERT INTO t VALUES (502, randomblob(50000)); {commit}"));
    let fine = rig.engine.main().unwrap();
    assert_eq!(rig.engine.inspect_foreign(&fine, &rig.good).unwrap(), None);
}

#[test]
fn a_database_with_a_row_above_the_limit_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let mut engine = DoltLite::create(&path).unwrap();
    engine.checker.set_chunk_limit(LIMIT);
    let sql = "CREATE TABLE t (b BLOB); INSERT INTO t VALUES (randomblob(150000))";
    Connection::open(&path, false).unwrap().batch(sql).unwrap();
    names_both(&engine.found(&meta_at("found", 1_700_000_000)).unwrap_err().to_string());
}

#[test]
fn a_value_above_the_engines_bound_says_so() {
    let error = Rig::new().exec("INSERT INTO t VALUES (500, zeroblob(1000000001))").unwrap_err();
    assert_eq!(error.to_string(), "string or blob too big: the most is 1000000000 bytes");
}

/// A merge puts two rows into one chunk at most, besides what is smaller than a usual chunk.
#[test]
fn what_a_merge_makes_of_two_chunks_can_travel() {
    let usual = 16 << 10;
    assert!(2 * WRITTEN_CHUNK_BYTES_MAX + usual <= CHUNK_BYTES_MAX);
}
