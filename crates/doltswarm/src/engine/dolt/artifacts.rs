//! Conflicts that other programs have committed.
//!
//! *Measured* on Dolt 2.2.0: when two clients change one row, and one of them lets the other's
//! change be committed first, the server answers both with a commit, and the second one holds a
//! conflict. What that client wrote stays behind, uncommitted. So a commit on main is looked at,
//! and the node settles what it finds at once, as a merge would, by a commit on top.

use std::collections::BTreeSet;

use doltswarm_core::commit::{MERGE_AUTHOR_EMAIL, MERGE_AUTHOR_NAME};
use doltswarm_core::id::CommitHash;

use super::commit::{Words, dirty_tables, require, tip};
use super::exec::reset;
use super::record as book;
use super::session::{During, Link, Session, SqlError, quote, text};
use super::settle::{Forms, Settlement, Stop};
use super::store::commit_text;
use super::violations::BRANCH;
use crate::engine::record::{Record, TABLE};
use crate::engine::{CommitMeta, EngineError, EngineResult, Value};

/// Settles what the commit `at` of main holds of conflicts. Returns the commit that does so; `None`
/// if there is nothing to settle.
pub(super) fn settle(
    main: &mut Link,
    bench: &mut Session,
    at: &CommitHash,
) -> EngineResult<Option<CommitHash>> {
    // Tables that are as they were committed have no conflicts: these are shown as changes.
    if dirty_tables(main)?.is_empty() {
        return Ok(None);
    }
    let bench = bench.link()?;
    reset(bench, BRANCH, at)?;
    let [conflicts, violations] = listed(bench)?;
    if conflicts.is_empty() && violations.is_empty() {
        return Ok(None);
    }
    let records = read_records(bench, at, &conflicts)?;
    let words = Words::new(&CommitMeta {
        author_name: MERGE_AUTHOR_NAME.to_owned(),
        author_email: MERGE_AUTHOR_EMAIL.to_owned(),
        message: format!("settle the conflicts that {} committed", commit_text(at)),
        seconds: require(main, at)?.seconds,
    })?;
    words.tell(main)?;
    let tables: BTreeSet<_> = conflicts.into_iter().chain(violations).collect();
    main.run("START TRANSACTION", &[]).during("begin a transaction")?;
    let settled = settle_in_transaction(main, at, &tables, &records, &words);
    main.run("ROLLBACK", &[]).during("end a transaction")?;
    settled.map(Some)
}

/// The tables with conflicts, and those with violations of constraints.
fn listed(link: &mut Link) -> EngineResult<[Vec<String>; 2]> {
    let mut list = |sql: &str| -> EngineResult<Vec<String>> {
        let rows = link.rows(sql, &[]).during("list the conflicts")?;
        Ok(rows.iter().map(|row| text(row.first()).to_owned()).collect())
    };
    Ok([
        list("SELECT `table` FROM dolt_conflicts ORDER BY 1")?,
        list("SELECT `table` FROM dolt_constraint_violations ORDER BY 1")?,
    ])
}

/// What is to be recorded: the versions that lose. Conflicts in which both sides are the same, as
/// those that two clients commit mostly are, lose nothing.
fn read_records(link: &mut Link, at: &CommitHash, tables: &[String]) -> EngineResult<Vec<Record>> {
    let forms = Forms { commit: *at, tables: BTreeSet::new() };
    let mut settlement = Settlement::new(link, at, &forms);
    for name in tables.iter().filter(|name| *name != TABLE) {
        match settlement.take_conflicts(name) {
            Ok(conflicts) => settlement.record_conflicts(&conflicts),
            // The server cannot read them any more, so nobody can.
            Err(Stop::Engine(EngineError::Failed { .. }) | Stop::Refused(_)) => {}
            Err(Stop::Engine(error)) => return Err(error),
            Err(Stop::Impossible(_)) => {}
        }
    }
    Ok(settlement.records)
}

fn settle_in_transaction(
    link: &mut Link,
    at: &CommitHash,
    tables: &BTreeSet<String>,
    records: &[Record],
    words: &Words,
) -> EngineResult<CommitHash> {
    if tip(link)? != *at {
        return Err(EngineError::Busy);
    }
    let [conflicts, violations] = listed(link)?;
    for name in conflicts {
        let sql = "CALL DOLT_CONFLICTS_RESOLVE('--theirs', ?)";
        link.run(sql, &[name.into()]).during("settle a conflict")?;
    }
    for name in violations {
        let sql = format!("DELETE FROM {}", quote(&format!("dolt_constraint_violations_{name}")));
        link.run(&sql, &[]).during("settle a violation")?;
    }
    book::add(link, records, at).map_err(|error| error.during("record a conflict"))?;
    let mut staged: Vec<Value> = tables.iter().map(|name| name.as_str().into()).collect();
    if !records.is_empty() {
        staged.push(TABLE.into());
    }
    let marks = vec!["?"; staged.len()].join(", ");
    link.run(&format!("CALL DOLT_ADD({marks})"), &staged).during("settle a conflict")?;
    let commit = words.commit_staged(link).map_err(SqlError::of_caller)?;
    commit.ok_or_else(|| EngineError::Failed {
        what: "settle a conflict",
        message: "the server made no commit".to_owned(),
    })
}
