//! Users' statements.

use serde_json::json;

use super::{Pair, Side, Statement, query};
use crate::engine::{CommitMeta, EngineError, EngineResult, Executed, Value};

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 0)";

/// Requires that statements are rejected and that nothing of them stays.
fn rejected(pair: &mut Pair, statements: &[Statement]) -> String {
    let (main, state) = (pair.a.main().unwrap(), pair.a.state_hash().unwrap());
    let meta = pair.meta("to be rejected");
    let error = pair.a.exec_and_commit(statements, &meta).unwrap_err();
    let EngineError::Rejected { message } = error else { panic!("{statements:?}: {error:?}") };
    assert_eq!(pair.a.main().unwrap(), main, "{statements:?}");
    assert_eq!(pair.a.state_hash().unwrap(), state, "{statements:?}");
    assert_eq!(pair.a.dirty_tables().unwrap(), Vec::<String>::new(), "{statements:?}");
    message
}

pub(crate) fn a_commit_says_what_it_did(pair: &mut Pair) {
    let parent = pair.a.main().unwrap();
    let done = pair.try_exec(Side::A, &format!("{TABLE}, (2, 0); UPDATE t SET a = 1")).unwrap();
    assert_eq!((done.parent, done.rows_affected), (parent, 4));
    assert_eq!(done.commit, Some(pair.a.main().unwrap()));
}

pub(crate) fn nothing_changed_is_no_commit(pair: &mut Pair) {
    pair.exec(Side::A, TABLE);
    let main = pair.a.main().unwrap();
    for sql in ["UPDATE t SET a = 5 WHERE id = 99", "SELECT * FROM t", "", "-- nothing"] {
        let done = pair.try_exec(Side::A, sql).unwrap();
        assert_eq!(done, Executed { commit: None, parent: main, rows_affected: 0 }, "{sql}");
    }
    let back_again = "UPDATE t SET a = 5; UPDATE t SET a = 0";
    assert_eq!(pair.try_exec(Side::A, back_again).unwrap().commit, None);
    assert_eq!(pair.a.main().unwrap(), main);
}

pub(crate) fn an_error_leaves_nothing(pair: &mut Pair) {
    pair.exec(Side::A, TABLE);
    for last in ["INSERT INTO t VALUES (1, 1)", "INSERT INTO nowhere VALUES (1)", "nonsense"] {
        let first = "CREATE TABLE n (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (2, 2)";
        rejected(pair, &[first.into(), last.into()]);
        rejected(pair, &[format!("{first}; {last}").into()]);
    }
    pair.exec(Side::A, "INSERT INTO t VALUES (2, 3)");
    assert_eq!(query(pair.a.as_ref(), "SELECT * FROM t ORDER BY id"), json!([[1, 0], [2, 3]]));
}

pub(crate) fn several_statements_in_one_text(pair: &mut Pair) {
    let sql = "CREATE TABLE s (id INTEGER PRIMARY KEY, x VARCHAR(40)); -- a ; in a comment\n
        INSERT INTO s VALUES (1, 'a ; in a text'), (2, 'it''s'); /* ; */ ;
        INSERT INTO s SELECT 3, CASE WHEN 1 = 1 THEN 'end;' ELSE 'x' END;";
    assert_eq!(pair.try_exec(Side::A, sql).unwrap().rows_affected, 3);
    assert_eq!(
        query(pair.a.as_ref(), "SELECT x FROM s ORDER BY id"),
        json!([["a ; in a text"], ["it's"], ["end;"]])
    );
}

pub(crate) fn parameters_are_values(pair: &mut Pair) {
    pair.exec(Side::A, "CREATE TABLE s (id INTEGER PRIMARY KEY, x VARCHAR(80), b BLOB, r DOUBLE)");
    let hostile = "'); DROP TABLE s; --\u{0}\u{1f42c}";
    let params = vec![1.into(), hostile.into(), vec![0_u8, 255].into(), 0.5.into()];
    let insert = "INSERT INTO s VALUES (?, ?, ?, ?)";
    let meta = pair.meta("with values");
    let statement = Statement::new(insert, params.clone());
    assert_eq!(pair.a.exec_and_commit(&[statement], &meta).unwrap().rows_affected, 1);
    let mut reader = pair.a.reader().unwrap();
    let rows = reader.query("SELECT * FROM s WHERE x = ?", &[hostile.into()], 10).unwrap();
    assert_eq!(rows.columns, ["id", "x", "b", "r"]);
    assert_eq!(rows.rows, [params]);
    let few = Statement::new(insert, vec![Value::from(2)]);
    rejected(pair, &[few]);
    rejected(pair, &["INSERT INTO s (id) VALUES (?)".into()]);
    let two = Statement::new("INSERT INTO s (id) VALUES (?); SELECT 1", vec![Value::from(2)]);
    rejected(pair, &[two]);
}

