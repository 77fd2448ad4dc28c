//! Commits, main, branches and tags.

use std::time::{Duration, Instant};

use doltswarm_core::commit::{ConflictPolicy, Merge};
use doltswarm_core::id::CommitHash;
use serde_json::json;

use super::{MergeOutcome, MoveOutcome, Pair, Side, merge, query};
use crate::engine::{EngineError, RowChange, Value};

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 0)";

/// How long a server that is busy with other databases may keep what nothing reaches.
const COLLECT_TIMEOUT: Duration = Duration::from_secs(60);

fn missing() -> CommitHash {
    CommitHash::from_bytes([7; 20])
}

/// The two databases have done different things before, and merge in another order.
pub(crate) fn merges_are_deterministic(pair: &mut Pair) {
    let split = pair.split(
        "CREATE TABLE p (id INTEGER PRIMARY KEY);
         CREATE TABLE t (id INTEGER PRIMARY KEY, u INT UNIQUE, pid INT,
           FOREIGN KEY (pid) REFERENCES p (id));
         INSERT INTO p VALUES (1), (2), (3); INSERT INTO t VALUES (1, 1, 1), (2, 2, 2)",
        "UPDATE t SET u = 5 WHERE id = 1; INSERT INTO t VALUES (10, 10, 3); DELETE FROM p WHERE id = 2;
         CREATE TABLE n (id INTEGER PRIMARY KEY)"
            .replace("DELETE FROM p WHERE id = 2", "DELETE FROM t WHERE id = 2")
            .as_str(),
        "UPDATE t SET u = 6 WHERE id = 1; INSERT INTO t VALUES (11, 10, 1); DELETE FROM p WHERE id = 3",
    );
    let policy = ConflictPolicy::Settle;
    let reverse = merge(pair.b.as_mut(), &split.theirs, &split.ours, policy).unwrap();
    let outcome = pair.merge(&split, policy);
    assert_eq!(merge(pair.a.as_mut(), &split.theirs, &split.ours, policy).unwrap(), reverse);
    assert_eq!(pair.merge(&split, policy), outcome, "a second time");
    assert_ne!(outcome, reverse);
}

pub(crate) fn commits_are_described(pair: &mut Pair) {
    let parent = pair.a.main().unwrap();
    let meta = super::meta_at("it's\n\"quoted\"; DROP TABLE t", 1_700_000_000);
    let commit = pair.a.exec_and_commit(&[TABLE.into()], &meta).unwrap().commit.unwrap();
    let info = pair.a.commit_info(&commit).unwrap().unwrap();
    assert_eq!(info.hash, commit);
    assert_eq!(info.parents, [parent]);
    assert_eq!((info.author_name, info.author_email), (meta.author_name, meta.author_email));
    assert_eq!((info.message, info.seconds), (meta.message, meta.seconds));
    assert_eq!(pair.a.commit_info(&missing()).unwrap(), None);
}

pub(crate) fn unknown_commits_are_named(pair: &mut Pair) {
    let (main, missing) = (pair.a.main().unwrap(), missing());
    let policy = ConflictPolicy::Settle;
    let of = |ours, theirs, base: CommitHash| Merge { ours, theirs, base: base.into() };
    let errors = [
        pair.a.merge(&of(main, missing, main), policy).unwrap_err(),
        pair.a.merge(&of(missing, main, main), policy).unwrap_err(),
        pair.a.merge(&of(main, main, missing), policy).unwrap_err(),
        pair.a.merge_base(&main, &missing).unwrap_err(),
        pair.a.move_main(&main, &missing).unwrap_err(),
        pair.a.set_parked(&[missing]).unwrap_err(),
        pair.a.set_signature_tags(&[(missing, String::new())]).unwrap_err(),
        pair.a.changed_tables(&main, &missing).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, EngineError::NoSuchCommit(commit) if commit == missing), "{error}");
    }
    assert_eq!(pair.a.main().unwrap(), main);
}

pub(crate) fn main_moves_only_from_where_it_is(pair: &mut Pair) {
    let first = pair.exec(Side::A, TABLE);
    let second = pair.exec(Side::A, "UPDATE t SET a = 1");
    assert_eq!(pair.a.move_main(&first, &first).unwrap(), MoveOutcome::MainChanged(second));
    assert_eq!(query(pair.a.as_ref(), "SELECT a FROM t"), json!([[1]]));
    assert_eq!(pair.a.move_main(&second, &first).unwrap(), MoveOutcome::Moved);
    assert_eq!(pair.a.main().unwrap(), first);
    assert_eq!(query(pair.a.as_ref(), "SELECT a FROM t"), json!([[0]]));
}

