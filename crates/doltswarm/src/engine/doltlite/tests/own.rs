//! What only DoltLite has.

use serde_json::json;

use super::super::DoltLite;
use super::super::ffi::Connection;
use super::pair;
use crate::engine::conformance::{Pair, Side, breaking_after, merge, meta_at, query};
use crate::engine::{Engine, EngineError, MergeOutcome, Statement};
use doltswarm_core::commit::ConflictPolicy;
use doltswarm_core::id::CommitHash;

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 0)";

fn corrupt(content: Option<&[u8]>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some.db");
    if let Some(content) = content {
        std::fs::write(&path, content).unwrap();
    }
    match DoltLite::open(&path).map(|_| ()).unwrap_err() {
        EngineError::Corrupt { message } => {
            assert!(message.contains("some.db"), "{message}");
            assert_eq!(path.exists(), content.is_some(), "opening must not make a file");
            message
        }
        error => panic!("{error:?}"),
    }
}

#[test]
fn only_databases_of_the_engine_open() {
    assert!(corrupt(None).contains("cannot be read"));
    assert!(corrupt(Some(b"")).contains("is empty"));
    assert!(corrupt(Some(b"just some text in a file")).contains("not a DoltLite database"));
    let mut plain = b"SQLite format 3\0".to_vec();
    plain.resize(4096, 0);
    assert!(corrupt(Some(&plain)).contains("plain SQLite database"));
    // Cut off in the middle of the header.
    corrupt(Some(b"CTLD\x0c\0\0\0 and then nothing that makes sense"));
}

#[test]
fn nothing_is_overwritten_and_no_half_clone_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    std::fs::write(&path, b"mine").unwrap();
    let nowhere = || breaking_after(pair().a.as_ref(), 0);
    let commit = CommitHash::from_bytes([9; 20]);
    for result in [DoltLite::create(&path), DoltLite::clone_from(&path, nowhere(), &commit)] {
        assert!(matches!(result, Err(EngineError::Rejected { .. })));
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    let path = dir.path().join("b.db");
    assert!(DoltLite::clone_from(&path, nowhere(), &commit).is_err());
    assert!(!path.exists());
}

#[test]
fn a_database_opens_again_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let mut engine = DoltLite::create(&path).unwrap();
    let root = engine.main().unwrap();
    assert!(engine.commit_info(&root).unwrap().unwrap().parents.is_empty());
    let founding = engine.found(&meta_at("found", 1_700_000_000)).unwrap();
    drop(engine);
    let mut engine = DoltLite::open(&path).unwrap();
    assert_eq!(engine.main().unwrap(), founding);
    assert_eq!(engine.version(), "0.51.6");
    assert_eq!(engine.commit_info(&founding).unwrap().unwrap().parents, [root]);
}

/// Found an existing database: what lies uncommitted goes into the founding commit.
#[test]
fn founding_takes_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    drop(DoltLite::create(&path).unwrap());
    Connection::open(&path, false).unwrap().batch(TABLE).unwrap();
    let mut engine = DoltLite::open(&path).unwrap();
    engine.found(&meta_at("found", 1_700_000_000)).unwrap();
    assert_eq!(engine.dirty_tables().unwrap(), Vec::<String>::new());
    assert_eq!(query(&engine, "SELECT * FROM t"), json!([[1, 0]]));
}

#[test]
fn a_default_branch_of_another_program_does_not_mislead() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let mut engine = DoltLite::create(&path).unwrap();
    let founding = engine.found(&meta_at("found", 1_700_000_000)).unwrap();
    let other = Connection::open(&path, false).unwrap();
    other.batch("SELECT dolt_branch('dev'); SELECT dolt_default_branch('dev')").unwrap();
    let mut again = DoltLite::open(&path).unwrap();
    let sql = "CREATE TABLE n (id INTEGER PRIMARY KEY)";
    let done = again.exec_and_commit(&[sql.into()], &meta_at("x", 1_700_000_001)).unwrap();
    assert_eq!(done.parent, founding);
    assert_eq!(engine.main().unwrap(), done.commit.unwrap());
    assert_eq!(query(&again, "SELECT count(*) FROM n"), json!([[0]]));
}

