//! Hearing what happens.

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::{Swarm, SwarmEvent};

/// The events of a node from the moment the stream was made, in order.
pub struct EventStream {
    receiver: broadcast::Receiver<SwarmEvent>,
}

impl EventStream {
    /// Waits for the next event; `None` once the node is closed. A listener that lags too far
    /// behind gets [`SwarmEvent::Lagged`] with the number of events it lost. Cancel-safe.
    pub async fn next(&mut self) -> Option<SwarmEvent> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(SwarmEvent::Lagged { missed }),
            Err(RecvError::Closed) => None,
        }
    }

    /// The next event that is there already.
    pub(super) fn try_next(&mut self) -> Option<SwarmEvent> {
        match self.receiver.try_recv() {
            Ok(event) => Some(event),
            Err(TryRecvError::Lagged(missed)) => Some(SwarmEvent::Lagged { missed }),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

/// The tables that differ between two tips of main.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableChange {
    /// The tables, sorted.
    pub tables: Vec<String>,
    /// Main before, for [`Swarm::diff`].
    pub from: String,
    /// Main now.
    pub to: String,
    /// Whether a commit made here did it, rather than a pull.
    pub local: bool,
}

/// Calls a function at every change of tables, until dropped.
#[must_use = "the callback is called until this is dropped"]
pub struct TableWatch {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for TableWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Swarm {
    /// The events from now on.
    pub fn events(&self) -> EventStream {
        EventStream { receiver: self.inner.shared.events.subscribe() }
    }

    /// Calls `callback` after every local commit and every pull that changed tables, one call at a
    /// time and in order, on a task of its own: it may block for short, and may call this node.
    /// Changes that come faster than the callback returns are queued up to a bound; beyond it
    /// the oldest are lost, so a callback that must not miss anything compares its last `to`
    /// with the next `from`.
    pub fn on_tables_changed(
        &self,
        mut callback: impl FnMut(TableChange) + Send + 'static,
    ) -> TableWatch {
        let mut events = self.events();
        let task = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let SwarmEvent::TablesChanged { tables, from, to, local } = event {
                    callback(TableChange { tables, from, to, local });
                }
            }
        });
        TableWatch { task }
    }
}
