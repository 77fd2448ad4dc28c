//! Merging two commits on a private branch.

use std::collections::BTreeSet;

use doltswarm_core::commit::{
    ConflictPolicy, MERGE_AUTHOR_EMAIL, MERGE_AUTHOR_NAME, Merge, merge_message,
};
use doltswarm_core::id::CommitHash;

use super::commit::{Words, hash_value, require};
use super::exec::reset;
use super::grafts::{self, Sides, Ways};
use super::record as book;
use super::session::{During, Link, number, text};
use super::settle::{Conflicts, Forms, Settlement, Stop, refused};
use super::store::commit_text;
use super::total::{self, Changes};
use super::violations::{self, ADOPTING_PASSES, Plan};
use super::{counters, diff, objects};
use crate::engine::record::{self, Record};
use crate::engine::{CommitMeta, EngineError, EngineResult, MergeOutcome};

/// The branch merges are made on.
pub(super) const BRANCH: &str = "swarm/merge";

/// How a merge is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By the server's own merge, if no definition is to be merged.
    Chosen,
    /// Definitions first, whatever the commits are: the server refused the other way.
    ByDefinition,
}

/// What is merged, and what the merge commit says.
pub(super) struct Work<'a> {
    /// The two sides and the base.
    pub(super) merge: &'a Merge,
    policy: ConflictPolicy,
    /// What the merge commit says.
    pub(super) words: Words,
}

/// Merges.
pub(super) fn merge(
    link: &mut Link,
    ways: &mut Ways<'_>,
    merge: &Merge,
    policy: ConflictPolicy,
    way: Way,
) -> Result<MergeOutcome, Stop> {
    let Merge { ours, theirs, base } = merge;
    let seconds = require(link, ours)?.seconds.max(require(link, theirs)?.seconds);
    for commit in [&base.commit, &base.ancestor] {
        require(link, commit)?;
    }
    if base.commit == *theirs {
        return Ok(MergeOutcome::Merged { commit: *ours, conflicts: 0 });
    }
    let words = Words::new(&CommitMeta {
        author_name: MERGE_AUTHOR_NAME.to_owned(),
        author_email: MERGE_AUTHOR_EMAIL.to_owned(),
        message: merge_message(ours, theirs),
        seconds,
    })?;
    let work = Work { merge, policy, words };
    match work.run(link, ways, way) {
        Err(Stop::Impossible(reason)) => Ok(MergeOutcome::Impossible { reason }),
        outcome => outcome,
    }
}

/// The commit that the server itself would compare the two sides with.
pub(super) fn merge_base(
    link: &mut Link,
    ours: &CommitHash,
    theirs: &CommitHash,
) -> EngineResult<Option<CommitHash>> {
    let sql = "SELECT DOLT_MERGE_BASE(?, ?)";
    match link.rows(sql, &[hash_value(ours), hash_value(theirs)]) {
        Err(error) if error.message().contains("no common ancestor") => Ok(None),
        rows => {
            let rows = rows.during("find the merge base")?;
            let found = text(rows.first().and_then(|row| row.first())).to_owned();
            Ok(super::store::commit_from_text(&found))
        }
    }
}

