//! The commands' side: ask the running node, or open the directory and answer in this process.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use doltswarm::{OpenError, OpenOptions, Swarm};
use serde_json::Value;
use tokio::io::BufReader;
use tokio::net::UnixStream;

use crate::control::handler::{handle, handle_files};
use crate::control::protocol::{self, Greeting, Reply, Request, VERSION};
use crate::control::socket;
use crate::error::{CommandError, CommandResult};

/// How long to wait for a node that holds the lock and does not answer: it is starting or closing,
/// or it is another short command.
const LOCK_TIMEOUT: Duration = Duration::from_secs(15);
/// How long to wait before looking at the lock again.
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(25);
/// How long a node may take to greet.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// Does what `request` asks, in the running node or in this process.
pub(crate) async fn call(dir: &Path, request: Request) -> CommandResult<Value> {
    match reach(dir, request.needs_network()).await? {
        Reached::Node(mut node) => node.ask(&request).await,
        Reached::Directory(swarm) => {
            let result = handle(&swarm, request).await;
            swarm.close().await;
            result
        }
        Reached::Files(error) => handle_files(dir, &request, error),
    }
}

/// As [`call`], but gives up when the time is over. What was asked is cancelled then: by the node,
/// which sees that nobody waits for the answer, or in this process, which ends.
pub(crate) async fn call_within(
    dir: &Path,
    request: Request,
    limit: Option<Duration>,
) -> CommandResult<Value> {
    let Some(limit) = limit else { return call(dir, request).await };
    tokio::time::timeout(limit, call(dir, request)).await.unwrap_or_else(|_| {
        Err(CommandError::timed_out(format!("given up after {} s", limit.as_secs_f64())))
    })
}

/// Who answers for a directory.
pub(crate) enum Reached {
    /// The node that is up.
    Node(Connection),
    /// Nobody; so it was opened here.
    Directory(Swarm),
    /// Nobody, and its database cannot be opened here, for this reason.
    Files(OpenError),
}

/// Connects to the node, or opens its directory where none is up.
pub(crate) async fn reach(dir: &Path, network: bool) -> CommandResult<Reached> {
    let options = if network { OpenOptions::online() } else { OpenOptions::default() };
    let started = Instant::now();
    loop {
        if let Some(node) = Connection::open(dir).await? {
            return Ok(Reached::Node(node));
        }
        match Swarm::open(dir, options.clone()).await {
            Ok(swarm) => return Ok(Reached::Directory(swarm)),
            Err(OpenError::Locked { .. }) if started.elapsed() < LOCK_TIMEOUT => {
                tokio::time::sleep(LOCK_RETRY_DELAY).await;
            }
            Err(error @ OpenError::Server { .. }) => return Ok(Reached::Files(error)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens the node in `dir` to run it, or says who runs it already.
pub(crate) async fn open_to_run(dir: &Path, options: OpenOptions) -> CommandResult<Swarm> {
    let started = Instant::now();
    loop {
        if let Some(node) = Connection::open(dir).await? {
            let what =
                format!("the node in {} is already up, in process {}", dir.display(), node.pid);
            return Err(CommandError::failed(what).hint("the other commands talk to it"));
        }
        match Swarm::open(dir, options.clone()).await {
            Err(OpenError::Locked { .. }) if started.elapsed() < LOCK_TIMEOUT => {
                tokio::time::sleep(LOCK_RETRY_DELAY).await;
            }
            result => return Ok(result?),
        }
    }
}

/// A connection to a node that greeted.
pub(crate) struct Connection {
    stream: BufReader<UnixStream>,
    pid: u32,
}

impl Connection {
    /// Connects to the node in `dir`; `None` where none is up, or it is closing.
    async fn open(dir: &Path) -> CommandResult<Option<Self>> {
        let cannot = |error: io::Error| {
            CommandError::failed(format!("cannot talk to the node in {}: {error}", dir.display()))
        };
        let Some(stream) = socket::connect(dir).await.map_err(cannot)? else { return Ok(None) };
        let mut stream = BufReader::new(stream);
        let greeting = protocol::read::<Greeting>(&mut stream, protocol::GREETING_BYTES_MAX);
        let greeting = match tokio::time::timeout(GREETING_TIMEOUT, greeting).await {
            Ok(Ok(Some(greeting))) => greeting,
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Ok(Err(error)) => return Err(cannot(error)),
            Err(_) => {
                let what = format!("the node in {} does not answer", dir.display());
                return Err(CommandError::failed(what).hint("stop it and start it again"));
            }
        };
        if greeting.version != VERSION {
            let what = format!(
                "the node in {} speaks version {} of the control protocol, this program version {VERSION}",
                dir.display(),
                greeting.version
            );
            return Err(CommandError::failed(what).hint("restart the node with this program"));
        }
        Ok(Some(Self { stream, pid: greeting.pid }))
    }

    /// Sends the request and waits for its reply.
    pub(crate) async fn ask(&mut self, request: &Request) -> CommandResult<Value> {
        protocol::write(&mut self.stream, request).await.map_err(went_away)?;
        self.next().await?.ok_or_else(|| went_away(io::ErrorKind::UnexpectedEof.into()))
    }

    /// The next reply of a stream of them, or `None` at its end.
    pub(crate) async fn next(&mut self) -> CommandResult<Option<Value>> {
        let reply = protocol::read::<Reply>(&mut self.stream, protocol::REPLY_BYTES_MAX);
        match reply.await.map_err(went_away)? {
            Some(Reply::Done(value)) => Ok(Some(value)),
            Some(Reply::Error(error)) => Err(error),
            None => Ok(None),
        }
    }
}

fn went_away(error: io::Error) -> CommandError {
    CommandError::failed(format!("the node went away before it answered: {error}"))
        .hint("whether it did what was asked, `doltswarm log` and `doltswarm status` tell")
}
