//! The commands that write to this node's own database.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use doltswarm::core::limits::SQL_BYTES_MAX;
use serde_json::Value;

use crate::args::{CommitArgs, ExecArgs, RestoreArgs, RevertArgs};
use crate::commands::Context;
use crate::control::client;
use crate::control::protocol::Request;
use crate::error::{CommandError, CommandResult};
use crate::literal::to_json;
use crate::output;
use crate::render::text::{count, number, text};

/// The argument that stands for standard input.
const STDIN: &str = "-";

/// `exec`: executes all statements and commits, or does nothing.
pub(super) async fn exec(context: &Context, args: ExecArgs) -> CommandResult<()> {
    let statements = collect_sql(&args)?;
    let request =
        Request::Exec { message: args.message, statements, params: to_json(&args.params) };
    let answer = client::call_within(&context.dir, request, args.timeout).await?;
    context.print(&answer, committed)
}

/// `commit`: commits what other programs left.
pub(super) async fn commit(context: &Context, args: CommitArgs) -> CommandResult<()> {
    context.ask(Request::Commit { message: args.message }, committed).await
}

/// `revert`: takes back what a commit changed.
pub(super) async fn revert(context: &Context, args: RevertArgs) -> CommandResult<()> {
    let RevertArgs { commit, message } = args;
    context.ask(Request::Revert { commit, message }, committed).await
}

/// `restore`: makes a table's rows what they were.
pub(super) async fn restore(context: &Context, args: RestoreArgs) -> CommandResult<()> {
    let RestoreArgs { table, at, message } = args;
    context.ask(Request::Restore { table, at, message }, committed).await
}

/// What an exec did, in one line.
pub(super) fn committed(report: &Value) -> String {
    let rows = count(number(report, "rows_affected"), "row");
    match report["commit"].as_str() {
        Some(_) => format!("{}  {rows} changed\n", text(report, "commit")),
        None => "nothing changed, so there is no commit\n".to_owned(),
    }
}

/// The SQL in the order files, arguments; standard input where it is named, or nothing else is
/// given.
fn collect_sql(args: &ExecArgs) -> CommandResult<Vec<String>> {
    let mut statements = Vec::new();
    for path in &args.file {
        if path == Path::new(STDIN) {
            statements.push(read_stdin()?);
        } else {
            let name = format!("the file {}", path.display());
            let file = File::open(path)
                .map_err(|error| CommandError::failed(format!("cannot read {name}: {error}")))?;
            statements.push(read_text(file, &name)?);
        }
    }
    for sql in &args.sql {
        statements.push(if sql == STDIN { read_stdin()? } else { sql.clone() });
    }
    if statements.is_empty() {
        statements.push(read_stdin()?);
    }
    Ok(statements)
}

/// Reads standard input as text.
pub(super) fn read_stdin() -> CommandResult<String> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        output::note("reading SQL from standard input; end it with Ctrl-D");
    }
    read_text(stdin.lock(), "standard input")
}

/// Reads a text, at most as much as one commit takes.
pub(super) fn read_text(reader: impl Read, name: &str) -> CommandResult<String> {
    let mut text = String::new();
    let limit = SQL_BYTES_MAX as u64;
    let bytes = reader
        .take(limit + 1)
        .read_to_string(&mut text)
        .map_err(|error| CommandError::failed(format!("cannot read {name}: {error}")))?;
    if bytes as u64 > limit {
        let what = format!("{name} has more than {} MiB of SQL", limit >> 20);
        return Err(CommandError::failed(what).hint("split it into several commits"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn files_come_before_arguments() {
        let dir = tempfile::tempdir().unwrap();
        let file: PathBuf = dir.path().join("a.sql");
        std::fs::write(&file, "one").unwrap();
        let args = ExecArgs {
            message: String::new(),
            sql: vec!["two".into()],
            params: Vec::new(),
            file: vec![file],
            timeout: None,
        };
        assert_eq!(collect_sql(&args).unwrap(), ["one", "two"]);
    }

    #[test]
    fn what_is_not_text_is_named() {
        let error = read_text(&b"\xff\xfe"[..], "the file x").unwrap_err();
        assert!(error.message.starts_with("cannot read the file x"), "{error}");
    }
}
