//! A node whose database is a file that is not what the node left behind: it says so, or mends itself.

use std::fs;

use doltswarm::{OpenOptions, Swarm};

use crate::damage::fails_to_open;
use crate::support::{close, exec, homes, in_step, rows};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_the_database_is_brought_up_to_date_by_the_peers() {
    let [home_a, home_b] = homes();
    let a = home_a.found(SCHEMA).await;
    let b = home_b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    b.close().await;
    let (database, copy) = (home_b.path.join("database.db"), home_b.path.join("copy"));
    fs::copy(&database, &copy).expect("a copy");
    let b = home_b.up().await;
    exec(&a, "INSERT INTO t VALUES (1, 'a')").await;
    let by_b = exec(&b, "INSERT INTO t VALUES (2, 'b')").await;
    let before = in_step(&[&a, &b]).await;
    b.close().await;
    fs::copy(&copy, &database).expect("the older copy is back");

    // Alone the node is where the copy was, and works.
    let b = Swarm::open(&home_b.path, OpenOptions::default()).await.expect("it opens");
    assert_eq!(rows(&b, "SELECT count(*) FROM t").await, ["[0]"]);
    b.close().await;
    let b = home_b.up().await;
    let after = in_step(&[&a, &b]).await;
    assert_eq!(before[0].main, after[1].main);
    let log = b.log(10).await.expect("a log");
    let entry = log.iter().find(|entry| entry.commit == by_b).expect("it came back");
    assert_eq!(entry.signer, Some(b.peer_id().to_string()));
    exec(&b, "INSERT INTO t VALUES (3, 'b')").await;
    in_step(&[&a, &b]).await;
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_files_are_named_and_left_as_they_are() {
    let [home, other] = homes();
    for home in [&home, &other] {
        home.found(SCHEMA).await.close().await;
    }
    for name in ["database.db", "store.redb"] {
        let path = home.path.join(name);
        let whole = fs::read(&path).expect("the file");
        let mut spoiled = whole.clone();
        let third = spoiled.len() / 3;
        spoiled[third..2 * third].iter_mut().step_by(97).for_each(|byte| *byte ^= 0xff);
        let strange = fs::read(other.path.join(name)).expect("the other's file");
        for content in [b"".to_vec(), vec![0x5a; whole.len()], spoiled, strange] {
            fs::write(&path, &content).expect("written");
            let error = fails_to_open(&home.path).await.to_string();
            let names = ["database", "store", "swarm"].iter().any(|word| error.contains(word));
            assert!(names, "{name}: {error}");
            if name == "database.db" {
                assert_eq!(fs::read(&path).expect("the file"), content, "{error}");
            }
        }
        fs::write(&path, whole).expect("written");
        let node = Swarm::open(&home.path, OpenOptions::default()).await.expect("it opens again");
        node.close().await;
    }
}
