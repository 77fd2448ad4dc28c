//! A swarm of nodes, each a process of its own, in a directory of their own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use doltswarm::DoltUrl;
use futures_util::future::join_all;
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use crate::dolt::Dolt;
use crate::error::{BenchError, BenchResult};
use crate::figures::Bench;
use crate::node::Node;
use crate::protocol::{Joined, MainAt, Nanos, Request, Server, Standing, Written};
use crate::schema::{TABLE, fill};

/// How long a new swarm may take until all nodes are connected to all.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How often nodes are asked whether they are in step.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Nodes that are in one swarm.
pub(crate) struct Fleet {
    directory: PathBuf,
    nodes: Vec<Node>,
    /// With this each node gets a Dolt server.
    dolt: Option<Dolt>,
    /// Where the databases are, with Dolt, in the order of the nodes.
    servers: Vec<DoltUrl>,
}

impl Fleet {
    /// Founds a swarm under the root with a table of `rows` rows, and lets `peers` - 1 others join.
    /// Returns when all are connected to all and in step.
    pub(crate) async fn start(bench: &Bench<'_>, peers: usize, rows: usize) -> BenchResult<Self> {
        let mut fleet = Self::found(bench, rows).await?;
        while fleet.nodes.len() < peers {
            fleet.join().await?;
        }
        fleet.meet().await?;
        Ok(fleet)
    }

    /// Founds a swarm of one under the root.
    pub(crate) async fn found(bench: &Bench<'_>, rows: usize) -> BenchResult<Self> {
        let root = bench.root;
        let directory = tempfile::Builder::new()
            .prefix("swarm-")
            .tempdir_in(root)
            .map_err(BenchError::io("create a directory in", root))?
            .keep();
        let dolt = bench.dolt.cloned();
        let mut fleet = Self { directory, nodes: Vec::new(), dolt, servers: Vec::new() };
        let founder = fleet.spawn("node 1").await?;
        let dir = fleet.directory(0);
        founder.ask::<()>(Request::Found { dir, name: "node 1".to_owned() }).await?;
        let mut statements = vec![TABLE.to_owned()];
        if rows > 0 {
            statements.push(fill(rows));
        }
        founder.ask::<Vec<Written>>(Request::Write { statements, at: None }).await?;
        fleet.nodes.push(founder);
        Ok(fleet)
    }

    /// Starts the process of one more node, and its server where it is to have one.
    async fn spawn(&mut self, name: &str) -> BenchResult<Node> {
        let node = Node::spawn(name)?;
        if let Some(dolt) = &self.dolt {
            let (program, dir) = (dolt.program().to_owned(), self.server_dir(self.nodes.len()));
            let server: Server = node.ask(Request::Serve { program, dir }).await?;
            let url = server.url.parse().map_err(|error| BenchError::Node {
                node: name.to_owned(),
                message: format!("{error}"),
            })?;
            self.servers.push(url);
        }
        Ok(node)
    }

    /// Lets one more node join.
    pub(crate) async fn join(&mut self) -> BenchResult<Joined> {
        let ticket = self.nodes[0].ask(Request::Invite { uses: 1 }).await?;
        let number = self.nodes.len() + 1;
        let name = format!("node {number}");
        let node = self.spawn(&name).await?;
        let dir = self.directory.join(number.to_string());
        let joined = node.ask(Request::Join { dir, name, ticket }).await?;
        self.nodes.push(node);
        Ok(joined)
    }

    /// Waits until all nodes are connected to all others and in step.
    pub(crate) async fn meet(&self) -> BenchResult<()> {
        let start = Instant::now();
        loop {
            let standings: Vec<Standing> = self.ask_all(|_| Request::Standing).await?;
            let others = self.nodes.len() - 1;
            let met = |standing: &Standing| {
                standing.connected == others
                    && standing.in_sync
                    && standing.main == standings[0].main
            };
            if standings.iter().all(met) {
                return Ok(());
            }
            if start.elapsed() > START_TIMEOUT {
                let connected: Vec<usize> = standings.iter().map(|one| one.connected).collect();
                let message = format!("the nodes did not meet; connections: {connected:?}");
                return Err(BenchError::Node { node: "all".to_owned(), message });
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The node with this number, from 0.
    pub(crate) fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    /// The directory of a node.
    pub(crate) fn directory(&self, number: usize) -> PathBuf {
        self.directory.join((number + 1).to_string())
    }

    /// Where the database of a node is on its server, with Dolt.
    pub(crate) fn server(&self, number: usize) -> Option<&DoltUrl> {
        self.servers.get(number)
    }

    /// The directory of a node's server, with Dolt.
    pub(crate) fn server_dir(&self, number: usize) -> PathBuf {
        self.directory.join(format!("server-{}", number + 1))
    }

    /// A directory for other things, which goes with the swarm.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Asks all nodes at once; the answers are in the order of the nodes.
    pub(crate) async fn ask_all<T: DeserializeOwned + Send + 'static>(
        &self,
        request: impl Fn(usize) -> Request,
    ) -> BenchResult<Vec<T>> {
        let asks = self.nodes.iter().enumerate().map(|(i, node)| node.ask(request(i)));
        join_all(asks).await.into_iter().collect()
    }

    /// Waits until all observed mains are the same; gives the moment when the last one got there,
    /// or `None` where `limit` passed before.
    pub(crate) async fn one_hash(&self, limit: Duration) -> BenchResult<Option<Nanos>> {
        let start = Instant::now();
        loop {
            let mains: Vec<MainAt> = self.ask_all(|_| Request::Main).await?;
            if mains.iter().all(|at| at.main == mains[0].main) {
                return Ok(mains.iter().map(|at| at.since).max());
            }
            if start.elapsed() > limit {
                return Ok(None);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Closes all nodes and removes what they wrote.
    pub(crate) async fn end(self) -> BenchResult<()> {
        let Self { directory, nodes, .. } = self;
        for closed in join_all(nodes.into_iter().map(Node::close)).await {
            closed?;
        }
        std::fs::remove_dir_all(&directory).map_err(BenchError::io("remove", &directory))
    }
}
