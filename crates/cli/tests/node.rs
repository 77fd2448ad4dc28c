//! A node's life: ready, stopped, killed, started twice; and that commands work in each.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Background, Ran, Sandbox, keys, signal, wait_until};

#[test]
fn a_node_says_when_it_is_ready_and_closes_on_sigterm_and_sigint() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let peer = node.json(["status"])["peer"].clone();
    for stop in ["TERM", "INT"] {
        let mut up = node.up();
        assert_eq!(keys(&up.ready), ["addresses", "event", "peer"]);
        assert_eq!((&up.ready["event"], &up.ready["peer"]), (&json!("ready"), &peer));
        let address = up.ready["addresses"][0].as_str().unwrap();
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        let socket = node.dir.join("control.sock");
        let mode = fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(node.json(["status"])["online"], true);
        signal(up.process.id(), stop);
        assert_eq!(wait_until("the node ends", || up.process.ended()), 0, "{stop}");
        assert!(!socket.exists(), "{stop}");
        assert_eq!(node.json(["status"])["online"], false);
    }
}

/// How much time of a processor the process has used, in hundredths of a second.
fn processor_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name, in parentheses, may have blanks; user and system time are the 12th and 13th after
    // it.
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

#[test]
fn sigterm_ends_a_node_whatever_runs() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    node.exec(
        "CREATE VIEW forever AS WITH RECURSIVE n (x) AS \
         (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) AS x FROM n",
    );
    for work in [
        &["query", "SELECT x FROM forever"][..],
        &["exec", "-m", "endless", "INSERT INTO cities SELECT 'Rome', x FROM forever"],
    ] {
        let mut up = node.up();
        let mut asked = Background::start(&mut node.command(work));
        let begin = processor_time(up.process.id());
        wait_until("it runs", || {
            assert_eq!(asked.ended(), None, "{work:?}");
            (processor_time(up.process.id()) > begin + 30).then_some(())
        });
        let asked_to_stop = Instant::now();
        signal(up.process.id(), "TERM");
        assert_eq!(wait_until("the node ends", || up.process.ended()), 0, "{work:?}");
        let took = asked_to_stop.elapsed();
        assert!(took < Duration::from_secs(5), "{work:?}: {took:?}");
        assert_eq!(wait_until("the command ends", || asked.ended()), 1, "{work:?}");
    }
    assert_eq!(node.cities(), json!([]));
}

#[test]
fn a_node_says_it_in_one_line_for_people_too() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let up =
        Background::start(&mut node.command(["up", "--bind", "127.0.0.1:0", "--no-discovery"]));
    let line = up.line();
    assert!(line.starts_with("ready: ") && line.contains("127.0.0.1:"), "{line}");
    assert_eq!(up.terminate(), Some(0));
}

#[test]
fn a_second_node_in_the_same_directory_is_refused() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let up = node.up();
    let error = node.fails(1, ["up"]);
    assert!(error.contains("already up"), "{error}");
    assert!(error.contains(&up.process.id().to_string()), "{error}");
    // The first does not notice.
    node.exec("INSERT INTO cities VALUES ('Rome', 1)");
    assert_eq!(up.process.terminate(), Some(0));
}

#[test]
fn a_killed_node_leaves_a_socket_that_is_replaced() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let up = node.up();
    let commit = node.exec("INSERT INTO cities VALUES ('Rome', 1)");
    let socket = node.dir.join("control.sock");
    up.process.kill();
    let left_over = fs::metadata(&socket).unwrap().ino();
    // What was acknowledged is there, and a command works beside the dead socket.
    assert_eq!(node.json(["status"])["main"], json!(commit));
    let up = node.up();
    assert_eq!(node.cities(), json!([{ "name": "Rome", "people": 1 }]));
    assert_eq!(up.process.terminate(), Some(0));
    assert_ne!(left_over, 0);
    assert!(!socket.exists());
}

#[test]
fn a_directory_too_deep_for_a_socket_works() {
    let sandbox = Sandbox::new();
    let deep = "d".repeat(60);
    let node = sandbox.founded(&format!("{deep}/{deep}/{deep}"));
    let temporary = sandbox.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let mut command = node.command(["up", "--bind", "127.0.0.1:0", "--json"]);
    let up = crate::support::Up::start(command.env("TMPDIR", &temporary));
    assert_eq!(node.json(["status"])["online"], true);
    node.exec("INSERT INTO cities VALUES ('Rome', 1)");
    assert!(node.fails(1, ["up"]).contains("already up"));
    assert_eq!(up.process.terminate(), Some(0));
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    assert_eq!(node.json(["status"])["online"], false);
}

