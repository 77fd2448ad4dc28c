//! Answering the application.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use doltswarm_core::id::{CommitHash, PeerId};
use doltswarm_core::limits::INVITE_SECRET_BYTES;
use doltswarm_core::membership::Role;
use doltswarm_core::node::{OpId, PeerView};

use super::connect::unix_ms;
use super::input::{Command, PullStarted, Reply};
use super::{Driver, Shared};
use crate::engine::{Engine, EngineResult, Value};
use crate::net::Network;
use crate::store::Invite;
use crate::swarm::{
    ConflictCounts, DatabaseProblem, FoldProblem, InviteOptions, MemberReport, MissingModule,
    ParkedHead, PeerStatus, PeersError, RejectedHeads, Status, Traffic, WaitFor, WaitReport,
    set_aside_heads,
};
use crate::ticket::Ticket;

/// A pull that the application asked for and whose peers have not all answered.
pub(super) struct PendingPull {
    waiting: BTreeSet<PeerId>,
    asked: Vec<PeerId>,
    /// Answers to questions up to this one were under way before, and may be older than the call.
    asked_before: Option<OpId>,
    reply: Reply<Result<PullStarted, PeersError>>,
}

impl Driver {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Status { read, reply } => drop(reply.send(self.status(*read))),
            Command::Members { reply } => {
                let _ = reply.send(self.members());
            }
            Command::Invite { options, reply } => {
                let _ = reply.send(self.invite(&options));
            }
            Command::AddPeer { peer, addresses, reply } => {
                let _ = reply.send(self.add_peer(peer, &addresses));
            }
            Command::RemovePeer { peer, reply } => {
                let _ = reply.send(self.forget_peer(&peer).map_err(PeersError::Store));
            }
            Command::Pull { peer, reply } => self.start_pull(peer, reply),
            Command::Freshen { reply } => self.freshen(reply),
            Command::Visit { what, reply } => {
                self.visit_for(&what);
                let _ = reply.send(());
            }
            Command::CollectGarbage { reply } => self.collect_garbage(Some(reply)),
            Command::Advertise { reply } => {
                let _ = reply.send(self.advertise_to_all());
            }
            Command::Check { what, reply } => {
                let _ = reply.send(self.check(&what));
            }
            Command::Signers { commits, reply } => {
                let signer =
                    |hash: &CommitHash| self.node.graph().get(hash).map(|commit| commit.signer);
                let _ = reply.send(commits.iter().map(signer).collect());
            }
            Command::FindCommits { prefix, reply } => {
                let begins = |hash: &CommitHash| self.shared.text(hash).starts_with(&prefix);
                let commits = self.node.graph().iter_topological().map(|commit| commit.hash);
                let _ = reply.send(commits.filter(begins).collect());
            }
            Command::Isolate { isolated, reply } => {
                self.isolate(isolated);
                let _ = reply.send(());
            }
            Command::SetAside { commit, reason, reply } => {
                let _ = reply.send(self.set_aside(commit, &reason));
            }
            Command::Release { commit, reply } => {
                let _ = reply.send(self.release(commit));
            }
            Command::Close => unreachable!("because the loop takes Close itself"),
        }
    }

    fn status(&self, read: StatusRead) -> Status {
        let shared: &Shared = &self.shared;
        let parked = self.node.parked().iter().map(|parked| ParkedHead {
            head: shared.text(&parked.head),
            reason: parked.reason.clone(),
        });
        let rejected = self.node.rejected().into_iter().map(|rejected| RejectedHeads {
            peer: rejected.peer.to_string(),
            heads: shared.texts(&rejected.heads),
            reason: rejected.reason.clone(),
        });
        let addresses =
            self.network.as_ref().map(|network| network.addresses()).unwrap_or_default();
        Status {
            swarm: shared.founding.swarm.to_string(),
            peer: shared.identity.peer_id().to_string(),
            name: shared.name.clone(),
            engine: shared.founding.engine.as_str().into(),
            engine_version: read.version.unwrap_or_else(|| shared.engine_version()),
            policy: shared.founding.policy.as_str().into(),
            main: shared.text(&self.node.main()),
            state: read.state,
            heads: shared.texts(self.node.heads()),
            parked: parked.collect(),
            set_aside: set_aside_heads(self.node.standing(), shared.founding.engine),
            conflicts: read.conflicts,
            peers: self.peer_statuses(),
            in_sync: self.in_sync() && read.dirty.is_empty() && read.problem.is_none(),
            dirty: read.dirty,
            problem: self.problem(),
            missing_modules: read.missing_modules,
            database_problem: read.problem,
            rejected: rejected.collect(),
            refused: self.refused_commits(),
            commits: self.node.graph().len() as u64,
            online: self.network.is_some(),
            addresses: addresses.iter().map(SocketAddr::to_string).collect(),
            traffic: self.traffic(),
        }
    }

    fn traffic(&self) -> Traffic {
        let net = self.network.as_ref().map(Network::stats).unwrap_or_default();
        Traffic {
            transfer_calls: net.transfer_calls,
            bytes_sent: net.stream_bytes_sent,
            bytes_received: net.stream_bytes_received,
            chunks_received: net.chunks_received,
            chunk_bytes_received: net.chunk_bytes_received,
            fetches: self.shared.fetches.load(Ordering::Acquire),
            fetch_requests: self.shared.fetch_requests.load(Ordering::Acquire),
            merges: self.shared.merges.load(Ordering::Acquire),
        }
    }

    /// What keeps main from following, if the engine failed again and again.
    fn problem(&self) -> Option<FoldProblem> {
        let stalled = self.node.stalled()?;
        let reason = self.engine_failure.clone().unwrap_or_default();
        let commits = self.shared.texts(&stalled.commits);
        Some(FoldProblem { reason, commits, failures: stalled.failures })
    }

    fn peer_statuses(&self) -> Vec<PeerStatus> {
        let now = self.now();
        let views: std::collections::BTreeMap<PeerId, PeerView<'_>> =
            self.node.peers().map(|view| (view.peer, view)).collect();
        let membership = self.shared.membership();
        let mut peers: BTreeSet<PeerId> = self.known.keys().copied().collect();
        peers.extend(views.keys());
        let status = |peer: &PeerId| {
            let (view, known) = (views.get(peer), self.known(peer));
            let connected = view.is_some_and(|view| view.connected);
            let in_sync = view.is_some_and(|view| self.has_same_main(view));
            let seen = view.and_then(|view| view.last_seen);
            let seen_before = known.and_then(|known| known.seen_unix_ms);
            PeerStatus {
                id: peer.to_string(),
                name: known.map(|known| known.name.clone()).unwrap_or_default(),
                engine_version: known.and_then(|known| known.engine_version.clone()),
                role: membership.role(peer).map_or("none", Role::as_str).into(),
                address: known.and_then(|known| known.addresses.first()).map(SocketAddr::to_string),
                connected,
                in_sync,
                last_seen_ms: seen
                    .map(|seen| u64::try_from((now - seen).as_millis()).unwrap_or(u64::MAX))
                    .or_else(|| seen_before.map(|before| unix_ms().saturating_sub(before))),
                heads: view
                    .and_then(|view| view.heads)
                    .map(|heads| self.shared.texts(heads))
                    .unwrap_or_default(),
                problem: problem(
                    connected,
                    in_sync,
                    self.is_partial(),
                    view,
                    known.and_then(|k| k.problem.as_deref()),
                ),
            }
        };
        peers.iter().map(status).collect()
    }

    /// Whether main is the fold of the heads with nothing set aside on this node alone, and every
    /// connected peer has the same heads and main. A node
    /// that knows members and is connected to none cannot say that it is in step.
    fn in_sync(&self) -> bool {
        let connected: Vec<PeerView<'_>> =
            self.node.peers().filter(|view| view.connected).collect();
        self.node.is_settled()
            && !self.node.standing().is_local()
            && connected.iter().all(|view| self.has_same_main(view))
            && (!connected.is_empty() || self.known.is_empty())
    }

    fn members(&self) -> Vec<MemberReport> {
        let me = self.shared.identity.peer_id();
        let membership = self.shared.membership();
        let members = membership.members();
        let mut reports: Vec<MemberReport> = members
            .into_iter()
            .map(|member| MemberReport {
                id: member.peer.to_string(),
                role: member.role.as_str().into(),
                this: member.peer == me,
                name: match self.known(&member.peer) {
                    Some(known) if !known.name.is_empty() => known.name.clone(),
                    _ if member.peer == me => self.shared.name.clone(),
                    _ => member.name,
                },
            })
            .collect();
        reports.sort_by(|a, b| a.id.cmp(&b.id));
        reports
    }

    fn invite(&mut self, options: &InviteOptions) -> Result<Ticket, PeersError> {
        let me = self.shared.identity.peer_id();
        match self.shared.membership().role(&me) {
            Some(Role::Admin) => {}
            role => {
                return Err(PeersError::NotAdmin { role: role.map_or("stranger", Role::as_str) });
            }
        }
        if !self.shared.membership().has_room(&me) {
            return Err(PeersError::Invalid(super::asked::TOO_MANY_GRANTS.into()));
        }
        if options.uses == 0 {
            return Err(PeersError::Invalid("a ticket needs at least one use".into()));
        }
        let addresses = self.addresses_for_ticket()?;
        let mut secret = [0u8; INVITE_SECRET_BYTES];
        getrandom::fill(&mut secret)
            .map_err(|error| PeersError::Store(format!("no randomness for a ticket: {error}")))?;
        let now = unix_ms();
        let lifetime = u64::try_from(options.expires.as_millis()).unwrap_or(u64::MAX);
        let invite = Invite {
            id: Invite::id_of(&secret),
            role: options.role.as_str().into(),
            uses_left: options.uses,
            expires_ms: now.saturating_add(lifetime),
            created_ms: now,
        };
        let kept = self.shared.store.add_invite(&invite);
        kept.map_err(|error| PeersError::Store(error.to_string()))?;
        Ok(Ticket { swarm: self.shared.founding.swarm, inviter: me, addresses, secret })
    }

    fn addresses_for_ticket(&self) -> Result<Vec<SocketAddr>, PeersError> {
        let addresses = match &self.network {
            Some(network) => network.addresses(),
            None => {
                self.shared.store.own_addresses().map_err(|e| PeersError::Store(e.to_string()))?
            }
        };
        if addresses.is_empty() {
            let text = "this node has no address yet: start it once with `doltswarm up`";
            return Err(PeersError::Invalid(text.into()));
        }
        Ok(addresses)
    }

    fn add_peer(&mut self, peer: PeerId, addresses: &[SocketAddr]) -> Result<(), PeersError> {
        if peer == self.shared.identity.peer_id() {
            return Err(PeersError::Invalid("that is this peer itself".into()));
        }
        if !self.shared.membership().is_member(&peer) {
            let text = format!("{peer} is not a member of this swarm: invite it first");
            return Err(PeersError::Invalid(text));
        }
        self.learn_addresses(peer, addresses);
        self.dial_due();
        Ok(())
    }

    pub(super) fn start_pull(
        &mut self,
        peer: Option<PeerId>,
        reply: Reply<Result<PullStarted, PeersError>>,
    ) {
        if self.network.is_none() {
            let _ = reply.send(Err(PeersError::Offline));
            return;
        }
        let asked: Vec<PeerId> = match peer {
            Some(peer) if self.known.contains_key(&peer) => vec![peer],
            Some(peer) => {
                let text = format!("{peer} is not a known peer: see `doltswarm peers`");
                let _ = reply.send(Err(PeersError::Invalid(text)));
                return;
            }
            None => self.greeted.iter().copied().collect(),
        };
        let asked_before = self.last_request;
        let now = self.now();
        self.node.handle_pull_request(now, peer);
        let waiting = asked.iter().copied().filter(|peer| self.greeted.contains(peer)).collect();
        self.pending.push(PendingPull { waiting, asked, asked_before, reply });
        self.settle_pending();
    }

    /// A peer answered, or cannot any more.
    pub(super) fn pull_answered(&mut self, op: OpId, peer: PeerId) {
        for pending in &mut self.pending {
            if pending.asked_before.is_none_or(|before| op > before) {
                pending.waiting.remove(&peer);
            }
        }
    }

    /// Answers the pulls whose peers have all answered or gone.
    pub(super) fn settle_pending(&mut self) {
        let mut waiting = Vec::new();
        for mut pending in std::mem::take(&mut self.pending) {
            pending.waiting.retain(|peer| self.greeted.contains(peer));
            if pending.waiting.is_empty() {
                let started = PullStarted { asked: pending.asked };
                let _ = pending.reply.send(Ok(started));
            } else {
                waiting.push(pending);
            }
        }
        self.pending = waiting;
    }

    /// Whether what is waited for is true now; the second value says whether anything is under way.
    pub(super) fn check(&self, what: &WaitFor) -> Result<(WaitReport, bool), PeersError> {
        let (reached, peers) = match &what.commit {
            None => self.check_in_step(what.peers),
            Some(text) => {
                let commit = self.shared.founding.engine.read_hash(text);
                let commit = commit.map_err(|error| PeersError::Invalid(error.to_string()))?;
                self.check_commit(&commit, what.peers)
            }
        };
        let main = self.shared.text(&self.node.main());
        // Where main waits for another program, only that one can go on.
        let folding = !self.node.is_settled() && self.node.dirty().is_empty();
        Ok((WaitReport { reached, peers, main }, folding || self.node.is_pulling()))
    }

    fn check_in_step(&self, wanted: Option<usize>) -> (bool, usize) {
        let in_step = self.node.peers().filter(|view| self.is_in_step(view)).count();
        let enough = wanted.is_none_or(|wanted| in_step + 1 >= wanted);
        (self.in_sync() && enough, in_step + usize::from(self.node.is_settled()))
    }

    fn check_commit(&self, commit: &CommitHash, wanted: Option<usize>) -> (bool, usize) {
        // Under main, not among what main has yet to follow.
        let here = self.have(self.node.included(), commit);
        let has = |view: &PeerView<'_>| self.have(&view.main.included, commit);
        let views: Vec<PeerView<'_>> = self.node.peers().collect();
        let elsewhere = views.iter().filter(|view| has(view)).count();
        let peers = usize::from(here) + elsewhere;
        let reached = match wanted {
            Some(wanted) => peers >= wanted,
            None => here && views.iter().all(|view| !view.connected || has(view)),
        };
        (reached, peers)
    }
}

