//! What other programs have and this one lacks: modules of virtual tables, and functions.

use std::path::Path;

use doltswarm_core::id::CommitHash;
use serde_json::json;

use super::super::ffi::Connection;
use super::{pair, pair_at};
use crate::engine::conformance::{Pair, Side, Split};

/// The definition of a virtual table whose module nobody here has, as another program leaves it.
const DEFINE: &str = "PRAGMA writable_schema = ON;
     INSERT INTO sqlite_schema VALUES ('table', 'f', 'f', 0, 'CREATE VIRTUAL TABLE f USING fts9(x)');
     PRAGMA writable_schema = RESET";

/// The tables that hold its rows.
const SHADOWS: &str = "CREATE TABLE f_content (id INTEGER PRIMARY KEY, x);
     CREATE TABLE f_index (id INTEGER PRIMARY KEY, x); CREATE INDEX f_by ON f_index (x)";

/// Takes it away again.
const UNDEFINE: &str = "PRAGMA writable_schema = ON;
     DELETE FROM sqlite_schema WHERE name = 'f'; PRAGMA writable_schema = RESET;
     DROP TABLE f_content; DROP TABLE f_index";

const T: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 0)";

/// Another program changes and commits.
fn other(pair: &mut Pair, side: Side, sql: &str) -> CommitHash {
    pair.backend.meddle(side, sql);
    let meta = pair.meta("by another program");
    pair.engine(side).commit_pending(&meta).unwrap().commit.unwrap()
}

/// A pair with the virtual table, and one document in it.
fn with_table() -> Pair {
    let mut pair = pair();
    pair.exec(Side::A, &format!("{T}; {SHADOWS}"));
    let base = other(&mut pair, Side::A, DEFINE);
    pair.share(&base);
    let base = pair.exec(Side::A, "INSERT INTO f_content VALUES (1, 'one')");
    pair.share(&base);
    pair
}

fn split(pair: &mut Pair, ours: CommitHash, theirs: CommitHash) -> Split {
    pair.transfer(Side::B, &theirs);
    pair.transfer(Side::A, &ours);
    Split { ours, theirs }
}

const RECORDS: &str = "SELECT kind, table_name, loser FROM swarm_conflicts ORDER BY 1, 2, 3";

