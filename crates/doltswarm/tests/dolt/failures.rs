//! A server that goes away in the middle of things: the node says so, waits, and goes on by itself,
//! and nothing that was acknowledged is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doltswarm::{EngineError, OpenError, OpenOptions, QueryError, Swarm};
use mysql::prelude::Queryable;
use tokio::time::sleep;

use crate::client::{connect, run, texts, try_commit, try_connect};
use crate::engine::{Database, Server, say};
use crate::support::{Home, close, eventually, exec, in_step, rows};

const SCHEMA: &str = "CREATE TABLE t (id BIGINT PRIMARY KEY, a VARCHAR(20))";

/// What a writer knows of its rows.
#[derive(Default)]
struct Written {
    acknowledged: BTreeSet<u64>,
    /// The answer was lost, so nobody knows.
    unknown: BTreeSet<u64>,
}

fn placed(database: Database) -> Home {
    Home::on(tempfile::tempdir().expect("a temporary directory"), Some(database))
}

/// A node on a server of its own, which the test may kill.
fn alone() -> Option<(Arc<Server>, Home)> {
    let server = Server::start()?;
    let home = placed(server.database());
    Some((server, home))
}

async fn answers(node: &Swarm) {
    let is_there =
        async || node.status().await.is_ok_and(|status| status.database_problem.is_none());
    eventually("the database answers again", is_there).await;
}

/// A client that commits row after row, and connects again when the server is gone.
fn client(
    database: Database,
    first: u64,
    stop: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<Written> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let home = placed(database);
        let mut written = Written::default();
        let mut conn = None;
        for id in first.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            if conn.is_none() {
                conn = try_connect(&home).ok();
            }
            let Some(open) = &mut conn else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            let sql = format!("INSERT INTO t VALUES ({id}, 'client')");
            let done = open
                .query_drop("START TRANSACTION")
                .and_then(|()| open.query_drop(sql))
                .and_then(|()| try_commit(open, true));
            match done {
                Ok(_) => written.acknowledged.insert(id),
                Err(mysql::Error::MySqlError(_)) if open.query_drop("ROLLBACK").is_ok() => false,
                Err(_) => {
                    conn = None;
                    written.unknown.insert(id)
                }
            };
        }
        written
    })
}

