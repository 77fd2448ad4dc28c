//! The door: how the bearer of a ticket becomes a member. The only thing a stranger can do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use doltswarm_core::id::PeerId;
use doltswarm_core::limits::{
    CALL_TIMEOUT, DIAL_TIMEOUT, DOOR_BURST, DOOR_RATE, GRANTS_MESSAGE_BYTES_MAX,
};
use tokio::time::{Instant, timeout};
use tonic::{Request, Response, Status};

use super::client::{Failed, channel};
use super::dial;
use super::endpoint::{CloseCode, DOOR_ALPN, Gate, door_opens};
use super::greet;
use super::io::{Caller, Received};
use super::pb;
use super::pb::door_client::DoorClient;
use super::pb::door_server::Door;
use super::server::{call, guilty, ours};
use super::service::{JoinAnswer, JoinAsk};
use super::wire;
use super::{CallError, DialError, Inner, Refusal};

/// Lets a burst through and then a steady trickle.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { tokens: f64::from(DOOR_BURST), filled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        let tokens = self.tokens + since * f64::from(DOOR_RATE);
        self.tokens = tokens.min(f64::from(DOOR_BURST));
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// The answering side.
pub(crate) struct DoorService {
    gate: Gate,
    bucket: Mutex<Bucket>,
}

impl DoorService {
    pub(crate) fn new(gate: Gate) -> Self {
        Self { gate, bucket: Mutex::new(Bucket::full(Instant::now())) }
    }

    fn admit(&self) -> bool {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
    }
}

#[tonic::async_trait]
impl Door for DoorService {
    async fn join(
        &self,
        request: Request<pb::JoinRequest>,
    ) -> Result<Response<pb::JoinReply>, Status> {
        let call = call(&self.gate, &request, false)?;
        if !self.admit() {
            return Err(Refusal::Busy.into_status());
        }
        // The last invitation may have been used up since the handshake.
        if !door_opens(&*call.service, &call.from) {
            return Err(Refusal::NotAllowed("no invitation is open".into()).into_status());
        }
        let ask = wire::join_from(request.get_ref()).map_err(guilty)?;
        let answer = call.service.join(call.from, ask).await.map_err(Refusal::into_status)?;
        Ok(Response::new(wire::join_answer_to(answer).map_err(ours)?))
    }
}

/// Asks a peer to be let in. The connection is for this call alone and is closed after it.
pub(crate) async fn join(
    inner: &Arc<Inner>,
    peer: PeerId,
    addresses: &[SocketAddr],
    ask: &JoinAsk,
) -> Result<JoinAnswer, CallError> {
    let message = wire::join_to(ask).map_err(CallError::Unsendable)?;
    let dial = async {
        let connection = dial::handshake(inner, peer, addresses, DOOR_ALPN).await?;
        greet::welcomed(&connection).await?;
        Ok::<_, dial::Broken>(connection)
    };
    let connection = match timeout(DIAL_TIMEOUT, dial).await {
        Ok(connection) => connection.map_err(DialError::from)?,
        Err(_) => return Err(DialError::TimedOut.into()),
    };
    let caller = Caller::of(&connection, inner.counters.clone(), inner.alive());
    let mut client = DoorClient::new(channel(connection.clone(), caller, Received::default()))
        .max_decoding_message_size(GRANTS_MESSAGE_BYTES_MAX);
    let reply = timeout(CALL_TIMEOUT, client.join(message)).await;
    CloseCode::Done.close(&connection);
    let reply = match reply {
        Ok(Ok(reply)) => reply.into_inner(),
        Ok(Err(status)) => {
            return Err(match Failed::from(status) {
                Failed::Call(error) => error,
                Failed::Broke(text) => CallError::Unreachable(text),
            });
        }
        Err(_) => return Err(CallError::TimedOut),
    };
    wire::join_answer_from(&reply).map_err(CallError::Malformed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_bucket_lets_a_burst_through_and_then_a_trickle() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        let burst = (0..2 * DOOR_BURST).filter(|_| bucket.take(start)).count();
        assert_eq!(burst, DOOR_BURST as usize);
        let later = start + Duration::from_secs(2);
        let trickle = (0..2 * DOOR_BURST).filter(|_| bucket.take(later)).count();
        assert_eq!(trickle, 2 * DOOR_RATE as usize);
    }
}
