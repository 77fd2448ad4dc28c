//! Who told a head first, in a swarm of many: what shows which links carry adverts twice, and which
//! should carry them and do not.
//!
//! Invariants:
//! - With a full view nothing is noted.
//! - Who told a head first is never said to have told it twice, however often it does.
//! - A head that an answer brought and that nobody tells within [`GRAFT_DELAY`] is pulled then, and
//!   whoever has it is wanted to tell.

use std::collections::{BTreeMap, VecDeque};

use super::neighbours::View;
use crate::graph::CommitGraph;
use crate::id::{CommitHash, PeerId};
use crate::limits::{GRAFT_DELAY, TELLERS_MAX};
use crate::time::Time;

/// Where heads were first heard of.
#[derive(Debug, Clone, Default)]
pub(super) struct Tellers {
    pub(super) view: View,
    map: BTreeMap<CommitHash, Teller>,
    /// The keys of `map`, the oldest first.
    order: VecDeque<CommitHash>,
    /// Heads that answers brought, and until when an advert may tell them.
    untold: VecDeque<(Time, CommitHash)>,
}

/// Where a head was first heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Teller {
    /// By whom.
    peer: PeerId,
    /// Whether the peer told it; else it was asked, and nobody has told it yet.
    told: bool,
    /// Whether the pull waits for somebody to tell it.
    held: bool,
}

impl Tellers {
    pub(super) fn is_partial(&self) -> bool {
        self.view == View::Partial
    }

    /// A peer told these heads; says whether others told them all before.
    pub(super) fn told(&mut self, peer: PeerId, heads: &[CommitHash], graph: &CommitGraph) -> bool {
        if !self.is_partial() {
            return false;
        }
        let mut news = false;
        for head in heads {
            match self.map.get(head) {
                // An own commit, or an old one.
                None if graph.contains(head) => {}
                Some(first) if first.told => news |= first.peer == peer,
                _ => {
                    self.note(*head, Teller { peer, told: true, held: false });
                    news = true;
                }
            }
        }
        !news
    }

    /// A peer that was asked has these heads. Where nobody waits for them they are left for a while
    /// to those who are about to tell them: questions would race with adverts, and win where they
    /// should only find what was lost.
    pub(super) fn asked(
        &mut self,
        now: Time,
        peer: PeerId,
        heads: &[CommitHash],
        is_urgent: bool,
        graph: &CommitGraph,
    ) {
        if !self.is_partial() {
            return;
        }
        for head in heads.iter().filter(|head| !graph.contains(head)) {
            if let Some(known) = self.map.get_mut(head) {
                known.held &= !is_urgent;
                continue;
            }
            self.note(*head, Teller { peer, told: false, held: !is_urgent });
            self.untold.push_back((now + GRAFT_DELAY, *head));
        }
    }

    fn note(&mut self, head: CommitHash, teller: Teller) {
        if self.map.insert(head, teller).is_some() {
            return;
        }
        self.order.push_back(head);
        if self.order.len() > TELLERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
        }
    }

    /// Whether the pull of the head waits for somebody to tell it.
    pub(super) fn is_held(&self, head: &CommitHash) -> bool {
        self.is_partial() && self.map.get(head).is_some_and(|teller| teller.held)
    }

    /// The peer had these heads already when it was told: it would have told them itself.
    pub(super) fn had(&mut self, peer: PeerId, heads: &[CommitHash]) {
        for head in heads {
            if let Some(teller) = self.map.get_mut(head).filter(|teller| !teller.told) {
                *teller = Teller { peer, told: true, held: false };
            }
        }
    }

    /// The next peer that is wanted to tell, because nobody told what it had.
    pub(super) fn next_graft(&mut self, now: Time) -> Option<PeerId> {
        while self.deadline().is_some_and(|due| due <= now) {
            let (_, head) = self.untold.pop_front()?;
            if let Some(teller) = self.map.get_mut(&head).filter(|teller| !teller.told) {
                (teller.told, teller.held) = (true, false);
                return Some(teller.peer);
            }
        }
        None
    }

    /// When a graft may be due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.untold.front().map(|(due, _)| *due)
    }
}
