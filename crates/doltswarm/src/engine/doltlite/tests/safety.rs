//! No statement and no commit makes a database unusable.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::DoltLite;
use super::super::check::CheckBudget;
use super::super::ffi::Connection;
use super::{pair, pair_at};
use crate::engine::conformance::{Pair, Side, meta_at, query};
use crate::engine::stop::{self, Stop};
use crate::engine::{Engine, EngineError, MoveOutcome};
use doltswarm_core::id::CommitHash;

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 0)";

/// What pandas writes, on a connection that does not go through the node. Committed as it is, the
/// database cannot be opened again.
const UNREADABLE: &str = "BEGIN IMMEDIATE; CREATE INDEX \"ix\"ON \"t\" (\"a\");
     SELECT dolt_commit('-A', '-m', 'unreadable'); COMMIT";

/// What another program commits, without asking.
fn other(path: &Path, sql: &str) {
    Connection::open(path, false).unwrap().batch(sql).unwrap();
}

fn rejected(pair: &mut Pair, sql: &str) -> String {
    let (main, state) = (pair.a.main().unwrap(), pair.a.state_hash().unwrap());
    let error = pair.try_exec(Side::A, sql).unwrap_err();
    assert!(matches!(error, EngineError::Rejected { .. }), "{sql}: {error:?}");
    assert_eq!(pair.a.main().unwrap(), main, "{sql}");
    assert_eq!(pair.a.state_hash().unwrap(), state, "{sql}");
    assert_eq!(pair.a.dirty_tables().unwrap(), Vec::<String>::new(), "{sql}");
    error.to_string()
}

#[test]
fn names_without_a_blank_behind_them_work() {
    let (mut pair, path) = pair_at();
    pair.exec(Side::A, TABLE);
    pair.exec(Side::A, "CREATE INDEX \"ix\"ON \"t\" (\"a\")");
    pair.exec(Side::A, "CREATE UNIQUE INDEX iy/* c */ON t (a)");
    assert_eq!(
        query(&DoltLite::open(&path).unwrap(), "SELECT id FROM t WHERE a = 0"),
        json!([[1]])
    );
    let names = "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 't' ORDER BY 1";
    assert_eq!(query(pair.a.as_ref(), names), json!([["ix"], ["iy"]]));
}

#[test]
fn views_and_triggers_that_cannot_work_are_rejected() {
    let pair = &mut pair();
    pair.exec(Side::A, &format!("{TABLE}; CREATE TABLE log (id INTEGER PRIMARY KEY)"));
    let message = rejected(pair, "CREATE VIEW v AS SELECT * FROM nowhere");
    assert!(message.contains("view `v`") && message.contains("nowhere"), "{message}");
    let trigger = "CREATE TRIGGER g AFTER UPDATE OF a ON t BEGIN INSERT INTO gone VALUES (1); END";
    let message = rejected(pair, trigger);
    assert!(message.contains("`t`") && message.contains("gone"), "{message}");
    pair.exec(
        Side::A,
        "CREATE VIEW v AS SELECT id FROM log;
         CREATE TRIGGER i INSTEAD OF INSERT ON v BEGIN INSERT INTO log VALUES (NEW.id); END;
         CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO v VALUES (NEW.id); END",
    );
    rejected(pair, "INSERT INTO t VALUES (2, 2); DROP TABLE log");
    pair.exec(Side::A, "INSERT INTO t VALUES (3, 3)");
    assert_eq!(query(pair.a.as_ref(), "SELECT id FROM log"), json!([[3]]));
}

/// What this program lacks another one may have.
#[test]
fn functions_of_other_programs_are_no_fault() {
    let pair = &mut pair();
    pair.exec(Side::A, &format!("{TABLE}; CREATE VIEW v AS SELECT their_own(a) FROM t"));
}

#[test]
fn what_was_broken_before_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    drop(DoltLite::create(&path).unwrap());
    other(&path, &format!("{TABLE}; CREATE VIEW v AS SELECT * FROM nowhere"));
    let mut engine = DoltLite::open(&path).unwrap();
    engine.found(&meta_at("found", 1_700_000_000)).unwrap();
    let mut exec = |sql: &str| {
        engine.exec_and_commit(&[sql.into()], &meta_at("x", 1_700_000_001)).map(|done| done.commit)
    };
    exec("CREATE TABLE n (id INTEGER PRIMARY KEY)").unwrap().unwrap();
    assert!(exec("CREATE VIEW w AS SELECT * FROM nowhere").is_err());
}

