//! Merging two commits on a private branch.

use doltswarm_core::commit::{
    ConflictPolicy, MERGE_AUTHOR_EMAIL, MERGE_AUTHOR_NAME, Merge, merge_message,
};
use doltswarm_core::id::CommitHash;

use super::commit::{Words, hash_value, require};
use super::exec::reset;
use super::record as book;
use super::session::{During, Link, SqlError, number, text};
use super::settle::{Conflicts, Settlement, Stop, impossible};
use super::standins::{self, Sides, Ways};
use super::store::commit_text;
use super::triggers;
use super::violations::{self, ADOPTING_PASSES, PASSES_MAX, Plan};
use crate::engine::record::{self, Record};
use crate::engine::{CommitMeta, EngineError, EngineResult, MergeOutcome};

/// The branch merges are made on.
pub(super) const BRANCH: &str = "swarm/merge";

/// What to do where the book of conflicts cannot be written.
pub(super) const BOOK_ADVICE: &str =
    "the table is the swarm's own: give it back the form it was founded with";

/// What is merged, what the server is told to merge, and what the merge commit says.
struct Work<'a> {
    merge: &'a Merge,
    /// The two sides themselves, or their stand-ins.
    sides: Sides,
    policy: ConflictPolicy,
    words: Words,
}

/// Merges.
pub(super) fn merge(
    link: &mut Link,
    ways: &mut Ways<'_>,
    merge: &Merge,
    policy: ConflictPolicy,
) -> EngineResult<MergeOutcome> {
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
    match run(link, ways, merge, policy, words) {
        Ok(outcome) => Ok(outcome),
        Err(Stop::Impossible(reason)) => Ok(MergeOutcome::Impossible { reason }),
        Err(Stop::Engine(error)) => Err(error),
    }
}

