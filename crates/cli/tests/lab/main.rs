//! The program over links as they are between two homes: real processes, each in a network
//! namespace of its own, joined by a link that is emulated in this process.
//!
//! Bytes, packets and calls are asserted, because they do not depend on the machine; times are not.
//! Needs Linux, root and `/dev/net/tun`; without them one line says so, and the scenarios pass
//! without a look. See `docs/networks.md`.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]
#![allow(clippy::print_stdout, reason = "`--nocapture` shows what was measured")]

mod ffi;
mod link;
mod network;
mod scenarios;
#[path = "../support.rs"]
#[allow(dead_code, reason = "shared with the program's other tests")]
mod support;

/// A file that `main.rs` does not name is never run.
#[test]
fn no_file_of_the_lab_is_forgotten() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab");
    let main = include_str!("main.rs");
    for entry in std::fs::read_dir(here).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") {
            assert!(main.contains(&format!("mod {module};")), "{name} is not compiled");
        }
    }
}
