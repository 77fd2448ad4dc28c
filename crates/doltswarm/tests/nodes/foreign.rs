//! Another program on the same database: what it commits is the peer's, what it leaves uncommitted
//! is never touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doltlite::{Connection, Value};
use doltswarm::{EngineError, ExecError, Swarm, SwarmEvent, WaitFor};

use crate::support::{Home, close, eventually, exec, homes, in_step, rows};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER);
                      CREATE TABLE other (id INTEGER PRIMARY KEY)";

/// Another program's connection to the node's database.
pub(crate) fn program(home: &Home) -> Connection {
    let connection = Connection::open(home.path.join("database.db")).expect("the database opens");
    connection.busy_timeout(10_000).expect("a timeout");
    connection
}

fn commit(connection: &Connection, sql: &str) -> String {
    connection.execute_batch(sql).expect("good SQL");
    let row = connection.query_row("SELECT dolt_commit('-A', '-m', 'by another program')", &[]);
    row.expect("a commit").expect("a row").get(0).and_then(Value::as_str).expect("a hash").into()
}

async fn pair(homes: &[Home; 2]) -> (Swarm, Swarm) {
    let a = homes[0].found(SCHEMA).await;
    let b = homes[1].join(&a, "b").await;
    in_step(&[&a, &b]).await;
    (a, b)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_commits_are_noticed_signed_and_synced() {
    let homes = homes();
    let (a, b) = pair(&homes).await;
    let other = program(&homes[0]);
    let mut events = b.events();
    let first = commit(&other, "INSERT INTO t VALUES (1, 1)");
    let second = commit(&other, "INSERT INTO t VALUES (2, 2)");
    loop {
        match events.next().await.expect("the node is open") {
            SwarmEvent::MainMoved { to, .. } if to == second => break,
            _ => continue,
        }
    }
    assert_eq!(rows(&b, "SELECT id FROM t").await, ["[1]", "[2]"]);
    let log = b.log(10).await.expect("a log");
    for hash in [first, second] {
        let entry = log.iter().find(|entry| entry.commit == hash).expect("it is in the log");
        assert_eq!(
            (entry.signer.clone(), entry.kind.as_str()),
            (Some(a.peer_id().to_string()), "user")
        );
    }
    // What it committed while the node was down is noticed at the next start.
    a.close().await;
    commit(&other, "INSERT INTO t VALUES (3, 3)");
    drop(other);
    let a = homes[0].up().await;
    in_step(&[&a, &b]).await;
    assert_eq!(rows(&b, "SELECT count(*) FROM t").await, ["[3]"]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_main_waits_is_not_in_step() {
    let homes = homes();
    let (a, b) = pair(&homes).await;
    let other = program(&homes[1]);
    other.execute_batch("INSERT INTO other VALUES (1)").expect("good");
    let commit = exec(&a, "INSERT INTO t VALUES (1, 1)").await;
    eventually("the other peer has the commit", async || {
        b.status().await.expect("a status").heads == [commit.clone()]
    })
    .await;
    let what = WaitFor { commit: Some(commit.clone()), peers: Some(2) };
    let report = a.wait(what.clone(), Duration::from_millis(500)).await.expect("a wait");
    assert_eq!((report.reached, report.peers), (false, 1));
    let status = a.status().await.expect("a status");
    assert!(!status.in_sync && !status.peers[0].in_sync, "{status:#?}");
    let problem = status.peers[0].problem.clone().expect("a problem");
    assert!(problem.contains("uncommitted changes there"), "{problem}");
    let whole = a.wait(WaitFor::default(), Duration::from_millis(300)).await.expect("a wait");
    assert!(!whole.reached);
    other.execute_batch("DELETE FROM other").expect("good");
    let report = a.wait(what, crate::support::LIMIT).await.expect("a wait");
    assert_eq!((report.reached, report.peers), (true, 2));
    in_step(&[&a, &b]).await;
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn main_waits_for_its_uncommitted_work_and_the_status_names_the_tables() {
    let homes = homes();
    let (a, b) = pair(&homes).await;
    let other = program(&homes[0]);
    other.execute_batch("INSERT INTO t VALUES (1, 1); INSERT INTO other VALUES (1)").expect("good");
    let before = a.status().await.expect("a status");
    assert_eq!((before.dirty, before.in_sync), (vec!["other".to_owned(), "t".to_owned()], false));
    let theirs = exec(&b, "INSERT INTO t VALUES (2, 2)").await;
    eventually("the commit is here and main waits", async || {
        let status = a.status().await.expect("a status");
        status.heads == [theirs.clone()] && status.main == before.main
    })
    .await;
    let error = a.exec_and_commit("x", ["INSERT INTO t VALUES (9, 9)"]).await.expect_err("dirty");
    let ExecError::Engine(EngineError::Dirty { tables }) = &error else { panic!("{error}") };
    assert_eq!(tables, &["other", "t"]);
    assert_eq!(other.query("SELECT id FROM t", &[]).expect("rows").len(), 1);

    let report = a.commit("what the other program left").await.expect("a commit");
    assert!(report.commit.is_some());
    in_step(&[&a, &b]).await;
    for node in [&a, &b] {
        assert_eq!(rows(node, "SELECT id FROM t").await, ["[1]", "[2]"]);
        assert_eq!(rows(node, "SELECT id FROM other").await, ["[1]"]);
    }
    let report = a.commit("nothing is left").await.expect("nothing to do");
    assert_eq!(report.commit, None);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_write_transaction_makes_a_write_busy_and_loses_nothing() {
    let homes = homes();
    let (a, b) = pair(&homes).await;
    let other = program(&homes[0]);
    other.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1, 1)").expect("good");
    let writing = {
        let a = a.clone();
        tokio::spawn(async move { a.exec_and_commit("x", ["INSERT INTO t VALUES (9, 9)"]).await })
    };
    exec(&b, "INSERT INTO t VALUES (2, 2)").await;
    let error = writing.await.expect("no panic").expect_err("the other program holds the lock");
    assert!(matches!(error, ExecError::Engine(EngineError::Busy)), "{error}");
    assert!(error.to_string().contains("another program"), "{error}");
    other.execute_batch("ROLLBACK").expect("good");
    in_step(&[&a, &b]).await;
    exec(&a, "INSERT INTO t VALUES (3, 3)").await;
    in_step(&[&a, &b]).await;
    assert_eq!(rows(&b, "SELECT id FROM t").await, ["[2]", "[3]"]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_work_arrives_under_a_program_that_commits_all_the_time() {
    let homes = homes();
    let (a, b) = pair(&homes).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = std::thread::spawn({
        let (other, stop) = (program(&homes[0]), Arc::clone(&stop));
        move || {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                commit(&other, &format!("INSERT INTO t VALUES ({}, {count})", 1_000 + count));
                count += 1;
                // The lock of a file is not fair: without this nobody else gets it at all.
                std::thread::sleep(Duration::from_millis(2));
            }
            count
        }
    });
    for n in 0..3 {
        exec(&b, &format!("INSERT INTO t VALUES ({n}, 0)")).await;
        let sql = format!("SELECT id FROM t WHERE id = {n}");
        eventually("b's row is in a's main", async || rows(&a, &sql).await.len() == 1).await;
    }
    stop.store(true, Ordering::Relaxed);
    let written = writing.join().expect("it ends");
    in_step(&[&a, &b]).await;
    assert_eq!(rows(&b, "SELECT count(*) FROM t").await, [format!("[{}]", written + 3)]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_leaves_for_long_is_committed_where_the_configuration_says_so() {
    let homes = homes();
    let (a, b) = pair(&homes).await;
    a.close().await;
    homes[0].configure("sidecar", "auto_commit = \"1s\"");
    let a = homes[0].up().await;
    program(&homes[0]).execute_batch("INSERT INTO t VALUES (1, 1)").expect("good");
    eventually("the row is committed and on the other node", async || {
        rows(&b, "SELECT id FROM t").await == ["[1]"]
    })
    .await;
    let statuses = in_step(&[&a, &b]).await;
    assert_eq!(statuses[0].dirty, Vec::<String>::new());
    let log = b.log(1).await.expect("a log");
    assert_eq!(log[0].signer, Some(a.peer_id().to_string()));
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discarded_work_is_gone_and_main_goes_on() {
    let homes = homes();
    let (a, b) = pair(&homes).await;
    let other = program(&homes[0]);
    other.execute_batch("INSERT INTO t VALUES (1, 1); CREATE TABLE left_over (x)").expect("good");
    exec(&b, "INSERT INTO t VALUES (2, 2)").await;
    assert_eq!(a.discard().await.expect("discarded"), ["left_over", "t"]);
    let statuses = in_step(&[&a, &b]).await;
    assert_eq!(statuses[0].dirty, Vec::<String>::new());
    assert_eq!(rows(&a, "SELECT id FROM t").await, ["[2]"]);
    assert_eq!(a.discard().await.expect("nothing to do"), Vec::<String>::new());
    close([a, b]).await;
}