impl Work<'_> {
    fn run(&self, link: &mut Link, ways: &mut Ways<'_>, way: Way) -> Result<MergeOutcome, Stop> {
        let Merge { ours, theirs, base } = *self.merge;
        let changes = Changes::read(link, self.merge)?;
        let (commit, conflicts) =
            if way == Way::ByDefinition || changes.need_definitions(link, &theirs)? {
                let (tables, conflicts) = total::merge(self, link, &changes)?;
                (grafts::write_offline(link, ways, self.merge, &tables)?, conflicts)
            } else if base.commit == base.ancestor
                && merge_base(link, &ours, &theirs)? == Some(base.commit)
            {
                self.merge_rows(link, Sides { ours, theirs })?
            } else {
                let sides = grafts::make(link, self.merge)?;
                let (tables, conflicts) = self.merge_rows(link, sides)?;
                (grafts::graft(link, ways, self.merge, &tables, &self.words)?, conflicts)
            };
        if require(link, &commit)?.parents == [ours, theirs] {
            return Ok(MergeOutcome::Merged { commit, conflicts });
        }
        let message =
            format!("{} has other parents than the two commits merged", commit_text(&commit));
        Err(Stop::Engine(EngineError::Failed { what: "commit the merge", message }))
    }

    /// Merges the rows of two commits with the same definitions: the commit of these, and how many
    /// conflicts it recorded.
    fn merge_rows(&self, link: &mut Link, sides: Sides) -> Result<(CommitHash, u64), Stop> {
        reset(link, BRANCH, &sides.ours)?;
        self.words.tell(link)?;
        link.run("START TRANSACTION", &[]).during("begin a transaction")?;
        let is_clean = start(link, &sides.theirs)?;
        let mut conflicts = 0;
        let commit = match is_clean {
            true => self.commit(link, &["--allow-empty"])?,
            false => self.settle(link, &mut conflicts)?,
        };
        Ok((commit, conflicts))
    }

    /// Settles everything, and commits.
    ///
    /// A trigger could call the clock, and the server cannot leave triggers out. So if there are
    /// any, the merge is committed as it is, they are dropped, and the last commit has them again.
    fn settle(&self, link: &mut Link, conflicts: &mut u64) -> Result<CommitHash, Stop> {
        refuse_schema_conflicts(link)?;
        let Merge { ours, theirs, .. } = self.merge;
        let forms = Forms { commit: *theirs, tables: BTreeSet::new() };
        let mut settlement = Settlement::new(link, theirs, &forms);
        let taken = self.take_conflicts(&mut settlement)?;
        let mut flags = vec!["--allow-empty"];
        let mut whole = None;
        if objects::any_trigger(settlement.link)? {
            whole = Some(self.commit(settlement.link, &flags)?);
            objects::drop_triggers(settlement.link)?;
            settlement.link.run("START TRANSACTION", &[]).during("begin a transaction")?;
            flags.push("--amend");
        }
        settlement.link.run("SET foreign_key_checks = 0", &[]).during("begin to settle")?;
        for one in taken {
            let name = one.table.name.clone();
            settlement.settle_rows(one)?;
            if !settlement.records.is_empty() {
                self.park(&name, "rows were changed on both sides")?;
            }
        }
        let records = settlement.records;
        *conflicts += add(link, &records, &self.merge.base.commit)?;
        let commit = self.commit(link, &flags)?;
        let mut commit = self.settle_violations(link, commit, &forms, conflicts)?;
        // What settling stored in the tables depends on what the server has counted so far.
        let changed = diff::changed_tables(link, ours, &commit)?;
        reset(link, BRANCH, &commit)?;
        let names = changed.iter().map(String::as_str).filter(|name| *name != record::TABLE);
        let counted = counters::unite(link, names, ours, theirs)?;
        if let Some(whole) = &whole {
            objects::put(link, whole)?;
        }
        if counted || whole.is_some() {
            commit = self.commit(link, &["--amend", "--allow-empty"])?;
        }
        Ok(commit)
    }

    /// Takes the conflicts out of the merge, and lets violations stand for now.
    fn take_conflicts(&self, settlement: &mut Settlement<'_>) -> Result<Vec<Conflicts>, Stop> {
        let sql = "SELECT `table` FROM dolt_conflicts ORDER BY 1";
        let rows = settlement.link.rows(sql, &[]).during("list the conflicts")?;
        let names = rows.iter().map(|row| text(row.first()));
        let taken = names.map(|name| settlement.take_conflicts(name)).collect::<Result<_, _>>()?;
        for name in violations::tables(settlement.link)? {
            self.park(&name, "the two sides together break a constraint")?;
        }
        violations::record_left_out(settlement)?;
        Ok(taken)
    }

    /// Settles what the commit breaks, in passes. From the ninth pass on rows only go, so this
    /// ends.
    pub(super) fn settle_violations(
        &self,
        link: &mut Link,
        mut commit: CommitHash,
        forms: &Forms,
        conflicts: &mut u64,
    ) -> Result<CommitHash, Stop> {
        for pass in 0_usize.. {
            let plans = violations::verify(link, &self.merge.ours, &commit)?;
            let Some(first) = plans.first() else { break };
            self.park(first.table(), "the two sides together break a constraint")?;
            let records = self.pass(link, &commit, forms, &plans, pass < ADOPTING_PASSES)?;
            *conflicts += add(link, &records, &self.merge.base.commit)?;
            let settled = self.commit(link, &["--amend", "--allow-empty"])?;
            if settled == commit {
                let message = format!("table `{}`: a constraint does not settle", first.table());
                return Err(Stop::Refused(message));
            }
            commit = settled;
        }
        Ok(commit)
    }

    /// One pass over what is broken.
    fn pass(
        &self,
        link: &mut Link,
        commit: &CommitHash,
        forms: &Forms,
        plans: &[Plan],
        adopts: bool,
    ) -> Result<Vec<Record>, Stop> {
        reset(link, BRANCH, commit)?;
        link.run("START TRANSACTION", &[]).during("begin a transaction")?;
        link.run("SET foreign_key_checks = 0", &[]).during("begin to settle")?;
        let mut settlement = Settlement::new(link, &self.merge.theirs, forms);
        let changed = adopts && violations::adopt(&mut settlement, plans)?;
        if !changed {
            violations::remove(&mut settlement, plans)?;
        }
        Ok(settlement.records)
    }

    /// Commits the merge.
    pub(super) fn commit(&self, link: &mut Link, flags: &[&str]) -> EngineResult<CommitHash> {
        link.run("SET foreign_key_checks = 1", &[]).during("commit the merge")?;
        let commit = self.words.commit(link, flags).during("commit the merge")?;
        commit.ok_or_else(|| EngineError::Failed {
            what: "commit the merge",
            message: "the server made no commit".to_owned(),
        })
    }

    /// Stops if the swarm parks what conflicts.
    pub(super) fn park(&self, table: &str, what: &str) -> Result<(), Stop> {
        if self.policy == ConflictPolicy::Settle || table == record::TABLE {
            return Ok(());
        }
        Err(Stop::Impossible(format!(
            "table `{table}`: {what}, and this swarm parks conflicts; make the two sides agree with \
             a new commit"
        )))
    }
}

