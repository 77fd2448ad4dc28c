//! One machine in the search: the simulator's machine, with the operations that are under way on
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::checks::Failure;
use super::super::checks::rules::{self, Folds, Verdict};
use super::super::engine::{Saying, Store};
use super::super::machine::{Machine, number, peer_id};
use super::canon::canonical;
use super::scenario::Scenario;
use crate::commit::{ConflictPolicy, Merge};
use crate::id::CommitHash;
use crate::message::{Advert, AdvertReply, HeadsAnswer};
use crate::node::{MoveResult, OpId, Output, PullError};
use crate::time::Time;

/// How far a node's clock jumps when its timers fire: beyond all of them.
const JUMP: Duration = Duration::from_secs(3_600);
/// Dates of commits.
const SECONDS: i64 = 1_800_000_100;

/// What happens to one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Input {
    /// Its user commits what comes next in the scenario.
    Commit,
    /// It notices what another program committed.
    Notice,
    /// Its timers fire.
    Timeout,
    /// It is linked with a peer.
    Linked(usize),
    /// It is no longer linked with a peer.
    Cut(usize),
    /// A message with this number arrives: an advert, or a peer's word which heads it has.
    Arrives(u32),
    /// An advert to a peer was taken, or the driver gave up.
    Advertised(usize, bool),
    /// The driver gave up asking a peer for its heads.
    NoHeads(usize),
    /// A pull from a peer ends, well or not.
    Pulled(usize, bool),
    /// The merge under way ends, or the engine fails.
    Merged(bool),
    /// The move under way ends, or the engine fails.
    Moved(bool),
    /// The process is killed and comes back.
    Crash {
        /// Whether the move under way was done all the same.
        is_moved: bool,
        /// Whether the memory of merges is gone.
        forgets: bool,
    },
}

/// What is around a machine when something happens to it.
#[derive(Debug)]
pub(super) struct Around<'a> {
    pub(super) scenario: &'a Scenario,
    /// The message that arrives.
    pub(super) message: Option<&'a Message>,
    /// The commits of the peer that is pulled from.
    pub(super) source: Option<&'a Store>,
}

/// What a machine sends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Message {
    /// An advert; `is_copy` where it came twice, so that nobody waits for the answer.
    Advert { from: usize, to: usize, advert: Advert, is_copy: bool },
    /// The word that an advert was taken, for who sent it.
    Taken { from: usize, to: usize },
    /// A question for heads.
    Question { from: usize, to: usize },
    /// Its answer.
    Heads { from: usize, to: usize, heads: Vec<CommitHash>, main: Option<CommitHash> },
}

impl Message {
    /// From whom, and to whom.
    pub(super) fn ends(&self) -> (usize, usize) {
        match *self {
            Self::Advert { from, to, .. }
            | Self::Taken { from, to }
            | Self::Question { from, to }
            | Self::Heads { from, to, .. } => (from, to),
        }
    }
}

/// One machine.
#[derive(Debug, Clone)]
pub(super) struct Local {
    pub(super) machine: Machine,
    /// What its users were told is committed.
    pub(super) own: BTreeSet<CommitHash>,
    /// How many of its commits of the scenario were made.
    pub(super) made: usize,
    /// Whether another program committed and the node has not looked yet.
    pub(super) is_unnoticed: bool,
    now: Time,
    adverts: BTreeMap<usize, OpId>,
    questions: BTreeMap<usize, OpId>,
    /// Pulls under way, by peer.
    pub(super) pulls: BTreeMap<usize, (OpId, Vec<CommitHash>)>,
    pub(super) merge: Option<(OpId, Merge)>,
    pub(super) moving: Option<(OpId, CommitHash, CommitHash)>,
}

impl Local {
    pub(super) fn new(machine: Machine) -> Self {
        Self {
            machine,
            own: BTreeSet::new(),
            made: 0,
            is_unnoticed: false,
            now: Time::ZERO,
            adverts: BTreeMap::new(),
            questions: BTreeMap::new(),
            pulls: BTreeMap::new(),
            merge: None,
            moving: None,
        }
    }

    /// Whether nothing is under way on this machine.
    pub(super) fn is_idle(&self) -> bool {
        self.pulls.is_empty() && self.merge.is_none() && self.moving.is_none()
    }

    /// Whether time alone will change something.
    pub(super) fn has_timer(&self) -> bool {
        self.machine.node.poll_timeout().is_some()
    }

