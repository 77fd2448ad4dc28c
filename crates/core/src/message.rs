//! What peers say to each other, as plain values. Only the library's `net/wire.rs` knows their bytes.

use crate::commit::{ConflictPolicy, EngineKind};
use crate::id::{CommitHash, PeerId, SwarmId};

/// The version of the protocol that this code speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// The first words on a connection: both sides must agree on every field but the version of the
/// engine, where a difference is only reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The version of the protocol, counted from 1.
    pub protocol: u32,
    /// The swarm the sender belongs to.
    pub swarm: SwarmId,
    /// The sender's engine.
    pub engine: EngineKind,
    /// The version of the sender's engine, for example `0.51.6`.
    pub engine_version: String,
    /// The conflict policy of the swarm.
    pub policy: ConflictPolicy,
    /// The sender's name for people; may be empty.
    pub name: String,
    /// Where the sender listens, as `host:port`; the receiver adds the address it sees.
    pub addresses: Vec<String>,
    /// A hash over the grants the sender knows; where it differs the receiver asks for them. A
    /// hello is said again when the sender learns of a grant.
    pub grants_digest: [u8; 32],
}

/// A peer's word about its heads. Newer words replace older ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Advert {
    /// The sender's heads, sorted by hash, never empty.
    pub heads: Vec<CommitHash>,
    /// The peers that the sender is telling the same thing, so that nobody tells them twice.
    pub told: Vec<PeerId>,
}

/// The answer to an advert: it was heard, which does not mean that anything is pulled yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdvertReply {
    /// Whether another peer told all of it before, and this one does not want to be told on this link.
    pub duplicate: bool,
}

/// A request for heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeadRequest {
    /// Whether the asker wants to be told of new heads on this link from now on. In a swarm of few
    /// everyone is told anyway.
    pub tell: bool,
}

/// The answer to a request for heads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadReply {
    /// The sender's heads, sorted by hash, never empty.
    pub heads: Vec<CommitHash>,
    /// The tip of the sender's main, where that is the fold of these heads: where the heads are equal
    /// and this is not, the engines disagree. Nothing while main is on its way there.
    pub main: Option<CommitHash>,
    /// A hash over the grants the sender knows; where it differs the asker asks for them.
    pub grants_digest: [u8; 32],
    /// Where other members were last seen: all of few, or a random choice of many.
    pub peers: Vec<PeerRecord>,
}

/// Where a member was last seen: a hint, believed only as far as a dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRecord {
    /// The member.
    pub peer: PeerId,
    /// Its addresses, as `host:port`.
    pub addresses: Vec<String>,
}

/// A user commit's detached signature, as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCommit {
    /// The commit.
    pub hash: CommitHash,
    /// Who signed.
    pub signer: PeerId,
    /// The ed25519 signature over the swarm id and the commit hash.
    pub signature: [u8; 64],
}
