//! The queue of external heads: which are pulled from whom, and what follows a failure.
//!
//! Invariants:
//! - At most [`PULLS_AT_ONCE_MAX`] pulls are under way, one for each peer, and no head is in two.
//! - A failure is the peer's, and slows down only that peer, unless this machine failed. What
//!   failed verification is left alone as that peer offers it: another peer may have the true data.

use std::collections::{BTreeMap, BTreeSet};

use super::io::{Event, OpId, Output, PullError, RejectedHeads};
use super::peers::Peers;
use super::timers::{Backoff, Outbox};
use crate::graph::CommitGraph;
use crate::id::{CommitHash, PeerId};
use crate::limits::{
    HEADS_PER_MESSAGE_MAX, PULLS_AT_ONCE_MAX, REJECTED_RETRY_DELAY_MAX, REJECTED_RETRY_DELAY_MIN,
};
use crate::mutant::{Mutant, is_active};
use crate::time::Time;

/// Takes external heads off the queue, which keeps the newest of each peer, by pulls.
#[derive(Debug, Clone, Default)]
pub(super) struct EventHandler {
    in_flight: BTreeMap<OpId, Pull>,
    /// After this machine failed.
    local_retry: Backoff,
}

#[derive(Debug, Clone)]
pub(super) struct Pull {
    pub(super) peer: PeerId,
    pub(super) heads: Vec<CommitHash>,
}

/// A peer as a source of commits.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    retry: Backoff,
    /// What went wrong last, where nothing went well since.
    pub(super) failing: Option<String>,
    /// Heads that failed verification together with others, so that each is pulled alone next.
    suspects: BTreeSet<CommitHash>,
    rejected: BTreeMap<CommitHash, Rejection>,
    /// How many heads failed verification since the peer last was in step.
    rejections: u32,
}

#[derive(Debug, Clone)]
struct Rejection {
    reason: String,
    until: Time,
}

impl Source {
    /// The peer named its heads: what it no longer has is of no interest.
    pub(super) fn retain(&mut self, heads: &[CommitHash]) {
        self.suspects.retain(|head| heads.contains(head));
        self.rejected.retain(|head, _| heads.contains(head));
    }

    /// Whether the head is to be left alone as this peer offers it.
    pub(super) fn is_rejected(&self, now: Time, head: &CommitHash) -> bool {
        self.rejected.get(head).is_some_and(|rejection| now < rejection.until)
    }

    /// Tries everything again, at once.
    pub(super) fn forgive(&mut self) {
        *self = Self::default();
    }

    /// Tries again at once, but for what failed verification.
    pub(super) fn hurry(&mut self) {
        self.retry.reset();
    }

    /// Returns the heads that failed verification, one for each reason.
    pub(super) fn rejected(&self, peer: PeerId) -> Vec<RejectedHeads> {
        let mut by_reason: BTreeMap<&str, Vec<CommitHash>> = BTreeMap::new();
        for (head, rejection) in &self.rejected {
            by_reason.entry(&rejection.reason).or_default().push(*head);
        }
        let rejected =
            |(reason, heads): (&str, _)| RejectedHeads { heads, peer, reason: reason.to_owned() };
        by_reason.into_iter().map(rejected).collect()
    }

    /// Of `wanted`, what the next pull asks for: all together, but suspects one by one.
    fn next_heads(&self, mut wanted: Vec<CommitHash>) -> Vec<CommitHash> {
        if wanted.iter().all(|head| self.suspects.contains(head)) {
            wanted.truncate(1);
        } else {
            wanted.retain(|head| !self.suspects.contains(head));
        }
        wanted
    }

    fn take_rejection(
        &mut self,
        now: Time,
        heads: &[CommitHash],
        reason: &str,
    ) -> Option<Vec<CommitHash>> {
        if let [_, _, ..] = heads {
            self.suspects.extend(heads);
            return None;
        }
        // A liar costs a pull ever more rarely; a peer that was mended is not left out for long.
        let doubled = REJECTED_RETRY_DELAY_MIN.saturating_mul(1 << self.rejections.min(20));
        self.rejections = self.rejections.saturating_add(1);
        let until = now + doubled.min(REJECTED_RETRY_DELAY_MAX);
        for head in heads {
            self.rejected.insert(*head, Rejection { reason: reason.to_owned(), until });
            self.suspects.remove(head);
        }
        Some(heads.to_vec())
    }

    fn deadlines(&self) -> impl Iterator<Item = Time> {
        let rejected = self.rejected.values().map(|rejection| rejection.until);
        rejected.chain(self.retry.deadline())
    }
}

