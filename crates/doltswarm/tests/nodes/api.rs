//! What a program that embeds the library relies on.

use doltswarm::core::commit::EngineKind;
use doltswarm::core::sign::{parse_tag_message, verify_commit};
use doltswarm::{EngineError, ExecError, Statement, Value};

use crate::support::{Home, close, eventually, exec, homes, in_step, rows};

const SCHEMA: &str = "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
                      INSERT INTO account VALUES (1, 100), (2, 0)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_reads_its_own_writes_and_is_one_commit() {
    let home = Home::new();
    let node = home.found(SCHEMA).await;
    let (report, left) = node
        .transaction("move 30", |transaction| {
            let sql = "UPDATE account SET balance = balance - ? WHERE id = ?";
            transaction.execute(&Statement::new(sql, vec![30.into(), 1.into()]))?;
            transaction.execute(&Statement::new(sql, vec![(-30).into(), 2.into()]))?;
            let rows = transaction.query("SELECT balance FROM account WHERE id = 1", &[], 1)?.rows;
            Ok(rows[0][0].clone())
        })
        .await
        .expect("the transaction commits");
    assert_eq!((left, report.rows_affected), (Value::Integer(70), 2));
    assert_eq!(node.status().await.expect("a status").main, report.commit.expect("a commit"));
    assert_eq!(rows(&node, "SELECT balance FROM account ORDER BY id").await, ["[70]", "[30]"]);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_fails_leaves_nothing() {
    let home = Home::new();
    let node = home.found(SCHEMA).await;
    let before = node.status().await.expect("a status");
    let error = node
        .transaction("spend too much", |transaction| {
            transaction.execute(&"UPDATE account SET balance = -1 WHERE id = 1".into())?;
            Err::<(), _>(EngineError::Rejected { message: "not enough".into() })
        })
        .await
        .expect_err("the work refuses");
    assert!(matches!(error, ExecError::Engine(EngineError::Rejected { .. })), "{error}");
    // A statement that ends the engine's transaction must not commit the rest: here one that fails
    // and whose error is swallowed, there one that commits before the work refuses.
    let on_server = home.database.is_some();
    let ends_it = match on_server {
        true => "CREATE TABLE more (id INTEGER PRIMARY KEY)",
        false => "INSERT OR ROLLBACK INTO account VALUES (1, 1)",
    };
    let swallowed = node
        .transaction("sneak out", move |transaction| {
            let _ = transaction.execute(&"ROLLBACK".into());
            let ended = transaction.execute(&ends_it.into());
            assert_eq!(ended.is_ok(), on_server, "{ended:?}");
            transaction.execute(&"UPDATE account SET balance = 5 WHERE id = 1".into())?;
            Err::<(), _>(EngineError::Rejected { message: "not enough".into() })
        })
        .await;
    assert!(swallowed.is_err(), "{swallowed:?}");
    let after = node.status().await.expect("a status");
    assert_eq!((before.main, before.state, before.dirty), (after.main, after.state, after.dirty));
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_signatures_are_tags_with_the_public_key_in_the_message() {
    let [a_home, b] = homes();
    let a = a_home.found(SCHEMA).await;
    let b = b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    let commit = exec(&a, "INSERT INTO account VALUES (3, 3)").await;
    in_step(&[&a, &b]).await;
    let swarm = a.swarm_id();
    for node in [&a, &b] {
        eventually("the tag of the newest commit", async || {
            let sql = "SELECT message FROM dolt_tags WHERE tag_name = ?";
            let name = Value::Text(format!("sig/{commit}"));
            let found = node.query(sql, vec![name]).await.expect("a good query").rows;
            let Some([Value::Text(message)]) = found.first().map(Vec::as_slice) else {
                return false;
            };
            let engine =
                if a_home.database.is_some() { EngineKind::Dolt } else { EngineKind::DoltLite };
            let hash = engine.read_hash(&commit).expect("a hash");
            let signed = parse_tag_message(hash, message).expect("a signature");
            assert_eq!(signed.signer, a.peer_id());
            verify_commit(&swarm, &signed).expect("a good signature");
            true
        })
        .await;
    }
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_call_leaves_it_done_or_not_begun() {
    let home = Home::new();
    let node = home.found(SCHEMA).await;
    for id in 10..60 {
        let sql = format!("INSERT INTO account VALUES ({id}, 0)");
        let call = node.exec_and_commit("dropped", [sql]);
        let _ = tokio::time::timeout(std::time::Duration::from_micros(200), call).await;
    }
    exec(&node, "INSERT INTO account VALUES (99, 0)").await;
    let status = node.status().await.expect("a status");
    let count = rows(&node, "SELECT count(*) FROM account WHERE id >= 10").await;
    // The founding and the schema, and one commit for each row that is there.
    assert_eq!(count, [format!("[{}]", status.commits - 2)]);
    assert!(status.dirty.is_empty());
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_query_sees_commits_from_here_and_from_peers() {
    let [a_home, b_home] = homes();
    let a = a_home.found(SCHEMA).await;
    let b = b_home.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    let mut live = b.live_query("SELECT id, balance FROM account ORDER BY id", Vec::new());
    let row = |id: i64, balance: i64| vec![Value::Integer(id), Value::Integer(balance)];
    let first = live.next().await.expect("the query runs").expect("the node is open");
    assert_eq!(first.added, [row(1, 100), row(2, 0)]);
    assert_eq!(first.columns, ["id", "balance"]);
    exec(&a, "UPDATE account SET balance = 70 WHERE id = 1").await;
    let pulled = live.next().await.expect("the query runs").expect("the node is open");
    assert_eq!(pulled.changed, [(row(1, 100), row(1, 70))]);
    assert!(pulled.added.is_empty() && pulled.removed.is_empty(), "{pulled:?}");
    exec(&b, "INSERT INTO account VALUES (3, 1)").await;
    let own = live.next().await.expect("the query runs").expect("the node is open");
    assert_eq!((own.added, own.changed.len(), own.removed.len()), (vec![row(3, 1)], 0, 0));
    // What is wrong at one commit may be right at the next.
    exec(&b, "ALTER TABLE account RENAME TO accounts").await;
    live.next().await.expect_err("the table is gone");
    exec(&b, "ALTER TABLE accounts RENAME TO account").await;
    exec(&b, "DELETE FROM account WHERE id = 3").await;
    let gone = live.next().await.expect("the query runs").expect("the node is open");
    assert_eq!(gone.removed, [row(3, 1)]);
    // Both end with the node, although the query has a clone of it.
    let (mut events, late) = (b.events(), b.clone());
    close([a, b]).await;
    let ends = async {
        while events.next().await.is_some() {}
        assert!(live.next().await.expect("the end is no error").is_none());
        assert!(late.events().next().await.is_none());
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), ends).await.expect("they end");
}
