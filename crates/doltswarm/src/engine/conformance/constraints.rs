//! Constraints that hold on each side and break in the merge.

use serde_json::{Value as Json, json};

use super::{Pair, open};

const UNIQUE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, u VARCHAR(9) UNIQUE)";
const FAMILY: &str = "CREATE TABLE p (id INTEGER PRIMARY KEY, n INT);
    CREATE TABLE c (id INTEGER PRIMARY KEY, pid INT, FOREIGN KEY (pid) REFERENCES p (id));
    INSERT INTO p VALUES (1, 0), (2, 0)";

pub(crate) fn unique_against_unique(pair: &mut Pair) {
    let conflicts =
        pair.settled(UNIQUE, "INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (2, 'a')");
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM t"), json!([[2, "a"]]));
    let versions = [json!(null), json!({"id": 1, "u": "a"}), json!(null)];
    assert_eq!(pair.conflicts(), json!([open("unique", "t", json!({"id": 1}), versions)]));
}

/// Theirs' versions only fit together if all of them come in.
pub(crate) fn unique_chain_takes_theirs(pair: &mut Pair) {
    let conflicts = pair.settled(
        &format!("{UNIQUE}; INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')"),
        "UPDATE t SET u = 'd' WHERE id = 1",
        "UPDATE t SET u = 'x' WHERE id = 1; UPDATE t SET u = 'd' WHERE id = 3",
    );
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM t ORDER BY id"), json!([[1, "x"], [2, "b"], [3, "d"]]));
}

pub(crate) fn null_is_unique_beside_null(pair: &mut Pair) {
    let conflicts =
        pair.settled(UNIQUE, "INSERT INTO t VALUES (1, NULL)", "INSERT INTO t VALUES (2, NULL)");
    assert_eq!(conflicts, 0);
    assert_eq!(pair.query("SELECT * FROM t ORDER BY id"), json!([[1, null], [2, null]]));
}

pub(crate) fn two_unique_columns(pair: &mut Pair) {
    let conflicts = pair.settled(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, u INT UNIQUE, w INT UNIQUE)",
        "INSERT INTO t VALUES (1, 7, 1), (2, 1, 8), (3, 3, 3)",
        "INSERT INTO t VALUES (4, 7, 8)",
    );
    assert_eq!(conflicts, 2);
    assert_eq!(pair.query("SELECT * FROM t ORDER BY id"), json!([[3, 3, 3], [4, 7, 8]]));
}

/// Settling a row conflict puts in a value that another row of ours has.
pub(crate) fn unique_after_a_row_conflict(pair: &mut Pair) {
    let conflicts = pair.settled(
        &format!("{UNIQUE}; INSERT INTO t VALUES (1, 'a')"),
        "UPDATE t SET u = 'b' WHERE id = 1; INSERT INTO t VALUES (2, 'c')",
        "UPDATE t SET u = 'c' WHERE id = 1",
    );
    assert_eq!(conflicts, 2);
    assert_eq!(pair.query("SELECT * FROM t"), json!([[1, "c"]]));
    let kinds = "SELECT kind, row_key FROM swarm_conflicts ORDER BY kind";
    assert_eq!(pair.query(kinds), json!([["row", "{\"id\":1}"], ["unique", "{\"id\":2}"]]));
}

pub(crate) fn ours_deletes_the_parent(pair: &mut Pair) {
    let conflicts =
        pair.settled(FAMILY, "DELETE FROM p WHERE id = 1", "INSERT INTO c VALUES (5, 1)");
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT id FROM p"), json!([[2]]));
    assert_eq!(pair.query("SELECT * FROM c"), json!([]));
    let versions = [json!(null), json!({"id": 5, "pid": 1}), json!(null)];
    assert_eq!(pair.conflicts(), json!([open("foreign key", "c", json!({"id": 5}), versions)]));
}

pub(crate) fn theirs_deletes_the_parent(pair: &mut Pair) {
    let conflicts =
        pair.settled(FAMILY, "INSERT INTO c VALUES (5, 1)", "DELETE FROM p WHERE id = 1");
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT id FROM p"), json!([[2]]));
    assert_eq!(pair.query("SELECT * FROM c"), json!([]));
}

