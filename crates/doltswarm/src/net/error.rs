//! What can go wrong between two peers, and whose fault it is.

use doltswarm_core::id::{ChunkHash, PeerId};
use doltswarm_core::limits::REFUSAL_BYTES_MAX;
use tonic::{Code, Status};

use super::wire::WireError;

/// Why a peer did not do what it was asked. Travels; the text is for people and at most
/// [`REFUSAL_BYTES_MAX`] bytes long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The asker may not do this.
    #[error("not allowed: {0}")]
    NotAllowed(String),
    /// The two differ in something both must agree on; the text names both sides' values.
    #[error("mismatch: {0}")]
    Mismatch(String),
    /// The asker broke the protocol.
    #[error("the request breaks the protocol: {0}")]
    Misbehaved(String),
    /// The asked has too much to do; later it may work.
    #[error("busy")]
    Busy,
    /// Something failed on the side that was asked.
    #[error("the peer failed: {0}")]
    Internal(String),
}

impl Refusal {
    /// The gRPC status that carries this refusal.
    pub(crate) fn into_status(self) -> Status {
        let (code, text) = match self {
            Self::NotAllowed(text) => (Code::PermissionDenied, text),
            Self::Mismatch(text) => (Code::FailedPrecondition, text),
            Self::Misbehaved(text) => (Code::InvalidArgument, text),
            Self::Busy => (Code::ResourceExhausted, String::new()),
            Self::Internal(text) => (Code::Internal, text),
        };
        Status::new(code, cut(&text))
    }

    /// The refusal that a status from the other side carries; the text is made safe to print.
    pub(crate) fn from_status(status: &Status) -> Self {
        let text = cut(&status.message().replace(char::is_control, " "));
        match status.code() {
            Code::PermissionDenied | Code::Unauthenticated => Self::NotAllowed(text),
            Code::FailedPrecondition | Code::Unimplemented => Self::Mismatch(text),
            Code::InvalidArgument | Code::OutOfRange => Self::Misbehaved(text),
            Code::ResourceExhausted => Self::Busy,
            _ => Self::Internal(text),
        }
    }
}

/// Cuts a text to the length a refusal may have, at a character's boundary.
fn cut(text: &str) -> String {
    let mut end = text.len().min(REFUSAL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Who has to change something before a failed call can work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nobody in particular: the way between the two, or the moment.
    Network,
    /// The peer.
    Peer,
    /// This node.
    Here,
}

/// The node could not open its sockets.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}: {reason}; name another address or free this one")]
    Address {
        /// The address asked for.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// A limit is out of the range of the transport.
    #[error("a transport limit is out of range: {0}")]
    Limit(String),
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

/// A dial that did not end in a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// No address is known, none can be used, or the connection broke at once.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// Nobody answered within the dial timeout.
    #[error("nobody answered in time")]
    TimedOut,
    /// The peer answered and does not know this node as a member.
    #[error("the peer does not know this node as a member")]
    Refused,
    /// The peer answered and has no invitation open.
    #[error("the peer has no invitation open")]
    DoorClosed,
    /// Whoever answers at the address is not the peer.
    #[error("another peer answers at that address")]
    WrongKey,
    /// The peer answered and speaks no version of the protocol that this node speaks.
    #[error("the peer speaks another version of the protocol")]
    WrongProtocol,
    /// The peer has as many connections as it takes.
    #[error("the peer is busy")]
    Busy,
    /// The network of this node was closed.
    #[error("this node's network is closed")]
    Closed,
}

impl DialError {
    /// Whether the same dial may work later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::TimedOut | Self::Busy)
    }
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no connection to the peer.
    #[error("not connected to the peer")]
    NotConnected,
    /// The connection broke during the call; it was closed.
    #[error("the connection broke: {0}")]
    Unreachable(String),
    /// The peer did not answer in time, or stopped in the middle.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// The peer said no.
    #[error("the peer refused: {0}")]
    Refused(Refusal),
    /// The peer's answer breaks the protocol.
    #[error("the peer's answer breaks the protocol: {0}")]
    Malformed(WireError),
    /// What this node was about to send breaks the protocol; nothing was sent.
    #[error("the message breaks the protocol and was not sent: {0}")]
    Unsendable(WireError),
    /// The peer could not be reached to make the call.
    #[error(transparent)]
    Dial(#[from] DialError),
}

impl CallError {
    /// Whether the same call may work later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotConnected | Self::Unreachable(_) | Self::TimedOut => true,
            Self::Refused(refusal) => matches!(refusal, Refusal::Busy | Refusal::Internal(_)),
            Self::Malformed(_) | Self::Unsendable(_) => false,
            Self::Dial(error) => error.is_retryable(),
        }
    }

    /// Who has to change something.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotConnected | Self::Unreachable(_) | Self::TimedOut => Fault::Network,
            Self::Refused(Refusal::Busy | Refusal::Internal(_)) | Self::Malformed(_) => Fault::Peer,
            Self::Refused(_) | Self::Unsendable(_) => Fault::Here,
            Self::Dial(error) => match error {
                DialError::Unreachable(_) | DialError::TimedOut => Fault::Network,
                DialError::WrongKey | DialError::Busy | DialError::DoorClosed => Fault::Peer,
                DialError::Refused | DialError::WrongProtocol | DialError::Closed => Fault::Here,
            },
        }
    }
}

/// Reading a peer's chunks failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkStoreError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The peer sent bytes that are not those of the hash it was asked for.
    #[error("peer {peer} sent chunk {asked} with bytes whose hash is {got}")]
    WrongChunk {
        /// Who sent it.
        peer: PeerId,
        /// What was asked for.
        asked: ChunkHash,
        /// What the bytes hash to.
        got: ChunkHash,
    },
}

impl ChunkStoreError {
    /// Whether the same call may work later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Call(error) if error.is_retryable())
    }

    /// Who has to change something.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Call(error) => error.fault(),
            Self::WrongChunk { .. } => Fault::Peer,
        }
    }
}

/// A write to a peer's chunks was asked for: peers only ever pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{call}` refused: a peer's chunks are read-only")]
pub struct ReadOnly {
    /// The call that was refused.
    pub call: &'static str,
}