#[test]
fn pending_work_that_fails_stays_uncommitted() {
    let pair = &mut pair();
    let main = pair.exec(Side::A, TABLE);
    pair.backend.meddle(Side::A, "INSERT INTO t VALUES (2, 2)");
    pair.backend.meddle(Side::A, "CREATE VIEW v AS SELECT * FROM nowhere");
    let error = pair.a.commit_pending(&meta_at("x", 1_700_000_001)).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert_eq!(pair.a.main().unwrap(), main);
    assert_eq!(pair.a.dirty_tables().unwrap(), ["dolt_schemas", "t"]);
    assert_eq!(query(pair.a.as_ref(), "SELECT count(*) FROM t"), json!([[2]]));
}

/// Requires that main is back at `good`, works, and that `bad` is kept.
fn is_refused(engine: &mut dyn Engine, bad: &CommitHash, good: &CommitHash) {
    assert_eq!(engine.main().unwrap(), *good);
    assert_eq!(engine.refused().unwrap(), [*bad]);
    assert_eq!(engine.dirty_tables().unwrap(), Vec::<String>::new());
    let insert = "INSERT INTO t VALUES (9, 9)";
    let done = engine.exec_and_commit(&[insert.into()], &meta_at("x", 1_700_000_009)).unwrap();
    assert_eq!(done.parent, *good);
    assert_eq!(query(engine, "SELECT a FROM t WHERE id = 9"), json!([[9]]));
}

#[test]
fn an_unreadable_commit_of_another_program_is_taken_off_main() {
    let (mut pair, path) = pair_at();
    let known = pair.exec(Side::A, TABLE);
    other(&path, "INSERT INTO t VALUES (2, 2); SELECT dolt_commit('-A', '-m', 'good')");
    let good = pair.a.main().unwrap();
    other(&path, UNREADABLE);
    let bad = pair.a.main().unwrap();
    let reason = pair.a.inspect(&bad, Some(&known)).unwrap().expect("a reason");
    assert!(reason.contains("malformed database schema (ix)"), "{reason}");
    assert_eq!(pair.a.inspect(&good, Some(&known)).unwrap(), None);
    let error = pair.try_exec(Side::A, "INSERT INTO t VALUES (3, 3)").unwrap_err();
    assert!(matches!(&error, EngineError::Rejected { .. }), "{error:?}");
    assert_eq!(pair.a.refuse(&bad, &known).unwrap(), MoveOutcome::Moved);
    is_refused(pair.a.as_mut(), &bad, &good);
}

#[test]
fn a_commit_with_uncommitted_work_on_it_stays() {
    let (mut pair, path) = pair_at();
    let known = pair.exec(Side::A, TABLE);
    other(&path, "CREATE VIEW v AS SELECT * FROM nowhere; SELECT dolt_commit('-A', '-m', 'bad')");
    other(&path, "INSERT INTO t VALUES (2, 2)");
    let bad = pair.a.main().unwrap();
    assert!(pair.a.inspect(&bad, Some(&known)).unwrap().is_some());
    let tables = vec!["t".to_owned()];
    assert_eq!(pair.a.refuse(&bad, &known).unwrap(), MoveOutcome::Dirty(tables));
    assert_eq!(pair.a.main().unwrap(), bad);
    assert_eq!(pair.a.discard().unwrap(), ["t"]);
    assert_eq!(pair.a.refuse(&bad, &known).unwrap(), MoveOutcome::Moved);
    is_refused(pair.a.as_mut(), &bad, &known);
}

#[test]
fn a_database_opens_whatever_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let mut engine = DoltLite::create(&path).unwrap();
    engine.found(&meta_at("found", 1_700_000_000)).unwrap();
    let done = engine.exec_and_commit(&[TABLE.into()], &meta_at("x", 1_700_000_001)).unwrap();
    let good = done.commit.unwrap();
    other(&path, UNREADABLE);
    let bad = engine.main().unwrap();
    drop(engine);
    let mut engine = DoltLite::open(&path).unwrap();
    is_refused(&mut engine, &bad, &good);
}

