//! Taking in a commit: the node writes its chunks into the inbox, a store of files, and the server
//! fetches from it.

use std::sync::Mutex;

use doltswarm_core::id::{ChunkHash, CommitHash};

use super::commit::{hash_value, info, parse_hash};
use super::remotes;
use super::session::{During, Link, text};
use super::store::{Inbox, Spool, commit_text};
use crate::engine::{ChunkReader, ChunkSource, EngineError, EngineResult};

/// The name of the inbox among the database's remotes.
pub(super) const REMOTE: &str = "swarm_inbox";
/// Before the names of the branches that keep what was fetched, until main has it or garbage is
/// collected. The server collects garbage by itself too.
pub(super) const KEPT: &str = "swarm/in/";

/// Takes `commit` and all below it from `source`. `own` is the database's own spool.
pub(super) fn ingest(
    link: &mut Link,
    inbox: &Inbox,
    own: &Spool,
    source: &dyn ChunkSource,
    commit: &CommitHash,
) -> EngineResult<()> {
    if info(link, commit)?.is_none() {
        let lacking = Lacking { source, own: Mutex::new(own.clone()) };
        inbox.fill(commit, &lacking)?;
        if fetch(link, inbox, commit).is_err() {
            // The spool may have what the database has dropped since.
            inbox.fill(commit, source)?;
            fetch(link, inbox, commit)?;
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
    let sql = "SELECT name, hash FROM dolt_branches WHERE name LIKE 'swarm/in/%'";
    for row in link.rows(sql, &[]).during("list the branches")? {
        let is_done = match main {
            None => true,
            Some(main) => {
                let sql = "SELECT HAS_ANCESTOR(?, ?)";
                let params = [hash_value(main), text(row.get(1)).into()];
                let rows = link.rows(sql, &params).during("look whether main has a commit")?;
                super::session::number(rows.first().and_then(|row| row.first())) == 1
            }
        };
        if is_done {
            super::refs::drop_branch(link, text(row.first()))?;
        }
    }
    Ok(())
}

/// A source that does not give what the database has already.
struct Lacking<'a> {
    source: &'a dyn ChunkSource,
    own: Mutex<Spool>,
}

impl ChunkSource for Lacking<'_> {
    fn get_many(&self, hashes: &[ChunkHash]) -> Result<Vec<Option<Vec<u8>>>, String> {
        let has = {
            let mut own = self.own.lock().map_err(|_| "the spool is in disorder".to_owned())?;
            own.has_many(hashes).map_err(|error| error.to_string())?
        };
        let wanted: Vec<_> =
            hashes.iter().zip(&has).filter(|(_, has)| !**has).map(|(hash, _)| *hash).collect();
        let mut given = self.source.get_many(&wanted)?.into_iter();
        Ok(has.into_iter().map(|has| if has { None } else { given.next().flatten() }).collect())
    }
}
