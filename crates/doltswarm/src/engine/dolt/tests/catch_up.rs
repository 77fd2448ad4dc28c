//! Catch-up commits: what others did comes into a main that is never at rest, and nothing else
//! does.

use doltswarm_core::commit::ConflictPolicy;
use std::sync::atomic::{AtomicBool, Ordering};

use doltswarm_core::id::CommitHash;
use mysql::prelude::Queryable;
use serde_json::json;

use super::own::TABLE;
use super::pair_at;
use super::server::connect;
use crate::engine::conformance::{Pair, Side, merge, meta_at, query};
use crate::engine::dolt::{DoltOptions, store};
use crate::engine::{MergeOutcome, MoveOutcome};

/// The fold of what `a` is at and of what `b` wrote.
fn fold(pair: &mut Pair, ours: &str, theirs: &str) -> (CommitHash, CommitHash) {
    let split = pair.split(TABLE, ours, theirs);
    let outcome = merge(pair.a.as_mut(), &split.ours, &split.theirs, ConflictPolicy::Settle);
    let MergeOutcome::Merged { commit, .. } = outcome.unwrap() else { panic!("they clash") };
    (split.ours, commit)
}

#[test]
fn it_has_main_and_the_fold_as_parents_and_the_work_of_both() {
    let Some((mut pair, all)) = pair_at() else { return };
    let (base, to) = fold(&mut pair, "INSERT INTO t VALUES (2, 2)", "INSERT INTO t VALUES (3, 3)");
    let meta = meta_at("catch up", 1_800_000_100);
    assert_eq!(
        pair.a.catch_up(&base, &to, &meta, None).unwrap(),
        None,
        "main is where it should be"
    );
    let outran = pair.exec(Side::A, "INSERT INTO t VALUES (4, 4); UPDATE t SET a = 5 WHERE id = 2");
    assert_eq!(pair.a.move_main(&base, &to).unwrap(), MoveOutcome::MainChanged(outran));
    let made = pair.a.catch_up(&base, &to, &meta, None).unwrap().expect("a commit");
    let info = pair.a.commit_info(&made).unwrap().unwrap();
    assert_eq!(info.parents, [outran, to]);
    assert_eq!((info.author_name, info.message), (meta.author_name, meta.message));
    assert_eq!(info.seconds, meta.seconds);
    assert_eq!(pair.a.main().unwrap(), made);
    let rows = query(pair.a.as_ref(), "SELECT * FROM t ORDER BY id");
    assert_eq!(rows, json!([[1, 0], [2, 5], [3, 3], [4, 4]]));
    let shown: Option<String> = connect(&all[0])
        .query_first("SELECT hash FROM dolt_branches WHERE name = 'swarm/main'")
        .unwrap();
    assert_eq!(shown, Some(store::commit_text(&made)));
    assert_eq!(pair.a.dirty_tables().unwrap(), Vec::<String>::new());
}

#[test]
fn what_disagrees_is_not_caught_up() {
    let Some((mut pair, _all)) = pair_at() else { return };
    let theirs = "UPDATE t SET a = 3 WHERE id = 1";
    let (base, to) = fold(&mut pair, "INSERT INTO t VALUES (2, 2)", theirs);
    let outran = pair.exec(Side::A, "UPDATE t SET a = 4 WHERE id = 1");
    let meta = meta_at("catch up", 1_800_000_100);
    let made = pair.a.catch_up(&base, &to, &meta, None).unwrap();
    assert_eq!(made, None);
    assert_eq!(pair.a.main().unwrap(), outran);
    // The next thing on the same connection works.
    pair.a.move_main(&outran, &base).unwrap();
}

#[test]
fn uncommitted_work_is_waited_for() {
    let Some((mut pair, all)) = pair_at() else { return };
    let (base, to) = fold(&mut pair, "INSERT INTO t VALUES (2, 2)", "INSERT INTO t VALUES (3, 3)");
    let outran = pair.exec(Side::A, "INSERT INTO t VALUES (4, 4)");
    let mut other = connect(&all[0]);
    other.query_drop("INSERT INTO t VALUES (9, 9)").unwrap();
    let meta = meta_at("catch up", 1_800_000_100);
    assert_eq!(pair.a.catch_up(&base, &to, &meta, None).unwrap(), None);
    assert_eq!(pair.a.main().unwrap(), outran);
    assert_eq!(pair.a.dirty_tables().unwrap(), ["t"]);
    // Unless the node commits for others.
    let pending = meta_at("what lay there", 1_800_000_101);
    let made = pair.a.catch_up(&base, &to, &meta, Some(&pending)).unwrap();
    let info = pair.a.commit_info(&made.expect("a commit")).unwrap().unwrap();
    let below = pair.a.commit_info(&info.parents[0]).unwrap().unwrap();
    assert_eq!((below.message, below.parents), (pending.message, vec![outran]));
    let rows = query(pair.a.as_ref(), "SELECT id FROM t ORDER BY id");
    assert_eq!(rows, json!([[1], [2], [3], [4], [9]]));
    assert_eq!(pair.a.dirty_tables().unwrap(), Vec::<String>::new());
}

