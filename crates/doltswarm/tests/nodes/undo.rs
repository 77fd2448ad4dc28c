//! Taking changes back leaves what was changed since alone.

use doltswarm::{EngineError, ExecError, Value};

use crate::support::{Home, exec, rows};

const SCHEMA: &str = "CREATE TABLE p (id INTEGER PRIMARY KEY, b BLOB, r REAL);
    CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE);
    CREATE TABLE bag (what VARCHAR(20));
    INSERT INTO p VALUES (1, x'00ff', 0.1), (2, NULL, 0.25);
    INSERT INTO c VALUES (10, 1), (11, 1), (20, 2);
    INSERT INTO bag VALUES ('a'), ('a'), ('b');";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reverted_commit_is_undone_in_every_table() {
    let home = Home::new();
    let node = home.found(SCHEMA).await;
    let contents = "SELECT 'p', id, NULL FROM p UNION ALL SELECT 'c', id, p FROM c \
                    UNION ALL SELECT what, NULL, NULL FROM bag ORDER BY 1, 2";
    let before = rows(&node, contents).await;
    assert_eq!(before.len(), 8);
    let slip = "DELETE FROM p WHERE id = 1; UPDATE p SET r = 1.0, b = x'01' WHERE id = 2;
                DELETE FROM bag WHERE what = 'b'; INSERT INTO bag VALUES ('a'); INSERT INTO p VALUES (3, NULL, 3.0)";
    let commit = exec(&node, slip).await;
    exec(&node, "UPDATE p SET b = x'02' WHERE id = 2").await;
    let refused = node.revert(&commit[..10], "undo").await;
    let Err(ExecError::Engine(EngineError::Rejected { message })) = refused else {
        panic!("{refused:?}");
    };
    assert!(message.contains("`p` has been changed since"), "{message}");
    // Another column of the row is nobody's business, and what is undone already is fine.
    exec(&node, "UPDATE p SET b = x'01' WHERE id = 2; DELETE FROM p WHERE id = 3").await;
    let report = node.revert(&commit, "undo").await.expect("reverted");
    assert!(report.commit.is_some());
    assert_eq!(rows(&node, contents).await, before);
    let read = node.query("SELECT b, r FROM p ORDER BY id", vec![]).await.expect("rows").rows;
    assert_eq!(read[0], [Value::Blob(vec![0, 255]), Value::Real(0.1)]);
    // Undoing the undoing.
    node.revert("main", "redo").await.expect("reverted");
    assert_eq!(rows(&node, "SELECT what FROM bag ORDER BY what").await, ["[\"a\"]"; 3]);
    assert_eq!(rows(&node, "SELECT id FROM c").await, ["[20]"]);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_table_is_as_it_was_and_others_are_not_touched() {
    let home = Home::new();
    let node = home.found(SCHEMA).await;
    let at = node.resolve_commit("main").await.expect("a commit");
    exec(&node, "DELETE FROM bag; INSERT INTO bag VALUES ('z'); UPDATE p SET r = 7.0").await;
    node.restore("bag", &at, "as it was").await.expect("restored");
    let bag = ["[\"a\"]", "[\"a\"]", "[\"b\"]"];
    assert_eq!(rows(&node, "SELECT what FROM bag ORDER BY what").await, bag);
    assert_eq!(rows(&node, "SELECT r FROM p").await, ["[7.0]", "[7.0]"]);
    exec(&node, "DROP TABLE bag").await;
    node.restore("bag", &at[..8], "back").await.expect("restored");
    assert_eq!(rows(&node, "SELECT what FROM bag ORDER BY what").await, bag);
    let nothing = node.restore("bag", &at, "again").await.expect("restored");
    assert_eq!(nothing.commit, None);
    exec(&node, "ALTER TABLE p DROP COLUMN r").await;
    let refused = node.restore("p", &at, "with its column").await;
    let Err(ExecError::Engine(EngineError::Rejected { message })) = refused else {
        panic!("{refused:?}");
    };
    assert!(message.contains("had a column `r`"), "{message}");
    node.close().await;
}
