//! Nodes that are killed as by a power cut, at any moment: what was acknowledged is there
//! afterwards.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Background, Node, Sandbox, Up, wait_until};

const TIMEOUT: [&str; 2] = ["--timeout", "60s"];

/// A swarm of three that are up.
fn three(sandbox: &Sandbox) -> ([Node; 3], [Up; 3]) {
    let ann = sandbox.founded("ann");
    let up = ann.up();
    let [bob, cid] = ["bob", "cid"].map(|name| {
        let node = sandbox.node(name);
        node.ok(["join", &ann.invite(), "--name", name]);
        node
    });
    let ups = [up, bob.up(), cid.up()];
    ([ann, bob, cid], ups)
}

/// Waits until all are in step, and gives the one state that all have.
fn in_step(nodes: &[Node]) -> Value {
    let count = nodes.len().to_string();
    for node in nodes {
        node.ok(["wait", "--peers", &count, TIMEOUT[0], TIMEOUT[1]]);
    }
    wait_until("all have one main", || {
        let states: Vec<Value> = nodes
            .iter()
            .map(|node| node.json(["status"]))
            .map(|status| json!([status["main"], status["state"], status["heads"]]))
            .collect();
        states.windows(2).all(|two| two[0] == two[1]).then(|| states[0].clone())
    })
}

/// Writes rows until told to stop; gives the names of those that were acknowledged.
fn write(node: &Node, name: &str, stop: &AtomicBool, written: &Mutex<usize>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let city = format!("{name} {number}");
        let sql = format!("INSERT INTO cities VALUES ('{city}', {number})");
        // It may fail while its node is killed; then it is not known whether it was done.
        if node.run(["exec", "-m", "add", &sql]).code == Some(0) {
            acknowledged.push(city);
            *written.lock().unwrap() += 1;
        }
    }
    acknowledged
}

#[test]
fn each_of_three_is_killed_while_all_write_and_nothing_acknowledged_is_lost() {
    let sandbox = Sandbox::new();
    let (nodes, ups) = three(&sandbox);
    let (stop, written) = (AtomicBool::new(false), Mutex::new(0));
    let mut running: Vec<Option<Up>> = ups.into_iter().map(Some).collect();
    let acknowledged = std::thread::scope(|scope| {
        let writers: Vec<_> = nodes
            .iter()
            .zip(["ann", "bob", "cid"])
            .map(|(node, name)| scope.spawn(|| write(node, name, &stop, &written)))
            .collect();
        for (node, slot) in nodes.iter().zip(&mut running) {
            let before = *written.lock().unwrap();
            wait_until("some more writes", || {
                (*written.lock().unwrap() >= before + 4).then_some(())
            });
            slot.take().unwrap().process.kill();
            *slot = Some(node.up());
        }
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(acknowledged.len() >= 12, "{acknowledged:?}");
    in_step(&nodes);
    for node in &nodes {
        let cities = node.cities();
        let names: Vec<&str> =
            cities.as_array().unwrap().iter().filter_map(|city| city["name"].as_str()).collect();
        let missing = acknowledged.iter().filter(|city| !names.contains(&city.as_str()));
        assert_eq!(missing.collect::<Vec<_>>(), Vec::<&String>::new());
    }
}

#[test]
fn a_node_that_is_killed_while_it_folds_ends_where_the_others_are() {
    let sandbox = Sandbox::new();
    let (nodes, ups) = three(&sandbox);
    drop(ups);
    for (round, victim) in nodes.iter().enumerate() {
        for (number, node) in nodes.iter().enumerate() {
            // One row for all, so that there is something to settle.
            node.exec(&format!("INSERT OR REPLACE INTO cities VALUES ('all', {round}{number})"));
            node.exec(&format!("INSERT INTO cities VALUES ('{round} {number}', 0)"));
        }
        let mut running: Vec<Up> = nodes.iter().map(Node::up).collect();
        running.remove(round).process.kill();
        let _up = victim.up();
        in_step(&nodes);
    }
    assert_eq!(nodes[0].cities().as_array().unwrap().len(), 10);
    // Opened without a network, each says the same again from its files alone.
    let mains = nodes.each_ref().map(|node| node.json(["status"])["main"].clone());
    assert!(mains.windows(2).all(|two| two[0] == two[1]), "{mains:?}");
}

#[test]
fn a_join_that_is_killed_goes_on_with_the_same_ticket() {
    let sandbox = Sandbox::new();
    let ann = sandbox.founded("ann");
    ann.exec(
        "CREATE TABLE big (id INTEGER PRIMARY KEY, b BLOB); \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) \
         INSERT INTO big (b) SELECT randomblob(1000) FROM n",
    );
    let _up = ann.up();
    let (ticket, bob) = (ann.invite(), sandbox.node("bob"));
    for pause in [5, 20, 50, 100, 150, 200] {
        let mut join = Background::start(&mut bob.command(["join", &ticket]));
        // Not to settle anything: whatever the moment is, it has to be good.
        std::thread::sleep(Duration::from_millis(pause));
        let ended = join.ended();
        join.kill();
        if ended == Some(0) {
            break;
        }
    }
    if !bob.dir.join("store.redb").exists() {
        bob.ok(["join", &ticket]);
    }
    let _bob = bob.up();
    in_step(&[ann, bob]);
}

#[test]
fn a_large_write_that_is_killed_is_there_whole_or_not_at_all() {
    let sandbox = Sandbox::new();
    let ann = sandbox.founded("ann");
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) \
                INSERT INTO cities SELECT 'city ' || i, i FROM n";
    for (signal, pause) in [("KILL", 30), ("KILL", 120), ("TERM", 60), ("TERM", 0)] {
        ann.ok(["exec", "-m", "x", "DELETE FROM cities; INSERT INTO cities VALUES ('one', 1)"]);
        let up = ann.up();
        let mut writing = Background::start(&mut ann.command(["exec", "-m", "large", rows]));
        std::thread::sleep(Duration::from_millis(pause));
        match signal {
            "KILL" => up.process.kill(),
            _ => assert_eq!(up.process.terminate(), Some(0)),
        }
        let code = wait_until("the write ends", || writing.ended());
        let count = ann.json(["query", "SELECT count(*) AS n FROM cities"])[0]["n"].clone();
        match code {
            0 => assert_eq!(count, 30_001),
            _ => assert!([json!(1), json!(30_001)].contains(&count), "{count}"),
        }
        assert_eq!(ann.json(["status"])["dirty"], json!([]));
    }
}
