//! Records of conflicts that other programs took away.
//!
//! There are only ever more records, and of one nothing changes but its state. A commit of another
//! program on main cannot be taken off it: others may be committing on top at the same moment. So
//! if it removes or rewrites records, the node brings them back at once, by a commit on top.

use doltswarm_core::commit::{MERGE_AUTHOR_EMAIL, MERGE_AUTHOR_NAME};
use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::DOLT_RACES_MAX;

use super::commit::{Words, require, tip};
use super::cut::{Move, Note};
use super::exec::{BRANCH, reset};
use super::merge::merge_base;
use super::moving::{Followed, follow};
use super::record::fill_first;
use super::session::{During, Link, Session, SqlError, number, pause};
use super::store::commit_text;
use crate::engine::{CommitMeta, EngineError, EngineResult};

/// Of a difference in the table: that a record has the same id and other content.
const REWRITTEN: &str = "(diff_type = 'modified' AND NOT (from_id <=> to_id \
    AND from_kind <=> to_kind AND from_table_name <=> to_table_name \
    AND from_row_key <=> to_row_key AND from_base <=> to_base \
    AND from_loser <=> to_loser AND from_winner <=> to_winner))";

/// What was found and done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Records {
    /// None is missing.
    Whole,
    /// This commit on main brought them back.
    Restored(CommitHash),
    /// Uncommitted work keeps main where it is.
    Waiting,
}

/// Brings back on main what it lacks at `at` of the records of `since`.
pub(super) fn bring_back(
    main: &mut Link,
    bench: &mut Session,
    note: &mut Note,
    since: &CommitHash,
    at: &CommitHash,
) -> EngineResult<Records> {
    // What another program put in the place of `since` is undone by the next move of main.
    if !are_lost(main, since, at)? || merge_base(main, since, at)? != Some(*since) {
        return Ok(Records::Whole);
    }
    let words = Words::new(&CommitMeta {
        author_name: MERGE_AUTHOR_NAME.to_owned(),
        author_email: MERGE_AUTHOR_EMAIL.to_owned(),
        message: format!("bring back the records of conflicts that {} lacks", commit_text(at)),
        seconds: require(main, at)?.seconds,
    })?;
    for attempt in 0..DOLT_RACES_MAX {
        let from = tip(main)?;
        let restored = restore(bench.link()?, &words, since, &from);
        if restored.is_err() {
            // The next task starts clean.
            bench.close();
        }
        let Some(to) = restored? else { return Ok(Records::Whole) };
        match follow(main, note, Move { from, to })? {
            Followed::Yes => return Ok(Records::Restored(to)),
            Followed::Moved => pause(attempt),
            Followed::Dirty(_) => return Ok(Records::Waiting),
        }
    }
    Err(EngineError::Busy)
}

/// Whether `at` lacks records of `since`, or has others of their ids.
fn are_lost(link: &mut Link, since: &CommitHash, at: &CommitHash) -> EngineResult<bool> {
    let [since, at] = [since, at].map(commit_text);
    let sql = format!(
        "SELECT count(*) FROM dolt_diff('{since}', '{at}', 'swarm_conflicts') \
         WHERE diff_type = 'removed' OR {REWRITTEN}"
    );
    let rows = match link.rows(&sql, &[]) {
        // The table has another form on one of the sides.
        Err(error) if error.is_rejection() => {
            let sql = format!("SELECT count(*) FROM swarm_conflicts AS OF '{since}'");
            match link.rows(&sql, &[]) {
                Err(error) if error.is_rejection() => return Ok(false),
                rows => rows.during("count the records of conflicts")?,
            }
        }
        rows => rows.during("compare the records of conflicts")?,
    };
    Ok(number(rows.first().and_then(|row| row.first())) > 0)
}

/// A commit on `from` that has the records of both commits; `None` if `from` has them all.
fn restore(
    link: &mut Link,
    words: &Words,
    since: &CommitHash,
    from: &CommitHash,
) -> EngineResult<Option<CommitHash>> {
    reset(link, BRANCH, from)?;
    words.tell(link)?;
    link.run("START TRANSACTION", &[]).during("begin a transaction")?;
    match drop_rewritten(link, since, from) {
        // The table has another form, or is gone: it is made anew.
        Err(error) if error.is_rejection() => {}
        done => done.during("bring records of conflicts back")?,
    }
    fill_first(link, [since, from])?;
    let commit = words.commit(link, &["--skip-empty"]).map_err(SqlError::of_caller)?;
    link.run("ROLLBACK", &[]).during("end a transaction")?;
    Ok(commit)
}

/// Removes the rows that are not what `since` has under their ids.
fn drop_rewritten(link: &mut Link, since: &CommitHash, from: &CommitHash) -> Result<(), SqlError> {
    let [since, from] = [since, from].map(commit_text);
    let sql = format!(
        "SELECT from_id FROM dolt_diff('{since}', '{from}', 'swarm_conflicts') WHERE {REWRITTEN}"
    );
    for row in link.rows(&sql, &[])? {
        link.run("DELETE FROM swarm_conflicts WHERE id = ?", &row)?;
    }
    Ok(())
}
