//! Merging two commits on a private branch.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use doltswarm_core::commit::{
    ConflictPolicy, MERGE_AUTHOR_EMAIL, MERGE_AUTHOR_NAME, Merge, MergeBase, merge_message,
};
use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::HASH_BYTES;

use super::commit::{parents, require};
use super::connection::{
    During, Purpose, dirty_tables, hash_value, head, open, parse_hash, text, transaction,
};
use super::definitions::{
    ChangedTables, DefinitionMerge, SchemaDigests, called_in_checks, changed_tables, fold_case,
    is_known, is_needed_for_rows,
};
use super::ffi::Connection;
use super::history::History;
use super::record::Record;
use super::refusals::{Difference, Refusals};
use super::settle::{Settlement, Stop, impossible};
use super::{date, record, violations};
use crate::engine::{EngineError, EngineResult, MergeOutcome, Value};

/// The branch merges are made on. A branch is checked out for each connection on its own, so main
/// and its readers do not notice.
const BRANCH: &str = "swarm/merge";

/// Above this height commits are merged by way of stand-ins with a short history, because the
/// engine's search for the merge base grows with the square of the history. So are those whose base
/// is not the one that the engine would find.
///
/// The result is the same, byte for byte. The bound is one on the commits and not on this machine,
/// so if it ever were not, it would still be the same on every peer.
pub(super) const STAND_INS_ABOVE: u64 = 1_000;

/// Where merges are made: a connection of its own, on a branch of its own.
pub(super) struct Workbench {
    path: PathBuf,
    connection: Connection,
    schemas: RefCell<SchemaDigests>,
    /// Whether functions that definitions may call are absent, by their names in lower case. The
    /// connection knows those by now; they give NULL.
    absent: RefCell<BTreeMap<String, bool>>,
    refusals: Refusals,
}

/// What records are compared with that say nothing about a base: so each is one for ever.
const NO_BASE: CommitHash = CommitHash::from_bytes([0; HASH_BYTES]);

/// What to do where the book of conflicts cannot be written.
const BOOK_ADVICE: &str = "the table is the swarm's own: give it back the form it was founded with";

/// The commits that the engine is told to merge: the two themselves, or their stand-ins.
struct Sides {
    ours: CommitHash,
    theirs: CommitHash,
}

impl Workbench {
    /// Opens the workbench, with its branch at `ours` if it has to be made.
    pub(super) fn open(path: &Path, ours: &CommitHash) -> EngineResult<Self> {
        let connection = open(path, Purpose::Merge)?;
        let sql = "SELECT 1 FROM dolt_branches WHERE name = ?";
        if connection.rows(sql, &[BRANCH.into()]).during("list the branches")?.is_empty() {
            let sql = "SELECT dolt_branch(?, ?)";
            let params = [BRANCH.into(), hash_value(ours)];
            connection.run(sql, &params).during("make the merge branch")?;
        }
        let sql = "SELECT dolt_checkout(?)";
        connection.run(sql, &[BRANCH.into()]).during("check out the merge branch")?;
        let (schemas, absent) = (RefCell::default(), RefCell::default());
        let refusals = Refusals::default();
        Ok(Self { path: path.to_owned(), connection, schemas, absent, refusals })
    }

