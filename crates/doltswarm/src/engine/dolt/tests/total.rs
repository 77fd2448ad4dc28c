//! Merges of sides that define things differently: every one has a result, the same on both
//! servers.

use doltswarm_core::commit::{ConflictPolicy, Merge};
use doltswarm_core::id::CommitHash;
use mysql::prelude::Queryable;
use serde_json::json;

use super::super::merge::Way;
use super::own::founded;
use super::server::connect;
use super::{flip, pair, pair_at};
use crate::engine::conformance::{Side, meta_at};
use crate::engine::{Engine, EngineError, MergeOutcome};

/// A table with something of everything; `{t}` is its name.
const TABLE: &str =
    "CREATE TABLE {t} (id INT NOT NULL PRIMARY KEY, x INT, w VARCHAR(20) DEFAULT 'w',
    z INT DEFAULT 3, g INT GENERATED ALWAYS AS (z + 1) STORED, UNIQUE KEY uz (z), KEY kx (x),
    CONSTRAINT zc CHECK (z < 1000));
    INSERT INTO {t} (id, x, w, z) VALUES (1, 1, 'a', 10), (2, 2, 'b', 20), (3, 3, 'c', 30)";

const DEFINITIONS: [&str; 16] = [
    "ALTER TABLE {t} ADD COLUMN n INT",
    "ALTER TABLE {t} ADD COLUMN n VARCHAR(9) NOT NULL DEFAULT 'q' FIRST",
    "ALTER TABLE {t} ADD COLUMN u CHAR(36) DEFAULT (UUID())",
    "ALTER TABLE {t} ADD COLUMN d DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP",
    "ALTER TABLE {t} DROP COLUMN x",
    "ALTER TABLE {t} DROP COLUMN w",
    "ALTER TABLE {t} MODIFY COLUMN x VARCHAR(30)",
    "ALTER TABLE {t} MODIFY COLUMN w VARCHAR(40) NOT NULL DEFAULT 'v'",
    "ALTER TABLE {t} RENAME COLUMN x TO y",
    "ALTER TABLE {t} ADD UNIQUE KEY ux (x)",
    "ALTER TABLE {t} DROP INDEX uz",
    "ALTER TABLE {t} ADD CONSTRAINT c2 CHECK (x < 9)",
    "ALTER TABLE {t} DROP CONSTRAINT zc",
    "ALTER TABLE {t} DROP PRIMARY KEY, ADD PRIMARY KEY (id, z)",
    "RENAME TABLE {t} TO {t}b",
    "DROP TABLE {t}",
];

const ROWS: [&str; 4] = [
    "UPDATE {t} SET w = 'here' WHERE id = 1",
    "DELETE FROM {t} WHERE id = 1",
    "INSERT INTO {t} (id, x, w, z) VALUES (4, 4, 'd', 40)",
    "UPDATE {t} SET z = z + 1, x = x + 10; DELETE FROM {t} WHERE id = 3",
];

/// How many tables a database gets, so that each merge looks at few.
const PAIRS_IN_A_DATABASE: usize = 8;

fn named(sql: &str, table: &str) -> String {
    sql.replace("{t}", table)
}

/// Merges both sides of each pair, in both orders, on two databases. Every third pair is tried, all
/// of them if `DOLTSWARM_ALL_PAIRS` is set.
fn merge_pairs(pairs: Vec<(&str, &str)>) {
    let step = if std::env::var_os("DOLTSWARM_ALL_PAIRS").is_some() { 1 } else { 3 };
    let chosen: Vec<_> = pairs.into_iter().step_by(step).collect();
    for some in chosen.chunks(PAIRS_IN_A_DATABASE) {
        let Some(mut pair) = pair() else { return };
        for (number, (one, other)) in some.iter().enumerate() {
            let table = format!("t{number}");
            let [base, ours, theirs] = [TABLE, one, other].map(|sql| named(sql, &table));
            let split = pair.split(&base, &ours, &theirs);
            let outcome = pair.merge(&flip(&split), ConflictPolicy::Settle);
            let is_merged = matches!(outcome, MergeOutcome::Merged { .. });
            assert!(is_merged, "{theirs} | {ours}: {outcome:?}");
            pair.settle(&split);
        }
    }
}

