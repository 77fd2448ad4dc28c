//! The node: one peer's state machine, which joins all the others.
//!
//! It decides whom to tell, whom to ask, what to pull, what to merge and when main moves. It does
//! none of that itself: the driver carries out each [`Output`] and hands the result back.
//!
//! Invariants:
//! - The same calls in the same order give the same outputs.
//! - Every operation is answered by exactly one `handle_*`; unknown and late answers are ignored.
//! - Deriving main sends nothing. Only a change of the heads, or a peer that may lack one of them,
//!   does.

pub mod dialer;
mod event_handler;
mod folding;
pub mod hubs;
mod io;
pub mod lives;
pub mod neighbours;
mod peer;
mod peers;
mod tellers;
pub(crate) mod timers;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

pub use io::{Event, MoveResult, OpId, Output, PeerView, PullError, RejectedHeads, Stalled};

use crate::commit::{ConflictPolicy, UserCommit};
use crate::error::PeerFault;
use crate::fold::{MergeMemory, MergeResult, Parked};
use crate::graph::{CommitGraph, GraphError, Inserted, SetAside, Standing};
use crate::id::{CommitHash, PeerId};
use crate::limits::{ADVERT_TOLD_MAX, HEADS_ADVERTISED_MAX, HEADS_PER_MESSAGE_MAX};
use crate::message::{Advert, AdvertReply, HeadRequest, HeadsAnswer, HeadsPage, PeerMain};
use crate::mutant::{Mutant, is_active};
use crate::time::Time;
use event_handler::EventHandler;
use folding::Folding;
use neighbours::View;
use peers::Peers;
use timers::Outbox;

/// What a node is told about itself.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Its own key.
    pub me: PeerId,
    /// Where its jitter comes from. Nodes of a swarm should have different ones.
    pub seed: u64,
    /// What a conflict does: whether a merge can be impossible, and a head be parked.
    pub policy: ConflictPolicy,
}

/// What a node begins with, all of it derived from what is durable.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The accepted user commits; at least the founding commit.
    pub graph: CommitGraph,
    /// The merges remembered; may be empty.
    pub memory: MergeMemory,
    /// Where main is.
    pub main: CommitHash,
    /// The user commits that main's tip includes, none of which is an ancestor of another.
    pub included: Vec<CommitHash>,
    /// The peers known from before.
    pub peers: Vec<PeerId>,
    /// The commits that this node set aside, with the reasons.
    pub set_aside: BTreeMap<CommitHash, String>,
}

/// One peer's state machine.
///
/// The methods are of three kinds:
///
/// - A. getters, which change nothing;
/// - B. `handle_*`, which take what happened, and when;
/// - C. `poll_*`, which say what to do next.
///
/// After every `handle_*`, call [`poll_output`](Self::poll_output) until it returns nothing, then
/// [`poll_timeout`](Self::poll_timeout), and call [`handle_timeout`](Self::handle_timeout) at that
/// time. Times must never go back.
#[derive(Debug, Clone)]
pub struct Node {
    me: PeerId,
    /// The latest time that was handed in.
    now: Time,
    graph: CommitGraph,
    standing: Standing,
    memory: MergeMemory,
    peers: Peers,
    pulls: EventHandler,
    folding: Folding,
    outbox: Outbox,
}

impl Node {
    /// Begins where the node was when it stopped. Where main is not the fold of the heads, folding
    /// begins at once.
    ///
    /// # Panics
    ///
    /// Where the graph lacks even a founding commit.
    pub fn new(config: NodeConfig, restored: Restored, now: Time) -> Self {
        let Restored { graph, memory, main, included, peers: known, set_aside } = restored;
        assert!(graph.founding().is_some(), "a node begins with at least the founding commit");
        let mut peers = Peers::new(&config.me, &graph);
        for peer in known.into_iter().filter(|peer| *peer != config.me) {
            peers.entry(peer);
        }
        let standing = Standing::new(&graph, set_aside);
        let mut node = Self {
            me: config.me,
            now,
            folding: Folding::new(config.policy, main, included, &graph, &standing),
            graph,
            standing,
            memory,
            peers,
            pulls: EventHandler::default(),
            outbox: Outbox::new(config.seed),
        };
        node.drive(now);
        node
    }

    // A. Getters.

    /// The accepted user commits.
    pub fn graph(&self) -> &CommitGraph {
        &self.graph
    }

