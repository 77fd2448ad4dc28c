//! The commands that only read.

use crate::args::{DiffArgs, Format, LogArgs, QueryArgs};
use crate::commands::Context;
use crate::control::client;
use crate::control::protocol::Request;
use crate::error::CommandResult;
use crate::literal::to_json;
use crate::output;
use crate::render::{history, peers, rows, status};

/// `query`: runs a read-only statement.
pub(super) async fn query(context: &Context, args: QueryArgs) -> CommandResult<()> {
    let request = Request::Query { sql: args.sql, params: to_json(&args.params) };
    let answer = client::call_within(&context.dir, request, args.timeout).await?;
    match if context.json { Format::Json } else { args.format } {
        Format::Json => output::print_json(&rows::objects(&answer)),
        Format::Csv => output::print(&rows::csv(&answer)),
        Format::Table => output::print(&rows::table(&answer)),
    }
}

/// `status`: what is going on.
pub(super) async fn status(context: &Context) -> CommandResult<()> {
    context.ask(Request::Status {}, status::status).await
}

/// `members`: who may do what.
pub(super) async fn members(context: &Context) -> CommandResult<()> {
    context.ask(Request::Members {}, peers::members).await
}

/// `log`: the newest commits of main.
pub(super) async fn log(context: &Context, args: LogArgs) -> CommandResult<()> {
    context.ask(Request::Log { limit: args.limit }, history::log).await
}

/// `diff`: the rows that differ between two commits.
pub(super) async fn diff(context: &Context, args: DiffArgs) -> CommandResult<()> {
    let DiffArgs { from, to, limit } = args;
    context.ask(Request::Diff { from, to, limit }, history::diff).await
}
