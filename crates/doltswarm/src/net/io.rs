//! One QUIC stream in each direction as one byte pipe, which is what HTTP/2 runs on.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use doltswarm_core::id::PeerId;
use doltswarm_core::limits::{CONNECTION_RECEIVE_WINDOW_BYTES, STREAMED_ANSWERS_MAX};
use iroh::endpoint::{Connection, RecvStream, SendStream, WeakConnectionHandle};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, mpsc};
use tonic::transport::server::Connected;

use super::stats::Counters;

// A window that the transport's encoding cannot hold would be cut without a word.
const _: () = assert!(CONNECTION_RECEIVE_WINDOW_BYTES < 1 << 30);

/// What a handler knows of the connection that a call came on.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The key that the other side proved in the handshake.
    pub(crate) peer: PeerId,
    /// The connection, without keeping it open.
    pub(crate) connection: WeakConnectionHandle,
    /// How many more streamed answers the connection may be reading.
    pub(crate) streamed: Arc<Semaphore>,
    /// Counts what goes over the streams.
    counters: Arc<Counters>,
    /// Held by everything that works for the connection: closing the network waits for it.
    _alive: Option<Alive>,
}

/// Says by being there that something of the network still runs.
pub(crate) type Alive = mpsc::Sender<Infallible>;

impl Caller {
    /// Describes the other side of `connection`. One for all streams of the connection.
    pub(crate) fn of(
        connection: &Connection,
        counters: Arc<Counters>,
        alive: Option<Alive>,
    ) -> Self {
        Self {
            peer: PeerId::from_bytes(*connection.remote_id().as_bytes()),
            connection: connection.weak_handle(),
            streamed: Arc::new(Semaphore::new(STREAMED_ANSWERS_MAX)),
            counters,
            _alive: alive,
        }
    }
}

/// How many bytes arrived on a channel.
pub(crate) type Received = Arc<AtomicU64>;

/// A bidirectional QUIC stream. Dropping it finishes the sending half and stops the receiving one.
#[derive(Debug)]
pub(crate) struct IrohIo {
    send: SendStream,
    recv: RecvStream,
    caller: Caller,
    received: Received,
}

impl IrohIo {
    /// Joins the two halves.
    pub(crate) fn new(caller: Caller, send: SendStream, recv: RecvStream) -> Self {
        Self { send, recv, caller, received: Received::default() }
    }

    /// Counts what arrives in `received` too.
    pub(crate) fn counting(self, received: Received) -> Self {
        Self { received, ..self }
    }
}

impl AsyncRead for IrohIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = AsyncRead::poll_read(Pin::new(&mut self.recv), cx, buf);
        let bytes = buf.filled().len() - before;
        self.caller.counters.received(bytes);
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for IrohIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = AsyncWrite::poll_write(Pin::new(&mut self.send), cx, buf);
        if let Poll::Ready(Ok(bytes)) = &polled {
            self.caller.counters.sent(*bytes);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.send), cx)
    }
}

impl Connected for IrohIo {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}
