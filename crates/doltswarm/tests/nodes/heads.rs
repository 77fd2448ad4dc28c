//! More heads than one message names: nodes open, commit, sync and take newcomers all the same.

use doltlite::{Connection, Value};
use doltswarm::core::commit::UserCommit;
use doltswarm::core::id::CommitHash;
use doltswarm::core::limits::{CONCURRENT_HEADS_MAX, HEADS_PER_MESSAGE_MAX};
use doltswarm::core::sign::sign_commit;
use doltswarm::identity::Identity;
use doltswarm::store::Store;

use crate::support::{Home, close, exec, homes, in_step, rows};

/// Adds commits beside each other on main to a node that is closed: what a program leaves that puts
/// main back after each of its commits. Returns their hashes.
fn crowd(home: &Home, count: usize) -> Vec<CommitHash> {
    let connection = Connection::open(home.path.join("database.db")).expect("the database opens");
    let one = |sql: &str| -> CommitHash {
        let row = connection.query_row(sql, &[]).expect("good SQL").expect("a row");
        row.get(0).and_then(Value::as_str).expect("a text").parse().expect("a hash")
    };
    let main = one("SELECT hash FROM dolt_branches WHERE name = 'main'");
    connection.execute_batch("SELECT dolt_checkout('-b', 'crowd')").expect("a branch");
    let heads: Vec<CommitHash> = (0..count)
        .map(|n| {
            let sql = format!("SELECT dolt_reset('--hard', '{main}'); INSERT INTO t VALUES ({n})");
            connection.execute_batch(&sql).expect("good SQL");
            one("SELECT dolt_commit('-A', '-m', 'by another program')")
        })
        .collect();
    connection.execute_batch("SELECT dolt_checkout('main')").expect("main");
    drop(connection);

    let (store, identity) =
        (Store::open(&home.path).expect("the store"), Identity::load(&home.path).expect("the key"));
    let swarm = store.founding().swarm;
    let commit = |hash: &CommitHash| UserCommit {
        hash: *hash,
        builds_on: vec![main],
        made_on: None,
        signer: identity.peer_id(),
    };
    let commits: Vec<_> = heads.iter().map(commit).collect();
    let sign = |hash| sign_commit(identity.signing_key(), &swarm, hash);
    let signed: Vec<_> = heads.iter().map(sign).collect();
    store.add_commits(&commits, &signed).expect("kept");
    heads
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_heads_than_a_message_names_stop_nobody() {
    const COUNT: usize = HEADS_PER_MESSAGE_MAX + 200;
    let homes = homes::<3>();
    let a = homes[0].found("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    let b = homes[1].join(&a, "b").await;
    in_step(&[&a, &b]).await;
    a.close().await;
    let heads = crowd(&homes[0], COUNT);

    // It opens, and the other one gets all.
    let a = homes[0].up().await;
    let statuses = in_step(&[&a, &b]).await;
    for status in &statuses {
        assert_eq!(status.heads.len(), COUNT);
        assert_eq!(status.set_aside.len(), COUNT - CONCURRENT_HEADS_MAX);
        assert!(status.parked.is_empty());
    }
    let count = format!("[{CONCURRENT_HEADS_MAX}]");
    assert_eq!(rows(&b, "SELECT count(*) FROM t").await, [count]);

    // Both commit; each commit closes the heads that its main included, and the next ones follow.
    exec(&a, "INSERT INTO t VALUES (1000001)").await;
    exec(&b, "INSERT INTO t VALUES (1000002)").await;
    in_step(&[&a, &b]).await;
    let sql = "SELECT count(*) FROM t WHERE id > 1000000";
    assert_eq!(rows(&a, sql).await, ["[2]"]);
    assert!(rows(&a, "SELECT count(*) FROM t").await != rows(&a, sql).await);

    // Both start again, and a newcomer joins.
    b.close().await;
    let b = homes[1].up().await;
    let c = homes[2].join(&a, "c").await;
    let statuses = in_step(&[&a, &b, &c]).await;
    let kept = statuses[2].heads.len() + statuses[2].set_aside.len();
    assert!(kept > HEADS_PER_MESSAGE_MAX / 2, "{kept}");
    assert_eq!(statuses[2].commits, statuses[0].commits);
    assert!(statuses[0].commits > heads.len() as u64);
    close([a, b, c]).await;
}