    /// What it says when it is asked for its heads.
    pub(super) fn reply(&self) -> (Vec<CommitHash>, Option<CommitHash>) {
        let node = &self.machine.node;
        (node.advert_heads(), node.is_settled().then_some(node.main()))
    }

    /// Lets something happen. Returns what is sent.
    pub(super) fn take(
        &mut self,
        input: Input,
        around: &Around<'_>,
        folds: &mut Folds,
    ) -> Result<Vec<Message>, Failure> {
        let scenario = around.scenario;
        self.happen(input, around)?;
        let sent = self.carry_out()?;
        rules::heads(&self.machine)?;
        rules::own_kept(&self.machine, &self.own)?;
        rules::nothing_parks(&self.machine, scenario.policy)?;
        if self.machine.node.is_settled() && !self.is_unnoticed {
            folds.check(&self.machine, scenario.policy, false)?;
        }
        Ok(sent)
    }

    fn happen(&mut self, input: Input, around: &Around<'_>) -> Verdict {
        let (now, scenario) = (self.now, around.scenario);
        match input {
            Input::Commit => self.commit(scenario),
            Input::Notice => self.notice(),
            Input::Timeout => {
                self.now = now + JUMP;
                self.machine.node.handle_timeout(self.now);
            }
            Input::Linked(peer) | Input::Cut(peer) => {
                self.adverts.remove(&peer);
                self.questions.remove(&peer);
                if matches!(input, Input::Linked(_)) {
                    self.machine.node.handle_connected(now, peer_id(peer));
                } else {
                    self.machine.node.handle_disconnected(now, peer_id(peer));
                }
            }
            Input::Arrives(_) => return self.receive(around.message),
            Input::Advertised(to, is_taken) => {
                if let Some(op) = self.adverts.remove(&to) {
                    // In a swarm of few every link carries adverts, whatever the answer.
                    let result = if is_taken { Ok(AdvertReply::default()) } else { Err(()) };
                    self.machine.node.handle_advertised(now, op, result);
                }
            }
            Input::NoHeads(from) => self.hear(from, Err(()), None),
            Input::Pulled(from, is_whole) => {
                self.end_pull(from, around.source.filter(|_| is_whole))
            }
            Input::Merged(is_done) => return self.end_merge(is_done, scenario.policy),
            Input::Moved(is_done) => return self.end_move(is_done),
            Input::Crash { is_moved, forgets } => return self.crash(is_moved, forgets),
        }
        Ok(())
    }

    fn receive(&mut self, message: Option<&Message>) -> Verdict {
        match message {
            Some(Message::Advert { from, advert, .. }) => {
                let taken =
                    self.machine.node.handle_advert(self.now, peer_id(*from), advert.clone());
                taken.map_err(|fault| Failure {
                    rule: "told truly",
                    detail: format!("n{} finds fault with n{from}: {fault}", self.machine.number),
                })?;
            }
            Some(Message::Heads { from, heads, main, .. }) => {
                self.hear(*from, Ok(heads.clone()), *main);
            }
            _ => {}
        }
        Ok(())
    }

    fn hear(&mut self, from: usize, heads: Result<Vec<CommitHash>, ()>, main: Option<CommitHash>) {
        if let Some(op) = self.questions.remove(&from) {
            let answer = heads.map(|heads| HeadsAnswer::of_all(heads, main));
            self.machine.node.handle_heads(self.now, op, answer);
        }
    }

    fn commit(&mut self, scenario: &Scenario) {
        let number = self.machine.number;
        let planned = scenario.commits.iter().filter(|commit| commit.node == number);
        let Some(planned) = planned.clone().nth(self.made) else { return };
        self.made += 1;
        let message = format!("commit {} of n{number}", self.made);
        let saying = Saying { author: number.to_string(), message, seconds: SECONDS };
        let Some(hash) = self.machine.commit(&planned.edits, &saying, &mut None) else { return };
        self.own.insert(hash);
        self.is_unnoticed = true;
        if !planned.is_foreign {
            self.notice();
        }
    }

    fn notice(&mut self) {
        self.is_unnoticed = false;
        self.machine.notice_commits(self.now);
    }

    fn end_pull(&mut self, from: usize, source: Option<&Store>) {
        let Some((op, heads)) = self.pulls.remove(&from) else { return };
        let pulled = source.ok_or(PullError::Unavailable);
        let pulled = pulled.and_then(|source| self.machine.prepare_pull(source, &heads));
        let result = pulled.map(|(fetched, accepted)| {
            self.machine.receive(fetched);
            self.machine.write_store();
            accepted
        });
        self.machine.node.handle_pulled(self.now, op, result);
    }

