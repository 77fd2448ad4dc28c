//! Which peer to dial when: at once when an address is learned, then with backoff.
//!
//! Invariants:
//! - A peer is never dialled while a dial or a connection to it is under way.
//! - A peer that is known, not connected and not being dialled is always due at some time.

use std::collections::BTreeMap;

use super::timers::{Backoff, Jitter};
use crate::id::PeerId;
use crate::limits::PEERS_MAX;
use crate::time::Time;

/// Keeps connections to the known peers alive.
///
/// Inputs are the `handle_*` methods; [`poll_dial`](Self::poll_dial) says whom to dial and
/// [`poll_timeout`](Self::poll_timeout) when to ask again. Each dial is answered by
/// [`handle_connected`](Self::handle_connected) or [`handle_failed`](Self::handle_failed).
#[derive(Debug, Clone)]
pub struct Dialer {
    targets: BTreeMap<PeerId, Target>,
    jitter: Jitter,
}

#[derive(Debug, Clone, Default)]
struct Target {
    state: State,
    backoff: Backoff,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum State {
    /// To be dialled when the backoff says so.
    #[default]
    Waiting,
    /// From the dial until its answer.
    Dialing,
    /// While there is a connection, whoever dialled.
    Connected,
}

impl Dialer {
    /// A dialer that knows nobody. The seed only spreads peers in time.
    pub fn new(seed: u64) -> Self {
        Self { targets: BTreeMap::new(), jitter: Jitter::new(seed) }
    }

    /// An address of the peer was learned: dials at once, unless connected.
    ///
    /// Beyond [`PEERS_MAX`] a new peer is not kept.
    pub fn handle_known(&mut self, _now: Time, peer: PeerId) {
        if self.targets.len() >= PEERS_MAX && !self.targets.contains_key(&peer) {
            return;
        }
        self.targets.entry(peer).or_default().backoff.reset();
    }

    /// There is a connection, whoever dialled.
    pub fn handle_connected(&mut self, _now: Time, peer: PeerId) {
        if let Some(target) = self.targets.get_mut(&peer) {
            target.state = State::Connected;
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
        self.targets.remove(peer);
    }

    fn fail(&mut self, now: Time, peer: &PeerId) {
        if let Some(target) = self.targets.get_mut(peer) {
            target.state = State::Waiting;
            target.backoff.fail(now, &mut self.jitter);
        }
    }

    /// The next peer to dial now.
    #[must_use]
    pub fn poll_dial(&mut self, now: Time) -> Option<PeerId> {
        let due = |target: &Target| target.state == State::Waiting && target.backoff.is_ready(now);
        let (peer, target) = self.targets.iter_mut().find(|(_, target)| due(target))?;
        target.state = State::Dialing;
        Some(*peer)
    }

    /// When to ask for the next dial; `None` where nobody waits.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let waiting = self.targets.values().filter(|target| target.state == State::Waiting);
        waiting.map(|target| target.backoff.deadline().unwrap_or(Time::ZERO)).min()
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
