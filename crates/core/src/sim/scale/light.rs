//! A large swarm, with real nodes and dialers and next to no engine.
//!
//! Commits are names. Merges are answered when [`Light::fold`] is called, because how long merging
//! takes is measured elsewhere, and moves of main at once. What is kept is what adverts depend on:
//! links, late and lost messages, dead peers, and the time.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use super::super::engine::short;
use super::super::machine::{number, peer_id};
use crate::commit::{ConflictPolicy, Merge, UserCommit};
use crate::fold::MergeMemory;
use crate::graph::CommitGraph;
use crate::id::{CommitHash, PeerId};
use crate::limits::PEER_RECORDS_SHARED;
use crate::message::{Advert, AdvertReply, HeadRequest, HeadsAnswer};
use crate::node::dialer::Dialer;
use crate::node::timers::Jitter;
use crate::node::{MoveResult, Node, NodeConfig, OpId, Output, PullError, Restored};
use crate::time::Time;
use crate::walk::Found;

/// How long a message takes at least and at most, in milliseconds.
const DELAY: (u64, u64) = (5, 45);
/// How long a driver waits for an answer that does not come.
const TIMEOUT: Duration = Duration::from_millis(700);
/// How long it takes at most until a dead link is noticed, in milliseconds.
const NOTICE_MAX: u64 = 8_000;

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Adverts.
    pub adverts: usize,
    /// Requests that ask to be told from then on, over a link that was to carry no adverts.
    pub grafts: usize,
    /// All other requests for heads: they are sent whether or not anyone commits.
    pub questions: usize,
    /// Pulls.
    pub pulls: usize,
    /// Links that came up.
    pub links: usize,
}

/// A commit on its way to everyone.
#[derive(Debug)]
pub(super) struct Wave {
    pub(super) begun: Time,
    /// When the last node had it.
    pub(super) ended: Time,
    /// How many pulls lie between the writer and each node; nothing where it is not there.
    hops: Vec<Option<u16>>,
    /// How many living nodes have it.
    reached: usize,
}

impl Wave {
    /// The number of pulls between the writer and the farthest node.
    pub(super) fn hops_max(&self) -> u16 {
        self.hops.iter().flatten().copied().max().unwrap_or(0)
    }
}

#[derive(Debug)]
enum Happening {
    Timer(usize),
    Dialled(usize, usize),
    Cut(usize, usize, u64),
    Advert { from: usize, to: usize, op: OpId, advert: Advert },
    Advertised(usize, OpId, Option<AdvertReply>),
    Asked { from: usize, to: usize, op: OpId, request: HeadRequest },
    Heads(usize, OpId, Option<Heads>),
    Pulled { node: usize, from: usize, op: OpId, heads: Vec<CommitHash> },
}

/// What happens at a time; what was asked for first comes first.
#[derive(Debug)]
struct Due {
    time: Time,
    number: u64,
    happening: Happening,
}

