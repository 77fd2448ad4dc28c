//! Along which links adverts travel: a tree that the adverts themselves find.
//!
//! In a large swarm a link is *eager*, and carries adverts, or *lazy*: then only the regular questions
//! for heads go over it. An advert that tells nothing new makes its link lazy; the answer says so, so
//! that costs no message. What is left is a tree. Where it breaks, the regular questions show heads
//! that nobody told, and their link becomes eager: it is *grafted*. This is Plumtree (Leitão, Pereira,
//! Rodrigues: "Epidemic broadcast trees", SRDS 2007), with anti-entropy in the place of its `IHAVE`
//! messages.
//!
//! Invariants:
//! - Who told a head first is never made lazy for telling it, however often it does.
//! - A head that an answer brought and that nobody tells within [`GRAFT_DELAY`] grafts the link.

use std::collections::{BTreeMap, VecDeque};

use super::neighbours::View;
use crate::graph::CommitGraph;
use crate::id::{CommitHash, PeerId};
use crate::limits::{GRAFT_DELAY, TELLERS_MAX};
use crate::time::Time;

/// What a node knows of the tree.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub(super) view: View,
    /// Whether a link was made lazy: from then on new links are not needed to reach everyone.
    pub(super) formed: bool,
    /// Where each head was first heard of.
    tellers: BTreeMap<CommitHash, Teller>,
    /// The keys of `tellers`, the oldest first.
    order: VecDeque<CommitHash>,
    /// Heads that answers brought, and until when an advert may tell them.
    untold: VecDeque<(Time, CommitHash)>,
}

/// Where a head was first heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Teller {
    /// The peer told it.
    Told(PeerId),
    /// The peer was asked, and nobody has told it yet.
    Asked(PeerId),
}

impl Tree {
    pub(super) fn is_partial(&self) -> bool {
        self.view == View::Partial
    }

    /// A peer told these heads; says whether others told them all before.
    pub(super) fn told(&mut self, from: PeerId, heads: &[CommitHash], graph: &CommitGraph) -> bool {
        let mut news = false;
        for head in heads {
            match self.tellers.get(head) {
                // An own commit, or an old one.
                None if graph.contains(head) => {}
                Some(Teller::Told(first)) => news |= *first == from,
                None | Some(Teller::Asked(_)) => {
                    self.note(*head, Teller::Told(from));
                    news = true;
                }
            }
        }
        !news
    }

    /// A peer that was asked has these heads.
    pub(super) fn asked(
        &mut self,
        now: Time,
        from: PeerId,
        heads: &[CommitHash],
        graph: &CommitGraph,
    ) {
        for head in heads {
            if !graph.contains(head) && !self.tellers.contains_key(head) {
                self.note(*head, Teller::Asked(from));
                self.untold.push_back((now + GRAFT_DELAY, *head));
            }
        }
    }

    fn note(&mut self, head: CommitHash, teller: Teller) {
        if self.tellers.insert(head, teller).is_some() {
            return;
        }
        self.order.push_back(head);
        if self.order.len() > TELLERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.tellers.remove(&oldest);
        }
    }

    /// The next peer that has to be asked to tell, because nobody told what it had.
    pub(super) fn next_graft(&mut self, now: Time) -> Option<PeerId> {
        while self.deadline().is_some_and(|due| due <= now) {
            let (_, head) = self.untold.pop_front()?;
            if let Some(Teller::Asked(peer)) = self.tellers.get(&head) {
                return Some(*peer);
            }
        }
        None
    }

    /// When a graft may be due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.untold.front().map(|(due, _)| *due)
    }
}
