//! Which peer to dial when: at once when an address is learned, then with backoff.
//!
//! Invariants:
//! - A peer is never dialled while a dial or a connection to it is under way.
//! - A peer that is wanted, not connected and not being dialled is always due at some time.

use std::collections::{BTreeMap, BTreeSet};

use super::neighbours::View;
use super::timers::{Backoff, Jitter};
use crate::id::PeerId;
use crate::limits::NEIGHBOURS_TARGET;
use crate::time::Time;

/// Keeps connections alive: to all known peers, or to a few neighbours where there are many.
///
/// Inputs are the `handle_*` methods; [`poll_dial`](Self::poll_dial) says whom to dial,
/// [`poll_close`](Self::poll_close) whom to let go and [`poll_timeout`](Self::poll_timeout) when to ask
/// again. Each dial is answered by [`handle_connected`](Self::handle_connected) or
/// [`handle_failed`](Self::handle_failed).
#[derive(Debug, Clone)]
pub struct Dialer {
    pub(super) targets: BTreeMap<PeerId, Target>,
    pub(super) jitter: Jitter,
    /// How many targets are connected.
    pub(super) linked: usize,
    /// How many targets are being dialled.
    pub(super) dialing: usize,
    /// Since when there are too many links.
    pub(super) excess_since: Option<Time>,
    /// When to make a link beyond those needed, or to end one.
    pub(super) swap_due: Time,
    /// Whom somebody wants to know of.
    pub(super) visits: BTreeSet<PeerId>,
    /// Whose visit is over, and who is not wanted as a neighbour.
    pub(super) left: BTreeSet<PeerId>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Target {
    pub(super) state: State,
    /// When it was last connected.
    pub(super) since: Time,
    backoff: Backoff,
}

impl Target {
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.state == State::Waiting && self.backoff.is_ready(now)
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
    /// A dialer that knows nobody. The seed spreads peers in time, and chooses neighbours.
    pub fn new(seed: u64) -> Self {
        let mut dialer = Self {
            targets: BTreeMap::new(),
            jitter: Jitter::new(seed),
            linked: 0,
            dialing: 0,
            excess_since: None,
            swap_due: Time::ZERO,
            visits: BTreeSet::new(),
            left: BTreeSet::new(),
        };
        dialer.swap_later(Time::ZERO);
        dialer
    }

    /// An address of the peer was learned: it is dialled at once where it is wanted.
    pub fn handle_known(&mut self, _now: Time, peer: PeerId) {
        if self.targets.contains_key(&peer) || self.make_room() {
            self.targets.entry(peer).or_default().backoff.reset();
        }
    }

    /// There is a connection, whoever dialled.
    pub fn handle_connected(&mut self, now: Time, peer: PeerId) {
        if self.targets.contains_key(&peer) || self.make_room() {
            self.targets.entry(peer).or_default().since = now;
            self.set(&peer, State::Connected);
            self.note_excess(now);
        }
    }

    /// The connection is gone: dials again after a short wait, and a longer one each time in a row.
    pub fn handle_disconnected(&mut self, now: Time, peer: PeerId) {
        self.fail(now, &peer);
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
        let enough = is_partial && self.linked + self.dialing >= NEIGHBOURS_TARGET;
        let wanted = |(peer, target): &(&PeerId, &Target)| {
            target.state == State::Waiting && (!enough || self.visits.contains(peer))
        };
        if enough && self.visits.is_empty() {
            return view;
        }
        let waiting = self.targets.iter().filter(wanted);
        let dial = waiting.map(|(_, target)| target.backoff.deadline().unwrap_or(Time::ZERO)).min();
        dial.into_iter().chain(view).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{RETRY_DELAY_MAX, RETRY_DELAY_MIN};

    const A: PeerId = PeerId::from_bytes([1; 32]);

    #[test]
    fn dials_once_then_waits_longer_each_time() {
        let mut dialer = Dialer::new(1);
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
        let mut dialer = Dialer::new(1);
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
}
