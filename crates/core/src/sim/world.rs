//! The world: machines, links between them, and everything that happens in order of time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::checks::{Checks, Failure};
use super::edit::Edit;
use super::engine::{Saying, Store};
use super::machine::{Machine, Move, Twins, peer_id};
use super::network::Happening;
use super::options::{Fault, Options, Step};
use super::root::Root;
use super::twin::Twin;
use crate::commit::Merge;
use crate::fold::MergeResult;
use crate::id::CommitHash;
use crate::node::timers::Jitter;
use crate::node::{MoveResult, Node};
use crate::time::Time;

/// The date of the founding commit.
const FOUNDED_SECONDS: i64 = 1_800_000_000;

/// How often each thing was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// User commits.
    pub commits: usize,
    /// Adverts.
    pub adverts: usize,
    /// Requests for heads.
    pub requests: usize,
    /// Bytes of all of these and of what was pulled, estimated.
    pub bytes: usize,
    /// Pulls that were begun.
    pub pulls: usize,
    /// Pulls that brought something.
    pub fetches: usize,
    /// Merges.
    pub merges: usize,
    /// Moves of main.
    pub moves: usize,
    /// Catch-up commits; they are user commits too.
    pub catch_ups: usize,
    /// Moves of main by fast-forward.
    pub fast_forwards: usize,
    /// Changes of the heads, on all nodes together.
    pub heads_changes: usize,
    /// Operations that failed.
    pub failures: usize,
    /// Links that came up.
    pub connects: usize,
}

/// The network in two parts.
#[derive(Debug, Clone, Copy)]
struct Split {
    side: u64,
    one_way: bool,
}

impl Split {
    fn has(self, node: usize) -> bool {
        self.side >> node & 1 == 1
    }

    fn passes(self, from: usize, to: usize) -> bool {
        self.has(from) == self.has(to) || (self.one_way && self.has(from))
    }
}

/// A swarm on simulated time.
#[derive(Debug)]
pub struct World {
    pub(super) options: Options,
    pub(super) random: Jitter,
    pub(super) now: Time,
    pub(super) machines: Vec<Machine>,
    pub(super) twins: Twins,
    /// Links that are up, the lower number first, each with a number of its own.
    pub(super) links: BTreeMap<(usize, usize), u64>,
    splits: Vec<Split>,
    /// Which address of another a node knows, where it is not the first one.
    addresses: BTreeMap<(usize, usize), u32>,
    queue: BTreeMap<(Time, u64), Happening>,
    timers: BTreeSet<(Time, usize)>,
    armed: Vec<Option<Time>>,
    next_number: u64,
    /// Whether messages are lost and engines fail.
    pub(super) faulty: bool,
    /// The nodes that something happened to since they were last checked.
    pub(super) touched: BTreeSet<usize>,
    pub(super) checks: Checks,
    /// What was asked for so far.
    pub counts: Counts,
    /// What happened, line by line, where it is wanted.
    pub trace: Option<Vec<String>>,
    /// What did not hold, first of all.
    pub failure: Option<Failure>,
}

impl World {
    /// Makes a swarm whose nodes have the founding commit and are not linked yet.
    pub fn new(options: Options) -> Self {
        Self::with_twin(options, None)
    }

    /// As [`World::new`], with real engines beside the model.
    pub fn with_twin(options: Options, mut twins: Option<Box<dyn Twin>>) -> Self {
        let mut random = Jitter::new(options.seed);
        let mut store = Store::default();
        let name = twins.as_mut().map(|twins| twins.founding());
        let saying =
            Saying { author: "0".into(), message: "found".into(), seconds: FOUNDED_SECONDS };
        let founding = store.commit(&[], &saying, Root::founding(), name);
        let founding = store.get(&founding).expect("because it was just made").clone();
        let count = options.machines();
        let mut machines: Vec<Machine> =
            (0..count).map(|n| Machine::new(n, random.next(), options.policy, &founding)).collect();
        for (a, machine) in machines.iter_mut().enumerate() {
            let liar = |n| n >= options.nodes;
            let known =
                |b: &usize| *b != a && (options.topology.links(a, *b) || liar(a) || liar(*b));
            for peer in (0..count).filter(known).map(peer_id) {
                machine.dialer.handle_known(Time::ZERO, peer);
            }
        }
        Self {
            checks: Checks::new(founding.info.hash),
            armed: vec![None; machines.len()],
            options,
            random,
            now: Time::ZERO,
            machines,
            twins,
            links: BTreeMap::new(),
            splits: Vec::new(),
            addresses: BTreeMap::new(),
            queue: BTreeMap::new(),
            timers: BTreeSet::new(),
            next_number: 0,
            faulty: true,
            touched: BTreeSet::new(),
            counts: Counts::default(),
            trace: None,
            failure: None,
        }
    }

