//! What each command does: ask, then print.

mod data;
mod decide;
mod found;
mod itself;
mod listen;
mod peers;
mod read;
mod shell;
mod up;
mod write;

pub(crate) use up::Signals;

use std::path::PathBuf;

use serde_json::Value;

use crate::args::{Cli, Command};
use crate::control::client;
use crate::control::protocol::Request;
use crate::demo;
use crate::error::CommandResult;
use crate::output;

/// Where and how a command runs.
#[derive(Debug)]
pub(crate) struct Context {
    /// The node's directory.
    pub(crate) dir: PathBuf,
    /// Whether standard output is for a program.
    pub(crate) json: bool,
}

impl Context {
    /// Asks the node, and prints its answer as JSON or as `render` words it.
    async fn ask(
        &self,
        request: Request,
        render: impl FnOnce(&Value) -> String,
    ) -> CommandResult<()> {
        let answer = client::call(&self.dir, request).await?;
        self.print(&answer, render)
    }

    /// Prints an answer as JSON or as `render` words it.
    fn print(&self, answer: &Value, render: impl FnOnce(&Value) -> String) -> CommandResult<()> {
        if self.json { output::print_json(answer) } else { output::print(&render(answer)) }
    }
}

/// Runs the command of the command line.
pub(crate) async fn run(cli: Cli) -> CommandResult<()> {
    // An error names the directory, and `.` is the name of none.
    let dir = std::path::absolute(&cli.global.dir).unwrap_or(cli.global.dir);
    let context = Context { dir, json: cli.global.json };
    match cli.command {
        Command::Init(args) => found::init(&context, args).await,
        Command::Join(args) => found::join(&context, args).await,
        Command::Up(args) => up::up(&context, args).await,
        Command::Events => listen::events(&context).await,
        Command::Watch(args) => listen::watch(&context, args).await,
        Command::Exec(args) => write::exec(&context, args).await,
        Command::Commit(args) => write::commit(&context, args).await,
        Command::Import(args) => data::import(&context, args).await,
        Command::Lint => data::lint(&context).await,
        Command::Revert(args) => write::revert(&context, args).await,
        Command::Restore(args) => write::restore(&context, args).await,
        Command::Query(args) => read::query(&context, args).await,
        Command::Sql => shell::sql(&context).await,
        Command::Status => read::status(&context).await,
        Command::Members => read::members(&context).await,
        Command::Log(args) => read::log(&context, args).await,
        Command::Diff(args) => read::diff(&context, args).await,
        Command::Conflicts(args) => decide::conflicts(&context, args).await,
        Command::Parked(args) => decide::parked(&context, args).await,
        Command::Discard(args) => decide::discard(&context, args).await,
        Command::Invite(args) => peers::invite(&context, args).await,
        Command::Peers(args) => peers::peers(&context, args).await,
        Command::Pull(args) => peers::pull(&context, args).await,
        Command::Wait(args) => peers::wait(&context, args).await,
        Command::Demo(args) => demo::run(context.json, args.engine).await,
        Command::Completions(args) => itself::completions(args),
        Command::Man(args) => itself::man(&context, &args),
    }
}
