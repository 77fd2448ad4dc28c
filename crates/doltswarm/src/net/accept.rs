//! Takes in what others dial: handshakes, then members' streams and strangers at the door.

use std::sync::Arc;

use doltswarm_core::limits::{
    DOOR_CONNECTIONS_MAX, DOOR_TIMEOUT, HANDSHAKE_TIMEOUT, HANDSHAKES_AT_ONCE_MAX,
    HANDSHAKES_UNPROVEN_MAX,
};
use iroh::Endpoint;
use iroh::endpoint::{Connection, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Inner;
use super::endpoint::{CloseCode, DOOR_ALPN};
use super::greet;
use super::io::{Caller, IrohIo};
use super::registry::Live;
use super::server::Intake;

/// Accepts until the endpoint closes.
pub(crate) async fn run(inner: Arc<Inner>, endpoint: Endpoint) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_AT_ONCE_MAX));
    let door = Arc::new(Semaphore::new(DOOR_CONNECTIONS_MAX));
    while let Some(incoming) = endpoint.accept().await {
        let busy = HANDSHAKES_AT_ONCE_MAX - handshakes.available_permits();
        if busy >= HANDSHAKES_UNPROVEN_MAX && !incoming.remote_addr_validated() {
            // Costs the sender a round trip, and a forged address gets nowhere.
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
            continue;
        }
        let Ok(permit) = handshakes.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let task = receive(inner.clone(), incoming, permit, door.clone());
        inner.spawn(task);
    }
}

/// One inbound connection, from its first packet to its end.
async fn receive(
    inner: Arc<Inner>,
    incoming: Incoming,
    permit: OwnedSemaphorePermit,
    door: Arc<Semaphore>,
) {
    let handshake = async { incoming.accept().ok()?.await.ok() };
    // Whoever is not allowed is turned away in here, by the gate.
    let Ok(Some(connection)) = timeout(HANDSHAKE_TIMEOUT, handshake).await else { return };
    drop(permit);
    if connection.alpn() == DOOR_ALPN {
        match door.try_acquire() {
            Ok(_permit) => stranger(&inner, &connection).await,
            Err(_) => CloseCode::Busy.close(&connection),
        }
        return;
    }
    let agreed = timeout(HANDSHAKE_TIMEOUT, greet::agree(&inner, connection, true)).await;
    match agreed {
        Ok(Ok(live)) => streams(&inner, &live).await,
        Ok(Err(parted)) => tracing::debug!(?parted, "a connection was not kept"),
        Err(_) => tracing::debug!("a connection was not agreed on in time"),
    }
}

/// Hands a member's streams to the server until the connection closes.
pub(crate) async fn streams(inner: &Inner, live: &Arc<Live>) {
    while let Ok((send, recv)) = live.connection.accept_bi().await {
        take(&inner.member_intake, IrohIo::new(live.caller.clone(), send, recv));
    }
    tracing::debug!(
        peer = %live.peer.short(),
        reason = ?live.connection.close_reason(),
        "connection closed"
    );
    inner.registry.gone(live);
}

/// Lets a stranger make its one call, for a short time.
async fn stranger(inner: &Inner, connection: &Connection) {
    let visit = async {
        if greet::welcome(connection).await.is_err() {
            return;
        }
        if let Ok((send, recv)) = connection.accept_bi().await {
            let caller = Caller::of(connection, inner.counters.clone(), inner.alive());
            take(&inner.door_intake, IrohIo::new(caller, send, recv));
            connection.closed().await;
        }
    };
    // The stranger closes when it has its answer: closing first could lose the answer.
    let _ = timeout(DOOR_TIMEOUT, visit).await;
    CloseCode::Done.close(connection);
}

/// Hands a stream to a server. Where the server does not keep up the stream is dropped, which the
/// other side sees as a broken channel.
fn take(intake: &Intake, stream: IrohIo) {
    if intake.try_send(Ok(stream)).is_err() {
        tracing::warn!("a stream was dropped: too many at once");
    }
}
