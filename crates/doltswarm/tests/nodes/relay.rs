//! Commits reach peers that never met their author.

use doltswarm::core::membership::Role;

use crate::support::{close, exec, homes, in_step, rows};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_relayed_with_their_authors_signature() {
    let [home_a, home_b, home_c] = homes();
    let a = home_a.found(SCHEMA).await;
    let b = home_b.join_as(&a, "b", Role::Admin).await;
    in_step(&[&a, &b]).await;
    let from_a = exec(&a, "INSERT INTO t VALUES (1, 'a')").await;
    in_step(&[&a, &b]).await;
    let id_of_a = a.peer_id().to_string();
    a.close().await;

    // C never meets A: what it has of A came through B.
    let c = home_c.join(&b, "c").await;
    in_step(&[&b, &c]).await;
    assert_eq!(rows(&c, "SELECT a FROM t").await, [r#"["a"]"#]);
    let log = c.log(10).await.expect("a log");
    let entry = log.iter().find(|entry| entry.commit == from_a).expect("A's commit is in the log");
    assert_eq!(entry.signer, Some(id_of_a));
    exec(&c, "INSERT INTO t VALUES (3, 'c')").await;
    in_step(&[&b, &c]).await;
    c.close().await;

    // And A gets C's commit, and C's membership, through B alone.
    let a = home_a.up().await;
    in_step(&[&a, &b]).await;
    assert_eq!(rows(&a, "SELECT a FROM t ORDER BY id").await, [r#"["a"]"#, r#"["c"]"#]);
    close([a, b]).await;
}
