//! Records of conflicts that other programs take away come back.

use mysql::prelude::Queryable;
use serde_json::{Value, json};

use super::own::TABLE;
use super::server::connect;
use super::{Dolt, pair_at};
use crate::engine::conformance::{Pair, Side, query};
use crate::engine::dolt::DoltOptions;
use crate::engine::{Engine, MoveOutcome};

const RECORDS: &str = "SELECT id, loser, state FROM swarm_conflicts ORDER BY id";

/// A database with one record, where its main is, and the record.
fn with_a_record() -> Option<(Pair, [DoltOptions; 2], Value)> {
    let (mut pair, all) = pair_at()?;
    let split = pair.split(TABLE, "UPDATE t SET a = 1", "UPDATE t SET a = 2");
    assert_eq!(pair.settle(&split), 1);
    let records = query(pair.a.as_ref(), RECORDS);
    assert_eq!(records.as_array().map(Vec::len), Some(1));
    Some((pair, all, records))
}

/// Lets another program run these statements and commit.
fn meddle(options: &DoltOptions, statements: &[&str]) -> String {
    let mut other = connect(options);
    for sql in statements {
        other.query_drop(sql).unwrap();
    }
    let sql = "CALL DOLT_COMMIT('-A', '-m', 'by another program')";
    other.query_first(sql).unwrap().expect("a commit")
}

#[test]
fn records_that_a_client_removes_or_rewrites_come_back() {
    for statements in [
        &["DELETE FROM swarm_conflicts"][..],
        &["UPDATE swarm_conflicts SET loser = NULL"],
        &["UPDATE swarm_conflicts SET id = 'x'"],
        &["DROP TABLE swarm_conflicts"],
        &["DROP TABLE swarm_conflicts", "CREATE TABLE swarm_conflicts (id INT PRIMARY KEY)"],
        &["ALTER TABLE swarm_conflicts DROP COLUMN loser"],
    ] {
        let Some((mut pair, all, records)) = with_a_record() else { return };
        let before = pair.a.main().unwrap();
        meddle(&all[0], &[&["INSERT INTO t VALUES (5, 5)"], statements].concat());
        let main = pair.a.main().unwrap();
        assert_ne!(main, before, "{statements:?}");
        let kept = query(pair.a.as_ref(), RECORDS);
        let has = |record: &Value| kept.as_array().is_some_and(|kept| kept.contains(record));
        assert!(records.as_array().unwrap().iter().all(has), "{statements:?}: {kept}");
        let rows = query(pair.a.as_ref(), "SELECT count(*) FROM t WHERE id = 5");
        assert_eq!(rows, json!([[1]]), "the rest of the commit stays");
        // Once, and what is brought back is committed.
        assert_eq!(pair.a.main().unwrap(), main);
        assert_eq!(pair.a.dirty_tables().unwrap(), Vec::<String>::new());
        // A peer that takes both commits has the record too.
        let theirs = pair.b.main().unwrap();
        pair.transfer(Side::A, &main);
        assert_eq!(pair.b.move_main(&theirs, &main).unwrap(), MoveOutcome::Moved);
        assert_eq!(query(pair.b.as_ref(), RECORDS), kept);
        assert_eq!(pair.b.main().unwrap(), main, "nothing is missing there");
    }
}

#[test]
fn a_resolution_by_a_client_stands() {
    let Some((mut pair, all, _)) = with_a_record() else { return };
    let made = meddle(&all[0], &["UPDATE swarm_conflicts SET state = 'resolved'"]);
    assert_eq!(super::super::store::commit_text(&pair.a.main().unwrap()), made);
    let states = query(pair.a.as_ref(), "SELECT state FROM swarm_conflicts");
    assert_eq!(states, json!([["resolved"]]));
}

#[test]
fn records_removed_while_the_node_was_down_come_back() {
    let Some((mut pair, all, records)) = with_a_record() else { return };
    pair.a.main().unwrap();
    let Pair { a, b: _b, backend: _server, .. } = pair;
    drop(a);
    meddle(&all[0], &["DELETE FROM swarm_conflicts"]);
    meddle(&all[0], &["INSERT INTO t VALUES (6, 6)"]);
    let mut again = Dolt::open(&all[0]).unwrap();
    again.main().unwrap();
    assert_eq!(query(&again, RECORDS), records);
}

#[test]
fn records_come_back_after_uncommitted_work_is_gone() {
    let Some((mut pair, all, records)) = with_a_record() else { return };
    pair.a.main().unwrap();
    let made = meddle(&all[0], &["DELETE FROM swarm_conflicts"]);
    let mut other = connect(&all[0]);
    other
        .query_drop(
            "INSERT INTO swarm_conflicts VALUES ('x', 'row', 't', '{}', NULL, NULL, NULL, 'open')",
        )
        .unwrap();
    assert_eq!(super::super::store::commit_text(&pair.a.main().unwrap()), made);
    other.query_drop("DELETE FROM swarm_conflicts WHERE id = 'x'").unwrap();
    pair.exec(Side::A, "INSERT INTO t VALUES (7, 7)");
    pair.a.main().unwrap();
    assert_eq!(query(pair.a.as_ref(), RECORDS), records);
}

#[test]
fn a_resolution_outlives_a_merge_of_definitions() {
    let resolve = "UPDATE swarm_conflicts SET state = 'resolved'";
    let define = "ALTER TABLE t ADD COLUMN b INT";
    for (ours, theirs) in [(resolve, define), (define, resolve)] {
        let Some((mut pair, ..)) = with_a_record() else { return };
        let split = pair.split("", ours, theirs);
        assert_eq!(pair.settle(&split), 0);
        let states = query(pair.a.as_ref(), "SELECT state FROM swarm_conflicts");
        assert_eq!(states, json!([["resolved"]]), "{ours} against {theirs}");
    }
}