fn run(
    link: &mut Link,
    ways: &mut Ways<'_>,
    merge: &Merge,
    policy: ConflictPolicy,
    words: Words,
) -> Result<MergeOutcome, Stop> {
    let Merge { ours, theirs, base } = *merge;
    let is_own =
        base.commit == base.ancestor && merge_base(link, &ours, &theirs)? == Some(base.commit);
    let sides = if is_own { Sides { ours, theirs } } else { standins::make(link, merge)? };
    let work = Work { merge, sides, policy, words };
    let (mut commit, conflicts) = work.run(link)?;
    if !is_own {
        commit = standins::stand_aside(link, ways, merge, &commit, &work.words)?;
    }
    if require(link, &commit)?.parents == [ours, theirs] {
        return Ok(MergeOutcome::Merged { commit, conflicts });
    }
    Err(Stop::Engine(EngineError::Failed {
        what: "commit the merge",
        message: format!("{} has other parents than the two commits merged", commit_text(&commit)),
    }))
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
    /// Merges the sides: the commit of these, and how many conflicts it recorded.
    fn run(&self, link: &mut Link) -> Result<(CommitHash, u64), Stop> {
        reset(link, BRANCH, &self.sides.ours)?;
        self.words.tell(link)?;
        link.run("START TRANSACTION", &[]).during("begin a transaction")?;
        let is_clean = self.start(link)?;
        let mut conflicts = 0;
        let commit = match is_clean {
            true => self.commit(link, &["--allow-empty"])?,
            false => self.settle(link, &mut conflicts)?,
        };
        Ok((commit, conflicts))
    }

    /// Starts the merge. Returns whether the two sides agree.
    fn start(&self, link: &mut Link) -> Result<bool, Stop> {
        let sql = "CALL DOLT_MERGE('--no-ff', '--no-commit', ?)";
        let rows = match link.rows(sql, &[hash_value(&self.sides.theirs)]) {
            Err(error) if error.is_rejection() => {
                return Err(Stop::Impossible(format!(
                    "{}; make the table's definition the same on both sides with a new commit",
                    without_hashes(error.message())
                )));
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

    /// Settles everything, and commits.
    ///
    /// A trigger could call the clock, and the server cannot leave triggers out. So where there are
    /// any, the merge is committed as it is, they are dropped, and the last commit has them again.
    fn settle(&self, link: &mut Link, conflicts: &mut u64) -> Result<CommitHash, Stop> {
        refuse_schema_conflicts(link)?;
        let mut settlement = Settlement::new(link, &self.merge.theirs);
        let taken = self.take_conflicts(&mut settlement)?;
        let mut flags = vec!["--allow-empty"];
        let mut whole = None;
        if triggers::any(settlement.link)? {
            whole = Some(self.commit(settlement.link, &flags)?);
            triggers::drop_all(settlement.link)?;
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
        let commit = self.settle_violations(link, commit, conflicts)?;
        let Some(whole) = whole else { return Ok(commit) };
        reset(link, BRANCH, &commit)?;
        triggers::restore(link, &whole)?;
        Ok(self.commit(link, &["--amend", "--allow-empty"])?)
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

    /// Settles what the commit breaks, in passes.
    fn settle_violations(
        &self,
        link: &mut Link,
        mut commit: CommitHash,
        conflicts: &mut u64,
    ) -> Result<CommitHash, Stop> {
        for pass in 0..PASSES_MAX {
            let plans = violations::verify(link, &self.merge.ours, &commit)?;
            let Some(first) = plans.first() else { return Ok(commit) };
            self.park(first.table(), "the two sides together break a constraint")?;
            let records = self.pass(link, &commit, &plans, pass < ADOPTING_PASSES)?;
            *conflicts += add(link, &records, &self.merge.base.commit)?;
            commit = self.commit(link, &["--amend", "--allow-empty"])?;
        }
        let sql = "the constraints do not settle; change the rows on one side so that they agree";
        Err(Stop::Impossible(sql.to_owned()))
    }

    /// One pass over what is broken.
    fn pass(
        &self,
        link: &mut Link,
        commit: &CommitHash,
        plans: &[Plan],
        adopts: bool,
    ) -> Result<Vec<Record>, Stop> {
        reset(link, BRANCH, commit)?;
        link.run("START TRANSACTION", &[]).during("begin a transaction")?;
        link.run("SET foreign_key_checks = 0", &[]).during("begin to settle")?;
        let mut settlement = Settlement::new(link, &self.merge.theirs);
        let changed = adopts && violations::adopt(&mut settlement, plans)?;
        if !changed {
            violations::remove(&mut settlement, plans)?;
        }
        Ok(settlement.records)
    }

    fn commit(&self, link: &mut Link, flags: &[&str]) -> EngineResult<CommitHash> {
        link.run("SET foreign_key_checks = 1", &[]).during("commit the merge")?;
        let commit = self.words.commit(link, flags).during("commit the merge")?;
        commit.ok_or_else(|| EngineError::Failed {
            what: "commit the merge",
            message: "the server made no commit".to_owned(),
        })
    }

    /// Stops where the swarm parks what conflicts.
    fn park(&self, table: &str, what: &str) -> Result<(), Stop> {
        if self.policy == ConflictPolicy::Settle || table == record::TABLE {
            return Ok(());
        }
        Err(Stop::Impossible(format!(
            "table `{table}`: {what}, and this swarm parks conflicts; change the rows back on one \
             side with a new commit"
        )))
    }
}

fn add(link: &mut Link, records: &[Record], base: &CommitHash) -> Result<u64, Stop> {
    book::add(link, records, base).map_err(|error: SqlError| {
        impossible(error, record::TABLE, "record a conflict", BOOK_ADVICE)
    })
}

fn refuse_schema_conflicts(link: &mut Link) -> Result<(), Stop> {
    let sql = "SELECT table_name, description FROM dolt_schema_conflicts ORDER BY 1 LIMIT 1";
    let rows = link.rows(sql, &[]).during("list the schema conflicts")?;
    if let Some(row) = rows.first() {
        return Err(Stop::Impossible(format!(
            "table `{}`: {}; make its definition the same on both sides with a new commit",
            text(row.first()),
            without_hashes(text(row.get(1)))
        )));
    }
    // Views and triggers have no rows of their own; the engine counts them under this name.
    let sql = "SELECT 1 FROM dolt_conflicts WHERE `table` IN ('dolt_schemas', 'dolt_procedures')";
    if link.rows(sql, &[]).during("list the schema conflicts")?.is_empty() {
        return Ok(());
    }
    Err(Stop::Impossible(
        "a view, a trigger or a procedure was changed in two ways; make its definition the same on \
         both sides with a new commit"
            .to_owned(),
    ))
}

/// Takes hashes out of the engine's words, so that a reason reads the same for the same conflict.
fn without_hashes(message: &str) -> String {
    let is_hash = |word: &str| super::store::commit_from_text(word).is_some();
    let words = message.split(' ').map(|word| if is_hash(word) { "a commit" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_no_hashes() {
        let hash = commit_text(&CommitHash::from_bytes([7; 20]));
        assert_eq!(without_hashes(&format!("no {hash} here")), "no a commit here");
    }

    #[test]
    fn busy_is_never_taken_for_impossible() {
        let busy = SqlError::Server { code: 1213, message: "serialization failure".to_owned() };
        let stop = impossible(busy, "t", "settle a row", "");
        assert!(matches!(stop, Stop::Engine(EngineError::Busy)));
        let lost = SqlError::Lost("gone".to_owned());
        let stop = impossible(lost, "t", "settle a row", "");
        assert!(matches!(stop, Stop::Engine(EngineError::Unreachable { .. })));
    }
}
