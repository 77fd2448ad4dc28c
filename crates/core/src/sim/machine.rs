//! One simulated machine: a node, its engine and what a driver does between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::edit::{Applied, Edit};
use super::engine::{Commit, Saying, Store};
use super::root::Root;
use super::twin::{Twin, Work};
use crate::commit::{ConflictPolicy, Merge, UserCommit};
use crate::fold::{MergeMemory, MergeResult};
use crate::graph::CommitGraph;
use crate::id::{CommitHash, PeerId};
use crate::message::Advert;
use crate::mutant::{Mutant, is_active};
use crate::node::dialer::Dialer;
use crate::node::{MoveResult, Node, NodeConfig, PullError, Restored};
use crate::time::Time;
use crate::walk::{Found, Walk, WalkError};

/// The real engines that run beside the model, where there are any.
pub(super) type Twins = Option<Box<dyn Twin>>;

/// Returns the id of the node with this number.
pub(super) fn peer_id(number: usize) -> PeerId {
    // In the first bytes, which are those that a trace shows.
    let number = u32::try_from(number).expect("because no run has so many nodes");
    let mut bytes = [0xee; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    PeerId::from_bytes(bytes)
}

/// Returns the number of the node with this id.
pub(super) fn number(peer: &PeerId) -> usize {
    let bytes = peer.as_bytes().first_chunk().expect("because an id has more than four bytes");
    u32::from_be_bytes(*bytes) as usize
}

/// Returns who signed a commit: in the model the author's name is the number of the node.
fn signer(commit: &Commit) -> PeerId {
    peer_id(commit.info.author_name.parse().expect("because users are named by numbers"))
}

/// A move of main.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move {
    pub(super) from: CommitHash,
    pub(super) to: CommitHash,
    /// Whether the engine makes a catch-up commit where main is above `from`.
    pub(super) catches_up: bool,
}

/// One machine.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) number: usize,
    policy: ConflictPolicy,
    pub(super) node: Node,
    pub(super) dialer: Dialer,
    pub(super) store: Store,
    /// The engine's main, which may be ahead of what the node has been told.
    pub(super) main: CommitHash,
    /// Whether another program has uncommitted work.
    pub(super) dirty: bool,
    /// The heads kept on branches of their own.
    pub(super) parked: BTreeSet<CommitHash>,
    /// Own commits that the node's store has not written yet: a crash loses its word on them.
    pub(super) relaxed: BTreeSet<CommitHash>,
    /// How often it has crashed: what an earlier life asked for is answered to nobody.
    pub(super) life: u64,
    /// Where it can be reached; another number after a move.
    pub(super) address: u32,
    /// Whether it has a network at all.
    pub(super) is_online: bool,
    /// How far its clock is ahead of the world's.
    pub(super) ahead: Duration,
    /// The newest advert of each peer that it has not come to look at.
    pub(super) inbox: BTreeMap<usize, Advert>,
    /// How long it takes to look.
    pub(super) slowness: Duration,
}

impl Machine {
    pub(super) fn new(
        number: usize,
        seed: u64,
        policy: ConflictPolicy,
        founding: &Arc<Commit>,
    ) -> Self {
        let hash = founding.info.hash;
        let mut store = Store::default();
        store.receive(Arc::clone(founding));
        let mut graph = CommitGraph::default();
        graph
            .insert(Found { hash, builds_on: Vec::new(), made_on: None }.signed_by(peer_id(0)))
            .expect("because the first commit always fits");
        let memory = MergeMemory::default();
        let restored = Restored {
            graph,
            memory,
            main: hash,
            included: vec![hash],
            peers: vec![],
            set_aside: BTreeMap::new(),
        };
        let config = NodeConfig { me: peer_id(number), seed, policy };
        let node = Node::new(config, restored, Time::ZERO);
        Self {
            number,
            policy,
            node,
            dialer: Dialer::new(&peer_id(number), seed),
            store,
            main: hash,
            dirty: false,
            parked: BTreeSet::new(),
            relaxed: BTreeSet::new(),
            life: 0,
            address: 0,
            is_online: true,
            ahead: Duration::ZERO,
            inbox: BTreeMap::new(),
            slowness: Duration::ZERO,
        }
    }

