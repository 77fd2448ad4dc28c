//! Everything that can happen to the driver, in one closed list.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use doltswarm_core::commit::{CommitInfo, Merge};
use doltswarm_core::fold::MergeResult;
use doltswarm_core::id::{CommitHash, PeerId};
use doltswarm_core::message::{Advert, AdvertReply, HeadReply, HeadRequest, Hello, SignedCommit};
use doltswarm_core::node::OpId;
use tokio::sync::oneshot;

use super::command::StatusRead;
use super::foreign::Refused;
use super::garbage::Collected;
use super::signatures::Signatures;
use crate::engine::{EngineError, Executed, MoveOutcome};
use crate::net::{CallError, JoinAnswer, JoinAsk, NetEvent, Refusal};
use crate::swarm::{ExecError, ExecReport, InviteOptions, PeersError, Status, WaitFor, WaitReport};
use crate::ticket::Ticket;

/// Commits as the engine described them, by hash.
pub(crate) type Infos = BTreeMap<CommitHash, CommitInfo>;

/// Where a call's answer goes. A caller that went away is not an error.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// One thing that happened. What the engine thread did arrives in the order in which it did it.
pub(crate) enum Input {
    /// A local exec or commit made a commit.
    Executed { executed: Executed, infos: Infos, reply: Reply<Result<ExecReport, ExecError>> },
    /// The engine was asked where main is and it was not where the node thinks.
    MainSeen { main: CommitHash, infos: Infos },
    /// Commits of other programs were taken off main.
    Refused(Refused),
    /// The database came back, and this is its engine's version.
    EngineVersion(String),
    /// A merge ended.
    Merged { op: OpId, merge: Merge, result: MergeDone },
    /// A move of main ended.
    Moved { op: OpId, outcome: Result<MoveOutcome, EngineError>, infos: Infos },
    /// Verified signatures of commits that are here.
    Signatures { signed: Vec<SignedCommit> },
    /// A pull ended; where it was good, its chunks are in the database and its signatures verified.
    Fetched { op: OpId, peer: PeerId, heads: Vec<CommitHash>, result: Result<Fetched, FetchError> },
    /// A peer answered a request for heads.
    Heads { op: OpId, peer: PeerId, result: Result<HeadReply, CallError> },
    /// A peer answered an advert.
    Advertised { op: OpId, result: Result<AdvertReply, CallError> },
    /// A connection came or went.
    Net(NetEvent),
    /// A dial failed.
    DialFailed { peer: PeerId, reason: String },
    /// A peer answered our hello.
    Greeted { peer: PeerId, result: Result<Hello, CallError> },
    /// A peer's grants arrived.
    Grants { from: PeerId, grants: Vec<Vec<u8>> },
    /// Garbage was collected, or was not.
    GarbageCollected { result: Result<(), EngineError>, reply: Collected },
    /// A peer asks.
    Asked(Asked),
    /// The application asks.
    Command(Command),
}

impl Input {
    /// Whether this changes nothing. A waiter asks such a thing after every round in which
    /// something happened, so it must not count as one itself.
    pub(crate) fn only_looks(&self) -> bool {
        matches!(
            self,
            Self::Command(
                Command::Status { .. }
                    | Command::Members { .. }
                    | Command::Check { .. }
                    | Command::Signers { .. }
                    | Command::FindCommits { .. }
            )
        )
    }
}

/// How a merge ended: the result and how many conflicts it recorded.
pub(crate) type MergeDone = Result<(MergeResult, u64), EngineError>;

/// What a pull brought.
pub(crate) struct Fetched {
    /// What the engine knows of the new commits.
    pub(crate) infos: Infos,
    /// Verified signatures of the user commits that the peer named.
    pub(crate) signatures: Signatures,
    /// The user commits that take records of conflicts away, with the reasons.
    pub(crate) lost_records: BTreeMap<CommitHash, String>,
}

/// Why a pull ended without commits.
#[derive(Debug)]
pub(crate) enum FetchError {
    /// The peer was not there, or too slow: another time, or another peer.
    Unavailable(String),
    /// What the peer sent does not verify.
    Rejected(String),
    /// This node could not take it: its engine or its disk failed.
    Local(String),
}

