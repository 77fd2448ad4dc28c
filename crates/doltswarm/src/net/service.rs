//! What the network asks of the node above it.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;
use doltswarm_core::id::{ChunkHash, CommitHash, PeerId, SwarmId};
use doltswarm_core::message::{Advert, AdvertReply, HeadReply, HeadRequest, Hello, SignedCommit};
use tokio::sync::mpsc;

use super::Refusal;

/// A future that can be kept in a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Chunks as they are read, in batches of about one message. It ends where the sender is dropped.
pub type ChunkBatches = mpsc::Receiver<Result<Vec<Bytes>, Refusal>>;

/// What a bearer of a ticket asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinAsk {
    /// The swarm the ticket is for.
    pub swarm: SwarmId,
    /// The ticket's one-time secret.
    pub secret: [u8; 16],
    /// The asker's name for people; may be empty.
    pub name: String,
}

impl fmt::Debug for JoinAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret must not get into a log.
        f.debug_struct("JoinAsk")
            .field("swarm", &self.swarm)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a new member is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinAnswer {
    /// The answering peer's own hello.
    pub hello: Hello,
    /// Who founded the swarm: with `founding` it must give the swarm id of the ticket.
    pub founder: PeerId,
    /// The founding commit.
    pub founding: CommitHash,
    /// The grants the answering peer knows, the new member's own among them, each in its canonical
    /// encoding.
    pub grants: Vec<Vec<u8>>,
}

/// The node behind the network: answers what other peers ask.
///
/// `from` is the key that the caller proved in the handshake, and at the time of the call
/// [`PeerService::is_member`] said yes to it (but for [`PeerService::join`]). Arguments are within
/// the limits of `doltswarm_core::limits`.
///
/// A returned future is dropped where the caller goes away or takes longer than the call's timeout,
/// so whatever it does must be sound when cut off at an await. Calls of one peer run at the same
/// time and may arrive in any order.
pub trait PeerService: Send + Sync + 'static {
    /// The first call on a connection: compares `hello` with this node's own and answers with it.
    /// A difference in anything but the engine's version is [`Refusal::Mismatch`]. `observed` is
    /// where the caller's packets come from.
    fn hello(
        &self,
        from: PeerId,
        hello: Hello,
        observed: Option<SocketAddr>,
    ) -> BoxFuture<'_, Result<Hello, Refusal>>;

    /// Hears a peer's heads. Returns once it is noted, not once it is pulled.
    fn advertise_head(
        &self,
        from: PeerId,
        advert: Advert,
    ) -> BoxFuture<'_, Result<AdvertReply, Refusal>>;

    /// Says what this node's heads are.
    fn request_head(
        &self,
        from: PeerId,
        request: HeadRequest,
    ) -> BoxFuture<'_, Result<HeadReply, Refusal>>;

    /// The signatures of the user commits under `want` and not under `have`, parents first; at most
    /// `SIGNATURES_LISTED_MAX`.
    fn list_commits(
        &self,
        from: PeerId,
        want: Vec<CommitHash>,
        have: Vec<CommitHash>,
    ) -> BoxFuture<'_, Result<Vec<SignedCommit>, Refusal>>;

    /// The grants this node knows, each in its canonical encoding.
    fn list_grants(&self, from: PeerId) -> BoxFuture<'_, Result<Vec<Vec<u8>>, Refusal>>;

    /// Turns the bearer of an open invitation's secret into a member. `from` is not one yet. A
    /// secret that opens nothing is [`Refusal::NotAllowed`]. May be asked twice by the same peer
    /// where the first answer got lost: that must give the same answer.
    fn join(&self, from: PeerId, ask: JoinAsk) -> BoxFuture<'_, Result<JoinAnswer, Refusal>>;

    /// The first of the chunks, in the order asked, `None` where absent: one at least, and no
    /// further ones once they have `CHUNK_READ_BYTES` together, so that few large ones are in
    /// memory. The network asks for at most `CHUNKS_READ_AT_ONCE_MAX` at a time, and again for the
    /// rest.
    fn chunks(
        &self,
        from: PeerId,
        hashes: Vec<ChunkHash>,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, Refusal>>;

    /// Chunks under `want` that a peer with all under `have` lacks, in batches of about one
    /// message, parents first: a help that may leave some out. The batches are made as they are
    /// taken.
    fn difference(
        &self,
        from: PeerId,
        want: Vec<CommitHash>,
        have: Vec<CommitHash>,
    ) -> BoxFuture<'_, Result<ChunkBatches, Refusal>>;

    /// Whether each chunk is there, in the order asked.
    fn has_chunks(
        &self,
        from: PeerId,
        hashes: Vec<ChunkHash>,
    ) -> BoxFuture<'_, Result<Vec<bool>, Refusal>>;

    /// This node's heads, sorted by hash: all that its root shows of itself.
    fn root(&self, from: PeerId) -> BoxFuture<'_, Result<Vec<CommitHash>, Refusal>>;

    /// The size of this node's chunk store, in bytes.
    fn size(&self, from: PeerId) -> BoxFuture<'_, Result<u64, Refusal>>;

    /// Whether a key may talk to this node. Asked at each handshake and at each call, so it must be
    /// quick and must not block.
    fn is_member(&self, peer: &PeerId) -> bool;

    /// Whether any invitation is open: else a stranger gets no further than the handshake. Quick,
    /// as [`PeerService::is_member`].
    fn door_open(&self) -> bool;
}