pub(crate) fn foreign_keys_are_enforced(pair: &mut Pair) {
    pair.exec(
        Side::A,
        "CREATE TABLE p (id INTEGER PRIMARY KEY);
         CREATE TABLE c (id INTEGER PRIMARY KEY, pid INT, FOREIGN KEY (pid) REFERENCES p (id))",
    );
    rejected(pair, &["INSERT INTO c VALUES (1, 5)".into()]);
    pair.exec(Side::A, "INSERT INTO p VALUES (5); INSERT INTO c VALUES (1, 5)");
    rejected(pair, &["DELETE FROM p".into()]);
}

pub(crate) fn version_control_is_refused(pair: &mut Pair) {
    pair.exec(Side::A, TABLE);
    for call in [
        "dolt_commit('-A', '-m', 'x')",
        "dolt_reset('--hard')",
        "dolt_checkout('-b', 'x')",
        "dolt_merge('main')",
        "dolt_branch('x')",
        "dolt_tag('x')",
        "dolt_remote('add', 'x', 'file:///x')",
        "dolt_fetch('x')",
        "dolt_push('x')",
        "dolt_gc()",
        "dolt_add('-A')",
        "dolt_revert('HEAD')",
    ] {
        let sql = format!("INSERT INTO t VALUES (2, 2); SELECT {call}");
        let message = rejected(pair, &[sql.into()]);
        assert!(message.contains("is not allowed here"), "{message}");
    }
}

pub(crate) fn transactions_are_refused(pair: &mut Pair) {
    pair.exec(Side::A, TABLE);
    for sql in ["COMMIT", "ROLLBACK", "BEGIN", "SAVEPOINT s", "/* x */ commit"] {
        let message = rejected(pair, &[format!("INSERT INTO t VALUES (2, 2); {sql}").into()]);
        assert!(message.contains("transaction"), "{message}");
    }
}

pub(crate) fn uncommitted_work_is_not_swept_in(pair: &mut Pair) {
    pair.exec(Side::A, TABLE);
    pair.backend.meddle(Side::A, "INSERT INTO t VALUES (7, 7)");
    let error = pair.try_exec(Side::A, "INSERT INTO t VALUES (8, 8)").unwrap_err();
    assert!(matches!(&error, EngineError::Dirty { tables } if tables == &["t"]), "{error}");
    assert_eq!(query(pair.a.as_ref(), "SELECT id FROM t ORDER BY id"), json!([[1], [7]]));
}

pub(crate) fn pending_work_is_committed(pair: &mut Pair) {
    let parent = pair.exec(Side::A, TABLE);
    let meta = pair.meta("pending");
    assert_eq!(pair.a.commit_pending(&meta).unwrap().commit, None);
    pair.backend.meddle(Side::A, "INSERT INTO t VALUES (7, 7)");
    let done = pair.a.commit_pending(&meta).unwrap();
    assert_eq!(done.parent, parent);
    assert_eq!(pair.a.main().unwrap(), done.commit.unwrap());
    assert_eq!(pair.a.dirty_tables().unwrap(), Vec::<String>::new());
    let info = pair.a.commit_info(&done.commit.unwrap()).unwrap().unwrap();
    assert_eq!((info.message.as_str(), info.seconds), ("pending", meta.seconds));
}

