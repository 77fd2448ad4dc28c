//! A peer that keeps to no rule but those of the transport: what it sends is up to the test.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use iroh::endpoint::{Connection, QuicTransportConfig, RecvStream, SendStream, presets};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::Channel;
use tonic::transport::server::Connected;

use super::support::Peer;

#[allow(missing_docs, unreachable_pub, dead_code, clippy::all, reason = "generated")]
pub(crate) mod pb {
    include!("../../src/net/pb/doltswarm.v1.rs");
}

pub(crate) const MEMBERS: &[u8] = b"doltswarm/1";
pub(crate) const DOOR: &[u8] = b"doltswarm/door/1";

/// A key whose id is greater than that of [`HOST`]: so the host decides on connections.
pub(crate) const RAW: u8 = 1;
/// See [`RAW`].
pub(crate) const HOST: u8 = 2;

pub(crate) async fn endpoint(alpns: &[&[u8]]) -> Endpoint {
    with_transport(alpns, QuicTransportConfig::builder().build()).await
}

pub(crate) async fn with_transport(alpns: &[&[u8]], transport: QuicTransportConfig) -> Endpoint {
    Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .secret_key(SecretKey::from_bytes(&[RAW; 32]))
        .alpns(alpns.iter().map(|alpn| alpn.to_vec()).collect())
        .transport_config(transport)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .unwrap()
        .bind()
        .await
        .unwrap()
}

pub(crate) fn id(endpoint: &Endpoint) -> doltswarm::core::id::PeerId {
    doltswarm::core::id::PeerId::from_bytes(*endpoint.id().as_bytes())
}

/// A host, and a raw member connected to it.
pub(crate) async fn member() -> (Peer, Endpoint, Connection) {
    let host = Peer::start(HOST).await;
    let endpoint = endpoint(&[MEMBERS]).await;
    assert!(host.id < id(&endpoint), "the keys are the wrong way round");
    host.node.members.lock().unwrap().insert(id(&endpoint));
    let connection = dial(&endpoint, &host, MEMBERS).await;
    super::support::eventually("the host keeps the connection", || {
        host.net.is_connected(&id(&endpoint))
    })
    .await;
    (host, endpoint, connection)
}

pub(crate) async fn dial(endpoint: &Endpoint, host: &Peer, alpn: &[u8]) -> Connection {
    let id = EndpointId::from_bytes(host.id.as_bytes()).unwrap();
    let address = EndpointAddr::new(id).with_ip_addr(host.net.addresses()[0]);
    let connection = endpoint.connect(address, alpn).await.unwrap();
    if alpn == MEMBERS {
        // Welcome, as who does not decide says. A host that turns the dial away does not hear it.
        let mut word = connection.open_uni().await.unwrap();
        let _ = word.write_all(&[0; 17]).await;
        let _ = word.finish();
    }
    connection
}

/// Both halves of a stream.
pub(crate) struct Pipe(SendStream, RecvStream);

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.1), cx, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.0), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.0), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.0), cx)
    }
}

impl Connected for Pipe {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// Opens streams for a channel.
#[derive(Clone)]
struct Opener(Connection);

impl tower_service::Service<http::Uri> for Opener {
    type Response = TokioIo<Pipe>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let connection = self.0.clone();
        Box::pin(async move {
            let (send, recv) = connection.open_bi().await?;
            Ok(TokioIo::new(Pipe(send, recv)))
        })
    }
}

pub(crate) fn channel(connection: &Connection) -> Channel {
    tonic::transport::Endpoint::from_static("http://host")
        .connect_with_connector_lazy(Opener(connection.clone()))
}

/// The streams that the other side opens, for a server.
pub(crate) fn streams(
    connection: Connection,
) -> impl futures_util::Stream<Item = io::Result<Pipe>> + Send {
    futures_util::stream::unfold(connection, |connection| async move {
        let (send, recv) = connection.accept_bi().await.ok()?;
        Some((Ok(Pipe(send, recv)), connection))
    })
}
