//! `demo` must show what it says, and leave nothing behind.

use std::fs;

use crate::support::{Background, Ran, Sandbox, doltswarm, keys, wait_until};

#[test]
fn the_demo_ends_in_step_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let ran = Ran::of(doltswarm().args(["demo", "--json"]).env("TMPDIR", sandbox.path()));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let value = ran.json();
    assert_eq!(
        keys(&value),
        ["conflicts", "nodes", "ok", "problems", "rows_checked", "seconds", "steps"]
    );
    assert_eq!(value["ok"], true);
    let nodes = value["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    assert!(nodes.iter().all(|node| node["main"] == nodes[0]["main"]));
    assert!(nodes.iter().all(|node| node["state"] == nodes[0]["state"]));
    assert_eq!(value["rows_checked"], 3 * (249 + 312 + 3));
    assert_eq!(value["conflicts"].as_array().unwrap().len(), 1);
    let steps: Vec<&str> = value["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["join", "load", "spread", "concurrent", "conflict", "partition", "check"]);
    assert!(value["seconds"].is_number(), "{}", value["seconds"]);
    assert_eq!(fs::read_dir(sandbox.path()).unwrap().count(), 0);
}

#[test]
fn the_demo_can_be_interrupted_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let demo = || {
        let demo = Background::start(doltswarm().arg("demo").env("TMPDIR", sandbox.path()));
        wait_until("it has begun", || (demo.line().starts_with("1.")).then_some(()));
        let code = demo.terminate();
        assert_eq!(fs::read_dir(sandbox.path()).unwrap().count(), 0);
        code.unwrap()
    };
    // It takes a second or two, and on a busy machine it may be over before the signal is there.
    wait_until("one is interrupted", || {
        let code = demo();
        assert!([0, 1].contains(&code), "{code}");
        (code == 1).then_some(())
    });
}
