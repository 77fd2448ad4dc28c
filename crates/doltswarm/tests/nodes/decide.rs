//! What a person decides: which version stands, what becomes of a parked head, and how commits are
//! named.

use doltswarm::core::commit::ConflictPolicy;
use doltswarm::{
    Closing, ConflictSelection, EngineError, ExecError, InitOptions, Keep, QueryError, Statement,
    Swarm, Value,
};

use crate::support::{Home, close, exec, homes, in_step, rows};

/// A node `b` whose writes win, because they are higher than those of `a`, made apart from them.
async fn apart(a: &Swarm, b: &Swarm, on_a: Vec<Statement>, on_b: Vec<Statement>) {
    a.set_isolated(true).await;
    a.exec_and_commit("on a", on_a).await.expect("a good write");
    exec(b, "UPDATE clock SET ticks = ticks + 1").await;
    b.exec_and_commit("on b", on_b).await.expect("a good write");
    a.set_isolated(false).await;
    in_step(&[a, b]).await;
}

async fn pair(homes: &[Home; 2], schema: &str, policy: ConflictPolicy) -> (Swarm, Swarm) {
    let clock = "CREATE TABLE clock (id INTEGER PRIMARY KEY, ticks INTEGER);
                 INSERT INTO clock VALUES (1, 0);";
    let options = InitOptions { policy, name: "a".into(), ..Default::default() };
    let a = homes[0].found_with(&format!("{clock} {schema}"), options).await;
    let b = homes[1].join(&a, "b").await;
    in_step(&[&a, &b]).await;
    (a, b)
}

fn sql(texts: &[&str]) -> Vec<Statement> {
    texts.iter().map(|text| Statement::from(*text)).collect()
}

fn all() -> ConflictSelection {
    ConflictSelection::Open { table: None }
}

