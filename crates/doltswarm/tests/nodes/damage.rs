//! A node whose files are not what it left behind: it says so, or mends itself, and loses nothing.

use std::fs;
use std::path::Path;

use doltswarm::core::membership::Role;
use doltswarm::{ExecError, InitOptions, OpenError, OpenOptions, Swarm};

use crate::support::{close, exec, homes, in_step, rows};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)";

async fn fails_to_open(dir: &Path) -> OpenError {
    Swarm::open(dir, OpenOptions::default()).await.map(|_| ()).expect_err("it must not open")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_the_database_is_brought_up_to_date_by_the_peers() {
    let [home_a, home_b] = homes();
    let a = home_a.found(SCHEMA).await;
    let b = home_b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    b.close().await;
    let (database, copy) = (home_b.path.join("database.db"), home_b.path.join("copy"));
    fs::copy(&database, &copy).expect("a copy");
    let b = home_b.up().await;
    exec(&a, "INSERT INTO t VALUES (1, 'a')").await;
    let by_b = exec(&b, "INSERT INTO t VALUES (2, 'b')").await;
    let before = in_step(&[&a, &b]).await;
    b.close().await;
    fs::copy(&copy, &database).expect("the older copy is back");

    // Alone the node is where the copy was, and works.
    let b = Swarm::open(&home_b.path, OpenOptions::default()).await.expect("it opens");
    assert_eq!(rows(&b, "SELECT count(*) FROM t").await, ["[0]"]);
    b.close().await;
    let b = home_b.up().await;
    let after = in_step(&[&a, &b]).await;
    assert_eq!(before[0].main, after[1].main);
    let log = b.log(10).await.expect("a log");
    let entry = log.iter().find(|entry| entry.commit == by_b).expect("it came back");
    assert_eq!(entry.signer, Some(b.peer_id().to_string()));
    exec(&b, "INSERT INTO t VALUES (3, 'b')").await;
    in_step(&[&a, &b]).await;
    close([a, b]).await;
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
async fn damaged_files_are_named_and_left_as_they_are() {
    let [home, other] = homes();
    for home in [&home, &other] {
        home.found(SCHEMA).await.close().await;
    }
    for name in ["database.db", "store.redb"] {
        let path = home.path.join(name);
        let whole = fs::read(&path).expect("the file");
        let mut spoiled = whole.clone();
        let third = spoiled.len() / 3;
        spoiled[third..2 * third].iter_mut().step_by(97).for_each(|byte| *byte ^= 0xff);
        let strange = fs::read(other.path.join(name)).expect("the other's file");
        for content in [b"".to_vec(), vec![0x5a; whole.len()], spoiled, strange] {
            fs::write(&path, &content).expect("written");
            let error = fails_to_open(&home.path).await.to_string();
            let names = ["database", "store", "swarm"].iter().any(|word| error.contains(word));
            assert!(names, "{name}: {error}");
            if name == "database.db" {
                assert_eq!(fs::read(&path).expect("the file"), content, "{error}");
            }
        }
        fs::write(&path, whole).expect("written");
        let node = Swarm::open(&home.path, OpenOptions::default()).await.expect("it opens again");
        node.close().await;
    }
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
