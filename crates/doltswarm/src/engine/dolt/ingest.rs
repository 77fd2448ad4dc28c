//! Taking in a commit: the node writes its chunks into the inbox, a store of files, and the server
//! fetches from it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use doltswarm_core::id::{ChunkHash, CommitHash};

use super::chunks::Pusher;
use super::commit::{hash_value, info, parse_hash};
use super::remotes;
use super::session::{During, Link};
use super::store::{Inbox, Spool, commit_text};
use crate::engine::{ChunkReader, ChunkSource, EngineError, EngineResult};

/// The name of the inbox among the database's remotes.
pub(super) const REMOTE: &str = "swarm_inbox";
/// Before the names of the branches that keep what was fetched, until main has it or garbage is
/// collected. The server collects garbage by itself too.
pub(super) const KEPT: &str = "swarm/in/";

/// Takes `commit` and all below it from `source`. What it brings is served from then on without a
/// push.
pub(super) fn ingest(
    link: &mut Link,
    inbox: &Inbox,
    pusher: &Mutex<Pusher>,
    source: &dyn ChunkSource,
    commit: &CommitHash,
) -> EngineResult<()> {
    if info(link, commit)?.is_none() {
        // No push may change the spool between the look at what it has and the file that completes
        // it.
        let pusher = pusher.lock().unwrap_or_else(PoisonError::into_inner);
        let own = pusher.spool();
        let lacking =
            Lacking { source, own: Mutex::new(own.clone()), is_whole: AtomicBool::new(true) };
        let filled = inbox.fill(commit, &lacking)?;
        let mut is_whole = lacking.is_whole.into_inner();
        if fetch(link, inbox, commit).is_err() {
            // The spool may have what the database has dropped since.
            is_whole = false;
            inbox.fill(commit, source)?;
            fetch(link, inbox, commit)?;
        }
        if is_whole && let Err(error) = own.adopt(inbox.dir(), &filled) {
            tracing::debug!(%error, "what was fetched is pushed into the spool when it is asked for");
        }
        inbox.clear()?;
    }
    let name = format!("{KEPT}{}", commit_text(commit));
    let sql = "CALL DOLT_BRANCH('-f', ?, ?)";
    link.run(sql, &[name.into(), hash_value(commit)]).map(|_| ()).during("keep what was fetched")
}

/// Lets the server fetch what the inbox shows.
pub(super) fn fetch(link: &mut Link, inbox: &Inbox, commit: &CommitHash) -> EngineResult<()> {
    remotes::point(link, REMOTE, &inbox.url())?;
    let params = [REMOTE.into(), "main".into()];
    link.run("CALL DOLT_FETCH(?, ?)", &params).during("fetch")?;
    let sql = "SELECT hash FROM dolt_remote_branches WHERE name = ?";
    let name = format!("remotes/{REMOTE}/main");
    let rows = link.rows(sql, &[name.into()]).during("read what was fetched")?;
    let fetched = parse_hash(rows.first().and_then(|row| row.first()))?;
    if fetched == *commit {
        return Ok(());
    }
    Err(EngineError::Failed {
        what: "fetch",
        message: format!(
            "the inbox showed {} where {} was asked for",
            commit_text(&fetched),
            commit_text(commit)
        ),
    })
}

/// Drops what keeps fetched commits that `main` has by now; all of it where there is no `main`.
pub(super) fn drop_kept(link: &mut Link, main: Option<&CommitHash>) -> EngineResult<()> {
    let mut sql = "SELECT name FROM dolt_branches WHERE name LIKE 'swarm/in/%'".to_owned();
    let mut params = Vec::new();
    if let Some(main) = main {
        sql.push_str(" AND HAS_ANCESTOR(?, hash) = 1");
        params.push(hash_value(main));
    }
    let done = link.rows(&sql, &params).during("list the branches")?;
    let names: Vec<_> = done.into_iter().flatten().collect();
    super::refs::drop_branches(link, &names)
}

/// A source that does not give what the database has already.
struct Lacking<'a> {
    source: &'a dyn ChunkSource,
    own: Mutex<Spool>,
    /// Whether each chunk was in one of the two.
    is_whole: AtomicBool,
}

impl ChunkSource for Lacking<'_> {
    fn get_many(&self, hashes: &[ChunkHash]) -> Result<Vec<Option<Vec<u8>>>, String> {
        let has = {
            let mut own = self.own.lock().map_err(|_| "the spool is in disorder".to_owned())?;
            own.has_many(hashes).map_err(|error| error.to_string())?
        };
        let wanted: Vec<_> =
            hashes.iter().zip(&has).filter(|(_, has)| !**has).map(|(hash, _)| *hash).collect();
        let given = self.source.get_many(&wanted)?;
        if given.iter().any(Option::is_none) {
            self.is_whole.store(false, Ordering::Relaxed);
        }
        let mut given = given.into_iter();
        Ok(has.into_iter().map(|has| if has { None } else { given.next().flatten() }).collect())
    }
}
