//! `doltswarm-bench`: measures real nodes and prints each figure beside what is wanted.

mod args;
mod client;
mod dolt;
mod error;
mod figures;
mod fleet;
mod machine;
mod node;
mod protocol;
mod report;
mod sample;
mod schema;
mod worker;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use doltswarm::core::commit::EngineKind;
use tempfile::TempDir;

use crate::args::{Args, Part};
use crate::dolt::Dolt;
use crate::error::{BenchError, BenchResult};
use crate::machine::Machine;
use crate::report::Figure;

/// How often removing the directory is tried while killed nodes still end.
const REMOVE_TRIES: usize = 20;
/// How long to wait between two tries.
const REMOVE_WAIT: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    if matches!(args.part, Some(Part::Node)) {
        runtime.block_on(worker::run());
        // A thread that waits for standard input must not keep the process alive.
        runtime.shutdown_background();
        return ExitCode::SUCCESS;
    }
    let result = runtime.block_on(run(&args));
    runtime.shutdown_background();
    match result {
        Ok(figures) if args.check && figures.iter().any(|one| one.reached == Some(false)) => {
            fail("wanted values are missed")
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error @ BenchError::Usage(_)) => {
            fail(&error.to_string());
            ExitCode::from(2)
        }
        Err(error) => fail(&error.to_string()),
    }
}

async fn run(args: &Args) -> BenchResult<Vec<Figure>> {
    let root = tempfile::Builder::new()
        .prefix("doltswarm-bench-")
        .tempdir()
        .map_err(BenchError::io("create a directory in", &std::env::temp_dir()))?;
    let measured = tokio::select! {
        measured = measure(args, root.path()) => measured,
        () = interrupted() => Err(BenchError::Interrupted),
    };
    // The nodes are dropped by now, and so killed; some may not have ended yet.
    remove(root).await?;
    let (machine, figures) = measured?;
    let text = if args.json {
        format!("{:#}\n", report::to_json(&machine, &figures))
    } else {
        report::to_table(&machine, &figures)
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(BenchError::Output)?;
    Ok(figures)
}

async fn measure(args: &Args, root: &Path) -> BenchResult<(Machine, Vec<Figure>)> {
    let dolt = match args.engine {
        EngineKind::DoltLite => None,
        EngineKind::Dolt => Some(Dolt::find(root)?),
    };
    let machine = Machine::here(dolt.as_ref())?;
    if let Some(warning) = machine.warning() {
        tell(&format!("warning: {warning}"));
    }
    let figures = figures::measure(args, root, dolt.as_ref()).await?;
    Ok((machine, figures))
}

/// Returns when the program is told to end, by Ctrl-C or a signal.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

async fn remove(root: TempDir) -> BenchResult<()> {
    let path = root.keep();
    let mut tries = 0;
    loop {
        match std::fs::remove_dir_all(&path) {
            Ok(()) => return Ok(()),
            Err(error) if tries >= REMOVE_TRIES => {
                return Err(BenchError::io("remove", &path)(error));
            }
            Err(_) => tokio::time::sleep(REMOVE_WAIT).await,
        }
        tries += 1;
    }
}

fn fail(text: &str) -> ExitCode {
    tell(&format!("error: {text}"));
    ExitCode::from(1)
}

#[expect(clippy::print_stderr, reason = "messages are for people")]
fn tell(text: &str) {
    eprintln!("{text}");
}
