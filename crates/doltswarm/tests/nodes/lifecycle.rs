//! Nodes that come late, go away, and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use doltswarm::{
    EngineError, ExecError, InviteOptions, JoinError, JoinOptions, JoinProgress, OpenError,
    OpenOptions, QueryError, Swarm, Ticket, WaitFor,
};

use crate::support::{Home, close, eventually, exec, homes, in_step, rows, wait};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_joiner_gets_all_of_the_history() {
    let [a, b, c] = homes();
    let a = a.found(SCHEMA).await;
    let b = b.join(&a, "b").await;
    for n in 0..20 {
        exec(if n % 2 == 0 { &a } else { &b }, &format!("INSERT INTO t VALUES ({n}, 0, 'x')"))
            .await;
    }
    let c = c.join(&a, "c").await;
    let statuses = in_step(&[&a, &b, &c]).await;
    assert_eq!(statuses[2].commits, statuses[0].commits);
    assert_eq!(rows(&c, "SELECT count(*) FROM t").await, ["[20]"]);
    close([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_join_while_the_inviter_writes() {
    let [home_a, home_b, home_c, home_d] = homes();
    let a = home_a.found(SCHEMA).await;
    let written = Arc::new(AtomicU64::new(0));
    let writer = {
        let (a, written) = (a.clone(), Arc::clone(&written));
        tokio::spawn(async move {
            loop {
                let n = written.fetch_add(1, Ordering::Relaxed);
                exec(&a, &format!("INSERT INTO t VALUES ({n}, {n}, 'a')")).await;
            }
        })
    };
    let mut joined = Vec::new();
    for home in [&home_b, &home_c, &home_d] {
        joined.push(home.join(&a, "late").await);
    }
    writer.abort();
    let nodes: Vec<&Swarm> = joined.iter().chain([&a]).collect();
    in_step(&nodes).await;
    // The last write was given up by its caller: it is there or it is not.
    let written = written.load(Ordering::Relaxed);
    let count = rows(&joined[0], "SELECT count(*) FROM t").await;
    assert!([written, written - 1].map(|n| format!("[{n}]")).contains(&count[0]), "{count:?}");
    assert_eq!(rows(&a, "SELECT count(*) FROM t").await, count);
    close(joined.into_iter().chain([a])).await;
}

/// Begins a join and gives it up at the first step that `stop` names.
async fn give_up_a_join(
    home: &Home,
    ticket: &Ticket,
    options: JoinOptions,
    stop: impl Fn(&JoinProgress) -> bool + Send + Sync + 'static,
) {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let (path, ticket) = (home.path.clone(), ticket.clone());
    let joining = tokio::spawn(async move {
        let progress = move |step| {
            if stop(&step) {
                let _ = tell.send(());
                let _ = wait.lock().expect("because nobody else waits").recv();
            }
        };
        Swarm::join(&path, &ticket, options, progress).await.map(|_| ())
    });
    if told.recv().await.is_none() {
        panic!("the join did not get that far: {:?}", joining.await);
    }
    joining.abort();
    drop(go_on);
    assert!(joining.await.is_err_and(|error| error.is_cancelled()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_that_was_given_up_goes_on_with_the_ticket_it_has_used() {
    let [home_a, home_b, home_c] = homes();
    let a = home_a.found(SCHEMA).await;
    let ticket = a.invite(InviteOptions::default()).await.expect("a ticket");
    let options = home_b.join_options();
    for _ in 0..3 {
        let stop = |step: &JoinProgress| *step == JoinProgress::Admitted;
        give_up_a_join(&home_b, &ticket, options.clone(), stop).await;
        let stop = |step: &JoinProgress| matches!(step, JoinProgress::Fetching { .. });
        give_up_a_join(&home_b, &ticket, options.clone(), stop).await;
    }
    let again = Swarm::join(&home_b.path, &ticket, options.clone(), |_| {}).await;
    again.expect("the ticket is this peer's").close().await;
    let error = Swarm::join(&home_c.path, &ticket, home_c.join_options(), |_| {})
        .await
        .expect_err("used up");
    assert!(matches!(error, JoinError::Refused(_)), "{error}");
    assert_eq!(a.members().await.expect("members").len(), 2);
    a.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_away_for_a_thousand_commits_catches_up() {
    let [a, home_b] = homes();
    let a = a.found(SCHEMA).await;
    let b = home_b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    b.close().await;
    for n in 0..1_000 {
        exec(&a, &format!("INSERT INTO t VALUES ({n}, {n}, 'away')")).await;
    }
    let b = home_b.up().await;
    let statuses = in_step(&[&a, &b]).await;
    assert_eq!(statuses[1].commits, 1_002, "the founding, the schema, and a thousand");
    assert_eq!(rows(&b, "SELECT count(*) FROM t").await, ["[1000]"]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_in_the_middle_loses_nothing() {
    let [home_a, home_b] = homes();
    let a = home_a.found(SCHEMA).await;
    let b = home_b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    let writer = {
        let a = a.clone();
        tokio::spawn(async move {
            for n in 0..60 {
                exec(&a, &format!("INSERT INTO t VALUES ({n}, {n}, 'a')")).await;
            }
        })
    };
    exec(&b, "INSERT INTO t VALUES (1000, 0, 'b')").await;
    b.close().await;
    let b = home_b.up().await;
    exec(&b, "INSERT INTO t VALUES (1001, 1, 'b')").await;
    writer.await.expect("the writer");
    in_step(&[&a, &b]).await;
    for node in [&a, &b] {
        assert_eq!(rows(node, "SELECT count(*) FROM t").await, ["[62]"]);
    }
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_node_can_be_opened_again_while_clones_of_the_old_one_live() {
    let [home] = homes();
    let old = home.found(SCHEMA).await;
    let clone = old.clone();
    old.close().await;
    let new = home.up().await;
    assert!(matches!(clone.status().await, Err(QueryError::Closed)));
    exec(&new, "INSERT INTO t VALUES (1, 1, 'new')").await;
    new.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_write_offline_and_meet_again() {
    let [home_a, home_b] = homes();
    let a = home_a.found(SCHEMA).await;
    let b = home_b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    close([a, b]).await;
    for (home, id) in [(&home_a, 1), (&home_b, 2)] {
        let node = Swarm::open(&home.path, OpenOptions::default()).await.expect("opens offline");
        exec(&node, &format!("INSERT INTO t VALUES ({id}, {id}, 'offline')")).await;
        node.close().await;
    }
    let (a, b) = (home_a.up().await, home_b.up().await);
    in_step(&[&a, &b]).await;
    assert_eq!(rows(&a, "SELECT id FROM t ORDER BY id").await, ["[1]", "[2]"]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_name_what_is_wrong_and_change_nothing() {
    let [home, other] = homes();
    let error = Swarm::open(&other.path, OpenOptions::default()).await.expect_err("no node");
    assert!(matches!(error, OpenError::NotANode { .. }), "{error}");
    let a = home.found(SCHEMA).await;
    let error = Swarm::open(&home.path, OpenOptions::default()).await.expect_err("in use");
    assert!(matches!(error, OpenError::Locked { pid, .. } if pid == std::process::id()), "{error}");
    let before = a.status().await.expect("a status");
    let statements = ["INSERT INTO t VALUES (1, 1, 'x')", "INSERT INTO nowhere VALUES (1)"];
    let error = a.exec_and_commit("broken", statements).await.expect_err("no such table");
    assert!(
        matches!(&error, ExecError::Engine(EngineError::Rejected { message }) if message.contains("nowhere")),
        "{error}"
    );
    let after = a.status().await.expect("a status");
    assert_eq!((before.main, before.state), (after.main, after.state));
    assert_eq!(rows(&a, "SELECT count(*) FROM t").await, ["[0]"]);
    assert!(a.query("DELETE FROM t", Vec::new()).await.is_err(), "a query only reads");
    a.close().await;
    home.up().await.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wait_and_pull_say_when_a_commit_is_elsewhere() {
    let [a, home_b] = homes();
    let a = a.found(SCHEMA).await;
    let b = home_b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    let commit = exec(&a, "INSERT INTO t VALUES (1, 1, 'x')").await;
    let what = WaitFor { commit: Some(commit.clone()), peers: Some(2) };
    let report = a.wait(what.clone(), crate::support::LIMIT).await.expect("a wait");
    assert_eq!((report.reached, report.peers), (true, 2));
    assert_eq!(rows(&b, "SELECT id FROM t").await, ["[1]"]);
    let pulled = b.pull(None).await.expect("a pull");
    assert_eq!((pulled.asked, pulled.commits, pulled.in_sync), (1, 0, true));
    b.close().await;
    eventually("a sees that b is gone", async || {
        a.status().await.is_ok_and(|status| !status.peers[0].connected && !status.in_sync)
    })
    .await;
    let commit = exec(&a, "INSERT INTO t VALUES (2, 2, 'y')").await;
    let what = WaitFor { commit: Some(commit), peers: Some(2) };
    let report = a.wait(what, Duration::from_millis(200)).await.expect("a wait");
    assert_eq!((report.reached, report.peers), (false, 1));
    let b = home_b.up().await;
    wait(&b).await;
    close([a, b]).await;
}

/// Its last words may be heard after its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_goes_as_soon_as_it_has_come_is_gone() {
    let [home_a, home_b] = homes();
    let a = home_a.found(SCHEMA).await;
    home_b.join(&a, "b").await.close().await;
    for _ in 0..10 {
        let b = home_b.up().await;
        eventually("b sees a", async || {
            b.status().await.is_ok_and(|status| status.peers[0].connected)
        })
        .await;
        b.close().await;
        eventually("a sees that b is gone", async || {
            a.status().await.is_ok_and(|status| !status.peers[0].connected)
        })
        .await;
    }
    a.close().await;
}
