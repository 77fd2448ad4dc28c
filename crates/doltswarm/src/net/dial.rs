//! Dialling: one at a time for each peer, and no success before the peer has accepted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doltswarm_core::id::PeerId;
use doltswarm_core::limits::{DIAL_TIMEOUT, REPLACEMENT_WAIT};
use iroh::EndpointAddr;
use iroh::endpoint::{ConnectError, ConnectWithOptsError, ConnectingError, Connection};
use iroh::endpoint::{ConnectionError, TransportErrorCode};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::endpoint::{CloseCode, MEMBER_ALPN, endpoint_id};
use super::greet::{self, Parted};
use super::{DialError, Inner};

type Outcome = Result<(), DialError>;

/// The dials in flight.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<PeerId, watch::Receiver<Option<Outcome>>>>);

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, watch::Receiver<Option<Outcome>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a flight off the list when it ends, however it ends.
struct Landing {
    inner: Arc<Inner>,
    peer: PeerId,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.inner.flights.lock().remove(&self.peer);
    }
}

/// Connects to a peer; at once where it is connected. Callers of the same peer share one dial,
/// which goes on where they go away.
pub(crate) async fn connect(inner: &Arc<Inner>, peer: PeerId, addresses: &[SocketAddr]) -> Outcome {
    if inner.registry.current(&peer).is_some() {
        return Ok(());
    }
    let (sender, receiver) = watch::channel(None);
    let under_way = match inner.flights.lock().entry(peer) {
        Entry::Occupied(flight) => Some(flight.get().clone()),
        Entry::Vacant(none) => {
            none.insert(receiver.clone());
            None
        }
    };
    // Spawned without the lock: a closed network drops the task at once, and so the landing.
    let mut outcome = under_way.unwrap_or_else(|| {
        let landing = Landing { inner: inner.clone(), peer };
        let addresses = addresses.to_vec();
        inner.spawn(async move {
            let outcome = fly(&landing.inner, peer, &addresses).await;
            // Off the list before anyone hears of it: who dials again must really dial.
            drop(landing);
            sender.send_replace(Some(outcome));
        });
        receiver
    });
    tokio::select! {
        biased;
        outcome = outcome.wait_for(Option::is_some) => match outcome {
            Ok(outcome) => outcome.clone().unwrap_or(Err(DialError::Closed)),
            Err(_) => Err(DialError::Closed),
        },
        // The peer's own connection came first. Once the two have shaken hands the dial goes on:
        // the peer may have decided for it.
        () = inner.registry.connected(&peer) => Ok(()),
    }
}

/// One dial, up to its timeout.
async fn fly(inner: &Arc<Inner>, peer: PeerId, addresses: &[SocketAddr]) -> Outcome {
    let deadline = Instant::now() + DIAL_TIMEOUT;
    let dial = async {
        loop {
            match attempt(inner, peer, addresses).await {
                Ok(()) => return Ok(()),
                Err(Broken::Final(error)) => return Err(error),
                Err(Broken::Closed(CloseCode::Duplicate | CloseCode::Replaced)) => {
                    // The peer prefers another connection: it is about to arrive, unless it broke.
                    let arrived = inner.registry.connected(&peer);
                    if timeout(REPLACEMENT_WAIT, arrived).await.is_ok() {
                        return Ok(());
                    }
                }
                Err(Broken::Closed(code)) => return Err(closed(code)),
            }
        }
    };
    timeout_at(deadline, dial).await.unwrap_or(Err(DialError::TimedOut))
}

fn closed(code: CloseCode) -> DialError {
    match code {
        CloseCode::NotMember => DialError::Refused,
        CloseCode::DoorClosed => DialError::DoorClosed,
        CloseCode::Busy => DialError::Busy,
        code => {
            DialError::Unreachable(format!("the peer closed the connection: {}", code.reason()))
        }
    }
}

/// How a dial broke.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The other side closed the connection with one of our codes.
    Closed(CloseCode),
    /// Anything else.
    Final(DialError),
}

impl From<Broken> for DialError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Closed(code) => closed(code),
            Broken::Final(error) => error,
        }
    }
}

