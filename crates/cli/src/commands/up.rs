//! `up`: runs the node until it is told to stop.

use std::future::Future;
use std::path::Path;

use doltswarm::{OpenOptions, Swarm};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::args::UpArgs;
use crate::commands::Context;
use crate::control::client;
use crate::control::server::ControlServer;
use crate::error::{CommandError, CommandResult};
use crate::output;

/// `up`: runs the node until SIGTERM or SIGINT.
pub(super) async fn up(context: &Context, args: UpArgs) -> CommandResult<()> {
    let options = OpenOptions { network: true, bind: args.bind };
    // Caught from here on, so that a signal during the start closes the node as well.
    let signals = Signals::catch()?;
    let swarm = client::open_to_run(&context.dir, options).await?;
    let ready = |swarm: &Swarm| {
        let peer = swarm.peer_id().to_string();
        let addresses: Vec<String> = swarm.addresses().iter().map(ToString::to_string).collect();
        if context.json {
            output::print_json(&json!({ "event": "ready", "peer": peer, "addresses": addresses }))
        } else {
            output::print(&format!("ready: peer {peer} listens on {}", addresses.join(", ")))
        }
    };
    serve_while(&context.dir, swarm, ready, |_| async move {
        signals.stop().await;
        Ok(())
    })
    .await
}

/// Serves the control socket of an open node until the future of `work` ends, then closes the node.
/// `ready` is called when the socket takes requests.
///
/// Whatever fails, the node is closed and the socket removed.
pub(super) async fn serve_while<F>(
    dir: &Path,
    swarm: Swarm,
    ready: impl FnOnce(&Swarm) -> CommandResult<()>,
    work: impl FnOnce(Swarm) -> F,
) -> CommandResult<()>
where
    F: Future<Output = CommandResult<()>>,
{
    let server = match ControlServer::bind(dir) {
        Ok(server) => server,
        Err(error) => {
            swarm.close().await;
            return Err(error);
        }
    };
    let (close, closing) = watch::channel(false);
    let serving = tokio::spawn(server.serve(swarm.clone(), closing));
    let result = match ready(&swarm) {
        Ok(()) => work(swarm.clone()).await,
        Err(error) => Err(error),
    };
    let _ = close.send(true);
    let served = serving.await;
    swarm.close().await;
    served.map_err(|error| CommandError::failed(format!("the control socket failed: {error}")))?;
    result
}

/// The signals that ask a program to stop.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches them from now on.
    pub(crate) fn catch() -> CommandResult<Self> {
        let catch = |kind| {
            signal(kind)
                .map_err(|error| CommandError::failed(format!("cannot catch signals: {error}")))
        };
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }

    /// Waits for the first of them.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the first of them. From then on another one ends the process at once: a node that
    /// is killed loses nothing.
    pub(crate) async fn stop(mut self) {
        self.wait().await;
        tokio::spawn(async move {
            self.wait().await;
            std::process::exit(1);
        });
    }
}
