//! Reading the database's chunks: the server pushes its branches into the spool, a store of files
//! that the node reads.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use doltswarm_core::id::{ChunkHash, CommitHash};

use super::commit::hash_value;
use super::ingest::KEPT;
use super::moving::FOLD;
use super::options::DoltOptions;
use super::refs::{PARKED, drop_branch};
use super::remotes;
use super::session::{During, Link, Losses, Purpose, Session, text};
use super::store::{Spool, commit_from_text, commit_text};
use crate::engine::{ChunkReader, EngineResult};

/// The name of the spool among the database's remotes.
pub(super) const REMOTE: &str = "swarm_spool";

/// The branch that a commit has while it is pushed that no other branch has.
const HELD: &str = "swarm/held";

/// What fills the spool: one for each database, whoever reads it.
pub(super) struct Pusher {
    spool: Spool,
    session: Session,
    /// The branches that were pushed, with where they stood.
    pushed: BTreeMap<String, String>,
}

impl Pusher {
    pub(super) fn open(options: &DoltOptions, losses: &Losses) -> EngineResult<Arc<Mutex<Self>>> {
        let spool = Spool::open(spool_dir(&options.folder))?;
        let session = Session::new(options, Purpose::Main, losses);
        Ok(Arc::new(Mutex::new(Self { spool, session, pushed: BTreeMap::new() })))
    }

    /// The spool.
    pub(super) fn spool(&self) -> Spool {
        self.spool.clone()
    }

    /// Lets the server push what is new under main and the parked heads.
    pub(super) fn push(&mut self) -> EngineResult<()> {
        let link = self.session.link()?;
        let now = branches(link)?;
        if now == self.pushed {
            return Ok(());
        }
        remotes::point(link, REMOTE, &self.spool.url())?;
        // `main` comes first, and mostly all the others are under it.
        for (name, hash) in &now {
            if self.pushed.get(name) != Some(hash) && !self.holds(hash)? {
                let sql = "CALL DOLT_PUSH('--force', ?, ?)";
                let params = [REMOTE.into(), format!("{name}:{name}").into()];
                self.session.link()?.run(sql, &params).during("push into the spool")?;
                self.spool.refresh()?;
            }
        }
        self.pushed = now;
        Ok(())
    }

    /// Lets the server push these commits and all below them, whether a branch has them or not.
    pub(super) fn hold(&mut self, commits: &[CommitHash]) -> EngineResult<()> {
        self.push()?;
        for commit in commits {
            if !self.holds(&commit_text(commit))? {
                let link = self.session.link()?;
                let params = [HELD.into(), hash_value(commit)];
                link.run("CALL DOLT_BRANCH('-f', ?, ?)", &params).during("name a commit")?;
                let params = [REMOTE.into(), format!("{HELD}:{HELD}").into()];
                let sql = "CALL DOLT_PUSH('--force', ?, ?)";
                remotes::point(link, REMOTE, &self.spool.url())?;
                link.run(sql, &params).during("push into the spool")?;
                drop_branch(link, HELD)?;
                self.spool.refresh()?;
            }
        }
        Ok(())
    }

    /// Whether the spool has a commit, and so all below it: chunks are asked for by hash, so it
    /// does not matter under which name they were pushed.
    fn holds(&mut self, hash: &str) -> EngineResult<bool> {
        let Some(commit) = commit_from_text(hash) else { return Ok(false) };
        Ok(self.spool.has_many(&[commit.into()])?.contains(&true))
    }

    /// Makes the spool anew, so that what the database dropped goes from it too.
    pub(super) fn renew(&mut self) -> EngineResult<()> {
        self.pushed.clear();
        self.spool.reset()?;
        self.push()
    }
}

fn spool_dir(folder: &Path) -> std::path::PathBuf {
    folder.join("spool")
}

/// The branches that peers may ask for: main, the fold's tip, what is parked, and what was fetched
/// and waits for main, which may be long where another program leaves rows uncommitted.
fn branches(link: &mut Link) -> EngineResult<BTreeMap<String, String>> {
    let sql = "SELECT name, hash FROM dolt_branches";
    let rows = link.rows(sql, &[]).during("list the branches")?;
    let rows = rows.iter().map(|row| (text(row.first()).to_owned(), text(row.get(1)).to_owned()));
    let is_shown = |name: &str| {
        ["main", FOLD].contains(&name) || [PARKED, KEPT].iter().any(|kept| name.starts_with(kept))
    };
    Ok(rows.filter(|(name, _)| is_shown(name)).collect())
}

/// A handle on the chunks of a database.
pub(super) struct DoltChunks {
    pusher: Arc<Mutex<Pusher>>,
    spool: Spool,
}

impl DoltChunks {
    pub(super) fn open(pusher: &Arc<Mutex<Pusher>>) -> EngineResult<Self> {
        let mut locked = pusher.lock().unwrap_or_else(PoisonError::into_inner);
        locked.push()?;
        Ok(Self { pusher: Arc::clone(pusher), spool: locked.spool() })
    }
}

impl DoltChunks {
    /// Asks the spool; if it lacks something, once more after the server has pushed what is new.
    /// What the spool has does not change, so only an absence can be out of date, and only that is
    /// worth a push.
    fn ask<T>(
        &mut self,
        ask: impl Fn(&mut Spool) -> EngineResult<T>,
        is_whole: impl Fn(&T) -> bool,
    ) -> EngineResult<T> {
        let answer = ask(&mut self.spool)?;
        if is_whole(&answer) {
            return Ok(answer);
        }
        self.pusher.lock().unwrap_or_else(PoisonError::into_inner).push()?;
        ask(&mut self.spool)
    }
}

impl ChunkReader for DoltChunks {
    fn get_many(&mut self, hashes: &[ChunkHash]) -> EngineResult<Vec<Option<Vec<u8>>>> {
        self.ask(|spool| spool.get_many(hashes), |found| found.iter().all(Option::is_some))
    }

    fn has_many(&mut self, hashes: &[ChunkHash]) -> EngineResult<Vec<bool>> {
        self.ask(|spool| spool.has_many(hashes), |found| found.iter().all(|present| *present))
    }

    fn size(&mut self) -> EngineResult<u64> {
        self.spool.size()
    }
}
