//! Along which links adverts travel in a swarm of many: over all links between hubs, and over one
//! link of each other node to a hub.
//!
//! A link is *eager*, and carries adverts, where either end wants it; else it is *lazy*, and only
//! the regular questions for heads go over it, each of which says whether the asker wants the link.
//! One in [`HUB_SHARE`] peers is a *hub*: which ones follows from their ids, so all agree without a
//! word.
//!
//! Why so: telling each of n peers once costs n messages, and then ways are as long as the tree is
//! deep, twice. To flood a random graph of n nodes gives short ways and costs n messages for each
//! two links of a node. So a small part of the peers is flooded, which makes nearly all of the way,
//! and the others hang on it by one link each. Nothing has to be found first and nothing is to be
//! mended: hubs that vanish leave a random graph behind, and who lost its link to one takes
//! another.
//!
//! Invariants:
//! - With a full view every link is wanted.
//! - A hub wants all its links to hubs. Another node wants at least one link to a hub. Who is
//!   linked to no hub to count on *stands in*, and wants [`STAND_IN_LINKS`] to anyone.
//! - What a node wants beyond that, because a question showed what nobody had told, it wants until
//!   an advert over that link tells nothing new.

use super::neighbours::View;
use super::peer::{HeardFrom, Peer};
use super::peers::Peers;
use super::timers::Jitter;
use crate::graph::CommitGraph;
use crate::id::PeerId;
use crate::limits::{HUB_NEIGHBOURS_TARGET, HUB_SHARE, STAND_IN_LINKS};
use crate::message::HeadRequest;
use crate::time::Time;

/// Whether the peer passes news on for others in a swarm of many.
pub fn is_hub(peer: &PeerId) -> bool {
    let mut hasher = blake3::Hasher::new_derive_key("doltswarm v1 hub");
    let hash = hasher.update(peer.as_bytes()).finalize();
    hash.as_bytes()[0].is_multiple_of(HUB_SHARE)
}

impl Peers {
    /// Whether the node is linked to all peers it knows, or to some. Says whether that is new.
    pub(super) fn set_view(&mut self, now: Time, view: View, jitter: &mut Jitter) -> bool {
        if self.tellers.view == view {
            return false;
        }
        self.tellers.view = view;
        self.stands_in = false;
        let (is_full, is_hub_here) = (view == View::Full, self.is_hub);
        for (_, peer) in self.iter_mut().filter(|(_, peer)| peer.connected) {
            peer.wants = is_full || (is_hub_here && peer.is_hub);
            // Until its next question says so.
            peer.is_wanted = true;
        }
        self.settle(now, jitter);
        true
    }

    /// A peer is connected.
    pub(super) fn link(&mut self, now: Time, id: PeerId, jitter: &mut Jitter) {
        let (is_full, is_hub_here) = (!self.tellers.is_partial(), self.is_hub);
        if let Some(peer) = self.get_mut(&id) {
            peer.wants = is_full || (is_hub_here && peer.is_hub);
            peer.urgent = !is_full && peer.wants;
        }
        self.settle(now, jitter);
    }

    /// Sees to it that adverts come, after links came up or are gone.
    pub(super) fn settle(&mut self, now: Time, jitter: &mut Jitter) {
        if !self.tellers.is_partial() {
            return;
        }
        if !self.has_uplink_beside(None) {
            if let Some(hub) = self.pick(jitter, |peer| peer.is_hub) {
                self.want(now, &hub);
            } else {
                self.stands_in = true;
                while self.wanted_beside(None) < STAND_IN_LINKS
                    && let Some(other) = self.pick(jitter, |peer| !peer.wants)
                {
                    self.want(now, &other);
                }
            }
        }
        if self.stands_in && self.has_uplink_beside(None) {
            self.stands_in = false;
            let others = self.iter_mut().filter(|(_, peer)| !peer.is_hub);
            others.for_each(|(_, peer)| peer.wants = false);
        }
    }

