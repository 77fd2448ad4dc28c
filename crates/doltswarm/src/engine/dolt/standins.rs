//! Merging over a base that is not the one that the server would find.
//!
//! The server finds the base by itself, as the newest common ancestor. Where the swarm compares the two
//! sides with something else, the server merges *stand-ins*: commits with the same tables, that have
//! the base's stand-in as their only common ancestor. What this gives becomes the tables of the merge
//! commit of the two sides themselves, which the node makes.

use std::sync::{Mutex, PoisonError};

use doltswarm_core::commit::{MERGE_AUTHOR_EMAIL, MERGE_AUTHOR_NAME, Merge, MergeBase};
use doltswarm_core::id::CommitHash;

use super::chunks::Pusher;
use super::commit::{Words, hash_value, info};
use super::exec::reset;
use super::ingest;
use super::merge::{BOOK_ADVICE, BRANCH};
use super::record as book;
use super::session::{During, Link};
use super::settle::{Stop, impossible};
use super::store::{Derived, Inbox, commit_text};
use crate::engine::record::TABLE;
use crate::engine::{CommitMeta, EngineError, EngineResult};

/// The two commits that the server merges.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides {
    pub(super) ours: CommitHash,
    pub(super) theirs: CommitHash,
}

/// How chunks get out of the server and into it.
pub(super) struct Ways<'a> {
    /// A connection that sees at once what it fetched: on that of a merge a transaction is open.
    pub(super) main: &'a mut Link,
    pub(super) inbox: &'a Inbox,
    pub(super) pusher: &'a Mutex<Pusher>,
}

/// Makes the stand-ins of the two sides.
pub(super) fn make(link: &mut Link, merge: &Merge) -> Result<Sides, Stop> {
    let base = make_base(link, &merge.base)?;
    let ours = stand_in(link, &merge.ours, &base)?;
    Ok(Sides { ours, theirs: stand_in(link, &merge.theirs, &base)? })
}

fn make_base(link: &mut Link, base: &MergeBase) -> Result<CommitHash, Stop> {
    put(link, &base.commit, &base.ancestor)?;
    if base.commit != base.ancestor {
        book::restore(link, &base.ancestor)
            .map_err(|error| impossible(error, TABLE, "compare the sides", BOOK_ADVICE))?;
    }
    Ok(commit(link, &base.commit)?)
}

fn stand_in(link: &mut Link, of: &CommitHash, parent: &CommitHash) -> EngineResult<CommitHash> {
    put(link, of, parent)?;
    commit(link, of)
}

/// Puts the branch at `parent`, with the tables of `tables`, and begins a transaction.
fn put(link: &mut Link, tables: &CommitHash, parent: &CommitHash) -> EngineResult<()> {
    reset(link, BRANCH, tables)?;
    let sql = "CALL DOLT_RESET('--soft', ?)";
    link.run(sql, &[hash_value(parent)]).during("make a stand-in")?;
    link.run("START TRANSACTION", &[]).map(|_| ()).during("begin a transaction")
}

fn commit(link: &mut Link, of: &CommitHash) -> EngineResult<CommitHash> {
    let words = Words::new(&CommitMeta {
        author_name: MERGE_AUTHOR_NAME.to_owned(),
        author_email: MERGE_AUTHOR_EMAIL.to_owned(),
        message: format!("stands in for {}", commit_text(of)),
        seconds: 0,
    })?;
    words.tell(link)?;
    let made = words.commit(link, &["--allow-empty"]).during("make a stand-in")?;
    made.ok_or_else(|| EngineError::Failed {
        what: "make a stand-in",
        message: "the server made no commit".to_owned(),
    })
}

/// Makes the merge commit of the two sides with the tables of `tables`, where the branch is now.
pub(super) fn stand_aside(
    link: &mut Link,
    ways: &mut Ways<'_>,
    merge: &Merge,
    tables: &CommitHash,
) -> EngineResult<CommitHash> {
    let derived = {
        let mut pusher = ways.pusher.lock().unwrap_or_else(PoisonError::into_inner);
        pusher.hold(&[merge.ours, merge.theirs, *tables])?;
        Derived::merge(&merge.ours, &merge.theirs, tables, &mut pusher.spool())?
    };
    let commit = derived.commit();
    if info(ways.main, &commit)?.is_none() {
        ways.inbox.fill(&commit, &derived)?;
        ingest::fetch(ways.main, ways.inbox, &commit)?;
        ways.inbox.clear()?;
    }
    // As every merge does, it leaves the branch where the merge is.
    reset(link, BRANCH, &commit)?;
    Ok(commit)
}
