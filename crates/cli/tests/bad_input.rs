//! What people and scripts get wrong: the exit code, the words, and that nothing changed.

use std::fs;

use serde_json::json;

use crate::support::{Ran, Sandbox, doltswarm};

#[test]
fn wrong_usage_is_exit_2() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    for args in [
        &["frobnicate"][..],
        &[],
        &["exec", "SELECT 1"],
        &["query"],
        &["invite", "--role", "king"],
        &["invite", "--uses", "0"],
        &["invite", "--expires", "soon"],
        &["init", "--engine", "oracle"],
        &["init", "--policy", "fight"],
        &["init", "--dolt-url", "mysql://127.0.0.1"],
        &["up", "--bind", "here"],
        &["wait", "--peers", "many"],
        &["peers", "add", "ab"],
        &["peers", "add", "ab", "here"],
        &["query", "SELECT 1", "--format", "xml"],
        &["conflicts", "resolve"],
        &["conflicts", "resolve", "ab"],
        &["conflicts", "resolve", "--keep", "loser"],
        &["conflicts", "resolve", "ab", "--all", "--keep", "loser"],
        &["conflicts", "resolve", "ab", "--keep", "loser", "--set", "a=1"],
        &["conflicts", "resolve", "ab", "--keep", "neither"],
        &["conflicts", "resolve", "ab", "--set", "nothing"],
        &["parked", "drop", "ab"],
    ] {
        let ran = node.run(args);
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
        assert_eq!(ran.stdout, "", "{args:?}");
        assert_ne!(ran.stderr, "", "{args:?}");
    }
    assert!(!node.dir.exists());
}

#[test]
fn help_and_version_are_answers() {
    let help = Ran::of(doltswarm().arg("--help"));
    assert_eq!(help.code, Some(0));
    for command in [
        "init",
        "invite",
        "join",
        "up",
        "exec",
        "query",
        "sql",
        "commit",
        "status",
        "peers",
        "members",
        "log",
        "diff",
        "conflicts",
        "parked",
        "pull",
        "wait",
        "events",
        "watch",
        "demo",
    ] {
        assert!(help.stdout.contains(&format!("\n  {command} ")), "{command}");
    }
    let version = Ran::of(doltswarm().arg("--version"));
    assert_eq!(version.stdout, format!("doltswarm {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_directory_without_a_node_is_named() {
    let sandbox = Sandbox::new();
    for args in [
        &["status"][..],
        &["up"],
        &["query", "SELECT 1"],
        &["events"],
        &["watch", "SELECT 1"],
        &["pull"],
    ] {
        let error = sandbox.node("nowhere").fails(1, args);
        assert!(error.contains("nowhere") && error.contains("doltswarm init"), "{error}");
    }
    assert!(!sandbox.path().join("nowhere").exists());
}

#[test]
fn a_statement_that_fails_leaves_nothing_of_those_before_it() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let before = node.json(["status"])["main"].clone();
    let insert = "INSERT INTO cities VALUES ('Rome', 1)";
    for args in [
        &["exec", "-m", "x", insert, "INSERT INTO nowhere VALUES (1)"][..],
        &["exec", "-m", "x", insert, insert],
        &["exec", "-m", "x", "INSERT INTO cities VALUES ('Rome', 1); SELEC"],
        &["exec", "-m", "x", "CREATE TABLE other (a); INSERT INTO nowhere VALUES (1)"],
    ] {
        node.fails(1, args);
        assert_eq!(node.cities(), json!([]), "{args:?}");
    }
    let status = node.json(["status"]);
    assert_eq!(status["main"], before);
    assert_eq!(status["dirty"], json!([]));
}

#[test]
fn nothing_to_execute_is_an_error() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    node.fails(1, ["exec", "-m", "x", ""]);
    // Standard input is read where there is no SQL; here it is empty.
    node.fails(1, ["exec", "-m", "x"]);
    let error = node.fails(1, ["exec", "-m", "x", "-f", "/no/such/file.sql"]);
    assert!(error.contains("/no/such/file.sql"), "{error}");
}

#[test]
fn a_query_that_would_write_is_refused() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    for sql in ["DELETE FROM cities", "DROP TABLE cities", "SELEC 1", "SELECT * FROM nowhere"] {
        node.fails(1, ["query", sql]);
    }
    assert_eq!(node.cities(), json!([]));
}

#[test]
fn a_ticket_that_is_cut_off_says_so() {
    let sandbox = Sandbox::new();
    let founder = sandbox.founded("a");
    let _up = founder.up();
    let ticket = founder.invite();
    let node = sandbox.node("b");
    for damaged in [&ticket[..ticket.len() - 1], &ticket[..ticket.len() / 2], &ticket[1..], ""] {
        let error = node.fails(2, ["join", damaged]);
        assert!(error.contains("ticket"), "{error}");
    }
    assert!(!node.dir.exists());
}

#[test]
fn a_ticket_of_a_node_that_is_down_can_be_used_later() {
    let sandbox = Sandbox::new();
    let founder = sandbox.founded("a");
    let up = founder.up();
    let ticket = founder.invite();
    assert_eq!(up.process.terminate(), Some(0));
    let node = sandbox.node("b");
    let error = node.fails(1, ["join", &ticket]);
    assert!(error.contains("doltswarm up"), "{error}");
}

#[test]
fn a_node_is_not_made_over_another() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let before = node.json(["status"]);
    let error = node.fails(1, ["init"]);
    assert!(error.contains("already"), "{error}");
    assert_eq!(node.json(["status"]), before);
}