    /// Merges, with stand-ins where one of the two sides is higher than `bound`, or the engine
    /// would compare them with another base.
    pub(super) fn merge(
        &self,
        history: &mut History,
        merge: &Merge,
        policy: ConflictPolicy,
        bound: u64,
    ) -> EngineResult<MergeOutcome> {
        let (connection, Merge { ours, theirs, base }) = (&self.connection, merge);
        let (our_info, their_info) = (require(connection, ours)?, require(connection, theirs)?);
        for commit in [&base.commit, &base.ancestor] {
            require(connection, commit)?;
        }
        if base.commit == *theirs {
            return Ok(MergeOutcome::Merged { commit: *ours, conflicts: 0 });
        }
        let date = date::format(our_info.seconds.max(their_info.seconds))?;
        self.reset(ours)?;
        let [our_tables, their_tables] =
            [ours, theirs].map(|side| changed_tables(connection, &base.commit, side));
        let changed = [our_tables?, their_tables?];
        let commits = [&base.commit, ours, theirs];
        let same = self.schemas.borrow_mut().suit_the_engine(&self.path, commits)?;
        let absent = self.absent_functions(commits)?;
        if !same || is_needed_for_rows(connection, &changed[0], &changed[1])? {
            let (outcome, clash) = self.attempt(policy, || {
                self.merge_definitions(merge, &changed, &absent, policy, &date)
            })?;
            let clash = clash.filter(|_| same);
            return self.remember(merge, &changed[0], outcome, clash);
        }
        let height = history.learn(connection, ours)?.max(history.learn(connection, theirs)?);
        let is_own = history.base(ours, theirs) == Some(base.commit);
        let sides = if height > bound || !is_own || base.ancestor != base.commit {
            history.learn(connection, &base.commit)?;
            self.stand_ins(&history.root(&base.commit), merge)?
        } else {
            Sides { ours: *ours, theirs: *theirs }
        };
        self.reset(&sides.ours)?;
        let (outcome, clash) = self.attempt(policy, || {
            self.merge_in_transaction(merge, &sides, (&changed, &absent), policy, &date)
        })?;
        self.remember(merge, &changed[0], outcome, clash)
    }

    /// Remembers a merge that turned out to be impossible because of rows of the table `clash`.
    fn remember(
        &self,
        merge: &Merge,
        ours_changed: &ChangedTables,
        outcome: MergeOutcome,
        clash: Option<String>,
    ) -> EngineResult<MergeOutcome> {
        if let (MergeOutcome::Impossible { reason }, Some(clash)) = (&outcome, clash) {
            let mut tables = ours_changed.clone();
            tables.insert(fold_case(&clash));
            self.refusals.remember(&self.connection, merge, reason, &tables)?;
        }
        Ok(outcome)
    }

    /// Why a merge is impossible under the policy `park`, if that follows from what was merged
    /// before; see [`Refusals`].
    pub(super) fn recall(&self, merge: &Merge) -> EngineResult<Option<String>> {
        self.refusals.recall(merge, |before, after| {
            let mut schemas = self.schemas.borrow_mut();
            if schemas.of(&self.path, before)? != schemas.of(&self.path, after)? {
                return Ok(Difference::Definitions);
            }
            Ok(Difference::Rows(changed_tables(&self.connection, before, after)?))
        })
    }

    /// The functions that the definitions of these commits may call and that nobody here has. From
    /// now on they give NULL here.
    fn absent_functions(&self, commits: [&CommitHash; 3]) -> EngineResult<BTreeSet<String>> {
        let mut names = self.schemas.borrow_mut().called(&self.path, commits)?;
        let mut known = self.absent.borrow_mut();
        for name in &names {
            if known.contains_key(name) {
                continue;
            }
            let is_absent = !is_known(&self.connection, name)?;
            if is_absent {
                self.connection.define_absent(name).during("define a function")?;
            }
            known.insert(name.clone(), is_absent);
        }
        names.retain(|name| known.get(name) == Some(&true));
        Ok(names)
    }

    /// Records the checks that count as passed: on tables that both sides changed, those that call
    /// functions nobody here has.
    fn unchecked(
        &self,
        changed_by_both: &ChangedTables,
        absent: &BTreeSet<String>,
    ) -> EngineResult<Vec<Record>> {
        let mut records = Vec::new();
        if absent.is_empty() {
            return Ok(records);
        }
        for name in changed_by_both {
            let sql = "SELECT name, sql FROM sqlite_schema \
                       WHERE type = 'table' AND name = ? COLLATE NOCASE";
            let rows = self.connection.rows(sql, &[name.as_str().into()]);
            for row in rows.during("read a definition")? {
                let definition = text(row.get(1));
                let functions = called_in_checks(definition);
                records.extend(functions.intersection(absent).map(|function| Record {
                    kind: "check".to_owned(),
                    table: text(row.first()).to_owned(),
                    key: serde_json::json!({ "function": function }).to_string(),
                    base: None,
                    loser: None,
                    winner: Some(serde_json::json!({ "sql": definition }).to_string()),
                }));
            }
        }
        Ok(records)
    }

