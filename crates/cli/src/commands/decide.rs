//! The commands that decide something: conflicts, parked heads, uncommitted work.

use serde_json::json;

use crate::args::{
    CloseArgs, ConflictsArgs, ConflictsCommand, DiscardArgs, KeepWord, ParkedArgs, ParkedCommand,
    ResolveArgs,
};
use crate::commands::Context;
use crate::commands::write::committed;
use crate::control::client;
use crate::control::protocol::Request;
use crate::error::{CommandError, CommandResult};
use crate::literal;
use crate::render::text::{count, short, texts};
use crate::render::{conflict, status};

/// `discard`: throws away what other programs left uncommitted.
pub(super) async fn discard(context: &Context, args: DiscardArgs) -> CommandResult<()> {
    if args.yes {
        let discarded = |answer: &serde_json::Value| match texts(answer, "discarded").join(", ") {
            tables if tables.is_empty() => "nothing is uncommitted".to_owned(),
            tables => format!("the uncommitted changes in {tables} are gone"),
        };
        return context.ask(Request::Discard {}, discarded).await;
    }
    let answer = client::call(&context.dir, Request::Status {}).await?;
    let dirty = texts(&answer, "dirty");
    if dirty.is_empty() {
        let nothing = json!({ "discarded": dirty });
        return context.print(&nothing, |_| "nothing is uncommitted".to_owned());
    }
    let what = format!("this throws away the uncommitted changes in {}", dirty.join(", "));
    Err(CommandError::failed(what)
        .hint("`doltswarm discard --yes` does it, `doltswarm commit -m MESSAGE` keeps them"))
}

/// `conflicts`: the versions that lost, and what is to stand.
pub(super) async fn conflicts(context: &Context, args: ConflictsArgs) -> CommandResult<()> {
    match args.command {
        None => context.ask(Request::Conflicts { all: args.all }, conflict::list).await,
        Some(ConflictsCommand::List { all }) => {
            context.ask(Request::Conflicts { all: all || args.all }, conflict::list).await
        }
        Some(ConflictsCommand::Show { id }) => {
            context.ask(Request::Conflict { id }, conflict::show).await
        }
        Some(ConflictsCommand::Resolve(mut resolve)) => {
            resolve.all |= args.all;
            context.ask(resolution(resolve)?, conflict::resolved).await
        }
    }
}

fn resolution(args: ResolveArgs) -> CommandResult<Request> {
    let ResolveArgs { ids, all: _, table, keep, set, message } = args;
    for text in &set {
        literal::assignment(text).map_err(CommandError::usage)?;
    }
    let keep_words = match keep {
        Some(KeepWord::Winner) => "keep the winner".to_owned(),
        Some(KeepWord::Loser) => "keep the loser".to_owned(),
        Some(KeepWord::Both) => "keep both".to_owned(),
        None => format!("set {}", set.join(", ")),
    };
    let which = match &ids[..] {
        [] => match &table {
            Some(table) => format!("all conflicts in {table}"),
            None => "all conflicts".to_owned(),
        },
        [id] => format!("conflict {}", short(id)),
        ids => count(ids.len() as u64, "conflict"),
    };
    let message = message.unwrap_or_else(|| format!("resolve {which}: {keep_words}"));
    Ok(Request::Resolve { ids, table, keep, set, message })
}

/// `parked`: the heads that main could not include, and what becomes of them.
pub(super) async fn parked(context: &Context, args: ParkedArgs) -> CommandResult<()> {
    let close = |CloseArgs { head, message }, take| Request::CloseHead { head, take, message };
    match args.command {
        None | Some(ParkedCommand::List) => context.ask(Request::Parked {}, status::parked).await,
        Some(ParkedCommand::Drop(args)) => context.ask(close(args, false), committed).await,
        Some(ParkedCommand::Take(args)) => context.ask(close(args, true), committed).await,
    }
}
