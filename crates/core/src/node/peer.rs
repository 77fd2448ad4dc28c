//! One peer: what it is known to have, and what is under way with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event_handler::Source;
use super::io::OpId;
use super::timers::{Backoff, Jitter};
use crate::graph::CommitGraph;
use crate::id::CommitHash;
use crate::limits::{
    ANTI_ENTROPY_INTERVAL, CONFIRM_DELAY, HEADS_PER_MESSAGE_MAX, KNOWN_HEADS_MAX, UNKNOWN_HEADS_MAX,
};
use crate::message::{HeadSet, PeerMain};
use crate::time::Time;

/// One peer.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer {
    pub(super) connected: bool,
    pub(super) last_seen: Option<Time>,
    pub(super) failing: Option<&'static str>,
    /// What its heads are, by its newest word.
    pub(super) set: Option<HeadSet>,
    /// Heads that it named last: all of few, or some of many.
    pub(super) named: Vec<CommitHash>,
    /// Heads that it named and that are not here.
    pub(super) unknown: BTreeSet<CommitHash>,
    /// The last head of the newest page, while there are more pages to ask for.
    pub(super) page_after: Option<CommitHash>,
    /// Which page the question under way asks for.
    pub(super) asked_after: Option<CommitHash>,
    /// Where its main was when it answered last.
    pub(super) main_seen: PeerMain,
    /// Heads that it is known to have heard of, and that are ours or not here.
    known: BTreeMap<CommitHash, HeardFrom>,
    /// Heads of ours that may lie under heads of the peer that are not here yet: not worth an
    /// advert until the pull shows.
    deferred: BTreeSet<CommitHash>,
    /// Our heads that the peer may lack. Valid unless `is_stale`.
    news: BTreeSet<CommitHash>,
    /// Whether `news` must be derived again.
    is_stale: bool,
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
    /// A peer of whom nothing is known.
    pub(super) fn new(is_hub: bool) -> Self {
        Self { is_hub, is_stale: true, ..Self::default() }
    }

    /// Forgets what the peer has heard of: it may be a new process.
    pub(super) fn forget_known(&mut self) {
        self.known.clear();
        self.deferred.clear();
        self.is_stale = true;
    }

    /// Whether something of ours is not advertised until a pull shows whether the peer has it.
    pub(super) fn is_deferring(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// What the peer has is uncertain from here on.
    pub(super) fn stop_deferring(&mut self) {
        self.deferred.clear();
        self.is_stale = true;
    }

    /// What of ours the peer is not known to have may lie under its unknown heads.
    fn defer(&mut self, graph: &CommitGraph) {
        let known = &self.known;
        let open = graph.heads().iter().filter(|head| !known.contains_key(head));
        self.deferred = open.copied().collect();
        self.is_stale = true;
    }

    pub(super) fn has_exactly(&self, set: &HeadSet) -> bool {
        self.set.as_ref() == Some(set)
    }

    /// Notes that the peer has heard of these heads. Old ones, which lie under ours, are no news.
    pub(super) fn hear<'a>(
        &mut self,
        heads: impl IntoIterator<Item = &'a CommitHash>,
        from: HeardFrom,
        graph: &CommitGraph,
    ) {
        let ours = graph.heads();
        for head in heads {
            if graph.contains(head) && !ours.contains(head) {
                continue;
            }
            let entry = self.known.entry(*head).or_insert(from);
            if from == HeardFrom::FirstHand {
                *entry = from;
            }
        }
        if self.known.len() > ours.len().saturating_add(KNOWN_HEADS_MAX) {
            self.known.retain(|head, _| ours.contains(head));
        }
        self.is_stale = true;
    }

    /// Takes the peer's word about its heads: all of them, or some of them.
    pub(super) fn learn(
        &mut self,
        now: Time,
        named: Vec<CommitHash>,
        set: HeadSet,
        is_complete: bool,
        graph: &CommitGraph,
    ) {
        self.hear(&named, HeardFrom::FirstHand, graph);
        if is_complete {
            self.source.retain(&named);
            self.unknown.clear();
        }
        let unknown = named.iter().filter(|head| !graph.contains(head));
        let room = UNKNOWN_HEADS_MAX.saturating_sub(self.unknown.len());
        self.unknown.extend(unknown.take(room));
        self.named = named;
        self.set = Some(set);
        self.stop_deferring();
        if self.has_unknown_heads(now) {
            self.defer(graph);
        }
    }

    /// Forgets hearsay of before that its own word does not bear out.
    pub(super) fn doubt_hearsay(&mut self, now: Time) {
        let named = &self.named;
        self.known.retain(|head, from| match from {
            HeardFrom::HearSay(then) if now - *then >= CONFIRM_DELAY => {
                named.binary_search(head).is_ok()
            }
            _ => true,
        });
        self.is_stale = true;
    }

    pub(super) fn has_unknown_heads(&self, now: Time) -> bool {
        self.unknown.iter().any(|head| !self.source.is_rejected(now, head))
    }

    /// Whether there is room to wait for another page of heads.
    pub(super) fn has_room(&self) -> bool {
        self.unknown.len() + HEADS_PER_MESSAGE_MAX <= UNKNOWN_HEADS_MAX
    }

    /// Brings what it may lack up to date. Must be done before what depends on it is asked.
    pub(super) fn refresh_news(&mut self, graph: &CommitGraph) {
        if std::mem::take(&mut self.is_stale) {
            let (known, deferred) = (&self.known, &self.deferred);
            let news = |head: &&CommitHash| !known.contains_key(*head) && !deferred.contains(*head);
            self.news = graph.heads().iter().filter(news).copied().collect();
        }
    }

    /// Our heads that the peer may lack.
    pub(super) fn news(&self) -> &BTreeSet<CommitHash> {
        &self.news
    }

    /// Whether the peer is to be told one of our heads, beyond what the advert under way tells it.
    pub(super) fn lacks(&self, under_way: &[CommitHash]) -> bool {
        let mut news = self.news.iter();
        self.connected && self.is_eager() && news.any(|head| under_way.binary_search(head).is_err())
    }

    /// Our heads changed: `inserted` is new in the graph, and `gone` are no heads any more.
    pub(super) fn heads_changed(
        &mut self,
        inserted: &[CommitHash],
        gone: &[CommitHash],
        graph: &CommitGraph,
    ) {
        for head in inserted {
            self.unknown.remove(head);
        }
        for head in inserted.iter().chain(gone).filter(|head| !graph.heads().contains(head)) {
            self.known.remove(head);
            self.deferred.remove(head);
        }
        self.is_stale = true;
    }

    /// How long after an answer to ask again. A peer that was told and is still pulling says
    /// nothing when it is done, so it is asked until it is, more and more seldom.
    pub(super) fn next_question(&mut self, ours: &HeadSet) -> Duration {
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

    /// Wants to be told from now on, and asks at once: who told until now may have left something
    /// out.
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
