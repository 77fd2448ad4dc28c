//! Along which links adverts travel: a tree that the adverts themselves find.
//!
//! In a large swarm a link is *eager*, and carries adverts, or *lazy*: then only the regular questions
//! for heads go over it. An advert that tells nothing new makes its link lazy; the answer says so, so
//! that costs no message. What is left is a tree. Where it breaks, the regular questions show heads
//! that nobody told, and their link becomes eager: it is *grafted*. This is Plumtree (Leitão, Pereira,
//! Rodrigues: "Epidemic broadcast trees", SRDS 2007), with anti-entropy in the place of its `IHAVE`
//! messages. Writers share one tree. Of those who wrote of late the one with the smallest id shapes it:
//! if the adverts of two cut links at the same time they would cut one ring twice.
//!
//! Invariants:
//! - With a full view there is no tree, and nothing is noted for one.
//! - Who told a head first is never made lazy for telling it, however often it does.
//! - A head that an answer brought and that nobody tells within [`GRAFT_DELAY`] is pulled then, and
//!   grafts the link.
//! - What an answer brought all the same, because somebody waits for it, is passed on with that word,
//!   and makes no link lazy: who has it already was about to tell it.

use std::collections::{BTreeMap, VecDeque};

use super::neighbours::View;
use crate::graph::CommitGraph;
use crate::id::{CommitHash, PeerId};
use crate::limits::{GRAFT_DELAY, TELLERS_MAX, TREE_ROOT_MEMORY};
use crate::time::Time;

/// What a node knows of the tree.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub(super) view: View,
    /// Whether a link was made lazy: from then on new links are not needed to reach everyone.
    pub(super) formed: bool,
    /// Whose adverts shape the tree, and when its last commit came.
    root: Option<(PeerId, Time)>,
    /// Where each head was first heard of.
    tellers: BTreeMap<CommitHash, Teller>,
    /// The keys of `tellers`, the oldest first.
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
    /// Whether it was found by asking, here or before it came here.
    asked: bool,
    /// Whether the pull waits for somebody to tell it.
    held: bool,
}

impl Tree {
    pub(super) fn is_partial(&self) -> bool {
        self.view == View::Partial
    }

    /// A commit of this writer is new here.
    pub(super) fn note_writer(&mut self, now: Time, writer: PeerId) {
        if self.is_partial() && self.may_shape(now, &writer) {
            self.root = Some((writer, now));
        }
    }

    /// The tree has to be found anew, by whoever writes next.
    pub(super) fn forget_root(&mut self) {
        self.root = None;
    }

    /// Whether this writer's adverts shape the tree.
    pub(super) fn may_shape(&self, now: Time, writer: &PeerId) -> bool {
        self.root.is_none_or(|(root, since)| *writer <= root || now - since >= TREE_ROOT_MEMORY)
    }

    /// A peer told these heads, which it says were found by asking or not; says whether others told
    /// them all before.
    pub(super) fn told(
        &mut self,
        peer: PeerId,
        heads: &[CommitHash],
        asked: bool,
        graph: &CommitGraph,
    ) -> bool {
        if !self.is_partial() {
            return false;
        }
        let mut news = false;
        for head in heads {
            match self.tellers.get(head) {
                // An own commit, or an old one.
                None if graph.contains(head) => {}
                Some(first) if first.told => news |= first.peer == peer,
                _ => {
                    self.note(*head, Teller { peer, told: true, asked, held: false });
                    news = true;
                }
            }
        }
        !news
    }

    /// A peer that was asked has these heads. Where nobody waits for them they are left for a while to
    /// those who are about to tell them: a swarm in which news overtakes itself finds no tree.
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
            if let Some(known) = self.tellers.get_mut(head) {
                known.held &= !is_urgent;
                continue;
            }
            self.note(*head, Teller { peer, told: false, asked: true, held: !is_urgent });
            self.untold.push_back((now + GRAFT_DELAY, *head));
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

    /// Whether the head was found by asking.
    pub(super) fn is_asked(&self, head: &CommitHash) -> bool {
        self.tellers.get(head).is_some_and(|teller| teller.asked)
    }

    /// Whether the pull of the head waits for somebody to tell it.
    pub(super) fn is_held(&self, head: &CommitHash) -> bool {
        self.is_partial() && self.tellers.get(head).is_some_and(|teller| teller.held)
    }

    /// The peer had these heads already when it was told: it would have told them itself.
    pub(super) fn had(&mut self, peer: PeerId, heads: &[CommitHash]) {
        for head in heads {
            if let Some(teller) = self.tellers.get_mut(head).filter(|teller| !teller.told) {
                *teller = Teller { peer, told: true, held: false, ..*teller };
            }
        }
    }

    /// The next peer that has to be asked to tell, because nobody told what it had.
    pub(super) fn next_graft(&mut self, now: Time) -> Option<PeerId> {
        while self.deadline().is_some_and(|due| due <= now) {
            let (_, head) = self.untold.pop_front()?;
            if let Some(teller) = self.tellers.get_mut(&head).filter(|teller| !teller.told) {
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