fn refused(pair: &mut Pair, sql: &str) -> String {
    let main = pair.a.main().unwrap();
    let error = pair.try_exec(Side::A, sql).unwrap_err();
    let EngineError::Rejected { message } = error else { panic!("{sql}: {error:?}") };
    assert_eq!(pair.a.main().unwrap(), main, "{sql}");
    assert_eq!(pair.a.dirty_tables().unwrap(), Vec::<String>::new(), "{sql}");
    message
}

#[test]
fn statements_cannot_leave_the_transaction() {
    let pair = &mut pair();
    pair.exec(Side::A, TABLE);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.db");
    for sql in [
        format!("ATTACH '{}' AS x", file.display()),
        format!("VACUUM INTO '{}'", file.display()),
        "DETACH main".to_owned(),
        "VACUUM".to_owned(),
        "PRAGMA foreign_keys = OFF".to_owned(),
        "PRAGMA writable_schema = ON".to_owned(),
        "RELEASE x".to_owned(),
        "END".to_owned(),
        "CREATE TEMP TABLE t (id INTEGER PRIMARY KEY)".to_owned(),
        "SELECT dolt_connect_branch('x')".to_owned(),
        "SELECT load_extension('x')".to_owned(),
        "DELETE FROM swarm_conflicts".to_owned(),
        "DROP TABLE swarm_conflicts".to_owned(),
        "ALTER TABLE swarm_conflicts ADD COLUMN x INT".to_owned(),
        "INSERT OR ROLLBACK INTO t VALUES (1, 1)".to_owned(),
    ] {
        refused(pair, &format!("INSERT INTO t VALUES (2, 2); {sql}"));
    }
    assert!(!file.exists());
    let mut reader = pair.a.reader().unwrap();
    for sql in [format!("VACUUM INTO '{}'", file.display()), "PRAGMA query_only = OFF".to_owned()] {
        assert!(matches!(reader.query(&sql, &[], 1), Err(EngineError::Rejected { .. })), "{sql}");
    }
    assert!(!file.exists());
    reader.query("SELECT * FROM pragma_table_info('t'), dolt_log", &[], 100).unwrap();
}

/// The text of the SQL does not show it, but the engine's parser does.
#[test]
fn version_control_is_refused_inside_triggers_and_views() {
    let pair = &mut pair();
    pair.exec(
        Side::A,
        &format!(
            "{TABLE}; CREATE TRIGGER g AFTER INSERT ON t BEGIN
               UPDATE t SET a = CASE WHEN a > 0 THEN 1 ELSE 0 END; END"
        ),
    );
    pair.exec(Side::A, "INSERT INTO t VALUES (2, 5)");
    assert_eq!(query(pair.a.as_ref(), "SELECT a FROM t ORDER BY id"), json!([[0], [1]]));
    let bad = "CREATE TRIGGER b AFTER DELETE ON t BEGIN SELECT dolt_commit('-A', '-m', 'x'); END";
    assert!(refused(pair, bad).contains("dolt_commit"));
    assert!(refused(pair, &format!("{bad}; DELETE FROM t")).contains("dolt_commit"));
    let view = "CREATE VIEW v AS SELECT dolt_reset('--hard', 'HEAD~1')";
    assert!(refused(pair, view).contains("dolt_reset"));
    assert!(refused(pair, &format!("{view}; SELECT * FROM v")).contains("dolt_reset"));
    pair.backend.meddle(Side::A, view);
    let error = pair.a.reader().unwrap().query("SELECT * FROM v", &[], 1).unwrap_err();
    assert!(error.to_string().contains("dolt_reset"), "{error}");
}

#[test]
fn deferred_foreign_keys_hold_at_the_commit() {
    let pair = &mut pair();
    pair.exec(
        Side::A,
        "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (id INTEGER PRIMARY KEY,
           pid INT REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)",
    );
    assert!(refused(pair, "INSERT INTO c VALUES (1, 7)").contains("FOREIGN KEY"));
    pair.exec(Side::A, "INSERT INTO c VALUES (1, 7); INSERT INTO p VALUES (7)");
    pair.exec(
        Side::A,
        "PRAGMA defer_foreign_keys = ON; DELETE FROM p; INSERT INTO p VALUES (7), (8)",
    );
}

