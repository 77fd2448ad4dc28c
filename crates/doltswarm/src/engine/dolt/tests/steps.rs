//! A node that ends at each step of moving main, and starts again.

use std::cell::RefCell;
use std::rc::Rc;

use doltswarm_core::commit::ConflictPolicy;
use doltswarm_core::id::CommitHash;
use mysql::prelude::Queryable;
use serde_json::{Value, json};

use super::super::steps::{Step, watch};
use super::super::{Dolt, DoltOptions, store};
use super::own::TABLE;
use super::pair_at;
use super::server::connect;
use crate::engine::conformance::{Backend, Pair, merge, query};
use crate::engine::{Engine, EngineError, EngineResult, MergeOutcome, MoveOutcome};

/// A database whose main has a commit that the fold no longer includes: it has to go to a join
/// commit, and from there down to the fold's tip.
struct Scene {
    engine: Option<Dolt>,
    _backend: Box<dyn Backend>,
    options: DoltOptions,
    main: CommitHash,
    to: CommitHash,
    /// Where main goes first.
    head: CommitHash,
}

fn scene() -> Option<Scene> {
    let (mut pair, all) = pair_at()?;
    let base = format!("{TABLE}; CREATE TABLE w (id INT PRIMARY KEY)");
    let split = pair.split(&base, "INSERT INTO t VALUES (2, 2)", "INSERT INTO t VALUES (3, 3)");
    let policy = ConflictPolicy::Settle;
    let outcome = merge(pair.a.as_mut(), &split.ours, &split.theirs, policy).unwrap();
    let MergeOutcome::Merged { commit: main, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(pair.a.move_main(&split.ours, &main).unwrap(), MoveOutcome::Moved);
    let Pair { a, b, backend, .. } = pair;
    drop((a, b));
    let options = all[0].clone();
    let mut scene = Scene {
        engine: None,
        _backend: backend,
        options,
        main,
        to: split.theirs,
        head: split.ours,
    };
    scene.reopened();
    Some(scene)
}

impl Scene {
    /// The node starts again.
    fn reopened(&mut self) -> &mut Dolt {
        self.engine = None;
        self.engine.insert(Dolt::open(&self.options).unwrap())
    }
}

/// What another program says about its commit.
const FOREIGN: &str = "foreign";

/// Another program commits a row to main.
fn foreign(options: &DoltOptions) {
    let mut other = connect(options);
    other.query_drop("INSERT INTO w VALUES (7)").unwrap();
    other.query_drop("CALL DOLT_COMMIT('-A', '-m', 'foreign')").unwrap();
}

/// What the node does from any state: it goes where it wants to, and takes in what it finds.
fn arrive(engine: &mut Dolt, to: CommitHash) -> CommitHash {
    let mut to = to;
    for _ in 0..20 {
        let at = engine.main().unwrap();
        if engine.commit_info(&at).unwrap().unwrap().message == FOREIGN {
            let outcome = merge(engine, &to, &at, ConflictPolicy::Settle).unwrap();
            let MergeOutcome::Merged { commit, .. } = outcome else { panic!("{outcome:?}") };
            to = commit;
        }
        match engine.move_main(&at, &to) {
            Ok(MoveOutcome::Moved) => return to,
            Ok(MoveOutcome::MainChanged(_)) | Err(EngineError::Busy) => {}
            outcome => panic!("{outcome:?}"),
        }
    }
    panic!("main does not arrive");
}

fn ids(engine: &Dolt, table: &str) -> Value {
    query(engine, &format!("SELECT id FROM {table} ORDER BY id"))
}

/// Moves until a step at which the node ends; `act` is what others do at each step. Returns the
/// steps that were done.
fn attempt(
    scene: &mut Scene,
    end: Option<Step>,
    mut act: impl FnMut(Step) + 'static,
) -> (Vec<Step>, EngineResult<MoveOutcome>) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let told = Rc::clone(&seen);
    watch(Some(Box::new(move |step| {
        told.borrow_mut().push(step);
        act(step);
        Some(step) == end
    })));
    let (main, to) = (scene.main, scene.to);
    let moved = scene.engine.as_mut().unwrap().move_main(&main, &to);
    watch(None);
    (seen.take(), moved)
}

#[test]
fn a_node_that_ends_at_any_step_of_a_move_goes_on_at_the_next_start() {
    for end in Step::ALL {
        let Some(mut scene) = scene() else { return };
        let (seen, moved) = attempt(&mut scene, Some(end), |_| {});
        assert_eq!(seen.last(), Some(&end), "{moved:?}");
        assert!(matches!(moved, Err(EngineError::Unreachable { .. })), "{moved:?}");
        let (main, to, head, options) = (scene.main, scene.to, scene.head, scene.options.clone());
        let engine = scene.reopened();
        let at = engine.main().unwrap();
        assert!([main, to].contains(&at), "{end:?}: main is at {at}");
        assert_eq!(engine.dirty_tables().unwrap(), Vec::<String>::new(), "{end:?}");
        assert_eq!(arrive(engine, to), to);
        assert_eq!(ids(engine, "t"), json!([[1], [3]]), "{end:?}");
        let tip: String =
            connect(&options).query_first("SELECT DOLT_HASHOF('swarm/main')").unwrap().unwrap();
        assert_eq!(tip, store::commit_text(&to), "{end:?}");
        // And back: what the fold left out is no part of main's history.
        assert_eq!(arrive(engine, head), head);
        assert_eq!(ids(engine, "t"), json!([[1], [2]]), "{end:?}");
    }
}

#[test]
fn a_move_that_nobody_stops_takes_every_step() {
    let Some(mut scene) = scene() else { return };
    let (seen, moved) = attempt(&mut scene, None, |_| {});
    assert_eq!((seen, moved.unwrap()), (Step::ALL.to_vec(), MoveOutcome::Moved));
    let to = scene.to;
    assert_eq!(scene.reopened().main().unwrap(), to);
}

/// At each step another program commits, and at that step or a later one the node ends.
#[test]
fn what_another_program_commits_at_any_step_outlives_the_end_of_the_node() {
    for (place, at) in Step::ALL.into_iter().enumerate() {
        for end in Step::ALL.into_iter().skip(place).map(Some).chain([None]) {
            let Some(mut scene) = scene() else { return };
            let options = scene.options.clone();
            let mut is_done = false;
            let (steps, moved) = attempt(&mut scene, end, move |step| {
                if step == at && !std::mem::replace(&mut is_done, true) {
                    foreign(&options);
                }
            });
            assert!(steps.contains(&at), "{at:?} is not reached: {steps:?}, {moved:?}");
            let to = scene.to;
            let engine = scene.reopened();
            arrive(engine, to);
            let case = format!("committed at {at:?}, ended at {end:?}, after {steps:?}, {moved:?}");
            assert_eq!(ids(engine, "w"), json!([[7]]), "{case}");
            assert_eq!(engine.dirty_tables().unwrap(), Vec::<String>::new(), "{case}");
        }
    }
}
