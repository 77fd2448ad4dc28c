//! What happens between nodes and engines: messages, their loss and their answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::engine::Commit;
use super::machine::{Machine, Move, number, peer_id};
use super::options::Fault;
use super::world::World;
use crate::commit::{Merge, UserCommit};
use crate::id::CommitHash;
use crate::message::{Advert, AdvertReply, HeadRequest, HeadsAnswer};
use crate::node::{Event, OpId, Output, PullError};

/// How long a driver waits for an answer that does not come.
const TIMEOUT: Duration = Duration::from_millis(700);

/// The end of an operation of one life of a node.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) node: usize,
    pub(super) life: u64,
    pub(super) op: OpId,
}

#[derive(Debug, Clone)]
pub(super) enum Happening {
    Dialled { from: usize, to: usize, life: u64 },
    Cut { a: usize, b: usize, link: u64 },
    AdvertArrives { from: usize, to: usize, advert: Advert, answer: Option<Answer> },
    InboxRead { node: usize, life: u64 },
    Advertised(Answer, Option<AdvertReply>),
    HeadsAsked { from: usize, to: usize, request: HeadRequest, answer: Answer },
    Heads(Answer, Option<(Vec<CommitHash>, Option<CommitHash>)>),
    Pulled(Answer, usize, Vec<CommitHash>),
    Merged(Answer, Merge),
    Moved(Answer, Move),
    CommitsNoticed(usize),
}

impl World {
    /// Whether a message goes astray; draws.
    fn is_lost(&mut self, from: usize, to: usize) -> bool {
        let lost = self.faulty && self.random.below(100) < self.options.loss_percent;
        lost || !self.is_linked(from, to) || !self.passes(from, to)
    }

    fn engine_fails(&mut self) -> bool {
        self.faulty && self.random.below(100) < self.options.engine_failure_percent
    }

    /// Does what the node asks for.
    pub(super) fn carry_out(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        machine.node.handle_view(machine.dialer.view());
        while let Some(peer) = {
            let now = self.node_now(node);
            let Machine { node, dialer, .. } = &mut self.machines[node];
            dialer.poll_close(now, |peer| node.is_spare(peer))
        } {
            self.disconnect(node, number(&peer));
        }
        while let Some(peer) = {
            let now = self.node_now(node);
            self.machines[node].dialer.poll_dial(now)
        } {
            let life = self.machines[node].life;
            self.after_delay(Happening::Dialled { from: node, to: number(&peer), life });
        }
        while let Some(output) = self.machines[node].node.poll_output() {
            self.trace(|| format!("n{node} {output:?}"));
            self.carry_out_one(node, output);
        }
        self.arm(node);
        self.touched.insert(node);
    }

    fn carry_out_one(&mut self, node: usize, output: Output) {
        let life = self.machines[node].life;
        let answer = |op| Answer { node, life, op };
        match output {
            Output::Advertise { op, peer, advert } => {
                self.counts.adverts += 1;
                self.counts.bytes += 64 + 20 * advert.heads.len() + 32 * advert.told.len();
                let advert = self.maybe_lie(node, advert);
                self.send_advert(node, number(&peer), advert, answer(op));
            }
            Output::RequestHeads { op, peer, request } => {
                self.counts.requests += 1;
                self.counts.bytes += 64;
                let (to, answer) = (number(&peer), answer(op));
                if self.is_lost(node, to) {
                    self.schedule(TIMEOUT, Happening::Heads(answer, None));
                } else {
                    self.after_delay(Happening::HeadsAsked { from: node, to, request, answer });
                }
            }
            Output::Pull { op, peer, heads } => {
                self.counts.pulls += 1;
                self.after_delay(Happening::Pulled(answer(op), number(&peer), heads));
            }
            Output::Merge { op, merge } => {
                self.counts.merges += 1;
                self.after_work(Happening::Merged(answer(op), merge));
            }
            Output::MoveMain { op, from, to, outrun } => {
                self.counts.moves += 1;
                // Not by the dice: what follows would be another history.
                let is_often = self.twins.is_some() || to.as_bytes()[0].is_multiple_of(4);
                let catches_up = outrun || (self.options.has(Fault::Foreign) && is_often);
                self.after_work(Happening::Moved(answer(op), Move { from, to, catches_up }));
            }
            Output::SetParked { heads } => {
                self.machines[node].set_parked(heads, &mut self.twins);
            }
            Output::Event(event) => self.take_event(node, &event),
        }
    }

    fn take_event(&mut self, node: usize, event: &Event) {
        match event {
            Event::HeadsChanged { .. } => self.counts.heads_changes += 1,
            Event::MainMoved { fast_forward, .. } => {
                self.counts.fast_forwards += usize::from(*fast_forward);
            }
            _ => {}
        }
        self.check_event(node, event);
    }

