//! Other programs on the node's database, by way of MySQL: what they commit is the peer's, what
//! they leave uncommitted is never touched.
//!
//! `DOLTSWARM_LATENCY_ROUNDS` says how many commits are timed (20).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use doltswarm::{EngineError, ExecError, Swarm, SwarmEvent};
use mysql::Conn;
use mysql::prelude::Queryable;

use crate::client::{commit, connect, run, texts, try_commit};
use crate::engine::say;
use crate::support::{Home, close, eventually, exec, homes, in_step, rows};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER);
                      CREATE TABLE other (id INTEGER PRIMARY KEY)";

async fn pair(homes: &[Home; 2]) -> Option<(Swarm, Swarm)> {
    homes[0].database.as_ref()?;
    let a = homes[0].found(SCHEMA).await;
    let b = homes[1].join(&a, "b").await;
    in_step(&[&a, &b]).await;
    Some((a, b))
}

/// Waits until the other node has this commit in its history, signed by `signer`.
async fn arrives(commit: &str, node: &Swarm, signer: &Swarm) {
    eventually("the commit is on the other node, signed", async || {
        let log = node.log(20).await.expect("a log");
        let entry = log.into_iter().find(|entry| entry.commit == commit);
        entry.is_some_and(|entry| {
            entry.kind == "user" && entry.signer == Some(signer.peer_id().to_string())
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_clients_are_noticed_signed_and_synced() {
    let homes = homes();
    let Some((a, b)) = pair(&homes).await else { return };
    let mut conn = connect(&homes[0]);
    run(&mut conn, &["INSERT INTO t VALUES (1, 1)"]);
    let first = commit(&mut conn);
    run(
        &mut conn,
        &["START TRANSACTION", "INSERT INTO t VALUES (2, 2)", "DELETE FROM t WHERE id = 1"],
    );
    let second = commit(&mut conn);
    for hash in [&first, &second] {
        arrives(hash, &b, &a).await;
    }
    in_step(&[&a, &b]).await;
    assert_eq!(texts(&mut connect(&homes[1]), "SELECT id FROM t"), ["2"]);
    // What they commit while the node is down is noticed at the next start.
    a.close().await;
    run(&mut conn, &["INSERT INTO t VALUES (3, 3)"]);
    let third = commit(&mut conn);
    let a = homes[0].up().await;
    arrives(&third, &b, &a).await;
    in_step(&[&a, &b]).await;
    assert_eq!(texts(&mut connect(&homes[1]), "SELECT id FROM t ORDER BY id"), ["2", "3"]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_transaction_keeps_its_view_and_its_rows_while_main_moves() {
    let homes = homes();
    let Some((a, b)) = pair(&homes).await else { return };
    let mut conn = connect(&homes[0]);
    run(&mut conn, &["START TRANSACTION", "INSERT INTO t VALUES (1, 1)"]);
    let theirs = exec(&b, "INSERT INTO t VALUES (2, 2)").await;
    eventually("main moves under the transaction", async || {
        a.status().await.expect("a status").main == theirs
    })
    .await;
    assert_eq!(
        texts(&mut conn, "SELECT id FROM t"),
        ["1"],
        "a transaction sees what it began with"
    );
    let mine = commit(&mut conn);
    arrives(&mine, &b, &a).await;
    in_step(&[&a, &b]).await;
    for home in &homes {
        assert_eq!(texts(&mut connect(home), "SELECT id FROM t ORDER BY id"), ["1", "2"]);
    }
    // One that is given up leaves nothing.
    run(&mut conn, &["START TRANSACTION", "INSERT INTO t VALUES (9, 9)"]);
    exec(&b, "INSERT INTO t VALUES (3, 3)").await;
    in_step(&[&a, &b]).await;
    run(&mut conn, &["ROLLBACK"]);
    let statuses = in_step(&[&a, &b]).await;
    assert_eq!(statuses[0].dirty, Vec::<String>::new());
    assert_eq!(texts(&mut conn, "SELECT id FROM t ORDER BY id"), ["1", "2", "3"]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn main_waits_for_uncommitted_rows_and_the_status_names_the_tables() {
    let homes = homes();
    let Some((a, b)) = pair(&homes).await else { return };
    let mut conn = connect(&homes[0]);
    run(&mut conn, &["INSERT INTO t VALUES (1, 1)", "INSERT INTO other VALUES (1)"]);
    let before = a.status().await.expect("a status");
    assert_eq!((before.dirty, before.in_sync), (vec!["other".to_owned(), "t".to_owned()], false));
    let mut events = a.events();
    let theirs = exec(&b, "INSERT INTO t VALUES (2, 2)").await;
    loop {
        if let SwarmEvent::MainWaits { tables } = events.next().await.expect("the node is open") {
            assert_eq!(tables, ["other", "t"]);
            break;
        }
    }
    let status = a.status().await.expect("a status");
    assert_eq!((status.heads, status.main), (vec![theirs], before.main));
    let error = a.exec_and_commit("x", ["INSERT INTO t VALUES (9, 9)"]).await.expect_err("dirty");
    let ExecError::Engine(EngineError::Dirty { tables }) = &error else { panic!("{error}") };
    assert_eq!(tables, &["other", "t"]);
    assert_eq!(texts(&mut conn, "SELECT id FROM t"), ["1"]);

    // The client takes one table back and commits the other by itself.
    run(&mut conn, &["DELETE FROM other", "CALL DOLT_ADD('t')"]);
    let mine = commit(&mut conn);
    arrives(&mine, &b, &a).await;
    in_step(&[&a, &b]).await;
    // And the node commits what it is told to.
    run(&mut conn, &["INSERT INTO other VALUES (7)"]);
    let report = a.commit("what a client left").await.expect("a commit");
    arrives(&report.commit.expect("a commit"), &b, &a).await;
    in_step(&[&a, &b]).await;
    for node in [&a, &b] {
        assert_eq!(rows(node, "SELECT id FROM t ORDER BY id").await, ["[1]", "[2]"]);
        assert_eq!(rows(node, "SELECT id FROM other").await, ["[7]"]);
    }
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_leaves_for_long_is_committed_where_the_configuration_says_so() {
    let homes = homes();
    let Some((a, b)) = pair(&homes).await else { return };
    a.close().await;
    homes[0].configure("sidecar", "auto_commit = \"1s\"");
    let a = homes[0].up().await;
    run(&mut connect(&homes[0]), &["INSERT INTO t VALUES (1, 1)"]);
    eventually("the row is committed and on the other node", async || {
        rows(&b, "SELECT id FROM t").await == ["[1]"]
    })
    .await;
    let statuses = in_step(&[&a, &b]).await;
    assert_eq!(statuses[0].dirty, Vec::<String>::new());
    arrives(&statuses[0].main, &b, &a).await;
    close([a, b]).await;
}

/// A client that writes every 10 ms and never commits leaves main dirty whenever a job looks at it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_work_arrives_under_a_client_that_writes_and_never_commits() {
    let homes = homes();
    let Some((a, b)) = pair(&homes).await else { return };
    a.close().await;
    homes[0].configure("sidecar", "auto_commit = \"1s\"");
    let a = homes[0].up().await;
    let stop = Arc::new(AtomicBool::new(false));
    let (mut conn, stopped) = (connect(&homes[0]), Arc::clone(&stop));
    run(&mut conn, &["INSERT INTO other VALUES (0)"]);
    let writer = std::thread::spawn(move || {
        let mut count = 0;
        while !stopped.load(Ordering::Relaxed) {
            count += 1;
            run(&mut conn, &[&format!("INSERT INTO other VALUES ({count})")]);
            std::thread::sleep(Duration::from_millis(10));
        }
        count
    });
    let mut reader = connect(&homes[0]);
    for n in 0..3 {
        exec(&b, &format!("INSERT INTO t VALUES ({n}, 0)")).await;
        let sql = format!("SELECT id FROM t WHERE id = {n}");
        eventually("b's row is in a's main", async || texts(&mut reader, &sql).len() == 1).await;
    }
    stop.store(true, Ordering::Relaxed);
    let written = writer.join().expect("a client");
    in_step(&[&a, &b]).await;
    let count = texts(&mut connect(&homes[1]), "SELECT count(*) FROM other");
    assert_eq!(count, [(written + 1).to_string()]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_on_one_server_do_not_disturb_each_other() {
    let [a, b]: [Home; 2] = homes();
    if a.database.is_none() {
        return;
    }
    let (x, y) = (a.found(SCHEMA).await, b.found(SCHEMA).await);
    let mut conn = connect(&a);
    run(&mut conn, &["INSERT INTO t VALUES (1, 1)"]);
    exec(&y, "INSERT INTO t VALUES (2, 2)").await;
    assert_eq!(x.status().await.expect("a status").dirty, ["t"]);
    assert_eq!(y.status().await.expect("a status").dirty, Vec::<String>::new());
    commit(&mut conn);
    eventually("the commit is noticed", async || x.status().await.expect("a status").commits == 3)
        .await;
    assert_eq!(y.status().await.expect("a status").commits, 3);
    assert_eq!(rows(&y, "SELECT id FROM t").await, ["[2]"]);
    close([x, y]).await;
}

/// Commits a row of its own after the other, without a pause, until it is stopped; returns how
/// many.
fn hammer(home: &Home, writer: u32, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<u32> {
    let (mut conn, stop) = (connect(home), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            let id = writer * 1_000_000 + count;
            let insert = format!("INSERT INTO t VALUES ({id}, {count})");
            // The first writers know transactions. What the others insert is uncommitted for a
            // moment, and may be committed by one of them all.
            let done = match writer {
                1 => conn
                    .query_drop("START TRANSACTION")
                    .and_then(|()| conn.query_drop(&insert))
                    .and_then(|()| try_commit(&mut conn, true)),
                _ => conn.query_drop(&insert).and_then(|()| try_commit(&mut conn, true)),
            };
            match done {
                Ok(_) => count += 1,
                Err(error) if error.to_string().contains("nothing to commit") => count += 1,
                Err(error) => panic!("{error}"),
            }
        }
        count
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_work_arrives_under_clients_that_commit_without_a_pause() {
    let homes = homes();
    let Some((a, b)) = pair(&homes).await else { return };
    let stop = Arc::new(AtomicBool::new(false));
    let writers = [1, 2].map(|writer| hammer(&homes[0], writer, &stop));
    let mut reader = connect(&homes[0]);
    for n in 0..3 {
        exec(&b, &format!("INSERT INTO t VALUES ({n}, 0)")).await;
        let sql = format!("SELECT id FROM t WHERE id = {n}");
        eventually("b's row is in a's main", async || texts(&mut reader, &sql).len() == 1).await;
    }
    stop.store(true, Ordering::Relaxed);
    let written: u32 = writers.map(|writer| writer.join().expect("a client")).into_iter().sum();
    in_step(&[&a, &b]).await;
    for home in &homes {
        let count = texts(&mut connect(home), "SELECT count(*) FROM t");
        assert_eq!(count, [(written + 3).to_string()]);
    }
    say(&format!("{written} commits of two clients without a pause while three rows arrived"));
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_main_waits_passes_on_what_it_has() {
    let [home_a, home_b, home_c] = homes();
    if home_a.database.is_none() {
        return;
    }
    let a = home_a.found(SCHEMA).await;
    let b = home_b.join(&a, "b").await;
    let c = home_c.join(&a, "c").await;
    in_step(&[&a, &b, &c]).await;
    c.close().await;
    let mut conn = connect(&home_b);
    run(&mut conn, &["INSERT INTO t VALUES (1, 1)"]);
    let from_a = exec(&a, "INSERT INTO t VALUES (2, 2)").await;
    eventually("b has the commit", async || {
        b.status().await.expect("a status").heads == [from_a.clone()]
    })
    .await;
    assert_ne!(b.status().await.expect("a status").main, from_a);
    a.close().await;
    let c = home_c.up().await;
    eventually("c has the commit of a, by way of b", async || {
        c.status().await.expect("a status").main == from_a
    })
    .await;
    assert_eq!(texts(&mut conn, "SELECT id FROM t"), ["1"]);
    run(&mut conn, &["DELETE FROM t"]);
    in_step(&[&b, &c]).await;
    close([b, c]).await;
}

/// How long a commit of a client of A takes until A has told of it, and until a client of B sees
/// it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_soon_a_commit_is_noticed_and_seen_elsewhere() {
    let homes = homes();
    let Some((a, b)) = pair(&homes).await else { return };
    let text = std::env::var("DOLTSWARM_LATENCY_ROUNDS").unwrap_or_else(|_| "20".into());
    let rounds: usize = text.parse().expect("DOLTSWARM_LATENCY_ROUNDS is a number");
    let (mut here, mut there) = (connect(&homes[0]), connect(&homes[1]));
    let (mut noticed, mut seen) = (Vec::new(), Vec::new());
    for n in 0..rounds {
        let mut events = a.events();
        run(&mut here, &["START TRANSACTION", &format!("INSERT INTO t VALUES ({n}, {n})")]);
        let hash = commit(&mut here);
        let began = Instant::now();
        let waiting = tokio::task::spawn_blocking(move || {
            let elapsed = until_seen(&mut there, n, began);
            (there, elapsed)
        });
        loop {
            match events.next().await.expect("the node is open") {
                SwarmEvent::HeadsChanged { heads } if heads.contains(&hash) => break,
                _ => continue,
            }
        }
        noticed.push(began.elapsed());
        let (conn, elapsed) = waiting.await.expect("the row arrives");
        there = conn;
        seen.push(elapsed);
    }
    say(&format!(
        "a client's commit on A, {rounds} times: noticed by A after {}; seen by a client of B after {}",
        percentiles(noticed),
        percentiles(seen)
    ));
    in_step(&[&a, &b]).await;
    close([a, b]).await;
}

fn until_seen(conn: &mut Conn, id: usize, began: Instant) -> Duration {
    let sql = format!("SELECT 1 FROM t WHERE id = {id}");
    loop {
        let found: Option<u8> = conn.query_first(&sql).expect("a good query");
        if found.is_some() {
            return began.elapsed();
        }
        assert!(began.elapsed() < crate::support::LIMIT, "row {id} does not arrive");
    }
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    format!("p50 {:?}, p99 {:?}", at(50), at(99))
}
