//! What a commit costs the peers that receive it, in counts that do not depend on the machine.

use doltswarm::{Swarm, Traffic};

use crate::support::{close, exec, homes, in_step};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)";

/// How many requests one fetch of the engine may make: it asks for its refs twice, and once for
/// each level of a tree.
const REQUESTS_PER_FETCH_MAX: u64 = 12;

fn insert(row: usize) -> String {
    format!("INSERT INTO t VALUES ({row}, {row}, hex(randomblob(40)))")
}

/// One of the counts.
type Count = fn(&Traffic) -> u64;

async fn traffic(node: &Swarm) -> Traffic {
    node.status().await.expect("a status").traffic
}

/// What one commit of `writer` costs `follower`.
async fn cost(writer: &Swarm, follower: &Swarm, row: usize) -> Traffic {
    let before = traffic(follower).await;
    exec(writer, &insert(row)).await;
    in_step(&[writer, follower]).await;
    let after = traffic(follower).await;
    Traffic {
        transfer_calls: after.transfer_calls - before.transfer_calls,
        chunks_received: after.chunks_received - before.chunks_received,
        chunk_bytes_received: after.chunk_bytes_received - before.chunk_bytes_received,
        fetches: after.fetches - before.fetches,
        fetch_requests: after.fetch_requests - before.fetch_requests,
        ..Traffic::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hundredth_commit_costs_a_follower_as_much_as_the_second() {
    let [a, b] = homes();
    let on_a_server = a.server().is_some();
    let a = a.found(SCHEMA).await;
    let rows: Vec<String> = (0..2_000).map(|row| format!("({row}, {row}, 'row {row}')")).collect();
    exec(&a, &format!("INSERT INTO t VALUES {}", rows.join(", "))).await;
    let b = b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    let mut costs = Vec::new();
    for row in 2_000..2_100 {
        costs.push(cost(&a, &b, row).await);
    }
    let (early, late) = (&costs[1..11], &costs[90..]);
    let sum = |costs: &[Traffic], of: Count| costs.iter().map(of).sum::<u64>();
    let counts: [(&str, Count); 5] = [
        ("calls", |cost| cost.transfer_calls),
        ("chunk bytes", |cost| cost.chunk_bytes_received),
        ("chunks", |cost| cost.chunks_received),
        ("fetches", |cost| cost.fetches),
        ("gateway requests", |cost| cost.fetch_requests),
    ];
    for (what, of) in counts {
        let (first, last) = (sum(early, of), sum(late, of));
        assert!(last * 10 <= first * 11, "{what}: {first} for ten early commits, {last} for late");
    }
    for cost in &costs {
        assert!(cost.fetch_requests <= REQUESTS_PER_FETCH_MAX * cost.fetches, "{cost:?}");
    }
    assert_eq!(sum(&costs, |cost| cost.fetches), 100, "one commit, one fetch");
    assert!(
        on_a_server || sum(&costs, |cost| cost.fetch_requests) > 0,
        "the count is of something"
    );
    close([a, b]).await;
}