#[test]
fn a_table_without_its_module_is_decided_as_a_whole() {
    let pair = &mut with_table();
    assert_eq!(pair.a.missing_modules().unwrap(), [("f".to_owned(), "fts9".to_owned())]);
    // Each side changes another one of the tables that hold its rows.
    let conflicts = pair.settled(
        "",
        "INSERT INTO f_content VALUES (2, 'ours'); INSERT INTO t VALUES (2, 2)",
        "INSERT INTO f_index VALUES (3, 'theirs'); UPDATE t SET a = 3",
    );
    assert_eq!(pair.query("SELECT x FROM f_content"), json!([["one"]]));
    assert_eq!(pair.query("SELECT x FROM f_index INDEXED BY f_by"), json!([["theirs"]]));
    assert_eq!(pair.query("SELECT id, a FROM t ORDER BY id"), json!([[1, 3], [2, 2]]));
    assert_eq!(conflicts, 2);
    let sql = r#"{"sql":"CREATE VIRTUAL TABLE f USING fts9(x)"}"#;
    let lost = json!([["object", "f", sql], ["row", "f_content", r#"{"id":2,"x":"ours"}"#]]);
    assert_eq!(pair.query(RECORDS), lost);
    assert_eq!(pair.b.missing_modules().unwrap().len(), 1);
}

#[test]
fn a_table_without_its_module_is_kept_when_one_side_changed_it() {
    for (ours, theirs) in [
        ("INSERT INTO f_content VALUES (2, 'two')", "INSERT INTO t VALUES (2, 2)"),
        ("INSERT INTO t VALUES (2, 2)", "INSERT INTO f_content VALUES (2, 'two')"),
        ("INSERT INTO f_content VALUES (2, 'two')", "ALTER TABLE t ADD COLUMN b"),
        ("ALTER TABLE t ADD COLUMN b", "INSERT INTO f_content VALUES (2, 'two')"),
    ] {
        let pair = &mut with_table();
        assert_eq!(pair.settled("", ours, theirs), 0, "{ours} / {theirs}");
        assert_eq!(pair.query("SELECT x FROM f_content"), json!([["one"], ["two"]]));
    }
}

#[test]
fn a_table_without_its_module_is_made_and_dropped() {
    let pair = &mut with_table();
    let ours = pair.exec(Side::A, "INSERT INTO f_content VALUES (2, 'ours')");
    let theirs = other(pair, Side::B, UNDEFINE);
    let split_up = split(pair, ours, theirs);
    assert_eq!(pair.settle(&split_up), 1);
    let names = "SELECT name FROM sqlite_schema WHERE name LIKE 'f%'";
    assert_eq!(pair.query(names), json!([]));
    assert_eq!(pair.a.missing_modules().unwrap(), []);
    let lost = json!([["row", "f_content", r#"{"id":2,"x":"ours"}"#]]);
    assert_eq!(pair.query(RECORDS), lost);

    let ours = pair.exec(Side::A, "ALTER TABLE t ADD COLUMN b");
    pair.exec(Side::B, &format!("{SHADOWS}; INSERT INTO f_content VALUES (7, 'new')"));
    let theirs = other(pair, Side::B, DEFINE);
    let split_up = split(pair, ours, theirs);
    assert_eq!(pair.settle(&split_up), 0);
    assert_eq!(pair.query("SELECT x FROM f_content"), json!([["new"]]));
    assert_eq!(pair.b.missing_modules().unwrap().len(), 1);
}

/// Another program that has a function of its own.
struct Other(Connection);

impl Other {
    fn open(path: &Path) -> Self {
        let connection = Connection::open(path, false).unwrap();
        // Which value it gives is not what matters: that there is one to call is.
        connection.define_absent("their_own").unwrap();
        Self(connection)
    }

    fn commit(&self, pair: &mut Pair, side: Side, sql: &str) -> CommitHash {
        self.0.batch(sql).unwrap();
        let meta = pair.meta("by another program");
        pair.engine(side).commit_pending(&meta).unwrap().commit.unwrap()
    }
}

#[test]
fn a_check_that_nobody_here_can_make_counts_as_passed() {
    for (ours, theirs) in [
        ("INSERT INTO m VALUES (2, 2, 2)", "INSERT INTO m VALUES (3, 3, 3)"),
        (
            "ALTER TABLE m ADD COLUMN c; INSERT INTO m VALUES (2, 2, 2, 0)",
            "ALTER TABLE m ADD COLUMN d; INSERT INTO m VALUES (3, 3, 3, 0)",
        ),
    ] {
        let (mut pair, path) = pair_at();
        let paths = [path.clone(), path.with_file_name("b.db")];
        let table =
            "CREATE TABLE m (id INTEGER PRIMARY KEY, a CHECK (their_own(a) > 5), b CHECK (b < 9));
             INSERT INTO m VALUES (1, 1, 1); CREATE VIEW v AS SELECT their_own(a) FROM m";
        let base = Other::open(&paths[0]).commit(&mut pair, Side::A, table);
        pair.share(&base);
        let ours = Other::open(&paths[0]).commit(&mut pair, Side::A, ours);
        let theirs = Other::open(&paths[1]).commit(&mut pair, Side::B, theirs);
        let split_up = split(&mut pair, ours, theirs);
        assert_eq!(pair.settle(&split_up), 1);
        assert_eq!(pair.query("SELECT id FROM m ORDER BY id"), json!([[1], [2], [3]]));
        let found = "SELECT kind, table_name, row_key FROM swarm_conflicts";
        let record = json!([["check", "m", r#"{"function":"their_own"}"#]]);
        assert_eq!(pair.query(found), record);
        let names = "SELECT name FROM sqlite_schema WHERE type = 'view'";
        assert_eq!(pair.query(names), json!([["v"]]));
    }
}

#[test]
fn a_check_that_can_be_made_is_made_beside_one_that_cannot() {
    let (mut pair, path) = pair_at();
    let paths = [path.clone(), path.with_file_name("b.db")];
    let table =
        "CREATE TABLE m (id INTEGER PRIMARY KEY, a, b, CHECK (their_own(a)), CHECK (a + b < 9));
         INSERT INTO m VALUES (1, 1, 1)";
    let base = Other::open(&paths[0]).commit(&mut pair, Side::A, table);
    pair.share(&base);
    let ours = Other::open(&paths[0]).commit(&mut pair, Side::A, "UPDATE m SET a = 5");
    let theirs = Other::open(&paths[1]).commit(&mut pair, Side::B, "UPDATE m SET b = 6");
    let split_up = split(&mut pair, ours, theirs);
    // The row that breaks the other check, and the check that was not made.
    assert_eq!(pair.settle(&split_up), 2);
    assert_eq!(pair.query("SELECT a, b FROM m"), json!([[1, 6]]));
    // The same check is not recorded again.
    let ours = Other::open(&paths[0]).commit(&mut pair, Side::A, "INSERT INTO m VALUES (2, 2, 2)");
    let theirs =
        Other::open(&paths[1]).commit(&mut pair, Side::B, "INSERT INTO m VALUES (3, 3, 3)");
    let split_up = split(&mut pair, ours, theirs);
    assert_eq!(pair.settle(&split_up), 0);
}