/// A peer's question, from the network's service to the driver.
pub(crate) enum Asked {
    Hello {
        from: PeerId,
        hello: Hello,
        seen_at: Option<SocketAddr>,
        reply: Reply<Result<Hello, Refusal>>,
    },
    Advert {
        from: PeerId,
        advert: Advert,
        reply: Reply<Result<AdvertReply, Refusal>>,
    },
    Heads {
        from: PeerId,
        /// Nothing where somebody reads what is here, as a remote, and says nothing about the link.
        request: Option<HeadRequest>,
        reply: Reply<Result<HeadReply, Refusal>>,
    },
    Commits {
        want: Vec<CommitHash>,
        have: Vec<CommitHash>,
        reply: Reply<Result<Vec<SignedCommit>, Refusal>>,
    },
    /// Which user commits are under `want` and not under `have`, and which known ones of `have`
    /// come next to `want`.
    Needed {
        want: Vec<CommitHash>,
        have: Vec<CommitHash>,
        reply: Reply<Result<Needed, Refusal>>,
    },
    Grants {
        reply: Reply<Result<Vec<Vec<u8>>, Refusal>>,
    },
    Join {
        from: PeerId,
        ask: JoinAsk,
        reply: Reply<Result<JoinAnswer, Refusal>>,
    },
}

/// What an asker needs, as far as the graph knows.
pub(crate) struct Needed {
    pub(crate) commits: Vec<CommitHash>,
    pub(crate) bases: Vec<CommitHash>,
}

/// The application's question.
pub(crate) enum Command {
    Status {
        read: Box<StatusRead>,
        reply: Reply<Status>,
    },
    Members {
        reply: Reply<Vec<crate::swarm::MemberReport>>,
    },
    Invite {
        options: InviteOptions,
        reply: Reply<Result<Ticket, PeersError>>,
    },
    AddPeer {
        peer: PeerId,
        addresses: Vec<SocketAddr>,
        reply: Reply<Result<(), PeersError>>,
    },
    RemovePeer {
        peer: PeerId,
        reply: Reply<Result<(), PeersError>>,
    },
    /// Ask peers for their heads; answers with how many user commits are known before.
    Pull {
        peer: Option<PeerId>,
        reply: Reply<Result<PullStarted, PeersError>>,
    },
    /// Drop what nothing refers to.
    CollectGarbage {
        reply: Reply<Result<(), ExecError>>,
    },
    /// Ask the neighbours where it is not known whether they are in step.
    Freshen {
        reply: Reply<Result<PullStarted, PeersError>>,
    },
    /// Ask peers that are not neighbours, a few at a time, where it takes them to reach what is
    /// waited for.
    Visit {
        what: WaitFor,
        reply: Reply<()>,
    },
    /// Tell every connected peer the heads.
    Advertise {
        reply: Reply<Result<(), PeersError>>,
    },
    /// Whether what is waited for is true now.
    Check {
        what: WaitFor,
        reply: Reply<Result<(WaitReport, bool), PeersError>>,
    },
    /// Signers of commits, for the log.
    Signers {
        commits: Vec<CommitHash>,
        reply: Reply<Vec<Option<PeerId>>>,
    },
    /// Set a commit aside on this node.
    SetAside {
        commit: CommitHash,
        reason: String,
        reply: Reply<Result<(), PeersError>>,
    },
    /// Release a commit that was set aside on this node; answers whether it was.
    Release {
        commit: CommitHash,
        reply: Reply<Result<bool, PeersError>>,
    },
    /// The user commits whose hash, as the engine writes it, begins so; for names that people
    /// write.
    FindCommits {
        prefix: String,
        reply: Reply<Vec<CommitHash>>,
    },
    /// Cut the node off from all peers, or end that.
    Isolate {
        isolated: bool,
        reply: Reply<()>,
    },
    /// Stop.
    Close,
}

/// A pull that the application asked for.
pub(crate) struct PullStarted {
    /// The peers that were asked.
    pub(crate) asked: Vec<PeerId>,
}
