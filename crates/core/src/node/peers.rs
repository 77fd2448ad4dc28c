//! Peers: what each is known to have, who is told, and who is asked.
//!
//! Invariants:
//! - A peer is told only where it may lack one of this node's heads: not one that it named itself,
//!   nor one that this node or another has told it.
//! - At most one advert and one request for heads are under way to each peer. An advert is made
//!   when it is sent, from the newest state, so a slow peer costs no queue.
//! - Adverts go over eager links alone; which those are is told in [`super::hubs`].

use std::collections::BTreeMap;

use super::hubs::is_hub;
use super::io::{Event, OpId, Output, PeerView};
use super::peer::{Differing, HeardFrom, Peer};
use super::tellers::Tellers;
use super::timers::{Jitter, Outbox};

use crate::graph::CommitGraph;
use crate::id::{CommitHash, PeerId};
use crate::limits::{
    ADVERT_TOLD_MAX, ANTI_ENTROPY_INTERVAL, CONFIRM_DELAY, DISAGREEMENT_DELAY,
    HEADS_ADVERTISED_MAX, HEADS_PER_MESSAGE_MAX, PEERS_MAX, REJECTED_RETRY_DELAY_MAX,
};
use crate::message::{Advert, AdvertReply, HeadRequest, HeadSet, HeadsAnswer};
use crate::mutant::{Mutant, is_active};
use crate::time::Time;

/// All peers that the node knows, connected or not.
#[derive(Debug, Clone, Default)]
pub(super) struct Peers {
    map: BTreeMap<PeerId, Peer>,
    /// This node's heads.
    ours: Option<HeadSet>,
    requests: BTreeMap<OpId, PeerId>,
    /// To whom, and with which heads.
    adverts: BTreeMap<OpId, (PeerId, Vec<CommitHash>)>,
    pub(super) tellers: Tellers,
    /// Whether this node is a hub.
    pub(super) is_hub: bool,
    /// Whether it is linked to no hub to count on, and wants a few other links.
    pub(super) stands_in: bool,
}

impl Peers {
    pub(super) fn new(me: &PeerId, graph: &CommitGraph) -> Self {
        let ours = Some(HeadSet::of(graph.heads()));
        Self { is_hub: is_hub(me), ours, ..Self::default() }
    }

    /// This node's heads.
    pub(super) fn ours(&self) -> HeadSet {
        self.ours.unwrap_or_else(|| HeadSet::of([]))
    }

    pub(super) fn get(&self, id: &PeerId) -> Option<&Peer> {
        self.map.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &PeerId) -> Option<&mut Peer> {
        self.map.get_mut(id)
    }

    pub(super) fn connected(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.map.iter().filter(|(_, peer)| peer.connected).map(|(id, peer)| (*id, peer))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&PeerId, &mut Peer)> {
        self.map.iter_mut()
    }

