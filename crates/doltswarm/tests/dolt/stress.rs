//! Many clients write to every node's database while the others' work arrives: nothing that one of
//! them saw committed may be lost, reverted, or mixed with what nobody committed.
//!
//! `DOLTSWARM_STRESS_SECONDS` says how long they write (5).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use doltswarm::{EventStream, Swarm, SwarmEvent};
use mysql::Conn;
use mysql::prelude::Queryable;

use crate::client::{connect, run, texts, try_commit};
use crate::engine::say;
use crate::support::{Home, close, homes, in_step};

const SCHEMA: &str = "CREATE TABLE own (id BIGINT PRIMARY KEY, v BIGINT NOT NULL, note TEXT);
                      CREATE TABLE common (id BIGINT PRIMARY KEY, v BIGINT);
                      CREATE TABLE draft (id BIGINT PRIMARY KEY);
                      INSERT INTO common VALUES (1, 0), (2, 0), (3, 0), (4, 0), (5, 0)";
/// Clients on each node.
const WRITERS: u64 = 4;
/// How long a client thinks between two commits, at most.
const PAUSE_MS_MAX: u64 = 250;
/// How many rows each client has to itself.
const ROWS: u64 = 40;
/// The log of a node, in commits.
const LOG_MAX: usize = 1_000_000;

/// What a client saw committed.
#[derive(Default)]
struct Seen {
    /// Its own rows that are there.
    rows: BTreeMap<u64, (u64, String)>,
    commits: Vec<String>,
    /// What it wrote to rows that everybody writes to.
    shared: BTreeSet<u64>,
    refused: u64,
    /// What it did to each of its rows one by one, and what came of it: for the message of a
    /// failure.
    trace: Vec<(u64, String)>,
}

struct Writer {
    conn: Conn,
    number: u64,
    random: u64,
    /// Whether it commits only the tables it names, so that others' uncommitted rows stay so.
    names_tables: bool,
    seen: Seen,
}

impl Writer {
    fn new(home: &Home, number: u64, names_tables: bool) -> Self {
        let random = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(number + 1);
        let seen = Seen::default();
        Self { conn: connect(home), number, random, names_tables, seen }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    /// Changes one of its own rows, and says what it then is.
    fn change(
        &mut self,
        known: &BTreeMap<u64, (u64, String)>,
    ) -> (String, u64, Option<(u64, String)>) {
        let id = self.number * 1_000_000 + self.random(ROWS);
        let (value, word) = (self.random(1 << 40), self.random(999));
        let note = format!("w{} {word}", self.number);
        let row = Some((value, note.clone()));
        match known.contains_key(&id) {
            // Only what was there before the transaction: else the two could leave nothing to
            // commit.
            true if self.seen.rows.contains_key(&id) && self.random(4) == 0 => {
                (format!("DELETE FROM own WHERE id = {id}"), id, None)
            }
            true => {
                (format!("UPDATE own SET v = {value}, note = '{note}' WHERE id = {id}"), id, row)
            }
            false => (format!("INSERT INTO own VALUES ({id}, {value}, '{note}')"), id, row),
        }
    }

    fn commit(&mut self) -> mysql::Result<String> {
        if !self.names_tables {
            return try_commit(&mut self.conn, true);
        }
        self.conn.query_drop("CALL DOLT_ADD('own', 'common')")?;
        try_commit(&mut self.conn, false)
    }

    /// One transaction: a few changes and the commit, all or nothing.
    fn transaction(&mut self) {
        let mut rows = self.seen.rows.clone();
        let (mut statements, mut shared) = (Vec::new(), None);
        for _ in 0..=self.random(3) {
            let (sql, id, row) = self.change(&rows);
            statements.push(sql);
            match row {
                Some(row) => rows.insert(id, row),
                None => rows.remove(&id),
            };
        }
        if self.random(8) == 0 {
            let (id, value) = (1 + self.random(5), self.random(1 << 40));
            statements.push(format!("UPDATE common SET v = {value} WHERE id = {id}"));
            shared = Some(value);
        }
        let done = (|| {
            self.conn.query_drop("START TRANSACTION")?;
            statements.iter().try_for_each(|sql| self.conn.query_drop(sql))?;
            self.commit()
        })();
        match done {
            Ok(commit) => {
                self.seen.commits.push(commit);
                self.seen.rows = rows;
                self.seen.shared.extend(shared);
            }
            Err(error) => self.refused(&error),
        }
    }

    /// A program that does not know transactions: a change, and later a commit of whatever is
    /// there.
    fn one_by_one(&mut self) {
        let known = self.seen.rows.clone();
        let (sql, id, row) = self.change(&known);
        if let Err(error) = self.conn.query_drop(&sql) {
            self.seen.trace.push((id, format!("{sql}: {error}")));
            return self.refused(&error);
        }
        match row {
            Some(row) => self.seen.rows.insert(id, row),
            None => self.seen.rows.remove(&id),
        };
        loop {
            let done = self.commit();
            self.seen.trace.push((id, format!("{sql}: {done:?}")));
            match done {
                Ok(commit) => return self.seen.commits.push(commit),
                // Another client's commit took the change along.
                Err(error) if error.to_string().contains("nothing to commit") => return,
                Err(error) => self.refused(&error),
            }
        }
    }

    /// Others were faster. Every other error is a finding.
    fn refused(&mut self, error: &mysql::Error) {
        let text = error.to_string();
        let passing =
            ["1213", "serialization failure", "dataset head is not ancestor", "optimistic lock"];
        assert!(passing.iter().any(|words| text.contains(words)), "client {}: {text}", self.number);
        self.seen.refused += 1;
        run(&mut self.conn, &["ROLLBACK"]);
    }

    fn spawn(mut self, stop: &Arc<AtomicBool>) -> JoinHandle<Seen> {
        let stop = Arc::clone(stop);
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match self.number % WRITERS {
                    0 => self.one_by_one(),
                    _ => self.transaction(),
                }
                sleep(Duration::from_millis(self.random(PAUSE_MS_MAX)));
            }
            self.seen
        })
    }
}

