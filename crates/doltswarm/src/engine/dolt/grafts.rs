//! Grafts: merging over a base that is not the one that the server would find.
//!
//! The server finds the base by itself, as the newest common ancestor. Where the swarm compares the
//! two sides with something else, the server merges *grafts*: commits with the same tables, that
//! have the base's graft as their only common ancestor. What this gives becomes the tables of a
//! merge commit of the two sides themselves.

use std::sync::{Mutex, PoisonError};

use doltswarm_core::commit::{MERGE_AUTHOR_EMAIL, MERGE_AUTHOR_NAME, Merge, MergeBase};
use doltswarm_core::id::CommitHash;

use super::chunks::Pusher;
use super::commit::{Words, hash_value, info, require};
use super::exec::reset;
use super::ingest;
use super::merge::BRANCH;
use super::record as book;
use super::session::{During, Link, SqlError, quote, text};
use super::settle::{Stop, refused};
use super::store::{Derived, Inbox, commit_text};
use crate::engine::record::TABLE;
use crate::engine::{CommitMeta, EngineError, EngineResult, Value};

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

/// Makes the grafts of the two sides.
pub(super) fn make(link: &mut Link, merge: &Merge) -> Result<Sides, Stop> {
    let base = make_base(link, &merge.base)?;
    let ours = synthetic_commit(link, &merge.ours, &base)?;
    Ok(Sides { ours, theirs: synthetic_commit(link, &merge.theirs, &base)? })
}

fn make_base(link: &mut Link, base: &MergeBase) -> Result<CommitHash, Stop> {
    put(link, &base.commit, &base.ancestor)?;
    if base.commit != base.ancestor {
        book::restore(link, &base.ancestor)
            .map_err(|error| refused(error, TABLE, "compare the sides"))?;
    }
    Ok(commit(link, &base.commit)?)
}

fn synthetic_commit(
    link: &mut Link,
    of: &CommitHash,
    parent: &CommitHash,
) -> EngineResult<CommitHash> {
    put(link, of, parent)?;
    commit(link, of)
}

/// Puts the branch at `parent`, with the tables of `tables`, and begins a transaction.
fn put(link: &mut Link, tables: &CommitHash, parent: &CommitHash) -> EngineResult<()> {
    reset(link, BRANCH, tables)?;
    let sql = "CALL DOLT_RESET('--soft', ?)";
    link.run(sql, &[hash_value(parent)]).during("make a graft")?;
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
    let made = words.commit(link, &["--allow-empty"]).during("make a graft")?;
    made.ok_or_else(|| EngineError::Failed {
        what: "make a graft",
        message: "the server made no commit".to_owned(),
    })
}

/// Makes the merge commit of the two sides with the tables of `tables`, where the branch is now.
pub(super) fn graft(
    link: &mut Link,
    ways: &mut Ways<'_>,
    merge: &Merge,
    tables: &CommitHash,
    words: &Words,
) -> EngineResult<CommitHash> {
    match amend(link, merge, tables, words)? {
        Some(commit) => {
            #[cfg(test)]
            assert_eq!(write_offline(link, ways, merge, tables)?, commit, "two ways, two commits");
            Ok(commit)
        }
        None => write_offline(link, ways, merge, tables),
    }
}

/// Lets the server merge the sides as it would, whatever comes of it, and amends that commit, which
/// keeps its parents. Nothing where the server does not merge them at all.
fn amend(
    link: &mut Link,
    merge: &Merge,
    tables: &CommitHash,
    words: &Words,
) -> EngineResult<Option<CommitHash>> {
    reset(link, BRANCH, &merge.ours)?;
    words.tell(link)?;
    link.run("START TRANSACTION", &[]).during("begin a transaction")?;
    let Some(made) = force_merge(link, &merge.theirs, words)? else { return Ok(None) };
    // Where the server finds nothing to merge, that is no error, and the commit has one parent.
    if require(link, &made)?.parents != [merge.ours, merge.theirs] {
        return Ok(None);
    }
    put(link, tables, &made)?;
    words.commit(link, &["--amend", "--allow-empty"]).during("commit the merge")
}

/// Makes some merge commit of the connection's branch and `theirs`.
fn force_merge(
    link: &mut Link,
    theirs: &CommitHash,
    words: &Words,
) -> EngineResult<Option<CommitHash>> {
    let statements = [
        // Conflicts of the definitions too; what stands does not matter.
        ("CALL DOLT_MERGE('--no-ff', '--no-commit', ?)", vec![hash_value(theirs)]),
        ("CALL DOLT_CONFLICTS_RESOLVE('--ours', '.')", Vec::new()),
    ];
    for (sql, params) in statements {
        if !accepted(link.rows(sql, &params))? {
            return Ok(None);
        }
    }
    let sql = "SELECT `table` FROM dolt_constraint_violations";
    let broken = link.rows(sql, &[]).during("list the violations")?;
    for table in broken.iter().map(|row| text(row.first())) {
        let sql = format!("DELETE FROM {}", quote(&format!("dolt_constraint_violations_{table}")));
        if !accepted(link.rows(&sql, &[]))? {
            return Ok(None);
        }
    }
    link.run("SET foreign_key_checks = 0", &[]).during("commit the merge")?;
    let made = words.commit(link, &["--allow-empty", "--force"]);
    link.run("SET foreign_key_checks = 1", &[]).during("commit the merge")?;
    match made {
        Err(error) if error.is_rejection() => Ok(None),
        made => made.during("commit the merge"),
    }
}

/// Whether the server did it; another error than a refusal is one.
fn accepted(result: Result<Vec<Vec<Value>>, SqlError>) -> EngineResult<bool> {
    match result {
        Err(error) if error.is_rejection() => Ok(false),
        result => result.during("merge").map(|_| true),
    }
}

/// Writes the merge commit of the two sides with the tables of `tables`, and lets the server fetch
/// it.
pub(super) fn write_offline(
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
