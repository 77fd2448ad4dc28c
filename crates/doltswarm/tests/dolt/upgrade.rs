//! Servers of two versions in one swarm, and one that is upgraded under its node.
//!
//! `DOLTSWARM_DOLT_OLD` names an older program than the other tests use; without it one line says
//! that this was skipped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use doltswarm::{Status, Swarm};

use crate::client::{commit, connect, run, texts};
use crate::engine::{Server, say};
use crate::support::{Home, close, eventually, exec, in_step, rows};

const SCHEMA: &str =
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b VARCHAR(20), u INTEGER UNIQUE);
                      CREATE TABLE child (id INTEGER PRIMARY KEY, t INTEGER,
                        FOREIGN KEY (t) REFERENCES t (id));
                      INSERT INTO t VALUES (1, 1, 'x', 1), (2, 2, 'y', 2), (3, 3, 'z', 3),
                        (4, 4, 'z', 4)";

/// The older program and the newer one.
fn programs() -> Option<(PathBuf, PathBuf)> {
    let new = Server::program()?;
    let old = std::env::var_os("DOLTSWARM_DOLT_OLD").map(PathBuf::from);
    let Some(old) = old.filter(|old| old.is_file()) else {
        say(
            "SKIPPED: $DOLTSWARM_DOLT_OLD names no older program `dolt`, so no server was upgraded",
        );
        return None;
    };
    Some((old, new))
}

fn node_on(program: &Path) -> (Arc<Server>, Home) {
    let server = Server::start_as(program);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let database = server.database();
    (server, Home::on(dir, Some(database)))
}

async fn status(node: &Swarm) -> Status {
    node.status().await.expect("a status")
}

/// What merges settle, in different ways on the two sides at once.
async fn clash(a: &Swarm, b: &Swarm, round: u32) {
    for node in [a, b] {
        node.set_isolated(true).await;
    }
    let key = 100 * round;
    let ours = [
        format!("UPDATE t SET a = {key}, b = 'a' WHERE id = 1"),
        format!("INSERT INTO t VALUES ({key}, 1, 'a', {key})"),
        format!("INSERT INTO child VALUES ({key}, 2)"),
        format!("DELETE FROM t WHERE id = {}", 2 + round),
    ];
    let theirs = [
        format!("UPDATE t SET a = {} WHERE id = 1", key + 1),
        format!("INSERT INTO t VALUES ({}, 1, 'b', {key})", key + 1),
        format!("UPDATE t SET u = {} WHERE id = 2", key + 2),
        format!("UPDATE t SET a = {key} WHERE id = {}", 2 + round),
    ];
    for sql in ours {
        exec(a, &sql).await;
    }
    for sql in theirs {
        exec(b, &sql).await;
    }
    for node in [a, b] {
        node.set_isolated(false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_upgraded_and_the_swarm_goes_on() {
    let Some((old, new)) = programs() else { return };
    let ((server_a, home_a), (_server_b, home_b)) = (node_on(&old), node_on(&new));
    let a = home_a.found(SCHEMA).await;
    let b = home_b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    let (of_a, of_b) = (status(&a).await.engine_version, status(&b).await.engine_version);
    assert_ne!(of_a, of_b, "$DOLTSWARM_DOLT_OLD names a program of the same version");
    let seen = |status: Status| status.peers[0].engine_version.clone();
    assert_eq!(seen(status(&a).await), Some(of_b.clone()));
    assert_eq!(seen(status(&b).await), Some(of_a.clone()));
    // Both versions settle alike: equal states is what `in_step` checks.
    clash(&a, &b, 1).await;
    assert!(in_step(&[&a, &b]).await[0].conflicts.total > 0, "nothing was settled");
    // A client's commit that the node has not seen, and work of the other node, while it is down.
    let mut client = connect(&home_a);
    run(&mut client, &["START TRANSACTION", "INSERT INTO t VALUES (50, 50, 'client', 50)"]);
    commit(&mut client);
    server_a.sandbox().kill();
    exec(&b, "INSERT INTO t VALUES (60, 60, 'b', 60)").await;
    let upgraded = tokio::task::spawn_blocking(move || {
        server_a.sandbox().run_as(&new).expect("the newer server starts on the older one's data");
        server_a
    });
    let _server_a = upgraded.await.expect("the newer server starts");
    eventually("the node goes on with the newer server", async || {
        let status = status(&a).await;
        status.database_problem.is_none() && status.engine_version == of_b
    })
    .await;
    eventually("the other node has heard of it", async || {
        seen(status(&b).await) == Some(of_b.clone())
    })
    .await;
    clash(&a, &b, 2).await;
    in_step(&[&a, &b]).await;
    for node in [&a, &b] {
        let kept = rows(node, "SELECT id FROM t WHERE id IN (50, 60) ORDER BY id").await;
        assert_eq!(kept, ["[50]", "[60]"]);
    }
    assert_eq!(texts(&mut connect(&home_a), "SELECT count(*) FROM dolt_status"), ["0"]);
    say(&format!("two versions of Dolt in one swarm, and one upgraded: {of_a}, {of_b}"));
    close([a, b]).await;
}