impl Due {
    fn key(&self) -> Reverse<(Time, u64)> {
        Reverse((self.time, self.number))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

#[derive(Debug)]
struct Heads {
    heads: Vec<CommitHash>,
    main: Option<CommitHash>,
    peers: Vec<PeerId>,
}

/// One node and what is around it.
#[derive(Debug)]
struct Place {
    node: Node,
    dialer: Dialer,
    is_alive: bool,
    /// On which side of a split it is.
    side: bool,
    /// Its links, each with a number of its own.
    links: BTreeMap<usize, u64>,
    /// Whether it asked to be told when it last asked, by link.
    asked: BTreeMap<usize, bool>,
    alarm: Option<Time>,
    /// The merge that it waits for.
    merge: Option<(OpId, Merge)>,
}

/// A large swarm on simulated time.
#[derive(Debug)]
pub struct Light {
    places: Vec<Place>,
    now: Time,
    random: Jitter,
    queue: BinaryHeap<Due>,
    next_number: u64,
    waves: BTreeMap<CommitHash, Wave>,
    split: bool,
    /// How many of a hundred messages are lost.
    pub loss_percent: u64,
    /// What was sent so far.
    pub sent: Sent,
}

impl Light {
    /// A swarm in which each node but the first has had its ticket from one before it, and knows
    /// nobody else.
    pub fn new(seed: u64, peers: usize) -> Self {
        let mut random = Jitter::new(seed);
        let founding = CommitHash::from_bytes([1; CommitHash::BYTES]);
        let places = (0..peers).map(|number| {
            let mut place = Place::new(number, random.next(), founding);
            if let Some(inviter) = below(&mut random, number) {
                place.dialer.handle_known(Time::ZERO, peer_id(inviter));
            }
            place
        });
        let places = places.collect();
        let mut light = Self {
            places,
            now: Time::ZERO,
            random,
            queue: BinaryHeap::new(),
            next_number: 0,
            waves: BTreeMap::new(),
            split: false,
            loss_percent: 0,
            sent: Sent::default(),
        };
        (0..peers).for_each(|number| light.carry_out(number));
        light
    }

    /// The simulated time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The numbers of the nodes that are alive.
    pub fn living(&self) -> Vec<usize> {
        (0..self.places.len()).filter(|number| self.places[*number].is_alive).collect()
    }

    /// The node with this number.
    pub fn node(&self, number: usize) -> &Node {
        &self.places[number].node
    }

    /// How many peers the node keeps in mind to dial.
    pub fn known(&self, number: usize) -> usize {
        self.places[number].dialer.known()
    }

    /// How many links each living node has.
    pub fn degrees(&self) -> Vec<usize> {
        self.living().into_iter().map(|number| self.places[number].links.len()).collect()
    }

    /// How many living nodes can be reached over links from the first one, itself included.
    pub fn reachable(&self) -> usize {
        let mut stack: Vec<usize> = self.living().into_iter().take(1).collect();
        let mut seen: BTreeSet<usize> = stack.iter().copied().collect();
        while let Some(number) = stack.pop() {
            let next = self.places[number].links.keys().copied();
            stack.extend(next.filter(|next| self.passes(number, *next) && seen.insert(*next)));
        }
        seen.len()
    }

    // What users and the world do.

    /// Lets the node's user commit.
    pub fn commit(&mut self, number: usize) -> CommitHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.next().to_be_bytes());
        let (hash, now, living) = (short(&hasher), self.now, self.living().len());
        let mut hops = vec![None; self.places.len()];
        hops[number] = Some(0);
        let ended = if living == 1 { now } else { Time::ZERO };
        self.waves.insert(hash, Wave { begun: now, ended, hops, reached: 1 });
        let node = &mut self.places[number].node;
        let mut builds_on = node.included().to_vec();
        builds_on.sort_unstable();
        let made_on = (builds_on.len() > 1).then_some(node.main());
        let commit = UserCommit { hash, builds_on, made_on, signer: peer_id(number) };
        node.handle_local_commits(now, vec![commit], hash, vec![hash])
            .expect("because it builds on what main includes");
        self.carry_out(number);
        hash
    }

    pub(super) fn wave(&self, commit: &CommitHash) -> &Wave {
        &self.waves[commit]
    }

    /// Kills nodes at once; the others notice after a while.
    pub fn kill(&mut self, numbers: &[usize]) {
        for &number in numbers {
            self.places[number].is_alive = false;
        }
        self.cut_dead_links();
    }

    /// Cuts the swarm in two: those that `side` holds for, and the others.
    pub fn split(&mut self, side: impl Fn(usize) -> bool) {
        self.split = true;
        for (number, place) in self.places.iter_mut().enumerate() {
            place.side = side(number);
        }
        self.cut_dead_links();
    }

    /// Ends the split.
    pub fn join(&mut self) {
        self.split = false;
    }