    fn end_merge(&mut self, is_done: bool, policy: ConflictPolicy) -> Verdict {
        let Some((op, merge)) = self.merge.take() else { return Ok(()) };
        let result = if is_done {
            let result = self.machine.merge(merge, &mut None);
            rules::merge(&self.machine.store, &result, policy)?;
            Ok(result)
        } else {
            Err(())
        };
        self.machine.node.handle_merged(self.now, op, result);
        Ok(())
    }

    fn end_move(&mut self, is_done: bool) -> Verdict {
        let Some((op, from, to)) = self.moving.take() else { return Ok(()) };
        let result = if is_done { Ok(self.move_main(from, to)?) } else { Err(()) };
        let moved = self.machine.node.handle_moved(self.now, op, result);
        moved.expect("because a walk finds parents first");
        Ok(())
    }

    fn move_main(&mut self, from: CommitHash, to: CommitHash) -> Result<MoveResult, Failure> {
        let result = self.machine.move_main(from, to, &mut None);
        if result == MoveResult::Moved {
            rules::own_stay(&self.machine, &self.own)?;
        } else {
            self.is_unnoticed = false;
        }
        Ok(result)
    }

    fn crash(&mut self, is_moved: bool, forgets: bool) -> Verdict {
        if let Some((_, from, to)) = self.moving.filter(|_| is_moved) {
            self.move_main(from, to)?;
        }
        self.machine.restart(1, self.now, forgets);
        let Self { machine, own, made, now, .. } = self;
        *self =
            Self { own: std::mem::take(own), made: *made, now: *now, ..Self::new(machine.clone()) };
        Ok(())
    }

    /// Does what the node asks for.
    fn carry_out(&mut self) -> Result<Vec<Message>, Failure> {
        let from = self.machine.number;
        let mut sent = Vec::new();
        while let Some(output) = self.machine.node.poll_output() {
            match output {
                Output::Advertise { op, peer, advert } => {
                    let (to, advert) = (number(&peer), advert);
                    self.adverts.insert(to, op);
                    sent.push(Message::Advert { from, to, advert, is_copy: false });
                }
                Output::RequestHeads { op, peer, .. } => {
                    let to = number(&peer);
                    self.questions.insert(to, op);
                    sent.push(Message::Question { from, to });
                }
                Output::Pull { op, peer, heads } => {
                    self.pulls.insert(number(&peer), (op, heads));
                }
                Output::Merge { op, merge } => self.merge = Some((op, merge)),
                Output::MoveMain { op, from, to, .. } => self.moving = Some((op, from, to)),
                Output::SetParked { heads } => self.machine.set_parked(heads, &mut None),
                Output::Event(event) => rules::event(&self.machine, &event, true)?,
            }
        }
        Ok(sent)
    }

    /// A digest of all that this machine's future depends on.
    ///
    /// Of the engine's commits only those count that something names: main, a head, a parked branch
    /// or the memory of merges. A commit that nothing names is made again, the same, where it is
    /// needed.
    pub(super) fn digest(&self) -> [u8; 16] {
        let mut names = BTreeMap::new();
        for (kind, ops) in [("advert", &self.adverts), ("question", &self.questions)] {
            names.extend(ops.iter().map(|(peer, op)| (*op, format!("{kind}{peer}"))));
        }
        names.extend(self.pulls.iter().map(|(peer, (op, _))| (*op, format!("pull{peer}"))));
        names.extend(self.merge.iter().map(|(op, ..)| (*op, "merge".to_owned())));
        names.extend(self.moving.iter().map(|(op, ..)| (*op, "move".to_owned())));
        let machine = &self.machine;
        let node = canonical(&format!("{:?}", machine.node), self.now, &names);
        let accepted: BTreeSet<_> =
            machine.node.graph().iter_topological().map(|commit| commit.hash).collect();
        let rest = format!(
            "{accepted:?} {:?} {:?} {:?} {:?} {} {}",
            machine.main, machine.parked, machine.relaxed, self.own, self.made, self.is_unnoticed
        );
        let mut hasher = blake3::Hasher::new();
        hasher.update(node.as_bytes());
        hasher.update(rest.as_bytes());
        *hasher.finalize().as_bytes().first_chunk().expect("because a digest has 32 bytes")
    }
}