#[test]
fn what_is_taken_back_is_not_waited_for() {
    let Some((mut pair, all)) = pair_at() else { return };
    let (base, to) = fold(&mut pair, "INSERT INTO t VALUES (2, 2)", "INSERT INTO t VALUES (3, 3)");
    pair.exec(Side::A, "INSERT INTO t VALUES (4, 4)");
    let mut other = connect(&all[0]);
    other.query_drop("INSERT INTO t VALUES (9, 9)").unwrap();
    let meta = meta_at("catch up", 1_800_000_100);
    assert_eq!(pair.a.catch_up(&base, &to, &meta, None).unwrap(), None);
    other.query_drop("DELETE FROM t WHERE id = 9").unwrap();
    assert!(pair.a.catch_up(&base, &to, &meta, None).unwrap().is_some());
}

/// Inserts and commits row after row without a transaction, so that each is uncommitted for a
/// moment.
fn write(options: &DoltOptions, writer: i64, stop: &AtomicBool) -> Vec<i64> {
    let mut conn = connect(options);
    let mut made = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = writer * 1_000_000 + n;
        conn.query_drop(format!("INSERT INTO w VALUES ({id})")).unwrap();
        match conn.query_drop("CALL DOLT_COMMIT('-A', '-m', 'by another program')") {
            Ok(()) => {}
            // Another one took it along.
            Err(error) => assert!(error.to_string().contains("nothing to commit"), "{error}"),
        }
        made.push(id);
    }
    made
}

/// Tells the writers to end, whatever happens.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn under_programs_that_never_rest_nothing_is_lost_and_nothing_uncommitted_taken_along() {
    let Some((mut pair, all)) = pair_at() else { return };
    let base = pair.exec(Side::A, &format!("{TABLE}; CREATE TABLE w (id INT PRIMARY KEY)"));
    pair.share(&base);
    let stop = AtomicBool::new(false);
    let (made, caught_up) = std::thread::scope(|scope| {
        let (options, stop) = (&all[0], &stop);
        // Else a failure in here would wait for the writers for ever.
        let _end = Ends(stop);
        let writers = [1, 2].map(|writer| scope.spawn(move || write(options, writer, stop)));
        let mut caught_up = Vec::new();
        for n in 0..8 {
            let theirs = pair.exec(Side::B, &format!("INSERT INTO t VALUES ({}, 0)", 10 + n));
            pair.transfer(Side::B, &theirs);
            // Each time from where main is now; it is somewhere else at once.
            let made = loop {
                let at = pair.a.main().unwrap();
                let outcome = merge(pair.a.as_mut(), &at, &theirs, ConflictPolicy::Settle).unwrap();
                let MergeOutcome::Merged { commit: to, .. } = outcome else {
                    panic!("{outcome:?}")
                };
                let meta = meta_at("catch up", 1_800_000_100);
                if let Some(made) = pair.a.catch_up(&at, &to, &meta, None).unwrap() {
                    break made;
                }
            };
            caught_up.push(made);
        }
        stop.store(true, Ordering::Relaxed);
        (writers.map(|writer| writer.join().unwrap()), caught_up)
    });
    let mut conn = connect(&all[0]);
    let rows: Vec<i64> = conn.query("SELECT id FROM w ORDER BY id").unwrap();
    assert_eq!(rows, made.concat());
    assert_eq!(query(pair.a.as_ref(), "SELECT count(*) FROM t"), json!([[9]]));
    for commit in caught_up {
        let parent = pair.a.commit_info(&commit).unwrap().unwrap().parents[0];
        let (parent, commit) = (store::commit_text(&parent), store::commit_text(&commit));
        let sql = format!("SELECT count(*) FROM dolt_diff('{parent}', '{commit}', 'w')");
        let swept_in: Option<i64> = conn.query_first(sql).unwrap();
        assert_eq!(swept_in, Some(0), "rows that nobody had committed are in {commit}");
    }
}