    fn cut_dead_links(&mut self) {
        for number in 0..self.places.len() {
            let links = self.places[number].links.clone();
            for (other, link) in links {
                if number < other && !self.passes(number, other) {
                    let delay = Duration::from_millis(self.random.below(NOTICE_MAX));
                    self.schedule(delay, Happening::Cut(number, other, link));
                }
            }
        }
    }

    /// Answers all merges, until every living node's main is the fold of its heads.
    pub fn fold(&mut self) {
        for number in self.living() {
            while let Some((op, merge)) = self.places[number].merge.take() {
                let mut hasher = blake3::Hasher::new();
                hasher.update(merge.ours.as_bytes()).update(merge.theirs.as_bytes());
                let node = &mut self.places[number].node;
                node.handle_merged(self.now, op, Ok(Ok(short(&hasher))));
                self.carry_out(number);
            }
        }
    }

    // Time.

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.run_once(end) {}
        self.now = end;
    }

    /// Lets time pass until every living node has these commits, made since any died, or the time
    /// is over. Says whether they have.
    pub fn run_until_reached(&mut self, commits: &[CommitHash], limit: Duration) -> bool {
        let (end, living) = (self.now + limit, self.living().len());
        let reached = |light: &Self| commits.iter().all(|c| light.waves[c].reached >= living);
        while !reached(self) {
            // Not to count at every turn.
            if !(0..64).any(|_| !self.run_once(end)) {
                continue;
            }
            return reached(self);
        }
        true
    }

    /// Whether all living nodes have the same heads.
    pub fn is_converged(&self) -> bool {
        let living = self.living();
        let first = living.first().map(|number| self.places[*number].node.heads());
        living.iter().all(|number| Some(self.places[*number].node.heads()) == first)
    }

    fn run_once(&mut self, end: Time) -> bool {
        if self.queue.peek().is_none_or(|due| due.time > end) {
            return false;
        }
        let Some(due) = self.queue.pop() else { return false };
        self.now = due.time;
        self.happen(due.happening);
        true
    }

    fn next(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn schedule(&mut self, delay: Duration, happening: Happening) {
        let number = self.next();
        self.queue.push(Due { time: self.now + delay, number, happening });
    }

    fn delay(&mut self) -> Duration {
        Duration::from_millis(DELAY.0 + self.random.below(DELAY.1 - DELAY.0))
    }

    fn after_delay(&mut self, happening: Happening) {
        let delay = self.delay();
        self.schedule(delay, happening);
    }

    fn passes(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.places[a], &self.places[b]);
        a.is_alive && b.is_alive && (!self.split || a.side == b.side)
    }

    /// Whether a message goes astray; draws.
    fn is_lost(&mut self, from: usize, to: usize) -> bool {
        let lost = self.loss_percent > 0 && self.random.below(100) < self.loss_percent;
        lost || !self.places[from].links.contains_key(&to) || !self.passes(from, to)
    }

    // What drivers do.

    fn carry_out(&mut self, number: usize) {
        let now = self.now;
        let Place { node, dialer, is_alive, .. } = &mut self.places[number];
        if !*is_alive {
            return;
        }
        node.handle_view(dialer.view());
        while let Some(peer) = {
            let Place { node, dialer, .. } = &mut self.places[number];
            dialer.poll_close(now, |peer| node.is_spare(peer))
        } {
            self.disconnect(number, super::light::number(&peer));
        }
        while let Some(peer) = self.places[number].dialer.poll_dial(now) {
            self.after_delay(Happening::Dialled(number, super::light::number(&peer)));
        }
        while let Some(output) = self.places[number].node.poll_output() {
            self.carry_out_one(number, output);
        }
        self.arm(number);
    }

    fn carry_out_one(&mut self, from: usize, output: Output) {
        match output {
            Output::Advertise { op, peer, advert } => {
                self.sent.adverts += 1;
                let to = number(&peer);
                if self.is_lost(from, to) {
                    self.schedule(TIMEOUT, Happening::Advertised(from, op, None));
                } else {
                    self.after_delay(Happening::Advert { from, to, op, advert });
                }
            }
            Output::RequestHeads { op, peer, request } => {
                let to = number(&peer);
                let is_new = self.places[from].asked.insert(to, request.tell) == Some(false);
                let is_graft = is_new && request.tell;
                self.sent.grafts += usize::from(is_graft);
                self.sent.questions += usize::from(!is_graft);
                if self.is_lost(from, to) {
                    self.schedule(TIMEOUT, Happening::Heads(from, op, None));
                } else {
                    self.after_delay(Happening::Asked { from, to, op, request });
                }
            }
            Output::Pull { op, peer, heads } => {
                self.sent.pulls += 1;
                let there_and_back = self.delay() + self.delay();
                let pulled = Happening::Pulled { node: from, from: number(&peer), op, heads };
                self.schedule(there_and_back, pulled);
            }
            Output::Merge { op, merge } => self.places[from].merge = Some((op, merge)),
            Output::MoveMain { op, .. } => {
                let moved =
                    self.places[from].node.handle_moved(self.now, op, Ok(MoveResult::Moved));
                moved.expect("because no other program is here");
            }
            Output::SetParked { .. } | Output::Event(_) => {}
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Timer(number) => {
                if self.places[number].alarm.take_if(|alarm| *alarm <= self.now).is_some() {
                    self.places[number].node.handle_timeout(self.now);
                    self.carry_out(number);
                }
            }
            Happening::Dialled(from, to) => self.end_dial(from, to),
            Happening::Cut(a, b, link) => {
                if self.places[a].links.get(&b) == Some(&link) {
                    self.disconnect(a, b);
                }
            }
            Happening::Advert { from, to, op, advert } => self.advert_arrives(from, to, op, advert),
            Happening::Advertised(number, op, reply) => {
                self.places[number].node.handle_advertised(self.now, op, reply.ok_or(()));
                self.carry_out(number);
            }
            Happening::Asked { from, to, op, request } => self.asked(from, to, op, request),
            Happening::Heads(number, op, reply) => self.answered(number, op, reply),
            Happening::Pulled { node, from, op, heads } => self.pulled(node, from, op, &heads),
        }
    }

    fn end_dial(&mut self, from: usize, to: usize) {
        if self.places[from].links.contains_key(&to) {
            self.places[from].dialer.handle_connected(self.now, peer_id(to));
        } else if self.passes(from, to) {
            self.sent.links += 1;
            let link = self.next();
            for (number, other) in [(from, to), (to, from)] {
                let (now, place, peer) = (self.now, &mut self.places[number], peer_id(other));
                place.links.insert(other, link);
                place.dialer.handle_connected(now, peer);
                place.dialer.handle_healthy(&peer);
                place.node.handle_view(place.dialer.view());
                place.node.handle_connected(now, peer);
            }
            self.carry_out(to);
        } else {
            self.places[from].dialer.handle_failed(self.now, peer_id(to));
        }
        self.carry_out(from);
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        for (number, other) in [(a, b), (b, a)] {
            let place = &mut self.places[number];
            place.asked.remove(&other);
            if place.links.remove(&other).is_some() {
                place.dialer.handle_disconnected(self.now, peer_id(other));
                place.node.handle_disconnected(self.now, peer_id(other));
            }
        }
        self.carry_out(a);
        self.carry_out(b);
    }

    fn advert_arrives(&mut self, from: usize, to: usize, op: OpId, advert: Advert) {
        if self.is_lost(from, to) {
            return self.schedule(TIMEOUT, Happening::Advertised(from, op, None));
        }
        let reply = self.places[to].node.handle_advert(self.now, peer_id(from), advert);
        let reply = reply.expect("because nobody lies");
        self.carry_out(to);
        let reply = Some(reply).filter(|_| !self.is_lost(to, from));
        self.after_delay(Happening::Advertised(from, op, reply));
    }

    fn asked(&mut self, from: usize, to: usize, op: OpId, request: HeadRequest) {
        let place = &mut self.places[to];
        place.node.handle_asked(self.now, peer_id(from), request);
        let reply = Heads {
            heads: place.node.advert_heads(),
            main: place.node.is_settled().then_some(place.node.main()),
            peers: place.dialer.sample(PEER_RECORDS_SHARED),
        };
        self.carry_out(to);
        let reply = Some(reply).filter(|_| !self.is_lost(to, from));
        self.after_delay(Happening::Heads(from, op, reply));
    }

    fn answered(&mut self, number: usize, op: OpId, reply: Option<Heads>) {
        let place = &mut self.places[number];
        let Some(Heads { heads, main, peers }) = reply else {
            place.node.handle_heads(self.now, op, Err(()));
            return self.carry_out(number);
        };
        for peer in peers.into_iter().filter(|peer| *peer != peer_id(number)) {
            if !place.dialer.knows(&peer) {
                place.dialer.handle_known(self.now, peer);
            }
        }
        place.node.handle_heads(self.now, op, Ok(HeadsAnswer::of_all(heads, main)));
        self.carry_out(number);
    }

    fn pulled(&mut self, number: usize, from: usize, op: OpId, heads: &[CommitHash]) {
        let result = if self.is_lost(from, number) {
            Err(PullError::Unavailable)
        } else {
            let (here, there) = (self.places[number].node.graph(), self.places[from].node.graph());
            let have: Vec<CommitHash> = here.heads().iter().copied().collect();
            let missing = there.difference(heads, &have);
            Ok(missing.iter().filter_map(|hash| there.get(hash)).collect::<Vec<_>>())
        };
        for commit in result.iter().flatten() {
            self.note_arrival(number, from, &commit.hash);
        }
        self.places[number].node.handle_pulled(self.now, op, result);
        self.carry_out(number);
    }

    fn note_arrival(&mut self, number: usize, from: usize, commit: &CommitHash) {
        let (now, is_alive) = (self.now, self.places[number].is_alive);
        let Some(wave) = self.waves.get_mut(commit).filter(|_| is_alive) else { return };
        if wave.hops[number].is_none() {
            wave.hops[number] = wave.hops[from].map(|hops| hops + 1);
            wave.reached += 1;
            wave.ended = now;
        }
    }

    fn arm(&mut self, number: usize) {
        let Place { node, dialer, alarm, .. } = &mut self.places[number];
        let due = [node.poll_timeout(), dialer.poll_timeout()].into_iter().flatten().min();
        let due = due.map(|due| due.max(self.now + Duration::from_millis(1)));
        // An alarm that goes off too early only looks and sets the next one.
        if let Some(due) = due.filter(|due| alarm.is_none_or(|alarm| *due < alarm)) {
            *alarm = Some(due);
            let delay = due - self.now;
            self.schedule(delay, Happening::Timer(number));
        }
    }
}

impl Place {
    fn new(number: usize, seed: u64, founding: CommitHash) -> Self {
        let mut graph = CommitGraph::default();
        graph
            .insert(
                Found { hash: founding, builds_on: Vec::new(), made_on: None }
                    .signed_by(peer_id(0)),
            )
            .expect("because the first commit always fits");
        let (memory, included) = (MergeMemory::default(), vec![founding]);
        let restored = Restored {
            graph,
            memory,
            main: founding,
            included,
            peers: vec![],
            set_aside: BTreeMap::new(),
        };
        Self {
            node: Node::new(
                NodeConfig { me: peer_id(number), seed, policy: ConflictPolicy::Settle },
                restored,
                Time::ZERO,
            ),
            dialer: Dialer::new(&peer_id(number), seed),
            is_alive: true,
            side: false,
            links: BTreeMap::new(),
            asked: BTreeMap::new(),
            alarm: None,
            merge: None,
        }
    }
}

/// A number below the bound; nothing where the bound is zero.
pub(super) fn below(random: &mut Jitter, bound: usize) -> Option<usize> {
    let bound = u64::try_from(bound).ok().filter(|bound| *bound > 0)?;
    usize::try_from(random.below(bound)).ok()
}
