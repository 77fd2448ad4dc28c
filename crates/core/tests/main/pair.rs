//! Two nodes and the time between them, driven until both are idle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use doltswarm_core::commit::{ConflictPolicy, UserCommit};
use doltswarm_core::id::CommitHash;
use doltswarm_core::message::AdvertReply;
use doltswarm_core::node::{MoveResult, Node, NodeConfig, Output, PullError};
use doltswarm_core::time::Time;

use crate::rig::{FOUNDING, commit, hash, hashes, merged, peer, restored};

/// Two nodes, numbered 0 and 1, that reach each other at once or not at all.
struct Pair {
    nodes: [Node; 2],
    now: Time,
    linked: bool,
    /// How many adverts each has sent.
    adverts: [usize; 2],
}

impl Pair {
    fn new() -> Self {
        let node = |n| {
            let policy = ConflictPolicy::Settle;
            let config = NodeConfig { me: peer(n), seed: u64::from(n), policy };
            Node::new(config, restored(&[], hash(FOUNDING), &[FOUNDING]), Time::ZERO)
        };
        let nodes = [node(0), node(1)];
        Self { nodes, now: Time::ZERO, linked: false, adverts: [0; 2] }
    }

    fn link(&mut self, up: bool) {
        self.linked = up;
        for (node, other) in self.nodes.iter_mut().zip([1, 0]) {
            if up {
                node.handle_connected(self.now, peer(other));
            } else {
                node.handle_disconnected(self.now, peer(other));
            }
        }
        self.drive();
    }

    /// Carries out all outputs until neither node has any.
    fn drive(&mut self) {
        while (0..2).any(|n| self.step(n)) {}
    }

    fn step(&mut self, n: usize) -> bool {
        let now = self.now;
        let Some(output) = self.nodes[n].poll_output() else { return false };
        match output {
            Output::Advertise { op, advert, .. } => {
                self.adverts[n] += 1;
                if self.linked {
                    self.nodes[1 - n].handle_advert(now, peer(n as u8), advert).unwrap();
                }
                self.nodes[n].handle_advertised(
                    now,
                    op,
                    self.linked.then(AdvertReply::default).ok_or(()),
                );
            }
            Output::RequestHeads { op, request, .. } => {
                let answer = self.nodes[1 - n].heads_answer(&request);
                self.nodes[n].handle_heads(now, op, self.linked.then_some(answer).ok_or(()));
            }
            Output::Pull { op, heads, .. } => {
                let commits = self.difference(1 - n, &heads);
                let commits = self.linked.then_some(commits).ok_or(PullError::Unavailable);
                self.nodes[n].handle_pulled(now, op, commits);
            }
            Output::Merge { op, merge } => {
                let merged = merged(merge.ours, merge.theirs);
                self.nodes[n].handle_merged(now, op, Ok(Ok(merged)));
            }
            Output::MoveMain { op, .. } => {
                self.nodes[n].handle_moved(now, op, Ok(MoveResult::Moved)).unwrap();
            }
            Output::SetParked { .. } | Output::Event(_) => {}
        }
        true
    }

    fn difference(&self, source: usize, heads: &[CommitHash]) -> Vec<UserCommit> {
        let have = self.nodes[1 - source].advert_heads();
        let graph = self.nodes[source].graph();
        let missing = graph.difference(heads, &have);
        missing.iter().filter_map(|hash| graph.get(hash)).collect()
    }

    /// Lets time pass, with every timer going off on its way.
    fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(next) = self.nodes.iter().filter_map(Node::poll_timeout).min() {
            if next > end {
                break;
            }
            self.now = next;
            self.nodes.iter_mut().for_each(|node| node.handle_timeout(next));
            self.drive();
        }
        self.now = end;
    }

    fn commit(&mut self, n: usize, number: u8) {
        let builds_on: BTreeSet<_> = self.nodes[n].included().iter().copied().collect();
        let commit =
            UserCommit { builds_on: builds_on.into_iter().collect(), ..commit(number, &[]) };
        let main = hash(number);
        self.nodes[n].handle_local_commits(self.now, vec![commit], main, vec![main]).unwrap();
        self.drive();
    }

    #[track_caller]
    fn assert_in_step(&self) {
        let [a, b] = &self.nodes;
        assert!(a.is_settled() && b.is_settled());
        assert_eq!(a.heads(), b.heads());
        assert_eq!(a.main(), b.main());
    }
}

#[test]
fn a_commit_reaches_the_other_side_at_once() {
    let mut pair = Pair::new();
    pair.link(true);
    pair.adverts = [0; 2];
    pair.commit(0, 5);
    pair.assert_in_step();
    assert_eq!(pair.adverts, [1, 0]);
    pair.commit(1, 6);
    pair.assert_in_step();
    assert_eq!(pair.adverts, [1, 1]);
    assert_eq!(pair.nodes[0].main(), hash(6));
}

#[test]
fn both_write_while_apart_and_agree_when_they_meet() {
    let mut pair = Pair::new();
    pair.link(true);
    pair.link(false);
    for number in [10, 11, 12] {
        pair.commit(0, number);
        pair.commit(1, number + 10);
        pair.advance(Duration::from_secs(30));
    }
    assert_ne!(pair.nodes[0].main(), pair.nodes[1].main());
    pair.link(true);
    pair.assert_in_step();
    assert_eq!(pair.nodes[0].advert_heads(), hashes(&[12, 22]));
    assert_eq!(pair.nodes[0].main(), merged(hash(12), hash(22)));
}

#[test]
fn in_step_nothing_is_sent_but_the_regular_question() {
    let mut pair = Pair::new();
    pair.link(true);
    pair.commit(0, 5);
    pair.advance(Duration::from_secs(5));
    pair.adverts = [0; 2];
    pair.advance(Duration::from_secs(3_600));
    assert_eq!(pair.adverts, [0; 2]);
    pair.assert_in_step();
}

#[test]
fn a_link_that_comes_and_goes_loses_nothing() {
    let mut pair = Pair::new();
    let mut numbers = BTreeMap::new();
    for number in 10..40 {
        pair.link(number % 3 == 0);
        pair.commit(usize::from(number % 2), number);
        numbers.insert(number, hash(number));
        pair.advance(Duration::from_millis(u64::from(number) * 7));
    }
    pair.link(true);
    pair.assert_in_step();
    let graph = pair.nodes[0].graph();
    assert!(numbers.values().all(|hash| graph.contains(hash)));
}