async fn refusal(node: &Swarm, which: ConflictSelection, keep: Keep) -> String {
    let before = node.status().await.expect("a status").main;
    let error = node.resolve_conflicts(which, keep, "resolve").await.expect_err("a refusal");
    assert!(matches!(error, ExecError::Engine(EngineError::Rejected { .. })), "{error:?}");
    assert_eq!(node.status().await.expect("a status").main, before);
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_loser_comes_back_exactly() {
    let homes = homes();
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB, n BIGINT, r REAL, s TEXT);
                  INSERT INTO t VALUES (1, NULL, 0, 0.0, '');
                  INSERT INTO t VALUES (2, NULL, 0, 0.0, '');
                  INSERT INTO t VALUES (3, NULL, 0, 0.0, '');";
    let (a, b) = pair(&homes, schema, ConflictPolicy::Settle).await;
    let set = "UPDATE t SET b = ?, n = ?, r = ?, s = ? WHERE id = ?";
    let text = "it's \"quoted\"; é";
    let values: Vec<Value> = vec![
        Value::Blob(vec![0, 255, 39]),
        i64::MIN.into(),
        Value::Real(0.1 + 0.2),
        text.into(),
        1.into(),
    ];
    let on_a = vec![
        Statement::new(set, values.clone()),
        "UPDATE t SET b = NULL, n = 9007199254740993, s = NULL WHERE id = 2".into(),
        "DELETE FROM t WHERE id = 3".into(),
    ];
    let on_b = sql(&[
        "UPDATE t SET b = x'01', n = 1, r = 1.0, s = 'b' WHERE id = 1",
        "UPDATE t SET b = x'02', n = 2, s = 'b' WHERE id = 2",
        "UPDATE t SET n = 3 WHERE id = 3",
    ]);
    apart(&a, &b, on_a, on_b).await;
    assert_eq!(rows(&a, "SELECT n FROM t ORDER BY id").await, ["[1]", "[2]", "[3]"]);
    let before = a.status().await.expect("a status");
    assert_eq!(before.conflicts.open, 3);

    let report = a.resolve_conflicts(all(), Keep::Loser, "ours").await.expect("resolved");
    assert_eq!(report.resolved.len(), 3);
    let read = a.query("SELECT b, n, r, s, id FROM t ORDER BY id", vec![]).await.expect("rows");
    assert_eq!(read.rows.len(), 2, "a deletion lost and is kept: {read:?}");
    assert_eq!(read.rows[0], values);
    let kept: [Value; 4] = [Value::Null, 9_007_199_254_740_993.into(), 0.0.into(), Value::Null];
    assert_eq!(read.rows[1][..4], kept);
    let statuses = in_step(&[&a, &b]).await;
    assert_eq!((statuses[1].conflicts.open, statuses[1].conflicts.total), (0, 3));
    // One commit for all of it.
    assert_eq!(statuses[0].commits, before.commits + 1);
    let nothing = b.resolve_conflicts(all(), Keep::Winner, "none").await.expect("nothing to do");
    assert_eq!((nothing.commit, nothing.resolved.len()), (None, 0));
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_come_back_from_the_history() {
    let homes = homes();
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB, s TEXT);
                  INSERT INTO t VALUES (1, NULL, '');
                  INSERT INTO t VALUES (2, NULL, '');";
    let (a, b) = pair(&homes, schema, ConflictPolicy::Settle).await;
    let set = "UPDATE t SET b = ?, s = ? WHERE id = ?";
    let blob = Value::Blob((0..9_000).map(|n| (n % 251) as u8).collect());
    let text = Value::Text("é".repeat(3_000));
    // Of the same length, so that the hash has to tell them apart.
    let other = Value::Blob(vec![7; 9_000]);
    let on_a = vec![
        Statement::new(set, vec![other.clone(), "".into(), 1.into()]),
        Statement::new(set, vec![blob.clone(), text.clone(), 2.into()]),
    ];
    a.exec_and_commit("before", on_a.clone()).await.expect("a good write");
    in_step(&[&a, &b]).await;
    let on_a = vec![Statement::new(set, vec![blob.clone(), text.clone(), 1.into()])];
    let on_b = sql(&["UPDATE t SET b = x'01', s = 'b' WHERE id = 1"]);
    apart(&a, &b, on_a, on_b).await;

    let conflicts = a.conflicts(false).await.expect("conflicts");
    let [conflict] = &conflicts[..] else { panic!("{conflicts:?}") };
    assert_eq!(conflict.loser["b"]["bytes"], 9_000);
    assert_eq!(conflict.loser["s"]["bytes"], 6_000);
    let shown = a.conflict_values(conflict.clone()).await.expect("values");
    assert_eq!(shown.loser["b"], blob.to_json());
    assert_eq!(shown.loser["s"], text.to_json());
    assert_eq!(shown.base["b"], other.to_json());

    a.resolve_conflicts(all(), Keep::Loser, "ours").await.expect("resolved");
    let read = a.query("SELECT b, s FROM t ORDER BY id", vec![]).await.expect("rows").rows;
    assert_eq!(read, [[blob.clone(), text.clone()], [blob, text]]);
    in_step(&[&a, &b]).await;
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_conflict_is_set_or_kept_by_a_prefix_of_its_id() {
    let homes = homes();
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, y TEXT);
                  INSERT INTO t VALUES (1, '', ''), (2, '', ''), (3, '', '');";
    let (a, b) = pair(&homes, schema, ConflictPolicy::Settle).await;
    let on_a = sql(&[
        "UPDATE t SET x = 'a' WHERE id = 1",
        "UPDATE t SET x = 'a', y = 'a' WHERE id = 2",
        "DELETE FROM t WHERE id = 3",
    ]);
    let on_b = sql(&["UPDATE t SET x = 'b' WHERE id <> 2", "DELETE FROM t WHERE id = 2"]);
    apart(&a, &b, on_a, on_b).await;
    let conflicts = a.conflicts(false).await.expect("conflicts");
    assert_eq!(conflicts.len(), 3, "{conflicts:?}");
    let of = |id: i64| {
        let found = conflicts.iter().find(|conflict| conflict.row_key["id"] == id);
        ConflictSelection::Ids(vec![found.expect("a conflict of this row").id[..12].to_owned()])
    };
    let both = refusal(&a, of(1), Keep::Both).await;
    assert!(both.contains("room for one row"), "{both}");
    let gone = refusal(&a, of(1), Keep::Set(vec![("z".into(), 1.into())])).await;
    assert!(gone.contains("no column `z`"), "{gone}");
    let key = refusal(&a, of(1), Keep::Set(vec![("id".into(), 9.into())])).await;
    assert!(key.contains("primary key"), "{key}");
    let deletion = refusal(&a, of(3), Keep::Both).await;
    assert!(deletion.contains("a deletion lost"), "{deletion}");
    let unknown = ConflictSelection::Ids(vec!["no such".into()]);
    assert!(refusal(&a, unknown, Keep::Winner).await.contains("there is no conflict `no such`"));
    let any = ConflictSelection::Ids(vec![String::new()]);
    assert!(refusal(&a, any, Keep::Winner).await.contains("3 conflicts begin with"));

    let set = Keep::Set(vec![("x".into(), "ours and theirs".into())]);
    a.resolve_conflicts(of(1), set.clone(), "both of us").await.expect("resolved");
    // The row that theirs deleted is put back as it was in the version that lost.
    a.resolve_conflicts(of(2), set, "keep it after all").await.expect("resolved");
    a.resolve_conflicts(of(3), Keep::Winner, "it stays").await.expect("resolved");
    let expected =
        ["[1,\"ours and theirs\",\"\"]", "[2,\"ours and theirs\",\"a\"]", "[3,\"b\",\"\"]"];
    assert_eq!(rows(&a, "SELECT * FROM t ORDER BY id").await, expected);
    let again = refusal(&a, of(1), Keep::Loser).await;
    assert!(again.contains("is resolved already"), "{again}");
    assert_eq!(in_step(&[&a, &b]).await[1].conflicts.open, 0);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_refer_to_each_other_come_back_in_any_order() {
    let homes = homes();
    let schema = "CREATE TABLE p (id INTEGER PRIMARY KEY, v TEXT);
                  CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER, v TEXT,
                                  FOREIGN KEY (p) REFERENCES p (id));
                  INSERT INTO p VALUES (1, ''), (2, '');
                  INSERT INTO c VALUES (1, 1, ''), (2, 2, '');";
    let (a, b) = pair(&homes, schema, ConflictPolicy::Settle).await;
    let on_a = sql(&["UPDATE p SET v = 'a'", "UPDATE c SET v = 'a'"]);
    apart(&a, &b, on_a, sql(&["DELETE FROM c", "DELETE FROM p"])).await;
    let parents = ConflictSelection::Open { table: Some("c".into()) };
    let why = refusal(&a, parents, Keep::Loser).await;
    assert!(why.starts_with("conflict "), "{why}");
    let report = a.resolve_conflicts(all(), Keep::Loser, "back").await.expect("resolved");
    assert_eq!(report.resolved.len(), 4);
    assert_eq!(
        rows(&a, "SELECT id, p, v FROM c ORDER BY id").await,
        ["[1,1,\"a\"]", "[2,2,\"a\"]"]
    );
    exec(&a, "DROP TABLE c").await;
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_table_leaves_only_the_winner_to_keep() {
    let homes = homes();
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT); INSERT INTO t VALUES (1, '');";
    let (a, b) = pair(&homes, schema, ConflictPolicy::Settle).await;
    apart(&a, &b, sql(&["UPDATE t SET x = 'a'"]), sql(&["UPDATE t SET x = 'b'"])).await;
    exec(&a, "DROP TABLE t").await;
    let why = refusal(&a, all(), Keep::Loser).await;
    assert!(why.contains("there is no table `t` any more"), "{why}");
    a.resolve_conflicts(all(), Keep::Winner, "done with").await.expect("resolved");
    assert_eq!(in_step(&[&a, &b]).await[0].conflicts.open, 0);
    close([a, b]).await;
}

