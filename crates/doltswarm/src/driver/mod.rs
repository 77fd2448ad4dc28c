//! The only place that knows the core, the engine and the network: it takes what happens, hands it
//! to the core's state machine, and carries out what that asks for.
//!
//! Architecture Invariant: every decision about heads, folds, adverts, pulls and retries is the
//! core's. The driver decides nothing that a simulator would have to know.

mod absence;
mod aside;
mod asked;
mod collect;
mod command;
mod connect;
mod difference;
mod engine_thread;
mod events;
mod foreign;
mod garbage;
mod input;
mod intent;
mod links;
mod local;
mod losses;
mod pull;
mod recover;
mod service;
mod sidecar;
mod signatures;
mod tags;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use doltswarm_core::id::{CommitHash, PeerId};
use doltswarm_core::membership::Membership;
use doltswarm_core::message::{SignedCommit, SignersDigest};
use doltswarm_core::node::dialer::Dialer;
use doltswarm_core::node::lives::Lives;
use doltswarm_core::node::{Event, Node, NodeConfig, OpId, Output};
use doltswarm_core::time::Time;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub(crate) use absence::{Absence, is_absence, now as time_of_day};
pub(crate) use collect::collect;
pub(crate) use command::{StatusRead, status_of};
pub(crate) use connect::unix_ms;
pub(crate) use engine_thread::{EngineHandle, Stopped};
pub(crate) use events::Events;
pub(crate) use foreign::Refused;
pub(crate) use input::{Command, FetchError, Infos, Input, PullStarted, Reply};
pub(crate) use intent::MergeIntents;
pub(crate) use losses::lost_records;
pub(crate) use recover::{
    Recovered, recover, resolve, resolve_all, restore_graph, restore_membership,
};
pub(crate) use service::Service;
pub(crate) use signatures::{Signatures, verify_signatures};
pub(crate) use transfer::{fetch_chunks, roots};

use crate::engine::{ChunkFormat, ChunkReader};
use crate::identity::Identity;
use crate::net::Network;
use crate::staging::Staging;
use crate::store::{Founding, Store};
use crate::swarm::SwarmEvent;

/// What the driver, its tasks, the network's service and the facade share.
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) founding: Founding,
    pub(crate) name: String,
    /// The engine's version, as it was asked last.
    pub(crate) engine_version: Mutex<String>,
    pub(crate) membership: RwLock<Membership>,
    pub(crate) store: Store,
    pub(crate) engine: EngineHandle,
    pub(crate) format: Arc<dyn ChunkFormat>,
    pub(crate) chunks: Mutex<Box<dyn ChunkReader>>,
    pub(crate) staging: Arc<Staging>,
    pub(crate) events: Events,
    pub(crate) inputs: mpsc::UnboundedSender<Input>,
    /// Counts the driver's rounds in which something happened, so that a waiter looks again only
    /// then.
    pub(crate) rounds: watch::Sender<u64>,
    pub(crate) isolated: AtomicBool,
    pub(crate) absence: Absence,
    pub(crate) intents: MergeIntents,
    /// How many times the engine has fetched.
    pub(crate) fetches: AtomicU64,
    /// How many requests the engine made for that, as it said after the last one.
    pub(crate) fetch_requests: AtomicU64,
    /// How many merges the engine was asked for.
    pub(crate) merges: AtomicU64,
    /// How many pulls use the staged chunks.
    pub(crate) pulls: Mutex<usize>,
}

impl Shared {
    /// Writes `hash` the way the engine does.
    pub(crate) fn text(&self, hash: &CommitHash) -> String {
        self.founding.engine.write_hash(hash)
    }

    /// Writes hashes the way the engine does.
    pub(crate) fn texts<'a>(
        &self,
        hashes: impl IntoIterator<Item = &'a CommitHash>,
    ) -> Vec<String> {
        hashes.into_iter().map(|hash| self.text(hash)).collect()
    }

    /// Tells whoever listens. Nobody listening is not an error.
    pub(crate) fn emit(&self, event: SwarmEvent) {
        tracing::debug!(target: "doltswarm::events", ?event);
        self.events.send(event);
    }

    pub(crate) fn engine_version(&self) -> String {
        self.engine_version.lock().expect("because no holder of this lock panics").clone()
    }

    /// Reads the membership.
    pub(crate) fn membership(&self) -> std::sync::RwLockReadGuard<'_, Membership> {
        self.membership.read().expect("because no holder of this lock panics")
    }
}

/// A peer as the driver knows it, beside what the core knows.
#[derive(Debug, Clone, Default)]
struct Known {
    name: String,
    /// Its engine's version, as it said when it greeted.
    engine_version: Option<String>,
    addresses: Vec<std::net::SocketAddr>,
    /// Why it is not connected, for people.
    problem: Option<String>,
    /// Its processes.
    lives: Lives,
    /// When it was last asked for signatures.
    signatures_asked: Option<Time>,
    /// The time of the last word from it, in milliseconds since 1970.
    seen_unix_ms: Option<u64>,
}

