//! Which peer to dial when: at once when an address is learned, then with backoff.
//!
//! Invariants:
//! - A peer is never dialled while a dial or a connection to it is under way.
//! - A peer that is wanted, not connected and not being dialled is always due at some time.

use std::collections::{BTreeMap, BTreeSet};

use super::hubs::is_hub;
use super::neighbours::View;
use super::timers::{Backoff, Jitter};
use crate::id::PeerId;
use crate::limits::NEIGHBOUR_SWAP_INTERVAL;
use crate::time::Time;

/// Keeps connections alive: to all known peers, or to a few neighbours where there are many.
///
/// Inputs are the `handle_*` methods; [`poll_dial`](Self::poll_dial) says whom to dial,
/// [`poll_close`](Self::poll_close) whom to let go and [`poll_timeout`](Self::poll_timeout) when to
/// ask again. Each dial is answered by [`handle_connected`](Self::handle_connected) or
/// [`handle_failed`](Self::handle_failed).
#[derive(Debug, Clone)]
pub struct Dialer {
    pub(super) targets: BTreeMap<PeerId, Target>,
    pub(super) jitter: Jitter,
    /// Whether this node is a hub.
    pub(super) is_hub: bool,
    /// The links to all, and those to hubs.
    pub(super) links: Links,
    pub(super) hub_links: Links,
    /// Since when there are too many links.
    pub(super) excess_since: Option<Time>,
    /// When to make a link beyond those needed, or to end one.
    pub(super) swap_due: Time,
    /// How often it was time for that.
    pub(super) swaps: u32,
    /// Whom somebody wants to know of.
    pub(super) visits: BTreeSet<PeerId>,
    /// Whose visit is over, and who is not wanted as a neighbour.
    pub(super) left: BTreeSet<PeerId>,
}

/// How many links there are to some peers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Links {
    /// How many are connected.
    pub(super) linked: usize,
    /// How many are being dialled.
    pub(super) dialing: usize,
}

impl Links {
    pub(super) fn all(self) -> usize {
        self.linked + self.dialing
    }

    /// Counts what becomes of one of them.
    pub(super) fn change(&mut self, from: State, to: State) {
        for (counted, count) in
            [(State::Connected, &mut self.linked), (State::Dialing, &mut self.dialing)]
        {
            *count = *count + usize::from(to == counted) - usize::from(from == counted);
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) state: State,
    pub(super) is_hub: bool,
    /// When it was last connected.
    pub(super) since: Time,
    /// Until when it is no neighbour again, though it may be visited.
    alone_until: Time,
    backoff: Backoff,
}

impl Target {
    fn new(peer: &PeerId) -> Self {
        Self {
            state: State::Waiting,
            is_hub: is_hub(peer),
            since: Time::ZERO,
            alone_until: Time::ZERO,
            backoff: Backoff::default(),
        }
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        self.state == State::Waiting && self.backoff.is_ready(now)
    }

    /// Whether it may be dialled as a neighbour.
    pub(super) fn is_free(&self, now: Time) -> bool {
        self.is_due(now) && self.alone_until <= now
    }

