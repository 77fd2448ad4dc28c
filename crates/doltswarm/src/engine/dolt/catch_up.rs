//! Catch-up commits: bringing others' work into a main that other programs commit to without a
//! pause.
//!
//! A fast-forward needs a moment in which main is where the fold began. Where there is none, the
//! server merges the fold's tip into main as it is, in one statement. Its transactions are
//! optimistic: what others commit meanwhile is merged with it, as with any two clients.

use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::{DOLT_DIRTY_WAITS_MAX, DOLT_RACES_MAX};

use super::commit::{Words, dirty_tables, require, tip};
use super::merge::merge_base;
use super::moving::{fold_tip, show_commit};
use super::session::{During, Link, SqlError, number, pause, text};
use super::store::commit_from_text;
use crate::engine::{CommitMeta, EngineResult};

/// What the commits say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metas<'a> {
    /// The catch-up commit.
    pub(super) catch_up: &'a CommitMeta,
    /// The commit of what lies there uncommitted; `None` if that is left alone.
    pub(super) pending: Option<&'a CommitMeta>,
}

/// Makes a catch-up commit of `to` on main; `None` if main is where it is expected, holds
/// uncommitted work whenever it is looked at, or disagrees with `to`.
///
/// *Measured* on Dolt 2.2.0, in three runs of eight seconds, with four clients that committed as
/// fast as they could, or one, with and without transactions: in 97 such merges none of their 4,652
/// commits was lost, and no uncommitted row was taken along.
pub(super) fn catch_up(
    link: &mut Link,
    expected: &CommitHash,
    to: &CommitHash,
    metas: Metas<'_>,
) -> EngineResult<Option<CommitHash>> {
    let words = Words::new(metas.catch_up)?;
    let pending = metas.pending.map(Words::new).transpose()?;
    let at = tip(link)?;
    // What main has beyond `expected` is compared with what `to` has beyond it.
    if fold_tip(link, &at)? == *expected || merge_base(link, &at, to)? != Some(*expected) {
        return Ok(None);
    }
    words.tell(link)?;
    let mut waits = 0;
    for attempt in 0..DOLT_RACES_MAX {
        let made = attempt_on(link, to, &words, pending.as_ref());
        // Also after the commit: else the connection goes on in a transaction, and sees nothing
        // new.
        link.run("ROLLBACK", &[]).during("end a transaction")?;
        match made? {
            Try::Made(commit) => {
                show_commit(link, &commit);
                return Ok(Some(commit));
            }
            Try::Disagree => return Ok(None),
            Try::Outrun => pause(attempt),
            // What lies there for long is not waited for.
            Try::Dirty if waits >= DOLT_DIRTY_WAITS_MAX && pending.is_none() => {
                return Ok(None);
            }
            Try::Dirty => {
                waits += 1;
                pause(waits);
            }
        }
    }
    Ok(None)
}

/// What came of one try.
enum Try {
    Made(CommitHash),
    /// The two sides changed the same, or together break a constraint.
    Disagree,
    /// Uncommitted work was in the way.
    Dirty,
    /// Another program was faster.
    Outrun,
}

/// A transaction that sees nothing uncommitted when it begins takes nothing uncommitted along.
///
/// With `pending` what lies there is committed first, and nothing is asked between that and the
/// merge: a program that writes without a pause leaves a moment only.
fn attempt_on(
    link: &mut Link,
    to: &CommitHash,
    words: &Words,
    pending: Option<&Words>,
) -> EngineResult<Try> {
    link.run("START TRANSACTION", &[]).during("begin a transaction")?;
    if let Some(pending) = pending {
        match pending.commit(link, &["--skip-empty"]) {
            Err(error) if error.is_passing() => return Ok(Try::Outrun),
            committed => committed.during("commit what lies there").map(|_| ())?,
        }
    } else if !dirty_tables(link)?.is_empty() {
        return Ok(Try::Dirty);
    }
    let rows = match words.merge(link, to) {
        Ok(rows) => rows,
        Err(error) if is_stomped(&error) => return Ok(Try::Dirty),
        Err(error) if error.is_passing() => return Ok(Try::Outrun),
        Err(error) if error.is_rejection() => return Ok(Try::Disagree),
        Err(error) => return Err(error.during("bring main up to date")),
    };
    // hash, fast_forward, conflicts, message
    let row = rows.first().map_or(&[][..], Vec::as_slice);
    let commit = commit_from_text(text(row.first()));
    match commit.filter(|_| number(row.get(2)) == 0) {
        Some(commit) if require(link, &commit)?.parents.get(1) == Some(to) => Ok(Try::Made(commit)),
        _ => Ok(Try::Disagree),
    }
}

fn is_stomped(error: &SqlError) -> bool {
    error.message().contains("would be stomped")
}
