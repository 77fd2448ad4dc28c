//! The JSON that scripts rely on: its keys are a contract.

use serde_json::{Value, json};

use crate::support::{Ran, Sandbox, keys};

fn has_all(value: &Value, expected: &[&str]) {
    for key in expected {
        assert!(keys(value).contains(key), "`{key}` is not in {value}");
    }
}

#[test]
fn status_has_its_keys() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let status = node.json(["status"]);
    has_all(
        &status,
        &[
            "swarm",
            "peer",
            "engine",
            "main",
            "state",
            "heads",
            "parked",
            "conflicts",
            "peers",
            "dirty",
            "in_sync",
        ],
    );
    assert_eq!(status["database_problem"], json!(null));
    assert_eq!(status["engine"], "doltlite");
    assert_eq!(status["heads"], json!([status["main"]]));
    assert_eq!(status["parked"], json!([]));
    assert_eq!(status["conflicts"], json!({ "open": 0, "total": 0 }));
    assert_eq!(status["peers"], json!([]));
    assert_eq!(status["dirty"], json!([]));
    assert_eq!(status["in_sync"], true);
    assert_eq!(status["main"].as_str().unwrap().len(), 40);
    assert_eq!(status["peer"].as_str().unwrap().len(), 64);
}

#[test]
fn peers_have_their_keys() {
    let sandbox = Sandbox::new();
    let founder = sandbox.founded("a");
    let _up = founder.up();
    let other = sandbox.node("b");
    other.ok(["join", &founder.invite()]);
    for peers in [other.json(["status"])["peers"].clone(), other.json(["peers"])] {
        has_all(&peers[0], &["id", "address", "connected", "in_sync", "last_seen_ms"]);
        assert_eq!(peers[0]["id"], founder.json(["status"])["peer"]);
    }
}

#[test]
fn exec_and_commit_have_their_keys() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let insert = "INSERT INTO cities VALUES ('Rome', 1), ('Oslo', 2)";
    let done = node.json(["exec", "-m", "two", insert]);
    assert_eq!(keys(&done), ["commit", "main", "rows_affected"]);
    assert_eq!(done["rows_affected"], 2);
    assert_eq!(done["commit"], done["main"]);
    assert_eq!(node.json(["status"])["main"], done["main"]);
    let nothing = node.json(["exec", "-m", "none", "DELETE FROM cities WHERE name = 'Nowhere'"]);
    assert_eq!(nothing, json!({ "commit": null, "main": done["main"], "rows_affected": 0 }));
    let nothing = node.json(["commit", "-m", "none"]);
    assert_eq!(nothing["commit"], json!(null));
}

#[test]
fn query_is_a_list_of_objects() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let sql = "SELECT 1 AS a, 'x' AS a, x'00ff' AS b, NULL AS n, 1.5 AS r, 9007199254740993 AS i";
    let expected = json!([{
        "a": 1, "a_2": "x", "b": { "blob": "00ff" }, "n": null, "r": 1.5, "i": 9_007_199_254_740_993_i64,
    }]);
    assert_eq!(node.json(["query", sql]), expected);
    let formatted = node.ok(["query", sql, "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&formatted).unwrap(), expected);
    assert_eq!(node.json(["query", "SELECT name FROM cities"]), json!([]));
}

#[test]
fn csv_tells_null_from_an_empty_text() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let sql = "SELECT 1 AS a, '' AS b, NULL AS c, 'x,\"y\"' AS d";
    let csv = node.ok(["query", sql, "--format", "csv"]);
    assert_eq!(csv, "a,b,c,d\r\n1,\"\",,\"x,\"\"y\"\"\"\r\n");
}

#[test]
fn init_and_invite_say_what_was_made() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let made = node.json(["init", "--name", "ann", "--policy", "park"]);
    has_all(&made, &["swarm", "peer", "name", "engine", "policy", "main", "dir"]);
    assert_eq!((&made["name"], &made["policy"]), (&json!("ann"), &json!("park")));
    // A ticket needs an address, which a node has from the first time it is up.
    assert!(node.fails(1, ["invite"]).contains("doltswarm up"));
    assert_eq!(node.up().process.terminate(), Some(0));
    let invited = node.json(["invite", "--role", "reader", "--uses", "3", "--expires", "2h"]);
    has_all(&invited, &["ticket"]);
    assert_eq!((&invited["role"], &invited["uses"]), (&json!("reader"), &json!(3)));
    let members = node.json(["members"]);
    has_all(&members[0], &["id", "name", "role", "this"]);
    assert_eq!((&members[0]["id"], &members[0]["role"]), (&made["peer"], &json!("admin")));
}

#[test]
fn log_and_diff_tell_what_was_committed() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let commit = node.exec("INSERT INTO cities VALUES ('Rome', 1)");
    let log = node.json(["log", "-n", "2"]);
    assert_eq!(log.as_array().unwrap().len(), 2);
    has_all(&log[0], &["commit", "kind", "parents", "signer", "author", "date", "message"]);
    assert_eq!((&log[0]["commit"], &log[0]["kind"]), (&json!(commit), &json!("user")));
    let diff = node.json(["diff"]);
    has_all(&diff, &["from", "to", "tables"]);
    assert_eq!(diff["tables"][0]["table"], "cities");
    let row =
        json!({ "change": "added", "before": null, "after": { "name": "Rome", "people": 1 } });
    assert_eq!(diff["tables"][0]["rows"], json!([row]));
}

#[test]
fn wait_says_what_it_came_to_and_ends_with_3_when_the_time_is_up() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let reached = node.json(["wait", "--timeout", "30s"]);
    has_all(&reached, &["reached", "peers"]);
    assert_eq!((&reached["reached"], &reached["peers"]), (&json!(true), &json!(1)));
    let mut command = node.command(["wait", "--peers", "2", "--timeout", "200ms", "--json"]);
    let ran = Ran::of(&mut command);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert_eq!(ran.json()["reached"], false);
    let unknown = "0123456789abcdef0123456789abcdef01234567";
    let error = node.fails(3, ["wait", "--commit", unknown, "--timeout", "200ms"]);
    assert!(error.contains("0123456789"), "{error}");
}

#[test]
fn errors_are_objects_on_standard_error() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let error = |code: i32, args: &[&str]| {
        let ran = Ran::of(node.command(args).arg("--json"));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran:?}");
        let lines: Vec<&str> = ran.stderr.lines().collect();
        let [line] = lines[..] else { panic!("one line: {ran:?}") };
        serde_json::from_str::<Value>(line).unwrap()["error"].clone()
    };
    let failed = error(1, &["query", "SELEC 1"]);
    assert_eq!(keys(&failed), ["hint", "kind", "message"]);
    assert_eq!(failed["kind"], "failed");
    assert!(failed["message"].as_str().unwrap().contains("syntax error"), "{failed}");
    let unknown = error(1, &["pull", "zoe"]);
    assert_eq!(unknown["message"], "no peer is called `zoe`");
    assert_eq!(unknown["hint"], "`doltswarm peers` lists them");
    let usage = error(2, &["wait", "--timeout", "soon"]);
    assert_eq!(usage["kind"], "usage");
    assert!(usage["message"].as_str().unwrap().contains("is not a duration"), "{usage}");
    assert_eq!(error(2, &["frobnicate"])["kind"], "usage");
}

#[test]
fn empty_lists_are_lists() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    for args in
        [&["parked"][..], &["conflicts"], &["conflicts", "list", "--all"], &["peers", "list"]]
    {
        assert_eq!(node.json(args), json!([]), "{args:?}");
    }
}
