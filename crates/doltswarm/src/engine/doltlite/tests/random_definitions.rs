//! Random definitions and rows on two databases apart, clashing names included: every merge has a
//! result, the same on both, and both can go on.
//!
//! `DOLTSWARM_DEFINITION_ROUNDS` says how many rounds are run, `DOLTSWARM_SEED` runs one
//! and prints its statements.

use std::path::Path;

use super::super::ffi::Connection;
use super::pair_at;
use super::random::Dice;
use crate::engine::EngineError;
use crate::engine::conformance::{Pair, Side};

/// Rounds without a word from outside: enough to meet each kind of clash.
const ROUNDS: u64 = 40;
/// Names are few, and some differ in case only, so that they clash.
const NAMES: [&str; 6] = ["ab", "Ab", "cd", "ef", "gh", "CD"];
const COLUMNS: [&str; 4] = ["n", "N", "o", "q"];
const TYPES: [&str; 5] = ["INT", "TEXT", "TEXT DEFAULT 'd'", "INT NOT NULL DEFAULT 5", "BLOB"];

fn statement(dice: &mut Dice, side: char) -> String {
    let name = NAMES[dice.pick(NAMES.len())];
    let other = NAMES[dice.pick(NAMES.len())];
    let column = COLUMNS[dice.pick(COLUMNS.len())];
    let kind = TYPES[dice.pick(TYPES.len())];
    let (id, n) = (dice.pick(5), dice.pick(9));
    match dice.pick(24) {
        0 | 1 => format!("CREATE TABLE {name} (id INTEGER PRIMARY KEY, {column} {kind})"),
        2 => format!("CREATE TABLE {name} (k TEXT PRIMARY KEY, {column} {kind} UNIQUE)"),
        3 => format!("CREATE TABLE {name} ({column} {kind})"),
        4 => format!("CREATE TABLE {name} (id INTEGER PRIMARY KEY, r INT REFERENCES {other} (id))"),
        5 => format!(
            "CREATE TABLE {name} (id INTEGER PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP)"
        ),
        6 => format!("CREATE VIEW {name} AS SELECT * FROM {other}"),
        7 => format!("CREATE INDEX {name} ON {other} ({column})"),
        8 => format!("CREATE UNIQUE INDEX {name} ON {other} ({column})"),
        9 => format!(
            "CREATE TRIGGER {name} AFTER INSERT ON {other} BEGIN DELETE FROM base WHERE id = {id}; END"
        ),
        10 => format!("CREATE VIRTUAL TABLE {name} USING fts5 (x)"),
        11 | 12 => format!("DROP TABLE {name}"),
        13 => format!("DROP VIEW {name}"),
        14 => format!("DROP INDEX {name}"),
        15 => format!("ALTER TABLE {name} RENAME TO {other}"),
        16 => format!("ALTER TABLE {name} ADD COLUMN {column} {kind}"),
        17 => format!("ALTER TABLE {name} DROP COLUMN {column}"),
        18 => format!("ALTER TABLE {name} RENAME COLUMN {column} TO {}", COLUMNS[dice.pick(4)]),
        19 => format!("INSERT INTO {name} ({column}) VALUES ('{side}{n}')"),
        20 => format!("INSERT OR REPLACE INTO {name} (id, {column}) VALUES ({id}, '{side}{n}')"),
        21 => format!("UPDATE {name} SET {column} = '{side}{n}' WHERE rowid = {id}"),
        22 => format!("INSERT INTO {name} (x) VALUES ('{side} {n}')"),
        _ => format!("INSERT OR REPLACE INTO base VALUES ({id}, '{side}{n}')"),
    }
}

/// Runs some statements, each in a commit of its own; what is refused changes nothing.
fn change(pair: &mut Pair, dice: &mut Dice, side: Side, name: char) {
    for _ in 0..1 + dice.pick(4) {
        let sql = statement(dice, name);
        let done = pair.try_exec(side, &sql);
        if std::env::var_os("DOLTSWARM_SEED").is_some() {
            println!("{name}: {sql}: {}", if done.is_ok() { "done" } else { "refused" });
        }
        match done {
            Ok(_) | Err(EngineError::Rejected { .. }) => {}
            Err(error) => panic!("{sql}: {error}"),
        }
    }
}

/// Requires that the file opens and is whole.
fn require_usable(path: &Path) {
    let connection = Connection::open(path, false).unwrap();
    let check = connection.rows("PRAGMA integrity_check", &[]).unwrap();
    assert_eq!(check, [["ok".into()]]);
}

fn round(seed: u64) {
    let mut dice = Dice::new(seed);
    let (mut pair, path) = pair_at();
    let base = pair.exec(
        Side::A,
        "CREATE TABLE base (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO base VALUES (1, 'x')",
    );
    pair.share(&base);
    for _ in 0..3 {
        change(&mut pair, &mut dice, Side::A, 'a');
        change(&mut pair, &mut dice, Side::B, 'b');
        let [ours, theirs] = [pair.a.main().unwrap(), pair.b.main().unwrap()];
        if ours == theirs {
            continue;
        }
        pair.transfer(Side::A, &ours);
        pair.transfer(Side::B, &theirs);
        let split = crate::engine::conformance::Split { ours, theirs };
        let base = pair.a.merge_base(&ours, &theirs).unwrap();
        if base == Some(ours) || base == Some(theirs) {
            let tip = if base == Some(ours) { theirs } else { ours };
            pair.a.move_main(&ours, &tip).unwrap();
            pair.b.move_main(&theirs, &tip).unwrap();
        } else {
            pair.settle(&split);
        }
        require_usable(&path);
    }
}

#[test]
fn random_definitions_always_merge() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(seed) = number("DOLTSWARM_SEED") {
        return round(seed);
    }
    let failed: Vec<u64> = (0..number("DOLTSWARM_DEFINITION_ROUNDS").unwrap_or(ROUNDS))
        .filter(|seed| std::panic::catch_unwind(|| round(*seed)).is_err())
        .collect();
    assert_eq!(failed, Vec::<u64>::new(), "run one with DOLTSWARM_SEED");
}