/// The loop that joins core, engine, network and store.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    node: Node,
    network: Option<Network>,
    inputs: mpsc::UnboundedReceiver<Input>,
    dialer: Dialer,
    /// A random number for the life of this process.
    life: u64,
    known: BTreeMap<PeerId, Known>,
    /// The peers with a connection, as the network tells it.
    linked: BTreeSet<PeerId>,
    /// Of those, the ones that said a good hello: the core knows them as connected.
    greeted: BTreeSet<PeerId>,
    grants_digest_told: BTreeMap<PeerId, [u8; 32]>,
    pending: Vec<command::PendingPull>,
    last_request: Option<OpId>,
    tags: tags::Tags,
    size_after_collection: u64,
    started: Instant,
    sidecar: sidecar::Sidecar,
    /// Whether users' writes wait for the fold.
    holds_writes: bool,
    /// Commits of other programs that were taken off main.
    refused: Refused,
    /// The heads that are to be on branches of their own; nothing before the core said so.
    kept: Option<Vec<CommitHash>>,
    /// Which keys signed which commits.
    signers: SignersDigest,
    /// What the engine said when it last failed to merge or to move main, if nothing went well
    /// since.
    engine_failure: Option<String>,
}

/// A random number, or the time where there is none to be had: it need only differ from other
/// processes'.
fn random_life() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => unix_ms(),
    }
}

/// What a driver starts with.
pub(crate) struct DriverParts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) network: Option<Network>,
    pub(crate) inputs: mpsc::UnboundedReceiver<Input>,
    pub(crate) recovered: Recovered,
    pub(crate) foreign_poll: Duration,
    pub(crate) auto_commit: Option<Duration>,
    pub(crate) tags_max: usize,
}

impl Driver {
    /// Joins the parts; [`Driver::run`] does the work.
    pub(crate) fn new(parts: DriverParts) -> Self {
        let DriverParts { shared, network, inputs, recovered, foreign_poll, auto_commit, tags_max } =
            parts;
        let me = shared.identity.peer_id();
        let seed = u64::from_le_bytes(me.as_bytes()[..8].try_into().expect("because 8 is 8"));
        let known = recovered.known(&shared);
        let refused = recovered.refused().clone();
        let signers = recovered.signers();
        let config = NodeConfig { me, seed, policy: shared.founding.policy };
        let node = recovered.into_node(config, known.keys().copied().collect());
        let mut driver = Self {
            node,
            network,
            inputs,
            dialer: Dialer::new(&me, seed),
            life: random_life(),
            known,
            linked: BTreeSet::new(),
            greeted: BTreeSet::new(),
            grants_digest_told: BTreeMap::new(),
            pending: Vec::new(),
            last_request: None,
            tags: tags::Tags::new(tags_max),
            size_after_collection: 0,
            started: Instant::now(),
            sidecar: sidecar::Sidecar::new(foreign_poll, auto_commit),
            holds_writes: false,
            refused,
            kept: None,
            signers,
            engine_failure: None,
            shared,
        };
        driver.size_after_collection =
            driver.shared.store.size_after_collection().unwrap_or_else(|_| driver.store_size());
        driver.set_deadly_aside();
        driver.dial_known();
        driver
    }

