//! The answering side: the gRPC services over the node above.

use std::io;
use std::pin::Pin;

use doltswarm_core::id::PeerId;
use doltswarm_core::limits::{
    CALL_TIMEOUT, CALL_WINDOW_BYTES, CALLS_AT_ONCE_MAX, CALLS_PER_STREAM_MAX,
    CHUNK_REPLY_BYTES_MAX, CHUNK_REQUEST_BYTES_MAX, COMMITS_MESSAGE_BYTES_MAX,
    COMMITS_PER_MESSAGE_MAX, CONTROL_MESSAGE_BYTES_MAX, DOOR_MESSAGE_BYTES_MAX, FRAME_BYTES_MAX,
    GRANTS_MESSAGE_BYTES_MAX, GRANTS_PER_MESSAGE_MAX, HEADER_BYTES_MAX, SIGNATURES_LISTED_MAX,
    STALL_TIMEOUT,
};
use futures_util::{Stream, stream};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::Refusal;
use super::chunk_server::ChunkService;
use super::door::DoorService;
use super::endpoint::Gate;
use super::io::{Caller, IrohIo};
use super::pb;
use super::pb::chunk_store_server::ChunkStoreServer;
use super::pb::door_server::DoorServer;
use super::pb::syncer_server::{Syncer, SyncerServer};
use super::registry::observed;
use super::service::PeerService;
use super::stats::Counters;
use super::wire::{self, WireError};

/// Where accepted streams go.
pub(crate) type Intake = mpsc::Sender<io::Result<IrohIo>>;
/// How many accepted streams may wait to be taken up; taking one up is a matter of microseconds.
const INTAKE: usize = 256;

