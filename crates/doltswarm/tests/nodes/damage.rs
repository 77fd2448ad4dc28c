//! A node whose files are not what it left behind: it says so, or mends itself, and loses nothing.

use std::fs;
use std::path::Path;

use doltswarm::core::membership::Role;
use doltswarm::{ExecError, InitOptions, OpenError, OpenOptions, Swarm};

use crate::support::{close, exec, homes, in_step, rows};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)";

pub(crate) async fn fails_to_open(dir: &Path) -> OpenError {
    Swarm::open(dir, OpenOptions::default()).await.map(|_| ()).expect_err("it must not open")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_while_a_node_is_put_in_place_is_made_good_at_the_next_start() {
    let [home] = homes();
    home.found(SCHEMA).await.close().await;
    // What a crash between the two renames leaves.
    let building = home.path.join("building");
    fs::create_dir(&building).expect("a directory");
    fs::rename(home.path.join("store.redb"), building.join("store.redb")).expect("a rename");
    let error = Swarm::init(&home.path, InitOptions::default()).await.expect_err("a node is there");
    assert!(matches!(error, OpenError::AlreadyANode { .. }), "{error}");
    let node = home.up().await;
    exec(&node, "INSERT INTO t VALUES (1, 'a')").await;
    assert!(!building.exists());
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_another_node_is_refused() {
    let [home, other] = homes();
    for home in [&home, &other] {
        home.found(SCHEMA).await.close().await;
    }
    let (key, kept) = (home.path.join("key"), home.path.join("kept"));
    fs::rename(&key, &kept).expect("a rename");
    fs::copy(other.path.join("key"), &key).expect("a copy");
    let error = fails_to_open(&home.path).await;
    assert!(matches!(&error, OpenError::Key(text) if text.contains("no member")), "{error}");
    fs::rename(&kept, &key).expect("a rename");
    home.up().await.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_is_told_that_it_may_not_write() {
    let [home_a, home_b] = homes();
    let a = home_a.found(SCHEMA).await;
    let b = home_b.join_as(&a, "b", Role::Reader).await;
    let error =
        b.exec_and_commit("x", ["INSERT INTO t VALUES (1, 'b')"]).await.expect_err("a reader");
    assert!(matches!(error, ExecError::NotAWriter { role: "reader" }), "{error}");
    exec(&a, "INSERT INTO t VALUES (2, 'a')").await;
    in_step(&[&a, &b]).await;
    assert_eq!(rows(&b, "SELECT id FROM t").await, ["[2]"]);
    close([a, b]).await;
}