#[test]
fn every_definition_merges_with_every_row_change() {
    let row = |one: &'static str| ROWS.iter().map(move |other| (one, *other));
    merge_pairs(DEFINITIONS.into_iter().flat_map(row).collect());
}

#[test]
fn every_definition_merges_with_every_definition() {
    let row =
        |place: usize| DEFINITIONS[place..].iter().map(move |other| (DEFINITIONS[place], *other));
    merge_pairs((0..DEFINITIONS.len()).flat_map(row).collect());
}

/// The server's own merge panics here.
#[test]
fn a_dropped_column_and_a_deleted_row_merge() {
    let Some(mut pair) = pair() else { return };
    let ours = "UPDATE t SET w = 'here' WHERE id = 1";
    let theirs = "ALTER TABLE t DROP COLUMN x; DELETE FROM t WHERE id = 1";
    assert_eq!(pair.settled(&named(TABLE, "t"), ours, theirs), 1);
    assert_eq!(
        pair.query("SELECT id, w, z, g FROM t ORDER BY id"),
        json!([[2, "b", 20, 21], [3, "c", 30, 31]])
    );
    let kinds = pair.query("SELECT kind, table_name, row_key FROM swarm_conflicts");
    assert_eq!(kinds, json!([["row", "t", "{\"id\":1}"]]));
}

#[test]
fn the_same_column_added_after_other_columns_is_no_conflict() {
    let Some(mut pair) = pair() else { return };
    let base = "CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1), (2)";
    let ours = "ALTER TABLE t ADD COLUMN city VARCHAR(20); UPDATE t SET city = 'here' WHERE id = 1";
    let theirs = "ALTER TABLE t ADD COLUMN zip INT; ALTER TABLE t ADD COLUMN city VARCHAR(20);
                  UPDATE t SET city = 'there' WHERE id = 2";
    assert_eq!(pair.settled(base, ours, theirs), 0);
    let rows = json!([[1, "here", null], [2, "there", null]]);
    assert_eq!(pair.query("SELECT id, city, zip FROM t ORDER BY id"), rows);
}

#[test]
fn cells_of_a_dropped_column_are_recorded() {
    let Some(mut pair) = pair() else { return };
    let base = "CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1), (2, 2)";
    let ours = "ALTER TABLE t DROP COLUMN n";
    let theirs = "UPDATE t SET n = 5 WHERE id = 1; INSERT INTO t VALUES (3, 3)";
    assert_eq!(pair.settled(base, ours, theirs), 2);
    assert_eq!(pair.query("SELECT * FROM t ORDER BY id"), json!([[1], [2], [3]]));
    let records =
        pair.query("SELECT kind, row_key, base, loser FROM swarm_conflicts ORDER BY row_key");
    let lost = json!([
        ["cell", "{\"id\":1}", "{\"n\":1}", "{\"n\":5}"],
        ["cell", "{\"id\":3}", null, "{\"n\":3}"]
    ]);
    assert_eq!(records, lost);
}

#[test]
fn rows_of_a_dropped_table_are_recorded() {
    let Some(mut pair) = pair() else { return };
    let base = "CREATE TABLE t (id INT PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 1), (2, 2)";
    let ours = "UPDATE t SET a = 5 WHERE id = 1; INSERT INTO t VALUES (3, 3)";
    assert_eq!(pair.settled(base, ours, "DROP TABLE t"), 2);
    let kinds = pair.query(
        "SELECT kind, row_key, loser FROM swarm_conflicts WHERE kind = 'row' ORDER BY row_key",
    );
    assert_eq!(
        kinds,
        json!([
            ["row", "{\"id\":1}", "{\"id\":1,\"a\":5}"],
            ["row", "{\"id\":3}", "{\"id\":3,\"a\":3}"]
        ])
    );
}

#[test]
fn computed_defaults_are_not_evaluated_for_the_other_side() {
    let Some(mut pair) = pair() else { return };
    let base = "CREATE TABLE t (id INT PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 1)";
    let ours = "ALTER TABLE t ADD COLUMN u CHAR(36) DEFAULT (UUID()), \
                ADD COLUMN d DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP";
    let theirs = "INSERT INTO t VALUES (2, 2)";
    pair.settled(base, ours, theirs);
    let rows = pair.query("SELECT u IS NULL, CAST(d AS CHAR) FROM t WHERE id = 2");
    assert_eq!(rows[0][0], json!(1));
    assert!(rows[0][1].as_str().unwrap().starts_with("1970-01-01 00:00:00"), "{rows}");
    assert_eq!(pair.query("SELECT u IS NULL FROM t WHERE id = 1"), json!([[0]]));
}

