//! What happens in a node, as it happens.

use serde::Serialize;

/// One event. Hashes and ids are text, as in [`super::Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SwarmEvent {
    /// The set of heads changed.
    HeadsChanged {
        /// The heads now.
        heads: Vec<String>,
    },
    /// A user commit was made here.
    Committed {
        /// The commit.
        commit: String,
    },
    /// A pull began.
    PullStarted {
        /// From this peer.
        peer: String,
        /// Of these heads.
        heads: Vec<String>,
    },
    /// A pull brought user commits, verified and accepted.
    Pulled {
        /// From this peer.
        peer: String,
        /// How many user commits.
        commits: usize,
    },
    /// A pull failed and will be tried again.
    PullFailed {
        /// From this peer.
        peer: String,
        /// Why.
        reason: String,
    },
    /// What a peer offered failed verification and was not taken.
    Rejected {
        /// The peer.
        peer: String,
        /// The heads refused.
        heads: Vec<String>,
        /// Why.
        reason: String,
    },
    /// Main was derived anew.
    Folded {
        /// The fold's tip.
        main: String,
        /// The heads that are parked.
        parked: Vec<String>,
    },
    /// Main moved.
    MainMoved {
        /// Its tip before.
        from: String,
        /// Its tip now.
        to: String,
        /// Whether the new tip descends from the old.
        fast_forward: bool,
    },
    /// Tables differ between two tips of main; see [`super::Swarm::diff`] for the rows.
    TablesChanged {
        /// The tables, sorted.
        tables: Vec<String>,
        /// Main before.
        from: String,
        /// Main now.
        to: String,
        /// Whether a commit made here did it, rather than a pull.
        local: bool,
    },
    /// A fold recorded conflicts.
    ConflictsRecorded {
        /// How many rows were added to `swarm_conflicts`.
        count: u64,
    },
    /// A commit of another program cannot be part of the swarm; it was taken off main.
    CommitRefused {
        /// The commit, which stays on the branch `refused/<commit>`.
        commit: String,
        /// Why.
        reason: String,
    },
    /// Main waits for another program's uncommitted changes.
    MainWaits {
        /// In these tables.
        tables: Vec<String>,
    },
    /// A peer has the same heads and another main: the engines disagree.
    EnginesDisagree {
        /// The peer.
        peer: String,
        /// This node's main.
        ours: String,
        /// The peer's main.
        theirs: String,
    },
    /// A peer is connected, and agrees on swarm, engine and policy.
    PeerConnected {
        /// The peer.
        peer: String,
    },
    /// A peer is gone.
    PeerDisconnected {
        /// The peer.
        peer: String,
    },
    /// A key became a member.
    MemberAdded {
        /// The member.
        peer: String,
        /// Its role.
        role: String,
    },
    /// The listener was too slow and lost events.
    Lagged {
        /// How many.
        missed: u64,
    },
}
