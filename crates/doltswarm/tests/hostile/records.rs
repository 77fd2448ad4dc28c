//! A member that takes records of conflicts away, by commits that its own node would refuse.

use doltlite::{Connection, Value};
use doltswarm::Swarm;
use doltswarm::core::id::CommitHash;

use crate::forgery;
use crate::mallory::Mallory;
use crate::support::{Home, close, eventually, exec, homes, in_step, rows};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)";
const RECORDS: &str = "SELECT count(*), min(state) FROM swarm_conflicts";
const ONE: [&str; 1] = ["[1,\"open\"]"];
const EMPTY: &str = "DELETE FROM swarm_conflicts";

/// Two honest nodes that have settled a conflict, the liar, and a directory for a newcomer; `None`
/// on an engine that does not look at records.
async fn swarm() -> Option<([Swarm; 2], Mallory, [Home; 3])> {
    let [home_a, home_b, home_c, home_m] = homes();
    if home_a.server().is_some() {
        return None;
    }
    let a = home_a.found(&format!("{SCHEMA}; INSERT INTO t VALUES (0, '')")).await;
    let b = home_b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    a.set_isolated(true).await;
    exec(&a, "UPDATE t SET a = 'a'").await;
    exec(&b, "UPDATE t SET a = 'b'").await;
    a.set_isolated(false).await;
    in_step(&[&a, &b]).await;
    assert_eq!(rows(&a, RECORDS).await, ONE);
    let mallory = Mallory::join(home_m, &a).await;
    Some(([a, b], mallory, [home_a, home_b, home_c]))
}

/// A commit that no guard looked at, on a branch of the liar's database.
fn commit(mallory: &Mallory, branch: &str, sql: &str) -> CommitHash {
    let path = mallory.home.path.join("database.db");
    let database = Connection::open(path).expect("the database opens");
    let sql = format!("SELECT dolt_checkout('{branch}'); {sql}");
    database.execute_batch(&sql).expect("good SQL");
    let row = database.query_row("SELECT dolt_commit('-A', '-m', 'unguarded')", &[]);
    let row = row.expect("a commit").expect("a row");
    row.get(0).and_then(Value::as_str).expect("a hash").parse().expect("a hash")
}

async fn main_of(node: &Swarm) -> String {
    node.status().await.expect("a status").main
}

async fn has_set_aside(node: &Swarm, head: &CommitHash, cause: &CommitHash) {
    eventually("the commit is set aside", async || {
        let status = node.status().await.expect("a status");
        status.set_aside.iter().any(|aside| aside.head == head.to_string())
    })
    .await;
    let status = node.status().await.expect("a status");
    let reason = &status.set_aside[0].reason;
    assert!(reason.contains("swarm_conflicts"), "{reason}");
    assert!(head == cause || reason.contains(&cause.to_string()[..8]), "{reason}");
    assert_eq!(rows(node, RECORDS).await, ONE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_empties_the_records_is_set_aside_by_everyone() {
    let Some(([a, b], mallory, homes)) = swarm().await else { return };
    let before = main_of(&a).await;
    // One sees the commit alone, the other with another one on it, the third when it joins.
    b.set_isolated(true).await;
    let bad = commit(&mallory, "main", EMPTY);
    mallory.say(&[bad], &[mallory.signed(&bad)]);
    mallory.advertise(&a).await;
    has_set_aside(&a, &bad, &bad).await;
    assert_eq!(main_of(&a).await, before);
    let above = commit(&mallory, "main", "INSERT INTO t VALUES (1, 'on top')");
    mallory.say(&[above], &[mallory.signed(&above)]);
    mallory.advertise(&a).await;
    has_set_aside(&a, &above, &bad).await;
    b.set_isolated(false).await;
    has_set_aside(&b, &above, &bad).await;
    let honest = exec(&b, "INSERT INTO t VALUES (2, 'honest')").await;
    let c = homes[2].join(&a, "c").await;
    has_set_aside(&c, &above, &bad).await;
    for node in [&a, &b, &c] {
        eventually("the honest commit is there", async || main_of(node).await == honest).await;
        assert_eq!(rows(node, "SELECT id FROM t").await, ["[0]", "[2]"]);
        assert_eq!(rows(node, RECORDS).await, ONE);
    }
    // Not only until the next start.
    a.close().await;
    let a = homes[0].up().await;
    has_set_aside(&a, &above, &bad).await;
    assert_eq!(main_of(&a).await, honest);
    mallory.network.close().await;
    close([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_merge_takes_no_records_away() {
    let Some(([a, b], mallory, _homes)) = swarm().await else { return };
    let base = main_of(&a).await;
    let ours = mallory.commit("INSERT INTO t VALUES (1, 'ours')");
    let theirs = forgery::side(&mallory, &base);
    forgery::merge(&mallory, &ours, &theirs, EMPTY);
    let above = commit(&mallory, forgery::FORGERY, "INSERT INTO t VALUES (3, 'on top')");
    let signed = [ours, theirs, above].map(|commit| mallory.signed(&commit));
    mallory.say(&[above], &signed);
    mallory.advertise(&a).await;
    for node in [&a, &b] {
        has_set_aside(node, &above, &above).await;
        // What lies below it was committed by the book.
        eventually("the rest is merged", async || {
            rows(node, "SELECT id FROM t").await == ["[0]", "[1]", "[2]"]
        })
        .await;
        assert_eq!(rows(node, RECORDS).await, ONE);
    }
    assert_eq!(main_of(&a).await, main_of(&b).await);
    mallory.network.close().await;
    close([a, b]).await;
}
