//! `sql` as a script runs it.

use serde_json::json;

use crate::support::{Ran, Sandbox};

#[test]
fn statements_run_as_they_come() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let script = "INSERT INTO cities\n VALUES ('a;b', 1); -- ; not here\nSELECT name FROM cities;\n\
                  SELECT count(*) AS n FROM cities";
    let ran = Ran::with_input(&mut node.command(["sql"]), script);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].ends_with("1 row changed"), "{ran:?}");
    assert_eq!(lines[1..], ["name", "----", "a;b", "n", "-", "1"]);
    assert_eq!(node.json(["log", "-n", "1"])[0]["message"], "sql shell");
    // A script gets no prompts.
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_script_ends_at_its_first_error() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let script = "INSERT INTO cities VALUES ('a', 1); SELEC 1; INSERT INTO cities VALUES ('b', 2);";
    let ran = Ran::with_input(&mut node.command(["sql"]), script);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(node.cities(), json!([{ "name": "a", "people": 1 }]));
}

#[test]
fn json_is_one_list_of_results() {
    let sandbox = Sandbox::new();
    let node = sandbox.founded("a");
    let script = "SELECT 1 AS a; INSERT INTO cities VALUES ('a', 1); .quit\n";
    let ran = Ran::with_input(&mut node.command(["sql", "--json"]), "SELECT 1 AS a;\n.quit\n");
    assert_eq!(ran.json(), json!([[{ "a": 1 }]]));
    let ran =
        Ran::with_input(&mut node.command(["sql", "--json"]), &script.replace(" .quit\n", ""));
    assert_eq!(ran.json()[0], json!([{ "a": 1 }]));
    assert_eq!(ran.json()[1]["rows_affected"], 1);
}
