//! A dump of a SQLite database goes in as it is: from a file, and from standard input.

use serde_json::json;

use crate::support::{Ran, Sandbox};

const DUMP: &str = "PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE child (id INTEGER PRIMARY KEY, p TEXT REFERENCES parent (name));
INSERT INTO child VALUES(1,'it''s; here');
CREATE TABLE parent (name TEXT PRIMARY KEY);
INSERT INTO parent VALUES('it''s; here');
COMMIT;
";

#[test]
fn dump_is_loaded_from_a_file_or_standard_input() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("dump.sql");
    std::fs::write(&file, DUMP).unwrap();
    let file = file.to_str().unwrap();
    for (name, args, input) in [
        ("file", &["exec", "-m", "load", "-f", file][..], ""),
        ("named", &["exec", "-m", "load", "-"], DUMP),
        ("piped", &["exec", "-m", "load"], DUMP),
    ] {
        let node = sandbox.node(name);
        node.ok(["init"]);
        let ran = Ran::with_input(&mut node.command(args), input);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let sql = "SELECT c.id, p.name FROM child c JOIN parent p ON p.name = c.p";
        assert_eq!(node.json(["query", sql]), json!([{ "id": 1, "name": "it's; here" }]), "{name}");
        assert_eq!(node.json(["status"])["dirty"], json!([]));
    }
}

#[test]
fn broken_dump_is_named_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.ok(["init"]);
    let before = node.json(["status"])["main"].clone();
    let broken = DUMP.replace("INSERT INTO parent VALUES('it''s; here');\n", "");
    let ran = Ran::with_input(&mut node.command(["exec", "-m", "load"]), &broken);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("`child` refers to `parent`"), "{ran:?}");
    let status = node.json(["status"]);
    assert_eq!((&status["main"], &status["dirty"]), (&before, &json!([])));
}
