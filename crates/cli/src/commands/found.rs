//! The commands that make a node: `init` founds a swarm, `join` becomes a member of one.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use doltswarm::core::commit::EngineKind;
use doltswarm::{InitOptions, JoinOptions, JoinProgress, Swarm, Ticket};
use serde_json::{Value, json};

use crate::args::{InitArgs, JoinArgs};
use crate::commands::Context;
use crate::error::{CommandError, CommandResult};
use crate::output;
use crate::render::text::{clean, count, number, short, text};

/// How often progress is told where nobody watches a terminal.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// How much of standard input is read for a ticket, in bytes; a ticket has at most 2 KiB.
const TICKET_INPUT_BYTES_MAX: u64 = 64 << 10;
/// How often the line on a terminal changes.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// `init`: founds a swarm in this directory.
pub(super) async fn init(context: &Context, args: InitArgs) -> CommandResult<()> {
    let InitArgs { name, engine, dolt, from, policy } = args;
    let dolt = dolt.server()?;
    if engine == EngineKind::DoltLite && dolt.is_some() {
        return Err(CommandError::usage("--dolt-url goes with --engine dolt only"));
    }
    if engine == EngineKind::Dolt && dolt.is_none() {
        return Err(CommandError::usage(
            "--engine dolt needs --dolt-url mysql://USER@HOST:PORT/DATABASE",
        ));
    }
    if engine == EngineKind::Dolt && from.is_some() {
        let what = "--from goes with --engine doltlite only: a database of the server is taken over with --dolt-url";
        return Err(CommandError::usage(what));
    }
    let swarm = Swarm::init(&context.dir, InitOptions { name, engine, dolt, from, policy }).await?;
    let answer = describe(&swarm, &context.dir).await;
    let left_out = swarm.left_out().to_vec();
    swarm.close().await;
    for left in &left_out {
        output::note(&format!("not taken: {}", clean(left)));
    }
    let answer = answer.map(|mut answer| {
        answer["left_out"] = left_out.into();
        answer
    });
    context.print(&answer?, |answer| {
        format!(
            "founded swarm {} in {}\nthis peer is {}\n\
             next: `doltswarm up` runs the node, `doltswarm invite` prints a ticket\n",
            short(&text(answer, "swarm")),
            text(answer, "dir"),
            text(answer, "peer"),
        )
    })
}

/// `join`: clones the database and becomes a member.
pub(super) async fn join(context: &Context, args: JoinArgs) -> CommandResult<()> {
    let ticket = read_ticket(&args.ticket)?;
    let options =
        JoinOptions { name: args.name, dolt: args.dolt.server()?, ..JoinOptions::default() };
    let progress = Progress::new(output::notes_go_to_a_terminal());
    let result = {
        let told = std::sync::Arc::clone(&progress);
        Swarm::join(&context.dir, &ticket, options, move |step| told.tell(&step)).await
    };
    progress.finish();
    let swarm = result?;
    let answer = describe(&swarm, &context.dir).await;
    swarm.close().await;
    context.print(&answer?, |answer| {
        format!(
            "joined swarm {} in {}, with {}\nthis peer is {}\nnext: `doltswarm up` keeps it in step\n",
            short(&text(answer, "swarm")),
            text(answer, "dir"),
            count(number(answer, "commits"), "commit"),
            text(answer, "peer"),
        )
    })
}

/// Reads the ticket, which may have become several words on its way.
fn read_ticket(words: &[String]) -> CommandResult<Ticket> {
    let text = match words {
        [word] if word == "-" => read_stdin_text()?,
        words => words.concat(),
    };
    text.parse::<Ticket>().map_err(|error| {
        CommandError::usage(error.to_string())
            .hint("copy the whole text that `doltswarm invite` printed")
    })
}

fn read_stdin_text() -> CommandResult<String> {
    let mut text = String::new();
    let read = io::stdin().lock().take(TICKET_INPUT_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| CommandError::failed(format!("cannot read standard input: {error}")))?;
    Ok(text)
}

/// What a new node is, as `--json` prints it.
async fn describe(swarm: &Swarm, dir: &Path) -> CommandResult<Value> {
    let status = swarm.status().await?;
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    Ok(json!({
        "swarm": status.swarm,
        "peer": status.peer,
        "name": status.name,
        "engine": status.engine,
        "policy": status.policy,
        "main": status.main,
        "commits": status.commits,
        "dir": dir.to_string_lossy(),
    }))
}

/// Progress on standard error: one changing line on a terminal, a line now and then elsewhere.
#[derive(Debug)]
struct Progress {
    terminal: bool,
    state: Mutex<ProgressState>,
}

#[derive(Debug, Default)]
struct ProgressState {
    /// When a line of fetched bytes was last written.
    told: Option<Instant>,
    /// What was fetched since.
    untold: Option<String>,
    /// Whether the terminal's line has to be ended.
    line_open: bool,
}

impl Progress {
    fn new(terminal: bool) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self { terminal, state: Mutex::default() })
    }

    fn tell(&self, step: &JoinProgress) {
        let Ok(mut state) = self.state.lock() else { return };
        let words = words(step);
        if matches!(step, JoinProgress::Fetching { .. }) {
            let interval = if self.terminal { REDRAW_INTERVAL } else { PROGRESS_INTERVAL };
            // The first is a few bytes: it is worth a line only where more is long in coming.
            if state.told.get_or_insert_with(Instant::now).elapsed() < interval {
                state.untold = Some(words);
                return;
            }
            (state.told, state.untold) = (Some(Instant::now()), None);
        } else if let Some(fetched) = state.untold.take() {
            self.show(&mut state, &fetched);
        }
        self.show(&mut state, &words);
    }

    fn show(&self, state: &mut ProgressState, words: &str) {
        if self.terminal {
            output::replace_line(words);
            state.line_open = true;
        } else {
            output::note(words);
        }
    }

    /// Leaves the terminal's line behind.
    fn finish(&self) {
        if self.state.lock().is_ok_and(|state| state.line_open) {
            output::note("");
        }
    }
}

fn words(step: &JoinProgress) -> String {
    match step {
        JoinProgress::Connecting { peer } => format!("connecting to {}", peer.short()),
        JoinProgress::Admitted => "admitted as a member".to_owned(),
        JoinProgress::Fetching { chunks, bytes } => {
            format!("fetching: {}, {}", size(*bytes), count(*chunks, "chunk"))
        }
        JoinProgress::Storing => "storing".to_owned(),
        JoinProgress::Verifying { commits } => {
            format!("verifying the signatures of {}", count(*commits, "commit"))
        }
        JoinProgress::Done => "done".to_owned(),
        // The library may learn to tell more.
        _ => "working".to_owned(),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reads_well() {
        let fetching = JoinProgress::Fetching { chunks: 1, bytes: 12_345 };
        assert_eq!(words(&fetching), "fetching: 12 kB, 1 chunk");
        assert_eq!(size(75_000_000), "75 MB");
    }
}