    fn now(&self) -> Time {
        Time::from_millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Runs until [`Command::Close`]. What the engine thread was doing ends before its handle is
    /// dropped.
    pub(crate) async fn run(mut self) {
        let mut happened = true;
        loop {
            self.carry_out();
            if std::mem::take(&mut happened) {
                self.shared.rounds.send_modify(|round| *round += 1);
            }
            let deadline = self.deadline();
            tokio::select! {
                input = self.inputs.recv() => {
                    let Some(input) = input else { break };
                    happened |= !input.only_looks();
                    if self.take(input) { break }
                    // Inputs that came together are folded together.
                    while let Ok(input) = self.inputs.try_recv() {
                        happened |= !input.only_looks();
                        if self.take(input) { return self.stopped().await }
                    }
                }
                () = tokio::time::sleep_until(deadline) => {
                    happened = true;
                    self.tick();
                }
            }
        }
        self.stopped().await;
    }

    async fn stopped(mut self) {
        self.write_tags_now();
        if let Some(network) = self.network.take() {
            network.close().await;
        }
        // The tags above are the last job; when it is done, so is everything before it.
        let _ = self.shared.engine.call(|_| ()).await;
        if let Err(error) = self.shared.store.flush() {
            tracing::warn!(%error, "the node's store could not be flushed; it is derived again at start");
        }
    }

    fn deadline(&self) -> Instant {
        let mut deadline = self.sidecar.next;
        // A dial that cannot be made now must not wake the loop again and again.
        let dial = self.dialable().then(|| self.dialer.poll_timeout()).flatten();
        let timers = [self.node.poll_timeout(), dial];
        for time in timers.into_iter().flatten() {
            deadline = deadline.min(self.started + Duration::from_millis(time.as_millis()));
        }
        if let Some(due) = self.tags.due() {
            deadline = deadline.min(due);
        }
        deadline
    }

    fn tick(&mut self) {
        self.shared.engine.enforce_limits();
        let now = self.now();
        self.node.handle_timeout(now);
        self.dial_due();
        if self.tags.due().is_some_and(|due| due <= Instant::now()) {
            if self.node.is_at_work() {
                self.tags.touched(Instant::now());
            } else {
                self.write_tags_now();
                self.collect_if_grown();
            }
        }
        self.look_for_foreign_work();
    }

    /// Takes one input; says whether it was the last.
    fn take(&mut self, input: Input) -> bool {
        match input {
            Input::Executed { executed, infos, reply } => self.executed(&executed, &infos, reply),
            Input::MainSeen { main, infos } => self.main_seen(main, &infos),
            Input::Refused(refused) => self.commits_refused(refused),
            Input::EngineVersion(version) => self.engine_came_back(version),
            Input::Merged { op, merge, result } => self.merged(op, &merge, result),
            Input::Moved { op, outcome, infos } => self.moved(op, outcome, &infos),
            Input::Fetched { op, peer, heads, result } => self.fetched(op, peer, &heads, result),
            Input::Heads { op, peer, result } => self.heads_answered(op, peer, result),
            Input::Advertised { op, result } => {
                let now = self.now();
                self.node.handle_advertised(now, op, result.map_err(|_| ()));
            }
            Input::Net(event) => self.net_event(event),
            Input::DialFailed { peer, reason } => self.dial_failed(peer, reason),
            Input::Greeted { peer, result } => self.greeted(peer, result),
            Input::Signatures { signed } => self.signatures_arrived(&signed),
            Input::Grants { from, grants } => self.grants_arrived(from, &grants),
            Input::GarbageCollected { result, reply } => self.garbage_collected(result, reply),
            Input::Asked(asked) => self.asked(asked),
            Input::Command(Command::Close) => return true,
            Input::Command(command) => self.command(command),
        }
        false
    }

    /// Carries out what the core asks for, until it asks for nothing more.
    fn carry_out(&mut self) {
        self.tend_links();
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Advertise { op, peer, advert } => self.advertise(op, peer, advert),
                Output::RequestHeads { op, peer, request } => self.request_heads(op, peer, request),
                Output::Pull { op, peer, heads } => self.pull(op, peer, heads),
                Output::Merge { op, merge } => self.merge(op, merge),
                Output::MoveMain { op, from, to, outrun } => {
                    self.move_main(op, from, to, outrun);
                }
                Output::SetParked { heads } => self.set_parked(heads),
                Output::Event(event) => self.node_event(event),
            }
        }
        if self.node.is_outrun() != self.holds_writes {
            self.holds_writes = !self.holds_writes;
            self.shared.engine.hold_writes(self.holds_writes);
        }
        self.settle_pending();
    }

    fn node_event(&mut self, event: Event) {
        let shared = Arc::clone(&self.shared);
        let event = match event {
            Event::HeadsChanged { heads } => {
                self.tags.heads_changed();
                SwarmEvent::HeadsChanged { heads: shared.texts(&heads) }
            }
            Event::Folded { main, parked } => SwarmEvent::Folded {
                main: shared.text(&main),
                parked: parked.iter().map(|parked| shared.text(&parked.head)).collect(),
            },
            Event::MainMoved { from, to, fast_forward } => {
                self.announce_tables(from, to, false);
                SwarmEvent::MainMoved {
                    from: shared.text(&from),
                    to: shared.text(&to),
                    fast_forward,
                }
            }
            Event::PullStarted { peer, heads } => {
                SwarmEvent::PullStarted { peer: peer.to_string(), heads: shared.texts(&heads) }
            }
            Event::Pulled { peer, commits } => {
                SwarmEvent::Pulled { peer: peer.to_string(), commits }
            }
            Event::PullFailed { peer, reason } => {
                SwarmEvent::PullFailed { peer: peer.to_string(), reason }
            }
            Event::Rejected { peer, heads, reason } => {
                tracing::warn!(%peer, %reason, "refused what a peer offered");
                SwarmEvent::Rejected { peer: peer.to_string(), heads: shared.texts(&heads), reason }
            }
            Event::MainWaits { tables } => SwarmEvent::MainWaits { tables },
            Event::EnginesDisagree { peer, ours, theirs } => {
                tracing::error!(%peer, "equal heads, different main: the engines disagree");
                SwarmEvent::EnginesDisagree {
                    peer: peer.to_string(),
                    ours: shared.text(&ours),
                    theirs: shared.text(&theirs),
                }
            }
            Event::PeerConnected { peer } => SwarmEvent::PeerConnected { peer: peer.to_string() },
            Event::PeerDisconnected { peer } => {
                SwarmEvent::PeerDisconnected { peer: peer.to_string() }
            }
        };
        shared.emit(event);
    }

    /// Signs commits that this peer made, or that another program made on its database.
    fn sign(&self, commits: &[CommitHash]) -> Vec<SignedCommit> {
        commits
            .iter()
            .map(|commit| {
                doltswarm_core::sign::sign_commit(
                    self.shared.identity.signing_key(),
                    &self.shared.founding.swarm,
                    commit,
                )
            })
            .collect()
    }
}
