//! Taking the time at which something shows on this node.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doltswarm::{EventStream, Swarm, SwarmEvent};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::protocol::{MainAt, Nanos, now};

/// How long nothing may happen before a watch looks anyway.
const LOOK_ANYWAY: Duration = Duration::from_millis(100);

/// Waits until a query gives a row, as an application would: it listens for changes, and asks the
/// database when there is one.
pub(super) struct Watch {
    task: JoinHandle<Result<Nanos, String>>,
}

impl Watch {
    /// Begins; a change after this call is not missed.
    pub(super) fn start(swarm: Swarm, sql: String) -> Self {
        let events = swarm.events();
        Self { task: tokio::spawn(look(swarm, events, sql)) }
    }

    /// When the query gave a row.
    pub(super) async fn seen(mut self) -> Result<Nanos, String> {
        (&mut self.task).await.map_err(|error| error.to_string())?
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look(swarm: Swarm, mut events: EventStream, sql: String) -> Result<Nanos, String> {
    loop {
        match timeout(LOOK_ANYWAY, events.next()).await {
            Ok(Some(
                SwarmEvent::MainMoved { .. }
                | SwarmEvent::TablesChanged { .. }
                | SwarmEvent::Lagged { .. },
            ))
            | Err(_) => {}
            Ok(Some(_)) => continue,
            Ok(None) => return Err("the node closed".to_owned()),
        }
        let rows = swarm.query(&sql, Vec::new()).await.map_err(|error| error.to_string())?;
        if !rows.rows.is_empty() {
            return Ok(now());
        }
    }
}

/// Remembers where main is and since when.
pub(super) struct Observer {
    at: Arc<Mutex<MainAt>>,
    task: JoinHandle<()>,
}

impl Observer {
    /// Begins with where main is now.
    pub(super) async fn start(swarm: Swarm) -> Result<Self, String> {
        let events = swarm.events();
        let first = read_main(&swarm).await?;
        let at = Arc::new(Mutex::new(MainAt { main: first, since: now() }));
        let task = tokio::spawn(follow(swarm, events, Arc::clone(&at)));
        Ok(Self { at, task })
    }

    /// Where main is.
    pub(super) fn main(&self) -> MainAt {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(swarm: Swarm, mut events: EventStream, at: Arc<Mutex<MainAt>>) {
    while let Some(event) = events.next().await {
        let main = match event {
            SwarmEvent::MainMoved { to, .. } => to,
            SwarmEvent::Committed { commit } => commit,
            SwarmEvent::Lagged { .. } => match read_main(&swarm).await {
                Ok(main) => main,
                Err(_) => return,
            },
            _ => continue,
        };
        let mut at = at.lock().unwrap_or_else(PoisonError::into_inner);
        if at.main != main {
            *at = MainAt { main, since: now() };
        }
    }
}

async fn read_main(swarm: &Swarm) -> Result<String, String> {
    // On Dolt the branch main may be at a commit of this node's own above the fold's tip.
    Ok(swarm.status().await.map_err(|error| error.to_string())?.main)
}
