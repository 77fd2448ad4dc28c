//! One peer: what it is known to have, and what is under way with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event_handler::Source;
use super::io::OpId;
use super::timers::{Backoff, Jitter};
use crate::graph::CommitGraph;
use crate::id::CommitHash;
use crate::limits::{ANTI_ENTROPY_INTERVAL, CONFIRM_DELAY, KNOWN_HEADS_MAX};
use crate::time::Time;

/// One peer.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer {
    pub(super) connected: bool,
    pub(super) last_seen: Option<Time>,
    pub(super) failing: Option<&'static str>,
    /// Its newest word about its heads.
    pub(super) heads: Option<Vec<CommitHash>>,
    /// Heads that it is known to have heard of.
    pub(super) known: BTreeMap<CommitHash, HeardFrom>,
    /// Heads of ours that may lie under heads of the peer that are not here yet: not worth an advert
    /// until the pull shows.
    pub(super) deferred: BTreeSet<CommitHash>,
    pub(super) advert_op: Option<OpId>,
    pub(super) advert_retry: Backoff,
    pub(super) request_op: Option<OpId>,
    pub(super) request_due: Time,
    /// Whether somebody waits for the next answer.
    pub(super) urgent: bool,
    pub(super) is_hub: bool,
    /// Whether this node wants to be told of new heads over this link.
    pub(super) wants: bool,
    /// Whether the peer does, as far as is known.
    pub(super) is_wanted: bool,
    /// Whether what it should know changed while a question was under way.
    pub(super) asks_again: bool,
    pub(super) request_retry: Backoff,
    /// How often in a row it was asked whether what it was told has arrived, and it had not.
    pub(super) confirms: u32,
    pub(super) differing: Option<Differing>,
    pub(super) source: Source,
}

/// How it is known that a peer has heard of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeardFrom {
    /// It named the head itself, or this node told it and it said that it heard.
    FirstHand,
    /// A third peer said then that it is telling it.
    HearSay(Time),
}

/// A peer with the same heads and another main.
#[derive(Debug, Clone)]
pub(super) struct Differing {
    pub(super) ours: CommitHash,
    pub(super) theirs: CommitHash,
    pub(super) since: Time,
    pub(super) said: bool,
}

impl Peer {
    /// The peer's heads as it last named them; none where it never did.
    pub(super) fn heads(&self) -> &[CommitHash] {
        self.heads.as_deref().unwrap_or_default()
    }

    /// What the peer has is uncertain from here on.
    pub(super) fn stop_deferring(&mut self) {
        self.deferred.clear();
    }

    pub(super) fn has_exactly(&self, heads: &BTreeSet<CommitHash>) -> bool {
        self.heads.as_ref().is_some_and(|theirs| theirs.iter().eq(heads))
    }

    pub(super) fn hear<'a>(
        &mut self,
        heads: impl IntoIterator<Item = &'a CommitHash>,
        from: HeardFrom,
    ) {
        for head in heads {
            let entry = self.known.entry(*head).or_insert(from);
            if from == HeardFrom::FirstHand {
                *entry = from;
            }
        }
    }

    pub(super) fn has_unknown_heads(&self, now: Time, graph: &CommitGraph) -> bool {
        let unknown =
            |head: &CommitHash| !graph.contains(head) && !self.source.is_rejected(now, head);
        self.heads().iter().any(unknown)
    }

    /// Of `heads`, those that the peer may lack.
    pub(super) fn news<'a>(
        &self,
        heads: &'a BTreeSet<CommitHash>,
    ) -> impl Iterator<Item = &'a CommitHash> {
        // Both are sorted, and one walk over both costs least: this is asked at every turn.
        let mut known = self.known.keys().peekable();
        heads.iter().filter(move |head| {
            while known.next_if(|known| known < head).is_some() {}
            known.peek() != Some(head) && !self.deferred.contains(*head)
        })
    }

    /// Whether the peer is to be told one of `heads`, beyond what the advert under way tells it.
    pub(super) fn lacks(&self, heads: &BTreeSet<CommitHash>, under_way: &[CommitHash]) -> bool {
        let mut news = self.news(heads);
        self.connected && self.is_eager() && news.any(|head| under_way.binary_search(head).is_err())
    }

    /// Forgets heads that are neither ours nor new to us; they lie under ours.
    pub(super) fn forget_old_heads(&mut self, graph: &CommitGraph) {
        let heads = graph.heads();
        self.known.retain(|head, _| heads.contains(head) || !graph.contains(head));
        if self.known.len() > KNOWN_HEADS_MAX {
            self.known.retain(|head, _| heads.contains(head));
        }
        self.deferred.retain(|head| heads.contains(head));
    }

    /// How long after an answer to ask again. A peer that was told and is still pulling says nothing
    /// when it is done, so it is asked until it is, more and more seldom.
    pub(super) fn next_question(&mut self, ours: &BTreeSet<CommitHash>) -> Duration {
        if self.has_exactly(ours) {
            self.confirms = 0;
            return ANTI_ENTROPY_INTERVAL;
        }
        let delay = CONFIRM_DELAY.saturating_mul(1 << self.confirms.min(8));
        self.confirms = self.confirms.saturating_add(1);
        delay.min(ANTI_ENTROPY_INTERVAL)
    }

    /// Whether adverts go over this link, both ways.
    pub(super) fn is_eager(&self) -> bool {
        self.wants || self.is_wanted
    }

    /// Wants to be told from now on, and asks at once: who told until now may have left something out.
    pub(super) fn want(&mut self, now: Time) {
        self.wants = true;
        self.urgent = true;
        self.asks_again = true;
        self.request_due = self.request_due.min(now);
    }

    pub(super) fn ask_within(&mut self, now: Time, delay: Duration, jitter: &mut Jitter) {
        self.request_due = self.request_due.min(now + jitter.stretch(delay));
    }
}
