//! What only Dolt has: other programs on the same database, and a server that goes away.

use doltswarm_core::commit::ConflictPolicy;
use mysql::prelude::Queryable;
use serde_json::json;

use super::super::{Dolt, DoltOptions, Password};
use super::server::{self, Server, connect};
use super::{Place, options, pair_at};
use crate::engine::conformance::{Side, merge, meta_at, query};
use crate::engine::{Engine, EngineError, MergeOutcome, MoveOutcome};
use crate::small_disk::SmallDisk;

pub(super) const TABLE: &str =
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 0)";

/// A founded database and how to reach it; `None` where there is no Dolt here.
pub(super) fn founded() -> Option<(Dolt, DoltOptions, Place)> {
    let server = server::shared()?;
    let dir = tempfile::tempdir().unwrap();
    let options = options(&server, dir.path().to_owned());
    let mut engine = Dolt::create(&options).unwrap();
    engine.found(&meta_at("found", 1_700_000_000)).unwrap();
    Some((engine, options, Place { dir, _server: server }))
}

pub(super) fn tip_of(options: &DoltOptions) -> String {
    connect(options).query_first("SELECT DOLT_HASHOF('main')").unwrap().unwrap()
}

/// A third head sorts between two: the new fold does not descend from main, but has all of it.
#[test]
fn main_goes_to_a_join_commit_and_counts_as_the_tip() {
    let Some((mut pair, all)) = pair_at() else { return };
    let split = pair.split(TABLE, "INSERT INTO t VALUES (2, 2)", "INSERT INTO t VALUES (3, 3)");
    let policy = ConflictPolicy::Settle;
    let [first, second] = [(split.ours, split.theirs), (split.theirs, split.ours)].map(|(o, t)| {
        let MergeOutcome::Merged { commit, .. } = merge(pair.a.as_mut(), &o, &t, policy).unwrap()
        else {
            panic!("the merge is said to be impossible")
        };
        commit
    });
    assert_eq!(pair.a.move_main(&split.ours, &first).unwrap(), MoveOutcome::Moved);
    assert_eq!(pair.a.move_main(&first, &second).unwrap(), MoveOutcome::Moved);
    assert_eq!(pair.a.main().unwrap(), second);
    assert_ne!(tip_of(&all[0]), super::super::store::commit_text(&second), "main is a join commit");
    let shown: String = connect(&all[0])
        .query_first("SELECT hash FROM dolt_branches WHERE name = 'swarm/main'")
        .unwrap()
        .unwrap();
    assert_eq!(shown, super::super::store::commit_text(&second));
    assert_eq!(pair.a.dirty_tables().unwrap(), Vec::<String>::new());
    // Work on top of it goes to the other peer, and merges there.
    let done = pair.try_exec(Side::A, "UPDATE t SET a = 9 WHERE id = 2").unwrap();
    assert_eq!(done.parent, second);
    let commit = done.commit.unwrap();
    let info = pair.a.commit_info(&commit).unwrap().unwrap();
    let below = pair.a.commit_info(&info.parents[0]).unwrap().unwrap();
    assert_eq!(below.as_join(), Some(second));
    pair.transfer(Side::A, &commit);
    let main = pair.b.main().unwrap();
    assert_eq!(pair.b.move_main(&main, &commit).unwrap(), MoveOutcome::Moved);
    assert_eq!(pair.query("SELECT count(*) FROM t"), json!([[3]]));
    assert_eq!(pair.a.state_hash().unwrap(), pair.b.state_hash().unwrap());
}

/// Where the branch of the fold's tip stands.
fn shown(options: &DoltOptions) -> String {
    let sql = "SELECT hash FROM dolt_branches WHERE name = 'swarm/main'";
    connect(options).query_first(sql).unwrap().unwrap()
}

/// After an exec, a commit of what was left, and a commit of another program that was noticed.
#[test]
fn the_branch_of_the_fold_is_where_main_is() {
    let Some((mut engine, options, _dir)) = founded() else { return };
    let meta = meta_at("x", 1_700_000_001);
    let done = engine.exec_and_commit(&[TABLE.into()], &meta).unwrap();
    assert_eq!(shown(&options), super::super::store::commit_text(&done.commit.unwrap()));
    let mut other = connect(&options);
    other.query_drop("INSERT INTO t VALUES (2, 2)").unwrap();
    let done = engine.commit_pending(&meta).unwrap();
    assert_eq!(shown(&options), super::super::store::commit_text(&done.commit.unwrap()));
    other.query_drop("INSERT INTO t VALUES (3, 3)").unwrap();
    other.query_drop("CALL DOLT_COMMIT('-A', '-m', 'x')").unwrap();
    engine.main().unwrap();
    assert_eq!(shown(&options), tip_of(&options));
}

