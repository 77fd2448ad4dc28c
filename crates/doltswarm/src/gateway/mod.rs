//! The gateway: makes a peer look like a DoltLite remote to the node's own engine.
//!
//! An HTTP server on loopback that speaks the read half of DoltLite's remote protocol. Each pull is
//! shown under a path of its own, which holds one root and the chunks of one source. Who knows the
//! path may read; nobody may write.
//!
//! Architecture Invariant: the gateway verifies nothing and knows nothing of peers. What a
//! [`ChunkSource`] gives is already verified.
//!
//! Threads, not tasks: the client is the engine, which blocks a thread of its own anyway, and a
//! blocking read answers soonest.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use data_encoding::HEXLOWER;

use crate::engine::ChunkSource;

mod http;
mod route;
mod server;
#[cfg(test)]
mod tests;

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// No port, no thread, or another resource is missing.
    #[error("cannot start the gateway on 127.0.0.1: {0}")]
    Io(#[from] io::Error),
    /// The operating system gave no randomness for the path.
    #[error("the operating system gives no random bytes: {0}")]
    NoRandomness(getrandom::Error),
}

/// The running server. Dropping it is [`Gateway::close`].
pub struct Gateway {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

/// What the server's threads share.
struct Shared {
    /// 128 random bits in hexadecimal, new at each start.
    token: String,
    shows: Mutex<HashMap<u64, Arc<Show>>>,
    connections: server::Connections,
    /// How many requests were answered.
    requests: AtomicU64,
}

/// What one pull may see.
struct Show {
    root: Vec<u8>,
    source: Arc<dyn ChunkSource>,
}

/// A pull's path on the gateway, which is gone when this is dropped.
#[must_use = "the path is gone when this is dropped"]
pub struct Shown {
    shared: Arc<Shared>,
    id: u64,
    url: String,
}

impl Gateway {
    /// Starts a server on a free port of 127.0.0.1.
    pub fn start() -> Result<Self, GatewayError> {
        let mut token = [0; 16];
        getrandom::fill(&mut token).map_err(GatewayError::NoRandomness)?;
        let shared = Arc::new(Shared {
            token: HEXLOWER.encode(&token),
            shows: Mutex::default(),
            connections: server::Connections::default(),
            requests: AtomicU64::new(0),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let acceptor = server::spawn_acceptor(listener, Arc::clone(&shared))?;
        tracing::debug!(%address, "the gateway is up");
        Ok(Self { shared, address, acceptor: Mutex::new(Some(acceptor)) })
    }

    /// Shows `root` (the bytes of the engine's root) and the chunks of `source` under a path that
    /// no other pull has. One pull after the other gets the same path, so that the engine's remote
    /// need not be pointed elsewhere each time, which rewrites all refs.
    pub fn show(&self, root: Vec<u8>, source: Arc<dyn ChunkSource>) -> Shown {
        let mut shows = self.shared.shows();
        let id = (1..).find(|id| !shows.contains_key(id)).expect("because few are shown at once");
        shows.insert(id, Arc::new(Show { root, source }));
        drop(shows);
        let url = format!("http://{}/{}/{id:x}", self.address, self.shared.token);
        Shown { shared: Arc::clone(&self.shared), id, url }
    }

    /// How many requests it has answered, refusals included.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Where it listens; without the path this opens nothing.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops: ends all connections and joins all threads. Waits for a source that is in a call.
    /// Closing twice is harmless.
    pub fn close(&self) {
        let acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(acceptor) = acceptor else { return };
        self.shared.connections.close(self.address);
        if acceptor.join().is_err() {
            tracing::error!("a thread of the gateway panicked");
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Shared {
    fn shows(&self) -> MutexGuard<'_, HashMap<u64, Arc<Show>>> {
        // A map is whole between any two calls of it.
        self.shows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    /// The remote's URL, for the engine. It is a secret: who has it can read the pull.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.shared.shows().remove(&self.id);
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("id", &self.id).finish_non_exhaustive()
    }
}