    /// Runs a merge in a transaction. Under the policy `settle` every merge has a result, so what
    /// stops one is an error of the engine; under `park` it may be a fact about the two commits,
    /// and then the table in which they clash is returned too, if there is one.
    fn attempt(
        &self,
        policy: ConflictPolicy,
        work: impl FnOnce() -> Result<MergeOutcome, Stop>,
    ) -> EngineResult<(MergeOutcome, Option<String>)> {
        let mut impossible = None;
        let merged = transaction(&self.connection, || match work() {
            Ok(outcome) => Ok((outcome, None)),
            Err(Stop::Engine(error)) => Err(error),
            Err(Stop::Impossible { reason, clash }) => {
                // An error, so that the transaction is rolled back; under `park` it is not
                // returned.
                let error = EngineError::Failed { what: "merge", message: reason.clone() };
                impossible = Some((MergeOutcome::Impossible { reason }, clash));
                Err(error)
            }
        });
        match (merged, impossible) {
            (Err(EngineError::Failed { .. }), Some(outcome)) if policy == ConflictPolicy::Park => {
                Ok(outcome)
            }
            (merged, _) => merged,
        }
    }

    /// Merges commits whose definitions differ, or rows that the engine cannot merge; see
    /// [`definitions`].
    fn merge_definitions(
        &self,
        merge: &Merge,
        changed: &[ChangedTables; 2],
        absent: &BTreeSet<String>,
        policy: ConflictPolicy,
        date: &str,
    ) -> Result<MergeOutcome, Stop> {
        let (connection, Merge { ours, theirs, base }) = (&self.connection, merge);
        self.require_clean(ours)?;
        let commits = [&base.commit, ours, theirs];
        let tables = [&changed[0], &changed[1]];
        let mut merged = DefinitionMerge::open(&self.path, connection, commits, tables, absent)?;
        let watched = merged.run()?;
        let both = merged.changed_by_both();
        let mut settlement = Settlement::new(connection, &self.path, &base.commit, theirs);
        settlement.records = merged.records;
        settlement.watched = watched;
        violations::verify(&settlement, &[])?;
        violations::settle(&mut settlement)?;
        if let (ConflictPolicy::Park, Some(record)) = (policy, settlement.records.first()) {
            park(policy, &record.table, "the two sides changed it in two ways")?;
        }
        record::ensure_table(connection, &base.ancestor)?;
        record::keep(connection, &base.ancestor, ours, true)?;
        record::keep(connection, &base.ancestor, theirs, true)?;
        let unchecked = self.unchecked(&both, absent)?;
        let conflicts = self.record(&settlement.records, &unchecked, &base.commit)?;
        let parent = connection.set_merge_parent(theirs.as_bytes());
        parent.during("name the merge's parents")?;
        let commit = self.commit(ours, theirs, date)?;
        Ok(MergeOutcome::Merged { commit, conflicts })
    }

    fn record(
        &self,
        lost: &[Record],
        unchecked: &[Record],
        base: &CommitHash,
    ) -> Result<u64, Stop> {
        let add = |records: &[Record], base: &CommitHash| {
            record::add(&self.connection, records, base)
                .map_err(|error| impossible(error, record::TABLE, "record a conflict", BOOK_ADVICE))
        };
        Ok(add(lost, base)? + add(unchecked, &NO_BASE)?)
    }

    fn require_clean(&self, ours: &CommitHash) -> EngineResult<()> {
        if head(&self.connection)? == *ours && dirty_tables(&self.connection)?.is_empty() {
            return Ok(());
        }
        Err(EngineError::Failed {
            what: "merge",
            message: "another program changed the merge branch".to_owned(),
        })
    }

    /// Puts the branch at `ours`, with nothing uncommitted on it.
    fn reset(&self, ours: &CommitHash) -> EngineResult<()> {
        let sql = "SELECT dolt_reset('--hard', ?)";
        self.connection.run(sql, &[hash_value(ours)]).during("reset the merge branch")?;
        let left = dirty_tables(&self.connection)?;
        if left.is_empty() {
            return Ok(());
        }
        let sql = "SELECT dolt_clean()";
        self.connection.run(sql, &[]).during("clean the merge branch")
    }