#[test]
fn a_busy_database_is_busy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let mut engine = DoltLite::create(&path).unwrap();
    engine.found(&meta_at("found", 1_700_000_000)).unwrap();
    let other = Connection::open(&path, false).unwrap();
    other.batch("BEGIN IMMEDIATE; CREATE TABLE x (a)").unwrap();
    let statements = [Statement::from(TABLE)];
    let error = engine.exec_and_commit(&statements, &meta_at("x", 1_700_000_001)).unwrap_err();
    assert!(matches!(error, EngineError::Busy) && error.is_retryable(), "{error:?}");
    other.batch("ROLLBACK").unwrap();
    engine.exec_and_commit(&statements, &meta_at("x", 1_700_000_001)).unwrap();
}

/// The engine's own commit fails after it has ended the transaction.
#[test]
fn a_failed_commit_of_pending_work_changes_nothing() {
    let pair = &mut pair();
    let main = pair.exec(Side::A, TABLE);
    let orphan = "CREATE TABLE child (id TEXT PRIMARY KEY, p TEXT REFERENCES parent (id))";
    pair.backend.meddle(Side::A, &format!("INSERT INTO t VALUES (2, 2); {orphan}"));
    let status = "SELECT table_name, staged FROM dolt_status ORDER BY 1";
    let before = query(pair.a.as_ref(), status);
    let error = pair.a.commit_pending(&meta_at("x", 1_700_000_001)).unwrap_err();
    assert!(matches!(&error, EngineError::Rejected { .. }), "{error:?}");
    assert!(error.to_string().contains("`parent`"), "{error}");
    assert_eq!(pair.a.main().unwrap(), main);
    assert_eq!(query(pair.a.as_ref(), status), before);
    assert_eq!(before, json!([["child", 0], ["t", 0]]));
}

#[test]
fn ignored_tables_outlive_a_discard() {
    let pair = &mut pair();
    pair.exec(Side::A, &format!("{TABLE}; INSERT INTO dolt_ignore VALUES ('local%', 1)"));
    pair.backend.meddle(Side::A, "CREATE TABLE local_1 (a); INSERT INTO local_1 VALUES (5)");
    pair.backend.meddle(Side::A, "INSERT INTO t VALUES (7, 7)");
    assert_eq!(pair.a.discard().unwrap(), ["t"]);
    assert_eq!(query(pair.a.as_ref(), "SELECT a FROM local_1"), json!([[5]]));
}

#[test]
fn counted_keys_go_on_counting() {
    let pair = &mut pair();
    let conflicts = pair.settled(
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, v INT); INSERT INTO t (v) VALUES (0)",
        "INSERT INTO t (v) VALUES (1)",
        "INSERT INTO t (v) VALUES (2), (3); DELETE FROM t WHERE v = 3",
    );
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM t ORDER BY id"), json!([[1, 0], [2, 2]]));
    let next = "INSERT INTO t (v) VALUES (9)";
    assert_eq!(pair.exec(Side::A, next), {
        // Both databases give the row the same key, so at the same time it is the same commit.
        let meta = meta_at("change", 1_800_000_004);
        pair.b.exec_and_commit(&[next.into()], &meta).unwrap().commit.unwrap()
    });
    assert_eq!(pair.query("SELECT max(id) FROM t"), json!([[4]]));
}

#[test]
fn tables_without_rowid_and_strict_ones() {
    let pair = &mut pair();
    let conflicts = pair.settled(
        "CREATE TABLE w (k TEXT, n INT, u INT UNIQUE, PRIMARY KEY (k, n)) WITHOUT ROWID;
         CREATE TABLE s (id INTEGER PRIMARY KEY, a INT, x ANY) STRICT;
         INSERT INTO w VALUES ('a', 1, 1), ('b', 1, 2); INSERT INTO s VALUES (1, 1, 'x')",
        "UPDATE w SET u = 5 WHERE k = 'a'; UPDATE s SET a = 2; INSERT INTO w VALUES ('c', 1, 7)",
        "UPDATE w SET u = 6 WHERE k = 'a'; UPDATE s SET a = 3, x = 1.5;
         INSERT INTO w VALUES ('d', 1, 7)",
    );
    assert_eq!(conflicts, 3);
    assert_eq!(
        pair.query("SELECT * FROM w ORDER BY k"),
        json!([["a", 1, 6], ["b", 1, 2], ["d", 1, 7]])
    );
    assert_eq!(pair.query("SELECT * FROM s"), json!([[1, 3, 1.5]]));
}

