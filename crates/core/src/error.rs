//! Errors that name the guilty side.

/// A peer did what it must not. The fault is the peer's; nothing here is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFault {
    /// What it sent cannot be read.
    #[error("the peer sent something malformed: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// It is another version, or belongs to another swarm.
    #[error("the peer is incompatible: its {what} is {theirs}, ours is {ours}")]
    Incompatible {
        /// What differs.
        what: &'static str,
        /// This side's value.
        ours: String,
        /// The peer's value.
        theirs: String,
    },
    /// It broke the rules of the protocol.
    #[error("the peer broke the rules: {what}")]
    Misbehaved {
        /// The rule it broke.
        what: String,
    },
}
