//! Rows that both sides changed.

use serde_json::json;

use super::{Pair, open};

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b VARCHAR(20));
    INSERT INTO t VALUES (1, 10, 'x'), (2, 20, 'y')";

pub(crate) fn different_cells_of_a_row_merge(pair: &mut Pair) {
    let conflicts = pair.settled(
        TABLE,
        "UPDATE t SET a = 11 WHERE id = 1",
        "UPDATE t SET b = 'z' WHERE id = 1; INSERT INTO t VALUES (3, 30, 'n')",
    );
    assert_eq!(conflicts, 0);
    assert_eq!(
        pair.query("SELECT * FROM t ORDER BY id"),
        json!([[1, 11, "z"], [2, 20, "y"], [3, 30, "n"]])
    );
    assert_eq!(pair.conflicts(), json!([]));
}

pub(crate) fn the_same_change_is_no_conflict(pair: &mut Pair) {
    let change = "UPDATE t SET a = 11 WHERE id = 1; DELETE FROM t WHERE id = 2";
    assert_eq!(pair.settled(TABLE, change, change), 0);
    assert_eq!(pair.query("SELECT * FROM t"), json!([[1, 11, "x"]]));
}

pub(crate) fn the_same_cell_goes_to_theirs(pair: &mut Pair) {
    let conflicts = pair.settled(
        TABLE,
        "UPDATE t SET a = 11, b = 'ours' WHERE id = 1",
        "UPDATE t SET a = 12 WHERE id = 1",
    );
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM t ORDER BY id"), json!([[1, 12, "x"], [2, 20, "y"]]));
    let versions =
        [json!({"a": 10, "b": "x"}), json!({"a": 11, "b": "ours"}), json!({"a": 12, "b": "x"})];
    assert_eq!(pair.conflicts(), json!([open("row", "t", json!({"id": 1}), versions)]));
}

pub(crate) fn both_insert_the_same_key(pair: &mut Pair) {
    let conflicts =
        pair.settled(TABLE, "INSERT INTO t VALUES (3, 1, 'o')", "INSERT INTO t VALUES (3, 2, 't')");
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM t WHERE id = 3"), json!([[3, 2, "t"]]));
    let versions = [json!(null), json!({"a": 1, "b": "o"}), json!({"a": 2, "b": "t"})];
    assert_eq!(pair.conflicts(), json!([open("row", "t", json!({"id": 3}), versions)]));
}

pub(crate) fn both_insert_the_same_row(pair: &mut Pair) {
    let insert = "INSERT INTO t VALUES (3, 1, 'same')";
    assert_eq!(pair.settled(TABLE, insert, insert), 0);
    assert_eq!(pair.query("SELECT * FROM t WHERE id = 3"), json!([[3, 1, "same"]]));
}

pub(crate) fn ours_deletes_what_theirs_updates(pair: &mut Pair) {
    let conflicts =
        pair.settled(TABLE, "DELETE FROM t WHERE id = 1", "UPDATE t SET a = 12 WHERE id = 1");
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM t ORDER BY id"), json!([[1, 12, "x"], [2, 20, "y"]]));
    let versions =
        [json!({"id": 1, "a": 10, "b": "x"}), json!(null), json!({"id": 1, "a": 12, "b": "x"})];
    assert_eq!(pair.conflicts(), json!([open("row", "t", json!({"id": 1}), versions)]));
}

pub(crate) fn theirs_deletes_what_ours_updates(pair: &mut Pair) {
    let conflicts =
        pair.settled(TABLE, "UPDATE t SET a = 11 WHERE id = 1", "DELETE FROM t WHERE id = 1");
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM t"), json!([[2, 20, "y"]]));
    let versions =
        [json!({"id": 1, "a": 10, "b": "x"}), json!({"id": 1, "a": 11, "b": "x"}), json!(null)];
    assert_eq!(pair.conflicts(), json!([open("row", "t", json!({"id": 1}), versions)]));
}

pub(crate) fn composite_keys(pair: &mut Pair) {
    let conflicts = pair.settled(
        "CREATE TABLE t (v INT, k VARCHAR(9), n INT, PRIMARY KEY (k, n));
         INSERT INTO t VALUES (0, 'a', 1), (0, 'a', 2)",
        "UPDATE t SET v = 1 WHERE n = 1; INSERT INTO t VALUES (5, '', 2)",
        "UPDATE t SET v = 2; INSERT INTO t VALUES (6, '', 2)",
    );
    assert_eq!(conflicts, 2);
    assert_eq!(
        pair.query("SELECT k, n, v FROM t ORDER BY k, n"),
        json!([["", 2, 6], ["a", 1, 2], ["a", 2, 2]])
    );
    let keys =
        json!([[json!({"k": "", "n": 2}).to_string()], [json!({"k": "a", "n": 1}).to_string()]]);
    assert_eq!(pair.query("SELECT row_key FROM swarm_conflicts ORDER BY row_key"), keys);
}

pub(crate) fn text_keys(pair: &mut Pair) {
    let conflicts = pair.settled(
        "CREATE TABLE t (k VARCHAR(20) PRIMARY KEY, v INT); INSERT INTO t VALUES ('it''s', 0)",
        "UPDATE t SET v = 1",
        "UPDATE t SET v = 2; INSERT INTO t VALUES ('', 3)",
    );
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM t ORDER BY k"), json!([["", 3], ["it's", 2]]));
}