    fn send_advert(&mut self, from: usize, to: usize, advert: Advert, answer: Answer) {
        if self.is_lost(from, to) {
            self.counts.failures += 1;
            self.schedule(TIMEOUT, Happening::Advertised(answer, None));
            return;
        }
        if self.faulty && self.random.below(100) < self.options.repeat_percent {
            let advert = advert.clone();
            self.after_delay(Happening::AdvertArrives { from, to, advert, answer: None });
        }
        self.after_delay(Happening::AdvertArrives { from, to, advert, answer: Some(answer) });
    }

    pub(super) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Dialled { from, to, life } => self.end_dial(from, to, life),
            Happening::Cut { a, b, link } => {
                if self.links.get(&(a.min(b), a.max(b))) == Some(&link) {
                    self.disconnect(a, b);
                }
            }
            Happening::AdvertArrives { from, to, advert, answer } => {
                self.advert_arrives(from, to, advert, answer);
            }
            Happening::InboxRead { node, life } => drop(self.read_inbox(node, life)),
            Happening::HeadsAsked { from, to, request, answer } => {
                let now = self.node_now(to);
                self.machines[to].node.handle_asked(now, peer_id(from), request);
                self.carry_out(to);
                let reply = self.reply(to);
                self.counts.bytes += 64 + 20 * reply.0.len();
                self.learn_addresses(from, to);
                let reply = Some(reply).filter(|_| !self.is_lost(to, from));
                self.after_delay(Happening::Heads(answer, reply));
            }
            Happening::CommitsNoticed(node) => {
                let now = self.node_now(node);
                self.machines[node].notice_commits(now);
                self.carry_out(node);
            }
            answered => self.answer(answered),
        }
    }

    fn advert_arrives(&mut self, from: usize, to: usize, advert: Advert, answer: Option<Answer>) {
        if !self.is_linked(from, to) || !self.machines[to].is_online {
            if let Some(answer) = answer {
                self.counts.failures += 1;
                self.schedule(TIMEOUT, Happening::Advertised(answer, None));
            }
            return;
        }
        let (life, slowness) = (self.machines[to].life, self.machines[to].slowness);
        // The queue keeps the newest advert of each peer, and the sender is answered at once.
        self.machines[to].inbox.insert(from, advert);
        let mut reply = AdvertReply::default();
        if slowness.is_zero() {
            reply = self.read_inbox(to, life).remove(&from).unwrap_or_default();
        } else {
            self.schedule(slowness, Happening::InboxRead { node: to, life });
        }
        if let Some(answer) = answer {
            let lost = self.is_lost(to, from);
            self.counts.failures += usize::from(lost);
            self.after_delay(Happening::Advertised(answer, (!lost).then_some(reply)));
        }
    }

    /// Takes the adverts that wait, and returns what each sender is answered.
    fn read_inbox(&mut self, node: usize, life: u64) -> BTreeMap<usize, AdvertReply> {
        let mut replies = BTreeMap::new();
        if self.machines[node].life != life {
            return replies;
        }
        for (from, advert) in std::mem::take(&mut self.machines[node].inbox) {
            let now = self.node_now(node);
            let taken = self.machines[node].node.handle_advert(now, peer_id(from), advert);
            match taken {
                Ok(reply) => drop(replies.insert(from, reply)),
                Err(fault) if self.is_honest(from) => {
                    self.fail("told truly", format!("n{node} finds fault with n{from}: {fault}"));
                }
                Err(_) => {}
            }
        }
        self.carry_out(node);
        replies
    }

    fn answer(&mut self, happening: Happening) {
        let (Happening::Advertised(answer, ..)
        | Happening::Heads(answer, ..)
        | Happening::Pulled(answer, ..)
        | Happening::Merged(answer, ..)
        | Happening::Moved(answer, ..)) = &happening
        else {
            return;
        };
        let (node, op, now) = (answer.node, answer.op, self.node_now(answer.node));
        if self.machines[node].life != answer.life {
            return;
        }
        let fails = self.engine_fails();
        self.trace(|| format!("n{node} {happening:?}"));
        match happening {
            Happening::Advertised(_, reply) => {
                self.machines[node].node.handle_advertised(now, op, reply.ok_or(()));
            }
            Happening::Heads(_, reply) => {
                let answer = reply.map(|(heads, main)| HeadsAnswer::of_all(heads, main));
                self.machines[node].node.handle_heads(now, op, answer.ok_or(()));
            }
            Happening::Pulled(_, from, heads) => self.end_pull(node, op, from, &heads, fails),
            Happening::Merged(_, merge) => {
                let result = if fails { Err(()) } else { Ok(self.merge(node, merge)) };
                if result.is_ok() {
                    self.check_work(node, Some(&merge));
                }
                self.machines[node].node.handle_merged(now, op, result);
            }
            Happening::Moved(_, moving) => {
                let result = if fails { Err(()) } else { Ok(self.move_main(node, moving)) };
                let moved = self.machines[node].node.handle_moved(now, op, result);
                moved.expect("because a walk finds parents first");
            }
            _ => {}
        }
        self.carry_out(node);
    }

    fn end_pull(&mut self, node: usize, op: OpId, from: usize, heads: &[CommitHash], fails: bool) {
        let result = if fails {
            Err(PullError::Local { reason: "the disk is full".into() })
        } else if self.is_lost(from, node) || !self.machines[from].is_online {
            Err(PullError::Unavailable)
        } else {
            self.pull(node, from, heads)
        };
        self.counts.failures += usize::from(result.is_err());
        let now = self.node_now(node);
        self.machines[node].node.handle_pulled(now, op, result);
    }

    fn pull(
        &mut self,
        node: usize,
        from: usize,
        heads: &[CommitHash],
    ) -> Result<Vec<UserCommit>, PullError> {
        if !self.is_honest(from)
            && let Some(error) = self.withheld()
        {
            return Err(error);
        }
        let (fetched, accepted) = self.fetch(node, from, heads)?;
        self.counts.fetches += 1;
        self.counts.bytes += 300 * fetched.len();
        self.machines[node].receive(fetched);
        self.machines[node].write_store();
        self.machines[node].dialer.handle_healthy(&peer_id(from));
        Ok(accepted)
    }

    /// Brings the commits into the engine, which is not yet to accept them.
    pub(super) fn fetch(
        &mut self,
        node: usize,
        from: usize,
        heads: &[CommitHash],
    ) -> Result<(Vec<Arc<Commit>>, Vec<UserCommit>), PullError> {
        let pulled = self.machines[node].prepare_pull(&self.machines[from].store, heads)?;
        if let Some(twins) = &mut self.twins {
            twins.fetch(node, from, heads);
        }
        Ok(pulled)
    }

    /// What a node says when it is asked for its heads.
    fn reply(&mut self, node: usize) -> (Vec<CommitHash>, Option<CommitHash>) {
        let asked = &self.machines[node].node;
        let reply = (asked.advert_heads(), asked.is_settled().then_some(asked.main()));
        if self.is_honest(node) || self.random.below(2) == 0 {
            return reply;
        }
        let advert = self.lie(node);
        (advert.heads, Some(self.forged_hash()))
    }

    /// A liar's word in place of its advert, now and then.
    fn maybe_lie(&mut self, node: usize, advert: Advert) -> Advert {
        if self.is_honest(node) || self.random.below(2) == 0 { advert } else { self.lie(node) }
    }

    /// One of the lies about heads: made-up ones, old ones, some of them, in disorder, and that all
    /// others were told.
    fn lie(&mut self, node: usize) -> Advert {
        let told = (0..self.machines.len()).map(peer_id).collect();
        let mut heads = self.machines[node].node.advert_heads();
        let commits: Vec<CommitHash> =
            self.machines[node].store.iter().map(|commit| commit.info.hash).collect();
        let old = commits[self.random.below(commits.len() as u64) as usize];
        match self.random.below(5) {
            0 => heads = vec![self.forged_hash()],
            1 => heads = vec![old],
            2 => heads.truncate(1),
            3 => heads = vec![heads[0], heads[0]],
            _ => {}
        }
        Advert::of_all(heads, told)
    }

    fn forged_hash(&mut self) -> CommitHash {
        CommitHash::from_bytes([self.random.below(256) as u8; CommitHash::BYTES])
    }

    /// How a liar answers a pull, unless it answers truly.
    fn withheld(&mut self) -> Option<PullError> {
        match self.random.below(3) {
            0 => Some(PullError::Unavailable),
            1 => Some(PullError::Rejected { reason: "a bad signature".into() }),
            _ => None,
        }
    }

    /// The liar answers what nobody asked, and says things about heads.
    pub(super) fn send_unasked(&mut self, to: usize) {
        let liar = self.options.nodes;
        if !self.options.has(Fault::Adversary) {
            return;
        }
        let advert = self.lie(liar);
        let (now, op) = (self.node_now(to), OpId(u64::MAX - self.random.below(9)));
        let node = &mut self.machines[to].node;
        node.handle_heads(now, op, Ok(HeadsAnswer::of_all(advert.heads.clone(), None)));
        node.handle_advertised(now, op, Ok(AdvertReply::default()));
        node.handle_pulled(now, op, Ok(Vec::new()));
        self.happen(Happening::AdvertArrives { from: liar, to, advert, answer: None });
    }
}
