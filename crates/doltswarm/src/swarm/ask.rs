//! What is going on: status, peers, log, diff, conflicts; asking peers, and waiting.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use doltswarm_core::id::{CommitHash, PeerId};
use doltswarm_core::limits::{
    DIAL_TIMEOUT, PULL_TIMEOUT, STATUS_ENGINE_PATIENCE, STATUS_PATIENCE, WAIT_INTERVAL,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Conflict, DiffReport, InviteOptions, LogEntry, MemberReport, ParkedHead, PeerStatus,
    PeersError, PullReport, QueryError, RowDiffReport, Status, Swarm, TableDiffReport, WaitFor,
    WaitReport,
};
use crate::driver::{Command, Input, PullStarted, Reply, StatusRead, is_absence, status_of};
use crate::engine::{Engine, EngineError, EngineResult, RowChange, TableDiff, Value};
use crate::ticket::Ticket;

impl Swarm {
    pub(super) async fn command<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.inner.shared.inputs.send(Input::Command(command(reply))).ok()?;
        answer.await.ok()
    }

    /// What is going on: main, heads, what is parked or in conflict, and how the peers are.
    ///
    /// A database that does not answer is no error: then `database_problem` says why, and what only
    /// it knows is empty.
    ///
    /// # Errors
    ///
    /// [`QueryError::Engine`] where the database answers and cannot be read.
    pub async fn status(&self) -> Result<Status, QueryError> {
        let freshen = self.command(|reply| Command::Freshen { reply });
        // A neighbour that does not answer in time is shown as it was last heard of.
        let _ = timeout_at(Instant::now() + STATUS_PATIENCE, freshen).await;
        let read = Box::new(self.read_status().await?);
        self.command(|reply| Command::Status { read, reply }).await.ok_or(QueryError::Closed)
    }

    async fn read_status(&self) -> Result<StatusRead, QueryError> {
        let shared = &self.inner.shared;
        let reading = shared.engine.call(status_of);
        let problem = match timeout(STATUS_ENGINE_PATIENCE, reading).await {
            Err(_) => {
                let seconds = STATUS_ENGINE_PATIENCE.as_secs();
                shared.absence.missed(format!(
                    "it has not answered for {seconds} s: it is busy with something long, or hangs"
                ))
            }
            Ok(read) => {
                let read = read.map_err(|_| QueryError::Closed)?;
                shared.absence.heard(&read);
                match read {
                    Err(error) if is_absence(&error) => shared.absence.missed(error.to_string()),
                    // What another program left there may not open; the rest of the status is good.
                    Err(error @ EngineError::Corrupt { .. }) => {
                        shared.absence.missed(error.to_string())
                    }
                    read => return Ok(read?),
                }
            }
        };
        Ok(StatusRead { problem: Some(problem), ..StatusRead::default() })
    }

    /// The other peers this node knows, sorted by id.
    ///
    /// # Errors
    ///
    /// As [`Swarm::status`].
    pub async fn peers(&self) -> Result<Vec<PeerStatus>, QueryError> {
        Ok(self.status().await?.peers)
    }

    /// The members of the swarm, this peer included, sorted by id.
    ///
    /// # Errors
    ///
    /// [`QueryError::Closed`].
    pub async fn members(&self) -> Result<Vec<MemberReport>, QueryError> {
        self.command(|reply| Command::Members { reply }).await.ok_or(QueryError::Closed)
    }

    /// The heads that the fold could not include, with the reason.
    ///
    /// # Errors
    ///
    /// As [`Swarm::status`].
    pub async fn parked(&self) -> Result<Vec<ParkedHead>, QueryError> {
        Ok(self.status().await?.parked)
    }

    /// The remotes of the database, as the engine lists them: (name, URL).
    ///
    /// # Errors
    ///
    /// As [`Swarm::query`].
    pub async fn remotes(&self) -> Result<Vec<(String, String)>, QueryError> {
        let rows =
            self.query("SELECT name, url FROM dolt_remotes ORDER BY name", Vec::new()).await?;
        let text = |value: Option<Value>| match value {
            Some(Value::Text(text)) => text,
            _ => String::new(),
        };
        let pair = |row: Vec<Value>| {
            let mut values = row.into_iter();
            (text(values.next()), text(values.next()))
        };
        Ok(rows.rows.into_iter().map(pair).collect())
    }

    /// The newest commits under main, at most `limit`, newest first.
    ///
    /// # Errors
    ///
    /// As [`Swarm::query`].
    pub async fn log(&self, limit: usize) -> Result<Vec<LogEntry>, QueryError> {
        let founding = self.inner.shared.founding.founding;
        let infos = self.engine(move |engine| engine.log(limit)).await?;
        let commits: Vec<CommitHash> = infos.iter().map(|info| info.hash).collect();
        let signers = self
            .command(|reply| Command::Signers { commits, reply })
            .await
            .ok_or(QueryError::Closed)?;
        let named = self.members().await?.into_iter().filter(|member| !member.name.is_empty());
        let names: BTreeMap<String, String> =
            named.map(|member| (member.id, member.name)).collect();
        let shared = &self.inner.shared;
        let entries = infos.into_iter().zip(signers).map(|(info, signer)| LogEntry {
            commit: shared.text(&info.hash),
            kind: match (info.as_merge(), &signer) {
                _ if info.hash == founding => "founding",
                (_, Some(_)) => "user",
                (Some(_), None) => "merge",
                (None, None) => "before",
            }
            .into(),
            parents: shared.texts(&info.parents),
            signer_name: signer.and_then(|signer| names.get(&signer.to_string()).cloned()),
            signer: signer.map(|signer| signer.to_string()),
            author: format!("{} <{}>", info.author_name, info.author_email),
            date: crate::date::rfc3339(info.seconds),
            message: info.message,
        });
        Ok(entries.collect())
    }

    /// What changed between two commits, at most `limit` rows a table. `from` defaults to the first
    /// parent of `to`, `to` to main.
    ///
    /// # Errors
    ///
    /// [`QueryError::NotFound`] if a commit is not here or its name fits several; a name is as for
    /// [`Swarm::resolve_commit`].
    pub async fn diff(
        &self,
        from: Option<&str>,
        to: Option<&str>,
        limit: usize,
    ) -> Result<DiffReport, QueryError> {
        let from = match from {
            Some(name) => Some(self.commit_named(name).await?),
            None => None,
        };
        let to = match to {
            Some(name) => Some(self.commit_named(name).await?),
            None => None,
        };
        let (from, to, tables) =
            self.engine(move |engine| diff_of(engine, from, to, limit)).await?;
        let shared = &self.inner.shared;
        Ok(DiffReport {
            from: shared.text(&from),
            to: shared.text(&to),
            tables: tables.into_iter().map(table_report).collect(),
        })
    }

    /// The rows of `swarm_conflicts`, sorted by id: the open ones, or all.
    ///
    /// # Errors
    ///
    /// As [`Swarm::query`].
    pub async fn conflicts(&self, all: bool) -> Result<Vec<Conflict>, QueryError> {
        let sql = format!("{CONFLICTS} WHERE ? OR state = 'open' ORDER BY id");
        let rows = self.query(&sql, vec![Value::Integer(i64::from(all))]).await?;
        Ok(rows.rows.into_iter().map(conflict_of).collect())
    }

    /// The row of `swarm_conflicts` with this id, or with an id that begins so.
    ///
    /// # Errors
    ///
    /// [`QueryError::NotFound`] where there is none, or more than one.
    pub async fn conflict(&self, id: &str) -> Result<Conflict, QueryError> {
        let sql = format!("{CONFLICTS} WHERE substr(id, 1, ?) = ? ORDER BY id LIMIT 2");
        let length = i64::try_from(id.len()).unwrap_or(i64::MAX);
        let rows = self.query(&sql, vec![length.into(), id.into()]).await?.rows;
        match <[Vec<Value>; 1]>::try_from(rows) {
            Ok([row]) if !id.is_empty() => Ok(conflict_of(row)),
            Err(rows) if rows.len() > 1 => {
                Err(QueryError::NotFound(format!("more than one conflict begins with `{id}`")))
            }
            _ => Err(QueryError::NotFound(format!("there is no conflict `{id}`"))),
        }
    }

    /// Makes a ticket that turns its bearer into a member. Only admins can.
    ///
    /// # Errors
    ///
    /// [`PeersError::NotAdmin`]; [`PeersError::Invalid`] where the node has no address yet.
    pub async fn invite(&self, options: InviteOptions) -> Result<Ticket, PeersError> {
        self.command(|reply| Command::Invite { options, reply }).await.ok_or(PeersError::Closed)?
    }

    /// Adds addresses of a member, newest first, and dials it.
    ///
    /// # Errors
    ///
    /// [`PeersError::Invalid`] where the key is not a member.
    pub async fn add_peer(
        &self,
        peer: PeerId,
        addresses: Vec<SocketAddr>,
    ) -> Result<(), PeersError> {
        let command = |reply| Command::AddPeer { peer, addresses, reply };
        self.command(command).await.ok_or(PeersError::Closed)?
    }

    /// Forgets a peer's addresses and its connection. It stays a member, and may dial in.
    ///
    /// # Errors
    ///
    /// [`PeersError::Store`] where that cannot be kept.
    pub async fn remove_peer(&self, peer: PeerId) -> Result<(), PeersError> {
        self.command(|reply| Command::RemovePeer { peer, reply }).await.ok_or(PeersError::Closed)?
    }

    /// Asks one peer, or all connected ones, for their heads now, and returns when what they have
    /// is here and folded, or cannot be had now.
    ///
    /// # Errors
    ///
    /// [`PeersError::Offline`] without a network, [`PeersError::Invalid`] for an unknown peer.
    pub async fn pull(&self, peer: Option<PeerId>) -> Result<PullReport, PeersError> {
        let deadline = Instant::now() + PULL_TIMEOUT;
        // Before the peers are connected: what they have may be here as soon as they are.
        let before = self.status().await.map_err(|_| PeersError::Closed)?.commits;
        self.connected(deadline.min(Instant::now() + DIAL_TIMEOUT)).await;
        let started = self.ask_heads(peer).await?;
        let what = WaitFor::default();
        let mut rounds = self.inner.shared.rounds.subscribe();
        loop {
            rounds.mark_unchanged();
            let (report, busy) = self.check(&what).await?;
            let done = !busy || Instant::now() >= deadline;
            if done || timeout_at(deadline, rounds.changed()).await.is_err() {
                let status = self.status().await.map_err(|_| PeersError::Closed)?;
                return Ok(PullReport {
                    asked: started.asked.len(),
                    commits: status.commits.saturating_sub(before),
                    main: report.main,
                    in_sync: status.in_sync,
                });
            }
        }
    }

    /// Waits until this node is in step with its connected peers, or until a commit is on a number
    /// of peers, or until the time is up. Peers are asked for their heads first, so that
    /// what was committed anywhere before the call counts.
    ///
    /// # Errors
    ///
    /// [`PeersError::Invalid`] if the commit is not given by its whole hash and its name, as for
    /// [`Swarm::resolve_commit`], fits none here.
    pub async fn wait(&self, what: WaitFor, timeout: Duration) -> Result<WaitReport, PeersError> {
        let deadline = Instant::now() + timeout;
        let what = self.with_whole_hash(what).await?;
        self.connected(deadline).await;
        loop {
            if self.inner.network.is_some() {
                // A peer that took an advert does not say when it has pulled, so it is asked. One
                // that does not answer in time is not in step, which the check sees.
                if let Ok(Err(error)) = timeout_at(deadline, self.ask_heads(None)).await {
                    return Err(error);
                }
            }
            let visited = what.clone();
            let _ = self.command(|reply| Command::Visit { what: visited, reply }).await;
            let next = deadline.min(Instant::now() + WAIT_INTERVAL);
            let report = self.checked_until(&what, next).await?;
            if report.reached || Instant::now() >= deadline {
                return Ok(report);
            }
        }
    }

    /// The commit by its whole hash. One that is given so need not be here yet.
    async fn with_whole_hash(&self, mut what: WaitFor) -> Result<WaitFor, PeersError> {
        let engine = self.inner.shared.founding.engine;
        if let Some(name) = &what.commit
            && engine.read_hash(name).is_err()
        {
            let found = self.resolve_commit(name).await.map_err(|error| match error {
                QueryError::Closed => PeersError::Closed,
                error => PeersError::Invalid(error.to_string()),
            })?;
            what.commit = Some(found);
        }
        Ok(what)
    }

    /// Checks at every round of the driver until it is reached or the time has come.
    async fn checked_until(
        &self,
        what: &WaitFor,
        until: Instant,
    ) -> Result<WaitReport, PeersError> {
        let mut rounds = self.inner.shared.rounds.subscribe();
        loop {
            rounds.mark_unchanged();
            let (report, _) = self.check(what).await?;
            let done = report.reached || Instant::now() >= until;
            if done || timeout_at(until, rounds.changed()).await.is_err() {
                return Ok(report);
            }
        }
    }

    /// Asks every connected peer for its heads now and does not wait for what they bring: each
    /// answer goes to the queue of external heads. Returns when all have answered or gone.
    ///
    /// # Errors
    ///
    /// [`PeersError::Offline`] without a network.
    pub async fn request_head_from_all_peers(&self) -> Result<(), PeersError> {
        self.ask_heads(None).await.map(|_| ())
    }

    /// Tells every connected peer this node's heads now, whether or not they know them. Never
    /// needed after a write, which is advertised by itself.
    ///
    /// # Errors
    ///
    /// [`PeersError::Offline`] without a network.
    pub async fn advertise_head(&self) -> Result<(), PeersError> {
        self.command(|reply| Command::Advertise { reply }).await.ok_or(PeersError::Closed)?
    }

    /// Waits until a peer is connected, where there is one to connect to.
    async fn connected(&self, deadline: Instant) {
        let mut rounds = self.inner.shared.rounds.subscribe();
        if self.inner.network.is_none() {
            return;
        }
        while let Ok(status) = self.status().await {
            let dialable = status.peers.iter().any(|peer| peer.address.is_some());
            if !dialable || status.peers.iter().any(|peer| peer.connected) {
                return;
            }
            // Where something happens all the time, the limit of the wait is never looked at.
            let late = Instant::now() >= deadline;
            if late || timeout_at(deadline, rounds.changed()).await.is_err() {
                return;
            }
        }
    }

    async fn ask_heads(&self, peer: Option<PeerId>) -> Result<PullStarted, PeersError> {
        self.command(|reply| Command::Pull { peer, reply }).await.ok_or(PeersError::Closed)?
    }

    async fn check(&self, what: &WaitFor) -> Result<(WaitReport, bool), PeersError> {
        let what = what.clone();
        self.command(|reply| Command::Check { what, reply }).await.ok_or(PeersError::Closed)?
    }

    /// Whether something is under way that ends by itself.
    pub(super) async fn is_busy(&self) -> bool {
        self.check(&WaitFor::default()).await.is_ok_and(|(_, busy)| busy)
    }

    pub(super) async fn engine<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut dyn Engine) -> EngineResult<T> + Send + 'static,
    ) -> Result<T, QueryError> {
        Ok(self.inner.shared.engine.call(job).await.map_err(|_| QueryError::Closed)??)
    }
}