pub(crate) fn blobs_nulls_and_unicode(pair: &mut Pair) {
    let conflicts = pair.settled(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB, s VARCHAR(40));
         INSERT INTO t VALUES (1, X'00FF', 'naïve'), (2, NULL, NULL), (3, X'', '')",
        "UPDATE t SET b = X'DEADBEEF' WHERE id = 1; UPDATE t SET s = '☃' WHERE id = 2",
        "UPDATE t SET b = NULL, s = '日本語 🐬' WHERE id = 1; UPDATE t SET b = X'01' WHERE id = 2",
    );
    assert_eq!(conflicts, 1);
    assert_eq!(
        pair.query("SELECT * FROM t ORDER BY id"),
        json!([[1, null, "日本語 🐬"], [2, {"blob": "01"}, "☃"], [3, {"blob": ""}, ""]])
    );
    let versions = [
        json!({"b": {"blob": "00ff"}, "s": "naïve"}),
        json!({"b": {"blob": "deadbeef"}, "s": "naïve"}),
        json!({"b": null, "s": "日本語 🐬"}),
    ];
    assert_eq!(pair.conflicts(), json!([open("row", "t", json!({"id": 1}), versions)]));
}

pub(crate) fn names_with_blanks_and_quotes(pair: &mut Pair) {
    let conflicts = pair.settled(
        "CREATE TABLE `o'\"dd name` (`the key` INTEGER PRIMARY KEY, `a\"b` INT, `ours` INT UNIQUE,
           `diff_type` INT);
         INSERT INTO `o'\"dd name` VALUES (1, 0, 5, 0)",
        "UPDATE `o'\"dd name` SET `a\"b` = 1; INSERT INTO `o'\"dd name` VALUES (2, 0, 7, 0)",
        "UPDATE `o'\"dd name` SET `a\"b` = 2; INSERT INTO `o'\"dd name` VALUES (3, 0, 7, 0)",
    );
    assert_eq!(conflicts, 2);
    assert_eq!(
        pair.query("SELECT * FROM `o'\"dd name` ORDER BY 1"),
        json!([[1, 2, 5, 0], [3, 0, 7, 0]])
    );
    let tables = "SELECT DISTINCT table_name FROM swarm_conflicts";
    assert_eq!(pair.query(tables), json!([["o'\"dd name"]]));
}

pub(crate) fn numbers_keep_their_digits(pair: &mut Pair) {
    let conflicts = pair.settled(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, x DOUBLE); INSERT INTO t VALUES (9007199254740993, 0)",
        "UPDATE t SET x = 0.1",
        "UPDATE t SET x = 1e300",
    );
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM t"), json!([[9_007_199_254_740_993_i64, 1e300]]));
    assert_eq!(
        pair.query("SELECT row_key, loser FROM swarm_conflicts"),
        json!([["{\"id\":9007199254740993}", "{\"x\":0.1}"]])
    );
}

pub(crate) fn many_rows(pair: &mut Pair) {
    let rows = (0..500).map(|n| format!("({n}, 0, 'x')")).collect::<Vec<_>>().join(", ");
    let base = format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b VARCHAR(20)); INSERT INTO t VALUES {rows}"
    );
    let conflicts = pair.settled(&base, "UPDATE t SET a = id + 1", "UPDATE t SET a = id + 2");
    assert_eq!(conflicts, 500);
    assert_eq!(pair.query("SELECT count(*) FROM t WHERE a = id + 2"), json!([[500]]));
}

pub(crate) fn tables_without_a_key(pair: &mut Pair) {
    let conflicts = pair.settled(
        "CREATE TABLE t (a INT, b INT); INSERT INTO t VALUES (1, 1), (2, 2)",
        "INSERT INTO t VALUES (3, 3), (5, 5); DELETE FROM t WHERE a = 2",
        "INSERT INTO t VALUES (4, 4)",
    );
    assert_eq!(conflicts, 0);
    assert_eq!(pair.query("SELECT a FROM t ORDER BY a"), json!([[1], [3], [4], [5]]));
}

pub(crate) fn equal_rows_in_tables_without_a_key(pair: &mut Pair) {
    let conflicts = pair.settled(
        "CREATE TABLE t (a INT, b INT); INSERT INTO t VALUES (1, 1), (1, 1), (2, 2)",
        "UPDATE t SET b = 5 WHERE a = 2; DELETE FROM t WHERE a = 1",
        "UPDATE t SET b = 6",
    );
    let theirs = [json!([1, 6]), json!([1, 6]), json!([2, 6])];
    if pair.backend.rows_without_a_key_last() {
        assert!(conflicts > 0);
        assert_eq!(pair.query("SELECT * FROM t ORDER BY a, b"), json!(theirs));
    } else {
        // Both sides took the same rows away and added others: all of these stand.
        assert_eq!(conflicts, 0);
        let [first, second, third] = theirs;
        let all = json!([first, second, [2, 5], third]);
        assert_eq!(pair.query("SELECT * FROM t ORDER BY a, b"), all);
    }
}

pub(crate) fn nothing_to_merge(pair: &mut Pair) {
    use doltswarm_core::commit::ConflictPolicy;

    use super::{MergeOutcome, Side};
    let first = pair.exec(Side::A, TABLE);
    let second = pair.exec(Side::A, "UPDATE t SET a = 1");
    let outcome = super::merge(pair.a.as_mut(), &second, &first, ConflictPolicy::Settle).unwrap();
    assert_eq!(outcome, MergeOutcome::Merged { commit: second, conflicts: 0 });
}
