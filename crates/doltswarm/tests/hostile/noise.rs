//! Too much of everything: the honest stay reachable.

use doltswarm::core::id::CommitHash;
use doltswarm::core::limits::HEADS_PER_MESSAGE_MAX;
use doltswarm::core::message::Advert;

use crate::mallory::Mallory;
use crate::support::{close, eventually, exec, homes, in_step, rows};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)";

/// Hashes of nothing, sorted.
fn invented(round: u32, count: usize) -> Vec<CommitHash> {
    let hash = |number: usize| {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&(number as u32).to_be_bytes());
        bytes[4..8].copy_from_slice(&round.to_be_bytes());
        CommitHash::from_bytes(bytes)
    };
    (1..=count).map(hash).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_adverts_of_invented_heads_drown_nobody() {
    let [home_a, home_b, home_m] = homes();
    let a = home_a.found(SCHEMA).await;
    let b = home_b.join(&a, "b").await;
    let mallory = Mallory::join(home_m, &a).await;
    in_step(&[&a, &b]).await;
    mallory.say(&invented(0, HEADS_PER_MESSAGE_MAX), &[]);
    mallory.advertise(&a).await;
    let link = mallory.network.link(a.peer_id());
    let shouting = tokio::spawn(async move {
        for round in 1.. {
            let heads = invented(round, HEADS_PER_MESSAGE_MAX);
            // Whether it is taken or refused: the next one comes.
            let _ = link.advertise_head(&Advert::of_all(heads, Vec::new())).await;
        }
    });
    for id in 0..20 {
        let node = if id % 2 == 0 { &a } else { &b };
        exec(node, &format!("INSERT INTO t VALUES ({id}, 'honest')")).await;
    }
    for node in [&a, &b] {
        eventually("the honest are in step meanwhile", async || {
            rows(node, "SELECT count(*) FROM t").await == ["[20]"]
        })
        .await;
    }
    assert!(!shouting.is_finished());
    shouting.abort();
    eventually("both have one main", async || {
        a.status().await.expect("a status").main == b.status().await.expect("a status").main
    })
    .await;
    // And when it is quiet and says what is true, it is a peer like any other.
    let commit = mallory.commit("INSERT INTO t VALUES (900, 'honest again')");
    mallory.say(&[commit], &[mallory.signed(&commit)]);
    mallory.advertise(&a).await;
    eventually("it is heard", async || {
        rows(&b, "SELECT id FROM t WHERE id = 900").await == ["[900]"]
    })
    .await;
    mallory.network.close().await;
    close([a, b]).await;
}
