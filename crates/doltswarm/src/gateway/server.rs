//! The gateway's threads: one that accepts, and one for each connection.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use doltswarm_core::limits;

use super::Shared;
use super::http::{Connection, NoRequest};

/// How long to wait where the machine has no descriptors or threads left.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);
/// How long the acceptor is given to notice that it is to stop.
const WAKE_TIMEOUT: Duration = Duration::from_secs(1);

/// The open connections, so that they can be ended from outside.
#[derive(Default)]
pub(super) struct Connections {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closing: bool,
    next: u64,
    open: HashMap<u64, TcpStream>,
}

impl Connections {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in; `None` where there are too many, or the gateway is closing.
    fn admit(&self, stream: &TcpStream) -> io::Result<Option<u64>> {
        let mut state = self.state();
        if state.closing || state.open.len() >= limits::GATEWAY_CONNECTIONS_MAX {
            return Ok(None);
        }
        let id = state.next;
        state.next += 1;
        state.open.insert(id, stream.try_clone()?);
        Ok(Some(id))
    }

    fn remove(&self, id: u64) {
        self.state().open.remove(&id);
    }

    fn is_closing(&self) -> bool {
        self.state().closing
    }

    /// Lets nobody in any more, ends who is in, and wakes the acceptor.
    pub(super) fn close(&self, address: SocketAddr) {
        let mut state = self.state();
        state.closing = true;
        for stream in state.open.values() {
            // It may be gone already, which is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        if let Err(error) = TcpStream::connect_timeout(&address, WAKE_TIMEOUT) {
            tracing::warn!(%error, "cannot wake the gateway");
        }
    }
}

/// Starts the thread that accepts; it joins the others before it ends.
pub(super) fn spawn_acceptor(
    listener: TcpListener,
    shared: Arc<Shared>,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("gateway".to_owned()).spawn(move || accept(&listener, &shared))
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    while !shared.connections.is_closing() {
        match listener.accept().and_then(|(stream, _)| spawn_connection(stream, shared)) {
            Ok(Some(thread)) => threads.push(thread),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "the gateway could not take a connection");
                thread::sleep(ACCEPT_RETRY_DELAY);
            }
        }
        let (done, running) = threads.into_iter().partition(JoinHandle::is_finished);
        join(done);
        threads = running;
    }
    join(threads);
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a connection's thread panicked");
        }
    }
}

fn spawn_connection(stream: TcpStream, shared: &Arc<Shared>) -> io::Result<Option<JoinHandle<()>>> {
    let Some(id) = shared.connections.admit(&stream)? else { return Ok(None) };
    let leave = Leave { shared: Arc::clone(shared), id };
    let thread = thread::Builder::new().name("gateway-connection".to_owned()).spawn(move || {
        if let Ok(connection) = Connection::new(stream) {
            serve(connection, &leave.shared);
        }
    })?;
    Ok(Some(thread))
}

/// Gives a connection's place back, also where its thread panics or never starts.
struct Leave {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.shared.connections.remove(self.id);
    }
}

/// Answers one request after another until the client goes or is refused.
fn serve(mut connection: Connection, shared: &Shared) {
    // Until it has named the token a client is a stranger, who gets less time.
    let mut idle = limits::GATEWAY_REQUEST_TIMEOUT;
    loop {
        let request = connection.read_head(idle).and_then(|head| {
            let route = match shared.route(&head) {
                Ok(route) => route,
                Err(refusal) => return Ok((Err(refusal), head)),
            };
            let body = connection.read_body(&head)?;
            Ok((Ok((route, body)), head))
        });
        let (reply, close, linger) = match request {
            Ok((Ok((route, body)), head)) => (route.answer(&body), head.close, false),
            Ok((Err(refusal), head)) => {
                let has_body = head.content_length > 0;
                let close = head.close || has_body || !refusal.knew_token;
                tracing::debug!(status = ?refusal.reply.status, "the gateway refused a request");
                (refusal.reply, close, has_body)
            }
            Err(NoRequest::Refused(reply)) => (reply, true, true),
            Err(NoRequest::Gone) => return,
        };
        idle = limits::GATEWAY_IDLE_TIMEOUT;
        shared.requests.fetch_add(1, Ordering::Relaxed);
        if connection.send(&reply, close).is_err() {
            return;
        }
        if linger {
            return connection.linger();
        }
        if close {
            return;
        }
    }
}
