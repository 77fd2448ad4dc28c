//! Every pair of changes of one schema, in both orders: the table of what is tried.

use std::num::NonZero;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doltswarm_core::commit::ConflictPolicy;
use doltswarm_core::id::CommitHash;

use super::super::DoltLite;
use super::super::connection::{quote, text};
use super::super::ffi::Connection;
use super::pair_at;
use crate::engine::conformance::merge;
use crate::engine::{MergeOutcome, Value};

/// What both sides start from.
const BASE: &str = "
    CREATE TABLE p (id INTEGER PRIMARY KEY, u TEXT UNIQUE);
    INSERT INTO p VALUES (1, 'one'), (2, 'two');
    CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b TEXT, pid INT REFERENCES p (id));
    INSERT INTO t VALUES (1, 1, 'x', 1), (2, 2, 'y', 1), (3, 3, 'z', 2);
    CREATE TABLE log (what TEXT);
    CREATE INDEX tb ON t (b);
    CREATE VIEW v AS SELECT id, b FROM t;
    CREATE TRIGGER g AFTER UPDATE OF a ON t BEGIN INSERT INTO log VALUES (new.b); END";

/// The changes, with a name each. `MARK` becomes a text of the side: it must be found again after
/// the merge, in a table or in a record.
const CHANGES: [(&str, &str); 30] = [
    ("insert rows", "INSERT INTO t VALUES (9, 9, 'MARK', 2)"),
    ("update a cell", "UPDATE t SET b = 'MARK' WHERE id = 1"),
    ("update another cell", "UPDATE t SET a = 7 WHERE id = 1; INSERT INTO log VALUES ('MARK')"),
    ("delete a row", "DELETE FROM t WHERE id = 1"),
    ("delete a parent", "DELETE FROM t WHERE pid = 2; DELETE FROM p WHERE id = 2"),
    ("add a column", "ALTER TABLE t ADD COLUMN n INT; UPDATE t SET b = 'MARK' WHERE id = 2"),
    ("add it in another type", "ALTER TABLE t ADD COLUMN n TEXT DEFAULT 'd'; UPDATE t SET n = 'MARK'"),
    ("add one that may not be NULL", "ALTER TABLE t ADD COLUMN m TEXT NOT NULL DEFAULT 'MARK'"),
    ("drop a column", "DROP VIEW v; DROP TRIGGER g; DROP INDEX tb; ALTER TABLE t DROP COLUMN b"),
    ("rename a column", "ALTER TABLE t RENAME COLUMN b TO bb; UPDATE t SET bb = 'MARK' WHERE id = 3"),
    (
        "rebuild with a clock as a default",
        "DROP VIEW v; CREATE TABLE new_t (id INTEGER PRIMARY KEY, a INT, b TEXT, pid INT,
           at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
         INSERT INTO new_t SELECT id, a, 'MARK', pid, 'now' FROM t; DROP TABLE t;
         ALTER TABLE new_t RENAME TO t",
    ),
    (
        "rebuild with another key",
        "DROP VIEW v; CREATE TABLE new_t (id TEXT PRIMARY KEY, a INT, b TEXT, pid INT);
         INSERT INTO new_t SELECT 'k' || id, a, b, pid FROM t; DROP TABLE t;
         ALTER TABLE new_t RENAME TO t; INSERT INTO t VALUES ('MARK', 1, 'b', 1)",
    ),
    (
        "rebuild with a check",
        "DROP VIEW v; CREATE TABLE new_t (id INTEGER PRIMARY KEY, a INT CHECK (a < 8), b TEXT, pid INT);
         INSERT INTO new_t SELECT * FROM t; DROP TABLE t; ALTER TABLE new_t RENAME TO t",
    ),
    ("drop the table", "DROP VIEW v; DROP TABLE t"),
    ("rename the table", "ALTER TABLE t RENAME TO renamed; UPDATE renamed SET b = 'MARK' WHERE id = 2"),
    (
        "put a view in its place",
        "DROP VIEW v; DROP TABLE t; CREATE VIEW t AS SELECT 1 AS id, 'MARK' AS b",
    ),
    ("create a table", "CREATE TABLE made (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO made VALUES (1, 'MARK')"),
    ("create it in another form", "CREATE TABLE Made (k TEXT PRIMARY KEY, b TEXT); INSERT INTO Made VALUES ('MARK', 'b')"),
    ("create an index of its name", "CREATE INDEX made ON t (a)"),
    ("create a child", "CREATE TABLE c (id INTEGER PRIMARY KEY, u TEXT REFERENCES p (u), t INT REFERENCES t (id)); INSERT INTO c VALUES (1, 'one', 1)"),
    ("make a column unique", "CREATE UNIQUE INDEX ta ON t (a)"),
    ("drop the index", "DROP INDEX tb"),
    ("another view", "DROP VIEW v; CREATE VIEW v AS SELECT id, a, b, 'MARK' AS m FROM t"),
    ("a trigger in another way", "DROP TRIGGER g; CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO log VALUES ('MARK'); END"),
    ("a table for full text", "CREATE VIRTUAL TABLE made USING fts5 (x); INSERT INTO made VALUES ('MARK')"),
    ("rows without a key", "INSERT INTO log VALUES ('MARK'), ('same')"),
    ("a parent's name", "UPDATE p SET u = 'MARK' WHERE id = 1"),
    (
        "add generated columns",
        "ALTER TABLE t ADD COLUMN gen TEXT AS (upper(b) || a); CREATE INDEX tg ON t (gen);
         UPDATE t SET b = 'MARK' WHERE id = 3",
    ),
    ("index expressions", "CREATE INDEX te ON t (lower(b) COLLATE NOCASE, a + 1); UPDATE t SET a = 8 WHERE id = 3"),
    (
        "rebuild with a collation and all that is evaluated",
        "DROP VIEW v; CREATE TABLE new_t (id INTEGER PRIMARY KEY, a INT, b TEXT COLLATE NOCASE, pid INT,
           r BLOB DEFAULT (randomblob(8)), d TEXT DEFAULT (datetime('now', 'localtime')),
           s TEXT AS (b || id) STORED);
         INSERT INTO new_t (id, a, b, pid, r, d) SELECT id, a, b, pid, x'00', 'then' FROM t; DROP TABLE t;
         ALTER TABLE new_t RENAME TO t; INSERT INTO t (id, b, r, d) VALUES (8, 'MARK', x'01', 'then');
         CREATE TRIGGER clock AFTER INSERT ON t BEGIN
           INSERT INTO log VALUES (strftime('%s', 'now') || hex(randomblob(4))); END",
    ),
];

