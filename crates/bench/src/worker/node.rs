//! Doing what the benchmark asks.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doltswarm::{
    InitOptions, InviteOptions, JoinOptions, JoinProgress, OpenOptions, Swarm, Ticket, Value,
};
use serde::Serialize;
use serde_json::Value as Json;

use super::watch::{Observer, Watch};
use super::{alone, memory};
use crate::protocol::{Joined, Nanos, Request, Standing, Traffic, Written, now};

/// The result of one thing asked for, with an error for people.
type Done<T> = Result<T, String>;

/// The state of the process.
#[derive(Default)]
pub(super) struct Node {
    swarm: Mutex<Option<Swarm>>,
    watch: Mutex<Option<Watch>>,
    observer: Mutex<Option<Observer>>,
}

impl Node {
    /// Does what is asked and gives the answer as JSON.
    pub(super) async fn answer(&self, request: Request) -> Done<Json> {
        match request {
            Request::Found { dir, name } => json(self.found(&dir, name).await?),
            Request::Join { dir, name, ticket } => json(self.join(&dir, name, &ticket).await?),
            Request::Invite { uses } => {
                let options = InviteOptions { uses, ..InviteOptions::default() };
                let ticket = self.swarm()?.invite(options).await.map_err(text)?;
                json(ticket.to_string())
            }
            Request::Write { statements, at } => json(self.write(statements, at).await?),
            Request::Count { sql } => json(self.count(&sql).await?),
            Request::Watch { sql } => {
                let watch = Watch::start(self.swarm()?, sql);
                *lock(&self.watch) = Some(watch);
                json(())
            }
            Request::Seen => {
                let watch = lock(&self.watch).take().ok_or("nothing is watched")?;
                json(watch.seen().await?)
            }
            Request::Observe => {
                let observer = Observer::start(self.swarm()?).await?;
                *lock(&self.observer) = Some(observer);
                json(())
            }
            Request::Main => {
                json(lock(&self.observer).as_ref().ok_or("main is not observed")?.main())
            }
            Request::Standing => json(self.standing().await?),
            Request::Traffic => {
                json(Traffic { adverts_sent: self.swarm()?.net_stats().adverts_sent })
            }
            Request::Memory => json(memory::read()),
            Request::CollectGarbage => json(self.swarm()?.collect_garbage().await.map_err(text)?),
            Request::Alone { dir, rounds } => {
                json(alone::run(&self.swarm()?, dir, rounds).await.map_err(text)?)
            }
            Request::Close => {
                drop((lock(&self.watch).take(), lock(&self.observer).take()));
                let swarm = lock(&self.swarm).take();
                if let Some(swarm) = swarm {
                    swarm.close().await;
                }
                json(())
            }
        }
    }

    fn swarm(&self) -> Done<Swarm> {
        lock(&self.swarm).clone().ok_or_else(|| "there is no swarm yet".to_owned())
    }

    async fn found(&self, dir: &Path, name: String) -> Done<()> {
        let options = InitOptions { name, ..InitOptions::default() };
        Swarm::init(dir, options).await.map_err(text)?.close().await;
        let swarm = Swarm::open(dir, OpenOptions::online_at(loopback())).await.map_err(text)?;
        *lock(&self.swarm) = Some(swarm);
        Ok(())
    }

    async fn join(&self, dir: &Path, name: String, ticket: &str) -> Done<Joined> {
        let ticket: Ticket = ticket.parse().map_err(text)?;
        let open = OpenOptions::online_at(loopback());
        let options = JoinOptions { name, bind: vec![loopback()], open, ..JoinOptions::default() };
        let parts = Arc::new(Mutex::new(Vec::<(String, u64)>::new()));
        let (heard, began) = (Arc::clone(&parts), now());
        let swarm = Swarm::join(dir, &ticket, options, move |progress| {
            let name = part_name(&progress);
            let mut parts = lock(&heard);
            // Progress within a part comes often; only its beginning counts.
            if parts.last().is_none_or(|(last, _)| last != name) {
                parts.push((name.to_owned(), now().saturating_sub(began)));
            }
        });
        let swarm = swarm.await.map_err(text)?;
        let ended = now();
        *lock(&self.swarm) = Some(swarm);
        let parts = std::mem::take(&mut *lock(&parts));
        Ok(Joined { began, ended, parts })
    }

    async fn write(&self, statements: Vec<String>, at: Option<Nanos>) -> Done<Vec<Written>> {
        let swarm = self.swarm()?;
        if let Some(at) = at {
            tokio::time::sleep(Duration::from_nanos(at.saturating_sub(now()))).await;
        }
        let mut written = Vec::with_capacity(statements.len());
        for statement in statements {
            let began = now();
            let report =
                swarm.exec_and_commit("a measured write", [statement]).await.map_err(text)?;
            let ended = now();
            if report.commit.is_none() {
                return Err("a statement changed nothing".to_owned());
            }
            written.push(Written { began, ended });
        }
        Ok(written)
    }

    async fn count(&self, sql: &str) -> Done<i64> {
        let rows = self.swarm()?.query(sql, Vec::new()).await.map_err(text)?;
        match rows.rows.first().and_then(|row| row.first()) {
            Some(Value::Integer(count)) => Ok(*count),
            _ => Err(format!("`{sql}` gives no number")),
        }
    }

    async fn standing(&self) -> Done<Standing> {
        let status = self.swarm()?.status().await.map_err(text)?;
        let connected = status.peers.iter().filter(|peer| peer.connected).count();
        Ok(Standing {
            main: status.main,
            heads: status.heads,
            connected,
            conflicts: status.conflicts.total,
            in_sync: status.in_sync,
        })
    }
}

fn part_name(progress: &JoinProgress) -> &'static str {
    match progress {
        JoinProgress::Connecting { .. } => "connecting",
        JoinProgress::Admitted => "admitted",
        JoinProgress::Verifying { .. } => "verifying",
        JoinProgress::Fetching { .. } => "fetching",
        JoinProgress::Storing => "storing",
        JoinProgress::Done => "opening",
        _ => "other",
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn json(value: impl Serialize) -> Done<Json> {
    serde_json::to_value(value).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
