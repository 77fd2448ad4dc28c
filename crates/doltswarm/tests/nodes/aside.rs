//! Commits that a node sets aside by itself: main goes on without them, here only, also after a
//! restart, and comes back to them when they are released.

use crate::support::{close, eventually, exec, homes, in_step, rows};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_aside_here_until_released() {
    let homes = homes::<2>();
    let a = homes[0].found("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    let b = homes[1].join(&a, "b").await;
    in_step(&[&a, &b]).await;
    let one = exec(&b, "INSERT INTO t VALUES (1)").await;
    in_step(&[&a, &b]).await;
    a.set_aside(&one, "a row of it is too large").await.expect("set aside");
    eventually("main is without the commit", async || {
        rows(&a, "SELECT count(*) FROM t").await == ["[0]"]
    })
    .await;
    let status = a.status().await.expect("a status");
    assert_eq!(status.heads, std::slice::from_ref(&one));
    let [aside] = &status.set_aside[..] else { panic!("{status:#?}") };
    assert_eq!((&aside.head, &aside.signer), (&one, &b.peer_id().to_string()));
    assert!(aside.reason.contains("a row of it is too large"), "{}", aside.reason);
    assert!(!status.in_sync);

    // What is committed here now does not build on it, and goes to the other peer.
    let two = exec(&a, "INSERT INTO t VALUES (2)").await;
    eventually("the other peer has both", async || {
        rows(&b, "SELECT id FROM t").await == ["[1]", "[2]"]
    })
    .await;
    a.close().await;
    let a = homes[0].up().await;
    let status = a.status().await.expect("a status");
    assert_eq!((status.set_aside.len(), status.main), (1, two));
    assert_eq!(rows(&a, "SELECT id FROM t").await, ["[2]"]);

    assert!(a.release(&one).await.expect("released"));
    assert!(!a.release(&one).await.expect("released"));
    in_step(&[&a, &b]).await;
    assert_eq!(rows(&a, "SELECT id FROM t").await, ["[1]", "[2]"]);
    assert!(a.set_aside("not a hash", "").await.is_err());
    close([a, b]).await;
}
