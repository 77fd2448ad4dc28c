//! Opens the sockets: an endpoint that talks to nobody it was not told to talk to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use doltswarm_core::id::PeerId;
use doltswarm_core::limits::{
    CONNECTION_RECEIVE_WINDOW_BYTES, CONNECTION_SEND_WINDOW_BYTES, IDLE_TIMEOUT,
    KEEP_ALIVE_INTERVAL, STREAMS_PER_CONNECTION_MAX,
};
use iroh::endpoint::{
    AfterHandshakeOutcome, BindOpts, Connection, ConnectionError, EndpointHooks, NetReportConfig,
    PortmapperConfig, QuicTransportConfig, VarInt, presets,
};
use iroh::{Endpoint, EndpointId, RelayMode, SecretKey};
use noq_proto::congestion::Bbr3Config;

use super::service::PeerService;
use super::{BindError, NetConfig};

/// The protocol that members speak.
pub(crate) const MEMBER_ALPN: &[u8] = b"doltswarm/1";
/// The protocol that strangers with a ticket speak.
pub(crate) const DOOR_ALPN: &[u8] = b"doltswarm/door/1";

/// Why a connection was closed, as the other side is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum CloseCode {
    /// The one who closed wanted to.
    Done = 0,
    /// A call on it failed.
    Failed = 1,
    /// A newer connection between the same two took its place.
    Replaced = 2,
    /// The two dialled each other at the same moment, and the other connection stays.
    Duplicate = 3,
    /// The one who dialled is not a member.
    NotMember = 4,
    /// No invitation is open.
    DoorClosed = 5,
    /// There are too many connections already.
    Busy = 6,
    /// The node shuts down.
    Closing = 7,
}

impl CloseCode {
    const ALL: [Self; 8] = [
        Self::Done,
        Self::Failed,
        Self::Replaced,
        Self::Duplicate,
        Self::NotMember,
        Self::DoorClosed,
        Self::Busy,
        Self::Closing,
    ];

    /// Reads what the other side said.
    pub(crate) fn read(code: VarInt) -> Option<Self> {
        Self::ALL.into_iter().find(|known| u64::from(*known as u32) == code.into_inner())
    }

    /// Whether a connection ended because another took its place, decided here or there.
    pub(crate) fn was_replaced(reason: &ConnectionError) -> bool {
        match reason {
            ConnectionError::ApplicationClosed(close) => {
                matches!(Self::read(close.error_code), Some(Self::Replaced | Self::Duplicate))
            }
            ConnectionError::LocallyClosed => true,
            _ => false,
        }
    }

    pub(crate) fn var(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "a call failed",
            Self::Replaced => "replaced by a newer connection",
            Self::Duplicate => "both sides dialled",
            Self::NotMember => "not a member",
            Self::DoorClosed => "no invitation is open",
            Self::Busy => "busy",
            Self::Closing => "shutting down",
        }
    }

    /// Closes a connection with this code. Closing twice is harmless.
    pub(crate) fn close(self, connection: &Connection) {
        connection.close(self.var(), self.reason().as_bytes());
    }
}

/// The node above, as long as the network is open. Closing takes it out, so that a node and its
/// network, which know each other, do not keep each other alive.
#[derive(Clone)]
pub(crate) struct Gate(Arc<RwLock<Option<Arc<dyn PeerService>>>>);

impl Gate {
    pub(crate) fn new(service: Arc<dyn PeerService>) -> Self {
        Self(Arc::new(RwLock::new(Some(service))))
    }

