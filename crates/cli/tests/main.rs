//! The program as people and scripts run it: real processes, real directories, 127.0.0.1 only.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

mod bad_input;
mod control;
mod crash;
mod demo;
mod dolt;
mod dump;
mod json;
mod memory;
mod node;
mod shell;
mod support;
mod transcripts;
mod two_nodes;

/// A file that `main.rs` does not name is never run.
#[test]
fn no_test_file_is_forgotten() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let main = include_str!("main.rs");
    for entry in std::fs::read_dir(here).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") {
            assert!(main.contains(&format!("mod {module};")), "{name} is not run");
        }
    }
}
