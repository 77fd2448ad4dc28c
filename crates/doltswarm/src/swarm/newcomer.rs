//! What a peer answers while it is joining: nothing.

use std::net::SocketAddr;
use std::sync::RwLock;

use bytes::Bytes;
use doltswarm_core::id::{ChunkHash, CommitHash, PeerId};
use doltswarm_core::membership::Membership;
use doltswarm_core::message::{Advert, AdvertReply, HeadReply, HeadRequest, Hello, SignedCommit};

use crate::net::{BoxFuture, ChunkBatches, JoinAnswer, JoinAsk, PeerService, Refusal};

/// A peer that is not in the swarm yet: it answers nothing, and talks to members only.
#[derive(Default)]
pub(super) struct Newcomer {
    membership: RwLock<Option<Membership>>,
}

impl Newcomer {
    /// Lets the members of the swarm talk to this peer.
    pub(super) fn admit(&self, membership: Membership) {
        *self.membership.write().expect("because no holder of this lock panics") = Some(membership);
    }
}

fn not_yet<T: Send>() -> BoxFuture<'static, Result<T, Refusal>> {
    Box::pin(async { Err(Refusal::NotAllowed("this peer is still joining".into())) })
}

impl PeerService for Newcomer {
    fn hello(
        &self,
        _: PeerId,
        _: Hello,
        _: Option<SocketAddr>,
    ) -> BoxFuture<'_, Result<Hello, Refusal>> {
        not_yet()
    }

    fn advertise_head(&self, _: PeerId, _: Advert) -> BoxFuture<'_, Result<AdvertReply, Refusal>> {
        not_yet()
    }

    fn request_head(&self, _: PeerId, _: HeadRequest) -> BoxFuture<'_, Result<HeadReply, Refusal>> {
        not_yet()
    }

    fn list_commits(
        &self,
        _: PeerId,
        _: Vec<CommitHash>,
        _: Vec<CommitHash>,
    ) -> BoxFuture<'_, Result<Vec<SignedCommit>, Refusal>> {
        not_yet()
    }

    fn list_grants(&self, _: PeerId) -> BoxFuture<'_, Result<Vec<Vec<u8>>, Refusal>> {
        not_yet()
    }

    fn join(&self, _: PeerId, _: JoinAsk) -> BoxFuture<'_, Result<JoinAnswer, Refusal>> {
        not_yet()
    }

    fn chunks(
        &self,
        _: PeerId,
        _: Vec<ChunkHash>,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, Refusal>> {
        not_yet()
    }

    fn difference(
        &self,
        _: PeerId,
        _: Vec<CommitHash>,
        _: Vec<CommitHash>,
    ) -> BoxFuture<'_, Result<ChunkBatches, Refusal>> {
        not_yet()
    }

    fn has_chunks(
        &self,
        _: PeerId,
        _: Vec<ChunkHash>,
    ) -> BoxFuture<'_, Result<Vec<bool>, Refusal>> {
        not_yet()
    }

    fn root(&self, _: PeerId) -> BoxFuture<'_, Result<Vec<CommitHash>, Refusal>> {
        not_yet()
    }

    fn size(&self, _: PeerId) -> BoxFuture<'_, Result<u64, Refusal>> {
        not_yet()
    }

    fn is_member(&self, peer: &PeerId) -> bool {
        let membership = self.membership.read().expect("because no holder of this lock panics");
        membership.as_ref().is_some_and(|membership| membership.is_member(peer))
    }

    fn door_open(&self) -> bool {
        false
    }
}
