//! Merges of commits whose definitions differ, and of what the engine's own merge cannot do.

use serde_json::{Value as Json, json};

use super::super::ffi::Connection;
use super::pair;
use crate::engine::Value;
use crate::engine::conformance::{Pair, Side, query};

const T: &str =
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 0), (2, 0)";

/// Kind, table and key of each record.
fn records(pair: &Pair) -> Json {
    pair.query("SELECT kind, table_name, row_key FROM swarm_conflicts ORDER BY 1, 2, 3")
}

/// The names of the objects of a kind.
fn names(pair: &Pair, kind: &str) -> Json {
    pair.query(&format!("SELECT name FROM sqlite_schema WHERE type = '{kind}' ORDER BY 1"))
}

#[test]
fn expressions_are_no_defaults_for_others_rows() {
    let pair = &mut pair();
    let conflicts = pair.settled(
        "CREATE TABLE e (id INTEGER PRIMARY KEY)",
        "ALTER TABLE e ADD COLUMN r TEXT DEFAULT (hex(randomblob(4)))",
        "INSERT INTO e VALUES (1)",
    );
    assert_eq!(pair.query("SELECT * FROM e"), json!([[1, null]]));
    assert_eq!(conflicts, 1);
    assert_eq!(records(pair), json!([["default", "e", r#"{"id":1}"#]]));
}

#[test]
fn a_rebuilt_table_with_a_clock_default_merges() {
    let pair = &mut pair();
    let rebuild = "CREATE TABLE n (id INTEGER PRIMARY KEY, a INT,
           at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
         INSERT INTO n (id, a, at) SELECT id, a, 'then' FROM t; DROP TABLE t;
         ALTER TABLE n RENAME TO t";
    for (n, (ours, theirs)) in
        [(rebuild, "INSERT INTO t VALUES (3, 3)"), ("INSERT INTO t VALUES (3, 3)", rebuild)]
            .into_iter()
            .enumerate()
    {
        let pair = &mut super::pair();
        assert_eq!(pair.settled(T, ours, theirs), 1, "order {n}");
        let rows = json!([[1, 0, "then"], [2, 0, "then"], [3, 3, ""]]);
        assert_eq!(pair.query("SELECT id, a, at FROM t ORDER BY id"), rows);
    }
    assert_eq!(pair.settled(T, "UPDATE t SET a = 1", "SELECT 1; UPDATE t SET a = 1"), 0);
}

#[test]
fn a_column_that_both_added_has_theirs_default() {
    let add = |default: &str| format!("ALTER TABLE t ADD COLUMN x INT {default}");
    let change = "UPDATE t SET x = 7 WHERE id = 2; INSERT INTO t VALUES (3, 0, 1)";
    for (ours, theirs, new) in [
        ("DEFAULT 1", "DEFAULT 2", 2),
        ("", "DEFAULT 2", 2),
        ("DEFAULT (1)", "NOT NULL DEFAULT 5", 5),
    ] {
        let pair = &mut pair();
        let ours = format!("{}; {change}", add(ours));
        // The definition of ours is recorded, and no row: nobody touched the first one's cell.
        assert_eq!(pair.settled(T, &ours, &add(theirs)), 1, "{theirs}");
        let rows = json!([[1, 0, new], [2, 0, 7], [3, 0, 1]]);
        assert_eq!(pair.query("SELECT * FROM t ORDER BY id"), rows, "{theirs}");
        // In the other order ours' default stands, and the rows that were changed keep their cells.
        let pair = &mut super::pair();
        assert_eq!(pair.settled(T, &add(theirs), &ours), 1, "{theirs}");
        let rows = pair.query("SELECT id, a, x FROM t WHERE id > 1 ORDER BY id");
        assert_eq!(rows, json!([[2, 0, 7], [3, 0, 1]]), "{theirs}");
    }
}

#[test]
fn a_renamed_table_with_a_unique_column_merges() {
    let pair = &mut pair();
    let conflicts = pair.settled(
        "CREATE TABLE p (id INTEGER PRIMARY KEY, u TEXT UNIQUE); INSERT INTO p VALUES (1, 'a');
         CREATE TABLE o (id INTEGER PRIMARY KEY)",
        "ALTER TABLE p RENAME TO ren",
        "INSERT INTO o VALUES (1)",
    );
    assert_eq!(conflicts, 0);
    assert_eq!(pair.query("SELECT * FROM ren"), json!([[1, "a"]]));
}

#[test]
fn names_that_differ_in_case_are_one_table() {
    let pair = &mut pair();
    let conflicts = pair.settled(
        "",
        "CREATE TABLE Parts (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO Parts VALUES (1, 'x')",
        "CREATE TABLE parts (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO parts VALUES (2, 'y')",
    );
    assert_eq!(conflicts, 0);
    assert_eq!(pair.query("SELECT * FROM parts ORDER BY id"), json!([[1, "x"], [2, "y"]]));
}

#[test]
fn two_kinds_of_one_name_are_decided() {
    for (ours, theirs) in [
        ("CREATE VIEW n AS SELECT 1", "CREATE INDEX n ON t (a)"),
        ("CREATE INDEX n ON t (a)", "CREATE VIEW N AS SELECT 1"),
        ("CREATE TABLE n (x)", "CREATE VIEW n AS SELECT 1"),
        ("CREATE VIRTUAL TABLE n USING fts5 (x)", "CREATE VIEW n AS SELECT 1"),
        ("CREATE VIEW n AS SELECT 1", "CREATE VIRTUAL TABLE n USING fts5 (x)"),
        ("CREATE VIEW n AS SELECT 1", "CREATE VIEW N AS SELECT 2"),
    ] {
        let pair = &mut pair();
        assert_eq!(pair.settled(T, ours, theirs), 1, "{ours} / {theirs}");
        let kind = if theirs.contains("VIEW") {
            "view"
        } else if theirs.contains("INDEX") {
            "index"
        } else {
            "table"
        };
        let found = "SELECT type FROM sqlite_schema WHERE name = 'n' COLLATE NOCASE";
        assert_eq!(pair.query(found), json!([[kind]]), "{ours} / {theirs}");
    }
}

#[test]
fn a_view_replaced_under_its_trigger_merges() {
    let pair = &mut pair();
    let conflicts = pair.settled(
        &format!(
            "{T}; CREATE VIEW v AS SELECT * FROM t; CREATE TRIGGER g INSTEAD OF INSERT ON v
             BEGIN INSERT INTO t VALUES (new.id, new.a); END"
        ),
        "DROP VIEW v; CREATE TABLE v (id INTEGER PRIMARY KEY, a INT)",
        "INSERT INTO t VALUES (3, 3)",
    );
    assert_eq!(conflicts, 0);
    assert_eq!(names(pair, "trigger"), json!([]));
    assert_eq!(pair.query("SELECT count(*) FROM v"), json!([[0]]));
}

#[test]
fn a_new_key_by_rebuild_on_both_sides_is_no_conflict() {
    let rebuild = "CREATE TABLE n (id TEXT PRIMARY KEY, a INT);
         INSERT INTO n SELECT 'k' || id, a FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t";
    let pair = &mut pair();
    let conflicts = pair.settled(
        T,
        &format!("{rebuild}; INSERT INTO t VALUES ('o', 1)"),
        &format!("{rebuild}; INSERT INTO t VALUES ('t', 2)"),
    );
    assert_eq!(conflicts, 0);
    let rows = json!([["k1", 0], ["k2", 0], ["o", 1], ["t", 2]]);
    assert_eq!(pair.query("SELECT * FROM t ORDER BY id"), rows);
}

#[test]
fn definitions_that_differ_in_blanks_and_case_are_no_conflict() {
    let pair = &mut pair();
    let conflicts = pair.settled(
        "",
        "CREATE TABLE IF NOT EXISTS n (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO n VALUES (1, 'x')",
        "create table N (ID integer primary key,\n  a text, b text); INSERT INTO N VALUES (2, 'y', 'z')",
    );
    assert_eq!(conflicts, 0);
    assert_eq!(
        pair.query("SELECT id, a, b FROM n ORDER BY id"),
        json!([[1, "x", null], [2, "y", "z"]])
    );
}

#[test]
fn cells_of_a_dropped_column_are_recorded() {
    let base =
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INT, a INT); INSERT INTO t VALUES (1, 1, 1)";
    let (drop, set) = ("ALTER TABLE t DROP COLUMN n", "INSERT INTO t VALUES (2, 3, 4)");
    for (ours, theirs) in [(drop, set), (set, drop)] {
        let pair = &mut pair();
        assert_eq!(pair.settled(base, ours, theirs), 1);
        assert_eq!(pair.query("SELECT * FROM t ORDER BY id"), json!([[1, 1], [2, 4]]));
        let cell = pair.query("SELECT kind, loser FROM swarm_conflicts");
        assert_eq!(cell, json!([["cell", r#"{"n":3}"#]]));
    }
}

#[test]
fn an_object_that_needs_a_dropped_column_goes() {
    let base =
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INT, a INT); INSERT INTO t VALUES (1, 1, 1);
                CREATE TABLE log (n INT)";
    let trigger = "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.n); END";
    let drop = "ALTER TABLE t DROP COLUMN n";
    for (ours, theirs) in [(drop, trigger), (trigger, drop)] {
        let pair = &mut pair();
        assert_eq!(pair.settled(base, ours, theirs), 1);
        assert_eq!(records(pair), json!([["object", "g", r#"{"object":"trigger"}"#]]));
        pair.exec(Side::A, "INSERT INTO t (id, a) VALUES (5, 5)");
    }
    let pair = &mut pair();
    assert_eq!(
        pair.settled(
            base,
            drop,
            "CREATE VIEW v AS SELECT n FROM t; CREATE VIEW w AS SELECT * FROM v"
        ),
        2
    );
    assert_eq!(names(pair, "view"), json!([]));
}

#[test]
fn a_foreign_key_to_a_missing_column_goes() {
    let parents = ["CREATE TABLE p (x TEXT)", "CREATE TABLE p (id INTEGER PRIMARY KEY, x TEXT)"];
    let [c, bare] = ["(id)", ""].map(|to| format!("CREATE TABLE c (r INT REFERENCES p {to})"));
    let drop = "CREATE TABLE q (x TEXT); DROP TABLE p; ALTER TABLE q RENAME TO p";
    for (base, ours, theirs) in [
        (format!("{T}; {}; {c}", parents[0]), "UPDATE t SET a = 1", "INSERT INTO t VALUES (3, 3)"),
        (format!("{T}; {}; {bare}", parents[0]), "UPDATE t SET a = 1", "DELETE FROM t"),
        (format!("{T}; {}", parents[1]), c.as_str(), drop),
        (format!("{T}; {}", parents[1]), drop, bare.as_str()),
        (
            format!("{T}; {}", parents[1]),
            c.as_str(),
            "DROP TABLE p; CREATE VIEW p AS SELECT 1 AS x",
        ),
    ] {
        let pair = &mut pair();
        pair.settled(&base, ours, theirs);
        let keys = "SELECT kind, json_extract(loser, '$.sql') LIKE '%REFERENCES%' \
                    FROM swarm_conflicts WHERE table_name = 'c'";
        assert_eq!(pair.query(keys), json!([["schema", 1]]), "{base}, {ours}, {theirs}");
        pair.exec(Side::A, "INSERT INTO c VALUES (7)");
    }
}

#[test]
fn full_text_finds_the_documents_of_both_sides() {
    let pair = &mut pair();
    let conflicts = pair.settled(
        &format!("{T}; CREATE VIRTUAL TABLE d USING fts5 (x); INSERT INTO d VALUES ('base one')"),
        "INSERT INTO d VALUES ('ours two'); UPDATE t SET a = 1 WHERE id = 1",
        "INSERT INTO d VALUES ('theirs three'); UPDATE t SET a = 2 WHERE id = 1",
    );
    assert_eq!(conflicts, 1);
    for word in ["base", "ours", "theirs"] {
        let found = pair.query(&format!("SELECT count(*) FROM d WHERE d MATCH '{word}'"));
        assert_eq!(found, json!([[1]]), "{word}");
    }
    pair.exec(Side::A, "INSERT INTO d (d) VALUES ('integrity-check'); INSERT INTO t VALUES (9, 9)");
}

#[test]
fn full_text_over_another_table_is_built_anew() {
    let pair = &mut pair();
    let base = "CREATE TABLE doc (id INTEGER PRIMARY KEY, x TEXT);
        CREATE VIRTUAL TABLE d USING fts5 (x, content='doc', content_rowid='id');
        CREATE TRIGGER di AFTER INSERT ON doc BEGIN
          INSERT INTO d (rowid, x) VALUES (new.id, new.x); END";
    let conflicts = pair.settled(
        base,
        "INSERT INTO doc VALUES (1, 'apple')",
        "INSERT INTO doc VALUES (2, 'pear')",
    );
    assert_eq!(conflicts, 0);
    for word in ["apple", "pear"] {
        let found = pair.query(&format!("SELECT count(*) FROM d WHERE d MATCH '{word}'"));
        assert_eq!(found, json!([[1]]), "{word}");
    }
}

#[test]
fn spatial_indexes_merge_by_row() {
    let (mut pair, path) = super::pair_at();
    let conflicts = pair.settled(
        "CREATE VIRTUAL TABLE r USING rtree (id, x0, x1); INSERT INTO r VALUES (1, 0, 1)",
        "INSERT INTO r VALUES (2, 2, 3), (4, 8, 9)",
        "INSERT INTO r VALUES (3, 4, 5), (4, 6, 7)",
    );
    assert_eq!(conflicts, 1);
    let rows =
        Connection::open(&path, false).unwrap().rows("SELECT id, x0 FROM r ORDER BY id", &[]);
    let expected = [(1, 0.0), (2, 2.0), (3, 4.0), (4, 6.0)];
    assert_eq!(rows.unwrap(), expected.map(|(id, x)| vec![Value::Integer(id), Value::Real(x)]));
}

#[test]
fn a_wide_table_in_conflict_merges() {
    let columns: Vec<_> = (0..700).map(|n| format!("c{n} INT")).collect();
    let base = format!(
        "CREATE TABLE w (id INTEGER PRIMARY KEY, {}); INSERT INTO w (id) VALUES (1)",
        columns.join(", ")
    );
    let pair = &mut pair();
    assert_eq!(pair.settled(&base, "UPDATE w SET c7 = 1", "UPDATE w SET c7 = 2, c8 = 3"), 1);
    assert_eq!(pair.query("SELECT c7, c8 FROM w"), json!([[2, 3]]));
}

#[test]
fn equal_new_rows_without_a_key_are_counted() {
    let pair = &mut pair();
    let base = "CREATE TABLE k (a INT); INSERT INTO k VALUES (7)";
    assert_eq!(pair.settled(base, "INSERT INTO k VALUES (5)", "INSERT INTO k VALUES (5)"), 0);
    assert_eq!(pair.query("SELECT a FROM k ORDER BY a"), json!([[5], [5], [7]]));
}

#[test]
fn a_table_that_both_sides_make_again_takes_no_record_away() {
    let pair = &mut pair();
    let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT)";
    assert_eq!(pair.settled(table, "INSERT INTO t VALUES (4, 4)", "DROP TABLE t"), 1);
    let lost = json!([["row", "t", r#"{"id":4}"#]]);
    assert_eq!(records(pair), lost);
    let split = pair.split("", table, table);
    let count = "SELECT count(*) FROM swarm_conflicts";
    for engine in [&pair.a, &pair.b] {
        assert_eq!(query(engine.as_ref(), count), json!([[1]]), "before the merge");
    }
    assert_eq!(pair.settle(&split), 0);
    assert_eq!(records(pair), lost);
}

#[test]
fn an_updated_parent_is_followed_as_its_foreign_key_says() {
    let base = |action: &str| {
        format!(
            "CREATE TABLE list (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
             CREATE TABLE task (id INTEGER PRIMARY KEY,
               list TEXT DEFAULT 'other' REFERENCES list (name) ON UPDATE {action} ON DELETE SET NULL);
             INSERT INTO list VALUES (1, 'home'), (2, 'other');
             INSERT INTO task VALUES (1, 'home')"
        )
    };
    let rename = "UPDATE list SET name = 'house' WHERE id = 1; UPDATE task SET list = 'house'";
    let insert = "INSERT INTO task VALUES (5, 'home')";
    for (action, row) in [
        ("CASCADE", json!([5, "house"])),
        ("SET NULL", json!([5, null])),
        ("SET DEFAULT", json!([5, "other"])),
    ] {
        for (ours, theirs) in [(rename, insert), (insert, rename)] {
            let pair = &mut pair();
            assert_eq!(pair.settled(&base(action), ours, theirs), 1, "{action}");
            assert_eq!(pair.query("SELECT * FROM task WHERE id = 5"), json!([row]), "{action}");
            let lost = json!([["foreign key", "task", r#"{"list":"home"}"#]]);
            let found = "SELECT kind, table_name, loser FROM swarm_conflicts";
            assert_eq!(pair.query(found), lost, "{action}");
        }
    }
    // A parent that is gone was deleted, whatever is said for updates.
    let pair = &mut pair();
    let delete = "DELETE FROM task; DELETE FROM list WHERE id = 1";
    assert_eq!(pair.settled(&base("CASCADE"), delete, insert), 1);
    assert_eq!(pair.query("SELECT * FROM task"), json!([[5, null]]));
}

#[test]
fn a_row_under_two_renamed_parents_follows_both() {
    let pair = &mut pair();
    let conflicts = pair.settled(
        "CREATE TABLE p (id INTEGER PRIMARY KEY, u TEXT UNIQUE, a INT, b INT, UNIQUE (a, b));
         CREATE TABLE c (id INTEGER PRIMARY KEY, u TEXT REFERENCES p (u) ON UPDATE CASCADE, a INT,
           b INT, FOREIGN KEY (a, b) REFERENCES p (a, b) ON UPDATE CASCADE);
         INSERT INTO p VALUES (1, 'x', 1, 2)",
        "UPDATE p SET u = 'y', a = 7, b = 8",
        "INSERT INTO c VALUES (1, 'x', 1, 2)",
    );
    assert_eq!(pair.query("SELECT * FROM c"), json!([[1, "y", 7, 8]]));
    assert_eq!(conflicts, 2);
}

#[test]
fn foreign_key_actions_are_what_settling_does() {
    let base = |action: &str| {
        format!(
            "CREATE TABLE list (id INTEGER PRIMARY KEY);
             CREATE TABLE task (id INTEGER PRIMARY KEY,
               list INT DEFAULT 1 REFERENCES list (id) ON DELETE {action});
             INSERT INTO list VALUES (1), (2)"
        )
    };
    let (delete, insert) = ("DELETE FROM list WHERE id = 2", "INSERT INTO task VALUES (5, 2)");
    for (action, rows) in [
        ("SET NULL", json!([[5, null]])),
        ("SET DEFAULT", json!([[5, 1]])),
        ("CASCADE", json!([])),
        ("NO ACTION", json!([])),
    ] {
        for (ours, theirs) in [(delete, insert), (insert, delete)] {
            let pair = &mut pair();
            assert_eq!(pair.settled(&base(action), ours, theirs), 1, "{action}");
            assert_eq!(pair.query("SELECT * FROM task"), rows, "{action}");
        }
    }
}

#[test]
fn a_table_that_a_new_key_needs_stays() {
    let pair = &mut pair();
    let child = "CREATE TABLE c (id INTEGER PRIMARY KEY, t INT REFERENCES t (id));
                 INSERT INTO c VALUES (1, 1)";
    assert_eq!(pair.settled(T, "DROP TABLE t", child), 1);
    assert_eq!(pair.query("SELECT count(*) FROM t"), json!([[2]]));
    let pair = &mut super::pair();
    assert_eq!(pair.settled(T, child, "DROP TABLE t"), 1);
    pair.exec(Side::A, "INSERT INTO c VALUES (2, 9)");
}

#[test]
fn a_key_that_lost_its_unique_index_can_still_be_used() {
    let base = "CREATE TABLE p (id INTEGER PRIMARY KEY, u TEXT); CREATE UNIQUE INDEX pu ON p (u);
                INSERT INTO p VALUES (1, 'a')";
    let (drop, child) = (
        "DROP INDEX pu",
        "CREATE TABLE c (id INTEGER PRIMARY KEY, u TEXT REFERENCES p (u)); INSERT INTO c VALUES (1, 'a')",
    );
    for (ours, theirs) in [(drop, child), (child, drop)] {
        let pair = &mut pair();
        assert_eq!(pair.settled(base, ours, theirs), 1);
        pair.exec(Side::A, "INSERT INTO c VALUES (2, 'a')");
    }
}

#[test]
fn a_unique_index_of_one_side_settles_others_rows() {
    for (ours, theirs, left) in [
        (
            "INSERT INTO t VALUES (3, 5)",
            "CREATE UNIQUE INDEX ta ON t (a); INSERT INTO t VALUES (4, 5)",
            4,
        ),
        (
            "CREATE UNIQUE INDEX ta ON t (a); INSERT INTO t VALUES (4, 5)",
            "INSERT INTO t VALUES (3, 5)",
            3,
        ),
    ] {
        let pair = &mut pair();
        let base = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT)";
        assert_eq!(pair.settled(base, ours, theirs), 1);
        assert_eq!(pair.query("SELECT id FROM t"), json!([[left]]));
        assert_eq!(names(pair, "index"), json!([["sqlite_autoindex_swarm_conflicts_1"], ["ta"]]));
    }
}

#[test]
fn values_keep_their_bytes() {
    let pair = &mut pair();
    let value = "CAST(x'61ff00' AS TEXT)";
    let base = "CREATE TABLE t (k TEXT PRIMARY KEY, v, w INT); INSERT INTO t VALUES ('a', 0, 0)";
    let conflicts = pair.settled(
        base,
        &format!("INSERT INTO t VALUES ({value}, 1, 0), ('b', {value}, 0); UPDATE t SET v = 9e999"),
        &format!(
            "INSERT INTO t VALUES ({value}, 2, 0), ('b', -9e999, 0); UPDATE t SET v = {value}"
        ),
    );
    assert_eq!(conflicts, 3);
    let rows = pair.query("SELECT hex(k), typeof(v), hex(v) FROM t ORDER BY k");
    let text = "61FF00";
    assert_eq!(rows, json!([["61", "text", text], [text, "text", text], ["62", "text", text]]));
    let losers = pair.query("SELECT loser FROM swarm_conflicts ORDER BY row_key");
    let infinite = json!([r#"{"v":{"real":"inf"}}"#]);
    assert_eq!(losers, json!([infinite, infinite, infinite]));
}

#[test]
fn counters_of_both_sides_go_on_from_the_greater() {
    let pair = &mut pair();
    let base = "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a INT)";
    let conflicts = pair.settled(
        base,
        "INSERT INTO t VALUES (10, 1); DELETE FROM t; INSERT INTO t VALUES (1, 1)",
        "INSERT INTO t VALUES (2, 2)",
    );
    assert_eq!(conflicts, 0);
    assert_eq!(pair.query("SELECT seq FROM sqlite_sequence"), json!([[10]]));
}

#[test]
fn records_that_a_side_removed_come_back() {
    let pair = &mut pair();
    let base = format!(
        "{T}; INSERT INTO swarm_conflicts VALUES ('x', 'row', 't', '{{}}', NULL, '1', '2', 'open')"
    );
    let base = base.replace("INSERT INTO swarm_conflicts", "SELECT 1; INSERT INTO swarm_conflicts");
    pair.backend.meddle(Side::A, &base);
    let meta = pair.meta("pending");
    let commit = pair.a.commit_pending(&meta).unwrap().commit.unwrap();
    pair.share(&commit);
    let gone = "DELETE FROM swarm_conflicts; SELECT dolt_commit('-A', '-m', 'gone')";
    pair.backend.meddle(Side::A, gone);
    let ours = pair.a.main().unwrap();
    let theirs = pair.exec(Side::B, "UPDATE t SET a = 3 WHERE id = 1");
    pair.transfer(Side::B, &theirs);
    pair.transfer(Side::A, &ours);
    let split = crate::engine::conformance::Split { ours, theirs };
    assert_eq!(pair.settle(&split), 0);
    assert_eq!(records(pair), json!([["row", "t", "{}"]]));
}

#[test]
fn defaults_types_and_triggers_of_both_sides_stand() {
    let pair = &mut pair();
    let conflicts = pair.settled(
        &format!("{T}; CREATE TABLE log (x INT)"),
        "ALTER TABLE t ADD COLUMN o INT NOT NULL DEFAULT 7;
         CREATE TRIGGER g1 AFTER UPDATE ON t BEGIN INSERT INTO log VALUES (1); END",
        "ALTER TABLE t ADD COLUMN h TEXT DEFAULT 'x'; INSERT INTO t (id, a) VALUES (3, 3);
         CREATE TRIGGER g2 AFTER UPDATE ON t BEGIN INSERT INTO log VALUES (2); END;
         CREATE INDEX th ON t (h)",
    );
    assert_eq!(conflicts, 0);
    let rows = json!([[1, 0, 7, "x"], [2, 0, 7, "x"], [3, 3, 7, "x"]]);
    assert_eq!(pair.query("SELECT id, a, o, h FROM t ORDER BY id"), rows);
    assert_eq!(names(pair, "trigger"), json!([["g1"], ["g2"]]));
}