#[test]
fn generated_columns_are_left_to_the_engine() {
    let pair = &mut pair();
    let conflicts = pair.settled(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v AS (b + 1), b INT, s AS (b * 2) STORED UNIQUE,
           CHECK (v < 100));
         INSERT INTO t (id, b) VALUES (1, 1)",
        "UPDATE t SET b = 2; INSERT INTO t (id, b) VALUES (2, 7)",
        "UPDATE t SET b = 3; INSERT INTO t (id, b) VALUES (3, 7)",
    );
    assert_eq!(conflicts, 2);
    assert_eq!(
        pair.query("SELECT id, v, b, s FROM t ORDER BY id"),
        json!([[1, 4, 3, 6], [3, 8, 7, 14]])
    );
    let loser = "SELECT loser FROM swarm_conflicts WHERE kind = 'row'";
    assert_eq!(pair.query(loser), json!([["{\"b\":2}"]]));
}

#[test]
fn collations_expressions_and_partial_indexes_are_unique_too() {
    let pair = &mut pair();
    let conflicts = pair.settled(
        "CREATE TABLE n (id INTEGER PRIMARY KEY, u TEXT COLLATE NOCASE UNIQUE);
         CREATE TABLE e (id INTEGER PRIMARY KEY, u TEXT); CREATE UNIQUE INDEX e1 ON e (lower(u));
         CREATE TABLE p (id INTEGER PRIMARY KEY, u INT, live INT);
         CREATE UNIQUE INDEX p1 ON p (u) WHERE live;
         INSERT INTO n VALUES (9, 'z'); INSERT INTO e VALUES (9, 'z')",
        "INSERT INTO n VALUES (1, 'a'); INSERT INTO e VALUES (1, 'a');
         INSERT INTO p VALUES (1, 7, 1), (2, 8, 0);
         UPDATE n SET u = 'o' WHERE id = 9; INSERT INTO n VALUES (8, 'T');
         UPDATE e SET u = 'o' WHERE id = 9; INSERT INTO e VALUES (8, 'T')",
        "INSERT INTO n VALUES (2, 'A'); INSERT INTO e VALUES (2, 'A');
         INSERT INTO p VALUES (3, 7, 1), (4, 8, 1);
         UPDATE n SET u = 't' WHERE id = 9; UPDATE e SET u = 't' WHERE id = 9",
    );
    assert_eq!(pair.query("SELECT * FROM n ORDER BY id"), json!([[2, "A"], [9, "t"]]));
    assert_eq!(pair.query("SELECT id FROM p ORDER BY id"), json!([[2], [3], [4]]));
    assert_eq!(pair.query("SELECT * FROM e ORDER BY id"), json!([[2, "A"], [9, "t"]]));
    assert_eq!(conflicts, 7);
}

/// A trigger could call the clock; and its work is in the commits already.
#[test]
fn settling_fires_no_trigger() {
    let pair = &mut pair();
    let conflicts = pair.settled(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, u INT UNIQUE);
         CREATE TABLE log (id INTEGER PRIMARY KEY, at TEXT);
         CREATE TRIGGER d AFTER DELETE ON t BEGIN INSERT INTO log (at) VALUES (random()); END;
         CREATE TRIGGER i AFTER INSERT ON t BEGIN INSERT INTO log (at) VALUES (random()); END",
        "INSERT INTO t VALUES (1, 7); DELETE FROM log",
        "INSERT INTO t VALUES (2, 7); DELETE FROM log",
    );
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM log"), json!([]));
}

#[test]
fn a_foreign_key_of_a_table_without_a_key() {
    let pair = &mut pair();
    let conflicts = pair.settled(
        "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE log (what TEXT, pid INT REFERENCES p);
         INSERT INTO p VALUES (1), (2)",
        "DELETE FROM p WHERE id = 1; INSERT INTO log VALUES ('ours', 2)",
        "INSERT INTO log VALUES ('theirs', 1), ('more', 2)",
    );
    assert_eq!(conflicts, 1);
    let rows = pair.query("SELECT what FROM log ORDER BY what");
    assert_eq!(rows, json!([["more"], ["ours"]]));
}