pub(crate) fn a_parent_that_refers_to_itself(pair: &mut Pair) {
    let conflicts = pair.settled(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, up INT, FOREIGN KEY (up) REFERENCES t (id));
         INSERT INTO t VALUES (1, NULL), (2, 1)",
        "DELETE FROM t WHERE id = 2",
        "INSERT INTO t VALUES (3, 2)",
    );
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM t"), json!([[1, null]]));
}

/// Removing a row breaks the one that refers to it, and so on down.
pub(crate) fn a_chain_of_parents(pair: &mut Pair) {
    let conflicts = pair.settled(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, up INT, FOREIGN KEY (up) REFERENCES t (id));
         INSERT INTO t VALUES (1, NULL), (2, 1)",
        "DELETE FROM t WHERE id = 2",
        "INSERT INTO t VALUES (3, 2), (4, 3), (5, 4), (6, 5), (7, 6), (8, 7), (9, 8), (10, 9),
         (11, 10), (12, 11), (13, 12)",
    );
    assert_eq!(conflicts, 11);
    assert_eq!(pair.query("SELECT * FROM t"), json!([[1, null]]));
}

/// What a side's own foreign keys did is in its commit; the merge does not run them once more.
pub(crate) fn a_cascade_is_not_run_again(pair: &mut Pair) {
    let conflicts = pair.settled(
        "CREATE TABLE p (id INTEGER PRIMARY KEY);
         CREATE TABLE c (id INTEGER PRIMARY KEY, pid INT,
           FOREIGN KEY (pid) REFERENCES p (id) ON DELETE CASCADE);
         INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1, 1)",
        "DELETE FROM p WHERE id = 1",
        "UPDATE c SET pid = 2",
    );
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM c"), json!([[1, 2]]));
}

pub(crate) fn a_check_broken_by_the_merge(pair: &mut Pair) {
    let conflicts = pair.settled(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT, CHECK (a + b < 10));
         INSERT INTO t VALUES (1, 0, 0)",
        "UPDATE t SET a = 6",
        "UPDATE t SET b = 6",
    );
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM t"), json!([[1, 0, 6]]));
    let versions = [json!(null), json!({"a": 6}), json!({"a": 0})];
    assert_eq!(pair.conflicts(), json!([open("check", "t", json!({"id": 1}), versions)]));
}

pub(crate) fn not_null_against_null(pair: &mut Pair) {
    let forbid_null = pair.backend.forbid_null();
    let conflicts = pair.settled(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 0)",
        forbid_null,
        "INSERT INTO t VALUES (2, NULL)",
    );
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM t"), json!([[1, 0]]));
    let versions = [json!(null), json!({"id": 2, "a": null}), json!(null)];
    assert_eq!(pair.conflicts(), json!([open("not null", "t", json!({"id": 2}), versions)]));
}

/// Theirs' own rows break a rule that they did not know of: the first of them stands.
pub(crate) fn a_unique_index_that_only_ours_has(pair: &mut Pair) {
    let conflicts = pair.settled(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 1)",
        "CREATE UNIQUE INDEX only_ours ON t (a)",
        "INSERT INTO t VALUES (2, 1), (3, 3)",
    );
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM t"), json!([[1, 1], [3, 3]]));
}

pub(crate) fn a_row_that_breaks_two_rules(pair: &mut Pair) {
    let conflicts = pair.settled(
        "CREATE TABLE p (id INTEGER PRIMARY KEY); INSERT INTO p VALUES (1);
         CREATE TABLE c (id INTEGER PRIMARY KEY, pid INT, u INT UNIQUE,
           FOREIGN KEY (pid) REFERENCES p (id))",
        "INSERT INTO c VALUES (1, 1, 7)",
        "DELETE FROM p; INSERT INTO c VALUES (2, NULL, 7)",
    );
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM c"), json!([[2, null, 7]]));
    assert_eq!(pair.query("SELECT kind FROM swarm_conflicts"), json!([["foreign key"]]));
}

pub(crate) fn without_a_key_and_unique(pair: &mut Pair) {
    let conflicts = pair.settled(
        "CREATE TABLE t (a INT, u INT UNIQUE)",
        "INSERT INTO t VALUES (1, 7), (3, 3)",
        "INSERT INTO t VALUES (2, 7)",
    );
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM t ORDER BY a"), json!([[2, 7], [3, 3]]));
    let versions: [Json; 3] = [json!(null), json!({"a": 1, "u": 7}), json!(null)];
    assert_eq!(pair.conflicts(), json!([open("unique", "t", json!({"a": 1, "u": 7}), versions)]));
}
