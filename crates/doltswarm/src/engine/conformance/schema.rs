//! Definitions that changed on both sides.

use serde_json::json;

use super::Pair;

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
    let reason = pair.impossible(
        TABLE,
        "ALTER TABLE t ADD COLUMN n INT",
        "ALTER TABLE t ADD COLUMN n VARCHAR(9)",
    );
    assert!(reason.contains("`t`"), "{reason}");
}

pub(crate) fn a_dropped_table_against_an_update(pair: &mut Pair) {
    let reason = pair.impossible(TABLE, "DROP TABLE t", "UPDATE t SET a = 1");
    assert!(reason.contains("`t`"), "{reason}");
}

pub(crate) fn an_update_against_a_dropped_table(pair: &mut Pair) {
    let reason = pair.impossible(TABLE, "UPDATE t SET a = 1", "DROP TABLE t");
    assert!(reason.contains("`t`"), "{reason}");
}

/// A unique index elsewhere made the engine drop the table and theirs' row without a word.
pub(crate) fn a_dropped_table_against_an_insert(pair: &mut Pair) {
    let base = "CREATE TABLE o (id INTEGER PRIMARY KEY, a INT UNIQUE);
                CREATE TABLE t (id INTEGER PRIMARY KEY, a INT)";
    let reason = pair.impossible(base, "DROP TABLE t", "INSERT INTO t VALUES (5, 57)");
    assert!(reason.contains("`t`"), "{reason}");
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
    let reason = pair.impossible(
        "",
        "CREATE TABLE n (id INTEGER PRIMARY KEY, a INT)",
        "CREATE TABLE n (id INTEGER PRIMARY KEY, b VARCHAR(9))",
    );
    assert!(reason.contains('n'), "{reason}");
}

pub(crate) fn a_changed_key(pair: &mut Pair) {
    let reason = pair.impossible(
        TABLE,
        "DROP TABLE t; CREATE TABLE t (id INT, a INTEGER PRIMARY KEY)",
        "INSERT INTO t VALUES (3, 3)",
    );
    assert!(reason.contains("primary key"), "{reason}");
}

/// A reason must be the same for the same conflict, and say what can be done.
pub(crate) fn reasons_are_for_people(pair: &mut Pair) {
    let split = pair.split(TABLE, "DROP TABLE t", "UPDATE t SET a = 1");
    let policy = doltswarm_core::commit::ConflictPolicy::Settle;
    let super::MergeOutcome::Impossible { reason } = pair.merge(&split, policy) else {
        panic!("the merge is said to be possible")
    };
    assert!(reason.contains("make"), "{reason}");
    assert!(!reason.contains(&split.ours.to_string()), "{reason}");
    assert!(!reason.contains(&split.theirs.to_string()), "{reason}");
    // Nothing of the attempt is left: other merges work, and the branch of merges is clean.
    let policy = doltswarm_core::commit::ConflictPolicy::Park;
    assert!(matches!(pair.merge(&split, policy), super::MergeOutcome::Impossible { .. }));
}
