//! The closed vocabulary between a node and its driver, declared once.

use crate::commit::{Merge, UserCommit};
use crate::fold::Parked;
use crate::id::{CommitHash, PeerId};
use crate::message::{Advert, HeadRequest, PeerMain};
use crate::time::Time;

/// Names one operation that the driver was asked for. It comes back in exactly one `handle_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// What the driver must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send the advert; answer with [`handle_advertised`](super::Node::handle_advertised).
    Advertise {
        /// Names the operation.
        op: OpId,
        /// To whom.
        peer: PeerId,
        /// What to send.
        advert: Advert,
    },
    /// Ask for the peer's heads; answer with [`handle_heads`](super::Node::handle_heads).
    RequestHeads {
        /// Names the operation.
        op: OpId,
        /// Whom to ask.
        peer: PeerId,
        /// What to ask.
        request: HeadRequest,
    },
    /// Fetch and verify what leads to these heads; answer with
    /// [`handle_pulled`](super::Node::handle_pulled).
    Pull {
        /// Names the operation.
        op: OpId,
        /// From whom.
        peer: PeerId,
        /// The heads, sorted by hash.
        heads: Vec<CommitHash>,
    },
    /// Merge on a private branch; answer with [`handle_merged`](super::Node::handle_merged).
    Merge {
        /// Names the operation.
        op: OpId,
        /// What to merge.
        merge: Merge,
    },
    /// Move main, if it is at `from` and nothing is uncommitted; answer with
    /// [`handle_moved`](super::Node::handle_moved).
    MoveMain {
        /// Names the operation.
        op: OpId,
        /// Where main must be.
        from: CommitHash,
        /// Where it goes.
        to: CommitHash,
        /// Commits made here have outrun one fold after the other, and perhaps this one. Where main
        /// is above `from`, `to` may be brought in by a *catch-up commit*: a user commit with the
        /// parents main and `to`, and nothing that the two do not agree on. It is answered as what
        /// it is, a commit found on main.
        outrun: bool,
    },
    /// Keep exactly these heads on branches of their own. Not answered. Said when the set changes,
    /// and once at the start, because nobody knows what a crash left behind.
    SetParked {
        /// The heads that are parked or set aside, sorted by hash.
        heads: Vec<CommitHash>,
    },
    /// Something happened that people and applications may want to know. Not answered.
    Event(Event),
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The set of heads changed.
    HeadsChanged {
        /// The heads, sorted by hash. Of more than
        /// [`HEADS_ADVERTISED_MAX`](crate::limits::HEADS_ADVERTISED_MAX), so many of the new ones.
        heads: Vec<CommitHash>,
    },
    /// The fold of the heads is known; main moves there next.
    Folded {
        /// Where main belongs.
        main: CommitHash,
        /// The heads that could not be included.
        parked: Vec<Parked>,
    },
    /// Main moved.
    MainMoved {
        /// Where it was.
        from: CommitHash,
        /// Where it is.
        to: CommitHash,
        /// Whether `to` descends from `from`, as far as the commit graph shows: it does not know
        /// which merge commits lie under a user commit with two parents.
        fast_forward: bool,
    },
    /// A pull began.
    PullStarted {
        /// From whom.
        peer: PeerId,
        /// Which heads.
        heads: Vec<CommitHash>,
    },
    /// A pull ended well.
    Pulled {
        /// From whom.
        peer: PeerId,
        /// How many user commits were new.
        commits: usize,
    },
    /// A pull failed; it is tried again.
    PullFailed {
        /// From whom.
        peer: PeerId,
        /// Why.
        reason: String,
    },
    /// What a peer sent failed verification; its heads are left alone until the membership changes
    /// or a long time passes.
    Rejected {
        /// Who sent it.
        peer: PeerId,
        /// The heads.
        heads: Vec<CommitHash>,
        /// Why.
        reason: String,
    },
    /// Main waits for uncommitted changes that another program made.
    MainWaits {
        /// The tables with such changes.
        tables: Vec<String>,
    },
    /// A peer has the same heads and another main: its engine merges differently.
    EnginesDisagree {
        /// The peer.
        peer: PeerId,
        /// Main here.
        ours: CommitHash,
        /// Main there.
        theirs: CommitHash,
    },
    /// A peer is connected.
    PeerConnected {
        /// The peer.
        peer: PeerId,
    },
    /// A peer is no longer connected.
    PeerDisconnected {
        /// The peer.
        peer: PeerId,
    },
}

/// Why a pull failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullError {
    /// The peer could not be reached, or lacks the data: tried again, also with other peers.
    Unavailable,
    /// What the peer sent failed verification.
    Rejected {
        /// What is wrong with it.
        reason: String,
    },
    /// This machine failed: its disk or its engine. Tried again later.
    Local {
        /// What failed.
        reason: String,
    },
}

/// What moving main did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveResult {
    /// Main is where it was to go.
    Moved,
    /// Main was not where it was expected: another program committed. Nothing was moved.
    MainChanged {
        /// Where main is.
        main: CommitHash,
        /// The commits that are new, parents first, signed by now.
        commits: Vec<UserCommit>,
        /// The user commits that main includes.
        included: Vec<CommitHash>,
    },
    /// Another program has uncommitted changes in these tables. Nothing was moved.
    Dirty(Vec<String>),
}

/// A merge or a move of main that the engine failed to do several times in a row. It is tried
/// again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stalled {
    /// The two sides of the merge, or where main is and where it belongs.
    pub commits: [CommitHash; 2],
    /// How often in a row it failed.
    pub failures: u32,
}

/// What a node knows about a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerView<'a> {
    /// The peer.
    pub peer: PeerId,
    /// Whether it is connected.
    pub connected: bool,
    /// Heads that it named last, sorted by hash: all of few, or some of many.
    pub heads: Option<&'a [CommitHash]>,
    /// Whether its heads are this node's heads. Its main may be elsewhere.
    pub in_sync: bool,
    /// Where its main was when it answered last.
    pub main: &'a PeerMain,
    /// Its main, where that is another one than this node's though the heads are the same: the
    /// engines merge differently. A difference counts when it has lasted.
    pub other_main: Option<CommitHash>,
    /// When it was last heard.
    pub last_seen: Option<Time>,
    /// What last went wrong with it, where nothing went well since.
    pub failing: Option<&'a str>,
}

/// Heads of a peer that failed verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedHeads {
    /// The heads, sorted by hash.
    pub heads: Vec<CommitHash>,
    /// Who has them.
    pub peer: PeerId,
    /// What is wrong with them.
    pub reason: String,
}
