//! A node whose every output a test answers itself.

use std::collections::BTreeMap;
use std::time::Duration;

use doltswarm_core::commit::{ConflictPolicy, UserCommit};
use doltswarm_core::fold::{MergeMemory, MergeResult};
use doltswarm_core::graph::CommitGraph;
use doltswarm_core::id::{CommitHash, PeerId};
use doltswarm_core::message::{Advert, AdvertReply, HeadsAnswer};
use doltswarm_core::node::{
    Event, MoveResult, Node, NodeConfig, OpId, Output, PullError, Restored,
};
use doltswarm_core::time::Time;

/// The number of the founding commit.
pub(crate) const FOUNDING: u8 = 1;

pub(crate) fn hash(n: u8) -> CommitHash {
    CommitHash::from_bytes([n; 20])
}

pub(crate) fn hashes(numbers: &[u8]) -> Vec<CommitHash> {
    let mut hashes: Vec<_> = numbers.iter().map(|&n| hash(n)).collect();
    hashes.sort();
    hashes
}

pub(crate) fn peer(n: u8) -> PeerId {
    PeerId::from_bytes([n; 32])
}

pub(crate) fn commit(n: u8, on: &[u8]) -> UserCommit {
    UserCommit { hash: hash(n), builds_on: hashes(on), made_on: None, signer: peer(9) }
}

/// The merge commit that any engine makes of these two.
pub(crate) fn merged(ours: CommitHash, theirs: CommitHash) -> CommitHash {
    let bytes = ours.as_bytes().iter().zip(theirs.as_bytes());
    let bytes: Vec<u8> = bytes.map(|(a, b)| a.rotate_left(3) ^ b.wrapping_add(101)).collect();
    CommitHash::from_slice(&bytes).unwrap()
}

/// Commits that a node begins with, parents first, and where its main is.
pub(crate) fn restored(commits: &[UserCommit], main: CommitHash, included: &[u8]) -> Restored {
    let mut graph = CommitGraph::default();
    graph.insert(commit(FOUNDING, &[])).unwrap();
    for commit in commits {
        graph.insert(commit.clone()).unwrap();
    }
    let included = hashes(included);
    let (memory, set_aside) = (MergeMemory::default(), BTreeMap::new());
    Restored { graph, memory, main, included, peers: vec![], set_aside }
}

/// A node and the time.
pub(crate) struct Rig {
    pub(crate) node: Node,
    pub(crate) now: Time,
    /// All events so far.
    pub(crate) events: Vec<Event>,
    outputs: Vec<Output>,
}

impl Rig {
    /// A node with the founding commit, and nothing waiting.
    pub(crate) fn founded() -> Self {
        let mut rig = Self::restored(restored(&[], hash(FOUNDING), &[FOUNDING]));
        assert_eq!(rig.outputs(), [Output::SetParked { heads: vec![] }]);
        rig
    }

    pub(crate) fn restored(restored: Restored) -> Self {
        Self::under(ConflictPolicy::Settle, restored)
    }

    pub(crate) fn under(policy: ConflictPolicy, restored: Restored) -> Self {
        let now = Time::from_millis(1_000);
        let node = Node::new(NodeConfig { me: peer(0), seed: 1, policy }, restored, now);
        Self { node, now, events: vec![], outputs: vec![] }
    }

    /// A founded node with connected peers, which answered that they have the founding commit.
    pub(crate) fn connected(peers: &[u8]) -> Self {
        let mut rig = Self::founded();
        for &n in peers {
            rig.node.handle_connected(rig.now, peer(n));
        }
        rig.answer_all(&[FOUNDING]);
        rig.advance(Duration::from_secs(2));
        rig.answer_all(&[FOUNDING]);
        rig.events.clear();
        rig
    }

