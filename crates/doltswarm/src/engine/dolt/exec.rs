//! User commits.
//!
//! A statement that changes a definition commits the server's transaction, so users' statements run
//! on a private branch that begins at main. The commit is made there, and main follows with a
//! fast-forward, which the server refuses where main moved meanwhile. So the whole is one step:
//! before it main has nothing of it, after it all, and uncommitted work of other programs, which
//! lies beside main, is never taken along.

use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::{DOLT_DIRTY_WAITS_MAX, DOLT_RACES_MAX};

use super::commit::{Words, dirty_tables, hash_value, require, tip};
use super::cut::{Move, Note};
use super::guard::{Mode, judge};
use super::moving::{self, Followed};
use super::objects;
use super::session::{During, Link, Session, SqlError, is_busy, number, pause, retry_busy, text};
use super::table::Table;
use crate::engine::record;
use crate::engine::{
    CommitMeta, EngineError, EngineResult, Executed, Rows, Statement, TableShape, Transaction,
    Value,
};

/// The branch that users' statements run on.
pub(super) const BRANCH: &str = "swarm/exec";

/// Makes the founding commit: the table of conflicts, and all uncommitted work.
pub(super) fn found(link: &mut Link, meta: &CommitMeta) -> EngineResult<CommitHash> {
    let words = Words::new(meta)?;
    super::record::create_table(link)?;
    words.tell(link)?;
    let commit = words.commit(link, &["--skip-empty"]).during("make the founding commit")?;
    commit.ok_or_else(|| EngineError::Failed {
        what: "make the founding commit",
        message: "the server found nothing to commit".to_owned(),
    })
}

/// Commits what other programs left uncommitted on main.
pub(super) fn pending(link: &mut Link, meta: &CommitMeta) -> EngineResult<Executed> {
    let words = Words::new(meta)?;
    words.tell(link)?;
    let before = tip(link)?;
    let commit = words.commit(link, &["--skip-empty"]).map_err(SqlError::of_caller)?;
    let parent = match commit {
        // Another program may have committed in between: then its commit is the parent.
        Some(commit) => require(link, &commit)?.parents.first().copied().unwrap_or(before),
        None => before,
    };
    if let Some(commit) = &commit {
        moving::show_commit(link, commit);
    }
    Ok(Executed { commit, parent: moving::fold_tip(link, &parent)?, rows_affected: 0 })
}

/// Throws away what is uncommitted on main and returns the tables that had changes, sorted.
///
/// A hard reset keeps tables that are not staged; the ignored ones are never staged.
pub(super) fn discard(link: &mut Link) -> EngineResult<Vec<String>> {
    let what = "discard uncommitted work";
    let tables = dirty_tables(link)?;
    if tables.is_empty() {
        return Ok(tables);
    }
    link.run("CALL DOLT_ADD('-A')", &[]).during(what)?;
    link.run("CALL DOLT_RESET('--hard')", &[]).during(what)?;
    let left = dirty_tables(link)?;
    if left.is_empty() {
        return Ok(tables);
    }
    Err(EngineError::Failed { what, message: format!("changes stay in {}", left.join(", ")) })
}

/// Runs `work` on a private branch, commits, and lets main follow.
pub(super) fn transact(
    main: &mut Session,
    branch: &mut Session,
    note: &mut Note,
    database: &str,
    meta: &CommitMeta,
    work: &mut dyn FnMut(&mut dyn Transaction) -> EngineResult<()>,
) -> EngineResult<Executed> {
    let words = Words::new(meta)?;
    let mut waits = 0;
    for attempt in 0..DOLT_RACES_MAX {
        let main = main.link()?;
        note.mend(main)?;
        let tables = dirty_tables(main)?;
        if !tables.is_empty() {
            // A program without transactions is between its change and its commit, perhaps.
            if waits >= DOLT_DIRTY_WAITS_MAX {
                return Err(EngineError::Dirty { tables });
            }
            waits += 1;
            pause(waits);
            continue;
        }
        let start = tip(main)?;
        let (commit, rows_affected) = retry_busy(is_busy, || {
            let done = on_branch(branch.link()?, &start, database, &words, work);
            if done.is_err() {
                // What was not committed is gone with the connection, whatever state it is in.
                branch.close();
            }
            done
        })?;
        let parent = moving::fold_tip(main, &start)?;
        let Some(commit) = commit else {
            return Ok(Executed { commit: None, parent, rows_affected: 0 });
        };
        match moving::follow(main, note, Move { from: start, to: commit })? {
            Followed::Yes => {
                moving::show_commit(main, &commit);
                return Ok(Executed { commit: Some(commit), parent, rows_affected });
            }
            Followed::Moved => pause(attempt),
            Followed::Dirty(tables) if waits >= DOLT_DIRTY_WAITS_MAX => {
                return Err(EngineError::Dirty { tables });
            }
            Followed::Dirty(_) => waits += 1,
        }
    }
    Err(EngineError::Busy)
}