pub(crate) fn main_waits_for_uncommitted_work(pair: &mut Pair) {
    let first = pair.exec(Side::A, TABLE);
    let second = pair.exec(Side::A, "UPDATE t SET a = 1");
    pair.backend
        .meddle(Side::A, "INSERT INTO t VALUES (7, 7); CREATE TABLE z (id INTEGER PRIMARY KEY)");
    let dirty = vec!["t".to_owned(), "z".to_owned()];
    assert_eq!(pair.a.dirty_tables().unwrap(), dirty);
    assert_eq!(pair.a.move_main(&second, &first).unwrap(), MoveOutcome::Dirty(dirty));
    assert_eq!(query(pair.a.as_ref(), "SELECT * FROM t ORDER BY id"), json!([[1, 1], [7, 7]]));
    // Merging and fetching go on meanwhile.
    let outcome = merge(pair.a.as_mut(), &first, &second, ConflictPolicy::Settle).unwrap();
    assert!(matches!(outcome, MergeOutcome::Merged { .. }), "{outcome:?}");
    assert_eq!(query(pair.a.as_ref(), "SELECT count(*) FROM t"), json!([[2]]));
}

pub(crate) fn readers_see_whole_moves(pair: &mut Pair) {
    let first = pair.exec(Side::A, TABLE);
    let second = pair.exec(
        Side::A,
        "UPDATE t SET a = 1; CREATE TABLE n (id INTEGER PRIMARY KEY); INSERT INTO n VALUES (1)",
    );
    let mut reader = pair.a.reader().unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut seen = [0; 2];
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let sql = "SELECT a, (SELECT count(*) FROM t) FROM t";
                let rows = reader.query(sql, &[], 10).unwrap().rows;
                match rows.as_slice() {
                    [row] if row == &[Value::Integer(0), Value::Integer(1)] => seen[0] += 1,
                    [row] if row == &[Value::Integer(1), Value::Integer(1)] => seen[1] += 1,
                    rows => panic!("a move half done: {rows:?}"),
                }
            }
            seen
        });
        for _ in 0..100 {
            pair.a.move_main(&second, &first).unwrap();
            pair.a.move_main(&first, &second).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let seen = watch.join().unwrap();
        assert!(seen[0] + seen[1] > 0, "nothing was read");
    });
}

pub(crate) fn parked_heads_outlive_garbage_collection(pair: &mut Pair) {
    let base = pair.exec(Side::A, TABLE);
    let parked = pair.exec(Side::A, "UPDATE t SET a = 1");
    pair.a.move_main(&parked, &base).unwrap();
    let loose = pair.exec(Side::A, "UPDATE t SET a = 2");
    pair.a.move_main(&loose, &base).unwrap();
    pair.a.set_parked(&[parked]).unwrap();
    pair.a.set_parked(&[parked]).unwrap();
    collect(pair, &loose);
    assert!(pair.a.commit_info(&parked).unwrap().is_some());
    assert_eq!(pair.a.diff(&base, &parked, "t", 10).unwrap().rows.len(), 1);
    // Nothing is parked any more: the branch is gone, and then the commit.
    pair.a.set_parked(&[]).unwrap();
    collect(pair, &parked);
    assert_eq!(pair.a.main().unwrap(), base);
}