/// Reads records; what follows is the condition.
pub(super) const CONFLICTS: &str = "SELECT id, kind, table_name, row_key, base, loser, winner, state \
                         FROM swarm_conflicts";

/// A record from a row of [`CONFLICTS`].
pub(super) fn conflict_of(row: Vec<Value>) -> Conflict {
    let mut values = row.into_iter();
    let mut text = || match values.next() {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    };
    // What does not parse was written by hand; it is shown as the text that it is.
    let json = |text: Option<String>| {
        text.map_or(serde_json::Value::Null, |text| {
            serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
        })
    };
    Conflict {
        id: text().unwrap_or_default(),
        kind: text().unwrap_or_default(),
        table_name: text().unwrap_or_default(),
        row_key: json(text()),
        base: json(text()),
        loser: json(text()),
        winner: json(text()),
        state: text().unwrap_or_default(),
    }
}

fn diff_of(
    engine: &mut dyn Engine,
    from: Option<CommitHash>,
    to: Option<CommitHash>,
    limit: usize,
) -> EngineResult<(CommitHash, CommitHash, Vec<TableDiff>)> {
    let to = match to {
        Some(to) => to,
        None => engine.main()?,
    };
    let info = engine.commit_info(&to)?.ok_or(EngineError::NoSuchCommit(to))?;
    let from = from.or(info.parents.first().copied()).unwrap_or(to);
    engine.commit_info(&from)?.ok_or(EngineError::NoSuchCommit(from))?;
    let tables = engine.changed_tables(&from, &to)?;
    let diffs = tables.iter().map(|table| engine.diff(&from, &to, table, limit));
    Ok((from, to, diffs.collect::<EngineResult<_>>()?))
}

fn table_report(diff: TableDiff) -> TableDiffReport {
    let TableDiff { table, schema_changed, columns, rows, truncated } = diff;
    let object = |row: Option<Vec<Value>>| {
        row.map_or(serde_json::Value::Null, |row| {
            columns
                .iter()
                .cloned()
                .zip(row.iter().map(Value::to_json))
                .collect::<serde_json::Map<_, _>>()
                .into()
        })
    };
    let rows = rows.into_iter().map(|RowChange { before, after }| RowDiffReport {
        change: match (&before, &after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "modified",
        },
        before: object(before),
        after: object(after),
    });
    let rows = rows.collect();
    TableDiffReport { table, schema_changed, rows, truncated }
}
