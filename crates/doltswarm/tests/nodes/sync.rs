//! Writes travel, and everybody ends on the same commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use doltswarm::SwarmEvent;

use crate::support::{close, eventually, exec, homes, in_step, rows, wait};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_seen_everywhere() {
    let [a, b, c] = homes();
    let a = a.found(SCHEMA).await;
    let (b, c) = (b.join(&a, "b").await, c.join(&a, "c").await);
    in_step(&[&a, &b, &c]).await;
    let mut events = c.events();
    let commit = exec(&b, "INSERT INTO t VALUES (1, 10, 'from b')").await;
    let statuses = in_step(&[&a, &b, &c]).await;
    assert_eq!(statuses[0].heads, std::slice::from_ref(&commit));
    assert_eq!(statuses[0].main, commit, "one head needs no merge");
    for node in [&a, &b, &c] {
        assert_eq!(rows(node, "SELECT * FROM t").await, [r#"[1,10,"from b"]"#]);
    }
    loop {
        match events.next().await.expect("the node is open") {
            SwarmEvent::TablesChanged { tables, local, to, .. } => {
                assert_eq!((tables, local, to), (vec!["t".to_owned()], false, commit));
                break;
            }
            _ => continue,
        }
    }
    close([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_to_different_rows_and_cells_are_all_kept() {
    let [a, b, c] = homes();
    let a = a.found(SCHEMA).await;
    exec(&a, "INSERT INTO t VALUES (1, 1, 'x')").await;
    let (b, c) = (b.join(&a, "b").await, c.join(&a, "c").await);
    in_step(&[&a, &b, &c]).await;
    for node in [&a, &b, &c] {
        node.set_isolated(true).await;
    }
    exec(&a, "UPDATE t SET a = 2 WHERE id = 1").await;
    exec(&b, "UPDATE t SET b = 'y' WHERE id = 1").await;
    exec(&c, "INSERT INTO t VALUES (3, 3, 'c')").await;
    for node in [&a, &b, &c] {
        node.set_isolated(false).await;
    }
    let statuses = in_step(&[&a, &b, &c]).await;
    assert_eq!(statuses[0].heads.len(), 3);
    assert_eq!(statuses[0].conflicts.total, 0);
    for node in [&a, &b, &c] {
        assert_eq!(
            rows(node, "SELECT * FROM t ORDER BY id").await,
            [r#"[1,2,"y"]"#, r#"[3,3,"c"]"#]
        );
    }
    close([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_builds_on_a_main_of_several_heads_in_whatever_order_they_are_folded() {
    let [a, b] = homes();
    let a = a.found(SCHEMA).await;
    let b = b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    // The fold is by height; hashes are random, so in half of the rounds the two orders differ.
    for round in 0..6 {
        for node in [&a, &b] {
            node.set_isolated(true).await;
        }
        for n in 0..3 {
            let node = if n == 0 { &b } else { &a };
            exec(node, &format!("INSERT INTO t VALUES ({}, {n}, 'apart')", round * 10 + n)).await;
        }
        for node in [&a, &b] {
            node.set_isolated(false).await;
        }
        assert_eq!(in_step(&[&a, &b]).await[0].heads.len(), 2);
        exec(&b, &format!("INSERT INTO t VALUES ({}, 0, 'together')", round * 10 + 9)).await;
        assert_eq!(in_step(&[&a, &b]).await[0].heads.len(), 1);
    }
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_writes_at_once() {
    let [a, b, c] = homes();
    let a = a.found(SCHEMA).await;
    let (b, c) = (b.join(&a, "b").await, c.join(&a, "c").await);
    in_step(&[&a, &b, &c]).await;
    let mut writers = tokio::task::JoinSet::new();
    for (index, node) in [&a, &b, &c].into_iter().cloned().enumerate() {
        writers.spawn(async move {
            for n in 0..20 {
                let id = index * 1_000 + n;
                exec(&node, &format!("INSERT INTO t VALUES ({id}, {n}, 'w{index}')")).await;
            }
        });
    }
    writers.join_all().await;
    wait(&a).await;
    in_step(&[&a, &b, &c]).await;
    for node in [&a, &b, &c] {
        assert_eq!(rows(node, "SELECT count(*), count(DISTINCT id) FROM t").await, ["[60,60]"]);
    }
    close([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_work_arrives_on_a_node_whose_users_write_without_a_pause() {
    let [a, b] = homes();
    let a = a.found(SCHEMA).await;
    let b = b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 1..=3 {
        let (node, stop) = (a.clone(), Arc::clone(&stop));
        writers.spawn(async move {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let id = writer * 1_000_000 + count;
                exec(&node, &format!("INSERT INTO t VALUES ({id}, {count}, 'a')")).await;
                count += 1;
            }
            count
        });
    }
    for n in 0..3 {
        exec(&b, &format!("INSERT INTO t VALUES ({n}, 0, 'b')")).await;
        let sql = format!("SELECT count(*) FROM t WHERE id = {n}");
        eventually("b's row is in a's main", async || rows(&a, &sql).await == ["[1]"]).await;
    }
    stop.store(true, Ordering::Relaxed);
    let written: i32 = writers.join_all().await.into_iter().sum();
    in_step(&[&a, &b]).await;
    assert_eq!(rows(&b, "SELECT count(*) FROM t").await, [format!("[{}]", written + 3)]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn table_changes_are_told_to_callbacks_after_local_commits_and_pulls() {
    let [a, b] = homes();
    let a = a.found(SCHEMA).await;
    let b = b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let watches: Vec<_> = [&a, &b]
        .map(|node| {
            let tell = tell.clone();
            node.on_tables_changed(move |change| tell.send(change).expect("the test listens"))
        })
        .into();
    let commit = exec(&a, "INSERT INTO t VALUES (7, 7, 'seven')").await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let change = told.recv().await.expect("the callbacks live");
        assert_eq!((change.tables.as_slice(), &change.to), (&["t".to_owned()][..], &commit));
        eventually("the commit is on b", async || {
            b.diff(Some(&change.from), Some(&change.to), 10).await.is_ok()
        })
        .await;
        let diff = b.diff(Some(&change.from), Some(&change.to), 10).await.expect("a diff");
        assert_eq!(diff.tables[0].rows[0].change, "added");
        assert_eq!(diff.tables[0].rows[0].after["b"], "seven");
        seen.push(change.local);
    }
    seen.sort_unstable();
    assert_eq!(seen, [false, true]);
    drop(watches);
    close([a, b]).await;
}
