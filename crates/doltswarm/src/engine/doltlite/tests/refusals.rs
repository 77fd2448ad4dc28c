//! A parked head that is tried again: what is told without a merge is what the merge would say.

use doltswarm_core::commit::{ConflictPolicy, Merge};
use doltswarm_core::id::CommitHash;

use super::super::DoltLite;
use super::super::ffi::steps_taken;
use super::pair_at;
use crate::engine::conformance::{Pair, Side};
use crate::engine::{Engine, MergeOutcome};

/// How many heads are tried again. Fewer than a swarm may have, because each has to be made.
const HEADS: usize = 200;

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT UNIQUE);
     CREATE TABLE u (id INTEGER PRIMARY KEY, a INT);
     CREATE TABLE parent (id INTEGER PRIMARY KEY);
     CREATE TABLE child (id INTEGER PRIMARY KEY, p INT REFERENCES parent (id));
     CREATE TABLE keyless (a INT);
     CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, a INT);
     INSERT INTO t VALUES (1, 10), (2, 20); INSERT INTO u VALUES (1, 1), (2, 2);
     INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1);
     INSERT INTO keyless VALUES (1); INSERT INTO counted (a) VALUES (1)";

/// Commits on `from`, beside main, which stays.
fn beside(pair: &mut Pair, from: &CommitHash, sql: &str) -> CommitHash {
    let main = pair.a.main().unwrap();
    pair.a.move_main(&main, from).unwrap();
    let made = pair.exec(Side::A, sql);
    pair.a.move_main(&made, &main).unwrap();
    made
}

fn merge(engine: &mut dyn Engine, merge: &Merge) -> Option<String> {
    match engine.merge(merge, ConflictPolicy::Park).unwrap() {
        MergeOutcome::Impossible { reason } => Some(reason),
        MergeOutcome::Merged { .. } => None,
    }
}

#[test]
fn what_is_recalled_is_what_a_merge_says() {
    let heads = [
        "UPDATE t SET a = 11 WHERE id = 1",
        "INSERT INTO t VALUES (9, 30)",
        "INSERT INTO child VALUES (9, 2)",
        "DELETE FROM parent WHERE id = 2",
        "UPDATE u SET a = 7 WHERE id = 1; INSERT INTO keyless VALUES (5)",
        "INSERT INTO counted (a) VALUES (5); UPDATE u SET a = 8 WHERE id = 2",
        "ALTER TABLE u ADD COLUMN b INT; UPDATE t SET a = 12 WHERE id = 1",
    ];
    // The first make all of them clash; each later one is tried with all.
    let steps = [
        "UPDATE t SET a = 13 WHERE id = 1; INSERT INTO t VALUES (8, 30);
         DELETE FROM parent WHERE id = 2;
         INSERT INTO child VALUES (8, 1); UPDATE u SET a = 100 + a",
        "INSERT INTO counted (a) VALUES (6)",
        "INSERT INTO keyless VALUES (6)",
        "INSERT INTO parent VALUES (3)",
        "UPDATE t SET a = 30 + id WHERE id = 8",
        "INSERT INTO parent VALUES (2)",
        "UPDATE u SET a = a - 100 WHERE id = 1",
        "CREATE TABLE w (id INTEGER PRIMARY KEY)",
        "INSERT INTO w VALUES (1)",
        "UPDATE t SET a = 11 WHERE id = 1",
        "UPDATE u SET a = 8 WHERE id = 2",
        "INSERT INTO w VALUES (2)",
        "DROP TABLE w",
    ];
    let (mut pair, path) = pair_at();
    let base = pair.exec(Side::A, SCHEMA);
    let heads = heads.map(|sql| beside(&mut pair, &base, sql));
    let (mut recalled, mut tried) = (0, 0);
    for step in steps {
        let theirs = pair.exec(Side::A, step);
        for ours in heads {
            let one = Merge { ours, theirs, base: base.into() };
            let told = pair.a.recall_impossible(&one).unwrap();
            // An engine that remembers nothing.
            let said = merge(&mut DoltLite::open(&path).unwrap(), &one);
            if told.is_some() {
                recalled += 1;
                assert_eq!(told, said, "{step}");
            } else {
                tried += 1;
                assert_eq!(merge(pair.a.as_mut(), &one), said, "{step}");
            }
        }
    }
    assert!(recalled >= 15 && tried >= 25, "{recalled} were recalled, {tried} were not");
}

/// Another program need not check foreign keys.
#[test]
fn a_broken_key_of_theirs_alone_can_be_mended() {
    let (mut pair, path) = pair_at();
    let base = pair.exec(Side::A, SCHEMA);
    let ours = beside(&mut pair, &base, "INSERT INTO u VALUES (3, 3)");
    let broken = "INSERT INTO child VALUES (7, 7); SELECT dolt_commit('-A', '-m', 'x')";
    pair.backend.meddle(Side::A, broken);
    let mut theirs = pair.a.main().unwrap();
    for mend in ["INSERT INTO u VALUES (4, 4)", "INSERT INTO parent VALUES (7)"] {
        let one = Merge { ours, theirs, base: base.into() };
        let told = pair.a.recall_impossible(&one).unwrap();
        let said = merge(&mut DoltLite::open(&path).unwrap(), &one);
        assert!(told.is_none() || told == said, "{told:?} {said:?}");
        assert_eq!(merge(pair.a.as_mut(), &one), said);
        theirs = pair.exec(Side::A, mend);
    }
    let one = Merge { ours, theirs, base: base.into() };
    let told = pair.a.recall_impossible(&one).unwrap();
    assert_eq!(told, merge(&mut DoltLite::open(&path).unwrap(), &one).filter(|_| told.is_some()));
}

#[test]
fn many_heads_cost_a_commit_what_one_does() {
    let (mut pair, _) = pair_at();
    let base = pair.exec(Side::A, SCHEMA);
    let heads: Vec<CommitHash> = (0..HEADS)
        .map(|n| beside(&mut pair, &base, &format!("UPDATE t SET a = {} WHERE id = 1", 100 + n)))
        .collect();
    let mut theirs = pair.exec(Side::A, "UPDATE t SET a = 13 WHERE id = 1");
    for ours in &heads {
        let one = Merge { ours: *ours, theirs, base: base.into() };
        assert!(merge(pair.a.as_mut(), &one).is_some());
    }
    let mut costs = Vec::new();
    for n in 0..3 {
        theirs = pair.exec(Side::A, &format!("INSERT INTO u VALUES ({}, 0)", 10 + n));
        let before = steps_taken();
        for (tried, ours) in (1..).zip(&heads) {
            let one = Merge { ours: *ours, theirs, base: base.into() };
            assert!(pair.a.recall_impossible(&one).unwrap().is_some());
            if tried == 1 || tried == HEADS {
                costs.push(steps_taken() - before);
            }
        }
    }
    for cost in costs.chunks(2) {
        assert!(cost[0] > 0 && cost[0] == cost[1], "for one head and for all: {costs:?}");
    }
}