#[test]
fn commands_answer_alike_whether_the_node_is_up_or_not() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    node.exec("INSERT INTO cities VALUES ('Rome', 1)");
    let commands: [&[&str]; 8] = [
        &["query", "SELECT * FROM cities"],
        &["query", "SELECT * FROM cities", "--format", "csv"],
        &["log", "--json"],
        &["diff"],
        &["members"],
        &["conflicts"],
        &["parked"],
        &["query", "SELECT * FROM nowhere"],
    ];
    let answers = || -> Vec<_> {
        let answer = |args: &&[&str]| {
            let ran = node.run(*args);
            (ran.code, ran.stdout, ran.stderr)
        };
        commands.iter().map(answer).collect()
    };
    let down = answers();
    let up = node.up();
    assert_eq!(answers(), down);
    assert_eq!(up.process.terminate(), Some(0));
}

#[test]
fn commands_at_once_wait_for_each_other() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    std::thread::scope(|scope| {
        for number in 0..6 {
            let node = &node;
            scope.spawn(move || {
                node.exec(&format!("INSERT INTO cities VALUES ('city {number}', {number})"));
            });
        }
    });
    assert_eq!(node.cities().as_array().unwrap().len(), 6);
}

#[test]
fn the_directory_comes_from_the_environment_or_is_the_current_one() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let mut command = crate::support::doltswarm();
    let ran = Ran::of(command.args(["status", "--json"]).env("DOLTSWARM_DIR", &node.dir));
    assert_eq!(ran.json()["peer"], node.json(["status"])["peer"]);
    let mut command = crate::support::doltswarm();
    let ran = Ran::of(command.args(["status", "--json"]).current_dir(&node.dir));
    assert_eq!(ran.json()["peer"], node.json(["status"])["peer"]);
}

#[test]
fn sql_comes_from_arguments_files_and_standard_input() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let file = sandbox.path().join("more.sql");
    fs::write(
        &file,
        "INSERT INTO cities VALUES ('file', 1);\nINSERT INTO cities VALUES ('f;2', 2);",
    )
    .unwrap();
    let argument = "UPDATE cities SET people = 10 WHERE name = 'file'";
    node.ok(["exec", "-m", "both", "-f", file.to_str().unwrap(), argument]);
    let insert = "INSERT INTO cities VALUES ('stdin', 3);";
    assert_eq!(Ran::with_input(&mut node.command(["exec", "-m", "in"]), insert).code, Some(0));
    let insert = "INSERT INTO cities VALUES ('dash', 4);";
    assert_eq!(Ran::with_input(&mut node.command(["exec", "-m", "in", "-"]), insert).code, Some(0));
    let expected = json!([
        { "name": "dash", "people": 4 },
        { "name": "f;2", "people": 2 },
        { "name": "file", "people": 10 },
        { "name": "stdin", "people": 3 },
    ]);
    assert_eq!(node.cities(), expected);
}

#[test]
fn parameters_are_values_and_never_sql() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let insert = "INSERT INTO cities VALUES (?, ?)";
    let add =
        |name, people| node.json(["exec", "-m", "add", "--param", name, "--param", people, insert]);
    let check = || {
        assert_eq!(add("x'); DROP TABLE cities; --", "-5")["rows_affected"], 1);
        assert_eq!(add("'5'", "null")["rows_affected"], 1);
        let sql = "SELECT name, people FROM cities WHERE name = ? OR people < ? ORDER BY people";
        let found = node.json(["query", "--param", "'5'", "--param", "0", sql]);
        let expected = json!([
            { "name": "5", "people": null },
            { "name": "x'); DROP TABLE cities; --", "people": -5 },
        ]);
        assert_eq!(found, expected);
        node.exec("DELETE FROM cities");
    };
    check();
    let up = node.up();
    check();
    let two = ["exec", "-m", "two", "--param", "1", "DELETE FROM cities", "SELECT ?"];
    assert!(node.fails(2, two).contains("exactly one statement"));
    assert_eq!(up.process.terminate(), Some(0));
}