    /// What a conflict does.
    pub(super) fn policy(&self) -> ConflictPolicy {
        self.policy
    }

    /// What a default that is no literal evaluates to on this machine.
    pub(super) fn here(&self) -> u8 {
        100 + self.number as u8
    }

    /// The database at main.
    pub(super) fn root(&self) -> &Root {
        &self.store.get(&self.main).expect("because main is always here").root
    }

    /// Starts again from what is durable: the engine's commits and main, and the node's store.
    pub(super) fn restart(&mut self, seed: u64, now: Time, forgets_merges: bool) {
        let mut graph = CommitGraph::default();
        for commit in self.node.graph().iter_topological() {
            // What builds on a commit that is not there does not fit, and is not there either.
            let is_durable = !self.relaxed.contains(&commit.hash);
            let _ = is_durable.then(|| graph.insert(commit));
        }
        self.relaxed.clear();
        let (commits, included) = self.unseen(&graph);
        for commit in commits {
            graph.insert(commit).expect("because a walk finds parents first");
        }
        let memory =
            if forgets_merges { MergeMemory::default() } else { self.node.memory().clone() };
        let peers: Vec<PeerId> = self.node.peers().map(|view| view.peer).collect();
        let restored = Restored {
            graph,
            memory,
            main: self.main,
            included,
            peers: peers.clone(),
            set_aside: BTreeMap::new(),
        };
        let config = NodeConfig { me: peer_id(self.number), seed, policy: self.policy };
        self.node = Node::new(config, restored, now);
        self.dialer = Dialer::new(&peer_id(self.number), seed);
        for peer in peers {
            self.dialer.handle_known(now, peer);
        }
        self.inbox.clear();
        self.life += 1;
    }

    /// The commits on main that `graph` lacks, and what main includes.
    fn unseen(&self, graph: &CommitGraph) -> (Vec<UserCommit>, Vec<CommitHash>) {
        let mut walk = Walk::new([self.main]);
        while let Some(hash) = walk.next(graph) {
            let commit = self.store.get(&hash).expect("because main's history is here");
            walk.supply(commit.info.clone()).expect("because main's history is good");
        }
        let mut result = walk.finish(graph).expect("because main's history is good");
        let found = result.found.into_iter().map(|found| {
            let signer = signer(self.store.get(&found.hash).expect("because it was walked"));
            found.signed_by(signer)
        });
        let included = result.frontier.remove(&self.main);
        (found.collect(), included.expect("because main was the tip"))
    }

    /// Tells the node of the commits on main that it has not been told of.
    pub(super) fn notice_commits(&mut self, now: Time) {
        let (commits, included) = self.unseen(self.node.graph());
        self.relaxed.extend(commits.iter().map(|commit| commit.hash));
        self.node
            .handle_local_commits(now, commits, self.main, included)
            .expect("because a walk finds parents first");
    }

    /// Commits on main what the rules allow of `edits`; nothing where that is nothing.
    pub(super) fn commit(
        &mut self,
        edits: &[Edit],
        saying: &Saying,
        twins: &mut Twins,
    ) -> Option<CommitHash> {
        if self.dirty {
            return None;
        }
        let before = self.root().clone();
        let mut after = before.clone();
        let (mut allowed, mut refused) = (Vec::new(), Vec::new());
        for edit in edits {
            match after.apply(edit) {
                Applied::Changed => allowed.push(edit.clone()),
                Applied::Refused => refused.push(edit.clone()),
                Applied::Unchanged => {}
            }
        }
        if after == before {
            return None;
        }
        // A later edit may have made room for it.
        refused.retain(|edit| after.clone().apply(edit) == Applied::Refused);
        let (edits, refused) = (allowed.as_slice(), refused.as_slice());
        let work = Work { before: &before, edits, refused, after: &after, saying };
        let name = twins.as_mut().map(|twins| twins.commit(self.number, &work));
        self.main = self.store.commit(&[self.main], saying, after, name);
        Some(self.main)
    }

