//! Two and three nodes in processes of their own: they join, write, part, meet, and agree.

use serde_json::{Value, json};

use crate::support::{Node, Ran, Sandbox};

const TIMEOUT: [&str; 2] = ["--timeout", "60s"];

/// Waits until each of the nodes is in step with all of them. One alone says that the others have
/// the same heads, and they may still be merging.
fn in_step(nodes: &[&Node]) {
    let [flag, limit] = TIMEOUT;
    for node in nodes {
        node.ok(["wait", "--peers", &nodes.len().to_string(), flag, limit]);
    }
}

fn hashes(node: &Node) -> (Value, Value) {
    let status = node.json(["status"]);
    (status["main"].clone(), status["state"].clone())
}

#[test]
fn a_write_gets_to_the_other_node() {
    let sandbox = Sandbox::new();
    let ann = sandbox.founded("ann");
    let _ann = ann.up();
    let bob = sandbox.node("bob");
    let joined = bob.json(["join", &ann.invite(), "--name", "bob"]);
    assert_eq!(joined["swarm"], ann.json(["status"])["swarm"]);
    let _bob = bob.up();
    let commit = ann.exec("INSERT INTO cities VALUES ('Rome', 1)");
    let [flag, limit] = TIMEOUT;
    let waited = ann.json(["wait", "--commit", &commit, "--peers", "2", flag, limit]);
    assert_eq!((&waited["reached"], &waited["peers"]), (&json!(true), &json!(2)));
    in_step(&[&ann, &bob]);
    assert_eq!(bob.cities(), ann.cities());
    // And the other way.
    bob.exec("INSERT INTO cities VALUES ('Oslo', 2)");
    in_step(&[&ann, &bob]);
    assert_eq!(ann.cities().as_array().unwrap().len(), 2);
    assert_eq!(hashes(&ann), hashes(&bob));
    let peers = ann.json(["peers"]);
    assert_eq!((&peers[0]["name"], &peers[0]["connected"]), (&json!("bob"), &json!(true)));
    assert_eq!(ann.json(["members"]).as_array().unwrap().len(), 2);
}

#[test]
fn what_was_written_apart_meets_and_conflicts_are_kept() {
    let sandbox = Sandbox::new();
    let ann = sandbox.founded("ann");
    ann.exec("INSERT INTO cities VALUES ('Rome', 0)");
    let up = ann.up();
    let bob = sandbox.node("bob");
    bob.ok(["join", &ann.invite()]);
    assert_eq!(up.process.terminate(), Some(0));
    // Both are down, so neither hears of the other.
    ann.exec("UPDATE cities SET people = 1 WHERE name = 'Rome'");
    bob.exec("UPDATE cities SET people = 2 WHERE name = 'Rome'");
    bob.exec("INSERT INTO cities VALUES ('Oslo', 5)");
    let (_ann, _bob) = (ann.up(), bob.up());
    in_step(&[&ann, &bob]);
    assert_eq!(hashes(&ann), hashes(&bob));
    // The longer history comes later, so it stands.
    let expected = json!([{ "name": "Oslo", "people": 5 }, { "name": "Rome", "people": 2 }]);
    assert_eq!(ann.cities(), expected);
    let conflicts = ann.json(["conflicts"]);
    assert_eq!(conflicts, bob.json(["conflicts"]));
    assert_eq!(conflicts.as_array().unwrap().len(), 1);
    assert_eq!(conflicts[0]["loser"]["people"], 1);
    assert_eq!(conflicts[0]["winner"]["people"], 2);
    let id = conflicts[0]["id"].as_str().unwrap();
    let shown = ann.json(["conflicts", "show", &id[..8]]);
    for (key, value) in conflicts[0].as_object().unwrap() {
        assert_eq!(&shown[key], value, "{key}");
    }
    // Who made the two versions is read from the history, the same on every peer.
    assert_eq!(shown["loser_by"]["message"], "UPDATE cities SET people = 1 WHERE name = 'Rome'");
    assert_eq!(shown["winner_by"]["message"], "UPDATE cities SET people = 2 WHERE name = 'Rome'");
    assert_eq!(bob.json(["conflicts", "show", id]), shown);
    assert_eq!(ann.json(["status"])["conflicts"], json!({ "open": 1, "total": 1 }));
    let shown = ann.ok(["status"]);
    assert!(shown.contains("1 conflict: see `doltswarm conflicts`"), "{shown}");
}

