//! `sql`: statements from standard input, each run when it is whole.

use std::io::{self, BufRead, IsTerminal};

use serde_json::Value;

use crate::commands::Context;
use crate::commands::write::committed;
use crate::control::client;
use crate::control::protocol::Request;
use crate::error::{CommandError, CommandResult};
use crate::output;
use crate::render::rows;
use crate::sql::{is_blank, is_query, split_statement};

/// The message of the shell's commits.
const MESSAGE: &str = "sql shell";
/// What the shell says first.
const WELCOME: &str =
    "Statements end with `;`. Each that writes is a commit. `.quit` or Ctrl-D ends.";

/// `sql`: runs statements as they come. A query prints rows; anything else is a commit of its own.
///
/// On a terminal an error is told and the shell goes on; a script ends at the first error. With
/// `--json` the results of all statements are one list, printed at the end.
pub(super) async fn sql(context: &Context) -> CommandResult<()> {
    let terminal = io::stdin().is_terminal();
    if terminal {
        output::note(WELCOME);
    }
    let mut results = Vec::new();
    let mut pending = String::new();
    loop {
        if terminal {
            output::prompt(if is_blank(&pending) { "sql> " } else { "...> " });
        }
        let Some(line) = next_line().await? else { break };
        if is_blank(&pending) && matches!(line.trim(), ".quit" | ".exit" | "\\q" | "exit" | "quit")
        {
            pending.clear();
            break;
        }
        pending.push_str(&line);
        // A line without a semicolon ends nothing; so a long statement is not read again for each.
        if line.contains(';') {
            let mut done = 0;
            while let Some((statement, _)) = split_statement(&pending[done..]) {
                done += statement.len();
                run_one(context, statement, terminal, &mut results).await?;
            }
            pending.drain(..done);
        }
    }
    if terminal {
        output::note("");
    }
    // The last statement of a script needs no semicolon.
    run_one(context, &pending, terminal, &mut results).await?;
    if context.json { output::print_json(&results) } else { Ok(()) }
}

/// Reads a line without holding up the runtime.
async fn next_line() -> CommandResult<Option<String>> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|bytes| (bytes > 0).then_some(line))
    });
    let failed =
        |error: String| CommandError::failed(format!("cannot read standard input: {error}"));
    read.await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))
}

async fn run_one(
    context: &Context,
    statement: &str,
    terminal: bool,
    results: &mut Vec<Value>,
) -> CommandResult<()> {
    if is_blank(statement) {
        return Ok(());
    }
    let query = is_query(statement);
    let request = if query {
        Request::Query { sql: statement.to_owned(), params: Vec::new() }
    } else {
        Request::Exec {
            message: MESSAGE.to_owned(),
            statements: vec![statement.to_owned()],
            params: Vec::new(),
        }
    };
    match client::call(&context.dir, request).await {
        Ok(answer) if context.json => {
            results.push(if query { rows::objects(&answer) } else { answer });
            Ok(())
        }
        Ok(answer) if query => output::print(&rows::table(&answer)),
        Ok(answer) => output::print(&committed(&answer)),
        Err(error) if terminal => {
            output::report(&error, false);
            Ok(())
        }
        Err(error) => Err(error),
    }
}
