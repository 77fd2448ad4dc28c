//! Doing what the benchmark asks.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doltswarm::core::commit::EngineKind;
use doltswarm::engine::dolt::Sandbox;
use doltswarm::{
    DoltServer, InitOptions, InviteOptions, JoinOptions, JoinProgress, OpenOptions, Swarm, Ticket,
    Value,
};
use serde::Serialize;
use serde_json::Value as Json;

use super::watch::{Observer, Watch};
use super::{alone, memory};
use crate::protocol::{Joined, Memories, Nanos, Request, Server, Standing, Traffic, Written, now};

/// The name of the node's database on its server.
const DATABASE: &str = "bench";

/// The result of one thing asked for, with an error for people.
type Done<T> = Result<T, String>;

/// The state of the process.
#[derive(Default)]
pub(super) struct Node {
    swarm: Mutex<Option<Swarm>>,
    watch: Mutex<Option<Watch>>,
    observer: Mutex<Option<Observer>>,
    /// The node's Dolt server with its directory, where it has one. It ends with this process.
    server: Mutex<Option<(Sandbox, PathBuf)>>,
}

impl Node {
    /// Does what is asked and gives the answer as JSON.
    pub(super) async fn answer(&self, request: Request) -> Done<Json> {
        match request {
            Request::Serve { program, dir } => json(self.serve(program, dir).await?),
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
            Request::Memory => {
                let dir = lock(&self.server).as_ref().map(|(_, dir)| dir.clone());
                let server = dir.map(|dir| memory::of_server(&dir));
                json(Memories { node: memory::read(), server })
            }
            Request::CollectGarbage => json(self.swarm()?.collect_garbage().await.map_err(text)?),
            Request::Alone { dir, rounds } => {
                let server = self.database("alone");
                json(alone::run(&self.swarm()?, server, dir, rounds).await.map_err(text)?)
            }
            Request::Close => {
                drop((lock(&self.watch).take(), lock(&self.observer).take()));
                let swarm = lock(&self.swarm).take();
                if let Some(swarm) = swarm {
                    swarm.close().await;
                }
                drop(lock(&self.server).take());
                json(())
            }
        }
    }

    fn swarm(&self) -> Done<Swarm> {
        lock(&self.swarm).clone().ok_or_else(|| "there is no swarm yet".to_owned())
    }

    async fn serve(&self, program: PathBuf, dir: PathBuf) -> Done<Server> {
        let data = dir.clone();
        let start = tokio::task::spawn_blocking(move || Sandbox::start(&program, &data));
        let server = start.await.map_err(text)?.map_err(text)?;
        let url = server.url(DATABASE).to_string();
        *lock(&self.server) = Some((server, dir));
        Ok(Server { url })
    }

    /// Where a database of this name is to be on the node's server, where it has one.
    fn database(&self, name: &str) -> Option<DoltServer> {
        let server = lock(&self.server);
        let url = server.as_ref().map(|(server, _)| server.url(name))?;
        Some(DoltServer { url, password_file: None })
    }

    async fn found(&self, dir: &Path, name: String) -> Done<()> {
        let dolt = self.database(DATABASE);
        let engine = if dolt.is_some() { EngineKind::Dolt } else { EngineKind::DoltLite };
        let options = InitOptions { name, engine, dolt, ..InitOptions::default() };
        Swarm::init(dir, options).await.map_err(text)?.close().await;
        let swarm = Swarm::open(dir, OpenOptions::online_at(loopback())).await.map_err(text)?;
        *lock(&self.swarm) = Some(swarm);
        Ok(())
    }

    async fn join(&self, dir: &Path, name: String, ticket: &str) -> Done<Joined> {
        let ticket: Ticket = ticket.parse().map_err(text)?;
        let open = OpenOptions::online_at(loopback());
        let dolt = self.database(DATABASE);
        let options = JoinOptions { name, dolt, bind: vec![loopback()], open };
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
