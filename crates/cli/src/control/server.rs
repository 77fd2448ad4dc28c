//! The node's side of the control socket.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use doltswarm::{LiveQuery, Swarm};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::control::handler::{change_to_json, handle, values};
use crate::control::protocol::{self, Greeting, Reply, Request, VERSION};
use crate::control::socket::ControlSocket;
use crate::error::{CommandError, CommandResult};

/// How many requests are served at once; more wait in the socket's queue.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a closing node lets requests finish; then they are cancelled, which leaves the database
/// as it was. A commit takes milliseconds, and a node must be gone within a few seconds.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// A bound control socket that does not serve yet.
#[derive(Debug)]
pub(crate) struct ControlServer {
    socket: ControlSocket,
}

impl ControlServer {
    /// Binds the control socket of the node in `dir`, whose lock the caller holds.
    pub(crate) fn bind(dir: &Path) -> CommandResult<Self> {
        let socket = ControlSocket::bind(dir).map_err(|error| {
            CommandError::failed(format!(
                "cannot make the control socket of {}: {error}",
                dir.display()
            ))
        })?;
        Ok(Self { socket })
    }

    /// Serves until `closing` turns true; then lets what runs finish, and removes the socket.
    pub(crate) async fn serve(self, swarm: Swarm, mut closing: watch::Receiver<bool>) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&permits) => accepted,
                _ = closing.wait_for(|closing| *closing) => break,
            };
            match accepted {
                Ok((stream, permit)) => {
                    let (swarm, closing) = (swarm.clone(), closing.clone());
                    tasks.spawn(async move {
                        if let Err(error) = serve_one(stream, &swarm, closing).await {
                            tracing::debug!(%error, "a control connection ended early");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of file descriptors: waiting is all that helps.
                    tracing::warn!(%error, "cannot take a control connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            while tasks.try_join_next().is_some() {}
        }
        // From here on a client finds no socket, and waits for the directory's lock instead.
        drop(self);
        let drained = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
            tracing::warn!("requests were cut off");
        }
    }

    async fn accept(
        &self,
        permits: &Arc<Semaphore>,
    ) -> io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
        let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
        Ok((self.socket.accept().await?, permit))
    }
}

async fn serve_one(
    stream: UnixStream,
    swarm: &Swarm,
    mut closing: watch::Receiver<bool>,
) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    protocol::write(&mut writer, &Greeting { version: VERSION, pid: std::process::id() }).await?;
    let request = protocol::read::<Request>(&mut reader, protocol::REQUEST_BYTES_MAX);
    let request = match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(Ok(Some(request))) => request,
        Ok(Ok(None)) | Err(_) => return Ok(()),
        Ok(Err(error)) => {
            let error = CommandError::failed(format!("the node did not understand: {error}"));
            return protocol::write(&mut writer, &Reply::Error(error)).await;
        }
    };
    if matches!(request, Request::Events {}) {
        return send_events(swarm, reader, writer, closing).await;
    }
    if let Request::Watch { sql, params } = request {
        return match values(&params) {
            Ok(params) => {
                send_changes(swarm.live_query(&sql, params), reader, writer, closing).await
            }
            Err(error) => protocol::write(&mut writer, &Reply::Error(error)).await,
        };
    }
    let (ends_with_node, ends_with_client) = (request.ends_with_node(), request.ends_with_client());
    let reply = tokio::select! {
        result = handle(swarm, request) => match result {
            Ok(value) => Reply::Done(value),
            Err(error) => Reply::Error(error),
        },
        _ = closing.wait_for(|closing| *closing), if ends_with_node => {
            Reply::Error(CommandError::failed("the node is closing"))
        }
        () = gone(&mut reader), if ends_with_client => return Ok(()),
    };
    protocol::write(&mut writer, &reply).await
}

async fn send_events(
    swarm: &Swarm,
    mut reader: BufReader<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
    mut closing: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut events = swarm.events();
    protocol::write(&mut writer, &Reply::Done(serde_json::Value::Null)).await?;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = closing.wait_for(|closing| *closing) => None,
            () = gone(&mut reader) => None,
        };
        let Some(event) = event else { return Ok(()) };
        protocol::write(&mut writer, &Reply::Done(serde_json::to_value(&event)?)).await?;
    }
}

async fn send_changes(
    mut query: LiveQuery,
    mut reader: BufReader<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
    mut closing: watch::Receiver<bool>,
) -> io::Result<()> {
    loop {
        let change = tokio::select! {
            change = query.next() => change,
            _ = closing.wait_for(|closing| *closing) => Ok(None),
            () = gone(&mut reader) => Ok(None),
        };
        let reply = match change {
            Ok(Some(change)) => Reply::Done(change_to_json(&change)),
            Ok(None) => return Ok(()),
            Err(error) => return protocol::write(&mut writer, &Reply::Error(error.into())).await,
        };
        protocol::write(&mut writer, &reply).await?;
    }
}

/// Ends when the client hangs up. It has nothing more to say, so whatever it sends is ignored.
async fn gone(reader: &mut (impl AsyncRead + Unpin)) {
    let mut scratch = [0; 64];
    while matches!(reader.read(&mut scratch).await, Ok(bytes) if bytes > 0) {}
}