    /// How often in a row it failed.
    pub(super) fn failures(&self) -> u32 {
        self.backoff.failures()
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum State {
    /// To be dialled when the backoff says so.
    #[default]
    Waiting,
    /// From the dial until its answer.
    Dialing,
    /// While there is a connection, whoever dialled.
    Connected,
    /// From the decision to close the connection until it is gone.
    Closing,
}

impl Dialer {
    /// The dialer of a node that knows nobody. The seed spreads peers in time, and chooses
    /// neighbours.
    pub fn new(me: &PeerId, seed: u64) -> Self {
        let mut dialer = Self {
            targets: BTreeMap::new(),
            jitter: Jitter::new(seed),
            is_hub: is_hub(me),
            links: Links::default(),
            hub_links: Links::default(),
            excess_since: None,
            swap_due: Time::ZERO,
            swaps: 0,
            visits: BTreeSet::new(),
            left: BTreeSet::new(),
        };
        dialer.swap_later(Time::ZERO);
        dialer
    }

    /// An address of the peer was learned: it is dialled at once where it is wanted.
    pub fn handle_known(&mut self, _now: Time, peer: PeerId) {
        if self.targets.contains_key(&peer) || self.make_room() {
            self.target(peer).backoff.reset();
        }
    }

    /// There is a connection, whoever dialled.
    pub fn handle_connected(&mut self, now: Time, peer: PeerId) {
        if self.targets.contains_key(&peer) || self.make_room() {
            self.target(peer).since = now;
            self.set(&peer, State::Connected);
            self.note_excess(now);
        }
    }

    /// The peer, kept in mind from here on.
    pub(super) fn target(&mut self, peer: PeerId) -> &mut Target {
        self.targets.entry(peer).or_insert_with(|| Target::new(&peer))
    }

    /// The connection is gone: dials again after a short wait, and a longer one each time in a row.
    /// With a partial view a link that did not last is left alone for a while: there are others.
    pub fn handle_disconnected(&mut self, now: Time, peer: PeerId) {
        self.fail(now, &peer);
        let (is_partial, jitter) = (self.view() == View::Partial, &mut self.jitter);
        if let Some(target) = self.targets.get_mut(&peer)
            && is_partial
            && now - target.since < NEIGHBOUR_SWAP_INTERVAL
        {
            // It has too many links. To come back at once would only push out another.
            target.alone_until = now + jitter.stretch(NEIGHBOUR_SWAP_INTERVAL);
        }
    }

    /// A dial failed.
    pub fn handle_failed(&mut self, now: Time, peer: PeerId) {
        let dialing = |target: &Target| target.state == State::Dialing;
        // The answer to a dial that an inbound connection overtook says nothing.
        if self.targets.get(&peer).is_some_and(dialing) {
            self.fail(now, &peer);
        }
    }

    /// The peer talked sense: the next wait is short again.
    pub fn handle_healthy(&mut self, peer: &PeerId) {
        if let Some(target) = self.targets.get_mut(peer) {
            target.backoff.reset();
        }
    }

    /// Dials the peer no more.
    pub fn handle_forgotten(&mut self, peer: &PeerId) {
        self.set(peer, State::Waiting);
        self.targets.remove(peer);
        self.visits.remove(peer);
        self.left.remove(peer);
    }

    fn fail(&mut self, now: Time, peer: &PeerId) {
        self.set(peer, State::Waiting);
        self.note_excess(now);
        self.visits.remove(peer);
        self.left.remove(peer);
        if let Some(target) = self.targets.get_mut(peer) {
            target.backoff.fail(now, &mut self.jitter);
        }
    }

    /// The next peer to dial now.
    #[must_use]
    pub fn poll_dial(&mut self, now: Time) -> Option<PeerId> {
        let due = |peer: &&PeerId| self.targets.get(peer).is_some_and(|target| target.is_due(now));
        let visit = self.visits.iter().find(due).copied();
        let peer = visit.or_else(|| match self.view() {
            View::Full => {
                self.targets.iter().find(|(_, target)| target.is_due(now)).map(|(peer, _)| *peer)
            }
            View::Partial => self.next_neighbour(now),
        })?;
        self.set(&peer, State::Dialing);
        Some(peer)
    }

    /// When to ask for the next dial and the next link to close; `None` where nobody waits.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let is_partial = self.view() == View::Partial;
        let view = is_partial.then(|| self.view_deadline()).flatten();
        let wanted = |(peer, target): &(&PeerId, &Target)| {
            let is_wanted = !is_partial || self.wants(target) || self.visits.contains(peer);
            target.state == State::Waiting && is_wanted
        };
        if is_partial && !self.wants_any() && self.visits.is_empty() {
            return view;
        }
        let waiting = self.targets.iter().filter(wanted);
        let due = |(peer, target): (&PeerId, &Target)| {
            let due = target.backoff.deadline().unwrap_or(Time::ZERO);
            let is_alone = is_partial && !self.visits.contains(peer);
            if is_alone { due.max(target.alone_until) } else { due }
        };
        let dial = waiting.map(due).min();
        dial.into_iter().chain(view).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{RETRY_DELAY_MAX, RETRY_DELAY_MIN};

    const ME: PeerId = PeerId::from_bytes([0; 32]);
    const A: PeerId = PeerId::from_bytes([1; 32]);

    #[test]
    fn dials_once_then_waits_longer_each_time() {
        let mut dialer = Dialer::new(&ME, 1);
        let mut now = Time::ZERO;
        dialer.handle_known(now, A);
        assert_eq!(dialer.poll_dial(now), Some(A));
        assert_eq!(dialer.poll_dial(now), None);
        assert_eq!(dialer.poll_timeout(), None);
        let mut least = RETRY_DELAY_MIN;
        for _ in 0..20 {
            dialer.handle_failed(now, A);
            assert_eq!(dialer.poll_dial(now), None);
            let due = dialer.poll_timeout().expect("because the peer is known");
            assert!(due - now >= least && due - now <= RETRY_DELAY_MAX + RETRY_DELAY_MAX / 2);
            now = due;
            least = (least * 2).min(RETRY_DELAY_MAX);
            assert_eq!(dialer.poll_dial(now), Some(A));
        }
    }

    #[test]
    fn a_connection_stops_dialling_and_its_loss_starts_it_again() {
        let mut dialer = Dialer::new(&ME, 1);
        dialer.handle_known(Time::ZERO, A);
        assert_eq!(dialer.poll_dial(Time::ZERO), Some(A));
        // The peer dialled in meanwhile; our own dial fails late.
        dialer.handle_connected(Time::ZERO, A);
        dialer.handle_failed(Time::ZERO, A);
        assert_eq!(dialer.poll_timeout(), None);
        dialer.handle_healthy(&A);
        dialer.handle_disconnected(Time::ZERO, A);
        let due = dialer.poll_timeout().expect("because the peer is known");
        assert!(due - Time::ZERO <= RETRY_DELAY_MIN + RETRY_DELAY_MIN / 2);
        dialer.handle_forgotten(&A);
        assert_eq!(dialer.poll_timeout(), None);
    }

    #[test]
    fn a_link_that_did_not_last_is_left_alone_for_a_while_but_for_visits() {
        let mut dialer = Dialer::new(&ME, 1);
        let peers: Vec<PeerId> = (1..=20).map(|byte| PeerId::from_bytes([byte; 32])).collect();
        let now = Time::from_millis(100_000);
        for peer in &peers {
            dialer.handle_known(now, *peer);
            dialer.handle_connected(now, *peer);
            dialer.handle_healthy(peer);
        }
        for peer in &peers {
            dialer.handle_disconnected(now, *peer);
        }
        assert_eq!(dialer.poll_dial(now), None);
        let later = dialer.poll_timeout().expect("because links are wanted");
        assert!(later - now >= NEIGHBOUR_SWAP_INTERVAL, "{later:?}");
        let soon = now + RETRY_DELAY_MAX;
        assert_eq!(dialer.poll_dial(soon), None);
        assert!(dialer.handle_visit(soon, A));
        assert_eq!(dialer.poll_dial(soon), Some(A));
        let much_later = now + 2 * NEIGHBOUR_SWAP_INTERVAL;
        assert!(dialer.poll_dial(much_later).is_some_and(|peer| peer != A));
    }
}
