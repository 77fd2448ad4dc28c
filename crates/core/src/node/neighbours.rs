//! Whom to be linked to: all of few peers, or some of many, chosen at random.
//!
//! In a large swarm each node keeps a bounded number of links, its neighbours, and a larger set of
//! peers in mind to take the place of those that vanish: the active and the passive view of
//! HyParView (Leitão, Pereira, Rodrigues: "HyParView: a membership protocol for reliable
//! gossip-based broadcast", DSN 2007). Here the passive view is filled by the peer records in
//! answers to requests for heads.
//!
//! Of the peers some are hubs (see [`super::hubs`]). A hub looks for other hubs, any other node
//! for some of both.
//!
//! Invariants:
//! - With a partial view a hub dials until it is linked to [`HUB_NEIGHBOURS_TARGET`] hubs; another
//!   node until it has [`NEIGHBOURS_TARGET`] neighbours, [`UPLINKS_TARGET`] hubs among them. A hub
//!   that knows too few does as others do. Some are let go where there have been too many for a
//!   while.
//! - Links go on being made at random, slowly: two parts of a swarm that were apart for long, each
//!   with neighbours enough, are linked again.

use super::dialer::{Dialer, Links, State, Target};
use crate::id::PeerId;
use crate::limits::{
    DIAL_TARGETS_MAX, HUB_NEIGHBOURS_MAX, HUB_NEIGHBOURS_TARGET, HUB_QUICK_SWAP_INTERVAL,
    HUB_QUICK_SWAPS_MAX, NEIGHBOUR_SWAP_INTERVAL, NEIGHBOURS_EXCESS_DELAY,
    NEIGHBOURS_FULL_MESH_MAX, NEIGHBOURS_MAX, NEIGHBOURS_TARGET, UPLINKS_TARGET,
    VISITS_AT_ONCE_MAX,
};
use crate::time::Time;

/// Which of the peers that it knows a node is linked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum View {
    /// To all of them, where they can be reached.
    #[default]
    Full,
    /// To some of them.
    Partial,
}

impl Dialer {
    /// Which of the known peers this node is linked to.
    pub fn view(&self) -> View {
        if self.targets.len() > NEIGHBOURS_FULL_MESH_MAX { View::Partial } else { View::Full }
    }

    /// Whether the peer is kept in mind.
    pub fn knows(&self, peer: &PeerId) -> bool {
        self.targets.contains_key(peer)
    }

    /// How many peers are kept in mind.
    pub fn known(&self) -> usize {
        self.targets.len()
    }

    /// How many peers this node is linked to.
    pub fn links(&self) -> usize {
        self.links.linked
    }

    /// The next neighbour to dial: one that did not fail where there are too few, anyone where the
    /// time has come to know somebody else.
    pub(super) fn next_neighbour(&mut self, now: Time) -> Option<PeerId> {
        if self.wants_any() {
            let wants_hubs = self.wants_hubs();
            let ready = |target: &&Target| target.is_free(now) && self.wants(target);
            // Hubs have links enough, where it need not be one.
            let order = |target: &Target| (target.failures(), target.is_hub != wants_hubs);
            if let Some(least) = self.targets.values().filter(ready).map(order).min() {
                return self.pick(|_, target| target.is_free(now) && order(target) == least);
            }
        }
        if self.surplus(|links| links.all()) > 0 || self.swap_due > now {
            return None;
        }
        self.swap_later(now);
        let hub = self.pick(|_, target| target.is_free(now) && target.is_hub);
        if self.is_hub && (hub.is_some() || self.links.all() > NEIGHBOURS_MAX) {
            return hub;
        }
        self.pick(|_, target| target.is_free(now))
    }

    /// How many hubs this node wants to be linked to.
    fn hubs_target(&self) -> usize {
        if self.is_hub { HUB_NEIGHBOURS_TARGET } else { UPLINKS_TARGET }
    }

    fn wants_hubs(&self) -> bool {
        self.hub_links.all() < self.hubs_target()
    }