fn on_branch(
    link: &mut Link,
    start: &CommitHash,
    database: &str,
    words: &Words,
    work: &mut dyn FnMut(&mut dyn Transaction) -> EngineResult<()>,
) -> EngineResult<(Option<CommitHash>, u64)> {
    reset(link, BRANCH, start)?;
    words.tell(link)?;
    objects::require_harmless(link)?;
    link.run("START TRANSACTION", &[]).during("begin a transaction")?;
    let mut open = Open { link, database, rows_affected: 0 };
    work(&mut open)?;
    let rows_affected = open.rows_affected;
    require_on_branch(link, start)?;
    let tables = dirty_tables(link)?;
    if tables.iter().any(|table| table.eq_ignore_ascii_case(record::TABLE)) {
        super::record::require_resolutions(link)?;
    }
    let commit = words.commit(link, &["--skip-empty"]).map_err(SqlError::of_caller)?;
    if commit.is_none() {
        link.run("ROLLBACK", &[]).during("end a transaction")?;
    }
    Ok((commit, if commit.is_some() { rows_affected } else { 0 }))
}

/// Puts the connection on a private branch at a commit, whatever was on it before.
pub(super) fn reset(link: &mut Link, branch: &str, at: &CommitHash) -> EngineResult<()> {
    link.run("ROLLBACK", &[]).during("end a transaction")?;
    let sql = "CALL DOLT_CHECKOUT('-B', ?, ?)";
    let params = [branch.into(), hash_value(at)];
    link.run(sql, &params).map(|_| ()).during("begin on a private branch")
}

/// What the text of a statement does not show may still have moved the branch.
fn require_on_branch(link: &mut Link, start: &CommitHash) -> EngineResult<()> {
    let sql = "SELECT active_branch(), DOLT_HASHOF('HEAD'), @@autocommit, @@foreign_key_checks";
    let rows = link.rows(sql, &[]).during("look at the transaction")?;
    let row = rows.first().map_or(&[][..], Vec::as_slice);
    let head = super::commit::parse_hash(row.get(1))?;
    if text(row.first()) == BRANCH
        && head == *start
        && number(row.get(2)) == 0
        && number(row.get(3)) == 1
    {
        return Ok(());
    }
    let message = "a statement, a trigger or a procedure ended the transaction, moved the branch or \
                   changed settings, which is not allowed here";
    Err(EngineError::Rejected { message: message.to_owned() })
}

/// The transaction that a caller's work runs in.
struct Open<'a> {
    link: &'a mut Link,
    database: &'a str,
    rows_affected: u64,
}

impl Transaction for Open<'_> {
    fn execute(&mut self, statement: &Statement) -> EngineResult<u64> {
        let pieces = judge(&statement.sql, Mode::Change, self.database)?;
        if pieces.len() > 1 && !statement.params.is_empty() {
            let message = "only one statement can have parameters".to_owned();
            return Err(EngineError::Rejected { message });
        }
        let mut changed = 0;
        for piece in &pieces {
            changed += self.link.run(piece.sql, &statement.params).map_err(SqlError::of_caller)?;
        }
        self.rows_affected += changed;
        Ok(changed)
    }

    fn query(&mut self, sql: &str, params: &[Value], limit: usize) -> EngineResult<Rows> {
        let [piece] = &judge(sql, Mode::Read, self.database)?[..] else {
            let message = "a query is one statement".to_owned();
            return Err(EngineError::Rejected { message });
        };
        let (rows, more) = self.link.read(piece.sql, params, limit).map_err(SqlError::of_caller)?;
        if more { Err(EngineError::TooLarge { limit }) } else { Ok(rows) }
    }

    fn table(&mut self, name: &str) -> EngineResult<Option<TableShape>> {
        let shape = |table: Table| TableShape { key: table.key_names(), columns: table.columns };
        Ok(Table::load(self.link, name)?.map(shape))
    }
}
