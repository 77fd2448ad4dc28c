//! The asking side: calls to one peer, over whatever connection it has at the moment.

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use doltswarm_core::id::{CommitHash, PeerId};
use doltswarm_core::limits::{
    CALL_TIMEOUT, CALL_WINDOW_BYTES, COMMITS_MESSAGE_BYTES_MAX, CONTROL_MESSAGE_BYTES_MAX,
    FRAME_BYTES_MAX, GRANTS_LISTED_MAX, GRANTS_MESSAGE_BYTES_MAX, HEADER_BYTES_MAX, OPEN_TIMEOUT,
    PULL_COMMITS_MAX, REPLACEMENT_WAIT, SIGNATURES_LISTED_MAX, STALL_TIMEOUT,
};
use doltswarm_core::message::{Advert, AdvertReply, HeadReply, HeadRequest, Hello, SignedCommit};
use hyper_util::rt::TokioIo;
use iroh::endpoint::Connection;
use prost::Message;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use super::chunk_store::RemoteChunkStore;
use super::endpoint::CloseCode;
use super::io::{Caller, IrohIo, Received};
use super::pb;
use super::pb::syncer_client::SyncerClient;
use super::registry::Live;
use super::wire::{self, WireError};
use super::{CallError, Inner, Refusal};

/// Opens a stream on one connection for a channel. The channel dies with the connection.
#[derive(Clone)]
struct Opener(Connection, Caller, Received);

impl tower_service::Service<http::Uri> for Opener {
    type Response = TokioIo<IrohIo>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let (connection, caller, received) = (self.0.clone(), self.1.clone(), self.2.clone());
        Box::pin(async move {
            // Waits for ever where the peer's limit of streams is used up: the channel's connect
            // timeout ends that.
            let (send, recv) = connection.open_bi().await.map_err(io::Error::other)?;
            Ok(TokioIo::new(IrohIo::new(caller, send, recv).counting(received)))
        })
    }
}

