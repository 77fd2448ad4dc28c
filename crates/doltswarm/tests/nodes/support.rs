//! Nodes in temporary directories, and waiting for what must come true.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use doltswarm::core::commit::EngineKind;
use doltswarm::core::membership::Role;
use doltswarm::{
    DoltServer, InitOptions, InviteOptions, JoinOptions, OpenOptions, Status, Swarm, Value, WaitFor,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::engine::{self, Database};

/// How long anything may take before a test gives up. Generous: a test machine is busy, and servers
/// of many tests run on it at once.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// A node's directory, which outlives the node, and where its database is.
pub(crate) struct Home {
    _dir: TempDir,
    pub(crate) path: PathBuf,
    /// A database of its own on a server; `None`: the database is a file.
    pub(crate) database: Option<Database>,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self::on(dir, engine::database())
    }

    /// In a directory that is there, with the database where the caller says.
    pub(crate) fn on(dir: TempDir, database: Option<Database>) -> Self {
        let path = dir.path().join("node");
        Self { _dir: dir, path, database }
    }

    /// The server that has the node's database.
    pub(crate) fn server(&self) -> Option<DoltServer> {
        self.database.as_ref().map(Database::server)
    }

    /// Opens the node with the network on.
    pub(crate) async fn up(&self) -> Swarm {
        Swarm::open(&self.path, OpenOptions::online_at(loopback())).await.expect("the node opens")
    }

    /// Adds a setting to a section of `config.toml`.
    pub(crate) fn configure(&self, section: &str, setting: &str) {
        let path = self.path.join("config.toml");
        let text = std::fs::read_to_string(&path).expect("the file");
        let head = format!("[{section}]\n");
        assert!(text.contains(&head), "{text}");
        std::fs::write(&path, text.replace(&head, &format!("{head}{setting}\n"))).expect("written");
    }

    /// Founds a swarm with this schema and opens it with the network on.
    pub(crate) async fn found(&self, schema: &str) -> Swarm {
        self.found_with(schema, InitOptions { name: "founder".into(), ..Default::default() }).await
    }

    pub(crate) async fn found_with(&self, schema: &str, options: InitOptions) -> Swarm {
        let swarm = self.found_offline(options).await;
        swarm.close().await;
        let swarm = self.up().await;
        swarm.exec_and_commit("schema", [schema]).await.expect("the schema is good");
        swarm
    }

    pub(crate) async fn found_offline(&self, mut options: InitOptions) -> Swarm {
        if let Some(server) = self.server() {
            (options.engine, options.dolt) = (EngineKind::Dolt, Some(server));
        }
        Swarm::init(&self.path, options).await.expect("init")
    }

    /// Joins the swarm of `inviter` and opens the node with the network on.
    pub(crate) async fn join(&self, inviter: &Swarm, name: &str) -> Swarm {
        self.join_as(inviter, name, Role::Writer).await
    }

    pub(crate) async fn join_as(&self, inviter: &Swarm, name: &str, role: Role) -> Swarm {
        let invite = InviteOptions { role, ..Default::default() };
        let ticket = inviter.invite(invite).await.expect("a ticket");
        let open = OpenOptions::online_at(loopback());
        let options = JoinOptions { name: name.into(), open, ..self.join_options() };
        Swarm::join(&self.path, &ticket, options, |_| {}).await.expect("the join")
    }

    /// Where this node's database is to be, and loopback addresses.
    pub(crate) fn join_options(&self) -> JoinOptions {
        JoinOptions { bind: vec![loopback()], dolt: self.server(), ..JoinOptions::default() }
    }
}

pub(crate) fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Homes for a number of nodes.
pub(crate) fn homes<const N: usize>() -> [Home; N] {
    std::array::from_fn(|_| Home::new())
}

/// Waits until `condition` holds.
pub(crate) async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    let deadline = Instant::now() + LIMIT;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until all nodes are connected, have the same main, and say that they are in step; returns
/// their statuses, in which the state hashes are equal too.
pub(crate) async fn in_step(nodes: &[&Swarm]) -> Vec<Status> {
    let mut last = Vec::new();
    let deadline = Instant::now() + LIMIT;
    loop {
        last.clear();
        for node in nodes {
            last.push(node.status().await.expect("a status"));
        }
        let connected = |status: &Status| {
            status.peers.iter().filter(|peer| peer.connected).count() + 1 >= nodes.len()
        };
        // A status reads main and the state one after the other, so one of them may be older.
        let equal =
            last.windows(2).all(|two| two[0].main == two[1].main && two[0].state == two[1].state);
        if equal && last.iter().all(|status| status.in_sync && connected(status)) {
            return last;
        }
        assert!(Instant::now() < deadline, "not in step within {LIMIT:?}: {last:#?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits with the library's own call.
pub(crate) async fn wait(node: &Swarm) {
    let report = node.wait(WaitFor::default(), LIMIT).await.expect("a wait");
    assert!(report.reached, "{report:?}: {:#?}", node.status().await);
}

/// The rows of a query, as JSON texts.
pub(crate) async fn rows(node: &Swarm, sql: &str) -> Vec<String> {
    let rows = node.query(sql, Vec::new()).await.expect("a good query");
    let line = |row: &Vec<Value>| {
        serde_json::to_string(&row.iter().map(Value::to_json).collect::<Vec<_>>()).expect("JSON")
    };
    rows.rows.iter().map(line).collect()
}

pub(crate) async fn exec(node: &Swarm, sql: &str) -> String {
    let report = node.exec_and_commit("a test's write", [sql]).await.expect("the write is good");
    report.commit.expect("the write changes something")
}

pub(crate) async fn close(nodes: impl IntoIterator<Item = Swarm>) {
    for node in nodes {
        node.close().await;
    }
}
