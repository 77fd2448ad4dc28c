//! Moving main from beside it, whatever main holds.
//!
//! A connection on main cannot move main away from a schema that does not parse, and its hard reset
//! costs the square of the number of tables. So main is moved from a connection on a branch of its
//! own: that costs the same for every main, needs nothing of what main holds, and is visible at
//! once, as a whole.

use std::path::Path;

use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::RESCUE_COMMITS_MAX;

use super::chunks::{DoltLiteChunks, parts_of};
use super::connection::{
    During, Purpose, hash_value, head_of, open_at, open_branch, open_unread, parse_hash,
    transaction,
};
use super::ffi::Connection;
use crate::engine::{EngineError, EngineResult, Value};

/// The branch that the connection stands on. It stays at the commit that it was made at.
const BRANCH: &str = "swarm/keep";

/// Where another program's commits are kept that cannot be part of the swarm.
pub(super) const REFUSED: &str = "refused/";

/// A connection beside main.
pub(super) struct Keeper {
    connection: Connection,
}

/// What came of an attempt to move main.
pub(super) enum Moved {
    /// Main is at the target.
    Yes,
    /// Main is not where the caller thought, but here.
    MainChanged(CommitHash),
    /// There is uncommitted work on main, or there are tables that the database ignores.
    Dirty,
}

impl Keeper {
    /// Opens the connection; `any` is one on whatever branch, and `at` a commit whose schema opens.
    pub(super) fn open(path: &Path, any: &Connection, at: &CommitHash) -> EngineResult<Self> {
        let sql = "SELECT dolt_hashof(?)";
        if any.rows(sql, &[BRANCH.into()]).is_err() {
            let sql = "SELECT dolt_branch(?, ?)";
            any.run(sql, &[BRANCH.into(), hash_value(at)]).during("make the keeper's branch")?;
        }
        Ok(Self { connection: open_branch(path, BRANCH, Purpose::Beside)? })
    }

    /// Moves main from `expected` to `to`: a compare-and-swap.
    pub(super) fn move_main(&self, expected: &CommitHash, to: &CommitHash) -> EngineResult<Moved> {
        transaction(&self.connection, || {
            let (tip, dirty) = self.main()?;
            if tip != *expected {
                return Ok(Moved::MainChanged(tip));
            }
            if dirty {
                return Ok(Moved::Dirty);
            }
            self.point("main", to)?;
            Ok(Moved::Yes)
        })
    }

    /// Puts a branch at a commit, whatever was there.
    pub(super) fn point(&self, branch: &str, to: &CommitHash) -> EngineResult<()> {
        let sql = "SELECT dolt_branch('-f', ?, ?)";
        self.connection.run(sql, &[branch.into(), hash_value(to)]).during("move a branch")
    }

    /// Takes `tip` off main, which goes to `to`, and keeps it on a branch.
    pub(super) fn refuse(&self, tip: &CommitHash, to: &CommitHash) -> EngineResult<Moved> {
        let branch = format!("{REFUSED}{tip}");
        let sql = "SELECT dolt_hashof(?)";
        // The branch is there before main leaves the commit, whatever happens in between.
        if self.connection.rows(sql, &[branch.as_str().into()]).is_err() {
            self.point(&branch, tip)?;
        }
        self.move_main(tip, to)
    }

    /// Where main stands, and whether there is more on it than that commit.
    fn main(&self) -> EngineResult<(CommitHash, bool)> {
        let sql = "SELECT hash, dirty FROM dolt_branches WHERE name = 'main'";
        let rows = self.connection.hot(sql, &[]).during("read the tip of main")?;
        let row = rows.first().ok_or_else(|| EngineError::Corrupt {
            message: "the database has no branch `main`".to_owned(),
        })?;
        Ok((parse_hash(row.first())?, row.get(1) != Some(&Value::Integer(0))))
    }
}

/// Takes off main what cannot be opened: main goes to the newest commit below it that can be.
///
/// A node must start whatever another program committed.
pub(super) fn rescue(path: &Path) -> EngineResult<()> {
    let bare = open_unread(path)?;
    let tip = head_of(&bare, "main")?;
    let good = newest_that_opens(path, &tip)?;
    let corrupt =
        |what: &str| Err(EngineError::Corrupt { message: format!("{}: {what}", path.display()) });
    if good == tip {
        return corrupt("what another program left uncommitted on main cannot be opened");
    }
    match Keeper::open(path, &bare, &good)?.refuse(&tip, &good)? {
        Moved::Yes => {
            tracing::warn!(commit = %tip, main = %good, "took a commit off main that does not open");
            Ok(())
        }
        Moved::MainChanged(_) => Err(EngineError::Busy),
        Moved::Dirty => corrupt(
            "the newest commit on main cannot be opened, and there are uncommitted changes on it",
        ),
    }
}

/// The newest commit from `tip` down its first parents whose schema parses.
fn newest_that_opens(path: &Path, tip: &CommitHash) -> EngineResult<CommitHash> {
    let mut chunks = DoltLiteChunks::open(path)?;
    let mut commit = *tip;
    for _ in 0..RESCUE_COMMITS_MAX {
        match open_at(path, &commit) {
            Ok(_) => return Ok(commit),
            Err(EngineError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        let parents = parts_of(&mut chunks, &commit)?.parents;
        commit = *parents.first().ok_or_else(|| EngineError::Corrupt {
            message: format!("{}: no commit under main can be opened", path.display()),
        })?;
    }
    let message = format!("{}: none of {RESCUE_COMMITS_MAX} commits can be opened", path.display());
    Err(EngineError::Corrupt { message })
}
