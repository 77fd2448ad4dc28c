//! A node whose database is a file that is not what the node left behind: it says so, or mends
//! itself.

use std::fs;

use doltswarm::core::id::CommitHash;
use doltswarm::core::message::SignedCommit;
use doltswarm::core::sign::sign_commit;
use doltswarm::identity::Identity;
use doltswarm::store::Store;
use doltswarm::{OpenOptions, Swarm};

use crate::damage::fails_to_open;
use crate::foreign::program;
use crate::support::{Home, close, eventually, exec, homes, in_step, rows};

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

/// The commits of main with who is shown as their author, newest first.
async fn authors(node: &Swarm) -> Vec<(String, Option<String>)> {
    let log = node.log(100).await.expect("a log");
    log.into_iter().map(|entry| (entry.commit, entry.signer)).collect()
}

/// How many signatures the store of a closed node has of these commits, and whether its own key is
/// among them.
fn signatures_of(home: &Home, commits: &[String]) -> Vec<(usize, bool)> {
    let (store, me) =
        (Store::open(&home.path).expect("the store"), Identity::load(&home.path).expect("the key"));
    let hashes: Vec<CommitHash> = commits.iter().map(|it| it.parse().expect("a hash")).collect();
    let signatures = store.signatures(&hashes).expect("signatures");
    let one =
        |it: &Vec<SignedCommit>| (it.len(), it.iter().any(|signed| signed.signer == me.peer_id()));
    signatures.iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_store_signs_nothing_of_others() {
    let [home_a, home_b, home_c] = homes();
    let a = home_a.found(SCHEMA).await;
    let b = home_b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    a.close().await;
    let (store, copy) = (home_a.path.join("store.redb"), home_a.path.join("copy"));
    fs::copy(&store, &copy).expect("a copy");
    let a = home_a.up().await;
    in_step(&[&a, &b]).await;
    // Another program's commit, and more than have tags.
    let other = program(&home_b);
    let sql = "INSERT INTO t VALUES (1, 'p'); SELECT dolt_commit('-A', '-m', 'by a program')";
    other.execute_batch(sql).expect("a commit");
    drop(other);
    eventually("the program's commit is taken in", async || {
        b.log(1).await.expect("a log")[0].message == "by a program"
    })
    .await;
    let mut by_b = vec![b.log(1).await.expect("a log")[0].commit.clone()];
    for n in 100..120 {
        by_b.push(exec(&b, &format!("INSERT INTO t VALUES ({n}, 'b')")).await);
    }
    in_step(&[&a, &b]).await;
    let by_a = exec(&a, "INSERT INTO t VALUES (2, 'a')").await;
    in_step(&[&a, &b]).await;
    let expected = authors(&a).await;
    a.close().await;
    fs::copy(&copy, &store).expect("the older store is back");

    // Alone the node works, and signs what is its own and new.
    let a = Swarm::open(&home_a.path, OpenOptions::default()).await.expect("it opens");
    let new = exec(&a, "INSERT INTO t VALUES (3, 'a')").await;
    a.close().await;
    assert!(signatures_of(&home_a, &by_b).iter().all(|(_, is_own)| !is_own));
    assert_eq!(signatures_of(&home_a, &[by_a.clone(), new.clone()]), [(1, true); 2]);

    // A peer has the signatures of the others.
    let a = home_a.up().await;
    in_step(&[&a, &b]).await;
    eventually("the authors are known again", async || authors(&a).await[1..] == expected).await;
    let c = home_c.join(&a, "c").await;
    in_step(&[&a, &b, &c]).await;
    assert_eq!(authors(&c).await, authors(&b).await);
    close([a, b, c]).await;
    assert!(signatures_of(&home_a, &by_b).iter().all(|it| *it == (1, false)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_two_keys_signed_has_one_author_everywhere() {
    let [home_a, home_b, home_c] = homes();
    let a = home_a.found(SCHEMA).await;
    let b = home_b.join(&a, "b").await;
    let by_a = exec(&a, "INSERT INTO t VALUES (1, 'a')").await;
    in_step(&[&a, &b]).await;
    let by_b = exec(&b, "INSERT INTO t VALUES (2, 'b')").await;
    in_step(&[&a, &b]).await;
    close([a, b]).await;
    let ids = [&home_a, &home_b].map(|home| Identity::load(&home.path).expect("the key"));
    for (home, identity, commit) in [(&home_a, &ids[0], &by_b), (&home_b, &ids[1], &by_a)] {
        let store = Store::open(&home.path).expect("the store");
        let commit = commit.parse().expect("a hash");
        let signed = sign_commit(identity.signing_key(), &store.founding().swarm, &commit);
        assert_eq!(store.add_signatures(&[signed]).expect("kept").len(), 1);
    }
    let lower = ids.iter().map(Identity::peer_id).min().expect("there are two").to_string();
    let (a, b) = (home_a.up().await, home_b.up().await);
    let shown = async |node: &Swarm| -> Vec<Option<String>> {
        let all = authors(node).await;
        let of =
            |commit: &String| all.iter().find(|(it, _)| it == commit).and_then(|it| it.1.clone());
        vec![of(&by_a), of(&by_b)]
    };
    let expected = vec![Some(lower.clone()); 2];
    eventually("both show the same author", async || {
        shown(&a).await == expected && shown(&b).await == expected
    })
    .await;
    let c = home_c.join(&a, "c").await;
    in_step(&[&a, &b, &c]).await;
    assert_eq!(shown(&c).await, expected);
    close([a, b, c]).await;
    let both = [by_a, by_b];
    for home in [&home_a, &home_b, &home_c] {
        assert!(signatures_of(home, &both).iter().all(|(count, _)| *count == 2));
    }
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
