//! What a node's own files say, where its database does not answer and the node is not up.

use std::path::Path;

use doltswarm_core::graph::{CommitGraph, Standing};
use doltswarm_core::membership::{Member, Membership, Role};

use super::layout::Layout;
use super::open::store_error;
use super::{
    ConflictCounts, DatabaseProblem, MemberReport, OpenError, PeerStatus, Status, Traffic,
    set_aside_heads,
};
use crate::config::Config;
use crate::driver::{restore_graph, restore_membership, time_of_day, unix_ms};
use crate::identity::Identity;
use crate::store::{Founding, PeerEntry, Store};

/// A node's files without its database. What needs the database is unknown.
#[derive(Debug)]
pub struct NodeFiles {
    name: String,
    identity: Identity,
    founding: Founding,
    graph: CommitGraph,
    standing: Standing,
    membership: Membership,
    peers: Vec<PeerEntry>,
}

impl NodeFiles {
    /// Reads the files of the node in `dir`.
    ///
    /// # Errors
    ///
    /// As [`Swarm::open`](super::Swarm::open), but for the database.
    pub fn read(dir: &Path) -> Result<Self, OpenError> {
        let layout = Layout::new(dir);
        if !layout.is_node() {
            return Err(OpenError::NotANode { dir: dir.to_owned() });
        }
        let _lock = layout.lock()?;
        layout.finish()?;
        let config = Config::load(dir).map_err(|error| OpenError::Config(error.to_string()))?;
        let identity = Identity::load(dir).map_err(|error| OpenError::Key(error.to_string()))?;
        let store = Store::open(dir).map_err(store_error)?;
        let founding = store.founding().clone();
        let membership = restore_membership(&store, &founding)?;
        let ((graph, _), peers) = (restore_graph(&store)?, store.peers().map_err(store_error)?);
        let standing = Standing::new(&graph, store.set_aside().map_err(store_error)?);
        Ok(Self { name: config.name, identity, founding, graph, standing, membership, peers })
    }

    /// As [`Swarm::status`](super::Swarm::status); `reason` says why the database does not answer.
    pub fn status(&self, reason: String) -> Status {
        let engine = self.founding.engine;
        let heads = self.graph.heads();
        Status {
            swarm: self.founding.swarm.to_string(),
            peer: self.identity.peer_id().to_string(),
            name: self.name.clone(),
            engine: engine.as_str().into(),
            engine_version: String::new(),
            policy: self.founding.policy.as_str().into(),
            main: String::new(),
            state: String::new(),
            heads: heads.iter().map(|head| engine.write_hash(head)).collect(),
            // Which heads are parked, only a fold can say.
            parked: Vec::new(),
            set_aside: set_aside_heads(&self.standing, engine),
            conflicts: ConflictCounts::default(),
            peers: self.peers(),
            dirty: Vec::new(),
            problem: None,
            missing_modules: Vec::new(),
            database_problem: Some(DatabaseProblem { since: time_of_day(), reason }),
            in_sync: false,
            rejected: Vec::new(),
            refused: Vec::new(),
            commits: self.graph.len() as u64,
            online: false,
            addresses: Vec::new(),
            traffic: Traffic::default(),
        }
    }

    /// As [`Swarm::peers`](super::Swarm::peers).
    pub fn peers(&self) -> Vec<PeerStatus> {
        let me = self.identity.peer_id();
        let others = self.membership.members().into_iter().filter(|member| member.peer != me);
        let status = |member: Member| {
            let known = self.peers.iter().find(|known| known.peer == member.peer);
            let seen = known.map(|known| known.last_seen_ms).filter(|seen| *seen > 0);
            PeerStatus {
                id: member.peer.to_string(),
                name: self.name_of(&member, known),
                engine_version: None,
                role: member.role.as_str().into(),
                address: known.and_then(|known| known.addresses.first().cloned()),
                connected: false,
                in_sync: false,
                last_seen_ms: seen.map(|seen| unix_ms().saturating_sub(seen)),
                heads: Vec::new(),
                problem: Some("not connected".to_owned()),
            }
        };
        let mut peers: Vec<PeerStatus> = others.map(status).collect();
        peers.sort_by(|a, b| a.id.cmp(&b.id));
        peers
    }

    /// As [`Swarm::members`](super::Swarm::members).
    pub fn members(&self) -> Vec<MemberReport> {
        let me = self.identity.peer_id();
        let report = |member: Member| MemberReport {
            id: member.peer.to_string(),
            role: Role::as_str(member.role).into(),
            this: member.peer == me,
            name: match member.peer == me {
                true => self.name.clone(),
                false => {
                    let known = self.peers.iter().find(|known| known.peer == member.peer);
                    self.name_of(&member, known)
                }
            },
        };
        let mut members: Vec<_> = self.membership.members().into_iter().map(report).collect();
        members.sort_by(|a, b| a.id.cmp(&b.id));
        members
    }

    fn name_of(&self, member: &Member, known: Option<&PeerEntry>) -> String {
        let name = known.map(|known| known.name.as_str()).filter(|name| !name.is_empty());
        name.unwrap_or(&member.name).to_owned()
    }
}
