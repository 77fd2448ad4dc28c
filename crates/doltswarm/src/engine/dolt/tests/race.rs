//! Other programs commit all the time while main moves from fold to fold: nothing that they were
//! told is committed may be lost.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use doltswarm_core::commit::ConflictPolicy;
use doltswarm_core::id::CommitHash;
use mysql::prelude::Queryable;

use super::pair_at;
use super::server::connect;
use crate::engine::conformance::{Pair, Side, merge, query};
use crate::engine::dolt::{DoltOptions, store};
use crate::engine::{EngineError, MergeOutcome, MoveOutcome};

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 0)";
const WRITERS: usize = 2;
const TIME: Duration = Duration::from_secs(6);
/// How long it goes on at most until main has moved often enough, on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(300);
/// How long a writer rests between two commits: without a rest main is never where it was.
const REST: Duration = Duration::from_millis(300);

/// Commits row after row and returns those that were acknowledged.
fn write(options: &DoltOptions, name: usize, stop: &AtomicBool) -> Vec<i64> {
    let mut conn = connect(options);
    conn.query_drop("SET autocommit = 0").unwrap();
    let mut made = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let done = conn
            .query_drop("START TRANSACTION")
            .and_then(|()| conn.query_drop(format!("INSERT INTO w{name} VALUES ({n})")))
            .and_then(|()| {
                let sql = format!("CALL DOLT_COMMIT('-A', '-m', 'w{name} {n}')");
                conn.query_first::<String, _>(sql)
            });
        match done {
            Ok(Some(_)) => made.push(n),
            _ => conn.query_drop("ROLLBACK").unwrap(),
        }
        std::thread::sleep(REST);
    }
    made
}

/// What happened to main.
#[derive(Debug, Default)]
struct Tally {
    moved: u32,
    joined: u32,
    changed: u32,
    rescued: u32,
}

impl Tally {
    fn is_enough(&self) -> bool {
        self.moved >= 8 && self.joined >= 3
    }
}

struct Mover<'a> {
    pair: &'a mut Pair,
    options: &'a DoltOptions,
    /// Two heads that main has already, and one that it drops again and again.
    sides: [CommitHash; 2],
    late: CommitHash,
    tally: Tally,
}

impl Mover<'_> {
    fn merge(&mut self, ours: &CommitHash, theirs: &CommitHash) -> CommitHash {
        match merge(self.pair.a.as_mut(), ours, theirs, ConflictPolicy::Settle).unwrap() {
            MergeOutcome::Merged { commit, .. } => commit,
            outcome => panic!("{outcome:?}"),
        }
    }

    /// The newest commit of a user under `main`, as the commit graph would have it.
    fn head(&mut self, main: &CommitHash) -> CommitHash {
        let info = self.pair.a.commit_info(main).unwrap().unwrap();
        match info.as_merge() {
            Some((_, theirs)) => self.head(&theirs),
            None => info.hash,
        }
    }

    fn step(&mut self) {
        let main = self.pair.a.main().unwrap();
        let sql = "SELECT hash FROM dolt_branches WHERE name LIKE 'swarm/rescued/%'";
        let rescued: Vec<String> = connect(self.options).query(sql).unwrap();
        if rescued.contains(&store::commit_text(&main)) {
            self.tally.rescued += 1;
            let outcome = self.pair.a.move_main(&main, &main).unwrap();
            let MoveOutcome::MainChanged(actual) = outcome else { panic!("{outcome:?}") };
            let to = self.merge(&actual, &main);
            self.go(&actual, &to);
            return;
        }
        // Three folds that do not descend from each other; then one that drops the late commit, as
        // if it were parked.
        let head = self.head(&main);
        let [first, second] = self.sides;
        let folds = [first, second, self.late].map(|ours| self.merge(&ours, &head));
        let mut at = main;
        for to in folds.into_iter().chain([head]) {
            if !self.go(&at, &to) {
                return;
            }
            at = to;
        }
    }

    /// Whether main moved.
    fn go(&mut self, from: &CommitHash, to: &CommitHash) -> bool {
        match self.pair.a.move_main(from, to) {
            Ok(MoveOutcome::Moved) => {
                self.tally.moved += 1;
                let sql = "SELECT DOLT_HASHOF('main')";
                let tip: String = connect(self.options).query_first(sql).unwrap().unwrap();
                self.tally.joined += u32::from(tip != store::commit_text(to));
                return true;
            }
            Ok(MoveOutcome::MainChanged(_)) => self.tally.changed += 1,
            Ok(MoveOutcome::Dirty(tables)) => panic!("dirty: {tables:?}"),
            Err(EngineError::Busy) => {}
            Err(error) => panic!("{error:?}"),
        }
        false
    }
}

#[test]
fn commits_of_others_during_moves_are_never_lost() {
    let Some((mut pair, all)) = pair_at() else { return };
    let base = format!(
        "{TABLE}; CREATE TABLE w0 (id INT PRIMARY KEY); CREATE TABLE w1 (id INT PRIMARY KEY)"
    );
    let split = pair.split(&base, "INSERT INTO t VALUES (2, 2)", "INSERT INTO t VALUES (3, 3)");
    let late = pair.exec(Side::B, "INSERT INTO t VALUES (4, 4)");
    pair.transfer(Side::B, &late);
    let main = pair.a.main().unwrap();
    let outcome = merge(pair.a.as_mut(), &main, &split.theirs, ConflictPolicy::Settle).unwrap();
    let MergeOutcome::Merged { commit, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(pair.a.move_main(&main, &commit).unwrap(), MoveOutcome::Moved);
    let stop = AtomicBool::new(false);
    let (sides, options) = ([split.ours, split.theirs], &all[0]);
    let mut mover = Mover { pair: &mut pair, options, sides, late, tally: Tally::default() };
    let made: Vec<Vec<i64>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|name| {
                scope.spawn({
                    let stop = &stop;
                    move || write(options, name, stop)
                })
            })
            .collect();
        let began = Instant::now();
        while began.elapsed() < TIME || (!mover.tally.is_enough() && began.elapsed() < TIME_MAX) {
            mover.step();
        }
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    // What was rescued last is still to be taken in.
    for _ in 0..3 {
        mover.step();
    }
    let tally = mover.tally;
    let mut lost = 0;
    for (name, made) in made.iter().enumerate() {
        let rows = query(pair.a.as_ref(), &format!("SELECT id FROM w{name}"));
        let rows: BTreeSet<i64> =
            rows.as_array().unwrap().iter().map(|row| row[0].as_i64().unwrap()).collect();
        lost += made.iter().filter(|n| !rows.contains(n)).count();
        assert!(made.len() > 5, "only {} commits of w{name}", made.len());
    }
    assert_eq!(lost, 0, "{tally:?}, {:?} commits of others", made.iter().map(Vec::len));
    assert!(tally.is_enough(), "{tally:?}");
}
