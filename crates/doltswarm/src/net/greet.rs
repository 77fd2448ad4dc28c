//! The first bytes on a member's connection, by which both sides agree to keep it.
//!
//! A handshake that succeeds for the one who dials says nothing yet of whether the other side knows
//! the key, and each side may have another connection to the same peer. So each connection begins
//! with words on streams of one direction: the side with the greater id says [`Word::Welcome`], and
//! the other one, which decides, says [`Word::Keep`]. Only then do both use it.

use doltswarm_core::id::PeerId;
use iroh::endpoint::{Connection, ConnectionError};
use std::sync::Arc;

use super::Inner;
use super::endpoint::CloseCode;
use super::io::Caller;
use super::registry::{Live, Registry, Verdict};

/// A word at the beginning of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// The sender knows the receiver's key.
    Welcome,
    /// The sender keeps this connection.
    Keep(Verdict),
}

/// A word's size on the wire, in bytes: what it is, and two numbers, big-endian.
const WORD_BYTES: usize = 17;

impl Word {
    fn encode(self) -> [u8; WORD_BYTES] {
        let mut bytes = [0; WORD_BYTES];
        if let Self::Keep(verdict) = self {
            bytes[0] = 1;
            bytes[1..9].copy_from_slice(&verdict.life.to_be_bytes());
            bytes[9..].copy_from_slice(&verdict.number.to_be_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8; WORD_BYTES]) -> Option<Self> {
        let number = |at: usize| {
            bytes[at..at + 8].iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
        };
        match bytes[0] {
            0 => Some(Self::Welcome),
            1 => Some(Self::Keep(Verdict { life: number(1), number: number(9) })),
            _ => None,
        }
    }
}

/// Why a connection was not kept.
#[derive(Debug)]
pub(crate) enum Parted {
    /// This side closed it with this code.
    Here(CloseCode),
    /// It broke, or the other side closed it.
    There(ConnectionError),
    /// The other side said what makes no sense; it was closed.
    Nonsense,
}

/// Agrees with the other side on whether to keep a new connection. `inbound`: the other side
/// dialled. The caller limits the time. Dropped halfway it leaves no connection.
pub(crate) async fn agree(
    inner: &Inner,
    connection: Connection,
    inbound: bool,
) -> Result<Arc<Live>, Parted> {
    let caller = Caller::of(&connection, inner.counters.clone(), inner.alive());
    if decides(&inner.id, &caller.peer) {
        if hear(&connection).await? != Word::Welcome {
            return nonsense(&connection);
        }
        let kept = inner.registry.decide(connection, caller, inbound);
        let (live, verdict) = kept.map_err(Parted::Here)?;
        let mut unsaid = Unsaid { registry: &inner.registry, live: Some(live.clone()) };
        say(&live.connection, Word::Keep(verdict)).await?;
        unsaid.live = None;
        Ok(live)
    } else {
        // The peer's own connection came while this node dialled: with this one it would be
        // replaced.
        if !inbound && inner.registry.current(&caller.peer).is_some() {
            CloseCode::Duplicate.close(&connection);
            return Err(Parted::Here(CloseCode::Duplicate));
        }
        say(&connection, Word::Welcome).await?;
        let Word::Keep(verdict) = hear(&connection).await? else { return nonsense(&connection) };
        inner.registry.follow(connection, caller, verdict).map_err(Parted::Here)
    }
}

/// A connection that is kept here, until the other side is told. It is let go where that fails or
/// takes too long: nobody serves it yet, so nobody would see its end.
struct Unsaid<'a> {
    registry: &'a Registry,
    live: Option<Arc<Live>>,
}

impl Drop for Unsaid<'_> {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            CloseCode::Failed.close(&live.connection);
            self.registry.gone(&live);
        }
    }
}

/// Whether this node decides which connections to a peer are kept.
fn decides(here: &PeerId, peer: &PeerId) -> bool {
    here < peer
}

fn nonsense<T>(connection: &Connection) -> Result<T, Parted> {
    CloseCode::Failed.close(connection);
    Err(Parted::Nonsense)
}

/// Says that a stranger may make its call.
pub(crate) async fn welcome(connection: &Connection) -> Result<(), Parted> {
    say(connection, Word::Welcome).await
}

/// Waits until a stranger's call is welcome.
pub(crate) async fn welcomed(connection: &Connection) -> Result<(), Parted> {
    if hear(connection).await? == Word::Welcome { Ok(()) } else { nonsense(connection) }
}

async fn say(connection: &Connection, word: Word) -> Result<(), Parted> {
    let mut stream = connection.open_uni().await.map_err(Parted::There)?;
    let said = stream.write_all(&word.encode()).await.is_ok() && stream.finish().is_ok();
    if said { Ok(()) } else { broken(connection) }
}

async fn hear(connection: &Connection) -> Result<Word, Parted> {
    let mut stream = connection.accept_uni().await.map_err(Parted::There)?;
    let mut bytes = [0; WORD_BYTES];
    if stream.read_exact(&mut bytes).await.is_err() {
        return broken(connection);
    }
    Word::decode(&bytes).map_or_else(|| nonsense(connection), Ok)
}

/// A stream broke: because the connection did, or else because the other side gave it up.
fn broken<T>(connection: &Connection) -> Result<T, Parted> {
    match connection.close_reason() {
        Some(reason) => Err(Parted::There(reason)),
        None => nonsense(connection),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip_and_nonsense_is_none() {
        for word in [Word::Welcome, Word::Keep(Verdict { life: u64::MAX - 1, number: 0x0102_0304 })]
        {
            assert_eq!(Word::decode(&word.encode()), Some(word));
        }
        assert_eq!(Word::decode(&[9; WORD_BYTES]), None);
    }
}