#[test]
fn moving_main_costs_little_with_many_tables() {
    let pair = &mut pair();
    let mut moves = |tables: usize| {
        let names =
            (0..tables).map(|n| format!("CREATE TABLE m{tables}_{n} (id INTEGER PRIMARY KEY);"));
        let base = pair.exec(Side::A, &names.collect::<String>());
        let side = pair.exec(Side::A, &format!("INSERT INTO m{tables}_1 VALUES (1)"));
        assert_eq!(pair.a.move_main(&side, &base).unwrap(), MoveOutcome::Moved);
        let other = pair.exec(Side::A, &format!("INSERT INTO m{tables}_1 VALUES (2)"));
        let begin = Instant::now();
        for _ in 0..3 {
            assert_eq!(pair.a.move_main(&other, &side).unwrap(), MoveOutcome::Moved);
            assert_eq!(pair.a.move_main(&side, &other).unwrap(), MoveOutcome::Moved);
        }
        begin.elapsed()
    };
    // The engine's own reset takes ten thousand times as long for a hundred times the tables.
    let (few, many) = (moves(4), moves(400));
    assert!(many < few * 100 + Duration::from_millis(500), "{many:?} against {few:?}");
}

#[test]
fn ignored_tables_outlive_a_move() {
    let (mut pair, path) = pair_at();
    let base = pair.exec(Side::A, &format!("{TABLE}; INSERT INTO dolt_ignore VALUES ('mi%', 1)"));
    let side = pair.exec(Side::A, "INSERT INTO t VALUES (2, 2)");
    other(&path, "CREATE TABLE mine (a); INSERT INTO mine VALUES (5)");
    for (from, to) in [(side, base), (base, side)] {
        assert_eq!(pair.a.move_main(&from, &to).unwrap(), MoveOutcome::Moved);
        assert_eq!(query(pair.a.as_ref(), "SELECT a FROM mine"), json!([[5]]));
    }
    assert_eq!(query(pair.a.as_ref(), "SELECT count(*) FROM t"), json!([[2]]));
}

#[test]
fn a_schema_that_takes_too_long_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = DoltLite::create(&dir.path().join("a.db")).unwrap();
    engine.found(&meta_at("found", 1_700_000_000)).unwrap();
    engine.checker.set_budget(CheckBudget { steps: 100, ..CheckBudget::default() });
    let views = (1..200).map(|n| format!("CREATE VIEW v{n} AS SELECT * FROM v{};", n - 1));
    let sql = format!("{TABLE}; CREATE VIEW v0 AS SELECT * FROM t; {}", views.collect::<String>());
    let exec = |engine: &mut DoltLite| {
        engine.exec_and_commit(&[sql.as_str().into()], &meta_at("x", 1_700_000_001))
    };
    let error = exec(&mut engine).unwrap_err();
    assert!(error.to_string().contains("it took more than 100 steps"), "{error}");
    assert_eq!(engine.dirty_tables().unwrap(), Vec::<String>::new());
    engine.checker.set_budget(CheckBudget::default());
    assert!(exec(&mut engine).unwrap().commit.is_some());
}

/// Functions that people use in definitions, on every connection.
#[test]
fn regular_expressions_are_known() {
    let pair = &mut pair();
    let commit = pair.exec(
        Side::A,
        "CREATE TABLE m (id INTEGER PRIMARY KEY, mail TEXT CHECK (mail REGEXP '^[^@]+@[^@]+$'));
         INSERT INTO m VALUES (1, 'a@b'), (2, NULL)",
    );
    let message = rejected(pair, "INSERT INTO m VALUES (3, 'nobody')");
    assert!(message.contains("CHECK"), "{message}");
    let message = rejected(pair, "INSERT INTO m SELECT 4, 'x' REGEXP '('");
    assert!(message.contains("pattern"), "{message}");
    pair.share(&commit);
    let found = pair.query("SELECT id, mail REGEXP '@b' FROM m ORDER BY id");
    assert_eq!(found, json!([[1, 1], [2, null]]));
    let conflicts = pair.settled("", "UPDATE m SET mail = 'c@d'", "UPDATE m SET mail = 'e@f'");
    assert!(conflicts >= 1);
}