async fn parked_head(a: &Swarm, b: &Swarm) -> String {
    apart(a, b, sql(&["UPDATE t SET x = 'a'"]), sql(&["UPDATE t SET x = 'b', y = 'b'"])).await;
    let parked = a.parked().await.expect("parked heads");
    assert_eq!(parked.len(), 1, "{parked:?}");
    parked[0].head.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_head_is_closed_on_every_peer_and_main_keeps_its_tables() {
    let homes = homes();
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, y TEXT);
                  INSERT INTO t VALUES (1, '', '');";
    let (a, b) = pair(&homes, schema, ConflictPolicy::Park).await;
    let head = parked_head(&a, &b).await;
    let before = a.status().await.expect("a status");
    let unknown = a.close_head(&before.main, Closing::Drop, "not this").await;
    assert!(matches!(unknown, Err(ExecError::Invalid(_))), "{unknown:?}");
    let report = a.close_head(&head[..8], Closing::Drop, "not this way").await.expect("closed");
    let statuses = in_step(&[&a, &b]).await;
    for status in &statuses {
        assert_eq!(status.parked, []);
        assert_eq!(status.heads, [report.commit.clone().expect("a commit")]);
        assert_eq!((&status.main, &status.state), (&report.main, &before.state));
    }
    let newest = &b.log(1).await.expect("a log")[0];
    assert_eq!((newest.kind.as_str(), newest.message.as_str()), ("user", "not this way"));
    assert_eq!(newest.parents, [before.main, head]);
    exec(&b, "UPDATE t SET x = 'after'").await;
    in_step(&[&a, &b]).await;
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taken_head_comes_into_main_and_its_versions_stand() {
    let homes = homes();
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, y TEXT);
                  INSERT INTO t VALUES (1, '', '');";
    let (a, b) = pair(&homes, schema, ConflictPolicy::Park).await;
    let head = parked_head(&a, &b).await;
    // Something that only main has stays.
    exec(&b, "INSERT INTO t VALUES (2, 'main', '')").await;
    let main = in_step(&[&a, &b]).await[0].main.clone();
    let theirs = rows(&a, "SELECT x, y FROM t WHERE id = 1").await;
    a.close_head(&head, Closing::Take, "their way").await.expect("closed");
    let statuses = in_step(&[&a, &b]).await;
    assert_eq!((statuses[1].parked.len(), statuses[1].conflicts.open), (0, 1));
    let taken = rows(&b, "SELECT x, y FROM t WHERE id = 1").await;
    assert_ne!(taken, theirs);
    assert_eq!(rows(&b, "SELECT x FROM t WHERE id = 2").await, ["[\"main\"]"]);
    assert_eq!(b.log(1).await.expect("a log")[0].parents, [main, head]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_named_by_prefixes_and_steps() {
    let home = Home::new();
    let node = home.found("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    let mut made = Vec::new();
    for id in 0..4 {
        made.push(exec(&node, &format!("INSERT INTO t VALUES ({id})")).await);
    }
    made.reverse();
    for (back, commit) in made.iter().enumerate() {
        for name in [format!("main~{back}"), format!("HEAD~{back}"), commit[..12].to_owned()] {
            assert_eq!(node.resolve_commit(&name).await.expect("a commit"), *commit, "{name}");
        }
    }
    let name = format!("{}^~1", &made[0][..10]);
    assert_eq!(node.resolve_commit(&name).await.expect("a commit"), made[2]);
    let diff = node.diff(Some("main~2"), Some("HEAD"), 10).await.expect("a difference");
    assert_eq!((diff.from.as_str(), diff.tables[0].rows.len()), (made[2].as_str(), 2));
    for wrong in ["main~100", "HEAD^2", "0000000", "main~x", "abc", ""] {
        let error = node.resolve_commit(wrong).await.expect_err(wrong);
        assert!(matches!(error, QueryError::NotFound(_)), "{error:?}");
    }
    node.close().await;
}
