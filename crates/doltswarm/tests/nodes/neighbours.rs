//! More nodes than are all linked to each other.

use doltswarm::WaitFor;
use doltswarm::core::limits::{HUB_NEIGHBOURS_MAX, NEIGHBOURS_MAX};
use doltswarm::core::node::hubs::is_hub;

use crate::support::{Home, LIMIT, close, eventually, exec, rows};

/// More than `NEIGHBOURS_MAX` and the node itself.
const NODES: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dozen_nodes_have_few_links_and_one_main() {
    let homes: Vec<Home> = (0..NODES).map(|_| Home::new()).collect();
    let mut nodes = vec![homes[0].found("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)").await];
    for (number, home) in homes.iter().enumerate().skip(1) {
        nodes.push(home.join(&nodes[0], &format!("n{number}")).await);
    }
    eventually("links are few, and nobody is alone", async || {
        for node in &nodes {
            let peers = node.peers().await.expect("a status");
            let links = peers.iter().filter(|peer| peer.connected).count();
            let most = if is_hub(&node.peer_id()) { HUB_NEIGHBOURS_MAX } else { NEIGHBOURS_MAX };
            if !(1..=most).contains(&links) || peers.len() != NODES - 1 {
                return false;
            }
        }
        true
    })
    .await;
    let mut commits = Vec::new();
    for (number, node) in nodes.iter().enumerate().step_by(3) {
        commits.push(exec(node, &format!("INSERT INTO t VALUES ({number}, 'x')")).await);
    }
    for commit in &commits {
        // A node has a word on every other one, neighbour or not.
        let what = WaitFor { commit: Some(commit.clone()), peers: Some(NODES) };
        let report = nodes[NODES - 1].wait(what, LIMIT).await.expect("a wait");
        assert!(report.reached && report.peers == NODES, "{report:?}");
    }
    eventually("all have one main", async || {
        let mut mains = Vec::new();
        for node in &nodes {
            let status = node.status().await.expect("a status");
            mains.push((status.main, status.state, status.in_sync));
        }
        mains.iter().all(|main| *main == mains[0] && main.2)
    })
    .await;
    let found = rows(&nodes[1], "SELECT count(*) FROM t").await;
    assert_eq!(found, [format!("[{}]", commits.len())]);
    // In step with all of them, by their own words.
    let what = WaitFor { commit: None, peers: Some(NODES) };
    let report = nodes[5].wait(what, LIMIT).await.expect("a wait");
    let peers = nodes[5].peers().await.expect("a status");
    assert!(report.reached && report.peers == NODES, "{report:?}: {peers:#?}");
    close(nodes).await;
}