#[test]
fn statistics_do_not_get_in_the_way() {
    let pair = &mut pair();
    let conflicts = pair.settled(
        &format!("{TABLE}; CREATE INDEX i ON t (a); ANALYZE"),
        "INSERT INTO t VALUES (5, 5); ANALYZE",
        "INSERT INTO t VALUES (6, 5), (7, 7); ANALYZE",
    );
    assert_eq!(conflicts, 0);
}

/// A process killed in a merge, or a curious person, leaves something on the private branch.
#[test]
fn a_mess_on_the_merge_branch_is_cleared() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let mut engine = DoltLite::create(&path).unwrap();
    engine.found(&meta_at("found", 1_700_000_000)).unwrap();
    let commit = |engine: &mut DoltLite, sql: &str| {
        engine.exec_and_commit(&[sql.into()], &meta_at("x", 1_700_000_001)).unwrap().commit.unwrap()
    };
    let base = commit(&mut engine, TABLE);
    let ours = commit(&mut engine, "UPDATE t SET a = 1");
    engine.move_main(&ours, &base).unwrap();
    let theirs = commit(&mut engine, "UPDATE t SET a = 2");
    let policy = ConflictPolicy::Settle;
    let outcome = merge(&mut engine, &ours, &theirs, policy).unwrap();
    assert!(matches!(outcome, MergeOutcome::Merged { conflicts: 1, .. }));
    let other = Connection::open(&path, false).unwrap();
    other
        .batch(
            "SELECT dolt_checkout('swarm/merge'); CREATE TABLE junk (a); DELETE FROM t;
             SELECT dolt_add('junk')",
        )
        .unwrap();
    assert_eq!(merge(&mut engine, &ours, &theirs, policy).unwrap(), outcome);
    // A merge that was begun and never ended.
    let side = commit(&mut engine, "INSERT INTO t VALUES (9, 9)");
    other
        .batch(&format!(
            "SELECT dolt_reset('--hard', '{ours}'); SELECT dolt_reset('--hard', '{base}');
             INSERT INTO t VALUES (7, 7); SELECT dolt_commit('-A', '-m', 'x');
             SELECT dolt_merge('{side}', '--no-commit', '--no-ff')"
        ))
        .unwrap();
    let open = other.rows("SELECT is_merging FROM dolt_merge_status", &[]).unwrap();
    assert_eq!(open, [[1.into()]]);
    assert_eq!(merge(&mut engine, &ours, &theirs, policy).unwrap(), outcome);
    other.batch("SELECT dolt_checkout('main'); SELECT dolt_branch('-D', 'swarm/merge')").unwrap();
    drop(other);
    merge(&mut engine, &ours, &theirs, policy).unwrap_err();
    assert_eq!(merge(&mut engine, &ours, &theirs, policy).unwrap(), outcome);
}

#[test]
fn readers_know_tables_made_after_them() {
    let pair = &mut pair();
    let mut reader = pair.a.reader().unwrap();
    reader.query("SELECT 1", &[], 1).unwrap();
    pair.exec(Side::A, "CREATE TABLE late (id INTEGER PRIMARY KEY); INSERT INTO late VALUES (1)");
    assert_eq!(reader.query("SELECT to_id FROM dolt_diff_late", &[], 9).unwrap().rows.len(), 1);
}

/// A present chunk means that all below it are present: so nothing may stay of a broken fetch.
#[test]
fn a_broken_fetch_leaves_no_commit_behind() {
    let pair = &mut pair();
    let rows = (0..4000).map(|n| format!("({n}, 'text {n}')")).collect::<Vec<_>>().join(", ");
    let sql =
        format!("CREATE TABLE t (id INTEGER PRIMARY KEY, b TEXT); INSERT INTO t VALUES {rows}");
    let commit = pair.exec(Side::A, &sql);
    for answers in 1..4 {
        let source = breaking_after(pair.a.as_ref(), answers);
        let error = pair.b.ingest(source, &commit).unwrap_err();
        assert!(matches!(error, EngineError::Failed { .. }), "{error:?}");
        assert_eq!(pair.b.chunks().unwrap().has_many(&[commit.into()]).unwrap(), [false]);
        assert_eq!(pair.b.commit_info(&commit).unwrap(), None, "after {answers} answers");
    }
    pair.transfer(Side::A, &commit);
    assert!(pair.b.commit_info(&commit).unwrap().is_some());
}