#[test]
fn a_server_that_went_away_is_unreachable_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut server) = Server::start(dir.path()) else { return };
    let options = options(&server, dir.path().join("node"));
    let mut engine = Dolt::create(&options).unwrap();
    engine.found(&meta_at("found", 1_700_000_000)).unwrap();
    let commit = engine
        .exec_and_commit(&[TABLE.into()], &meta_at("table", 1_700_000_001))
        .unwrap()
        .commit
        .unwrap();
    let mut reader = engine.reader().unwrap();
    for round in 0..3 {
        server.kill();
        let error = engine.main().unwrap_err();
        assert!(matches!(error, EngineError::Unreachable { .. }), "{error:?}");
        assert!(error.is_retryable());
        let insert = format!("INSERT INTO t VALUES ({}, 0)", round + 10);
        let meta = meta_at("row", 1_700_000_002 + round);
        let error = engine.exec_and_commit(&[insert.as_str().into()], &meta).unwrap_err();
        assert!(matches!(error, EngineError::Unreachable { .. }), "{error:?}");
        assert!(reader.query("SELECT 1", &[], 1).is_err());
        server.run();
        let done = engine.exec_and_commit(&[insert.as_str().into()], &meta).unwrap();
        assert!(done.commit.is_some());
    }
    assert_eq!(query(&engine, "SELECT count(*) FROM t"), json!([[4]]));
    assert_eq!(reader.query("SELECT count(*) FROM t", &[], 1).unwrap().rows, [[4.into()]]);
    assert!(engine.log(10).unwrap().iter().any(|info| info.hash == commit));
}

/// Killed in the middle of statements, over and over: what was acknowledged is there, once.
#[test]
fn what_was_acknowledged_outlives_a_crash_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut server) = Server::start(dir.path()) else { return };
    let options = options(&server, dir.path().join("node"));
    let mut engine = Dolt::create(&options).unwrap();
    engine.found(&meta_at("found", 1_700_000_000)).unwrap();
    engine.exec_and_commit(&[TABLE.into()], &meta_at("table", 1_700_000_001)).unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..3_i64 {
        let killer = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(150 + 70 * round as u64));
            server.kill();
            server
        });
        for n in 0.. {
            let id = 1_000 * (round + 1) + n;
            let sql = format!("INSERT INTO t VALUES ({id}, 0)");
            match engine.exec_and_commit(&[sql.into()], &meta_at("row", 1_700_000_002 + id)) {
                Ok(_) => acknowledged.push(id),
                Err(error) => {
                    assert!(error.is_retryable(), "{error:?}");
                    break;
                }
            }
        }
        server = killer.join().unwrap();
        server.run();
        assert_eq!(engine.dirty_tables().unwrap(), Vec::<String>::new());
        assert_eq!(engine.check_integrity().unwrap(), None);
    }
    let rows = query(&engine, "SELECT id FROM t");
    for id in acknowledged {
        assert!(rows.as_array().unwrap().contains(&json!([id])), "{id} is lost");
    }
}

