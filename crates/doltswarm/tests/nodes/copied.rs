//! A node's directory that was copied, with both copies running: people are told on all sides.

use std::fs;
use std::path::Path;

use doltswarm::{OpenOptions, Swarm, SwarmEvent};

use crate::support::{close, eventually, exec, homes, in_step, loopback};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
}

async fn says_copied(node: &Swarm) -> bool {
    let status = node.status().await.expect("a status");
    status
        .peers
        .iter()
        .any(|peer| peer.problem.as_deref().is_some_and(|p| p.contains("was copied")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_node_is_noticed_and_backs_off() {
    let homes = homes::<2>();
    let a = homes[0].found("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    let b = homes[1].join(&a, "b").await;
    in_step(&[&a, &b]).await;
    b.close().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    copy(&homes[1].path, dir.path());
    let b = homes[1].up().await;
    let options = OpenOptions::online_at(loopback());
    let copied = Swarm::open(dir.path(), options).await.expect("the copy opens");
    eventually("all three say so", async || {
        says_copied(&a).await && says_copied(&b).await && says_copied(&copied).await
    })
    .await;
    // From then on they come ever more seldom, rather than seven times a second.
    let mut events = a.events();
    let counting = async {
        let mut count = 0;
        loop {
            if let Some(SwarmEvent::PeerConnected { .. }) = events.next().await {
                count += 1;
                assert!(count < 5, "connected {count} times");
            }
        }
    };
    let _: Result<(), _> = tokio::time::timeout(std::time::Duration::from_secs(5), counting).await;
    // One of them alone is taken again.
    copied.close().await;
    let one = exec(&a, "INSERT INTO t VALUES (1)").await;
    eventually("the other one has the commit", async || {
        b.status().await.expect("a status").main == one
    })
    .await;
    close([a, b]).await;
}
