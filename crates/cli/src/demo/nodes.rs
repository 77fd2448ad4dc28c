//! The three nodes of the demo, and waiting until they agree.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use doltswarm::core::commit::EngineKind;
use doltswarm::{
    DoltServer, EventStream, InitOptions, JoinOptions, OpenOptions, Statement, Status, Swarm,
    Ticket, Value,
};

use crate::error::{CommandError, CommandResult};

/// How long the nodes may take to agree before the demo gives up.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(15);
/// How often all nodes are asked whether they agree.
const SETTLE_POLL: Duration = Duration::from_millis(5);
/// How long to wait for an event before looking anyway.
const EVENT_POLL: Duration = Duration::from_millis(20);

/// One of the three.
pub(super) struct Node {
    /// What people call it.
    pub(super) name: &'static str,
    /// The node itself.
    pub(super) swarm: Swarm,
}

impl Node {
    /// Founds the swarm and listens on 127.0.0.1.
    pub(super) async fn found(
        name: &'static str,
        dir: &Path,
        dolt: Option<DoltServer>,
    ) -> CommandResult<Self> {
        let engine = if dolt.is_some() { EngineKind::Dolt } else { EngineKind::DoltLite };
        let options = InitOptions { name: name.to_owned(), engine, dolt, ..InitOptions::default() };
        Swarm::init(dir, options).await?.close().await;
        let swarm = Swarm::open(dir, OpenOptions::online_at(loopback())).await?;
        Ok(Self { name, swarm })
    }

    /// Joins with a ticket and listens on 127.0.0.1.
    pub(super) async fn join(
        name: &'static str,
        dir: &Path,
        ticket: &Ticket,
        dolt: Option<DoltServer>,
    ) -> CommandResult<Self> {
        let options = JoinOptions {
            name: name.to_owned(),
            dolt,
            bind: vec![loopback()],
            open: OpenOptions::online_at(loopback()),
        };
        let swarm = Swarm::join(dir, ticket, options, |_| {}).await?;
        Ok(Self { name, swarm })
    }

    /// Executes and commits; gives the commit.
    pub(super) async fn write(
        &self,
        message: &str,
        statements: Vec<Statement>,
    ) -> CommandResult<String> {
        let report = self.swarm.exec_and_commit(message, statements).await?;
        report.commit.ok_or_else(|| {
            CommandError::failed(format!("{}: `{message}` changed nothing", self.name))
        })
    }

    /// All rows of a query.
    pub(super) async fn rows(
        &self,
        sql: &str,
        params: Vec<Value>,
    ) -> CommandResult<Vec<Vec<Value>>> {
        Ok(self.swarm.query(sql, params).await?.rows)
    }

    /// The comments of a zone, or `None` where it has none or there is no such zone.
    pub(super) async fn comments(&self, zone: &str) -> CommandResult<Option<String>> {
        let sql = "SELECT comments FROM zones WHERE name = ?";
        let rows = self.rows(sql, vec![zone.into()]).await?;
        Ok(match rows.first().and_then(|row| row.first()) {
            Some(Value::Text(comments)) => Some(comments.clone()),
            _ => None,
        })
    }

    /// Waits until this node shows `comments` at `zone`; gives the time since `start`. `events` was
    /// taken before `start`, so no change is missed.
    pub(super) async fn sees_comments(
        &self,
        mut events: EventStream,
        zone: &str,
        comments: &str,
        start: Instant,
    ) -> CommandResult<Duration> {
        while self.comments(zone).await?.as_deref() != Some(comments) {
            if start.elapsed() > SETTLE_TIMEOUT {
                let what = format!("{} did not see the change of {zone}", self.name);
                return Err(CommandError::failed(what));
            }
            let _ = tokio::time::timeout(EVENT_POLL, events.next()).await;
        }
        Ok(start.elapsed())
    }
}

/// Waits until all nodes have the same heads and the same main; gives how long that took.
pub(super) async fn settle(nodes: &[Node]) -> CommandResult<Duration> {
    let start = Instant::now();
    loop {
        let statuses = statuses(nodes).await?;
        let Some((first, others)) = statuses.split_first() else { return Ok(start.elapsed()) };
        if others.iter().all(|other| other.heads == first.heads && other.main == first.main) {
            return Ok(start.elapsed());
        }
        if start.elapsed() > SETTLE_TIMEOUT {
            let words: Vec<String> =
                nodes.iter().zip(&statuses).map(|(node, status)| describe(node, status)).collect();
            let seconds = SETTLE_TIMEOUT.as_secs();
            let what = format!("not in step after {seconds} s: {}", words.join("; "));
            return Err(CommandError::failed(what));
        }
        tokio::time::sleep(SETTLE_POLL).await;
    }
}

/// The status of every node.
pub(super) async fn statuses(nodes: &[Node]) -> CommandResult<Vec<Status>> {
    let mut statuses = Vec::with_capacity(nodes.len());
    for node in nodes {
        statuses.push(node.swarm.status().await?);
    }
    Ok(statuses)
}

/// Why a node is where it is.
fn describe(node: &Node, status: &Status) -> String {
    let problems: Vec<&str> =
        status.peers.iter().filter_map(|peer| peer.problem.as_deref()).collect();
    let problems =
        if problems.is_empty() { String::new() } else { format!(" ({})", problems.join(", ")) };
    let main = status.main.get(..10).unwrap_or(&status.main);
    format!("{} has main {main} and {} commits{problems}", node.name, status.commits)
}

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}