pub(crate) fn a_failed_commit_leaves_nothing(pair: &mut Pair) {
    let family = "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE other (id INTEGER PRIMARY KEY, pid INT,
             FOREIGN KEY (pid) REFERENCES parent (id))";
    let orphan = "CREATE TABLE child (id INTEGER PRIMARY KEY, pid INT,
             FOREIGN KEY (pid) REFERENCES nobody (id))";
    pair.exec(Side::A, &format!("{TABLE}; {family}"));
    rejected(pair, &["INSERT INTO t VALUES (2, 2)".into(), orphan.into()]);
    rejected(pair, &["INSERT INTO t VALUES (2, 2)".into(), "DROP TABLE parent".into()]);
    pair.exec(Side::A, "INSERT INTO t VALUES (2, 3)");
    assert_eq!(query(pair.a.as_ref(), "SELECT * FROM t ORDER BY id"), json!([[1, 0], [2, 3]]));
}

pub(crate) fn uncommitted_work_is_discarded(pair: &mut Pair) {
    let commit = pair.exec(Side::A, TABLE);
    assert_eq!(pair.a.discard().unwrap(), Vec::<String>::new());
    pair.backend.meddle(Side::A, "INSERT INTO t VALUES (7, 7)");
    pair.backend.meddle(Side::A, "CREATE TABLE n (id INTEGER PRIMARY KEY)");
    assert_eq!(pair.a.discard().unwrap(), ["n", "t"]);
    assert_eq!(pair.a.dirty_tables().unwrap(), Vec::<String>::new());
    assert_eq!(pair.a.main().unwrap(), commit);
    assert_eq!(query(pair.a.as_ref(), "SELECT * FROM t"), json!([[1, 0]]));
    pair.exec(Side::A, "CREATE TABLE n (id INTEGER PRIMARY KEY)");
}

pub(crate) fn strange_authors_are_refused(pair: &mut Pair) {
    let good = super::meta_at("m", 1_700_000_000);
    let name = |name: &str| CommitMeta { author_name: name.to_owned(), ..good.clone() };
    for meta in [
        name(""),
        name("A <b@c> D"),
        name("two\nlines"),
        CommitMeta { author_email: " ".to_owned(), ..good.clone() },
        CommitMeta { author_email: "a>b".to_owned(), ..good.clone() },
        CommitMeta { seconds: i64::MAX, ..good.clone() },
    ] {
        let result: EngineResult<_> = pair.a.exec_and_commit(&[TABLE.into()], &meta);
        assert!(matches!(result, Err(EngineError::Rejected { .. })), "{meta:?}");
    }
    let odd = CommitMeta { author_name: "Ünï 'quo\"te' ☃ -m".to_owned(), ..good };
    let commit = pair.a.exec_and_commit(&[TABLE.into()], &odd).unwrap().commit.unwrap();
    assert_eq!(pair.a.commit_info(&commit).unwrap().unwrap().author_name, odd.author_name);
}

pub(crate) fn readers_do_not_write(pair: &mut Pair) {
    pair.exec(Side::A, TABLE);
    let state = pair.a.state_hash().unwrap();
    let mut reader = pair.a.reader().unwrap();
    for sql in [
        "INSERT INTO t VALUES (2, 2)",
        "UPDATE t SET a = 5",
        "DELETE FROM t",
        "DROP TABLE t",
        "CREATE TABLE n (id INTEGER PRIMARY KEY)",
        "SELECT dolt_commit('-A', '-m', 'x')",
        "SELECT dolt_reset('--hard')",
        "BEGIN",
        "SELECT 1; DELETE FROM t",
    ] {
        let error = reader.query(sql, &[], 10).unwrap_err();
        assert!(matches!(error, EngineError::Rejected { .. }), "{sql}: {error:?}");
    }
    assert_eq!(reader.query("SELECT a FROM t", &[], 10).unwrap().rows, [[Value::from(0)]]);
    assert_eq!(pair.a.state_hash().unwrap(), state);
    assert_eq!(pair.a.dirty_tables().unwrap(), Vec::<String>::new());
}

pub(crate) fn readers_have_a_limit(pair: &mut Pair) {
    pair.exec(Side::A, &format!("{TABLE}, (2, 0), (3, 0)"));
    let mut reader = pair.a.reader().unwrap();
    assert_eq!(reader.query("SELECT * FROM t", &[], 3).unwrap().rows.len(), 3);
    let error = reader.query("SELECT * FROM t", &[], 2).unwrap_err();
    assert!(matches!(error, EngineError::TooLarge { limit: 2 }), "{error}");
    let none = reader.query("SELECT * FROM t WHERE id > 5", &[], 2).unwrap();
    assert_eq!((none.columns.len(), none.rows.len()), (2, 0));
}