#[test]
fn a_dolt_server_is_named_with_the_engine_and_without_a_password() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let url = "mysql://root@127.0.0.1:1/x";
    let error = node.fails(2, ["init", "--engine", "dolt"]);
    assert!(error.contains("--dolt-url"), "{error}");
    let error = node.fails(2, ["init", "--dolt-url", url]);
    assert!(error.contains("--engine dolt"), "{error}");
    let with_password = "mysql://root:s3cret@127.0.0.1:1/x";
    let error = node.fails(2, ["init", "--engine", "dolt", "--dolt-url", with_password]);
    assert!(error.contains("password") && !error.contains("s3cret"), "{error}");
    let error = node.fails(2, ["init", "--engine", "dolt", "--dolt-url", url, "--from", "a.db"]);
    assert!(error.contains("--from"), "{error}");
    // Nothing listens there.
    let error = node.fails(1, ["init", "--engine", "dolt", "--dolt-url", url]);
    assert!(error.contains(url) && error.contains("dolt sql-server"), "{error}");
    let left = fs::read_dir(&node.dir).map(|files| files.count()).unwrap_or_default();
    assert!(left <= 1, "more than the lock is left: {left}");
}

#[test]
fn damaged_sqlite_file_is_not_a_database_to_start_from() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("plain.db");
    let mut content = empty_sqlite_file();
    content[100..].fill(0x5a);
    fs::write(&file, &content).unwrap();
    let node = sandbox.node("a");
    let error = node.fails(1, ["init", "--from", file.to_str().unwrap()]);
    assert!(error.contains("plain.db"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), content);
    // Nothing half made is left: the same directory takes an init.
    node.ok(["init"]);
    let error = sandbox.node("b").fails(1, ["init", "--from", "/no/such/file.db"]);
    assert!(error.contains("/no/such/file.db"), "{error}");
}

#[test]
fn unknown_commits_conflicts_and_peers_are_named() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let unknown = "0123456789abcdef0123456789abcdef01234567";
    assert!(node.fails(1, ["diff", unknown]).contains(unknown));
    assert!(node.fails(1, ["conflicts", "show", "abc"]).contains("abc"));
    assert!(node.fails(1, ["pull", "zoe"]).contains("zoe"));
    assert!(node.fails(1, ["peers", "remove", "zoe"]).contains("zoe"));
    node.fails(1, ["peers", "add", &"ab".repeat(32), "127.0.0.1:1"]);
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    node.ok(["exec", "-m", "red \x1b[31m", "INSERT INTO cities VALUES ('a\x1b[2Jb', 1)"]);
    for args in [&["log"][..], &["query", "SELECT name FROM cities"], &["diff"]] {
        let shown = node.ok(args);
        assert!(!shown.contains('\x1b'), "{args:?}: {shown:?}");
        assert!(shown.contains("\\u{1b}"), "{args:?}: {shown:?}");
    }
    // A program gets what was stored.
    assert_eq!(node.cities()[0]["name"], "a\x1b[2Jb");
}

#[test]
fn quotes_in_messages_and_names_are_text() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.ok(["init", "--name", "O'Brien \"; --"]);
    let message = "it's \"done\"'); DROP TABLE t; --";
    node.ok(["exec", "-m", message, "CREATE TABLE t (a TEXT PRIMARY KEY)"]);
    let log = node.json(["log", "-n", "1"]);
    assert_eq!(log[0]["message"], message);
    assert!(log[0]["author"].as_str().unwrap().starts_with("O'Brien \"; -- <"), "{log}");
    assert_eq!(node.json(["query", "SELECT count(*) AS n FROM t"]), json!([{ "n": 0 }]));
    for name in ["a\nb", "a\u{1b}[31mb", "a<b", " a", &"x".repeat(65)] {
        let error = sandbox.node("b").fails(1, ["init", "--name", name]);
        assert!(error.contains("name"), "{error}");
    }
    assert!(!sandbox.path().join("b").exists());
    let longest = "m".repeat(60 << 10);
    node.ok(["exec", "-m", &longest, "INSERT INTO t VALUES ('x')"]);
    let error = node.fails(1, ["exec", "-m", &(longest + "m"), "INSERT INTO t VALUES ('y')"]);
    assert!(error.contains("message is longer"), "{error}");
    assert_eq!(node.json(["query", "SELECT count(*) AS n FROM t"]), json!([{ "n": 1 }]));
}

#[test]
fn an_address_that_is_taken_and_a_key_that_others_can_read_are_named() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = node.fails(1, ["up", "--bind", &address]);
    assert!(error.contains(&address) && error.contains("in use"), "{error}");
    let key = node.dir.join("key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = node.fails(1, ["status"]);
    assert!(error.contains("chmod 600") && error.contains("key"), "{error}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    node.ok(["status"]);
}

/// The file that SQLite itself writes for a database without tables: one page with an empty leaf.
fn empty_sqlite_file() -> Vec<u8> {
    let mut page = vec![0; 4096];
    page[..16].copy_from_slice(b"SQLite format 3\0");
    // Page size; versions; payload fractions.
    page[16..24].copy_from_slice(&[0x10, 0x00, 1, 1, 0, 64, 32, 32]);
    // Change counter; size in pages.
    page[24..32].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    // Schema format; text encoding; version-valid-for.
    page[47] = 4;
    page[59] = 1;
    page[95] = 1;
    // An empty table leaf whose content starts at the page's end.
    page[100] = 13;
    page[105..107].copy_from_slice(&[0x10, 0x00]);
    page
}
