//! The `doltswarm` program: reads the command line, runs the command, ends with its exit code.

mod args;
mod commands;
mod control;
mod demo;
mod duration;
mod error;
mod literal;
mod output;
mod render;
mod sql;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::error::CommandError;

fn main() -> ExitCode {
    // Before there are threads that take memory.
    doltswarm::engine::return_large_blocks();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    let json = cli.global.json;
    start_logging(&cli);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::report(&CommandError::failed(format!("cannot start: {error}")), json);
            return ExitCode::from(1);
        }
    };
    let result = runtime.block_on(commands::run(cli));
    // A thread that waits for standard input must not keep the process alive.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::report(&error, json);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Says what is wrong with the command line; help and the version are answers.
fn not_understood(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().any(|word| word == "--json");
    if !error.use_stderr() || !wants_json {
        error.exit();
    }
    let text = error.render().to_string();
    let (what, usage) = text.split_once("\n\n").unwrap_or((text.as_str(), ""));
    let mut error = CommandError::usage(what.trim().trim_start_matches("error: "));
    if !usage.trim().is_empty() {
        error = error.hint(usage.trim());
    }
    output::report(&error, true);
    ExitCode::from(error.exit_code())
}

/// Logs go to standard error: what `RUST_LOG` says, else by the number of `-v`. Without either,
/// only a running node says what goes wrong.
fn start_logging(cli: &Cli) {
    let level = match (cli.global.verbose, &cli.command) {
        (0, Command::Up(_)) => "doltswarm=warn",
        (0, _) => "off",
        (1, _) => "warn,doltswarm=info,doltswarm_core=info",
        (2, _) => "info,doltswarm=debug,doltswarm_core=debug",
        _ => "debug,doltswarm=trace,doltswarm_core=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(output::notes_go_to_a_terminal())
        .init();
}
