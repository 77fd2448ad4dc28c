//! Records of conflicts only ever become more.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::ffi::Connection;
use super::pair_at;
use crate::engine::EngineError;
use crate::engine::conformance::{Pair, meta_at, query};
use doltswarm_core::id::CommitHash;

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 0)";

fn settled() -> (Pair, PathBuf, CommitHash) {
    let (mut pair, path) = pair_at();
    pair.settled(TABLE, "UPDATE t SET a = 1", "UPDATE t SET a = 2");
    let good = pair.a.main().unwrap();
    assert_eq!(query(pair.a.as_ref(), "SELECT count(*) FROM swarm_conflicts"), json!([[1]]));
    (pair, path, good)
}

/// What another program commits on main, without asking.
fn commit(pair: &mut Pair, path: &Path, sql: &str) -> CommitHash {
    let other = Connection::open(path, false).unwrap();
    other.batch(&format!("{sql}; SELECT dolt_commit('-A', '-m', 'x')")).unwrap();
    pair.a.main().unwrap()
}

#[test]
fn commits_that_lose_records_are_found() {
    for (sql, loses) in [
        ("DELETE FROM swarm_conflicts", true),
        ("UPDATE swarm_conflicts SET loser = NULL", true),
        ("UPDATE swarm_conflicts SET id = 'x'", true),
        ("DROP TABLE swarm_conflicts", true),
        ("ALTER TABLE swarm_conflicts RENAME COLUMN winner TO lost", true),
        ("ALTER TABLE swarm_conflicts RENAME TO other", true),
        ("UPDATE swarm_conflicts SET state = 'resolved'", false),
        ("INSERT INTO swarm_conflicts VALUES ('x', 'row', 't', '{}', '', '', '', 'open')", false),
        ("ALTER TABLE swarm_conflicts ADD COLUMN note TEXT", true),
        ("UPDATE t SET a = 7", false),
        ("CREATE TABLE u (id INTEGER PRIMARY KEY)", false),
    ] {
        let (mut pair, path, good) = settled();
        let made = commit(&mut pair, &path, sql);
        let lost = pair.a.lost_records(&[(made, good), (good, made)]).unwrap();
        assert_eq!(lost.contains_key(&made), loses, "{sql}: {lost:?}");
        assert!(lost.values().all(|reason| reason.contains("swarm_conflicts")), "{lost:?}");
    }
}

#[test]
fn the_first_commits_lose_nothing() {
    let (mut pair, _) = pair_at();
    let mut commits = Vec::new();
    let mut at = pair.a.main().unwrap();
    while let Some(parent) = pair.a.commit_info(&at).unwrap().unwrap().parents.first().copied() {
        commits.push((at, parent));
        at = parent;
    }
    assert!(!commits.is_empty());
    assert_eq!(pair.a.lost_records(&commits).unwrap().len(), 0);
    assert_eq!(pair.b.lost_records(&commits).unwrap().len(), 0);
}

/// Every peer that has the commit in between judges it for itself.
#[test]
fn records_that_come_back_were_lost_in_between() {
    let (mut pair, path, good) = settled();
    commit(&mut pair, &path, "CREATE TABLE copy AS SELECT * FROM swarm_conflicts");
    commit(&mut pair, &path, "DELETE FROM swarm_conflicts");
    let whole = commit(&mut pair, &path, "INSERT INTO swarm_conflicts SELECT * FROM copy");
    let reason = pair.a.inspect_foreign(&whole, &good).unwrap().expect("a fault");
    assert!(reason.contains("swarm_conflicts"), "{reason}");
}

#[test]
fn pending_work_takes_no_record_away() {
    let (mut pair, path, good) = settled();
    Connection::open(&path, false).unwrap().batch("DELETE FROM swarm_conflicts").unwrap();
    let error = pair.a.commit_pending(&meta_at("x", 1_700_000_009)).unwrap_err();
    assert!(matches!(&error, EngineError::Rejected { message } if message.contains("swarm_conf")));
    assert_eq!(pair.a.main().unwrap(), good);
    assert_eq!(pair.a.dirty_tables().unwrap(), ["swarm_conflicts"]);
}