/// What is in a database as text: every row, and every definition.
fn dump(path: &Path) -> String {
    let connection = Connection::open(path, false).unwrap();
    let names = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
    let mut all = String::new();
    for row in connection.rows(names, &[]).unwrap() {
        all.push_str(text(row.get(1)));
        let sql = format!("SELECT * FROM {}", quote(text(row.first())));
        for value in connection.rows(&sql, &[]).into_iter().flatten().flatten() {
            all.push_str(&format!("{:?} ", value.to_json()));
        }
    }
    all
}

/// Requires that each table takes a statement: nothing in the schema is in its way.
fn require_usable(path: &Path, what: &str) {
    let connection = Connection::open(path, false).unwrap();
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
                  AND name NOT LIKE 'made\\__%' ESCAPE '\\'";
    for row in connection.rows(tables, &[]).unwrap() {
        let name = quote(text(row.first()));
        for sql in [format!("INSERT INTO {name} DEFAULT VALUES"), format!("DELETE FROM {name}")] {
            connection.prepares(&sql).unwrap_or_else(|e| panic!("{what}: {sql}: {}", e.message));
        }
    }
    let views = "SELECT name FROM sqlite_schema WHERE type = 'view'";
    for row in connection.rows(views, &[]).unwrap() {
        let sql = format!("SELECT * FROM {}", quote(text(row.first())));
        connection.rows(&sql, &[]).unwrap_or_else(|e| panic!("{what}: {sql}: {}", e.message));
    }
    let broken = connection.rows("PRAGMA foreign_key_check", &[]).unwrap();
    assert_eq!(broken, Vec::<Vec<Value>>::new(), "{what}");
}

