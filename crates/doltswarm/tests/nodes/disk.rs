//! Whole nodes on a disk that is full: every error says so, nothing is half done, and with room
//! again they go on by themselves.

use doltswarm::{InitOptions, InviteOptions, JoinError, JoinOptions, Swarm};
use tempfile::TempDir;

use crate::small_disk::SmallDisk;
use crate::support::{Home, close, eventually, exec, homes, in_step, loopback, rows};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)";

/// Takes the room but for some KiB.
fn leave(disk: &SmallDisk, kib: u64) {
    disk.fill();
    let ballast = disk.path().join("ballast");
    let file = std::fs::OpenOptions::new().write(true).open(ballast).expect("the ballast");
    let size = file.metadata().expect("its size").len();
    file.set_len(size.saturating_sub(kib << 10)).expect("less ballast");
}

fn full(error: &impl std::fmt::Display) {
    assert!(error.to_string().contains("the disk is full"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_founded_whole_or_not_at_all() {
    let Some(disk) = SmallDisk::mount(2 << 10) else { return };
    let options = |name: &str| InitOptions { name: name.into(), ..Default::default() };
    let mut failed = 0;
    for kib in [0, 4, 8, 16, 32, 48, 60, 64, 68, 72] {
        let dir = disk.path().join(format!("node{kib}"));
        leave(&disk, kib);
        match Swarm::init(&dir, options("cramped")).await {
            Ok(node) => node.close().await,
            Err(error) => {
                failed += 1;
                full(&error);
                for name in ["database.db", "store.redb", "config.toml", "building"] {
                    assert!(!dir.join(name).exists(), "{name} with {kib} KiB");
                }
                disk.make_room();
                let node = Swarm::init(&dir, options("roomy")).await.expect("there is room");
                assert_eq!(node.status().await.expect("a status").name, "roomy");
                node.close().await;
            }
        }
        std::fs::remove_dir_all(&dir).expect("removed");
        let _ = std::fs::remove_file(disk.path().join("ballast"));
    }
    assert!(failed > 0, "the disk was never full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_goes_on_when_there_is_room_again() {
    let Some(disk) = SmallDisk::mount(8 << 10) else { return };
    let [home_a] = homes();
    let home_b = Home::on(TempDir::new_in(disk.path()).expect("a directory"), None);
    let a = home_a.found(SCHEMA).await;
    let b = home_b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    let before = b.status().await.expect("a status");
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) \
                INSERT INTO t (a) SELECT randomblob(1000) FROM n";
    for sql in [many, "INSERT INTO t (a) VALUES (randomblob(9000000))"] {
        full(&b.exec_and_commit("too much", [sql]).await.expect_err("there is no room"));
        let after = b.status().await.expect("a status");
        assert_eq!((&after.main, &after.dirty), (&before.main, &before.dirty));
        assert_eq!(rows(&b, "SELECT count(*) FROM t").await, ["[0]"]);
    }
    disk.fill();
    // One row may fit in what the file system rounded up.
    let some = "INSERT INTO t (a) VALUES (randomblob(100000))";
    full(&b.exec_and_commit("more than fits", [some]).await.expect_err("there is no room"));
    exec(&a, "INSERT INTO t (a) VALUES (randomblob(100000))").await;
    eventually("the status says that the disk is full", async || {
        let status = b.status().await.expect("a status");
        let problem = status.peers[0].problem.clone();
        problem.is_some_and(|problem| problem.contains("disk"))
    })
    .await;
    disk.make_room();
    in_step(&[&a, &b]).await;
    exec(&b, "INSERT INTO t (a) VALUES ('b')").await;
    in_step(&[&a, &b]).await;
    assert_eq!(rows(&b, "SELECT count(*) FROM t").await, ["[2]"]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_goes_on_when_there_is_room_again() {
    let Some(disk) = SmallDisk::mount(8 << 10) else { return };
    let [home_a] = homes();
    let a = home_a.found(SCHEMA).await;
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) \
                INSERT INTO t (a) SELECT randomblob(1000) FROM n";
    exec(&a, many).await;
    let ticket = a.invite(InviteOptions::default()).await.expect("a ticket");
    let dir = disk.path().join("node");
    for kib in [8, 128, 2_500] {
        leave(&disk, kib);
        let options = JoinOptions { bind: vec![loopback()], ..Default::default() };
        let error = Swarm::join(&dir, &ticket, options, |_| {}).await.map(|_| ());
        let error = error.expect_err("there is no room");
        assert!(matches!(error, JoinError::Open(_)), "{error:?}");
        full(&error);
        assert!(!dir.join("store.redb").exists() && !dir.join("database.db").exists());
        disk.make_room();
    }
    let options = JoinOptions { bind: vec![loopback()], ..Default::default() };
    let b = Swarm::join(&dir, &ticket, options, |_| {}).await.expect("there is room");
    assert_eq!(rows(&b, "SELECT count(*) FROM t").await, ["[2000]"]);
    close([a, b]).await;
}