/// A streamed answer.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The answering side of what members may call, to be run, and where to put their streams.
pub(crate) fn members(
    gate: Gate,
    counters: Arc<Counters>,
) -> (Intake, impl Future<Output = ()> + Send) {
    let (intake, streams) = mpsc::channel(INTAKE);
    let syncer = SyncerServer::new(SyncerService { gate: gate.clone(), counters })
        .max_decoding_message_size(CONTROL_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(GRANTS_MESSAGE_BYTES_MAX.max(COMMITS_MESSAGE_BYTES_MAX));
    let chunks = ChunkStoreServer::new(ChunkService::new(gate))
        .max_decoding_message_size(CHUNK_REQUEST_BYTES_MAX)
        .max_encoding_message_size(CHUNK_REPLY_BYTES_MAX);
    let run = limited(STALL_TIMEOUT)
        .initial_stream_window_size(CALL_WINDOW_BYTES)
        .initial_connection_window_size(2 * CALL_WINDOW_BYTES)
        .add_service(syncer)
        .add_service(chunks)
        .serve_with_incoming(ReceiverStream::new(streams));
    (intake, finish(run))
}

/// The same for the one call that strangers may make.
pub(crate) fn door(service: DoorService) -> (Intake, impl Future<Output = ()> + Send) {
    let (intake, streams) = mpsc::channel(INTAKE);
    let door = DoorServer::new(service)
        .max_decoding_message_size(DOOR_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(GRANTS_MESSAGE_BYTES_MAX);
    let run =
        limited(CALL_TIMEOUT).add_service(door).serve_with_incoming(ReceiverStream::new(streams));
    (intake, finish(run))
}

/// What holds for every stream. There are no pings: whether the other side lives is for the
/// connection below to find out, and a ping in a stream waits behind what the stream carries.
/// `timeout` is how long a call may take until its answer begins.
fn limited(timeout: std::time::Duration) -> Server {
    Server::builder()
        .max_concurrent_streams(CALLS_PER_STREAM_MAX)
        .concurrency_limit_per_connection(CALLS_AT_ONCE_MAX)
        .timeout(timeout)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(16))
}

async fn finish(run: impl Future<Output = Result<(), tonic::transport::Error>>) {
    if let Err(error) = run.await {
        tracing::error!(%error, "a server stopped");
    }
}

/// Who calls, and the node that is to answer.
pub(crate) struct Call {
    pub(crate) from: PeerId,
    pub(crate) caller: Caller,
    pub(crate) service: Arc<dyn PeerService>,
}

/// Finds out who calls; `member` says whether only members may.
pub(crate) fn call<T>(gate: &Gate, request: &Request<T>, member: bool) -> Result<Call, Status> {
    let caller = request.extensions().get::<Caller>();
    let caller = caller.ok_or_else(|| Status::unauthenticated("no peer"))?.clone();
    let service = gate.service().ok_or_else(|| Status::unavailable("shutting down"))?;
    // Asked again at each call: who was a member at the handshake may not be one any more.
    if member && !service.is_member(&caller.peer) {
        return Err(Refusal::NotAllowed("not a member".into()).into_status());
    }
    Ok(Call { from: caller.peer, caller, service })
}

/// The caller broke the protocol.
pub(crate) fn guilty(error: WireError) -> Status {
    tracing::debug!(%error, "a peer's request breaks the protocol");
    Refusal::Misbehaved(error.to_string()).into_status()
}

/// This node's own answer would break the protocol: its fault.
pub(crate) fn ours(error: WireError) -> Status {
    tracing::error!(%error, "an answer of this node breaks the protocol");
    Refusal::Internal(error.to_string()).into_status()
}

/// Heads, signatures and grants.
struct SyncerService {
    gate: Gate,
    counters: Arc<Counters>,
}

#[tonic::async_trait]
impl Syncer for SyncerService {
    async fn hello(
        &self,
        request: Request<pb::HelloMessage>,
    ) -> Result<Response<pb::HelloMessage>, Status> {
        let call = call(&self.gate, &request, true)?;
        let hello = wire::hello_from(request.get_ref()).map_err(guilty)?;
        let address = call.caller.connection.upgrade().and_then(|live| observed(&live));
        let answer = call.service.hello(call.from, hello, address).await;
        let answer = answer.map_err(Refusal::into_status)?;
        Ok(Response::new(wire::hello_to(&answer).map_err(ours)?))
    }

    async fn advertise_head(
        &self,
        request: Request<pb::AdvertMessage>,
    ) -> Result<Response<pb::AdvertReply>, Status> {
        let call = call(&self.gate, &request, true)?;
        let advert = wire::advert_from(request.get_ref()).map_err(guilty)?;
        self.counters.advert_received();
        let reply = call.service.advertise_head(call.from, advert).await;
        let reply = reply.map_err(Refusal::into_status)?;
        Ok(Response::new(pb::AdvertReply { duplicate: reply.duplicate }))
    }

    async fn request_head(
        &self,
        request: Request<pb::HeadRequest>,
    ) -> Result<Response<pb::HeadReply>, Status> {
        let call = call(&self.gate, &request, true)?;
        let asked = wire::head_request_from(request.get_ref()).map_err(guilty)?;
        let reply = call.service.request_head(call.from, asked).await;
        let reply = reply.map_err(Refusal::into_status)?;
        Ok(Response::new(wire::head_reply_to(&reply).map_err(ours)?))
    }

    type ListCommitsStream = Answers<pb::CommitsReply>;

    async fn list_commits(
        &self,
        request: Request<pb::CommitsRequest>,
    ) -> Result<Response<Self::ListCommitsStream>, Status> {
        let call = call(&self.gate, &request, true)?;
        let (want, have) = wire::commits_request_from(request.get_ref()).map_err(guilty)?;
        let permit = call.caller.streamed.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Refusal::Busy.into_status())?;
        let commits = call.service.list_commits(call.from, want, have).await;
        let commits = commits.map_err(Refusal::into_status)?;
        if commits.len() > SIGNATURES_LISTED_MAX {
            let (field, max) = ("commits", SIGNATURES_LISTED_MAX);
            return Err(ours(WireError::TooMany { field, max, got: commits.len() }));
        }
        let held = (permit, call.caller);
        let batches = stream::unfold((commits, 0, held), |(commits, at, held)| async move {
            let end = commits.len().min(at + COMMITS_PER_MESSAGE_MAX);
            (at < end).then(|| {
                let batch = wire::commits_reply_to(&commits[at..end]);
                (Ok(batch), (commits, end, held))
            })
        });
        Ok(Response::new(Box::pin(batches)))
    }

    async fn list_grants(
        &self,
        request: Request<pb::GrantsRequest>,
    ) -> Result<Response<pb::GrantsReply>, Status> {
        let call = call(&self.gate, &request, true)?;
        let grants = call.service.list_grants(call.from).await.map_err(Refusal::into_status)?;
        let skip = usize::try_from(request.get_ref().skip).unwrap_or(usize::MAX);
        let count = grants.len().saturating_sub(skip);
        let page = grants.into_iter().skip(skip).take(GRANTS_PER_MESSAGE_MAX).collect();
        let more = count > GRANTS_PER_MESSAGE_MAX;
        Ok(Response::new(pb::GrantsReply { grants: wire::grants_to(page).map_err(ours)?, more }))
    }
}