    /// Whether a hub tells this node news, other than this one.
    fn has_uplink_beside(&self, without: Option<&PeerId>) -> bool {
        let is_other = |id: &PeerId| Some(id) != without;
        self.connected().any(|(id, peer)| is_other(&id) && peer.is_hub && peer.wants)
    }

    /// How many links this node wants, other than this one.
    fn wanted_beside(&self, without: Option<&PeerId>) -> usize {
        self.connected().filter(|(id, peer)| Some(id) != without && peer.wants).count()
    }

    /// A connected peer at random of those that hold.
    fn pick(&self, jitter: &mut Jitter, holds: impl Fn(&Peer) -> bool) -> Option<PeerId> {
        let fitting = || self.connected().filter(|(_, peer)| holds(peer));
        let number = jitter.below(u64::try_from(fitting().count()).ok().filter(|n| *n > 0)?);
        fitting().nth(usize::try_from(number).ok()?).map(|(id, _)| id)
    }

    /// Wants to be told by the peer, which is asked at once.
    pub(super) fn want(&mut self, now: Time, id: &PeerId) {
        if let Some(peer) = self.get_mut(id).filter(|peer| peer.connected && !peer.wants) {
            peer.want(now);
        }
    }

    /// Wants to be told by anyone: who told so far is gone, or is no good.
    pub(super) fn want_all(&mut self, now: Time) {
        if self.tellers.is_partial() {
            let others = self.iter_mut().filter(|(_, peer)| peer.connected && !peer.wants);
            others.for_each(|(_, peer)| peer.want(now));
        }
    }

    /// A peer told what others had told before. Says whether the link can do without adverts, which
    /// its answer tells the peer.
    pub(super) fn told_twice(&mut self, id: &PeerId) -> bool {
        let can_do_without = self.has_uplink_beside(Some(id))
            || (self.stands_in && self.wanted_beside(Some(id)) >= STAND_IN_LINKS);
        let is_hub = self.is_hub;
        let Some(peer) = self.get_mut(id) else { return true };
        if can_do_without && !(is_hub && peer.is_hub) {
            peer.wants = false;
        }
        !peer.wants
    }

    /// The peer needs no adverts over this link.
    pub(super) fn unwanted(&mut self, id: &PeerId) {
        if self.tellers.is_partial()
            && let Some(peer) = self.get_mut(id)
        {
            peer.is_wanted = false;
        }
    }

    /// A peer asks for the heads, and says whether it wants to be told of new ones.
    pub(super) fn take_request(
        &mut self,
        now: Time,
        id: &PeerId,
        request: HeadRequest,
        graph: &CommitGraph,
    ) {
        if !self.tellers.is_partial() {
            return;
        }
        // It may be connected a moment later: its end of the link came up first.
        let Some(peer) = self.entry(*id) else { return };
        if request.tell && peer.connected && !peer.is_eager() {
            // The answer tells it these.
            peer.hear(graph.heads(), HeardFrom::HearSay(now), graph);
        }
        peer.is_wanted = request.tell;
    }

