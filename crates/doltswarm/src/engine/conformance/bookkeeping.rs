//! The table of conflicts, and the two policies.

use doltswarm_core::commit::ConflictPolicy;
use serde_json::json;

use super::{MergeOutcome, Pair, Side, Split};
use crate::engine::EngineError;

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 0)";
const RESOLVE: &str = "UPDATE swarm_conflicts SET state = 'resolved'";

/// A conflict between the two, merged on both; main stands at the merge.
fn with_conflict(pair: &mut Pair) -> Split {
    let split = pair.split(TABLE, "UPDATE t SET a = 1", "UPDATE t SET a = 2");
    assert_eq!(pair.settle(&split), 1);
    split
}

fn exchange(pair: &mut Pair, ours: &str, theirs: &str) -> Split {
    pair.split("", ours, theirs)
}

pub(crate) fn a_conflict_is_recorded_once(pair: &mut Pair) {
    let first = with_conflict(pair);
    // The same two versions meet again, in other commits.
    let (a, b) = (pair.a.main().unwrap(), pair.b.main().unwrap());
    pair.a.move_main(&a, &first.ours).unwrap();
    pair.b.move_main(&b, &first.theirs).unwrap();
    let split =
        exchange(pair, "CREATE TABLE x (k INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (9, 9)");
    assert_eq!(pair.settle(&split), 1);
    let (x, y) = (pair.a.main().unwrap(), a);
    let policy = ConflictPolicy::Settle;
    // Both merges have recorded it; in their merge it is one row.
    let MergeOutcome::Merged { commit, conflicts } =
        pair.merge(&Split { ours: y, theirs: x }, policy)
    else {
        panic!("the merge is said to be impossible")
    };
    assert_eq!(conflicts, 0);
    for engine in [&mut pair.a, &mut pair.b] {
        let main = engine.main().unwrap();
        engine.move_main(&main, &commit).unwrap();
    }
    assert_eq!(pair.query("SELECT count(*) FROM swarm_conflicts"), json!([[1]]));
}

pub(crate) fn a_resolution_stays(pair: &mut Pair) {
    let first = with_conflict(pair);
    let resolved = pair.exec(Side::A, RESOLVE);
    // Another commit is made on what was there before the conflict: the conflict is met again.
    let b = pair.b.main().unwrap();
    pair.b.move_main(&b, &first.ours).unwrap();
    let late = pair.exec(Side::B, "UPDATE t SET a = 1, id = 1; INSERT INTO t VALUES (5, 5)");
    pair.transfer(Side::B, &late);
    pair.transfer(Side::A, &resolved);
    pair.settle(&Split { ours: resolved, theirs: late });
    assert_eq!(pair.query("SELECT DISTINCT state FROM swarm_conflicts"), json!([["resolved"]]));
}

/// One side has resolved the conflict, the other has just met it: both have inserted the row.
pub(crate) fn a_resolution_beats_an_open_copy(pair: &mut Pair) {
    let first = with_conflict(pair);
    let resolved = pair.exec(Side::A, RESOLVE);
    let b = pair.b.main().unwrap();
    pair.b.move_main(&b, &first.theirs).unwrap();
    let late = pair.exec(Side::B, "INSERT INTO t VALUES (5, 5)");
    pair.transfer(Side::B, &late);
    pair.transfer(Side::A, &resolved);
    let again = pair.merge(&Split { ours: first.ours, theirs: late }, ConflictPolicy::Settle);
    let MergeOutcome::Merged { commit: open, conflicts: 1 } = again else { panic!("{again:?}") };
    let (a, b) = (pair.a.main().unwrap(), pair.b.main().unwrap());
    for (ours, theirs) in [(resolved, open), (open, resolved)] {
        let merged = pair.merge(&Split { ours, theirs }, ConflictPolicy::Settle);
        let MergeOutcome::Merged { commit, conflicts: 0 } = merged else { panic!("{merged:?}") };
        pair.a.move_main(&a, &commit).unwrap();
        pair.b.move_main(&b, &commit).unwrap();
        assert_eq!(pair.query("SELECT DISTINCT state FROM swarm_conflicts"), json!([["resolved"]]));
        pair.a.move_main(&commit, &a).unwrap();
        pair.b.move_main(&commit, &b).unwrap();
    }
}

pub(crate) fn both_resolve(pair: &mut Pair) {
    with_conflict(pair);
    let split = exchange(pair, RESOLVE, &format!("{RESOLVE}; UPDATE t SET a = 3"));
    assert_eq!(pair.settle(&split), 0);
    assert_eq!(pair.query("SELECT a FROM t"), json!([[3]]));
    assert_eq!(pair.query("SELECT state FROM swarm_conflicts"), json!([["resolved"]]));
}

pub(crate) fn the_park_policy_parks(pair: &mut Pair) {
    let split = pair.split(TABLE, "UPDATE t SET a = 1", "UPDATE t SET a = 2");
    let outcome = pair.merge(&split, ConflictPolicy::Park);
    let MergeOutcome::Impossible { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("`t`"), "{reason}");
    assert_eq!(pair.conflicts(), json!([]));
}

pub(crate) fn the_park_policy_parks_violations(pair: &mut Pair) {
    let split = pair.split(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, u INT UNIQUE)",
        "INSERT INTO t VALUES (1, 7)",
        "INSERT INTO t VALUES (2, 7)",
    );
    let outcome = pair.merge(&split, ConflictPolicy::Park);
    let MergeOutcome::Impossible { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("`t`"), "{reason}");
}

pub(crate) fn the_park_policy_merges_what_agrees(pair: &mut Pair) {
    let split = pair.split(TABLE, "UPDATE t SET a = 1", "INSERT INTO t VALUES (2, 2)");
    let outcome = pair.merge(&split, ConflictPolicy::Park);
    assert!(matches!(outcome, MergeOutcome::Merged { conflicts: 0, .. }), "{outcome:?}");
}

/// New rows of both sides have nothing to do with each other.
pub(crate) fn the_park_policy_merges_new_rows_without_a_key(pair: &mut Pair) {
    let split = pair.split(
        "CREATE TABLE log (what VARCHAR(9))",
        "INSERT INTO log VALUES ('ours')",
        "INSERT INTO log VALUES ('theirs')",
    );
    let outcome = pair.merge(&split, ConflictPolicy::Park);
    assert!(matches!(outcome, MergeOutcome::Merged { conflicts: 0, .. }), "{outcome:?}");
}

/// The swarm may have conflicts from before; resolving them must not park anyone.
pub(crate) fn the_park_policy_allows_resolutions(pair: &mut Pair) {
    with_conflict(pair);
    let split = exchange(pair, RESOLVE, &format!("{RESOLVE}; UPDATE t SET a = 3"));
    let outcome = pair.merge(&split, ConflictPolicy::Park);
    assert!(matches!(outcome, MergeOutcome::Merged { conflicts: 0, .. }), "{outcome:?}");
}

pub(crate) fn founding_twice_is_refused(pair: &mut Pair) {
    let meta = pair.meta("found");
    let error = pair.a.found(&meta).unwrap_err();
    assert!(matches!(error, EngineError::Rejected { .. }), "{error}");
    assert!(error.to_string().contains("swarm_conflicts"), "{error}");
    assert_eq!(pair.a.dirty_tables().unwrap(), Vec::<String>::new());
}