/// Merges two changes and requires that nothing is lost and all can be used. Keeps the database as
/// it was before the merge, and what the merge has to give, under `keep`.
fn meet((our_name, ours): (&str, &str), (their_name, theirs): (&str, &str), keep: &Path) {
    let what = format!("{our_name} / {their_name}");
    let (mut pair, path) = pair_at();
    let (ours, theirs) = (ours.replace("MARK", "mark-o"), theirs.replace("MARK", "mark-t"));
    let split = pair.split(BASE, &ours, &theirs);
    std::fs::copy(&path, keep.with_extension("db")).unwrap();
    pair.settle(&split);
    let expected = [split.ours, split.theirs, pair.a.main().unwrap()].map(|hash| hash.to_string());
    std::fs::write(keep, expected.join(" ")).unwrap();
    let all = dump(&path);
    for (sql, mark) in [(&ours, "mark-o"), (&theirs, "mark-t")] {
        assert!(!sql.contains(mark) || all.contains(mark), "{what}: {mark} is lost: {all}");
    }
    require_usable(&path, &what);
}

/// Names the directory with what another process merged, for the process that merges it again.
const ELSEWHERE: &str = "DOLTSWARM_TEST_MERGE_AGAIN";

/// How long after the first merge the second one is made: the clock shows another second, and more.
const LATER: Duration = Duration::from_secs(3);

/// Runs a job for each pair, on all cores; returns the pairs that failed.
fn for_each_pair(job: impl Fn(usize) + Sync + std::panic::RefUnwindSafe) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, NonZero::get) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= PAIRS {
                        break;
                    }
                    if std::panic::catch_unwind(|| job(at)).is_err() {
                        let (ours, theirs) = pair_of(at);
                        failed.lock().unwrap().push(format!("{} / {}", ours.0, theirs.0));
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

const PAIRS: usize = CHANGES.len() * CHANGES.len();

type Change = (&'static str, &'static str);

fn pair_of(at: usize) -> (Change, Change) {
    (CHANGES[at / CHANGES.len()], CHANGES[at % CHANGES.len()])
}

/// Merges what another process merged some time ago, and requires the same commit.
fn merge_again(kept: &Path) {
    let text = std::fs::read_to_string(kept).unwrap();
    let hashes: Vec<CommitHash> = text.split(' ').map(|hash| hash.parse().unwrap()).collect();
    let age = kept.metadata().unwrap().modified().unwrap().elapsed().unwrap();
    std::thread::sleep(LATER.saturating_sub(age));
    let mut engine = DoltLite::open(&kept.with_extension("db")).unwrap();
    let merged = merge(&mut engine, &hashes[0], &hashes[1], ConflictPolicy::Settle).unwrap();
    let MergeOutcome::Merged { commit, .. } = merged else { panic!("{merged:?}") };
    assert_eq!(commit, hashes[2]);
}

/// Lets another process merge all pairs again, later, in another time zone and locale and as
/// another user.
fn merge_all_again(kept: &Path) {
    let mut again = Command::new(std::env::current_exe().unwrap());
    let name = std::thread::current().name().unwrap().to_owned();
    again.args(["--exact", &name, "--nocapture"]).env(ELSEWHERE, kept);
    again.env("TZ", "XST-13:45").env("LC_ALL", "tr_TR.UTF-8").env("LANG", "tr_TR.UTF-8");
    again.env("USER", "somebody").env("LOGNAME", "somebody").env("HOME", kept);
    let output = again.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let count = std::fs::read_to_string(kept.join("merged")).unwrap();
    assert_eq!(count, PAIRS.to_string());
}

#[test]
fn every_pair_merges_alike_everywhere_and_loses_nothing() {
    if let Some(kept) = std::env::var_os(ELSEWHERE) {
        let kept = Path::new(&kept);
        assert_eq!(for_each_pair(|at| merge_again(&kept.join(at.to_string()))), NOTHING);
        std::fs::write(kept.join("merged"), PAIRS.to_string()).unwrap();
        return;
    }
    let kept = tempfile::tempdir().unwrap();
    let failed = for_each_pair(|at| {
        let (ours, theirs) = pair_of(at);
        meet(ours, theirs, &kept.path().join(at.to_string()));
    });
    assert_eq!(failed, NOTHING);
    merge_all_again(kept.path());
}

const NOTHING: [String; 0] = [];
