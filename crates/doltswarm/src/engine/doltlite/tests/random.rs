//! Random changes on two databases that keep meeting. One merges by way of stand-ins, the other
//! does not; hashes must be equal, and what comes out must be sound.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::connection::{Purpose, open};
use super::pair_at;
use crate::engine::conformance::{Pair, Side, Split, merge};
use crate::engine::{EngineError, MergeOutcome};
use doltswarm_core::commit::ConflictPolicy;

const SCHEMA: &str = "
    CREATE TABLE plain (id INTEGER PRIMARY KEY, a INT, b TEXT, c INT);
    CREATE TABLE uniq (k TEXT PRIMARY KEY, x INT UNIQUE, y INT);
    CREATE UNIQUE INDEX uy ON uniq (y % 7) WHERE y > 20;
    CREATE TABLE parent (id INTEGER PRIMARY KEY, n TEXT UNIQUE, up INT REFERENCES parent (id));
    CREATE TABLE child (id INTEGER PRIMARY KEY, pid INT REFERENCES parent (id) ON DELETE CASCADE,
      a INT, b INT, CHECK (a + b < 10));
    CREATE TABLE pairs (p INT, q TEXT, v INT, PRIMARY KEY (p, q)) WITHOUT ROWID;
    CREATE TABLE heap (a INT, b INT UNIQUE, pid INT REFERENCES parent (id));
    INSERT INTO parent VALUES (0, 'n0', NULL), (1, 'n1', 0), (2, 'n2', 1);
    INSERT INTO plain VALUES (0, 0, 'x', 0), (1, 0, 'x', 0), (2, 0, 'x', 0);
    INSERT INTO heap VALUES (0, 0, 0), (1, 1, 1)";

/// A little generator: the same numbers for the same seed, everywhere.
pub(super) struct Dice(u64);

impl Dice {
    /// Dice for a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// An index below `bound`.
    pub(super) fn pick(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("because it is below a usize")
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn statement(&mut self) -> String {
        let (id, n, m) = (self.below(6), self.below(30), self.below(9));
        match self.below(17) {
            0 => format!("INSERT OR REPLACE INTO plain VALUES ({id}, {n}, 't{m}', {m})"),
            1 => format!("UPDATE plain SET a = {n} WHERE id = {id}"),
            2 => format!("UPDATE plain SET b = 'u{m}' WHERE id = {id}"),
            3 => format!("DELETE FROM plain WHERE id = {id}"),
            4 => format!("INSERT OR REPLACE INTO uniq VALUES ('k{id}', {m}, {n})"),
            5 => format!("UPDATE OR IGNORE uniq SET x = {m} WHERE k = 'k{id}'"),
            6 => format!("INSERT OR IGNORE INTO parent VALUES ({id}, 'n{m}', NULL)"),
            7 => format!("UPDATE OR IGNORE parent SET n = 'n{m}' WHERE id = {id}"),
            8 => format!("DELETE FROM parent WHERE id = {id}"),
            9 => format!("UPDATE parent SET up = {} WHERE id = {id}", self.below(6)),
            10 => format!("INSERT OR REPLACE INTO child VALUES ({n}, {id}, {}, 1)", self.below(8)),
            11 => format!("UPDATE child SET a = {} WHERE id = {n}", self.below(9)),
            12 => {
                format!("UPDATE child SET b = {} WHERE id % 3 = {}", self.below(9), self.below(3))
            }
            13 => format!("INSERT OR REPLACE INTO pairs VALUES ({}, 'q{}', {n})", id % 3, m % 3),
            14 => format!("INSERT OR IGNORE INTO heap VALUES ({m}, {n}, {id})"),
            15 => format!("UPDATE OR IGNORE heap SET a = {n} WHERE b % 5 = {}", id % 5),
            _ => format!("DELETE FROM heap WHERE b % 7 = {}", m % 7),
        }
    }
}

/// Makes a commit of a few random statements; those that the constraints refuse are left out.
fn change(pair: &mut Pair, side: Side, dice: &mut Dice) {
    if dice.below(4) == 0 {
        let sql = "UPDATE swarm_conflicts SET state = 'resolved' \
                   WHERE id = (SELECT min(id) FROM swarm_conflicts WHERE state = 'open')";
        pair.try_exec(side, sql).unwrap();
    }
    for _ in 0..1 + dice.below(4) {
        match pair.try_exec(side, &dice.statement()) {
            Ok(_) | Err(EngineError::Rejected { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn check_sound(pair: &mut Pair, path: &std::path::Path) {
    assert_eq!(pair.query("SELECT * FROM pragma_foreign_key_check"), json!([]));
    let other = open(path, Purpose::Main).unwrap();
    let found =
        other.rows("SELECT dolt_verify_constraints('--all', '--output-only')", &[]).unwrap();
    assert_eq!(found, [[0.into()]], "the merge broke a constraint");
}

/// The ids of the conflicts that are resolved.
fn resolved(pair: &Pair) -> BTreeSet<String> {
    let rows = pair.query("SELECT id FROM swarm_conflicts WHERE state = 'resolved'");
    rows.as_array().unwrap().iter().map(|row| row[0].to_string()).collect()
}

fn meet(seed: u64, rounds: u32) {
    let dice = &mut Dice(seed * 7919 + 1);
    let (pair, path) = &mut pair_at();
    let base = pair.exec(Side::A, SCHEMA);
    pair.share(&base);
    let mut known = BTreeSet::new();
    for round in 0..rounds {
        change(pair, Side::A, dice);
        change(pair, Side::B, dice);
        let (ours, theirs) = (pair.a.main().unwrap(), pair.b.main().unwrap());
        pair.transfer(Side::B, &theirs);
        pair.transfer(Side::A, &ours);
        let direction = dice.below(2) == 0;
        let split =
            if direction { Split { ours, theirs } } else { Split { ours: theirs, theirs: ours } };
        let outcome =
            merge(pair.a.as_mut(), &split.ours, &split.theirs, ConflictPolicy::Settle).unwrap();
        let other =
            merge(pair.b.as_mut(), &split.ours, &split.theirs, ConflictPolicy::Settle).unwrap();
        assert_eq!(outcome, other, "seed {seed}, round {round}");
        let MergeOutcome::Merged { commit, .. } = outcome else {
            panic!("seed {seed}, round {round}: {outcome:?}")
        };
        pair.a.move_main(&ours, &commit).unwrap();
        pair.b.move_main(&theirs, &commit).unwrap();
        assert_eq!(pair.a.check_integrity().unwrap(), None, "seed {seed}, round {round}");
        check_sound(pair, path);
        let now = resolved(pair);
        assert!(known.is_subset(&now), "seed {seed}, round {round}: a resolution is gone");
        known = now;
    }
}

/// `DOLTSWARM_MERGE_SEEDS` sets how many histories are tried.
#[test]
fn random_changes_meet() {
    let seeds = std::env::var("DOLTSWARM_MERGE_SEEDS").ok().and_then(|text| text.parse().ok());
    for seed in 0..seeds.unwrap_or(12) {
        meet(seed, 8);
    }
}
