//! Dumps of SQLite databases are taken as they are.

use serde_json::json;

use super::pair;
use crate::engine::EngineError;
use crate::engine::conformance::{Side, query};

/// What SQLite's shell writes: tables in the order of their making, which is not that of their
/// references; blobs, quotes and semicolons; counted keys; at the end triggers, views, indexes.
const DUMP: &str = r#"PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE orders (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  customer TEXT NOT NULL REFERENCES "customers" (name) ON DELETE CASCADE,
  scan BLOB, -- COMMIT;
  total REAL
);
INSERT INTO orders VALUES(7,'O''Hara; & Co',X'00ff27',1.5e+300);
INSERT INTO orders VALUES(8,'two
lines',NULL,-0.25);
CREATE TABLE IF NOT EXISTS "customers" (name TEXT PRIMARY KEY, city TEXT DEFAULT 'Rome; "x"');
INSERT INTO customers VALUES('O''Hara; & Co','COMMIT;');
INSERT INTO customers VALUES('two
lines',unistr('a\u000ab'));
CREATE TABLE log (what TEXT);
INSERT INTO log VALUES('BEGIN TRANSACTION;');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('orders',41);
CREATE TRIGGER "order log" AFTER INSERT ON orders BEGIN
  INSERT INTO log VALUES ('order ' || new.id || ';');
  SELECT 1;
END;
CREATE VIEW large AS SELECT id FROM orders WHERE total > 100;
CREATE INDEX by_customer ON orders (customer);
COMMIT;
"#;

#[test]
fn dump_is_loaded_whole_and_foreign_keys_hold_afterwards() {
    let mut pair = pair();
    pair.exec(Side::A, DUMP);
    let a = pair.a.as_ref();
    let sql = "SELECT o.id, c.name, hex(o.scan), o.total, c.city FROM orders o \
               JOIN customers c ON c.name = o.customer ORDER BY o.id";
    let expected = json!([
        [7, "O'Hara; & Co", "00FF27", 1.5e300, "COMMIT;"],
        [8, "two\nlines", "", -0.25, "a\nb"],
    ]);
    assert_eq!(query(a, sql), expected);
    assert_eq!(query(a, "SELECT id FROM large"), json!([[7]]));
    // The trigger came after the rows, and the numbers go on where they were.
    pair.exec(Side::A, "INSERT INTO orders (customer) VALUES ('two\nlines')");
    let a = pair.a.as_ref();
    assert_eq!(query(a, "SELECT what FROM log"), json!([["BEGIN TRANSACTION;"], ["order 42;"]]));
    let orphan = pair.try_exec(Side::A, "INSERT INTO orders (customer) VALUES ('nobody')");
    assert!(matches!(orphan, Err(EngineError::Rejected { .. })), "{orphan:?}");
}

#[test]
fn dump_with_broken_foreign_keys_leaves_nothing() {
    let mut pair = pair();
    let before = pair.a.main().unwrap();
    let broken = DUMP.replace("INSERT INTO customers VALUES('O''Hara; & Co','COMMIT;');", "");
    let error = pair.try_exec(Side::A, &broken).unwrap_err().to_string();
    let named = "`orders` refers to `customers` in rows that are not there (1)";
    assert!(error.contains(named), "{error}");
    let second = DUMP.replace("COMMIT;\n", "INSERT INTO nowhere VALUES (1);\nCOMMIT;\n");
    assert!(pair.try_exec(Side::A, &second).is_err());
    assert_eq!(pair.a.main().unwrap(), before);
    assert_eq!(pair.a.dirty_tables().unwrap(), Vec::<String>::new());
    // And the connection is as it was: keys are enforced, and the right dump can be loaded.
    pair.exec(Side::A, DUMP);
    let orphan = pair.try_exec(Side::A, "INSERT INTO orders (customer) VALUES ('nobody')");
    assert!(matches!(orphan, Err(EngineError::Rejected { .. })), "{orphan:?}");
}

#[test]
fn only_the_lines_around_a_dump_are_left_out() {
    let mut pair = pair();
    for sql in [
        "BEGIN; CREATE TABLE a (x); COMMIT; CREATE TABLE b (x)",
        "PRAGMA foreign_keys=OFF; CREATE TABLE a (x)",
        "BEGIN; CREATE TABLE a (x); COMMIT; BEGIN; CREATE TABLE b (x); COMMIT;",
        "BEGIN; CREATE TABLE a (x); ROLLBACK;",
    ] {
        let refused = pair.try_exec(Side::A, sql);
        assert!(matches!(refused, Err(EngineError::Rejected { .. })), "{sql}: {refused:?}");
    }
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name IN ('a', 'b')";
    assert_eq!(query(pair.a.as_ref(), sql), json!([[0]]));
}