    fn merge_in_transaction(
        &self,
        merge: &Merge,
        sides: &Sides,
        (changed, absent): (&[ChangedTables; 2], &BTreeSet<String>),
        policy: ConflictPolicy,
        date: &str,
    ) -> Result<MergeOutcome, Stop> {
        let (connection, Merge { ours, theirs, base }) = (&self.connection, merge);
        self.require_clean(&sides.ours)?;
        self.start(&sides.theirs)?;
        let mut settlement = Settlement::new(connection, &self.path, &base.commit, theirs);
        settle(&mut settlement, policy)?;
        for (tables, side) in changed.iter().zip([ours, theirs]) {
            if tables.contains(record::TABLE) {
                record::keep(connection, &base.ancestor, side, false)?;
            }
        }
        let both = changed[0].intersection(&changed[1]).cloned().collect();
        let unchecked = self.unchecked(&both, absent)?;
        let conflicts = self.record(&settlement.records, &unchecked, &base.commit)?;
        if sides.ours != *ours {
            // The engine moves a branch only when no merge is open on it.
            self.commit(&sides.ours, &sides.theirs, date)?;
            self.reset_soft(ours)?;
            let parent = connection.set_merge_parent(theirs.as_bytes());
            parent.during("name the merge's parents")?;
        }
        let commit = self.commit(ours, theirs, date)?;
        Ok(MergeOutcome::Merged { commit, conflicts })
    }

    /// Starts the merge.
    fn start(&self, theirs: &CommitHash) -> Result<(), Stop> {
        let sql = "SELECT dolt_merge(?, '--no-commit', '--no-ff')";
        let result = self.connection.run(sql, &[hash_value(theirs)]);
        let sql = "SELECT is_merging FROM dolt_merge_status";
        let rows = self.connection.rows(sql, &[]).during("read the merge's status")?;
        let is_merging = rows.first().and_then(|row| row.first()) == Some(&Value::Integer(1));
        match result {
            // With conflicts or violations the engine answers with an error, and goes on.
            _ if is_merging => Ok(()),
            Ok(()) => Err(Stop::Engine(EngineError::Failed {
                what: "merge",
                message: "the engine found nothing to merge".to_owned(),
            })),
            // A refusal lists no rows, so it is no fact about the two commits.
            Err(error) => Err(Stop::Engine(error.during("merge"))),
        }
    }

    /// Makes commits with the tables of the two and of their base, but hardly any history: the
    /// base's stand-in has a root as its parent, and is the parent of the other two.
    fn stand_ins(&self, root: &CommitHash, merge: &Merge) -> EngineResult<Sides> {
        let base = self.base(root, &merge.base)?;
        let [ours, theirs] = [&merge.ours, &merge.theirs].map(|side| self.stand_in(side, &base));
        Ok(Sides { ours: ours?, theirs: theirs? })
    }

    /// Makes the base's stand-in.
    fn base(&self, root: &CommitHash, base: &MergeBase) -> EngineResult<CommitHash> {
        if base.ancestor == base.commit {
            return self.stand_in(&base.commit, root);
        }
        self.reset(&base.commit)?;
        self.reset_soft(root)?;
        record::restore(&self.connection, &base.ancestor).during("compare the sides")?;
        self.commit_stand_in(&base.commit)
    }

    fn stand_in(&self, commit: &CommitHash, parent: &CommitHash) -> EngineResult<CommitHash> {
        self.reset(commit)?;
        self.reset_soft(parent)?;
        self.commit_stand_in(commit)
    }

    fn commit_stand_in(&self, commit: &CommitHash) -> EngineResult<CommitHash> {
        let sql = "SELECT dolt_commit('-A', '--allow-empty', '-m', ?, '--author', ?, '--date', ?)";
        let author = format!("{MERGE_AUTHOR_NAME} <{MERGE_AUTHOR_EMAIL}>");
        let params = [format!("stands in for {commit}").into(), author.into(), "1970-01-01".into()];
        let rows = self.connection.rows(sql, &params).during("make a stand-in")?;
        parse_hash(rows.first().and_then(|row| row.first()))
    }

    /// Moves the branch and leaves the tables as they are.
    fn reset_soft(&self, commit: &CommitHash) -> EngineResult<()> {
        let sql = "SELECT dolt_reset('--soft', ?)";
        self.connection.run(sql, &[hash_value(commit)]).during("reset the merge branch")
    }

