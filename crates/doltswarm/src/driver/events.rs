//! The events of a node, for everybody who listens.

use std::sync::{Mutex, MutexGuard, PoisonError};

use doltswarm_core::limits::EVENTS_BUFFERED_MAX;
use tokio::sync::broadcast;

use crate::swarm::SwarmEvent;

/// Where events come from, until the node is closed.
pub(crate) struct Events(Mutex<Option<broadcast::Sender<SwarmEvent>>>);

impl Default for Events {
    fn default() -> Self {
        Self(Mutex::new(Some(broadcast::Sender::new(EVENTS_BUFFERED_MAX))))
    }
}

impl Events {
    fn sender(&self) -> MutexGuard<'_, Option<broadcast::Sender<SwarmEvent>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an event to whoever listens. Nobody listening is not an error.
    pub(crate) fn send(&self, event: SwarmEvent) {
        if let Some(sender) = &*self.sender() {
            let _ = sender.send(event);
        }
    }

    /// Whether somebody listens.
    pub(crate) fn are_heard(&self) -> bool {
        self.sender().as_ref().is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// The events from now on; none if the node is closed.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<SwarmEvent> {
        let sender = self.sender();
        sender.as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe)
    }

    /// Ends every stream of events after what was sent, although clones of the node live on.
    pub(crate) fn end(&self) {
        self.sender().take();
    }
}