    /// Whether this node has too few links of some kind.
    pub(super) fn wants_any(&self) -> bool {
        self.wants_hubs() || self.links.all() < NEIGHBOURS_TARGET
    }

    /// Whether this node has too few links, and one to the target would do.
    pub(super) fn wants(&self, target: &Target) -> bool {
        (target.is_hub && self.wants_hubs()) || self.links.all() < NEIGHBOURS_TARGET
    }

    /// How many links a node has beyond those that it looks for, of the kind that makes its view.
    fn surplus(&self, count: impl Fn(&Links) -> usize) -> usize {
        match self.is_hub {
            true => count(&self.hub_links).saturating_sub(HUB_NEIGHBOURS_TARGET),
            false => count(&self.links).saturating_sub(NEIGHBOURS_TARGET),
        }
    }

    fn links_max(&self) -> usize {
        if self.is_hub { HUB_NEIGHBOURS_MAX } else { NEIGHBOURS_MAX }
    }
    /// A target at random of those that hold.
    fn pick(&mut self, holds: impl Fn(&PeerId, &Target) -> bool) -> Option<PeerId> {
        let count = self.targets.iter().filter(|(peer, target)| holds(peer, target)).count();
        let number = self.jitter.below(u64::try_from(count).ok().filter(|count| *count > 0)?);
        let mut fitting = self.targets.iter().filter(|(peer, target)| holds(peer, target));
        fitting.nth(usize::try_from(number).ok()?).map(|(peer, _)| *peer)
    }

    pub(super) fn swap_later(&mut self, now: Time) {
        // A hub that is new has linked itself to the few that it had heard of.
        let is_new = self.is_hub && self.swaps < HUB_QUICK_SWAPS_MAX;
        let interval = if is_new { HUB_QUICK_SWAP_INTERVAL } else { NEIGHBOUR_SWAP_INTERVAL };
        self.swaps = self.swaps.saturating_add(1);
        self.swap_due = now + self.jitter.stretch(interval);
    }

    /// The next link to close now, where there are more than needed. `is_spare` says whether
    /// adverts and pulls can do without the link. It is gone where
    /// [`handle_disconnected`](Self::handle_disconnected) says so.
    #[must_use]
    pub fn poll_close(&mut self, now: Time, is_spare: impl Fn(&PeerId) -> bool) -> Option<PeerId> {
        let peer = self.left.pop_first().or_else(|| match self.view() {
            View::Full => None,
            View::Partial => self.next_excess(now, is_spare),
        })?;
        self.set(&peer, State::Closing);
        Some(peer)
    }

    fn next_excess(&mut self, now: Time, is_spare: impl Fn(&PeerId) -> bool) -> Option<PeerId> {
        let too_many =
            self.excess_since.is_some_and(|since| since + NEIGHBOURS_EXCESS_DELAY <= now);
        let surplus = self.surplus(|links| links.linked);
        if !too_many && (surplus == 0 || self.swap_due > now) {
            return None;
        }
        self.swap_later(now);
        // The newest may be somebody who knows nobody else.
        let linked = self.targets.iter().filter(|(_, target)| target.state == State::Connected);
        let newest = linked.max_by_key(|(peer, target)| (target.since, **peer))?.0;
        let (newest, visits) = (*newest, self.visits.clone());
        let may_go = |peer: &PeerId, target: &Target| {
            target.state == State::Connected && *peer != newest && !visits.contains(peer)
        };
        let spare = if too_many || !self.is_hub {
            self.pick(|peer, target| may_go(peer, target) && is_spare(peer))
        } else {
            let hubs = self
                .targets
                .iter()
                .filter(|(peer, target)| target.is_hub && may_go(peer, target) && is_spare(peer));
            // The newer ones come from a wider choice, and mix the graph that news floods.
            hubs.min_by_key(|(peer, target)| (target.since, **peer)).map(|(peer, _)| *peer)
        };
        let goes = spare.or_else(|| if too_many { self.pick(may_go) } else { None });
        if too_many && goes.is_none() {
            self.excess_since = Some(now);
        }
        goes
    }

