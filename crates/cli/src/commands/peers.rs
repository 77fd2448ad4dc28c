//! The commands about other peers.

use std::time::Duration;

use serde_json::Value;

use crate::args::{InviteArgs, PeersArgs, PeersCommand, PullArgs, WaitArgs};
use crate::commands::Context;
use crate::control::client;
use crate::control::protocol::Request;
use crate::error::{CommandError, CommandResult};
use crate::render::peers as render;
use crate::render::text::{count, flag, number, short, text, texts};

/// `invite`: prints a ticket.
pub(super) async fn invite(context: &Context, args: InviteArgs) -> CommandResult<()> {
    let request = Request::Invite {
        role: args.role.as_str().to_owned(),
        uses: args.uses,
        expires_ms: millis(args.expires),
    };
    context.ask(request, |answer| text(answer, "ticket")).await
}

/// `peers`: lists the other peers, or changes where they are found.
pub(super) async fn peers(context: &Context, args: PeersArgs) -> CommandResult<()> {
    match args.command {
        None | Some(PeersCommand::List) => context.ask(Request::Peers {}, render::list).await,
        Some(PeersCommand::Add { peer, addresses }) => {
            let request = Request::AddPeer { peer, addresses };
            let added = |answer: &Value| {
                let addresses = texts(answer, "addresses").join(", ");
                format!("{} is looked for at {addresses}", short(&text(answer, "added")))
            };
            context.ask(request, added).await
        }
        Some(PeersCommand::Remove { peer }) => {
            let removed =
                |answer: &Value| format!("{} is not looked for any more", text(answer, "removed"));
            context.ask(Request::RemovePeer { peer }, removed).await
        }
    }
}

/// `pull`: asks for heads now.
pub(super) async fn pull(context: &Context, args: PullArgs) -> CommandResult<()> {
    let pulled = |report: &Value| {
        let asked = number(report, "asked");
        if asked == 0 {
            return "no other peer is known, so there is nothing to pull".to_owned();
        }
        let state = if flag(report, "in_sync") { "in step" } else { "not in step" };
        let commits = count(number(report, "commits"), "new commit");
        format!("{commits} from {}; {state}", count(asked, "peer"))
    };
    context.ask(Request::Pull { peer: args.peer }, pulled).await
}

/// `wait`: waits until in step, or until a commit is on enough peers.
pub(super) async fn wait(context: &Context, args: WaitArgs) -> CommandResult<()> {
    let what = match &args.commit {
        Some(commit) => format!("{} is", short(commit)),
        None => "in step".to_owned(),
    };
    let request =
        Request::Wait { commit: args.commit, peers: args.peers, timeout_ms: millis(args.timeout) };
    let report = client::call(&context.dir, request).await?;
    let peers = count(number(&report, "peers"), "peer");
    if flag(&report, "reached") {
        return context.print(&report, |_| format!("{what} on {peers}"));
    }
    if context.json {
        context.print(&report, |_| String::new())?;
    }
    let timeout = args.timeout.as_secs_f64();
    let what = format!("after {timeout} s, {what} on {peers} only");
    Err(CommandError::timed_out(what).hint("`doltswarm status` says why"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