/// Leaves rows uncommitted for a while, again and again, and takes them away in the end.
fn dawdle(home: &Home, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let (mut conn, stop) = (connect(home), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut drafts = 0;
        while !stop.load(Ordering::Relaxed) {
            for sql in ["INSERT INTO draft VALUES (1)", "DELETE FROM draft"] {
                // Others' writes are merged into the working set, and now and then one is in the
                // way.
                while conn.query_drop(sql).is_err() {}
                sleep(Duration::from_millis(100));
            }
            drafts += 1;
        }
        drafts
    })
}

/// What a node said of its main while others wrote.
#[derive(Debug, Default)]
struct Moves {
    forward: u64,
    joined: u64,
    waited: u64,
    pulls: u64,
    failed: u64,
}

async fn count(mut events: EventStream, mut stop: tokio::sync::watch::Receiver<bool>) -> Moves {
    let mut moves = Moves::default();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = stop.changed() => None,
        };
        match event {
            None => return moves,
            Some(SwarmEvent::MainMoved { fast_forward: true, .. }) => moves.forward += 1,
            Some(SwarmEvent::MainMoved { .. }) => moves.joined += 1,
            Some(SwarmEvent::MainWaits { .. }) => moves.waited += 1,
            Some(SwarmEvent::Pulled { .. }) => moves.pulls += 1,
            Some(SwarmEvent::PullFailed { .. }) => moves.failed += 1,
            Some(_) => {}
        }
    }
}