    /// Whether adverts can do without the link to the peer.
    pub(super) fn is_spare(&self, id: &PeerId) -> bool {
        let is_among_hubs = |peer: &Peer| self.is_hub && peer.is_hub;
        let among_hubs = || self.connected().filter(|(_, peer)| is_among_hubs(peer)).count();
        self.get(id).is_some_and(|peer| match is_among_hubs(peer) {
            true => self.tellers.is_partial() && among_hubs() > HUB_NEIGHBOURS_TARGET,
            false => !peer.is_eager(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::timers::Outbox;
    use super::*;

    /// The first ids that are hubs, or are not.
    fn ids(hubs: bool) -> impl Iterator<Item = PeerId> {
        let all = (0..=u8::MAX).map(|byte| PeerId::from_bytes([byte; 32]));
        all.filter(move |id| is_hub(id) == hubs)
    }

    /// The peers of a node with a partial view, that is linked to these.
    fn linked(me: &PeerId, to: &[PeerId]) -> Peers {
        let (mut peers, mut outbox) = (Peers::new(me, &CommitGraph::default()), Outbox::new(1));
        peers.set_view(Time::ZERO, View::Partial, &mut outbox.jitter);
        for id in to {
            peers.connect(Time::ZERO, *id, &CommitGraph::default(), &mut outbox);
        }
        peers
    }

    fn wanted(peers: &Peers) -> Vec<PeerId> {
        peers.connected().filter(|(_, peer)| peer.wants).map(|(id, _)| id).collect()
    }

    #[test]
    fn a_hub_wants_hubs_and_another_node_one_of_them() {
        let all: Vec<PeerId> = ids(true).take(4).chain(ids(false).take(4)).collect();
        let hub = linked(&ids(true).nth(9).unwrap(), &all);
        assert!(wanted(&hub).iter().eq(all.iter().filter(|id| is_hub(id))));
        let other = linked(&ids(false).nth(9).unwrap(), &all);
        assert_eq!(wanted(&other).len(), 1);
        assert!(is_hub(&wanted(&other)[0]));
        // Whoever was wanted before there was a hub is not any more.
        let late: Vec<PeerId> = all.iter().rev().copied().collect();
        let other = linked(&ids(false).nth(9).unwrap(), &late);
        assert!(wanted(&other).len() == 1 && is_hub(&wanted(&other)[0]));
    }

    #[test]
    fn who_loses_its_hub_takes_another_and_stands_in_without_one() {
        let hubs: Vec<PeerId> = ids(true).take(2).collect();
        let all: Vec<PeerId> = hubs.iter().copied().chain(ids(false).take(5)).collect();
        let mut peers = linked(&ids(false).nth(9).unwrap(), &all);
        let mut outbox = Outbox::new(1);
        for left in [1, STAND_IN_LINKS] {
            let [uplink] = wanted(&peers)[..] else { panic!("one hub is wanted") };
            peers.disconnect(Time::ZERO, uplink, &mut outbox);
            assert_eq!(wanted(&peers).len(), left);
        }
        peers.connect(Time::ZERO, hubs[0], &CommitGraph::default(), &mut outbox);
        assert_eq!(wanted(&peers), hubs[..1]);
    }

    #[test]
    fn what_is_told_twice_ends_a_spare_wish_and_never_the_last() {
        let hubs: Vec<PeerId> = ids(true).take(2).collect();
        let mut peers = linked(&ids(false).nth(9).unwrap(), &hubs);
        hubs.iter().for_each(|hub| peers.want(Time::ZERO, hub));
        assert!(peers.told_twice(&hubs[0]), "the other one is left");
        assert!(!peers.told_twice(&hubs[1]), "no other one is left");
        assert_eq!(wanted(&peers), hubs[1..]);
        // Two hubs need each other whatever they tell.
        let mut peers = linked(&ids(true).nth(9).unwrap(), &hubs);
        assert!(!peers.told_twice(&hubs[0]));
        assert_eq!(wanted(&peers), hubs);
    }

    #[test]
    fn a_wish_that_comes_before_the_link_counts() {
        let (mut peers, mut outbox) = (linked(&ids(true).nth(9).unwrap(), &[]), Outbox::new(1));
        let other = ids(false).next().unwrap();
        let (graph, request) =
            (CommitGraph::default(), HeadRequest { tell: true, ..HeadRequest::default() });
        peers.take_request(Time::ZERO, &other, request, &graph);
        peers.connect(Time::ZERO, other, &graph, &mut outbox);
        assert!(peers.get(&other).unwrap().is_wanted);
        peers.take_request(Time::ZERO, &other, HeadRequest::default(), &graph);
        assert!(!peers.get(&other).unwrap().is_wanted);
    }
}
