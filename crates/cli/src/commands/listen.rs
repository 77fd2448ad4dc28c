//! `events` and `watch`: show what happens in the node, as it happens.

use doltswarm::Swarm;
use serde_json::Value;

use crate::args::WatchArgs;
use crate::commands::Context;
use crate::commands::up::{Signals, serve_while};
use crate::control::client::{self, Connection, Reached};
use crate::control::handler::change_to_json;
use crate::control::protocol::Request;
use crate::error::CommandResult;
use crate::literal::{parse, to_json};
use crate::output;
use crate::render::{live, status};

/// `events`: one line for each event, until the node closes.
///
/// Where no node is up, this command is the node for as long as it runs: it listens, dials and
/// answers other commands as `up` does.
pub(super) async fn events(context: &Context) -> CommandResult<()> {
    match client::reach(&context.dir, true).await? {
        Reached::Node(node) => from_node(context, node).await,
        Reached::Files(error) => Err(error.into()),
        Reached::Directory(swarm) => {
            as_node(context, swarm, |swarm| async move { from_swarm(context, &swarm).await }).await
        }
    }
}

/// `watch`: the rows of a query, and then how they change, until the node closes.
///
/// If no node is up, this command is the node, as `events` is.
pub(super) async fn watch(context: &Context, args: WatchArgs) -> CommandResult<()> {
    match client::reach(&context.dir, true).await? {
        Reached::Node(mut node) => {
            let mut change = Some(
                node.ask(&Request::Watch { sql: args.sql, params: to_json(&args.params) }).await?,
            );
            listening();
            while let Some(shown) = change {
                show_change(context, &shown)?;
                change = node.next().await?;
            }
            output::note("the node closed");
            Ok(())
        }
        Reached::Files(error) => Err(error.into()),
        Reached::Directory(swarm) => {
            as_node(context, swarm, |swarm| async move {
                let params = args.params.iter().map(|text| parse(text)).collect();
                let mut query = swarm.live_query(&args.sql, params);
                listening();
                while let Some(change) = query.next().await? {
                    show_change(context, &change_to_json(&change))?;
                }
                Ok(())
            })
            .await
        }
    }
}

/// Is the node while `work` runs, until a signal comes.
async fn as_node<F: Future<Output = CommandResult<()>>>(
    context: &Context,
    swarm: Swarm,
    work: impl FnOnce(Swarm) -> F,
) -> CommandResult<()> {
    let signals = Signals::catch()?;
    output::note("the node was not up: it is, for as long as this command runs");
    let until_signal = |swarm: Swarm| async move {
        tokio::select! {
            result = work(swarm) => result,
            () = signals.stop() => Ok(()),
        }
    };
    serve_while(&context.dir, swarm, |_| Ok(()), until_signal).await
}

async fn from_node(context: &Context, mut node: Connection) -> CommandResult<()> {
    node.ask(&Request::Events {}).await?;
    listening();
    while let Some(event) = node.next().await? {
        show(context, &event)?;
    }
    output::note("the node closed");
    Ok(())
}

async fn from_swarm(context: &Context, swarm: &Swarm) -> CommandResult<()> {
    let mut events = swarm.events();
    listening();
    while let Some(event) = events.next().await {
        show(context, &serde_json::to_value(&event)?)?;
    }
    Ok(())
}

/// Says that nothing is missed from here on.
fn listening() {
    output::note("listening; Ctrl-C ends it");
}

fn show_change(context: &Context, change: &Value) -> CommandResult<()> {
    if context.json {
        output::print_json(&live::objects(change))
    } else {
        match live::lines(change).as_str() {
            "" => output::note("no rows yet"),
            lines => output::print(lines)?,
        }
        Ok(())
    }
}

fn show(context: &Context, event: &Value) -> CommandResult<()> {
    context.print(event, status::event)
}
