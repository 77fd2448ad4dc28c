//! Chores of the workspace. `cargo run -p xtask -- codegen` writes the generated code anew;
//! `cargo test -p xtask` checks that it is fresh and that the source tree keeps its rules.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod codegen;
mod tidy;

/// The root of the workspace: this crate's directory is one below it.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

#[expect(clippy::print_stderr, reason = "a program for the terminal")]
fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    let result = match command.as_deref() {
        Some("codegen") => codegen::write(&root()),
        Some("tidy") => match tidy::check(&root()) {
            Ok(faults) if faults.is_empty() => Ok(()),
            Ok(faults) => Err(faults.join("\n").into()),
            Err(error) => Err(error.into()),
        },
        _ => Err("usage: xtask codegen | tidy".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
