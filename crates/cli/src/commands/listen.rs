//! `events`: shows what happens in the node.

use doltswarm::Swarm;
use serde_json::Value;

use crate::commands::Context;
use crate::commands::up::{Signals, serve_while};
use crate::control::client::{self, Connection, Reached};
use crate::control::protocol::Request;
use crate::error::CommandResult;
use crate::output;
use crate::render::status;

/// `events`: one line for each event, until the node closes.
///
/// Where no node is up, this command is the node for as long as it runs: it listens, dials and
/// answers other commands as `up` does.
pub(super) async fn events(context: &Context) -> CommandResult<()> {
    match client::reach(&context.dir, true).await? {
        Reached::Node(node) => from_node(context, node).await,
        Reached::Files(error) => Err(error.into()),
        Reached::Directory(swarm) => {
            let signals = Signals::catch()?;
            output::note("the node was not up: it is, for as long as this command runs");
            let work = |swarm: Swarm| async move {
                tokio::select! {
                    result = from_swarm(context, &swarm) => result,
                    () = signals.stop() => Ok(()),
                }
            };
            serve_while(&context.dir, swarm, |_| Ok(()), work).await
        }
    }
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

fn show(context: &Context, event: &Value) -> CommandResult<()> {
    context.print(event, status::event)
}
