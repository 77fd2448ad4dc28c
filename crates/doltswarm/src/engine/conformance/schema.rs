//! Definitions that changed on both sides.

use serde_json::json;

use super::{Pair, open};

const TABLE: &str =
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 0), (2, 0)";

pub(crate) fn columns_added_on_both_sides(pair: &mut Pair) {
    let conflicts = pair.settled(
        TABLE,
        "ALTER TABLE t ADD COLUMN o INT; UPDATE t SET o = 1",
        "ALTER TABLE t ADD COLUMN h INT; UPDATE t SET h = 2; INSERT INTO t VALUES (3, 0, 2)",
    );
    assert_eq!(conflicts, 0);
    assert_eq!(
        pair.query("SELECT id, a, o, h FROM t ORDER BY id"),
        json!([[1, 0, 1, 2], [2, 0, 1, 2], [3, 0, null, 2]])
    );
}

pub(crate) fn a_column_of_ours_keeps_its_default(pair: &mut Pair) {
    let conflicts = pair.settled(
        TABLE,
        "ALTER TABLE t ADD COLUMN o INT DEFAULT 7; UPDATE t SET a = 1, o = 8 WHERE id = 1",
        "UPDATE t SET a = 2 WHERE id = 1; INSERT INTO t VALUES (3, 0)",
    );
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM t ORDER BY id"), json!([[1, 2, 7], [2, 0, 7], [3, 0, 7]]));
}

pub(crate) fn one_column_with_two_types(pair: &mut Pair) {
    let conflicts = pair.settled(
        TABLE,
        "ALTER TABLE t ADD COLUMN n INT; UPDATE t SET n = 7 WHERE id = 1",
        "ALTER TABLE t ADD COLUMN n VARCHAR(9); UPDATE t SET n = 'x' WHERE id = 2",
    );
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT id, n FROM t ORDER BY id"), json!([[1, "7"], [2, "x"]]));
    let kinds = "SELECT kind, table_name, state FROM swarm_conflicts";
    assert_eq!(pair.query(kinds), json!([["schema", "t", "open"]]));
}

pub(crate) fn a_dropped_table_against_an_update(pair: &mut Pair) {
    // The later side changed it, so the table stays.
    assert_eq!(pair.settled(TABLE, "DROP TABLE t", "UPDATE t SET a = 1 WHERE id = 1"), 1);
    assert_eq!(pair.query("SELECT * FROM t ORDER BY id"), json!([[1, 1], [2, 0]]));
}

pub(crate) fn an_update_against_a_dropped_table(pair: &mut Pair) {
    let ours = "UPDATE t SET a = 1 WHERE id = 1; INSERT INTO t VALUES (3, 3)";
    assert_eq!(pair.settled(TABLE, ours, "DROP TABLE t"), 2);
    let rows = [
        open(
            "row",
            "t",
            json!({"id": 1}),
            [json!({"id": 1, "a": 0}), json!({"id": 1, "a": 1}), json!(null)],
        ),
        open("row", "t", json!({"id": 3}), [json!(null), json!({"id": 3, "a": 3}), json!(null)]),
    ];
    assert_eq!(pair.conflicts(), json!(rows));
}

/// A unique index elsewhere made the engine drop the table and theirs' row without a word.
pub(crate) fn a_dropped_table_against_an_insert(pair: &mut Pair) {
    let base = "CREATE TABLE o (id INTEGER PRIMARY KEY, a INT UNIQUE);
                CREATE TABLE t (id INTEGER PRIMARY KEY, a INT)";
    assert_eq!(pair.settled(base, "DROP TABLE t", "INSERT INTO t VALUES (5, 57)"), 1);
    assert_eq!(pair.query("SELECT * FROM t"), json!([[5, 57]]));
}

pub(crate) fn both_drop_a_table(pair: &mut Pair) {
    assert_eq!(pair.settled(TABLE, "DROP TABLE t", "DROP TABLE t"), 0);
}

pub(crate) fn the_same_table_twice(pair: &mut Pair) {
    let table = "CREATE TABLE n (id INTEGER PRIMARY KEY, a INT); INSERT INTO n VALUES";
    let conflicts =
        pair.settled("", &format!("{table} (1, 1)"), &format!("{table} (1, 2), (2, 2)"));
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM n ORDER BY id"), json!([[1, 2], [2, 2]]));
}

pub(crate) fn a_name_for_two_tables(pair: &mut Pair) {
    // Created apart: the columns of both stand, and the rows of both are in them.
    let conflicts = pair.settled(
        "",
        "CREATE TABLE n (id INTEGER PRIMARY KEY, a INT); INSERT INTO n VALUES (1, 1)",
        "CREATE TABLE n (id INTEGER PRIMARY KEY, b VARCHAR(9)); INSERT INTO n VALUES (2, 'x')",
    );
    assert_eq!(conflicts, 0);
    assert_eq!(
        pair.query("SELECT id, a, b FROM n ORDER BY id"),
        json!([[1, 1, null], [2, null, "x"]])
    );
}

pub(crate) fn a_changed_key(pair: &mut Pair) {
    let conflicts = pair.settled(
        TABLE,
        "DROP TABLE t; CREATE TABLE t (id INT, a INTEGER PRIMARY KEY); INSERT INTO t VALUES (1, 9)",
        "INSERT INTO t VALUES (3, 3)",
    );
    assert_eq!(conflicts, 0);
    assert_eq!(pair.query("SELECT a, id FROM t ORDER BY a"), json!([[3, 3], [9, 1]]));
}

/// Under `park` a reason must be the same for the same conflict, and say what can be done.
pub(crate) fn reasons_are_for_people(pair: &mut Pair) {
    let split = pair.split(TABLE, "DROP TABLE t", "UPDATE t SET a = 1");
    let policy = doltswarm_core::commit::ConflictPolicy::Park;
    let super::MergeOutcome::Impossible { reason } = pair.merge(&split, policy) else {
        panic!("the merge is said to be possible")
    };
    assert!(reason.contains("`t`"), "{reason}");
    assert!(!reason.contains(&split.ours.to_string()), "{reason}");
    assert!(!reason.contains(&split.theirs.to_string()), "{reason}");
}