/// A trigger that reads a view without end stops the statement, and only this one.
#[test]
fn a_trigger_without_end_is_stopped() {
    let pair = &mut pair();
    pair.exec(
        Side::A,
        &format!(
            "{TABLE}; CREATE VIEW endless AS WITH RECURSIVE n (i) AS
               (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n;
             CREATE TRIGGER g AFTER INSERT ON t BEGIN
               UPDATE t SET a = (SELECT count(*) FROM endless); END"
        ),
    );
    let stop = Arc::new(Stop::after(Duration::from_millis(100)));
    let error = stop::run(&stop, || pair.try_exec(Side::A, "INSERT INTO t VALUES (2, 2)"));
    let error = error.unwrap_err();
    assert!(matches!(error, EngineError::Stopped { .. }), "{error:?}");
    assert_eq!(pair.a.dirty_tables().unwrap(), Vec::<String>::new());
    pair.exec(Side::A, "UPDATE t SET a = 7");
}

/// A trigger is another's word, and the commit would be signed by whoever inserts.
#[test]
fn a_trigger_cannot_empty_the_records() {
    let pair = &mut pair();
    pair.settled(TABLE, "UPDATE t SET a = 1", "UPDATE t SET a = 2");
    assert_eq!(query(pair.a.as_ref(), "SELECT count(*) FROM swarm_conflicts"), json!([[1]]));
    let trigger = "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM swarm_conflicts; END";
    pair.exec(Side::A, trigger);
    for sql in ["INSERT INTO t VALUES (2, 2)", "REPLACE INTO t VALUES (2, 2)"] {
        let message = rejected(pair, sql);
        assert!(message.contains("swarm_conflicts"), "{message}");
    }
    pair.exec(Side::A, "UPDATE t SET a = 7");
    pair.exec(Side::A, "DROP TRIGGER g; INSERT INTO t VALUES (2, 2)");
    assert_eq!(query(pair.a.as_ref(), "SELECT count(*) FROM swarm_conflicts"), json!([[1]]));
    // In the transaction that makes it, too.
    rejected(pair, &format!("{trigger}; INSERT INTO t VALUES (3, 3)"));
    let statements = [trigger.into(), "INSERT INTO t VALUES (3, 3)".into()];
    let meta = meta_at("x", 1_700_000_009);
    assert!(pair.a.exec_and_commit(&statements, &meta).is_err());
}

#[test]
fn a_commit_of_another_program_takes_no_record_away() {
    let (mut pair, path) = pair_at();
    pair.settled(TABLE, "UPDATE t SET a = 1", "UPDATE t SET a = 2");
    let good = pair.a.main().unwrap();
    let commit = |sql: &str| format!("{sql}; SELECT dolt_commit('-A', '-m', 'x')");
    for sql in [
        "DELETE FROM swarm_conflicts",
        "UPDATE swarm_conflicts SET loser = NULL",
        "DROP TABLE swarm_conflicts",
    ] {
        other(&path, &commit(sql));
        let bad = pair.a.main().unwrap();
        let reason = pair.a.inspect_foreign(&bad, &good).unwrap().expect(sql);
        assert!(reason.contains("swarm_conflicts"), "{reason}");
        assert_eq!(pair.a.refuse(&bad, &good).unwrap(), MoveOutcome::Moved);
    }
    other(&path, &commit("UPDATE swarm_conflicts SET state = 'resolved'; DELETE FROM t"));
    let resolved = pair.a.main().unwrap();
    assert_eq!(pair.a.inspect_foreign(&resolved, &good).unwrap(), None);
    assert_eq!(pair.a.refused().unwrap().len(), 3);
}

#[test]
fn versions_of_an_application_are_data() {
    let pair = &mut pair();
    let commit = pair.exec(Side::A, &format!("{TABLE}; PRAGMA user_version = 7"));
    pair.exec(Side::A, "PRAGMA application_id = 9");
    assert_eq!(query(pair.a.as_ref(), "PRAGMA user_version"), json!([[7]]));
    assert_eq!(query(pair.a.as_ref(), "PRAGMA application_id"), json!([[9]]));
    pair.share(&commit);
    assert_eq!(query(pair.b.as_ref(), "PRAGMA user_version"), json!([[7]]));
    let error = pair.a.reader().unwrap().query("PRAGMA user_version = 8", &[], 1).unwrap_err();
    assert!(matches!(error, EngineError::Rejected { .. }), "{error:?}");
}

#[test]
fn a_spatial_index_can_be_checked() {
    let pair = &mut pair();
    pair.exec(Side::A, "CREATE VIRTUAL TABLE r USING rtree (id, x0, x1)");
    pair.exec(Side::A, "INSERT INTO r VALUES (1, 0, 1)");
    assert_eq!(query(pair.a.as_ref(), "PRAGMA integrity_check"), json!([["ok"]]));
}