    /// Takes all outputs that wait, but for events.
    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Event(event) => self.events.push(event),
                output => self.outputs.push(output),
            }
        }
        std::mem::take(&mut self.outputs)
    }

    /// Nothing waits to be done.
    #[track_caller]
    pub(crate) fn assert_idle(&mut self) {
        assert_eq!(self.outputs(), []);
    }

    /// Lets adverts arrive and answers requests with these heads; nothing else may wait.
    pub(crate) fn answer_all(&mut self, heads: &[u8]) {
        for output in self.outputs() {
            match output {
                Output::Advertise { op, .. } => {
                    self.node.handle_advertised(self.now, op, Ok(AdvertReply::default()))
                }
                Output::RequestHeads { op, .. } => {
                    self.heads(op, hashes(heads));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Answers a request with all heads of a peer.
    pub(crate) fn heads(&mut self, op: OpId, heads: Vec<CommitHash>) {
        self.node.handle_heads(self.now, op, Ok(HeadsAnswer::of_all(heads, None)));
    }

    /// Lets time pass, with every timer going off on its way.
    pub(crate) fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(next) = self.node.poll_timeout().filter(|next| *next <= end) {
            assert!(next > self.now, "a timer does not move on");
            self.now = next;
            self.node.handle_timeout(next);
        }
        self.now = end;
    }

    pub(crate) fn local_commit(&mut self, n: u8, on: &[u8]) {
        let commits = vec![commit(n, on)];
        self.node.handle_local_commits(self.now, commits, hash(n), hashes(&[n])).unwrap();
    }

    pub(crate) fn advert(&mut self, from: u8, heads: &[u8], told: &[u8]) {
        let told = told.iter().map(|&n| peer(n)).collect();
        let advert = Advert::of_all(hashes(heads), told);
        self.node.handle_advert(self.now, peer(from), advert).unwrap();
    }

    pub(crate) fn pulled(&mut self, op: OpId, commits: &[UserCommit]) {
        self.node.handle_pulled(self.now, op, Ok(commits.to_vec()));
    }

    pub(crate) fn pull_failed(&mut self, op: OpId, error: PullError) {
        self.node.handle_pulled(self.now, op, Err(error));
    }

    pub(crate) fn moved(&mut self, op: OpId, result: MoveResult) {
        self.node.handle_moved(self.now, op, Ok(result)).unwrap();
    }

    pub(crate) fn merge_result(&mut self, op: OpId, result: MergeResult) {
        self.node.handle_merged(self.now, op, Ok(result));
    }

    /// Expects just one output, a pull, and returns its id.
    #[track_caller]
    pub(crate) fn expect_pull(&mut self, from: u8, expected: &[u8]) -> OpId {
        match &self.outputs()[..] {
            [Output::Pull { op, peer: id, heads }] => {
                assert_eq!((*id, heads), (peer(from), &hashes(expected)));
                *op
            }
            other => panic!("{other:?}"),
        }
    }

    /// Expects just one output, a merge, and returns its id.
    #[track_caller]
    pub(crate) fn expect_merge(&mut self, ours: CommitHash, theirs: CommitHash) -> OpId {
        match self.outputs()[..] {
            [Output::Merge { op, merge }] => {
                assert_eq!((merge.ours, merge.theirs), (ours, theirs));
                op
            }
            ref other => panic!("{other:?}"),
        }
    }

    /// Expects just one output, a move of main, and returns its id.
    #[track_caller]
    pub(crate) fn expect_move(&mut self, from: CommitHash, to: CommitHash) -> OpId {
        match self.outputs()[..] {
            [Output::MoveMain { op, from: f, to: t, .. }] => {
                assert_eq!((f, t), (from, to));
                op
            }
            ref other => panic!("{other:?}"),
        }
    }

    /// Expects just adverts, and returns their ids, to whom they go and what they say.
    #[track_caller]
    pub(crate) fn expect_adverts(&mut self, to: &[u8]) -> Vec<(OpId, Advert)> {
        let outputs = self.outputs().into_iter().map(|output| match output {
            Output::Advertise { op, peer, advert } => (peer, (op, advert)),
            other => panic!("{other:?}"),
        });
        let (peers, adverts): (Vec<_>, Vec<_>) = outputs.unzip();
        assert_eq!(peers, to.iter().map(|&n| peer(n)).collect::<Vec<_>>());
        adverts
    }
}
