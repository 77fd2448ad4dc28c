//! Runs the pages of `cmd/`: what they show is what the program prints.
//!
//! In a block marked `console`, a line `$ command` is given to `sh` in a directory of the page's
//! own, and the lines up to the next command are what it must print, standard error included.
//! `[..]` stands for anything within a line, a line `...` for any lines, `[HASH]` for any hash or
//! id, short or long. A last line `? N` is the exit code, where it is not 0. A command that ends in
//! `&` goes on to the end of the page; it must print its line first.

use std::path::Path;
use std::process::Command;

use crate::support::{Background, Ran, Sandbox};

#[test]
fn one_node() {
    run_page(include_str!("cmd/one-node.md"));
}

#[test]
fn two_nodes() {
    run_page(include_str!("cmd/two-nodes.md"));
}

#[test]
fn conflicts() {
    run_page(include_str!("cmd/conflicts.md"));
}

#[test]
fn undo() {
    run_page(include_str!("cmd/undo.md"));
}

#[test]
fn start() {
    run_page(include_str!("cmd/start.md"));
}

#[test]
fn mistakes() {
    run_page(include_str!("cmd/mistakes.md"));
}

/// A command with what it must print.
struct Step {
    command: String,
    expected: Vec<String>,
    code: i32,
}

fn run_page(page: &str) {
    let sandbox = Sandbox::new();
    let mut background = Vec::new();
    for step in steps(page) {
        let output = match step.command.strip_suffix('&') {
            Some(command) => {
                // The shell becomes the program, so that killing one kills the other.
                let process =
                    Background::start(&mut shell(&format!("exec {command}"), sandbox.path()));
                let line = process.line();
                background.push(process);
                line
            }
            None => {
                let ran =
                    Ran::of(&mut shell(&format!("exec 2>&1; {}", step.command), sandbox.path()));
                assert_eq!(ran.code, Some(step.code), "$ {}\n{}", step.command, ran.stdout);
                ran.stdout
            }
        };
        let actual: Vec<String> = output.lines().map(redact).collect();
        assert!(
            lines_match(&step.expected, &actual),
            "$ {}\nexpected:\n{}\nprinted:\n{}",
            step.command,
            step.expected.join("\n"),
            actual.join("\n")
        );
    }
}

fn shell(command: &str, dir: &Path) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_doltswarm"));
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .current_dir(dir)
        .env("PATH", format!("{}:{path}", program.parent().unwrap().display()))
        .env_remove("DOLTSWARM_DIR")
        .env_remove("RUST_LOG");
    shell
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            steps.push(Step { command: command.to_owned(), expected: Vec::new(), code: 0 });
        } else if let Some(step) = steps.last_mut().filter(|_| inside) {
            match line.strip_prefix("? ") {
                Some(code) => step.code = code.parse().unwrap(),
                None => step.expected.push(line.to_owned()),
            }
        }
    }
    assert!(!steps.is_empty());
    steps
}

/// Replaces hashes and ids (40 and 64 digits) and their short forms (10 digits).
fn redact(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        out.push_str(&rest[..start]);
        let word = &rest[start..];
        let end = word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        let hex = word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        out.push_str(if hex && [10, 40, 64].contains(&word.len()) { "[HASH]" } else { word });
        rest = after;
    }
    out + rest
}

fn lines_match(expected: &[String], actual: &[String]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((first, others)) if first == "..." => {
            (0..=actual.len()).any(|skipped| lines_match(others, &actual[skipped..]))
        }
        Some((first, others)) => actual.split_first().is_some_and(|(line, following)| {
            line_matches(first, line) && lines_match(others, following)
        }),
    }
}

fn line_matches(expected: &str, actual: &str) -> bool {
    match expected.split_once("[..]") {
        None => expected.trim_end() == actual.trim_end(),
        Some((before, after)) => actual.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.into_iter().any(|at| line_matches(after, &rest[at..]))
        }),
    }
}

#[test]
fn the_runner_tells_right_from_wrong() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(redact(&format!("main {} é", "a1".repeat(20))), "main [HASH] é");
    assert_eq!(redact("abcdefghij 0123456789ab"), "abcdefghij 0123456789ab");
    assert!(lines_match(&lines("a\n...\nz [..] z"), &lines("a\nb\nc\nz y z")));
    assert!(lines_match(&lines("a\n..."), &lines("a")));
    assert!(!lines_match(&lines("a"), &lines("a\nb")));
    assert!(!lines_match(&lines("a\nb"), &lines("a")));
    assert!(!lines_match(&lines("a [..] c"), &lines("a b d")));
}