#[test]
fn objects_that_cannot_work_are_taken_away() {
    let Some(mut pair) = pair() else { return };
    let base =
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT); CREATE TABLE u (id INT PRIMARY KEY)";
    let ours = "CREATE VIEW v AS SELECT a FROM t; CREATE VIEW w AS SELECT id FROM t;
                CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1";
    let theirs = "ALTER TABLE t DROP COLUMN a; INSERT INTO u VALUES (1)";
    assert_eq!(pair.settled(base, ours, theirs), 2);
    let names = pair.query("SELECT kind, table_name FROM swarm_conflicts ORDER BY table_name");
    assert_eq!(names, json!([["object", "g"], ["object", "v"]]));
    assert_eq!(pair.query("SELECT name FROM dolt_schemas ORDER BY name"), json!([["w"]]));
    pair.exec(Side::A, "INSERT INTO t VALUES (1, 2)");
}

#[test]
fn views_changed_in_two_ways_are_theirs() {
    let Some(mut pair) = pair() else { return };
    let base = "CREATE TABLE t (id INT PRIMARY KEY, a INT); CREATE VIEW v AS SELECT id FROM t";
    let view = |what: &str| format!("DROP VIEW v; CREATE VIEW v AS SELECT {what} FROM t");
    let ours = format!("{}; CREATE VIEW o AS SELECT 1", view("a"));
    assert_eq!(pair.settled(base, &ours, &view("id + 1")), 1);
    let found = pair.query("SELECT name, fragment FROM dolt_schemas ORDER BY name");
    assert_eq!(found[0][0], json!("o"));
    assert!(found[1][1].as_str().unwrap().contains("id + 1"), "{found}");
}

#[test]
fn tables_of_one_name_in_two_cases_become_one() {
    let Some(mut pair) = pair() else { return };
    let ours = "CREATE TABLE Parts (id INT PRIMARY KEY, a INT); INSERT INTO Parts VALUES (1, 1)";
    let theirs = "CREATE TABLE parts (id INT PRIMARY KEY, a INT); INSERT INTO parts VALUES (2, 2)";
    assert_eq!(pair.settled("", ours, theirs), 0);
    assert_eq!(pair.query("SELECT * FROM parts ORDER BY id"), json!([[1, 1], [2, 2]]));
}

#[test]
fn a_dropped_table_of_conflicts_comes_back() {
    let Some((mut pair, all)) = pair_at() else { return };
    let mut other = connect(&all[0]);
    other.query_drop("DROP TABLE swarm_conflicts").unwrap();
    other.query_drop("CALL DOLT_COMMIT('-A', '-m', 'x')").unwrap();
    let ours = pair.a.main().unwrap();
    let theirs = pair.exec(Side::B, "CREATE TABLE t (id INT PRIMARY KEY)");
    pair.transfer(Side::A, &ours);
    pair.transfer(Side::B, &theirs);
    pair.settle(&crate::engine::conformance::Split { ours, theirs });
    assert_eq!(pair.query("SELECT count(*) FROM swarm_conflicts"), json!([[0]]));
}

