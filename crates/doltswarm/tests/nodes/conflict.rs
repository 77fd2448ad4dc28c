//! Conflicts are data, the same on every peer, and a resolution stays.

use doltswarm::core::commit::ConflictPolicy;
use doltswarm::{InitOptions, Swarm};

use crate::support::{close, exec, homes, in_step, rows};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER);
                      INSERT INTO t VALUES (1, 0)";

async fn both(a: &Swarm, b: &Swarm, on_a: &str, on_b: &str) {
    a.set_isolated(true).await;
    exec(a, on_a).await;
    exec(b, on_b).await;
    a.set_isolated(false).await;
    in_step(&[a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_cell_on_two_peers_the_later_wins_and_the_loser_is_recorded() {
    let [a, b] = homes();
    let a = a.found(SCHEMA).await;
    let b = b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    both(&a, &b, "UPDATE t SET a = 1 WHERE id = 1", "UPDATE t SET a = 2 WHERE id = 1").await;
    let conflicts = a.conflicts(false).await.expect("conflicts");
    assert_eq!(conflicts, b.conflicts(false).await.expect("conflicts"));
    let [conflict] = &conflicts[..] else { panic!("one conflict: {conflicts:?}") };
    let (winner, loser) = (&conflict.winner["a"], &conflict.loser["a"]);
    assert_eq!((conflict.table_name.as_str(), conflict.state.as_str()), ("t", "open"));
    assert_eq!(conflict.base["a"], 0);
    let mut sides = [winner.clone(), loser.clone()].map(|value| value.as_i64());
    sides.sort_unstable();
    assert_eq!(sides, [Some(1), Some(2)]);
    assert_eq!(rows(&a, "SELECT a FROM t").await, [format!("[{winner}]")]);

    // A person takes the loser's version; that is an ordinary commit, and it stays.
    let id = &conflict.id;
    let resolve = format!(
        "UPDATE t SET a = {loser} WHERE id = 1; \
         UPDATE swarm_conflicts SET state = 'resolved' WHERE id = '{id}'"
    );
    exec(&b, &resolve).await;
    let statuses = in_step(&[&a, &b]).await;
    assert_eq!((statuses[0].conflicts.open, statuses[0].conflicts.total), (0, 1));
    assert_eq!(rows(&a, "SELECT a FROM t").await, [format!("[{loser}]")]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_that_clash_are_settled_and_nothing_parks() {
    let [a, b] = homes();
    let a = a.found(SCHEMA).await;
    let b = b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    both(&a, &b, "ALTER TABLE t ADD COLUMN x INTEGER", "ALTER TABLE t ADD COLUMN x TEXT").await;
    let statuses = in_step(&[&a, &b]).await;
    for status in &statuses {
        assert_eq!((status.parked.len(), status.conflicts.open), (0, 1));
    }
    let conflicts = a.conflicts(false).await.expect("conflicts");
    assert_eq!((conflicts[0].kind.as_str(), conflicts[0].table_name.as_str()), ("schema", "t"));
    // Whichever of the two types stands.
    exec(&a, "INSERT INTO t (id, a, x) VALUES (5, 5, 7)").await;
    in_step(&[&a, &b]).await;
    assert_eq!(rows(&b, "SELECT a FROM t WHERE id = 5").await, ["[5]"]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_policy_park_a_conflict_parks_the_head() {
    let [a, b] = homes();
    let options = InitOptions { policy: ConflictPolicy::Park, ..Default::default() };
    let a = a.found_with(SCHEMA, options).await;
    let b = b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    both(&a, &b, "UPDATE t SET a = 1 WHERE id = 1", "UPDATE t SET a = 2 WHERE id = 1").await;
    let statuses = in_step(&[&a, &b]).await;
    assert_eq!((statuses[0].parked.len(), statuses[0].conflicts.total), (1, 0));
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_collection_keeps_what_is_parked_and_what_is_merged_again() {
    let [a, b] = homes();
    let options = InitOptions { policy: ConflictPolicy::Park, ..Default::default() };
    let a = a.found_with(SCHEMA, options).await;
    let b = b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    both(&a, &b, "UPDATE t SET a = 1 WHERE id = 1", "UPDATE t SET a = 2 WHERE id = 1").await;
    both(&a, &b, "INSERT INTO t (id, a) VALUES (7, 7)", "INSERT INTO t (id, a) VALUES (8, 8)")
        .await;
    let before = in_step(&[&a, &b]).await;
    for node in [&a, &b] {
        node.collect_garbage().await.expect("nothing is under way");
    }
    let after = in_step(&[&a, &b]).await;
    assert_eq!((&before[0].main, &before[0].parked), (&after[0].main, &after[0].parked));
    both(&a, &b, "UPDATE t SET a = 70 WHERE id = 7", "UPDATE t SET a = 80 WHERE id = 8").await;
    assert_eq!(rows(&b, "SELECT a FROM t WHERE id > 1 ORDER BY id").await, ["[70]", "[80]"]);
    close([a, b]).await;
}