#[test]
fn a_node_that_is_down_pulls_when_asked() {
    let sandbox = Sandbox::new();
    let ann = sandbox.founded("ann");
    let _ann = ann.up();
    let bob = sandbox.node("bob");
    bob.ok(["join", &ann.invite()]);
    ann.exec("INSERT INTO cities VALUES ('Rome', 1)");
    let pulled = bob.json(["pull", "ann"]);
    assert_eq!((&pulled["asked"], &pulled["commits"]), (&json!(1), &json!(1)));
    assert_eq!(bob.cities(), ann.cities());
    let id = ann.json(["status"])["peer"].as_str().unwrap().to_owned();
    assert_eq!(bob.json(["pull", &id[..12]])["commits"], json!(0));
}

#[test]
fn a_peer_that_is_down_is_said_to_be() {
    let sandbox = Sandbox::new();
    let ann = sandbox.founded("ann");
    let up = ann.up();
    let bob = sandbox.node("bob");
    bob.ok(["join", &ann.invite()]);
    assert_eq!(up.process.terminate(), Some(0));
    let error = bob.fails(1, ["pull"]);
    assert!(error.contains("no peer answered"), "{error}");
    bob.fails(3, ["wait", "--timeout", "500ms"]);
    let _bob = bob.up();
    let status = bob.json(["status"]);
    assert_eq!(
        (&status["in_sync"], &status["peers"][0]["connected"]),
        (&json!(false), &json!(false))
    );
    let shown = bob.ok(["status"]);
    assert!(shown.contains("no: no other peer can be reached"), "{shown}");
}

#[test]
fn a_ticket_is_good_for_as_many_as_it_says() {
    let sandbox = Sandbox::new();
    let ann = sandbox.founded("ann");
    let _ann = ann.up();
    let ticket = ann.invite();
    sandbox.node("bob").ok(["join", &ticket]);
    sandbox.node("cid").fails(1, ["join", &ticket]);
}

#[test]
fn only_admins_invite() {
    let sandbox = Sandbox::new();
    let ann = sandbox.founded("ann");
    let _ann = ann.up();
    let bob = sandbox.node("bob");
    bob.ok(["join", &ann.invite()]);
    let error = bob.fails(1, ["invite"]);
    assert!(error.contains("admin"), "{error}");
}

#[test]
fn ticket_is_read_from_standard_input_and_however_it_was_wrapped() {
    let sandbox = Sandbox::new();
    let ann = sandbox.founded("ann");
    let _up = ann.up();
    let ticket = ann.invite();
    let (first, second) = ticket.split_at(70);
    let bob = sandbox.node("bob");
    let mail = format!("> \"{}\n> {}\"\n", first.to_uppercase(), second);
    let ran = Ran::with_input(&mut bob.command(["join", "--name", "bob", "-"]), &mail);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let (ticket, cid) = (ann.invite(), sandbox.node("cid"));
    let (first, second) = ticket.split_at(70);
    cid.ok(["join", first, second]);
    assert_eq!(ann.json(["members"]).as_array().unwrap().len(), 3);
    // Members are named by name, also to say where they are.
    let added = ann.json(["peers", "add", "bob", "127.0.0.1:9"]);
    assert_eq!(added["added"], bob.json(["status"])["peer"]);
    assert!(ann.fails(1, ["peers", "add", "zoe", "127.0.0.1:9"]).contains("no member"));
    let log = cid.json(["log"]);
    assert!(log.as_array().unwrap().iter().any(|entry| entry["signer_name"] == "ann"), "{log}");
}

#[test]
fn shells_and_man_learn_every_command() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("nowhere");
    for shell in ["bash", "zsh", "fish"] {
        let script = node.ok(["completions", shell]);
        assert!(script.contains("conflicts") && script.contains("uses"), "{shell}");
    }
    let dir = sandbox.path().join("man");
    let written = node.json(["man", dir.to_str().unwrap()]);
    for page in ["doltswarm.1", "doltswarm-init.1", "doltswarm-conflicts-resolve.1"] {
        assert!(written["pages"].as_array().unwrap().iter().any(|name| name == page), "{written}");
        assert!(std::fs::read_to_string(dir.join(page)).unwrap().contains(".TH"), "{page}");
    }
}