/// Collects garbage until a commit that nothing reaches is gone. A server keeps what it is doing
/// something with at the moment, and drops it the next time.
fn collect(pair: &mut Pair, loose: &CommitHash) {
    let began = Instant::now();
    while began.elapsed() < COLLECT_TIMEOUT {
        pair.a.collect_garbage().unwrap();
        if pair.a.commit_info(loose).unwrap().is_none() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the engine keeps what nothing reaches");
}

pub(crate) fn merging_works_after_garbage_collection(pair: &mut Pair) {
    let split = pair.split(TABLE, "UPDATE t SET a = 1", "UPDATE t SET a = 2");
    let first = pair.merge(&split, ConflictPolicy::Settle);
    pair.a.set_parked(&[split.theirs]).unwrap();
    pair.a.collect_garbage().unwrap();
    assert_eq!(pair.merge(&split, ConflictPolicy::Settle), first);
}

pub(crate) fn signature_tags_are_kept(pair: &mut Pair) {
    let first = pair.exec(Side::A, TABLE);
    let second = pair.exec(Side::A, "UPDATE t SET a = 1");
    assert_eq!(pair.a.signature_tags().unwrap(), []);
    let mut tags = vec![(first, "it's one".to_owned()), (second, "two\nlines".to_owned())];
    tags.sort();
    pair.a.set_signature_tags(&tags).unwrap();
    pair.a.set_signature_tags(&tags).unwrap();
    assert_eq!(pair.a.signature_tags().unwrap(), tags);
    let changed = vec![(second, "other".to_owned())];
    pair.a.set_signature_tags(&changed).unwrap();
    assert_eq!(pair.a.signature_tags().unwrap(), changed);
    assert_eq!(pair.a.main().unwrap(), second);
}

pub(crate) fn tables_that_changed(pair: &mut Pair) {
    let first = pair.exec(Side::A, TABLE);
    let second = pair.exec(
        Side::A,
        "CREATE TABLE `a b` (id INTEGER PRIMARY KEY); CREATE TABLE gone (id INTEGER PRIMARY KEY);
         INSERT INTO gone VALUES (1)",
    );
    let third = pair.exec(Side::A, "DROP TABLE gone; UPDATE t SET a = 3");
    assert_eq!(pair.a.changed_tables(&first, &second).unwrap(), ["a b", "gone"]);
    assert_eq!(pair.a.changed_tables(&second, &third).unwrap(), ["gone", "t"]);
    assert_eq!(pair.a.changed_tables(&first, &third).unwrap(), ["a b", "t"]);
    assert_eq!(pair.a.changed_tables(&third, &third).unwrap(), Vec::<String>::new());
    let gone = pair.a.diff(&second, &third, "gone", 10).unwrap();
    assert!(gone.schema_changed);
    assert_eq!(gone.rows, [RowChange { before: Some(vec![1.into()]), after: None }]);
    let split = pair.split("", "UPDATE t SET a = 4", "CREATE TABLE n (id INTEGER PRIMARY KEY)");
    assert_eq!(pair.a.changed_tables(&split.ours, &split.theirs).unwrap().last().unwrap(), "t");
}

pub(crate) fn rows_that_changed(pair: &mut Pair) {
    let first = pair.exec(Side::A, &format!("{TABLE}, (2, 0), (3, 0)"));
    let second = pair.exec(
        Side::A,
        "UPDATE t SET a = 1 WHERE id = 1; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (4, NULL)",
    );
    let row = |id: i64, a: Option<i64>| Some(vec![Value::from(id), Value::from(a)]);
    let diff = pair.a.diff(&first, &second, "t", 10).unwrap();
    assert_eq!((diff.table.as_str(), diff.schema_changed, diff.truncated), ("t", false, false));
    assert_eq!(diff.columns, ["id", "a"]);
    let changes = [
        RowChange { before: row(1, Some(0)), after: row(1, Some(1)) },
        RowChange { before: row(2, Some(0)), after: None },
        RowChange { before: None, after: row(4, None) },
    ];
    assert_eq!(diff.rows, changes);
    let cut = pair.a.diff(&first, &second, "t", 2).unwrap();
    assert!(cut.truncated);
    assert_eq!(cut.rows, changes[..2]);
    assert_eq!(pair.a.diff(&second, &second, "t", 2).unwrap().rows, []);
    let error = pair.a.diff(&first, &second, "nowhere", 2).unwrap_err();
    assert!(matches!(error, EngineError::Rejected { .. }), "{error}");
}

pub(crate) fn a_dropped_column_is_in_the_difference(pair: &mut Pair) {
    let first = pair.exec(Side::A, TABLE);
    let second = pair.exec(
        Side::A,
        "ALTER TABLE t ADD COLUMN b INT; UPDATE t SET b = 5; ALTER TABLE t DROP COLUMN a",
    );
    let diff = pair.a.diff(&first, &second, "t", 10).unwrap();
    assert!(diff.schema_changed);
    assert_eq!(diff.columns, ["id", "b", "a"]);
    let before = Some(vec![1.into(), Value::Null, 0.into()]);
    assert_eq!(
        diff.rows,
        [RowChange { before, after: Some(vec![1.into(), 5.into(), Value::Null]) }]
    );
}
