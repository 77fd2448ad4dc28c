//! What a commit costs the peers that receive it, in counts that do not depend on the machine.

use doltswarm::core::commit::ConflictPolicy;
use doltswarm::{InitOptions, Swarm, Traffic};

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

/// How many merges nodes have asked their engines for.
async fn merges(nodes: [&Swarm; 2]) -> [u64; 2] {
    [traffic(nodes[0]).await.merges, traffic(nodes[1]).await.merges]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_heads_cost_a_commit_no_merge() {
    const HEADS: usize = 8;
    let [a, b] = homes();
    if a.server().is_some() {
        // There each is tried again.
        return;
    }
    let schema = format!("{SCHEMA}; CREATE TABLE u (id INTEGER PRIMARY KEY); {}", insert(1));
    let options = InitOptions { policy: ConflictPolicy::Park, ..Default::default() };
    let a = a.found_with(&schema, options).await;
    let b = b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    for round in 0..HEADS {
        a.set_isolated(true).await;
        exec(&b, &format!("UPDATE t SET a = {} WHERE id = 1", 100 + round)).await;
        // The higher one stays.
        exec(&a, &format!("UPDATE t SET a = {} WHERE id = 1", 200 + round)).await;
        exec(&a, &insert(2 + round)).await;
        a.set_isolated(false).await;
        in_step(&[&a, &b]).await;
    }
    assert_eq!(a.status().await.expect("a status").parked.len(), HEADS);
    let before = merges([&a, &b]).await;
    assert!(before.iter().all(|merges| *merges >= HEADS as u64), "{before:?}");
    for row in 0..5 {
        exec(&a, &format!("INSERT INTO u VALUES ({row})")).await;
        in_step(&[&a, &b]).await;
    }
    assert_eq!(merges([&a, &b]).await, before);
    // A commit that may make them agree is merged.
    exec(&a, "UPDATE t SET a = 100 WHERE id = 1").await;
    let statuses = in_step(&[&a, &b]).await;
    assert_eq!(statuses[0].parked.len(), HEADS - 1);
    close([a, b]).await;
}