    pub(super) fn views(&self) -> impl Iterator<Item = PeerView<'_>> {
        let ours = self.ours();
        self.map.iter().map(move |(id, peer)| PeerView {
            peer: *id,
            connected: peer.connected,
            heads: peer.set.is_some().then_some(peer.named.as_slice()),
            in_sync: peer.has_exactly(&ours),
            main: &peer.main_seen,
            other_main: peer
                .differing
                .as_ref()
                .filter(|differing| differing.said && peer.has_exactly(&ours))
                .map(|differing| differing.theirs),
            last_seen: peer.last_seen,
            failing: peer.source.failing.as_deref().or(peer.failing),
        })
    }

    /// Returns the peer, new where it has to be; nothing where there are too many already.
    pub(super) fn entry(&mut self, id: PeerId) -> Option<&mut Peer> {
        if !self.map.contains_key(&id) && self.map.len() >= PEERS_MAX {
            let absent = self.map.iter().filter(|(_, peer)| !peer.connected);
            let oldest = absent.min_by_key(|(id, peer)| (peer.last_seen, **id)).map(|(id, _)| *id);
            self.map.remove(&oldest?);
        }
        Some(self.map.entry(id).or_insert_with(|| Peer::new(is_hub(&id))))
    }

    pub(super) fn connect(
        &mut self,
        now: Time,
        id: PeerId,
        graph: &CommitGraph,
        outbox: &mut Outbox,
    ) {
        self.drop_ops(&id);
        let is_partial = self.tellers.is_partial();
        let Some(peer) = self.entry(id) else { return };
        if !peer.connected {
            outbox.event(Event::PeerConnected { peer: id });
        }
        peer.connected = true;
        peer.last_seen = Some(now);
        // It may be a new process that has forgotten all it was told.
        peer.forget_known();
        (peer.page_after, peer.asked_after) = (None, None);
        peer.advert_retry.reset();
        peer.request_retry.reset();
        peer.source.hurry();
        peer.request_due = now;
        if is_partial {
            // It asks too.
            peer.hear(graph.heads(), HeardFrom::HearSay(now), graph);
        }
        self.link(now, id, &mut outbox.jitter);
    }

    pub(super) fn disconnect(&mut self, now: Time, id: PeerId, outbox: &mut Outbox) {
        self.drop_ops(&id);
        let Some(peer) = self.map.get_mut(&id) else { return };
        let was_connected = std::mem::take(&mut peer.connected);
        peer.forget_known();
        (peer.wants, peer.is_wanted) = (false, false);
        if was_connected {
            outbox.event(Event::PeerDisconnected { peer: id });
            self.settle(now, &mut outbox.jitter);
        }
    }

    /// Whether the pull of a head waits for somebody to tell it.
    pub(super) fn is_held(&self, head: &CommitHash) -> bool {
        self.tellers.is_held(head)
    }

    pub(super) fn forget(&mut self, now: Time, id: PeerId, outbox: &mut Outbox) {
        self.disconnect(now, id, outbox);
        self.map.remove(&id);
    }

    /// Answers to these come late, from a connection that is gone: they are ignored.
    fn drop_ops(&mut self, id: &PeerId) {
        let Some(peer) = self.map.get_mut(id) else { return };
        let (advert, request) = (peer.advert_op.take(), peer.request_op.take());
        advert.and_then(|op| self.adverts.remove(&op));
        request.and_then(|op| self.requests.remove(&op));
    }

    /// Takes a peer's advert, and its word about whom else it is telling.
    pub(super) fn take_advert(
        &mut self,
        now: Time,
        id: PeerId,
        advert: Advert,
        graph: &CommitGraph,
    ) -> AdvertReply {
        let duplicate = self.tellers.told(id, &advert.heads, graph) && self.told_twice(&id);
        for told in &advert.told {
            if let Some(peer) = self.map.get_mut(told).filter(|peer| peer.connected) {
                peer.hear(&advert.heads, HeardFrom::HearSay(now), graph);
            }
        }
        let is_complete = advert.is_complete();
        self.learn(now, id, advert.heads, advert.set, is_complete, graph);
        AdvertReply { duplicate }
    }

    /// Takes a peer's word about its own heads.
    fn learn(
        &mut self,
        now: Time,
        id: PeerId,
        mut named: Vec<CommitHash>,
        set: HeadSet,
        is_complete: bool,
        graph: &CommitGraph,
    ) {
        let is_equal = set == self.ours();
        let Some(peer) = self.entry(id) else { return };
        peer.last_seen = Some(now);
        peer.failing = None;
        if is_active(Mutant::HeadDropped) {
            named.truncate(1);
        }
        if is_equal && !is_complete {
            peer.hear(graph.heads(), HeardFrom::FirstHand, graph);
            named = graph.heads().iter().take(HEADS_PER_MESSAGE_MAX).copied().collect();
        }
        peer.learn(now, named, set, is_complete || is_equal, graph);
    }

    /// Takes the answer to a request for heads; returns who answered with good heads.
    pub(super) fn end_request(
        &mut self,
        now: Time,
        op: OpId,
        answer: Option<HeadsAnswer>,
        graph: &CommitGraph,
        jitter: &mut Jitter,
    ) -> Option<PeerId> {
        let id = self.requests.remove(&op)?;
        let peer = self.map.get_mut(&id)?;
        peer.request_op = None;
        let asked_after = peer.asked_after.take();
        let is_next = |page: &HeadsAnswer| {
            asked_after.is_none_or(|after| page.page.heads.first().is_none_or(|head| *head > after))
        };
        let Some(HeadsAnswer { page, main }) = answer.filter(is_next) else {
            peer.page_after = None;
            peer.request_retry.fail(now, jitter);
            peer.request_due = peer.request_retry.deadline().unwrap_or(now);
            peer.failing = Some("it did not answer a request for its heads");
            return None;
        };
        peer.request_retry.reset();
        peer.main_seen = main;
        peer.page_after = page.heads.last().copied().filter(|_| page.more);
        let is_urgent = std::mem::take(&mut peer.urgent);
        let is_complete = asked_after.is_none() && page.set.count == page.heads.len() as u64;
        self.tellers.asked(now, id, &page.heads, is_urgent, graph);
        self.learn(now, id, page.heads, page.set, is_complete, graph);
        let (is_partial, ours) = (self.tellers.is_partial(), self.ours());
        let peer = self.map.get_mut(&id)?;
        // With many peers a question after each advert would double what a commit costs.
        let wait = if is_partial { ANTI_ENTROPY_INTERVAL } else { peer.next_question(&ours) };
        peer.request_due = now + jitter.stretch(wait);
        if page.more && peer.has_room() {
            peer.request_due = now;
        }
        if is_active(Mutant::NoAntiEntropy) {
            peer.request_due = now + REJECTED_RETRY_DELAY_MAX;
        }
        if is_complete && !peer.has_unknown_heads(now) {
            // It said itself what it has. What others said a while ago that they told it, it has
            // not got.
            peer.doubt_hearsay(now);
        }
        if peer.asks_again {
            peer.request_due = now;
        }
        Some(id)
    }

    pub(super) fn end_advert(
        &mut self,
        now: Time,
        op: OpId,
        result: Result<AdvertReply, ()>,
        graph: &CommitGraph,
        jitter: &mut Jitter,
    ) {
        let Some((id, heads)) = self.adverts.remove(&op) else { return };
        let Some(peer) = self.map.get_mut(&id) else { return };
        peer.advert_op = None;
        if let Ok(reply) = result {
            peer.advert_retry.reset();
            peer.failing = None;
            peer.last_seen = Some(now);
            peer.hear(&heads, HeardFrom::FirstHand, graph);
            peer.confirms = 0;
            if !self.tellers.is_partial() && !is_active(Mutant::NoAntiEntropy) {
                peer.ask_within(now, CONFIRM_DELAY, jitter);
            }
            if reply.duplicate {
                self.tellers.had(id, &heads);
                self.unwanted(&id);
            }
        } else {
            peer.advert_retry.fail(now, jitter);
            peer.failing = Some("it did not take an advert");
        }
    }

    /// The set of this node's heads changed: `inserted` is new in the graph, and `gone` are no
    /// heads any more.
    pub(super) fn heads_changed(
        &mut self,
        inserted: &[CommitHash],
        gone: &[CommitHash],
        graph: &CommitGraph,
    ) {
        self.ours = Some(HeadSet::of(graph.heads()));
        for peer in self.map.values_mut() {
            peer.heads_changed(inserted, gone, graph);
        }
    }

    /// A pull from the peer brought all that it was to bring: the next page of its heads is asked
    /// for.
    pub(super) fn pulled(&mut self, now: Time, id: &PeerId) {
        if let Some(peer) = self.map.get_mut(id).filter(|peer| peer.page_after.is_some()) {
            peer.request_due = now;
        }
    }

    /// Main moved, which is nobody's business.
    pub(super) fn main_moved(&mut self) {
        if is_active(Mutant::StormOnMove) {
            self.map.values_mut().for_each(Peer::forget_known);
        }
    }

    /// A person wants to be in step now.
    pub(super) fn hurry(&mut self, now: Time, id: Option<PeerId>) {
        let all = self.map.iter_mut().filter(|(other, _)| id.is_none_or(|id| id == **other));
        for (_, peer) in all {
            peer.request_due = now;
            peer.urgent = true;
            peer.source.hurry();
        }
    }

    /// Compares mains with a peer whose heads are the same. True once for each lasting difference.
    pub(super) fn disagrees(
        &mut self,
        now: Time,
        id: &PeerId,
        ours: CommitHash,
        theirs: CommitHash,
    ) -> bool {
        let Some(peer) = self.map.get_mut(id) else { return false };
        if ours == theirs {
            peer.differing = None;
            return false;
        }
        match &mut peer.differing {
            Some(known) if (known.ours, known.theirs) == (ours, theirs) => {
                let lasts = now - known.since >= DISAGREEMENT_DELAY;
                let said = known.said;
                known.said |= lasts;
                lasts && !said
            }
            differing => {
                // It may be folding still: look again before anything is said.
                *differing = Some(Differing { ours, theirs, since: now, said: false });
                peer.request_due = peer.request_due.min(now + DISAGREEMENT_DELAY);
                false
            }
        }
    }

    /// Whether the peer has exactly this node's heads.
    pub(super) fn is_in_sync(&self, id: &PeerId) -> bool {
        self.get(id).is_some_and(|peer| peer.has_exactly(&self.ours()))
    }

    /// Asks whom it is time to ask, and tells who may lack something.
    pub(super) fn drive(&mut self, now: Time, graph: &CommitGraph, outbox: &mut Outbox) {
        while let Some(id) = self.tellers.next_graft(now) {
            if self.tellers.is_partial() {
                self.want(now, &id);
            }
        }
        let ours = self.ours();
        for (id, peer) in self.map.iter_mut().filter(|(_, peer)| peer.connected) {
            if peer.request_op.is_none() && peer.request_due <= now {
                peer.asks_again = false;
                let after = peer.page_after.filter(|_| peer.has_room());
                peer.asked_after = after;
                let request = HeadRequest { tell: peer.wants, set: Some(ours), after };
                let op = outbox.start(|op| Output::RequestHeads { op, peer: *id, request });
                peer.request_op = Some(op);
                self.requests.insert(op, *id);
            }
            if peer.is_deferring() && !peer.has_unknown_heads(now) {
                peer.stop_deferring();
            }
            if peer.source.failing.is_some() && peer.unknown.is_empty() {
                peer.source.forgive();
            }
            peer.refresh_news(graph);
        }
        self.advertise(now, graph, outbox);
    }

    fn advertise(&mut self, now: Time, graph: &CommitGraph, outbox: &mut Outbox) {
        let (ours, adverts) = (self.ours(), &self.adverts);
        let is_target = |peer: &Peer| {
            let under_way = peer.advert_op.and_then(|op| adverts.get(&op));
            let under_way = under_way.map(|(_, heads)| heads.as_slice()).unwrap_or_default();
            peer.advert_retry.is_ready(now) && peer.lacks(under_way)
        };
        let targets: Vec<PeerId> =
            self.connected().filter(|(_, peer)| is_target(peer)).map(|(id, _)| id).collect();
        let names_all = ours.count <= HEADS_ADVERTISED_MAX as u64;
        for id in &targets {
            let Some(peer) = self.map.get(id).filter(|peer| peer.advert_op.is_none()) else {
                continue;
            };
            let named = if names_all { graph.heads() } else { peer.news() };
            let heads: Vec<CommitHash> =
                named.iter().take(HEADS_PER_MESSAGE_MAX).copied().collect();
            // One whose advert is under way gets a newer one right after it: it counts as told.
            let is_told = |other: &&PeerId| {
                names_all
                    || self
                        .map
                        .get(*other)
                        .is_some_and(|other| heads.iter().all(|head| other.news().contains(head)))
            };
            let told = targets.iter().filter(is_told).take(ADVERT_TOLD_MAX).copied().collect();
            let advert = Advert { heads: heads.clone(), set: ours, told };
            let id = *id;
            let Some(peer) = self.map.get_mut(&id) else { continue };
            let op = outbox.start(|op| Output::Advertise { op, peer: id, advert });
            peer.advert_op = Some(op);
            self.adverts.insert(op, (id, heads));
        }
    }

    /// When to look again, of what waits for time alone.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Time> {
        let peers = self.connected().flat_map(|(_, peer)| {
            let request = Some(peer.request_due).filter(|_| peer.request_op.is_none());
            let advert = peer.advert_retry.deadline();
            let advert = advert.filter(|_| peer.advert_op.is_none() && peer.lacks(&[]));
            request.into_iter().chain(advert)
        });
        peers.chain(self.tellers.deadline())
    }
}