/// Checks the whole content of a node against what the clients saw. Returns how many rows have an
/// older version than the last one, which is then on record.
async fn check(home: &Home, node: &Swarm, seen: &[Seen]) -> usize {
    let mut conn = connect(home);
    let expected: BTreeMap<u64, String> = seen
        .iter()
        .flat_map(|seen| &seen.rows)
        .map(|(id, (value, note))| (*id, format!("{id},{value},{note}")))
        .collect();
    let found = texts(&mut conn, "SELECT id, v, note FROM own ORDER BY id");
    let expected: Vec<String> = expected.into_values().collect();
    let id_of =
        |row: &str| -> u64 { row.split(',').next().expect("a column").parse().expect("a number") };
    // Where two heads have several newest common ancestors, a row's last version can meet an older
    // one as if both were new: the loser is on record, and a person can see it.
    let conflicts = node.conflicts(true).await.expect("conflicts");
    let on_record: BTreeSet<u64> = conflicts
        .iter()
        .filter(|conflict| conflict.table_name == "own")
        .filter_map(|conflict| conflict.row_key["id"].as_u64())
        .collect();
    let is_open = |row: &&String| !on_record.contains(&id_of(row));
    let there: BTreeSet<u64> = found.iter().map(|row| id_of(row)).collect();
    let older: Vec<_> = expected.iter().filter(|row| !found.contains(row)).collect();
    let lost: Vec<_> =
        older.iter().copied().filter(|row| is_open(row) || !there.contains(&id_of(row))).collect();
    let strange: Vec<_> =
        found.iter().filter(|row| !expected.contains(row)).filter(is_open).collect();
    if let Some(row) = lost.first().or(strange.first()) {
        let id = id_of(row);
        let trace = seen.iter().flat_map(|seen| &seen.trace).filter(|(of, _)| *of == id);
        let trace: Vec<_> = trace.map(|(_, what)| what).collect();
        let sql = format!(
            "SELECT to_commit, from_commit, to_commit_date, diff_type, from_v, to_v FROM dolt_diff_own \
             WHERE to_id = {id} OR from_id = {id}"
        );
        let history = texts(&mut conn, &sql);
        panic!("lost {lost:?}, strange {strange:?}; {id}: {trace:#?}, {history:#?}");
    }
    let written: BTreeSet<u64> = seen.iter().flat_map(|seen| seen.shared.iter().copied()).collect();
    for value in texts(&mut conn, "SELECT v FROM common") {
        let value: u64 = value.parse().expect("a number");
        assert!(value == 0 || written.contains(&value), "nobody wrote {value}");
    }
    let log = node.log(LOG_MAX).await.expect("a log");
    let log: BTreeSet<&str> = log.iter().map(|entry| entry.commit.as_str()).collect();
    let gone: Vec<_> = seen
        .iter()
        .flat_map(|seen| &seen.commits)
        .filter(|commit| !log.contains(commit.as_str()))
        .collect();
    assert!(gone.is_empty(), "{} commits are not under main: {gone:?}", gone.len());
    assert_eq!(texts(&mut conn, "SELECT count(*) FROM dolt_history_draft"), ["0"]);
    assert_eq!(texts(&mut conn, "SELECT table_name FROM dolt_status"), Vec::<String>::new());
    older.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_client_saw_committed_is_lost_while_everybody_writes() {
    let homes: [Home; 3] = homes();
    if homes[0].database.is_none() {
        return;
    }
    let a = homes[0].found(SCHEMA).await;
    let (b, c) = (homes[1].join(&a, "b").await, homes[2].join(&a, "c").await);
    in_step(&[&a, &b, &c]).await;
    let (tell, told) = tokio::sync::watch::channel(false);
    let counts = [&a, &b, &c].map(|node| tokio::spawn(count(node.events(), told.clone())));

    let text = std::env::var("DOLTSWARM_STRESS_SECONDS").unwrap_or_else(|_| "5".into());
    let duration = Duration::from_secs(text.parse().expect("DOLTSWARM_STRESS_SECONDS is a number"));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS * 3)
        .map(|number| {
            let node = number / WRITERS;
            Writer::new(&homes[node as usize], number, node == 2).spawn(&stop)
        })
        .collect();
    let dawdler = dawdle(&homes[2], &stop);
    tokio::time::sleep(duration).await;
    stop.store(true, Ordering::Relaxed);
    let join = tokio::task::spawn_blocking(move || {
        let seen: Vec<Seen> = writers.into_iter().map(|w| w.join().expect("a client")).collect();
        (seen, dawdler.join().expect("a client"))
    });
    let (seen, drafts) = join.await.expect("the clients end");
    let ended = Instant::now();
    let statuses = in_step(&[&a, &b, &c]).await;
    let settled = ended.elapsed();
    tell.send_replace(true);

    let mut older = 0;
    for (home, node) in homes.iter().zip([&a, &b, &c]) {
        older = check(home, node, &seen).await;
    }
    let [x, y, z] = counts;
    let moves = [x.await.expect("a"), y.await.expect("b"), z.await.expect("c")];
    let log = a.log(LOG_MAX).await.expect("a log");
    say(&format!(
        "stress: {duration:?}, {} clients on 3 nodes: {} commits acknowledged, {} refused, {drafts} drafts, \
         {} rows ({older} older, on record), {} user commits, {} merges, {} conflicts, {} parked, settled after {settled:?}; {moves:?}",
        seen.len(),
        seen.iter().map(|seen| seen.commits.len()).sum::<usize>(),
        seen.iter().map(|seen| seen.refused).sum::<u64>(),
        seen.iter().map(|seen| seen.rows.len()).sum::<usize>(),
        statuses[0].commits,
        log.iter().filter(|entry| entry.kind == "merge").count(),
        statuses[0].conflicts.total,
        statuses[0].parked.len(),
    ));
    close([a, b, c]).await;
}