    pub(super) fn merge(&mut self, merge: Merge, twins: &mut Twins) -> MergeResult {
        let settles = self.policy == ConflictPolicy::Settle;
        let merged = self.store.merged(&merge, self.policy, self.here());
        let real = twins.as_mut().map(|twins| twins.merge(self.number, &merge, settles));
        let name = match (&merged, real) {
            (_, None) | (Err(_), Some(Err(_))) => None,
            (Ok(_), Some(Ok(name))) => Some(name),
            (merged, Some(real)) => {
                panic!("the engine merges to {real:?}, the model to {merged:?}")
            }
        };
        Ok(self.store.insert_merge(&merge, merged?, name))
    }

    pub(super) fn move_main(
        &mut self,
        from: CommitHash,
        to: CommitHash,
        twins: &mut Twins,
    ) -> MoveResult {
        if self.dirty {
            MoveResult::Dirty(vec!["t".into()])
        } else if self.main == from {
            self.main = to;
            if let Some(twins) = twins {
                twins.move_main(self.number, from, to, self.root());
            }
            MoveResult::Moved
        } else {
            let (commits, included) = self.unseen(self.node.graph());
            self.relaxed.extend(commits.iter().map(|commit| commit.hash));
            MoveResult::MainChanged { main: self.main, commits, included }
        }
    }

    /// Makes a catch-up commit, where main is above where it was expected, and agrees with where it
    /// is to go.
    pub(super) fn catch_up(
        &mut self,
        moving: &Move,
        saying: &Saying,
        twins: &mut Twins,
    ) -> Option<CommitHash> {
        let Move { from, to, .. } = *moving;
        let is_above = self.main != from && self.store.ancestors(&self.main).contains(&from);
        if self.dirty || !is_above || !self.store.ancestors(&to).contains(&from) {
            return None;
        }
        let merge = Merge { ours: self.main, theirs: to, base: from.into() };
        // Nothing may clash.
        let root = self.store.merged(&merge, ConflictPolicy::Park, self.here()).ok();
        let name = match twins {
            Some(twins) => Some(twins.catch_up(self.number, from, to, saying, root.as_ref())?),
            None => None,
        };
        self.main = self.store.commit(&[self.main, to], saying, root?, name);
        Some(self.main)
    }

    /// Finds out what a pull of `heads` from `source` brings, as a driver does.
    pub(super) fn prepare_pull(
        &self,
        source: &Store,
        heads: &[CommitHash],
    ) -> Result<(Vec<Arc<Commit>>, Vec<UserCommit>), PullError> {
        let graph = self.node.graph();
        let rejected = |error: WalkError| PullError::Rejected { reason: error.to_string() };
        let mut fetched = Vec::new();
        let mut walk = Walk::new(heads.iter().copied());
        while let Some(hash) = walk.next(graph) {
            let commit = source.get(&hash).ok_or(PullError::Unavailable)?;
            walk.supply(commit.info.clone()).map_err(rejected)?;
            fetched.push(Arc::clone(commit));
        }
        let accept = |found: Found| {
            let signer = signer(source.get(&found.hash).expect("because it was fetched"));
            found.signed_by(signer)
        };
        let found = walk.finish(graph).map_err(rejected)?.found;
        Ok((fetched, found.into_iter().map(accept).collect()))
    }

    /// The engine has these commits from now on.
    pub(super) fn receive(&mut self, commits: Vec<Arc<Commit>>) {
        commits.into_iter().for_each(|commit| self.store.receive(commit));
    }

    /// Keeps exactly these heads on branches of their own.
    pub(super) fn set_parked(&mut self, heads: Vec<CommitHash>, twins: &mut Twins) {
        if let Some(twins) = twins {
            twins.set_parked(self.number, &heads);
        }
        // A commit made here may leave main now, and was only found again under it.
        if !is_active(Mutant::StoreWrittenLate) {
            self.write_store();
        }
        self.parked = heads.into_iter().collect();
    }

    /// The node's store writes what a pull brought, and with it all that it had not written yet.
    pub(super) fn write_store(&mut self) {
        self.relaxed.clear();
    }
}