    /// The node above, or `None` once the network is closed.
    pub(crate) fn service(&self) -> Option<Arc<dyn PeerService>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn close(&self) {
        let service = self.0.write().unwrap_or_else(PoisonError::into_inner).take();
        // Dropped without the lock: the node's own drop may come back here.
        drop(service);
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl EndpointHooks for Gate {
    /// Stops whoever is not allowed before any stream of theirs is read.
    async fn after_handshake<'a>(&'a self, connection: &'a Connection) -> AfterHandshakeOutcome {
        if connection.side().is_client() {
            return AfterHandshakeOutcome::accept();
        }
        let peer = PeerId::from_bytes(*connection.remote_id().as_bytes());
        let code = match self.service() {
            None => CloseCode::Closing,
            Some(service) if connection.alpn() == DOOR_ALPN => {
                if door_opens(&*service, &peer) {
                    return AfterHandshakeOutcome::accept();
                }
                CloseCode::DoorClosed
            }
            Some(service) => {
                if service.is_member(&peer) {
                    return AfterHandshakeOutcome::accept();
                }
                CloseCode::NotMember
            }
        };
        tracing::debug!(peer = %peer.short(), reason = code.reason(), "turned away");
        AfterHandshakeOutcome::Reject { error_code: code.var(), reason: code.reason().into() }
    }
}

/// Whether `peer` may stand at the door. A new member may come back: it may have missed the answer
/// that took it in.
pub(crate) fn door_opens(service: &dyn PeerService, peer: &PeerId) -> bool {
    service.door_open() || service.is_member(peer)
}

/// The transport's limits: what a hostile peer can make this node hold, and how fast a lost one is
/// noticed.
fn transport() -> Result<QuicTransportConfig, BindError> {
    let idle = IDLE_TIMEOUT.try_into().map_err(|_| BindError::Limit("IDLE_TIMEOUT".into()))?;
    // The window of a single stream stays at its default: with a larger one the transport takes a
    // fast sender for an attacker and kills the connection.
    Ok(QuicTransportConfig::builder()
        // The default, Cubic, takes each lost packet for a full queue: at 1 % loss and 100 ms it
        // used a fortieth of the link (docs/networks.md).
        .congestion_controller_factory(Arc::new(Bbr3Config::default()))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_PER_CONNECTION_MAX))
        // One, for the word that a connection is accepted.
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .receive_window(VarInt::from_u32(CONNECTION_RECEIVE_WINDOW_BYTES))
        .send_window(CONNECTION_SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle))
        .default_path_max_idle_timeout(IDLE_TIMEOUT)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .default_path_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .build())
}

/// Opens the endpoint. It sends nothing by itself: no relay, no name service, no port mapping.
pub(crate) async fn bind(config: &NetConfig, gate: Gate) -> Result<Endpoint, BindError> {
    let mut builder = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .portmapper_config(PortmapperConfig::Disabled)
        .net_report_config(NetReportConfig::minimal())
        .secret_key(SecretKey::from_bytes(&config.secret_key))
        .alpns(vec![MEMBER_ALPN.to_vec(), DOOR_ALPN.to_vec()])
        .transport_config(transport()?)
        .hooks(gate);
    let listen = if config.bind.is_empty() {
        "any address".to_owned()
    } else {
        builder = builder.clear_ip_transports();
        for (address, options) in routes(&config.bind) {
            builder = builder.bind_addr_with_opts(address, options).map_err(|error| {
                BindError::Address { address: address.to_string(), reason: error.to_string() }
            })?;
        }
        config.bind.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
    };
    builder
        .bind()
        .await
        .map_err(|error| BindError::Address { address: listen, reason: super::dial::chain(&error) })
}

/// Which packets leave by which socket: of each address family one socket takes whatever no other
/// is nearer to. It comes last, because the endpoint accepts none after it.
fn routes(addresses: &[SocketAddr]) -> Vec<(SocketAddr, BindOpts)> {
    let mut routes = Vec::new();
    for v6 in [false, true] {
        let mut family: Vec<SocketAddr> =
            addresses.iter().copied().filter(|a| a.is_ipv6() == v6).collect();
        // A loopback socket reaches nobody outside, so it is the default only where it is alone.
        family.sort_by_key(|a| !a.ip().is_loopback());
        let Some(default) = family.pop() else { continue };
        for address in family {
            let near = match (address.ip().is_loopback(), v6) {
                (true, false) => 8,
                (true, true) => 128,
                (false, false) => 24,
                (false, true) => 64,
            };
            let options = BindOpts::default().set_prefix_len(near).set_is_default_route(false);
            routes.push((address, options));
        }
        routes.push((default, BindOpts::default()));
    }
    routes
}

/// Where others can reach this endpoint: the sockets' addresses, and for a socket that listens on
/// every address those of the machine's interfaces.
pub(crate) fn addresses(endpoint: &Endpoint) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    let mut add = |address: SocketAddr| {
        if !address.ip().is_unspecified() && !found.contains(&address) {
            found.push(address);
        }
    };
    let sockets = endpoint.bound_sockets();
    sockets.iter().copied().for_each(&mut add);
    let interfaces = endpoint.addr();
    for socket in sockets.iter().filter(|socket| socket.ip().is_unspecified()) {
        let same = |a: &&SocketAddr| a.is_ipv6() == socket.is_ipv6() && a.port() == socket.port();
        let mut any = false;
        for address in interfaces.ip_addrs().filter(same) {
            add(*address);
            any = true;
        }
        if !any && socket.is_ipv4() {
            add(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), socket.port()));
        } else if !any {
            add(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), socket.port()));
        }
    }
    found
}

/// The transport's name for a peer; `None` where the bytes are not a key.
pub(crate) fn endpoint_id(peer: &PeerId) -> Option<EndpointId> {
    EndpointId::from_bytes(peer.as_bytes()).ok()
}