/// *Measured* on Dolt 2.2.0: a server that cannot write ends itself.
#[test]
fn what_was_acknowledged_outlives_a_full_disk_of_the_server() {
    let Some(disk) = SmallDisk::mount(64 << 10) else { return };
    let Some(mut server) = Server::start(disk.path()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = options(&server, dir.path().to_owned());
    let mut engine = Dolt::create(&options).unwrap();
    engine.found(&meta_at("found", 1_700_000_000)).unwrap();
    let insert = |engine: &mut Dolt, id: usize| {
        let sql = format!("INSERT INTO t VALUES ({id}, '{}')", format!("{id} ").repeat(100_000));
        engine.exec_and_commit(&[sql.as_str().into()], &meta_at("row", 1_700_000_002))
    };
    let sql = "CREATE TABLE t (id INTEGER PRIMARY KEY, a LONGTEXT)";
    engine.exec_and_commit(&[sql.into()], &meta_at("table", 1_700_000_001)).unwrap();
    insert(&mut engine, 0).unwrap();
    disk.fill();
    let mut acknowledged = vec![0];
    let error = loop {
        match insert(&mut engine, acknowledged.len()) {
            Ok(_) => acknowledged.push(acknowledged.len()),
            Err(error) => break error,
        }
    };
    assert!(error.is_retryable(), "{error:?}");
    disk.make_room();
    server.kill();
    server.run();
    assert_eq!(engine.dirty_tables().unwrap(), Vec::<String>::new());
    insert(&mut engine, 1_000).unwrap();
    let rows = query(&engine, "SELECT id FROM t");
    for id in acknowledged {
        assert!(rows.as_array().unwrap().contains(&json!([id])), "{id} is lost");
    }
    assert_eq!(engine.check_integrity().unwrap(), None);
}

#[test]
fn two_databases_on_one_server_do_not_mix() {
    let Some((mut a, _, _dir)) = founded() else { return };
    let Some((mut b, _, _other)) = founded() else { return };
    a.exec_and_commit(&[TABLE.into()], &meta_at("a", 1_700_000_001)).unwrap();
    let error =
        b.exec_and_commit(&["INSERT INTO t VALUES (5, 5)".into()], &meta_at("b", 1)).unwrap_err();
    assert!(matches!(error, EngineError::Rejected { .. }), "{error:?}");
    let other = a.options.url.database.clone();
    let sql = format!("INSERT INTO {other}.t VALUES (5, 5)");
    let error = b.exec_and_commit(&[sql.into()], &meta_at("b", 1)).unwrap_err();
    assert!(error.to_string().contains(&other), "{error}");
    assert_eq!(query(&a, "SELECT count(*) FROM t"), json!([[1]]));
}

#[test]
fn a_password_is_asked_for_and_never_shown() {
    let Some((_, options, place)) = founded() else { return };
    let user = format!("u{}", options.url.database);
    let mut root = connect(&options);
    root.query_drop(format!("CREATE USER {user}@'%' IDENTIFIED BY 's3cret'")).unwrap();
    root.query_drop(format!("GRANT ALL ON *.* TO {user}@'%' WITH GRANT OPTION")).unwrap();
    let file = place.dir.path().join("password");
    std::fs::write(&file, "s3cret\n").unwrap();
    let mut options = DoltOptions { password: Password::File(file.clone()), ..options };
    options.url.user = user.clone();
    Dolt::open(&options).unwrap().main().unwrap();
    std::fs::write(&file, "wr0ng\n").unwrap();
    let error = Dolt::open(&options).map(|_| ()).unwrap_err();
    let text = format!("{error} {error:?} {options:?}");
    assert!(matches!(error, EngineError::Rejected { .. }), "{error:?}");
    assert!(text.contains(&user) && !text.contains("wr0ng") && !text.contains("s3cret"), "{text}");
}

#[test]
fn a_server_that_fits_has_no_faults_and_one_that_does_not_says_all() {
    let Some((engine, options, place)) = founded() else { return };
    assert_eq!(super::super::check(&options).unwrap(), []);
    super::super::require(&options).unwrap();
    assert_eq!(query(&engine, "SELECT count(*) FROM dolt_branches"), json!([[1]]));
    // A user without rights, and a folder that the server cannot write to.
    let user = format!("p{}", options.url.database);
    let mut root = connect(&options);
    root.query_drop(format!("CREATE USER {user}@'%'")).unwrap();
    let name = &options.url.database;
    root.query_drop(format!("GRANT SELECT, EXECUTE ON `{name}`.* TO {user}@'%'")).unwrap();
    let mut poor = options.clone();
    poor.url.user = user;
    poor.folder = place.dir.path().join("poor");
    let faults = super::super::check(&poor).unwrap();
    assert!(!faults.is_empty(), "{faults:?}");
    let error = super::super::require(&poor).unwrap_err().to_string();
    assert!(error.contains("not ready"), "{error}");
}

/// A trigger that would write on each side something else does not run while a merge is settled,
/// and is there afterwards.
#[test]
fn triggers_do_not_run_in_merges() {
    let Some((mut pair, _)) = pair_at() else { return };
    let base = format!(
        "{TABLE}; CREATE TABLE l (id VARCHAR(40) PRIMARY KEY, a INT);
         CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW INSERT INTO l VALUES (UUID(), NEW.a);
         CREATE TRIGGER h BEFORE DELETE ON t FOR EACH ROW INSERT INTO l VALUES (UUID(), OLD.a)"
    );
    assert_eq!(pair.settled(&base, "UPDATE t SET a = 1", "UPDATE t SET a = 2"), 1);
    assert_eq!(pair.query("SELECT count(*) FROM l"), json!([[0]]));
    pair.exec(Side::A, "INSERT INTO t VALUES (7, 7)");
    assert_eq!(query(pair.a.as_ref(), "SELECT a FROM l"), json!([[7]]));
    let refused = pair.try_exec(
        Side::A,
        "CREATE TRIGGER x AFTER INSERT ON t FOR EACH ROW CALL dolt_commit('-A', '-m', 'x')",
    );
    assert!(matches!(refused, Err(EngineError::Rejected { .. })), "{refused:?}");
}

#[test]
fn an_exec_waits_a_moment_for_a_program_that_is_about_to_commit() {
    let Some((mut engine, options, _dir)) = founded() else { return };
    let meta = meta_at("x", 1_700_000_001);
    engine.exec_and_commit(&[TABLE.into()], &meta).unwrap();
    let mut other = connect(&options);
    other.query_drop("INSERT INTO t VALUES (7, 7)").unwrap();
    let committing = std::thread::spawn(move || {
        // It thinks for a moment.
        std::thread::sleep(std::time::Duration::from_millis(30));
        other.query_drop("CALL DOLT_COMMIT('-A', '-m', 'by another program')").unwrap();
    });
    engine.exec_and_commit(&["INSERT INTO t VALUES (8, 8)".into()], &meta).unwrap();
    committing.join().unwrap();
    assert_eq!(query(&engine, "SELECT id FROM t ORDER BY id"), json!([[1], [7], [8]]));
    // One that does not commit is not waited for.
    connect(&options).query_drop("INSERT INTO t VALUES (9, 9)").unwrap();
    let error =
        engine.exec_and_commit(&["INSERT INTO t VALUES (10, 1)".into()], &meta).unwrap_err();
    assert!(matches!(error, EngineError::Dirty { .. }), "{error:?}");
}