    /// Lets all nodes begin.
    pub fn start(&mut self) {
        (0..self.machines.len()).for_each(|node| self.carry_out(node));
    }

    /// The node with this number.
    pub fn node(&self, number: usize) -> &Node {
        &self.machines[number].node
    }

    /// All honest nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.machines[..self.options.nodes].iter().map(|machine| &machine.node)
    }

    /// The commits of the node with this number.
    pub fn store(&self, number: usize) -> &Store {
        &self.machines[number].store
    }

    /// The database at main of the node with this number.
    pub fn root(&self, number: usize) -> &Root {
        self.machines[number].root()
    }

    /// What the run depends on.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The simulated time.
    pub fn now(&self) -> Time {
        self.now
    }

    pub(super) fn is_honest(&self, node: usize) -> bool {
        node < self.options.nodes
    }

    pub(super) fn node_now(&self, node: usize) -> Time {
        self.now + self.machines[node].ahead
    }

    pub(super) fn trace(&mut self, line: impl FnOnce() -> String) {
        let now = self.now.as_millis();
        if let Some(lines) = &mut self.trace {
            lines.push(format!("{now:>9} {}", line()));
        }
    }

    // Links.

    pub(super) fn is_linked(&self, a: usize, b: usize) -> bool {
        self.links.contains_key(&(a.min(b), a.max(b)))
    }

    pub(super) fn passes(&self, from: usize, to: usize) -> bool {
        let up = self.machines[from].is_online && self.machines[to].is_online;
        up && self.splits.iter().all(|split| split.passes(from, to))
    }

    pub(super) fn end_dial(&mut self, from: usize, to: usize, life: u64) {
        if self.machines[from].life != life {
            return;
        }
        let known = self.addresses.get(&(from, to)).copied().unwrap_or(0);
        let reaches = self.passes(from, to) && self.passes(to, from);
        let now = self.node_now(from);
        if self.is_linked(from, to) {
            self.machines[from].dialer.handle_connected(now, peer_id(to));
        } else if reaches && known == self.machines[to].address {
            self.connect(from, to);
        } else {
            self.machines[from].dialer.handle_failed(now, peer_id(to));
        }
        self.carry_out(from);
    }

    fn connect(&mut self, a: usize, b: usize) {
        self.counts.connects += 1;
        self.trace(|| format!("n{a} and n{b} are linked"));
        self.next_number += 1;
        self.links.insert((a.min(b), a.max(b)), self.next_number);
        for (node, peer) in [(a, b), (b, a)] {
            self.addresses.insert((node, peer), self.machines[peer].address);
            let now = self.node_now(node);
            let machine = &mut self.machines[node];
            machine.dialer.handle_known(now, peer_id(peer));
            machine.dialer.handle_connected(now, peer_id(peer));
            machine.node.handle_connected(now, peer_id(peer));
            self.carry_out(node);
        }
    }

    pub(super) fn disconnect(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))).is_none() {
            return;
        }
        self.trace(|| format!("n{a} and n{b} are no longer linked"));
        for (node, peer) in [(a, b), (b, a)] {
            let now = self.node_now(node);
            let machine = &mut self.machines[node];
            machine.inbox.remove(&peer);
            machine.dialer.handle_disconnected(now, peer_id(peer));
            machine.node.handle_disconnected(now, peer_id(peer));
            self.carry_out(node);
        }
    }

    /// What `from` says, it says of others too: where they are.
    pub(super) fn learn_addresses(&mut self, node: usize, from: usize) {
        if self.addresses.is_empty() || self.machines.len() > 64 {
            return;
        }
        for other in (0..self.machines.len()).filter(|other| *other != node) {
            let Some(&theirs) = self.addresses.get(&(from, other)) else { continue };
            let known = self.addresses.entry((node, other)).or_insert(0);
            if theirs > *known {
                *known = theirs;
            }
        }
    }

    /// Notices after a while that links are dead.
    fn cut_dead_links(&mut self) {
        let dead = |&(a, b): &(usize, usize)| !self.passes(a, b) || !self.passes(b, a);
        let cut: Vec<_> =
            self.links.iter().filter(|(pair, _)| dead(pair)).map(|(p, link)| (*p, *link)).collect();
        for ((a, b), link) in cut {
            let delay = Duration::from_millis(self.random.below(8_000));
            self.schedule(delay, Happening::Cut { a, b, link });
        }
    }

    // Steps.

    /// Does one thing of a script.
    pub fn step(&mut self, step: &Step) {
        self.trace(|| format!("-- {step}"));
        match *step {
            Step::Commit { node, ref edits, hours } => {
                self.commit(node, edits, hours);
            }
            Step::Foreign { node, ref edits } => {
                if self.commit_on_main(node, edits, 0).is_some() {
                    self.after_delay(Happening::CommitsNoticed(node));
                }
            }
            Step::Dirty { node } => self.machines[node].dirty ^= true,
            Step::Crash { node, moves } => self.crash(node, moves),
            Step::Split { side, one_way } => {
                self.splits.push(Split { side, one_way });
                self.cut_dead_links();
            }
            Step::Join => {
                self.splits.clear();
                (0..self.machines.len()).for_each(|node| self.machines[node].is_online = true);
                (0..self.machines.len()).for_each(|node| self.wake(node));
            }
            Step::Slow { node, millis } => {
                self.machines[node].slowness = Duration::from_millis(millis);
            }
            Step::Jump { node, hours } => {
                self.machines[node].ahead += Duration::from_secs(hours * 3_600);
                self.wake(node);
            }
            Step::Leave { node } => {
                self.machines[node].is_online ^= true;
                self.cut_dead_links();
                self.wake(node);
            }
            Step::Lie { to } => self.send_unasked(to),
            Step::Pause { millis } => self.run_for(Duration::from_millis(millis)),
        }
        self.check_touched();
    }

    /// Lets a node look at the clock.
    fn wake(&mut self, node: usize) {
        let now = self.node_now(node);
        self.machines[node].node.handle_timeout(now);
        self.carry_out(node);
    }

    /// Lets a user commit; nothing where nothing changes.
    pub fn commit(&mut self, node: usize, edits: &[Edit], hours: i64) -> Option<CommitHash> {
        let hash = self.commit_on_main(node, edits, hours)?;
        let now = self.node_now(node);
        self.machines[node].notice_commits(now);
        self.carry_out(node);
        Some(hash)
    }

    fn commit_on_main(&mut self, node: usize, edits: &[Edit], hours: i64) -> Option<CommitHash> {
        let saying = self.saying(node, hours);
        let hash = self.machines[node].commit(edits, &saying, &mut self.twins)?;
        self.counts.commits += 1;
        self.checks.acknowledge(node, hash);
        Some(hash)
    }

    /// What the next commit says.
    fn saying(&self, node: usize, hours: i64) -> Saying {
        let seconds = self.now.as_millis().cast_signed() / 1_000 + hours * 3_600;
        Saying {
            author: node.to_string(),
            message: format!("commit {}", self.counts.commits + 1),
            seconds: FOUNDED_SECONDS + seconds,
        }
    }

    fn crash(&mut self, node: usize, moves: bool) {
        self.do_half(node);
        let linked = |&&(a, b): &&(usize, usize)| a == node || b == node;
        let links: Vec<_> = self.links.keys().filter(linked).copied().collect();
        for &(a, b) in &links {
            // Its own side of the link dies with it; the others notice.
            self.disconnect(a, b);
        }
        self.machines[node].address += u32::from(moves);
        let (seed, forgets) = (self.random.next(), self.random.below(2) == 0);
        let now = self.node_now(node);
        if let Some(twins) = &mut self.twins {
            twins.restart(node);
        }
        self.machines[node].restart(seed, now, forgets);
        self.carry_out(node);
    }

    /// What is under way in a process that is killed may be done already, though nobody hears of
    /// it.
    fn do_half(&mut self, node: usize) {
        let of_node = |happening: &&Happening| match happening {
            Happening::Pulled(answer, ..)
            | Happening::Merged(answer, ..)
            | Happening::Moved(answer, ..) => {
                answer.node == node && answer.life == self.machines[node].life
            }
            _ => false,
        };
        let pending: Vec<Happening> = self.queue.values().filter(of_node).cloned().collect();
        for happening in pending {
            if self.random.below(2) == 0 {
                continue;
            }
            match happening {
                Happening::Pulled(_, from, heads)
                    if self.is_honest(from) && self.passes(from, node) =>
                {
                    // The engine has it; the node's store does not say that it is accepted.
                    if let Ok((fetched, _)) = self.fetch(node, from, &heads) {
                        self.machines[node].receive(fetched);
                    }
                }
                Happening::Merged(_, merge) => drop(self.merge(node, merge)),
                Happening::Moved(_, moving) => drop(self.move_main(node, moving)),
                _ => {}
            }
        }
    }

    pub(super) fn merge(&mut self, node: usize, merge: Merge) -> MergeResult {
        let result = self.machines[node].merge(merge, &mut self.twins);
        self.check_merge(node, &result);
        result
    }

    pub(super) fn move_main(&mut self, node: usize, moving: Move) -> MoveResult {
        let saying = moving.catches_up.then(|| self.saying(node, 0));
        let machine = &mut self.machines[node];
        if let Some(commit) =
            saying.and_then(|saying| machine.catch_up(&moving, &saying, &mut self.twins))
        {
            self.counts.commits += 1;
            self.counts.catch_ups += 1;
            self.checks.acknowledge(node, commit);
        }
        let moved = self.machines[node].move_main(moving.from, moving.to, &mut self.twins);
        if moved == MoveResult::Moved {
            self.check_move(node);
        }
        moved
    }

    /// Ends all faults.
    pub fn heal(&mut self) {
        self.trace(|| "-- heal".into());
        self.faulty = false;
        self.splits.clear();
        for (node, machine) in self.machines.iter_mut().enumerate() {
            machine.dirty = false;
            machine.is_online = true;
            machine.slowness = Duration::ZERO;
            let address = machine.address;
            for other in 0..self.armed.len() {
                self.addresses.insert((other, node), address);
            }
        }
        for node in 0..self.machines.len() {
            let now = self.node_now(node);
            self.machines[node].notice_commits(now);
            let peers: Vec<usize> =
                (0..self.machines.len()).filter(|b| self.knows(node, *b)).collect();
            for peer in peers {
                self.machines[node].dialer.handle_known(now, peer_id(peer));
            }
            self.carry_out(node);
        }
    }

    fn knows(&self, a: usize, b: usize) -> bool {
        let liar = self.options.has(Fault::Adversary) && a.max(b) == self.options.nodes;
        a != b && (liar || self.options.topology.links(a, b))
    }

    // Time.

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.failure.is_none() && self.run_once(end) {}
        self.now = end;
    }

    /// Lets time pass until it holds or the time is over; says whether it holds.
    pub fn run_until(&mut self, limit: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while !holds(self) {
            if self.failure.is_some() || !self.run_once(end) {
                return holds(self);
            }
        }
        true
    }

    /// Lets the next thing happen; false where there is none before the end.
    fn run_once(&mut self, end: Time) -> bool {
        let timer = self.timers.first().map(|&(time, node)| (time.max(self.now), node));
        let queued = self.queue.first_key_value().map(|(key, _)| *key);
        match (timer, queued) {
            (Some((time, node)), next) if next.is_none_or(|(next, _)| time < next) => {
                if time > end {
                    return false;
                }
                self.now = time;
                self.wake(node);
            }
            (_, Some(key)) if key.0 <= end => {
                self.now = key.0;
                if let Some(happening) = self.queue.remove(&key) {
                    self.happen(happening);
                }
            }
            _ => return false,
        }
        self.check_touched();
        true
    }

    /// Sets the alarm of a node anew.
    pub(super) fn arm(&mut self, node: usize) {
        let machine = &self.machines[node];
        let due = [machine.node.poll_timeout(), machine.dialer.poll_timeout()];
        let due = due.into_iter().flatten().min();
        let due = due.map(|due| {
            let wait = due - (self.now + machine.ahead);
            self.now + wait.max(Duration::from_millis(1))
        });
        if let Some(old) = std::mem::replace(&mut self.armed[node], due) {
            self.timers.remove(&(old, node));
        }
        self.timers.extend(due.map(|due| (due, node)));
    }

    pub(super) fn schedule(&mut self, delay: Duration, happening: Happening) {
        self.next_number += 1;
        self.queue.insert((self.now + delay, self.next_number), happening);
    }

    pub(super) fn after_delay(&mut self, happening: Happening) {
        let late = self.faulty && self.random.below(100) < self.options.tail_percent;
        let most = self.options.delay_max * if late { 50 } else { 1 };
        let delay = Duration::from_millis(1 + self.random.below(most));
        self.schedule(delay, happening);
    }

    pub(super) fn after_work(&mut self, happening: Happening) {
        let delay = Duration::from_millis(1 + self.random.below(self.options.engine_delay_max));
        self.schedule(delay, happening);
    }
}