impl EventHandler {
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Whether a pull from the peer is under way.
    pub(super) fn is_pulling(&self, peer: &PeerId) -> bool {
        self.in_flight.values().any(|pull| pull.peer == *peer)
    }

    /// Begins what pulls can begin now.
    pub(super) fn drive(
        &mut self,
        now: Time,
        graph: &CommitGraph,
        peers: &Peers,
        outbox: &mut Outbox,
    ) {
        if !self.local_retry.is_ready(now) || self.in_flight.len() >= PULLS_AT_ONCE_MAX {
            return;
        }
        let busy: BTreeSet<PeerId> = self.in_flight.values().map(|pull| pull.peer).collect();
        let mut taken: BTreeSet<CommitHash> =
            self.in_flight.values().flat_map(|pull| pull.heads.iter().copied()).collect();
        // Those that failed least come first.
        let mut sources: Vec<_> = peers
            .connected()
            .filter(|(id, peer)| !busy.contains(id) && peer.source.retry.is_ready(now))
            .collect();
        sources.sort_by_key(|(id, peer)| (peer.source.retry.failures(), *id));
        for (id, peer) in sources {
            let wanted = |head: &&CommitHash| {
                !graph.contains(head)
                    && !taken.contains(head)
                    && !peers.is_held(head)
                    && !peer.source.is_rejected(now, head)
            };
            let wanted: Vec<_> = peer.unknown.iter().filter(wanted).copied().collect();
            if wanted.is_empty() {
                continue;
            }
            let mut heads = peer.source.next_heads(wanted);
            heads.truncate(HEADS_PER_MESSAGE_MAX);
            taken.extend(&heads);
            outbox.event(Event::PullStarted { peer: id, heads: heads.clone() });
            let op = outbox.start(|op| Output::Pull { op, peer: id, heads: heads.clone() });
            self.in_flight.insert(op, Pull { peer: id, heads });
            if self.in_flight.len() >= PULLS_AT_ONCE_MAX {
                break;
            }
        }
    }

    /// Ends a pull, where it was under way.
    pub(super) fn end(&mut self, op: OpId) -> Option<Pull> {
        self.in_flight.remove(&op)
    }

    /// A pull brought all that it was to bring.
    pub(super) fn succeed(
        &mut self,
        pull: &Pull,
        commits: usize,
        peers: &mut Peers,
        outbox: &mut Outbox,
    ) {
        self.local_retry.reset();
        if let Some(peer) = peers.get_mut(&pull.peer) {
            peer.source.retry.reset();
            peer.source.failing = None;
        }
        outbox.event(Event::Pulled { peer: pull.peer, commits });
    }

    /// A pull failed.
    pub(super) fn fail(
        &mut self,
        now: Time,
        pull: Pull,
        error: PullError,
        peers: &mut Peers,
        outbox: &mut Outbox,
    ) {
        let Pull { peer: id, heads } = pull;
        let (reason, rejected) = match error {
            PullError::Unavailable => ("what it advertised could not be fetched".to_owned(), false),
            PullError::Rejected { reason } => (reason, true),
            PullError::Local { reason } => {
                self.local_retry.fail(now, &mut outbox.jitter);
                outbox.event(Event::PullFailed { peer: id, reason });
                return;
            }
        };
        if rejected && is_active(Mutant::RejectedFromAll) {
            for (_, peer) in peers.iter_mut() {
                peer.source.take_rejection(now, &heads, &reason);
            }
        }
        let mut quarantined = None;
        if let Some(peer) = peers.get_mut(&id) {
            peer.source.retry.fail(now, &mut outbox.jitter);
            peer.source.failing = Some(reason.clone());
            // It may lack what it was thought to have.
            peer.stop_deferring();
            if rejected {
                quarantined = peer.source.take_rejection(now, &heads, &reason);
            }
            // Who told it first is no good source, and may have silenced those who are.
            if peer.source.retry.failures() > 1 || quarantined.is_some() {
                peers.want_all(now);
            }
        }
        outbox.event(match quarantined {
            Some(heads) => Event::Rejected { peer: id, heads, reason },
            None => Event::PullFailed { peer: id, reason },
        });
    }

    /// Tries again at once what waited after a failure of this machine.
    pub(super) fn hurry(&mut self) {
        self.local_retry.reset();
    }

    /// When to look again, of what waits for time alone.
    pub(super) fn deadlines(&self, peers: &Peers) -> impl Iterator<Item = Time> {
        let sources = peers.connected().flat_map(|(_, peer)| peer.source.deadlines());
        sources.chain(self.local_retry.deadline())
    }
}