/// The application of a node: it commits row after row through the library.
async fn application(node: Swarm, first: u64, stop: Arc<AtomicBool>) -> Written {
    let mut written = Written::default();
    for id in first.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let sql = format!("INSERT INTO t VALUES ({id}, 'application')");
        match node.exec_and_commit("a row", [sql]).await {
            Ok(_) => written.acknowledged.insert(id),
            Err(_) => {
                sleep(Duration::from_millis(5)).await;
                written.unknown.insert(id)
            }
        };
    }
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_again_and_again_loses_nothing_that_was_acknowledged() {
    let (Some((server, home_a)), Some((_other, home_b))) = (alone(), alone()) else { return };
    let a = home_a.found(SCHEMA).await;
    let b = home_b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients = [(&home_a, 1_000_000), (&home_b, 2_000_000)]
        .map(|(home, first)| client(home.database.clone().expect("a database"), first, &stop));
    let applications = [(&a, 3_000_000), (&b, 4_000_000)]
        .map(|(node, first)| tokio::spawn(application(node.clone(), first, Arc::clone(&stop))));
    let kills = std::env::var("DOLTSWARM_KILLS").map_or(6, |text| text.parse().expect("a number"));
    for round in 0..kills {
        // At another moment of what is going on each time.
        sleep(Duration::from_millis(150 + 97 * (round % 7))).await;
        let server = Arc::clone(&server);
        let killed = tokio::task::spawn_blocking(move || {
            server.sandbox().kill();
            std::thread::sleep(Duration::from_millis(20 * (round % 4)));
            server.sandbox().run().expect("the server comes back");
        });
        killed.await.expect("the server comes back");
    }
    stop.store(true, Ordering::Relaxed);
    let mut written = Written::default();
    let ended = tokio::task::spawn_blocking(|| clients.map(|client| client.join().expect("ends")));
    let mut all = Vec::from(ended.await.expect("the clients end"));
    for application in applications {
        all.push(application.await.expect("the application ends"));
    }
    for one in all {
        written.acknowledged.extend(one.acknowledged);
        written.unknown.extend(one.unknown);
    }
    answers(&a).await;
    let statuses = in_step(&[&a, &b]).await;
    for home in [&home_a, &home_b] {
        let found = texts(&mut connect(home), "SELECT id FROM t");
        let found: BTreeSet<u64> = found.iter().map(|id| id.parse().expect("a number")).collect();
        let lost: Vec<_> = written.acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let strange: Vec<_> = found
            .iter()
            .filter(|id| !written.acknowledged.contains(id) && !written.unknown.contains(id))
            .collect();
        assert!(strange.is_empty(), "refused and there: {strange:?}");
    }
    say(&format!(
        "killed {kills} times: {} rows acknowledged, {} unanswered, {} user commits",
        written.acknowledged.len(),
        written.unknown.len(),
        statuses[0].commits
    ));
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_gone_the_node_says_so_and_waits() {
    let (Some((server, home_a)), Some((_other, home_b))) = (alone(), alone()) else { return };
    let a = home_a.found(SCHEMA).await;
    let b = home_b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    let status = a.status().await.expect("a status");
    assert_eq!(status.peers[0].engine_version.as_ref(), Some(&status.engine_version));
    server.sandbox().kill();
    let before = a.status().await.expect("a status without the server");
    let problem = before.database_problem.expect("the server is gone");
    assert!(problem.reason.contains("is `dolt sql-server` running?"), "{problem:?}");
    assert_eq!((before.in_sync, before.heads.len()), (false, 1));
    assert_eq!((before.peers.len(), a.members().await.expect("members").len()), (1, 2));
    let error = a.query("SELECT 1", Vec::new()).await.expect_err("the server is gone");
    assert!(matches!(error, QueryError::Engine(EngineError::Unreachable { .. })), "{error}");
    let error = a.exec_and_commit("x", ["INSERT INTO t VALUES (1, 'a')"]).await;
    assert!(error.expect_err("the server is gone").to_string().contains("does not answer"));
    let after = a.status().await.expect("a status without the server").database_problem;
    assert_eq!(after.expect("the server is gone").since, problem.since, "it says since when");
    // What arrives meanwhile is taken in later.
    for id in 10..15 {
        exec(&b, &format!("INSERT INTO t VALUES ({id}, 'b')")).await;
    }
    server.sandbox().run().expect("the server comes back");
    answers(&a).await;
    in_step(&[&a, &b]).await;
    assert_eq!(rows(&a, "SELECT count(*) FROM t").await, ["[5]"]);
    exec(&a, "INSERT INTO t VALUES (1, 'a')").await;
    in_step(&[&a, &b]).await;
    // A node that starts without its server says which one.
    a.close().await;
    server.sandbox().kill();
    let error = Swarm::open(&home_a.path, OpenOptions::default()).await.expect_err("no server");
    assert!(matches!(&error, OpenError::Server { .. }), "{error}");
    server.sandbox().run().expect("the server comes back");
    let a = home_a.up().await;
    in_step(&[&a, &b]).await;
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_dropped_is_named() {
    let Some((_server, home)) = alone() else { return };
    let node = home.found(SCHEMA).await;
    let name = home.server().expect("a server").url.database;
    run(&mut connect(&home), &[&format!("DROP DATABASE `{name}`")]);
    let problem = node.status().await.expect("a status").database_problem.expect("it is gone");
    assert!(problem.reason.contains(&name), "{problem:?}");
    let error = node.exec_and_commit("x", ["INSERT INTO t VALUES (1, 'a')"]).await;
    assert!(error.is_err(), "{error:?}");
    node.close().await;
    let error = Swarm::open(&home.path, OpenOptions::default()).await.expect_err("no database");
    assert!(error.to_string().contains(&name), "{error}");
}
