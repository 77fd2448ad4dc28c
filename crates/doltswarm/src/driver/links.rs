//! Links as the core wants them: which to close, whom to tell others of, and visits to peers that
//! are not neighbours, where somebody waits for word from them.

use doltswarm_core::id::{CommitHash, PeerId};
use doltswarm_core::limits::{ANTI_ENTROPY_INTERVAL, CONFIRM_DELAY, PEER_RECORDS_SHARED};
use doltswarm_core::node::PeerView;
use doltswarm_core::node::neighbours::View;

use super::input::{PullStarted, Reply};
use super::{Driver, Known};
use crate::swarm::{PeersError, WaitFor};

impl Driver {
    /// Tells the node how it is linked, and closes links that it can do without.
    pub(super) fn tend_links(&mut self) {
        self.node.handle_view(self.dialer.view());
        let Some(network) = &self.network else { return };
        let now = self.now();
        while let Some(peer) = self.dialer.poll_close(now, |peer| self.node.is_spare(peer)) {
            tracing::debug!(%peer, "a link is not needed");
            network.disconnect(&peer);
        }
    }

    /// Whether this node is linked to only some of the peers it knows.
    pub(super) fn is_partial(&self) -> bool {
        self.dialer.view() == View::Partial
    }

    /// The peers of which this node tells others where they are.
    pub(super) fn told_of(&mut self) -> Vec<PeerId> {
        if self.is_partial() {
            return self.dialer.sample(PEER_RECORDS_SHARED);
        }
        self.known.keys().copied().collect()
    }

    /// A member whose address was known before may have fallen out of the dialer's choice.
    pub(super) fn keep_in_mind(&mut self, peer: PeerId) {
        let has_address = |known: &Known| !known.addresses.is_empty();
        if !self.dialer.knows(&peer) && self.known.get(&peer).is_some_and(has_address) {
            let now = self.now();
            self.dialer.handle_known(now, peer);
        }
    }

    /// Asks the neighbours at once if it is not known that they are in step: none says by itself
    /// when its main has followed.
    pub(super) fn freshen(&mut self, reply: Reply<Result<PullStarted, PeersError>>) {
        let unsure = |view: PeerView<'_>| view.connected && !self.has_same_main(&view);
        if self.network.is_some() && self.node.peers().any(unsure) {
            return self.start_pull(None, reply);
        }
        let _ = reply.send(Ok(PullStarted { asked: Vec::new() }));
    }

    /// Asks peers that are not neighbours, a few at a time, where it takes them to reach what is
    /// waited for. What they answer is seen by the next check.
    pub(super) fn visit_for(&mut self, what: &WaitFor) {
        let Some(wanted) = what.peers.filter(|_| self.network.is_some() && self.is_partial())
        else {
            return;
        };
        if self.check(what).is_ok_and(|(report, _)| report.reached || report.peers >= wanted) {
            return;
        }
        let commit: Option<CommitHash> = what.commit.as_ref().and_then(|text| text.parse().ok());
        let now = self.now();
        let views: std::collections::BTreeMap<PeerId, PeerView<'_>> =
            self.node.peers().map(|view| (view.peer, view)).collect();
        let is_open = |peer: &PeerId| {
            let Some(view) = views.get(peer) else { return true };
            let asked_lately = view.last_seen.is_some_and(|seen| now - seen < CONFIRM_DELAY);
            let has_it = match &commit {
                Some(commit) => self.have(&view.main.included, commit),
                None => self.is_in_step(view),
            };
            !view.connected && !asked_lately && !has_it
        };
        let mut open: Vec<_> = self
            .known
            .iter()
            .filter(|(peer, known)| !known.addresses.is_empty() && is_open(peer))
            .map(|(peer, _)| (views.get(peer).and_then(|view| view.last_seen), *peer))
            .collect();
        open.sort_unstable();
        for (_, peer) in open {
            self.dialer.handle_visit(now, peer);
        }
        self.dial_due();
    }

    /// Whether the peer has the same heads, and its main was their fold when it answered last, as
    /// this node's main is.
    pub(super) fn has_same_main(&self, view: &PeerView<'_>) -> bool {
        view.in_sync && self.node.is_settled() && view.main.tip == Some(self.node.main())
    }

    /// Whether these user commits include the commit.
    pub(super) fn have(&self, heads: &[CommitHash], commit: &CommitHash) -> bool {
        heads.iter().any(|head| self.node.graph().is_ancestor(commit, head))
    }

    /// Whether the peer has the same heads and main, by a word that is not old: it is a neighbour,
    /// or was visited just now.
    pub(super) fn is_in_step(&self, view: &PeerView<'_>) -> bool {
        let now = self.now();
        let heard = view.last_seen.is_some_and(|seen| now - seen < ANTI_ENTROPY_INTERVAL);
        self.has_same_main(view) && (view.connected || (self.is_partial() && heard))
    }
}