/// What the server does by itself and what is done by definition are the same, byte for byte.
#[test]
fn both_ways_of_merging_rows_give_the_same_commit() {
    let Some((mut engine, options, _dir)) = founded() else { return };
    let table = "CREATE TABLE t (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, a INT, b VARCHAR(20), \
                 u INT UNIQUE); INSERT INTO t VALUES (1, 1, 'x', 1), (2, 2, 'y', 2), (3, 3, NULL, 3)";
    let scripts = [
        ("UPDATE t SET a = 9 WHERE id = 1", "UPDATE t SET b = 'z' WHERE id = 1"),
        ("UPDATE t SET a = 8 WHERE id = 1", "UPDATE t SET a = 9 WHERE id = 1"),
        ("UPDATE t SET a = 9 WHERE id = 2", "DELETE FROM t WHERE id = 2"),
        ("DELETE FROM t WHERE id = 2", "UPDATE t SET a = 9 WHERE id = 2"),
        ("INSERT INTO t VALUES (7, 1, 'o', 7)", "INSERT INTO t VALUES (7, 2, 't', 8)"),
        ("INSERT INTO t VALUES (7, 1, 'o', 7)", "INSERT INTO t VALUES (8, 2, 't', 9)"),
        ("UPDATE t SET a = a + 10; DELETE FROM t WHERE id = 3", "UPDATE t SET a = a + 20, b = 'n'"),
    ];
    let mut clock = 1_800_000_000;
    let mut meta = || {
        clock += 1;
        meta_at("x", clock)
    };
    for (ours, theirs) in scripts {
        let base = engine.exec_and_commit(
            &[format!("DROP TABLE IF EXISTS t; {table}").as_str().into()],
            &meta(),
        );
        let base = base.unwrap().commit.unwrap();
        let theirs = on_branch(&options, &base, theirs);
        let ours = engine.exec_and_commit(&[ours.into()], &meta()).unwrap().commit.unwrap();
        let merge = Merge { ours, theirs, base: base.into() };
        let [one, other] = [Way::Chosen, Way::ByDefinition]
            .map(|way| engine.merge_by(&merge, ConflictPolicy::Settle, way).unwrap());
        assert_eq!(one, other, "{ours} {theirs}");
        assert_eq!(engine.main().unwrap(), ours);
    }
}

fn on_branch(options: &super::DoltOptions, base: &CommitHash, sql: &str) -> CommitHash {
    let mut other = connect(options);
    let at = super::super::store::commit_text(base);
    other.query_drop(format!("CALL DOLT_CHECKOUT('-B', 'theirs', '{at}')")).unwrap();
    other.query_drop(sql).unwrap();
    other.query_drop("CALL DOLT_COMMIT('-A', '-m', 'theirs')").unwrap();
    let hash: String = other.query_first("SELECT DOLT_HASHOF('theirs')").unwrap().unwrap();
    super::super::store::commit_from_text(&hash).unwrap()
}

/// Counters depend on what a server has counted, merges must not.
#[test]
fn a_merge_stores_the_greater_counter_of_the_sides() {
    let Some((mut pair, all)) = pair_at() else { return };
    let base = "CREATE TABLE t (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, a INT)";
    for round in 0..3 {
        let rows = ["INSERT INTO t (a) VALUES (1)", "INSERT INTO t (a) VALUES (2), (3)"];
        let split = pair.split(if round == 0 { base } else { "" }, rows[0], rows[1]);
        // One server has counted further than what it has committed.
        let mut other = connect(&all[1]);
        other.query_drop("START TRANSACTION").unwrap();
        for _ in 0..7 {
            other.query_drop("INSERT INTO t (a) VALUES (0)").unwrap();
        }
        other.query_drop("ROLLBACK").unwrap();
        let conflicts = pair.settle(&split);
        assert_eq!(conflicts, u64::from(round == 0), "round {round}");
    }
}

#[test]
fn a_client_counts_on_after_a_move() {
    let Some((mut pair, all)) = pair_at() else { return };
    let table = "CREATE TABLE t (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, a INT)";
    let first = pair.exec(Side::A, table);
    pair.share(&first);
    let mut client = connect(&all[1]);
    client.query_drop("INSERT INTO t (a) VALUES (0)").unwrap();
    client.query_drop("CALL DOLT_COMMIT('-A', '-m', 'x')").unwrap();
    let theirs = pair.b.main().unwrap();
    pair.transfer(Side::B, &theirs);
    pair.a.move_main(&first, &theirs).unwrap();
    for n in 0..20 {
        let next = pair.exec(Side::A, &format!("INSERT INTO t (a) VALUES ({n})"));
        let main = pair.b.main().unwrap();
        pair.transfer(Side::A, &next);
        pair.b.move_main(&main, &next).unwrap();
    }
    assert_eq!(pair.b.dirty_tables().unwrap(), Vec::<String>::new());
    client.query_drop("INSERT INTO t (a) VALUES (99)").unwrap();
    let id: i64 = client.query_first("SELECT id FROM t WHERE a = 99").unwrap().unwrap();
    assert_eq!(id, 22);
}