/// A channel on a stream of its own, which is opened at the first call. What arrives on it is
/// counted in `received`. Needs a tokio runtime.
pub(crate) fn channel(connection: Connection, caller: Caller, received: Received) -> Channel {
    // The address is never resolved; it only fills a header.
    Endpoint::from_static("http://peer")
        .connect_timeout(OPEN_TIMEOUT)
        .initial_stream_window_size(CALL_WINDOW_BYTES)
        .initial_connection_window_size(2 * CALL_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .connect_with_connector_lazy(Opener(connection, caller, received))
}

/// How the decoder's message begins.
const UNDECODABLE: &str = "failed to decode Protobuf message";

/// Why one attempt at a call failed.
pub(crate) enum Failed {
    /// The connection or the stream broke.
    Broke(String),
    /// Anything else: another attempt would end the same way.
    Call(CallError),
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<WireError> for Failed {
    fn from(error: WireError) -> Self {
        Self::Call(CallError::Malformed(error))
    }
}

impl From<Status> for Failed {
    /// Tells a broken connection from an answer. What broke on this side has a cause in this
    /// process; what the peer said does not.
    fn from(status: Status) -> Self {
        let local = status.source().is_some();
        match status.code() {
            // What the decoder on this side says; requests of this node are measured before.
            Code::OutOfRange => {
                let reason = status.message().chars().take(200).collect();
                WireError::Oversized { reason }.into()
            }
            Code::Internal if !local && status.message().starts_with(UNDECODABLE) => {
                let reason = status.message().chars().take(200).collect();
                WireError::Undecodable { reason }.into()
            }
            // The peer's own limit on how long it works on a call.
            Code::Cancelled | Code::DeadlineExceeded if !local => Self::Call(CallError::TimedOut),
            Code::Unavailable | Code::Unknown => Self::Broke(text(&status)),
            _ if local => Self::Broke(text(&status)),
            _ => Self::Call(CallError::Refused(Refusal::from_status(&status))),
        }
    }
}

fn text(status: &Status) -> String {
    let cause = status.source().map(super::dial::chain).unwrap_or_default();
    format!("{}: {cause}", status.message()).chars().take(300).collect()
}

/// The calls to one peer. Cheap to make and to clone; holds no connection: each call uses the one
/// that the peer has at that moment.
///
/// All calls may be repeated without harm, and a call whose connection was replaced under it (the
/// peer restarted, or both sides had dialled) is repeated once on the new one. Dropping a call's
/// future cancels it; the peer may or may not have acted on it.
///
/// # Errors
///
/// [`CallError`]: where [`CallError::is_retryable`] says no, the same call fails again.
#[derive(Clone)]
pub struct PeerLink {
    pub(crate) inner: Arc<Inner>,
    pub(crate) peer: PeerId,
}

impl PeerLink {
    /// The peer.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Greets the peer and returns its own greeting, which the caller must compare with its own:
    /// the peer compared too, but its word alone is not enough.
    pub async fn hello(&self, hello: &Hello) -> Result<Hello, CallError> {
        let message = &sized(wire::hello_to(hello))?;
        self.attempts(|live| async move {
            let reply = brief(syncer(live.control()).hello(message.clone())).await?;
            Ok(wire::hello_from(&reply)?)
        })
        .await
    }

    /// Tells the peer this node's heads. The answer means heard, not pulled.
    pub async fn advertise_head(&self, advert: &Advert) -> Result<AdvertReply, CallError> {
        let message = &sized(wire::advert_to(advert))?;
        let reply = self
            .attempts(|live| async move {
                let mut client = syncer(live.control());
                let reply = brief(client.advertise_head(message.clone())).await?;
                Ok(AdvertReply { duplicate: reply.duplicate })
            })
            .await?;
        self.inner.counters.advert_sent();
        Ok(reply)
    }

    /// Asks for the peer's heads: the first page of them.
    pub async fn request_head(&self) -> Result<HeadReply, CallError> {
        self.request_head_with(HeadRequest::default()).await
    }

    /// Asks for all of the peer's heads, page by page. Returns them sorted by hash, at most
    /// `PULL_COMMITS_MAX`.
    pub async fn request_all_heads(&self) -> Result<Vec<CommitHash>, CallError> {
        let (mut heads, mut request) = (Vec::new(), HeadRequest::default());
        loop {
            let page = self.request_head_with(request).await?.answer.page;
            let (field, max) = ("heads", PULL_COMMITS_MAX);
            if heads.last() >= page.heads.first() && !page.heads.is_empty() {
                return Err(CallError::Malformed(WireError::Unsorted { field }));
            }
            heads.extend(page.heads);
            if heads.len() > max {
                let got = heads.len();
                return Err(CallError::Malformed(WireError::TooMany { field, max, got }));
            }
            if !page.more || heads.last().copied() == request.after {
                return Ok(heads);
            }
            request.after = heads.last().copied();
        }
    }

    /// As [`PeerLink::request_head`], and says what else is wanted.
    pub async fn request_head_with(&self, request: HeadRequest) -> Result<HeadReply, CallError> {
        let message = &wire::head_request_to(&request);
        self.attempts(|live| async move {
            let reply = brief(syncer(live.control()).request_head(message.clone())).await?;
            Ok(wire::head_reply_from(&reply)?)
        })
        .await
    }

    /// The signatures of the user commits under `want` and not under `have`, parents first; at most
    /// `SIGNATURES_LISTED_MAX`. Nothing of what the peer says here is verified.
    pub async fn list_commits(
        &self,
        want: &[CommitHash],
        have: &[CommitHash],
    ) -> Result<Vec<SignedCommit>, CallError> {
        let message = &sized(wire::commits_request_to(want, have))?;
        self.attempts(|live| async move {
            let mut client = SyncerClient::new(self.bulk(&live))
                .max_decoding_message_size(COMMITS_MESSAGE_BYTES_MAX);
            let mut batches =
                slow(live.bulk_received(), client.list_commits(message.clone())).await?;
            let mut commits = Vec::new();
            while let Some(batch) = next(&mut batches, live.bulk_received()).await? {
                commits.extend(wire::commits_reply_from(&batch)?);
                if commits.len() > SIGNATURES_LISTED_MAX {
                    let (field, max) = ("commits", SIGNATURES_LISTED_MAX);
                    return Err(WireError::TooMany { field, max, got: commits.len() }.into());
                }
            }
            Ok(commits)
        })
        .await
    }

    /// The grants the peer knows, each in its canonical encoding, at most `GRANTS_LISTED_MAX`.
    /// Nothing of them is verified.
    pub async fn list_grants(&self) -> Result<Vec<Vec<u8>>, CallError> {
        self.attempts(|live| async move {
            let mut client = SyncerClient::new(self.bulk(&live))
                .max_decoding_message_size(GRANTS_MESSAGE_BYTES_MAX);
            let mut grants = Vec::new();
            loop {
                let request = pb::GrantsRequest { skip: grants.len() as u64 };
                let reply = slow(live.bulk_received(), client.list_grants(request)).await?;
                let page = wire::grants_from(&reply.grants)?;
                if reply.more && page.is_empty() {
                    return Err(WireError::Missing { field: "grants" }.into());
                }
                grants.extend(page);
                if !reply.more || grants.len() >= GRANTS_LISTED_MAX {
                    return Ok(grants);
                }
            }
        })
        .await
    }

    /// The channel for a transfer.
    pub(crate) fn bulk(&self, live: &Live) -> Channel {
        self.inner.counters.transfer_call();
        live.bulk()
    }

    /// The peer's chunks.
    pub fn chunk_store(&self) -> RemoteChunkStore {
        RemoteChunkStore::new(self.clone())
    }

    /// Makes a call on the peer's connection, and once more where that one broke and another has
    /// taken its place.
    pub(crate) async fn attempts<T, F>(
        &self,
        mut call: impl FnMut(Arc<Live>) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let mut attempt = self.attempt()?;
        loop {
            match call(attempt.live.clone()).await {
                Ok(value) => return Ok(value),
                Err(failed) => attempt.failed(failed).await?,
            }
        }
    }

    /// Begins a call on the peer's connection.
    pub(crate) fn attempt(&self) -> Result<Attempt<'_>, CallError> {
        let live = self.inner.registry.current(&self.peer).ok_or(CallError::NotConnected)?;
        Ok(Attempt { link: self, live, again: true })
    }
}

/// A call under way.
pub(crate) struct Attempt<'a> {
    link: &'a PeerLink,
    /// The connection to use.
    pub(crate) live: Arc<Live>,
    again: bool,
}

