//! The control socket under clients that misbehave.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::support::{Background, Node, Sandbox, wait_until};

fn connect(node: &Node) -> (BufReader<UnixStream>, Value) {
    let mut stream = BufReader::new(UnixStream::connect(node.dir.join("control.sock")).unwrap());
    let greeting = line(&mut stream);
    (stream, greeting)
}

fn line(stream: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn a_node_greets_and_answers_one_request() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let up = node.up();
    let (mut stream, greeting) = connect(&node);
    assert_eq!(greeting, json!({ "version": 3, "pid": up.process.id() }));
    stream.get_mut().write_all(b"{\"do\":\"members\"}\n").unwrap();
    assert_eq!(line(&mut stream)["done"][0]["this"], true);
    let mut rest = String::new();
    assert_eq!(stream.read_line(&mut rest).unwrap(), 0);
}

#[test]
fn nonsense_is_answered_and_harms_nobody() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let _up = node.up();
    for nonsense in
        [&b"hello\n"[..], b"{\"do\":\"format_disk\"}\n", b"{\"do\":\"exec\"}\n", b"\xff\n"]
    {
        let (mut stream, _) = connect(&node);
        stream.get_mut().write_all(nonsense).unwrap();
        assert_eq!(line(&mut stream)["error"]["kind"], "failed", "{nonsense:?}");
    }
    // Clients that say nothing hold nobody up.
    let _idle: Vec<_> = (0..16).map(|_| connect(&node)).collect();
    assert_eq!(node.cities(), json!([]));
}

#[test]
fn a_closing_node_ends_waits_and_streams() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let up = node.up();
    let (mut waiting, _) = connect(&node);
    let wait = b"{\"do\":\"wait\",\"commit\":null,\"peers\":9,\"timeout_ms\":600000}\n";
    waiting.get_mut().write_all(wait).unwrap();
    let (mut listening, _) = connect(&node);
    listening.get_mut().write_all(b"{\"do\":\"events\"}\n").unwrap();
    assert_eq!(line(&mut listening), json!({ "done": null }));
    assert_eq!(up.process.terminate(), Some(0));
    assert_eq!(line(&mut waiting)["error"]["message"], "the node is closing");
}

#[test]
fn events_are_one_object_a_line() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let _up = node.up();
    let (mut stream, _) = connect(&node);
    stream.get_mut().write_all(b"{\"do\":\"events\"}\n").unwrap();
    assert_eq!(line(&mut stream), json!({ "done": null }));
    let commit = node.exec("INSERT INTO cities VALUES ('Rome', 1)");
    wait_until("the commit is told", || {
        let event = line(&mut stream)["done"].clone();
        (event["event"] == "committed" && event["commit"] == commit.as_str()).then_some(())
    });
}

#[test]
fn events_without_a_node_are_the_node() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let events = Background::start(&mut node.command(["events", "--json"]));
    wait_until("the node is up", || node.json(["status"])["online"].as_bool().filter(|up| *up));
    let commit = node.exec("INSERT INTO cities VALUES ('Rome', 1)");
    wait_until("the commit is told", || {
        let event: Value = serde_json::from_str(&events.line()).unwrap();
        (event["event"] == "committed" && event["commit"] == commit.as_str()).then_some(())
    });
    assert_eq!(events.terminate(), Some(0));
    assert!(!node.dir.join("control.sock").exists());
}

#[test]
fn watch_shows_each_change_of_a_query() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let up = node.up();
    let sql = "SELECT name, people FROM cities ORDER BY name";
    let rows = node.json(["query", sql]);
    let mut watch = Background::start(&mut node.command(["--json", "watch", sql]));
    let next = |watch: &Background| serde_json::from_str::<Value>(&watch.line()).unwrap();
    assert_eq!(next(&watch), json!({ "added": rows, "changed": [], "removed": [] }));
    node.exec("INSERT INTO cities VALUES ('Rome', 1)");
    let rome = |people| json!({ "name": "Rome", "people": people });
    assert_eq!(next(&watch), json!({ "added": [rome(1)], "changed": [], "removed": [] }));
    // A change of another table is none of the query.
    node.exec("CREATE TABLE other (id INTEGER PRIMARY KEY)");
    node.exec("UPDATE cities SET people = 2 WHERE name = 'Rome'");
    let changed = json!([{ "before": rome(1), "after": rome(2) }]);
    assert_eq!(next(&watch), json!({ "added": [], "changed": changed, "removed": [] }));
    node.exec("DELETE FROM cities WHERE name = 'Rome'");
    assert_eq!(next(&watch), json!({ "added": [], "changed": [], "removed": [rome(2)] }));
    let error = node.fails(1, ["watch", "SELECT * FROM missing"]);
    assert!(error.contains("no such table"), "{error}");
    assert!(node.fails(1, ["watch", "DELETE FROM cities"]).contains("read"));
    assert_eq!(up.process.terminate(), Some(0));
    assert_eq!(wait_until("the watch ends", || watch.ended()), 0);
}
