//! What peers say to each other, as plain values. Only the library's `net/wire.rs` knows their
//! bytes.

use crate::commit::{ConflictPolicy, EngineKind};
use crate::id::{CommitHash, PeerId, SwarmId};

/// The version of the protocol that this code speaks.
pub const PROTOCOL_VERSION: u32 = 3;

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
    /// A random number for the life of the sender's process: by it a peer sees that two processes
    /// use one key.
    pub life: u64,
    /// Where the sender listens, as `host:port`; the receiver adds the address it sees.
    pub addresses: Vec<String>,
    /// A hash over the grants the sender knows; where it differs the receiver asks for them. A
    /// hello is said again when the sender learns of a grant.
    pub grants_digest: [u8; 32],
}

/// What a set of heads is: equal if and only if the sets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeadSet {
    /// How many heads there are.
    pub count: u64,
    /// A hash over them.
    pub digest: [u8; 32],
}

impl HeadSet {
    /// Describes these heads, which are sorted by hash.
    pub fn of<'a>(heads: impl IntoIterator<Item = &'a CommitHash>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("doltswarm v1 heads digest");
        let mut count = 0;
        for head in heads {
            count += 1;
            hasher.update(head.as_bytes());
        }
        Self { count, digest: *hasher.finalize().as_bytes() }
    }
}

/// A peer's word about its heads. Newer words replace older ones.
///
/// Up to [`HEADS_ADVERTISED_MAX`](crate::limits::HEADS_ADVERTISED_MAX) heads are all named. Of
/// more, an advert names those that the receiver may lack, so that it costs what is new; the others
/// are asked for in pages, if the set shows that some are missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Advert {
    /// Heads of the sender, sorted by hash, never empty.
    pub heads: Vec<CommitHash>,
    /// All of the sender's heads.
    pub set: HeadSet,
    /// The peers that the sender is telling the same thing, so that nobody tells them twice.
    pub told: Vec<PeerId>,
}

/// The answer to an advert: it was heard, which does not mean that anything is pulled yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdvertReply {
    /// Whether another peer told all of it before, and this one does not want to be told on this
    /// link.
    pub duplicate: bool,
}

impl Advert {
    /// An advert that names all heads of the sender, which are sorted by hash.
    pub fn of_all(heads: Vec<CommitHash>, told: Vec<PeerId>) -> Self {
        Self { set: HeadSet::of(&heads), heads, told }
    }

    /// Whether all of the sender's heads are named.
    pub fn is_complete(&self) -> bool {
        self.set.count == self.heads.len() as u64
    }
}

/// A request for heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeadRequest {
    /// Whether the asker wants to be told of new heads on this link from now on. In a swarm of few
    /// everyone is told anyway.
    pub tell: bool,
    /// The asker's heads. If the receiver has just these, it need not name them.
    pub set: Option<HeadSet>,
    /// Only heads after this one are asked for: the next page.
    pub after: Option<CommitHash>,
}

/// A page of a peer's heads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadsPage {
    /// All of the sender's heads.
    pub set: HeadSet,
    /// Heads, sorted by hash. Empty if the asker's are the same, or there are none after the one
    /// that it named.
    pub heads: Vec<CommitHash>,
    /// Whether there are more after these.
    pub more: bool,
}

/// Where a peer's main is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerMain {
    /// The tip, if it is the fold of the heads that are named, as every peer derives it: if the
    /// heads are equal and this is not, the engines disagree. Nothing while main is on its way
    /// there, waits for uncommitted work, or lacks what was set aside on that peer.
    pub tip: Option<CommitHash>,
    /// User commits that main includes, none of which is an ancestor of another; sorted by hash. If
    /// there are very many, some of them.
    pub included: Vec<CommitHash>,
    /// How many commits the peer has set aside by itself.
    pub set_aside: u64,
}

/// A peer's answer about its heads and its main.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadsAnswer {
    /// The heads, or a page of them.
    pub page: HeadsPage,
    /// Where its main is.
    pub main: PeerMain,
}

impl HeadsAnswer {
    /// An answer that names all heads of the sender, which are sorted by hash, and its main.
    pub fn of_all(heads: Vec<CommitHash>, tip: Option<CommitHash>) -> Self {
        let page = HeadsPage { set: HeadSet::of(&heads), heads, more: false };
        Self { page, main: PeerMain { tip, ..PeerMain::default() } }
    }
}

/// The answer to a request for heads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadReply {
    /// The sender's heads and its main.
    pub answer: HeadsAnswer,
    /// A hash over the grants the sender knows; where it differs the asker asks for them.
    pub grants_digest: [u8; 32],
    /// Which keys signed which of the commits under the heads, as a digest; where it differs at
    /// equal heads the asker asks for the signatures.
    pub signers: SignersDigest,
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

/// Which keys signed which commits, as a sum of hashes: equal if the sets are, and cheap to keep up
/// to date. It only shows what to ask for, so nothing rests on it if somebody makes two sets
/// collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct SignersDigest([u64; 4]);

impl SignersDigest {
    /// A digest that was read from a message.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut lanes = [0; 4];
        for (lane, bytes) in lanes.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *lane = u64::from_be_bytes(*bytes);
        }
        Self(lanes)
    }

    /// The digest as it travels.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (bytes, lane) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *bytes = lane.to_be_bytes();
        }
        bytes
    }

    /// The key signed the commit.
    pub fn add(&mut self, commit: &CommitHash, signer: &PeerId) {
        self.change(commit, signer, u64::wrapping_add);
    }

    /// The key's signature of the commit is not kept any more.
    pub fn remove(&mut self, commit: &CommitHash, signer: &PeerId) {
        self.change(commit, signer, u64::wrapping_sub);
    }

    fn change(&mut self, commit: &CommitHash, signer: &PeerId, by: fn(u64, u64) -> u64) {
        let mut hasher = blake3::Hasher::new_derive_key("doltswarm v1 signers digest");
        hasher.update(commit.as_bytes()).update(signer.as_bytes());
        let Self(lanes) = Self::from_bytes(*hasher.finalize().as_bytes());
        for (sum, lane) in self.0.iter_mut().zip(lanes) {
            *sum = by(*sum, lane);
        }
    }
}

/// A user commit's detached signature, as it travels. A commit may have several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCommit {
    /// The commit.
    pub hash: CommitHash,
    /// Who signed.
    pub signer: PeerId,
    /// The ed25519 signature over the swarm id and the commit hash.
    pub signature: [u8; 64],
}
