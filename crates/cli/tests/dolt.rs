//! Nodes on a Dolt server. Without the program `dolt` one line says so, and nothing is looked at.

use std::io::{Write, stderr};

use doltswarm::engine::dolt::Sandbox as Server;
use serde_json::{Value, json};

use crate::support::{Node, Sandbox, wait_until};

/// A server of its own with a node's database on it.
fn server(sandbox: &Sandbox, name: &str) -> Option<Server> {
    let Some(program) = Server::program() else {
        // Past the test harness, which shows the output of failing tests only.
        let _ = writeln!(
            stderr(),
            "SKIPPED: there is no program `dolt`; docs/dolt.md says how to get it"
        );
        return None;
    };
    Some(Server::start(&program, &sandbox.path().join(name)).unwrap())
}

fn problem(node: &Node) -> Value {
    node.json(["status"])["database_problem"].clone()
}

/// What only needs the node answers while the server is gone, with exit code 0, and says why the
/// rest does not; then all goes on by itself.
#[test]
fn a_status_is_given_while_the_server_is_gone() {
    let sandbox = Sandbox::new();
    let Some(mut server) = server(&sandbox, "server") else { return };
    let node = sandbox.node("a");
    let url = server.url("shop").to_string();
    node.ok(["init", "--name", "ann", "--engine", "dolt", "--dolt-url", &url]);
    node.exec("CREATE TABLE cities (name VARCHAR(20) PRIMARY KEY, people INTEGER)");
    for is_up in [true, false] {
        let up = is_up.then(|| node.up());
        let before = node.json(["status"]);
        assert_eq!(before["database_problem"], json!(null));
        server.kill();
        let status = node.json(["status"]);
        let said = status["database_problem"]["reason"].as_str().unwrap();
        assert!(said.contains(&url) && said.contains("does not answer"), "{said}");
        assert!(status["database_problem"]["since"].as_str().unwrap().ends_with('Z'), "{status}");
        for key in ["swarm", "peer", "name", "heads", "commits", "peers", "dirty"] {
            assert_eq!(status[key], before[key], "{key}");
        }
        assert_eq!(status["in_sync"], false);
        assert!(node.ok(["status"]).contains("does not answer"));
        assert_eq!(node.json(["peers"]), json!([]));
        assert_eq!(node.json(["members"])[0]["name"], "ann");
        for asks in [&["log"][..], &["conflicts"], &["query", "SELECT 1"]] {
            let error = node.fails(1, asks);
            assert!(error.contains("does not answer"), "{error}");
        }
        server.run().unwrap();
        wait_until("the database answers", || (problem(&node) == json!(null)).then_some(()));
        node.exec(&format!("INSERT INTO cities VALUES ('c{is_up}', 1)"));
        let status = node.json(["status"]);
        assert_eq!((&status["in_sync"], &status["heads"][0]), (&json!(true), &status["main"]));
        if let Some(up) = up {
            assert_eq!(up.process.terminate(), Some(0));
        }
    }
}