    /// The merges remembered.
    pub fn memory(&self) -> &MergeMemory {
        &self.memory
    }

    /// The heads, sorted by hash: the maximal accepted commits, which are advertised.
    pub fn heads(&self) -> &BTreeSet<CommitHash> {
        self.graph.heads()
    }

    /// The heads that the fold is made of, sorted by hash: the maximal accepted commits that are
    /// not set aside.
    pub fn fold_heads(&self) -> &BTreeSet<CommitHash> {
        self.standing.fold_heads()
    }

    /// The heads that are set aside, sorted by hash, with the reasons.
    pub fn set_aside(&self) -> &[SetAside] {
        self.standing.set_aside()
    }

    /// Which commits take part in the fold.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// All heads, sorted by hash; never empty.
    pub fn advert_heads(&self) -> Vec<CommitHash> {
        self.heads().iter().copied().collect()
    }

    /// An advert for someone of whom nothing is known. Of very many heads it names some.
    pub fn advert(&self, told: Vec<PeerId>) -> Advert {
        let heads = self.heads().iter().take(HEADS_PER_MESSAGE_MAX).copied().collect();
        Advert { heads, set: self.peers.ours(), told }
    }

    /// What to answer to a request for heads.
    pub fn heads_answer(&self, request: &HeadRequest) -> HeadsAnswer {
        let set = self.peers.ours();
        let is_equal = request.set == Some(set) && request.after.is_none();
        let begin = request.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.heads().range((begin, Bound::Unbounded)).copied();
        let limit = if is_equal { 0 } else { HEADS_PER_MESSAGE_MAX };
        let heads: Vec<CommitHash> = rest.by_ref().take(limit).collect();
        let more = !is_equal && rest.next().is_some();
        HeadsAnswer { page: HeadsPage { set, heads, more }, main: self.main_answer() }
    }

    fn main_answer(&self) -> PeerMain {
        // A main without what is set aside here alone is not what others must have.
        let is_folded = self.is_settled() && !self.standing.is_local();
        let mut included = self.included().to_vec();
        included.sort_unstable();
        included.truncate(HEADS_PER_MESSAGE_MAX);
        let set_aside = self.standing.local().len() as u64;
        PeerMain { tip: is_folded.then(|| self.main()), included, set_aside }
    }

    /// Where main is.
    pub fn main(&self) -> CommitHash {
        self.folding.main()
    }

    /// The user commits that main's tip includes.
    pub fn included(&self) -> &[CommitHash] {
        self.folding.included()
    }

    /// The heads that the last fold could not include, in the order of the fold.
    pub fn parked(&self) -> &[Parked] {
        self.folding.parked()
    }

    /// The tables whose uncommitted changes main waits for; empty where it does not wait.
    pub fn dirty(&self) -> &[String] {
        self.folding.dirty()
    }

    /// Whether main is the fold of the heads, and no pull, merge or move is under way.
    pub fn is_settled(&self) -> bool {
        self.folding.is_settled() && self.pulls.is_idle()
    }

    /// Something is asked of the engine or of a peer's data, and not answered.
    pub fn is_at_work(&self) -> bool {
        self.folding.is_at_work() || !self.pulls.is_idle()
    }

    /// Commits made here came, again and again, before main was at the fold, and the engine is at
    /// work on the next one. It is in vain unless those that can wait do, until this is false.
    pub fn is_outrun(&self) -> bool {
        self.folding.is_outrun()
    }

    /// What the engine failed to do so often in a row that people must know.
    pub fn stalled(&self) -> Option<Stalled> {
        self.folding.stalled()
    }