/// Starts the server's merge. Returns whether the two sides agree.
fn start(link: &mut Link, theirs: &CommitHash) -> Result<bool, Stop> {
    let sql = "CALL DOLT_MERGE('--no-ff', '--no-commit', ?)";
    let rows = match link.rows(sql, &[hash_value(theirs)]) {
        Err(error) if error.is_rejection() => {
            return Err(Stop::Refused(error.message().to_owned()));
        }
        rows => rows.during("merge")?,
    };
    let sql = "SELECT is_merging FROM dolt_merge_status";
    let status = link.rows(sql, &[]).during("read the merge's status")?;
    if number(status.first().and_then(|row| row.first())) != 1 {
        return Err(Stop::Engine(EngineError::Failed {
            what: "merge",
            message: "the server found nothing to merge".to_owned(),
        }));
    }
    // hash, fast_forward, conflicts, message
    Ok(number(rows.first().and_then(|row| row.get(2))) == 0)
}

/// Adds records to `swarm_conflicts`. Returns how many were new.
pub(super) fn add(link: &mut Link, records: &[Record], base: &CommitHash) -> Result<u64, Stop> {
    book::add(link, records, base)
        .map_err(|error| refused(error, record::TABLE, "record a conflict"))
}

/// Fails if the server finds definitions in conflict.
fn refuse_schema_conflicts(link: &mut Link) -> Result<(), Stop> {
    let sql = "SELECT table_name FROM dolt_schema_conflicts UNION ALL \
               SELECT `table` FROM dolt_conflicts \
               WHERE `table` IN ('dolt_schemas', 'dolt_procedures')";
    let rows = link.rows(sql, &[]).during("list the schema conflicts")?;
    match rows.first() {
        None => Ok(()),
        Some(row) => {
            let table = text(row.first());
            Err(Stop::Refused(format!("`{table}` is defined in two ways")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::SqlError;
    use super::*;

    #[test]
    fn busy_is_never_taken_for_a_refusal() {
        let busy = SqlError::Server { code: 1213, message: "serialization failure".to_owned() };
        let stop = refused(busy, "t", "settle a row");
        assert!(matches!(stop, Stop::Engine(EngineError::Busy)));
        let lost = SqlError::Lost("gone".to_owned());
        let stop = refused(lost, "t", "settle a row");
        assert!(matches!(stop, Stop::Engine(EngineError::Unreachable { .. })));
    }
}
