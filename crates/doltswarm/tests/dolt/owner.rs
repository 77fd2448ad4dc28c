//! One database, one node: whoever comes second is told, and told how to take over.

use std::path::Path;
use std::sync::Arc;

use doltswarm::core::commit::EngineKind;
use doltswarm::{InitOptions, OpenError, OpenOptions, Swarm};

use crate::client::{connect, run, texts};
use crate::engine::{Server, shared};
use crate::support::{Home, close, exec, in_step, rows};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)";

/// Homes of two nodes on one database.
fn both() -> Option<(Arc<Server>, Home, Home)> {
    let server = shared()?;
    let database = server.database();
    let same = server.same(&database);
    let home = |database| Home::on(tempfile::tempdir().expect("a directory"), Some(database));
    Some((server, home(database), home(same)))
}

fn founding(home: &Home) -> InitOptions {
    InitOptions { engine: EngineKind::Dolt, dolt: home.server(), ..InitOptions::default() }
}

/// Copies the files of a node, as a backup does.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            copy(&from, &to);
        } else if kind.is_file() {
            std::fs::copy(&from, &to).expect("a copy");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_a_node_is_not_taken_by_another() {
    let Some((_server, first, second)) = both() else { return };
    let node = first.found(SCHEMA).await;
    let owner = node.peer_id();
    let ticket = node.invite(Default::default()).await.expect("a ticket");
    let error = Swarm::join(&second.path, &ticket, second.join_options(), |_| {}).await;
    let error = error.expect_err("the server has a database of that name");
    assert!(error.to_string().contains("already has a database"), "{error}");
    // While the first is up, and when it is not.
    let error = Swarm::init(&second.path, founding(&second)).await.expect_err("it is in use");
    assert!(error.to_string().contains("another process has the database"), "{error}");
    exec(&node, "INSERT INTO t VALUES (1, 1)").await;
    node.close().await;
    let before = texts(&mut connect(&first), "SELECT DOLT_HASHOF('main')");
    let error = Swarm::init(&second.path, founding(&second)).await.expect_err("it has a node");
    assert!(
        matches!(error, OpenError::OtherNode { owner: found, .. } if found == owner),
        "{error}"
    );
    assert_eq!(texts(&mut connect(&first), "SELECT DOLT_HASHOF('main')"), before);
    let node = first.up().await;
    assert_eq!(rows(&node, "SELECT id FROM t").await, ["[1]"]);
    node.close().await;
}

/// Somebody points a node at the database of another one by its configuration. Where that one is
/// gone for good, what the error says is what helps: the database is as good as a backup of the
/// node's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_not_opened_on_the_database_of_another() {
    let Some(server) = shared() else { return };
    let home = || Home::on(tempfile::tempdir().expect("a directory"), Some(server.database()));
    let (home_a, home_b) = (home(), home());
    let a = home_a.found(SCHEMA).await;
    let b = home_b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    close([a, b]).await;
    let url = |home: &Home| home.server().expect("a server").url.to_string();
    let config = home_b.path.join("config.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&config, text.replace(&url(&home_b), &url(&home_a))).expect("written");
    let error = Swarm::open(&home_b.path, OpenOptions::default()).await.expect_err("not its own");
    assert!(
        matches!(&error, OpenError::OtherNode { url: said, .. } if *said == url(&home_a)),
        "{error}"
    );
    let error = error.to_string();
    let call = error.split("after ").nth(1).and_then(|rest| rest.strip_suffix(" in it"));
    run(&mut connect(&home_a), &[call.expect("a call")]);
    let b = home_b.up().await;
    exec(&b, "INSERT INTO t VALUES (1, 1)").await;
    b.close().await;
    let error = Swarm::open(&home_a.path, OpenOptions::default()).await.expect_err("it is lost");
    assert!(matches!(error, OpenError::OtherNode { .. }), "{error}");
}

/// One key, one database, two directories.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_node_is_not_opened_beside_it() {
    let Some((_server, first, second)) = both() else { return };
    first.found(SCHEMA).await.close().await;
    copy(&first.path, &second.path);
    let node = first.up().await;
    let error = Swarm::open(&second.path, OpenOptions::default()).await.expect_err("it is up");
    assert!(error.to_string().contains("another process has the database"), "{error}");
    exec(&node, "INSERT INTO t VALUES (1, 1)").await;
    node.close().await;
    let copy = Swarm::open(&second.path, OpenOptions::default()).await.expect("alone again");
    copy.close().await;
}