#[test]
fn a_parked_merge_names_the_table_in_words_of_its_own() {
    let Some(mut pair) = pair() else { return };
    let ours = "UPDATE t SET w = 'here' WHERE id = 1";
    let split = pair.split(&named(TABLE, "t"), ours, "ALTER TABLE t DROP COLUMN w");
    let outcome = pair.merge(&split, ConflictPolicy::Park);
    let MergeOutcome::Impossible { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.starts_with("table `t`: "), "{reason}");
}

/// Two clients of one server change one row, and the server answers both with a commit.
#[test]
fn committed_conflicts_are_settled_by_a_commit_on_top() {
    let Some((mut pair, all)) = pair_at() else { return };
    let first = pair
        .exec(Side::A, "CREATE TABLE t (id INT PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 0)");
    pair.share(&first);
    let [mut a, mut b] = [connect(&all[0]), connect(&all[0])];
    b.query_drop("UPDATE t SET a = 5 WHERE id = 1").unwrap();
    a.query_drop("START TRANSACTION").unwrap();
    a.query_drop("UPDATE t SET a = 9 WHERE id = 1").unwrap();
    b.query_drop("CALL DOLT_COMMIT('-A', '-m', 'b')").unwrap();
    a.query_drop("CALL DOLT_COMMIT('-A', '-m', 'a')").unwrap();
    let broken = super::super::store::commit_from_text(&super::own::tip_of(&all[0])).unwrap();
    let settled = pair.a.main().unwrap();
    assert_eq!(pair.a.commit_info(&settled).unwrap().unwrap().parents, [broken]);
    assert_eq!(pair.a.dirty_tables().unwrap(), Vec::<String>::new());
    assert_eq!(pair.a.main().unwrap(), settled);
    // It travels like any other, and from the other peer on.
    let main = pair.b.main().unwrap();
    pair.transfer(Side::A, &settled);
    pair.b.move_main(&main, &settled).unwrap();
    assert_eq!(pair.query("SELECT * FROM t"), json!([[1, 9]]));
    let next = pair.exec(Side::B, "INSERT INTO t VALUES (2, 2)");
    pair.transfer(Side::B, &next);
    pair.a.move_main(&settled, &next).unwrap();
    let split = pair.split("", "UPDATE t SET a = 1", "INSERT INTO t VALUES (3, 3)");
    assert_eq!(pair.settle(&split), 0);
    let again = all[1].folder.join("again");
    let server = super::server::shared().unwrap();
    let options = super::options(&server, again);
    let tip = pair.b.main().unwrap();
    let source = crate::engine::conformance::chunks_of(pair.b.as_ref());
    let copy = super::Dolt::clone_from(&options, source, &tip).unwrap();
    let rows = crate::engine::conformance::query(&copy, "SELECT count(*) FROM t");
    assert_eq!(rows, json!([[3]]));
}

/// A peer that only pulls knows what it has without asking its server for it.
#[test]
fn what_was_pulled_is_served_without_a_push() {
    let Some(mut pair) = pair() else { return };
    let first = pair.exec(Side::A, "CREATE TABLE t (id INT PRIMARY KEY, a INT)");
    pair.share(&first);
    let mut chunks = pair.b.chunks().unwrap();
    for n in 0..80 {
        let next = pair.exec(Side::A, &format!("INSERT INTO t VALUES ({n}, {n})"));
        let main = pair.b.main().unwrap();
        pair.transfer(Side::A, &next);
        assert_eq!(chunks.has_many(&[next.into()]).unwrap(), [true], "commit {n}");
        pair.b.move_main(&main, &next).unwrap();
    }
    let error =
        pair.b.exec_and_commit(&["SELECT 1 FROM nothing".into()], &meta_at("x", 1_900_000_000));
    assert!(matches!(error, Err(EngineError::Rejected { .. })));
    // And its server's own pushes go on from there.
    let own = pair.exec(Side::B, "INSERT INTO t VALUES (100, 100)");
    pair.transfer(Side::B, &own);
    let main = pair.a.main().unwrap();
    pair.a.move_main(&main, &own).unwrap();
    assert_eq!(pair.query("SELECT count(*) FROM t"), json!([[81]]));
}