    fn commit(
        &self,
        ours: &CommitHash,
        theirs: &CommitHash,
        date: &str,
    ) -> EngineResult<CommitHash> {
        let sql = "SELECT dolt_commit('-A', '--allow-empty', '-m', ?, '--author', ?, '--date', ?)";
        let params = [
            merge_message(ours, theirs).into(),
            format!("{MERGE_AUTHOR_NAME} <{MERGE_AUTHOR_EMAIL}>").into(),
            date.into(),
        ];
        let rows = self.connection.rows(sql, &params).during("commit the merge")?;
        let commit = parse_hash(rows.first().and_then(|row| row.first()))?;
        if parents(&self.connection, &commit)? == [*ours, *theirs] {
            return Ok(commit);
        }
        Err(EngineError::Failed {
            what: "commit the merge",
            message: format!("{commit} has other parents than the two commits merged"),
        })
    }
}

/// Settles everything that stands in the way of the commit.
fn settle(settlement: &mut Settlement<'_>, policy: ConflictPolicy) -> Result<(), Stop> {
    refuse_schema_conflicts(settlement.connection)?;
    let sql = "SELECT \"table\" FROM dolt_conflicts ORDER BY 1";
    let rows = settlement.connection.rows(sql, &[]).during("list the conflicts")?;
    let names: Vec<_> = rows.iter().map(|row| text(row.first()).to_owned()).collect();
    for name in &names {
        settlement.settle_rows(name)?;
        // Not every conflict of the engine is one: new rows without a key agree with each other.
        if !settlement.records.is_empty() {
            park(policy, name, "rows were changed on both sides")?;
        }
    }
    if !names.is_empty() {
        // Settling a conflict can break a constraint without a word.
        violations::verify(settlement, &[])?;
    }
    for name in violations::tables(settlement)? {
        park(policy, &name, "the two sides together break a constraint")?;
    }
    violations::settle(settlement)
}

/// Stops where the swarm parks what conflicts.
fn park(policy: ConflictPolicy, table: &str, what: &str) -> Result<(), Stop> {
    if policy == ConflictPolicy::Settle || table == record::TABLE {
        return Ok(());
    }
    let reason = format!(
        "table `{table}`: {what}, and this swarm parks conflicts; change the rows back on one side \
         with a new commit"
    );
    Err(Stop::Impossible { reason, clash: Some(table.to_owned()) })
}

fn refuse_schema_conflicts(connection: &Connection) -> Result<(), Stop> {
    let sql = "SELECT table_name, description FROM dolt_schema_conflicts ORDER BY 1 LIMIT 1";
    let rows = connection.rows(sql, &[]).during("list the schema conflicts")?;
    if let Some(row) = rows.first() {
        let reason = format!(
            "table `{}`: {}; make its definition the same on both sides with a new commit",
            text(row.first()),
            without_hashes(text(row.get(1)))
        );
        return Err(Stop::Impossible { reason, clash: None });
    }
    // Views and triggers have no rows of their own; the engine counts them under this name.
    let sql = "SELECT 1 FROM dolt_conflicts WHERE \"table\" = 'dolt_schemas'";
    if connection.rows(sql, &[]).during("list the schema conflicts")?.is_empty() {
        return Ok(());
    }
    let reason = "a view or a trigger was changed in two ways; make its definition the same on \
                  both sides with a new commit";
    Err(Stop::Impossible { reason: reason.to_owned(), clash: None })
}

/// Takes hashes out of the engine's words, so that a reason reads the same for the same conflict.
fn without_hashes(message: &str) -> String {
    let is_hash = |word: &str| word.len() == 40 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let words = message.split(' ').map(|word| if is_hash(word) { "a commit" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::ffi::SqliteError;
    use super::*;

    #[test]
    fn reasons_have_no_hashes() {
        let hash = "a".repeat(40);
        assert_eq!(without_hashes(&format!("no {hash} here")), "no a commit here");
    }

    #[test]
    fn busy_is_never_taken_for_impossible() {
        let busy = SqliteError { code: 5, message: "database is busy".to_owned() };
        let stop = impossible(busy, "t", "settle a row", "");
        assert!(matches!(stop, Stop::Engine(EngineError::Busy)));
    }
}