    /// What is known about each peer, sorted by key.
    pub fn peers(&self) -> impl Iterator<Item = PeerView<'_>> {
        self.peers.views()
    }

    /// Whether the swarm does as well without the link to the peer: adverts come and go by others,
    /// and nothing is being pulled over it. Never with a full view.
    pub fn is_spare(&self, peer: &PeerId) -> bool {
        self.peers.is_spare(peer) && !self.pulls.is_pulling(peer)
    }

    /// Whether a pull is under way.
    pub fn is_pulling(&self) -> bool {
        !self.pulls.is_idle()
    }

    /// The heads that failed verification and are left alone for now.
    pub fn rejected(&self) -> Vec<RejectedHeads> {
        let rejected = |view: PeerView<'_>| {
            let peer = self.peers.get(&view.peer);
            peer.map(|peer| peer.source.rejected(view.peer)).unwrap_or_default()
        };
        self.peers().flat_map(rejected).collect()
    }

    // B. What happened.

    /// A peer is connected, or connected anew. It is asked for its heads and told ours.
    pub fn handle_connected(&mut self, now: Time, peer: PeerId) {
        if peer != self.me {
            self.peers.connect(now, peer, &self.graph, &mut self.outbox);
            self.drive(now);
        }
    }

    /// A peer is no longer connected. What it was asked may still be answered.
    pub fn handle_disconnected(&mut self, now: Time, peer: PeerId) {
        self.peers.disconnect(now, peer, &mut self.outbox);
        self.drive(now);
    }

    /// A peer is no longer a peer.
    pub fn handle_forgotten(&mut self, now: Time, peer: PeerId) {
        self.peers.forget(now, peer, &mut self.outbox);
        self.drive(now);
    }

    /// Which of the peers it knows the node is linked to, as the
    /// [`Dialer`](dialer::Dialer) has it. Cheap where nothing changed.
    pub fn handle_view(&mut self, view: View) {
        if self.peers.set_view(self.now, view, &mut self.outbox.jitter) {
            self.drive(self.now);
        }
    }

    /// A peer asks for the heads; what to answer says [`heads_answer`](Self::heads_answer).
    pub fn handle_asked(&mut self, now: Time, peer: PeerId, request: HeadRequest) {
        self.peers.take_request(now, &peer, request, &self.graph);
        self.drive(now);
    }

    /// A peer advertised its heads. Returns what to answer.
    ///
    /// # Errors
    ///
    /// Where the peer is at fault; nothing changes then.
    pub fn handle_advert(
        &mut self,
        now: Time,
        peer: PeerId,
        advert: Advert,
    ) -> Result<AdvertReply, PeerFault> {
        if peer == self.me {
            return Err(PeerFault::Misbehaved { what: "it advertises in our name".into() });
        }
        check_heads(&advert.heads)?;
        if advert.set.count < advert.heads.len() as u64 {
            let what = "an advert that names more heads than it says there are".to_owned();
            return Err(PeerFault::Malformed { what });
        }
        if advert.told.len() > ADVERT_TOLD_MAX {
            let what = format!("an advert that names more than {ADVERT_TOLD_MAX} peers as told");
            return Err(PeerFault::Malformed { what });
        }
        let reply = self.peers.take_advert(now, peer, advert, &self.graph);
        self.drive(now);
        Ok(reply)
    }

    /// Someone committed on main here, and the commits are signed and durable. `commits` come
    /// parents first; main is at `main` now, which includes `included`.
    ///
    /// # Errors
    ///
    /// Where a commit does not fit the graph, which is the caller's mistake. The commits before it
    /// are taken, and main is where it is.
    pub fn handle_local_commits(
        &mut self,
        now: Time,
        commits: Vec<UserCommit>,
        main: CommitHash,
        included: Vec<CommitHash>,
    ) -> Result<(), GraphError> {
        self.folding.set_main(main, included);
        let (inserted, heads_changed) = self.insert(commits);
        if !is_active(Mutant::LocalCommitIgnored) {
            self.folding.refold_local(&self.graph, &self.standing);
        } else if heads_changed {
            self.folding.refold(&self.graph, &self.standing);
        }
        self.drive(now);
        inserted.map(|_| ())
    }

    /// An advert was taken by the peer, or it was not.
    pub fn handle_advertised(&mut self, now: Time, op: OpId, result: Result<AdvertReply, ()>) {
        self.peers.end_advert(now, op, result, &self.graph, &mut self.outbox.jitter);
        self.drive(now);
    }

    /// A peer answered which heads it has and where its main is, or did not answer.
    pub fn handle_heads(&mut self, now: Time, op: OpId, result: Result<HeadsAnswer, ()>) {
        let is_good = |answer: &HeadsAnswer| {
            let page = &answer.page;
            let is_empty = page.heads.is_empty() && !page.more && page.set.count > 0;
            check_heads(&page.heads).is_ok() || is_empty
        };
        let answer = result.ok().filter(is_good);
        let peer_main = answer.as_ref().and_then(|answer| answer.main.tip);
        let jitter = &mut self.outbox.jitter;
        let answered = self.peers.end_request(now, op, answer, &self.graph, jitter);
        if let (Some(peer), Some(theirs)) = (answered, peer_main) {
            self.compare_mains(now, peer, theirs);
        }
        self.drive(now);
    }

    fn compare_mains(&mut self, now: Time, peer: PeerId, theirs: CommitHash) {
        let ours = self.main();
        let comparable =
            self.is_settled() && !self.standing.is_local() && self.peers.is_in_sync(&peer);
        if comparable && self.peers.disagrees(now, &peer, ours, theirs) {
            self.outbox.event(Event::EnginesDisagree { peer, ours, theirs });
        }
    }

    /// A pull ended. `commits` are all user commits that are new, accepted and durable, parents
    /// first.
    pub fn handle_pulled(
        &mut self,
        now: Time,
        op: OpId,
        result: Result<Vec<UserCommit>, PullError>,
    ) {
        let Some(pull) = self.pulls.end(op) else { return };
        let inserted = result.and_then(|commits| {
            let local = |error: GraphError| PullError::Local { reason: error.to_string() };
            let (inserted, heads_changed) = self.insert(commits);
            if heads_changed {
                self.folding.refold(&self.graph, &self.standing);
            }
            inserted.map_err(local)
        });
        let complete = pull.heads.iter().all(|head| self.graph.contains(head));
        let peers = &mut self.peers;
        match inserted {
            Ok(commits) if complete => {
                self.pulls.succeed(&pull, commits, peers, &mut self.outbox);
                self.peers.pulled(now, &pull.peer);
            }
            Ok(_) => {
                self.pulls.fail(now, pull, PullError::Unavailable, peers, &mut self.outbox);
            }
            Err(error) => self.pulls.fail(now, pull, error, peers, &mut self.outbox),
        }
        self.drive(now);
    }

    /// A merge ended: with a merge commit, with the reason why there can be none (under the policy
    /// `park`; else that is a failure too), or the engine failed.
    pub fn handle_merged(&mut self, now: Time, op: OpId, result: Result<MergeResult, ()>) {
        let merged = self.folding.handle_merged(now, op, result, &mut self.outbox);
        if let Some((ours, theirs, result)) = merged {
            self.memory.insert(ours, theirs, result);
        }
        self.drive(now);
    }

    /// The merge commits remembered may not be in the database any more: they are made again.
    pub fn handle_merges_lost(&mut self, now: Time) {
        self.memory = MergeMemory::default();
        self.folding.begin(&self.graph, &self.standing);
        self.drive(now);
    }

    /// The commit's content failed a check here or exceeded a budget: it takes no part in the fold,
    /// and neither does what builds on it. The commit need not be accepted yet. Durable by now,
    /// because a restart must not forget it. Returns whether that is new; the founding commit
    /// cannot be set aside.
    ///
    /// Heads are advertised and passed on as before, so other peers can judge the commit
    /// themselves.
    pub fn handle_set_aside(&mut self, now: Time, commit: CommitHash, reason: String) -> bool {
        let is_new = self.standing.set_aside_locally(&self.graph, commit, reason);
        if is_new {
            self.folding.begin_anew(&self.graph, &self.standing);
        }
        self.drive(now);
        is_new
    }

    /// These commits turned out to be signed by a lower key, or by a key at all. Which heads take
    /// part may change by it.
    pub fn handle_signers(&mut self, now: Time, signers: &[(CommitHash, PeerId)]) {
        let mut is_new = false;
        for (commit, signer) in signers {
            is_new |= self.graph.set_signer(commit, *signer);
        }
        if is_new && self.standing.signers_changed(&self.graph) {
            self.folding.begin_anew(&self.graph, &self.standing);
        }
        self.drive(now);
    }

    /// Whether the peer's heads are known to be the same as this node's.
    pub fn has_equal_heads(&self, peer: &PeerId) -> bool {
        self.peers.is_in_sync(peer)
    }

    /// The commit takes part again. Returns whether it was set aside here.
    pub fn handle_release(&mut self, now: Time, commit: CommitHash) -> bool {
        let was = self.standing.release(&self.graph, &commit);
        if was {
            self.folding.begin_anew(&self.graph, &self.standing);
        }
        self.drive(now);
        was
    }

    /// Moving main ended, or the engine failed.
    ///
    /// # Errors
    ///
    /// Where a commit of [`MoveResult::MainChanged`] does not fit the graph, as with
    /// [`handle_local_commits`](Self::handle_local_commits).
    pub fn handle_moved(
        &mut self,
        now: Time,
        op: OpId,
        result: Result<MoveResult, ()>,
    ) -> Result<(), GraphError> {
        let result = match result {
            Ok(MoveResult::MainChanged { .. }) if is_active(Mutant::MovesBlindly) => {
                Ok(MoveResult::Moved)
            }
            result => result,
        };
        let changed = self.folding.handle_moved(now, op, result, &mut self.outbox);
        self.peers.main_moved();
        if let Some(MoveResult::MainChanged { main, commits, included }) = changed {
            return self.handle_local_commits(now, commits, main, included);
        }
        self.drive(now);
        Ok(())
    }

    /// Who may write changed: what failed verification is tried again.
    pub fn handle_membership_changed(&mut self, now: Time) {
        for (_, peer) in self.peers.iter_mut() {
            peer.source.forgive();
        }
        self.drive(now);
    }

    /// Someone wants to be in step now: the peer, or every one, is asked at once.
    pub fn handle_pull_request(&mut self, now: Time, peer: Option<PeerId>) {
        self.peers.hurry(now, peer);
        self.pulls.hurry();
        self.drive(now);
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) named has come.
    pub fn handle_timeout(&mut self, now: Time) {
        self.drive(now);
    }

    // C. What to do next.

    /// Returns the next thing to do, until there is nothing more.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.poll()
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout); nothing where only the
    /// outside can change anything.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let deadlines = self
            .peers
            .deadlines()
            .chain(self.pulls.deadlines(&self.peers))
            .chain(self.folding.deadlines());
        // What was due was done, or waits for an answer rather than for time.
        deadlines.filter(|deadline| *deadline > self.now).min()
    }

    /// Inserts commits, parents first. Returns how many are new, and whether the heads changed.
    fn insert(&mut self, commits: Vec<UserCommit>) -> (Result<usize, GraphError>, bool) {
        let (mut result, mut inserted, mut gone) = (Ok(()), Vec::new(), Vec::new());
        for commit in commits {
            let (hash, below) = (commit.hash, commit.builds_on.clone());
            match self.graph.insert(commit) {
                Ok(Inserted::New) => {
                    inserted.push(hash);
                    gone.extend(below);
                }
                Ok(Inserted::Known) => {}
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.standing.follow(&self.graph, &inserted);
        // A new commit is a head, or one that came with it builds on it.
        let heads_changed = !inserted.is_empty();
        if heads_changed {
            self.peers.heads_changed(&inserted, &gone, &self.graph);
            self.outbox.event(Event::HeadsChanged { heads: self.heads_named(&inserted) });
        }
        (result.map(|()| inserted.len()), heads_changed)
    }

    /// The heads, or of many some of the new ones.
    fn heads_named(&self, inserted: &[CommitHash]) -> Vec<CommitHash> {
        let heads = self.heads();
        if heads.len() <= HEADS_ADVERTISED_MAX {
            return self.advert_heads();
        }
        let new = inserted.iter().rev().filter(|head| heads.contains(head));
        let mut new: Vec<CommitHash> = new.take(HEADS_ADVERTISED_MAX).copied().collect();
        new.sort_unstable();
        new
    }

    /// Does all that can be done now. Does nothing where nothing changed.
    fn drive(&mut self, now: Time) {
        debug_assert!(now >= self.now, "time went back");
        self.now = now.max(self.now);
        let (now, outbox) = (self.now, &mut self.outbox);
        self.peers.drive(now, &self.graph, outbox);
        self.pulls.drive(now, &self.graph, &self.peers, outbox);
        self.folding.drive(now, (&self.graph, &self.standing), &self.memory, outbox);
    }
}

/// Heads in a message: sorted, not empty, not too many.
fn check_heads(heads: &[CommitHash]) -> Result<(), PeerFault> {
    let good = !heads.is_empty()
        && heads.len() <= HEADS_PER_MESSAGE_MAX
        && heads.is_sorted_by(|a, b| a < b);
    let what = || format!("its heads are not a sorted list of 1 to {HEADS_PER_MESSAGE_MAX}");
    if good { Ok(()) } else { Err(PeerFault::Malformed { what: what() }) }
}