    /// When the view has to be looked at again.
    pub(super) fn view_deadline(&self) -> Option<Time> {
        let excess = self.excess_since.map(|since| since + NEIGHBOURS_EXCESS_DELAY);
        let is_settled = self.surplus(|links| links.all()) == 0;
        let swap = (is_settled || self.surplus(|links| links.linked) > 0).then_some(self.swap_due);
        excess.into_iter().chain(swap).min()
    }

    /// Makes room for one more peer to keep in mind; says whether there is any.
    pub(super) fn make_room(&mut self) -> bool {
        if self.targets.len() < DIAL_TARGETS_MAX {
            return true;
        }
        let (targets, visits) = (&self.targets, self.visits.clone());
        let idle = |peer: &PeerId, target: &Target| {
            target.state == State::Waiting && !visits.contains(peer)
        };
        let failing = targets.iter().filter(|(peer, target)| idle(peer, target));
        let Some(most) = failing.map(|(_, target)| target.failures()).max() else { return false };
        let goes = self.pick(|peer, target| idle(peer, target) && target.failures() == most);
        goes.is_some_and(|peer| self.targets.remove(&peer).is_some())
    }

    /// Peers worth telling others of: all of few, or at most `most` at random, and none that failed
    /// last.
    pub fn sample(&mut self, most: usize) -> Vec<PeerId> {
        let most = if self.view() == View::Full { usize::MAX } else { most };
        let good = self.targets.iter().filter(|(_, target)| target.failures() == 0);
        let mut chosen: Vec<PeerId> = Vec::new();
        for (number, (peer, _)) in good.enumerate() {
            if chosen.len() < most {
                chosen.push(*peer);
                continue;
            }
            // Each one so far is among the chosen with the same probability.
            let place = self.jitter.below(u64::try_from(number).map_or(u64::MAX, |n| n + 1));
            if let Some(slot) = usize::try_from(place).ok().and_then(|place| chosen.get_mut(place))
            {
                *slot = *peer;
            }
        }
        chosen
    }

    // Visits.

    /// Somebody wants to know of this peer, neighbour or not: it is dialled in its turn, and let go
    /// again after [`handle_visited`](Self::handle_visited). Says whether it is visited.
    pub fn handle_visit(&mut self, now: Time, peer: PeerId) -> bool {
        // Neither linked, nor waiting after a failure: those would keep others from their turn.
        let is_idle = self.targets.get(&peer).is_none_or(|target| target.is_due(now));
        if self.visits.len() >= VISITS_AT_ONCE_MAX || !is_idle {
            return false;
        }
        if !self.targets.contains_key(&peer) && !self.make_room() {
            return false;
        }
        self.target(peer);
        self.visits.insert(peer)
    }

    /// The peer said what one wanted to know. It stays where a neighbour is wanted.
    pub fn handle_visited(&mut self, peer: &PeerId) {
        let is_linked = |target: &Target| target.state == State::Connected;
        let spare = self.view() == View::Partial && self.links.linked > NEIGHBOURS_TARGET;
        if self.visits.remove(peer) && spare && self.targets.get(peer).is_some_and(is_linked) {
            self.left.insert(*peer);
        }
    }

    /// Sets a target's state and counts the links.
    pub(super) fn set(&mut self, peer: &PeerId, state: State) {
        let Some(target) = self.targets.get_mut(peer) else { return };
        let before = std::mem::replace(&mut target.state, state);
        self.links.change(before, state);
        if target.is_hub {
            self.hub_links.change(before, state);
        }
    }

    /// Notes since when there are too many links.
    pub(super) fn note_excess(&mut self, now: Time) {
        let too_many = self.links.linked > self.links_max();
        self.excess_since = self.excess_since.or(Some(now)).filter(|_| too_many);
    }
}