impl From<Parted> for Broken {
    fn from(parted: Parted) -> Self {
        match parted {
            Parted::Here(CloseCode::Closing) => Self::Final(DialError::Closed),
            Parted::Here(code) => Self::Closed(code),
            // It was kept, and then disconnected or replaced before the peer had heard of it.
            Parted::There(ConnectionError::LocallyClosed) => Self::Closed(CloseCode::Replaced),
            Parted::There(reason) => broken_by(&reason),
            Parted::Nonsense => {
                let text = "the peer did not keep to the protocol".to_owned();
                Self::Final(DialError::Unreachable(text))
            }
        }
    }
}

async fn attempt(inner: &Arc<Inner>, peer: PeerId, addresses: &[SocketAddr]) -> Result<(), Broken> {
    let connection = tokio::select! {
        biased;
        connection = handshake(inner, peer, addresses, MEMBER_ALPN) => connection?,
        // The peer's own connection came first. A dial that nobody answered yet could go on for
        // long.
        () = inner.registry.connected(&peer) => return Ok(()),
    };
    match greet::agree(inner, connection, false).await {
        Ok(live) => {
            inner.serve(live);
            Ok(())
        }
        // The peer's own connection came first, so there is one.
        Err(Parted::Here(CloseCode::Duplicate)) => Ok(()),
        Err(parted) => Err(parted.into()),
    }
}

/// Reaches the peer and checks its key. The caller sets the time limit.
pub(crate) async fn handshake(
    inner: &Arc<Inner>,
    peer: PeerId,
    addresses: &[SocketAddr],
    alpn: &[u8],
) -> Result<Connection, Broken> {
    let unreachable = |text: &str| Broken::Final(DialError::Unreachable(text.to_owned()));
    let endpoint = inner.endpoint().ok_or(Broken::Final(DialError::Closed))?;
    let id = endpoint_id(&peer).ok_or_else(|| unreachable("the id is not a key"))?;
    let mut target = EndpointAddr::new(id);
    for address in addresses {
        target = target.with_ip_addr(*address);
    }
    endpoint.connect(target, alpn).await.map_err(|error| broken(&error))
}

fn broken(error: &ConnectError) -> Broken {
    match error {
        ConnectError::Connection { source, .. }
        | ConnectError::Connecting {
            source: ConnectingError::ConnectionError { source, .. },
            ..
        } => broken_by(source),
        ConnectError::Connect { source: ConnectWithOptsError::EndpointClosed { .. }, .. } => {
            Broken::Final(DialError::Closed)
        }
        error => Broken::Final(DialError::Unreachable(chain(error))),
    }
}

/// Reads why a connection closed.
fn broken_by(reason: &ConnectionError) -> Broken {
    /// The alert of TLS for "no protocol in common".
    const NO_PROTOCOL: u8 = 120;
    let no_protocol = TransportErrorCode::crypto(NO_PROTOCOL);
    let is_crypto = |code: TransportErrorCode| (0x100..0x200).contains(&u64::from(code));
    let error = match reason {
        ConnectionError::ApplicationClosed(close) => {
            if let Some(code) = CloseCode::read(close.error_code) {
                return Broken::Closed(code);
            }
            DialError::Unreachable(reason.to_string())
        }
        ConnectionError::TransportError(error) if error.code == no_protocol => {
            DialError::WrongProtocol
        }
        ConnectionError::ConnectionClosed(close) if close.error_code == no_protocol => {
            DialError::WrongProtocol
        }
        ConnectionError::TransportError(error) if is_crypto(error.code) => DialError::WrongKey,
        ConnectionError::ConnectionClosed(close) if is_crypto(close.error_code) => {
            DialError::WrongKey
        }
        ConnectionError::VersionMismatch => DialError::WrongProtocol,
        ConnectionError::TimedOut => DialError::TimedOut,
        ConnectionError::LocallyClosed => DialError::Closed,
        reason => DialError::Unreachable(reason.to_string()),
    };
    Broken::Final(error)
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors say again what their cause says.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
