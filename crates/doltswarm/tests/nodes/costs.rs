//! What a commit costs the peers that receive it, in counts that do not depend on the machine.

use doltswarm::core::membership::Role;
use doltswarm::{InviteOptions, JoinOptions, JoinProgress, OpenOptions, Swarm, Ticket, Traffic};

use crate::support::{Home, close, exec, homes, in_step, loopback, rows};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)";

/// How many requests one fetch of the engine may make: it asks for its refs twice, and once for each
/// level of a tree.
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

/// Joins, and gives up as soon as more than `limit` bytes are here. Says how many were here at the end.
async fn join_up_to(home: &Home, ticket: &Ticket, limit: u64) -> (u64, Option<Swarm>) {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let progress = move |progress| {
        if let JoinProgress::Fetching { bytes, .. } = progress {
            let _ = told.send(bytes);
        }
    };
    let open = OpenOptions::online_at(loopback());
    let options = JoinOptions { name: "b".into(), open, ..home.join_options() };
    let (path, ticket) = (home.path.clone(), ticket.clone());
    let mut join =
        tokio::spawn(async move { Swarm::join(&path, &ticket, options, progress).await });
    let mut last = 0;
    loop {
        tokio::select! {
            biased;
            Some(bytes) = heard.recv() => {
                last = bytes;
                if bytes > limit {
                    join.abort();
                    assert!(join.await.is_err_and(|error| error.is_cancelled()), "cut too late");
                    return (last, None);
                }
            }
            joined = &mut join => {
                let swarm = joined.expect("the join did not panic").expect("the join");
                return (last, Some(swarm));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_that_is_cut_keeps_what_arrived() {
    let [a, b] = homes();
    let a = a.found("CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)").await;
    exec(
        &a,
        "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 24000)
         SELECT i, randomblob(1000) FROM n",
    )
    .await;
    let invite = InviteOptions { role: Role::Writer, ..Default::default() };
    let ticket = a.invite(invite).await.expect("a ticket");
    let staged = b.path.join("staging/chunks");
    let (mut before, mut cuts) = (0, 0);
    let b = loop {
        let (last, joined) = join_up_to(&b, &ticket, before + 1_100_000).await;
        if let Some(joined) = joined {
            assert!((24_000_000..30_000_000).contains(&last), "{last} bytes in the end");
            break joined;
        }
        // All that was here is kept, so as many joins as there are such steps come to the end.
        let kept = std::fs::metadata(&staged).expect("the staging").len();
        assert!(kept >= last && last > before, "{kept} bytes are kept of {last}, {before} before");
        (before, cuts) = (last, cuts + 1);
    };
    assert!((15..30).contains(&cuts), "{cuts} cuts");
    in_step(&[&a, &b]).await;
    let counts = "SELECT count(*), sum(length(b)) FROM t";
    assert_eq!(rows(&b, counts).await, ["[24000,24000000]"]);
    close([a, b]).await;
}