fn problem(
    connected: bool,
    in_sync: bool,
    is_partial: bool,
    view: Option<&PeerView<'_>>,
    known: Option<&str>,
) -> Option<String> {
    if in_sync && connected {
        return None;
    }
    if let Some(view) = view.filter(|view| connected && view.in_sync && view.failing.is_none()) {
        let text = match (view.other_main, view.main.set_aside) {
            (Some(_), _) => {
                "it has the same heads and another main: its engine merges differently; run the same \
                 version of it on both"
            }
            (None, 0) => {
                "it has the same heads, and its main is not known to be their fold yet: it is merging, \
                 or waits for uncommitted changes there, or this node does"
            }
            (None, _) => "it set commits aside by itself, and its main is without them",
        };
        return Some(text.to_owned());
    }
    if let Some(failing) = view.and_then(|view| view.failing) {
        return Some(failing.to_owned());
    }
    let usual = match connected {
        true => "its heads differ: a pull is under way, here or there",
        false if is_partial => "not a neighbour: it hears of everything through others",
        false => "not connected",
    };
    Some(known.unwrap_or(usual).to_owned())
}

/// What the engine says for a status.
#[derive(Debug, Default)]
pub(crate) struct StatusRead {
    pub(crate) version: Option<String>,
    pub(crate) state: String,
    pub(crate) dirty: Vec<String>,
    pub(crate) conflicts: ConflictCounts,
    pub(crate) missing_modules: Vec<MissingModule>,
    /// Why it says nothing.
    pub(crate) problem: Option<DatabaseProblem>,
}

/// What only the engine knows of a status.
pub(crate) fn status_of(engine: &mut dyn Engine) -> EngineResult<StatusRead> {
    let version = Some(engine.version());
    let state = engine.state_hash()?;
    let dirty = engine.dirty_tables()?;
    let mut reader = engine.reader()?;
    let sql = "SELECT count(*), count(CASE WHEN state = 'open' THEN 1 END) FROM swarm_conflicts";
    let rows = reader.query(sql, &[], 1)?;
    let number = |index: usize| match rows.rows.first().and_then(|row| row.get(index)) {
        Some(Value::Integer(n)) => u64::try_from(*n).unwrap_or(0),
        _ => 0,
    };
    let conflicts = ConflictCounts { open: number(1), total: number(0) };
    let missing = engine.missing_modules()?.into_iter();
    let missing_modules = missing.map(|(table, module)| MissingModule { table, module }).collect();
    Ok(StatusRead { version, state, dirty, conflicts, missing_modules, problem: None })
}