impl Attempt<'_> {
    /// After a failure: `Ok` where the call is to be made again, on what is now the connection.
    pub(crate) async fn failed(&mut self, failed: Failed) -> Result<(), CallError> {
        let broke = match failed {
            Failed::Call(error) => return Err(error),
            Failed::Broke(text) => text,
        };
        let reason = self.live.connection.close_reason();
        // A connection on which calls fail is no use, and as long as it is there the peer cannot be
        // dialled at another address.
        CloseCode::Failed.close(&self.live.connection);
        let registry = &self.link.inner.registry;
        if self.again && reason.as_ref().is_some_and(CloseCode::was_replaced) {
            // The one that took its place is there or about to arrive.
            let _ = timeout(REPLACEMENT_WAIT, registry.connected(&self.link.peer)).await;
        }
        match registry.current(&self.link.peer) {
            Some(next) if self.again => {
                self.live = next;
                self.again = false;
                Ok(())
            }
            _ => {
                let reason = reason.map_or(broke, |reason| reason.to_string());
                Err(CallError::Unreachable(reason))
            }
        }
    }
}

fn syncer(channel: Channel) -> SyncerClient<Channel> {
    SyncerClient::new(channel).max_decoding_message_size(CONTROL_MESSAGE_BYTES_MAX)
}

/// Lets only messages through that the other side would take.
fn sized<M: Message>(message: Result<M, WireError>) -> Result<M, CallError> {
    let message = message.map_err(CallError::Unsendable)?;
    let size = message.encoded_len();
    if size > CONTROL_MESSAGE_BYTES_MAX {
        let reason = format!("{size} bytes");
        return Err(CallError::Unsendable(WireError::Oversized { reason }));
    }
    Ok(message)
}

type Answer<T> = Result<tonic::Response<T>, Status>;

/// Waits for the answer of a small call on the channel for small messages.
pub(crate) async fn brief<T>(call: impl Future<Output = Answer<T>>) -> Result<T, Failed> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(CallError::TimedOut.into()),
    }
}

/// Waits for the answer of a call on the channel for transfers, or for its stream to begin.
pub(crate) async fn slow<T>(
    received: &Received,
    call: impl Future<Output = Answer<T>>,
) -> Result<T, Failed> {
    Ok(while_arriving(received, call).await??.into_inner())
}

/// Waits for the next message of a stream on the channel for transfers.
pub(crate) async fn next<T>(
    stream: &mut Streaming<T>,
    received: &Received,
) -> Result<Option<T>, Failed> {
    Ok(while_arriving(received, stream.message()).await??)
}

/// Waits as long as anything arrives on the channel: on a slow link one message, and an answer that
/// waits behind those of other calls, takes longer than a peer that does nothing is waited for.
async fn while_arriving<T>(
    received: &Received,
    work: impl Future<Output = T>,
) -> Result<T, Failed> {
    let mut work = std::pin::pin!(work);
    loop {
        let before = received.load(Ordering::Relaxed);
        match timeout(STALL_TIMEOUT, &mut work).await {
            Ok(done) => return Ok(done),
            Err(_) if received.load(Ordering::Relaxed) != before => {}
            Err(_) => return Err(CallError::TimedOut.into()),
        }
    }
}
