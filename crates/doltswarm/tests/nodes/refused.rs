//! Content that cannot be used, and work without end: neither stops a node, nor its peers.

use std::time::{Duration, Instant};

use doltlite::{Connection, Value};
use doltswarm::{EngineError, ExecError, QueryError, Swarm};

use crate::support::{Home, close, eventually, exec, homes, in_step, rows};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)";

/// Counts to no end.
const ENDLESS: &str =
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

/// Another program commits an index as pandas writes it: the engine cannot read it again.
fn commit_unreadable(home: &Home) -> String {
    let connection = Connection::open(home.path.join("database.db")).expect("the database opens");
    connection.busy_timeout(10_000).expect("a timeout");
    let sql = "BEGIN IMMEDIATE; INSERT INTO t VALUES (5, 5); CREATE INDEX \"ix\"ON \"t\" (\"a\")";
    connection.execute_batch(sql).expect("good SQL");
    let row = connection.query_row("SELECT dolt_commit('-A', '-m', 'by another program')", &[]);
    row.expect("a commit").expect("a row").get(0).and_then(Value::as_str).expect("a hash").into()
}

async fn is_refused(node: &Swarm, bad: &str) {
    eventually("the commit is refused", async || {
        let status = node.status().await.expect("a status");
        status.refused.iter().any(|refused| refused.commit == bad)
    })
    .await;
    let status = node.status().await.expect("a status");
    let reason = &status.refused[0].reason;
    assert!(reason.contains("malformed database schema"), "{reason}");
    assert!(!status.heads.contains(&bad.to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_commit_stops_nobody() {
    let homes = homes::<2>();
    let a = homes[0].found(SCHEMA).await;
    let b = homes[1].join(&a, "b").await;
    let good = exec(&a, "INSERT INTO t VALUES (1, 1)").await;
    in_step(&[&a, &b]).await;
    let bad = commit_unreadable(&homes[0]);
    is_refused(&a, &bad).await;
    assert_eq!(a.status().await.expect("a status").main, good);
    exec(&b, "INSERT INTO t VALUES (2, 2)").await;
    in_step(&[&a, &b]).await;
    exec(&a, "CREATE INDEX \"ix\"ON \"t\" (\"a\")").await;
    in_step(&[&a, &b]).await;
    assert_eq!(rows(&b, "SELECT id FROM t ORDER BY a").await, ["[1]", "[2]"]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_takes_records_away_is_refused() {
    let [a, b] = homes();
    if a.server().is_some() {
        return;
    }
    let node = a.found(&format!("{SCHEMA}; INSERT INTO t VALUES (1, 0)")).await;
    let other = b.join(&node, "b").await;
    in_step(&[&node, &other]).await;
    node.set_isolated(true).await;
    exec(&node, "UPDATE t SET a = 1").await;
    exec(&other, "UPDATE t SET a = 2").await;
    node.set_isolated(false).await;
    in_step(&[&node, &other]).await;
    let records = "SELECT count(*) FROM swarm_conflicts";
    assert_eq!(rows(&node, records).await, ["[1]"]);
    let connection = Connection::open(a.path.join("database.db")).expect("the database opens");
    connection.busy_timeout(10_000).expect("a timeout");
    let sql = "DELETE FROM swarm_conflicts; SELECT dolt_commit('-A', '-m', 'by another program')";
    connection.execute_batch(sql).expect("good SQL");
    eventually("the commit is refused", async || {
        let status = node.status().await.expect("a status");
        status.refused.iter().any(|refused| refused.reason.contains("swarm_conflicts"))
    })
    .await;
    for node in [&node, &other] {
        assert_eq!(rows(node, records).await, ["[1]"]);
    }
    close([node, other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_on_an_unreadable_main() {
    let homes = homes::<1>();
    let node = homes[0].found(SCHEMA).await;
    let good = exec(&node, "INSERT INTO t VALUES (1, 1)").await;
    node.close().await;
    let bad = commit_unreadable(&homes[0]);
    let node = homes[0].up().await;
    is_refused(&node, &bad).await;
    assert_eq!(node.status().await.expect("a status").main, good);
    exec(&node, "INSERT INTO t VALUES (2, 2)").await;
    close([node]).await;
    let node = homes[0].up().await;
    is_refused(&node, &bad).await;
    close([node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_end_when_their_time_is_up_or_they_are_dropped() {
    let homes = homes::<1>();
    let node = homes[0].found(SCHEMA).await;
    let short = Duration::from_millis(100);
    let error = node.exec_and_commit_within(short, "endless", [ENDLESS]).await.unwrap_err();
    assert!(matches!(&error, ExecError::Engine(EngineError::Stopped { .. })), "{error:?}");
    let error = node.query_within(short, ENDLESS, Vec::new()).await.unwrap_err();
    assert!(matches!(&error, QueryError::Engine(EngineError::Stopped { .. })), "{error:?}");
    let statements = ["INSERT INTO t VALUES (1, 1)", ENDLESS];
    let call = node.exec_and_commit("endless", statements);
    assert!(tokio::time::timeout(short, call).await.is_err());
    assert!(tokio::time::timeout(short, node.query(ENDLESS, Vec::new())).await.is_err());
    exec(&node, "INSERT INTO t VALUES (2, 2)").await;
    assert_eq!(rows(&node, "SELECT id FROM t").await, ["[2]"]);
    close([node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_closes_whatever_runs() {
    let homes = homes::<1>();
    let node = homes[0].found(SCHEMA).await;
    let endless = [
        tokio::spawn({
            let node = node.clone();
            async move { node.exec_and_commit("endless", [ENDLESS]).await.is_err() }
        }),
        tokio::spawn({
            let node = node.clone();
            async move { node.query(ENDLESS, Vec::new()).await.is_err() }
        }),
    ];
    // The write is under way when another one has to wait for it.
    let short = Duration::from_millis(200);
    eventually("the write is under way", async || {
        let another = node.exec_and_commit("x", ["SELECT 1"]);
        tokio::time::timeout(short, another).await.is_err()
    })
    .await;
    let begin = Instant::now();
    node.close().await;
    for call in endless {
        assert!(call.await.expect("no panic"), "a statement without end ended well");
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}
