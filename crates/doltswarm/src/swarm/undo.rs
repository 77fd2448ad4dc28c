//! Taking changes back: an ordinary commit that makes rows what they were before another one.

use doltswarm_core::commit::CommitInfo;
use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::{EXEC_TIMEOUT, QUERY_ROWS_MAX};

use super::resolve::cell::Cell;
use super::resolve::rejected;
use super::resolve::row::{self, Row, Version};
use super::{ExecError, ExecReport, QueryError, Swarm};
use crate::engine::{
    CommitMeta, Engine, EngineError, EngineResult, Executed, RowChange, TableDiff, TableShape,
    Transaction, Value,
};

/// The table of conflicts only grows, so nothing in it is taken back.
const RECORDS: &str = "swarm_conflicts";

impl Swarm {
    /// Takes back what one commit changed in rows, by a new commit: rows that it added go, rows
    /// that it removed come back, cells that it changed get their old values. What was changed
    /// elsewhere since stays. The commit is named as for [`Swarm::resolve_commit`].
    ///
    /// Triggers run as for any other write. Records of conflicts, and changes of views and
    /// triggers, are not taken back.
    ///
    /// # Errors
    ///
    /// [`ExecError::Invalid`] if there is no such commit; [`ExecError::Engine`] with
    /// [`EngineError::Rejected`] if it is a merge, changes the definition of a table, or one of its
    /// rows has been changed since: nothing is taken back then.
    pub async fn revert(&self, commit: &str, message: &str) -> Result<ExecReport, ExecError> {
        let meta = self.meta(message)?;
        let commit = self.commit_named(commit).await.map_err(not_found)?;
        self.write(EXEC_TIMEOUT, move |engine| revert(engine, &commit, &meta)).await
    }

    /// Makes a table's rows what they were at a commit, by a new commit. A table that is gone since
    /// is made again as it was. The commit is named as for [`Swarm::resolve_commit`].
    ///
    /// # Errors
    ///
    /// [`ExecError::Invalid`] if there is no such commit; [`ExecError::Engine`] with
    /// [`EngineError::Rejected`] if the table was not there, or had columns that it does not have
    /// now.
    pub async fn restore(
        &self,
        table: &str,
        at: &str,
        message: &str,
    ) -> Result<ExecReport, ExecError> {
        let meta = self.meta(message)?;
        let commit = self.commit_named(at).await.map_err(not_found)?;
        let table = table.to_owned();
        self.write(EXEC_TIMEOUT, move |engine| restore(engine, &table, &commit, &meta)).await
    }
}

/// The error of a name for the caller of a write.
pub(super) fn not_found(error: QueryError) -> ExecError {
    match error {
        QueryError::Engine(error) => ExecError::Engine(error),
        QueryError::Closed => ExecError::Closed,
        error => ExecError::Invalid(error.to_string()),
    }
}

fn revert(
    engine: &mut dyn Engine,
    commit: &CommitHash,
    meta: &CommitMeta,
) -> EngineResult<Executed> {
    let info = engine.commit_info(commit)?.ok_or(EngineError::NoSuchCommit(*commit))?;
    let CommitInfo { parents, .. } = info;
    let [parent] = parents[..] else {
        return Err(rejected(match parents.len() {
            0 => "the first commit of a history cannot be reverted",
            _ => "a merge cannot be reverted: revert the commits that it brought together",
        }));
    };
    let mut diffs = Vec::new();
    for table in engine.changed_tables(&parent, commit)? {
        if table.eq_ignore_ascii_case(RECORDS) {
            continue;
        }
        let diff = whole_diff(engine, &parent, commit, &table)?;
        if diff.schema_changed {
            return Err(rejected(format!(
                "the commit changes the definition of `{table}`: change that back with an exec"
            )));
        }
        diffs.push(diff);
    }
    engine.transact(meta, &mut |transaction| {
        let mut changes = Vec::new();
        for diff in &diffs {
            let shape = shape_of(transaction, &diff.table)?;
            changes.extend(diff.rows.iter().map(|change| Undo::new(diff, shape.clone(), change)));
        }
        undo_all(transaction, changes)
    })
}

fn restore(
    engine: &mut dyn Engine,
    table: &str,
    at: &CommitHash,
    meta: &CommitMeta,
) -> EngineResult<Executed> {
    let definition = engine.definition(at, table)?;
    let Some((create, others)) = definition.split_first() else {
        return Err(rejected(format!("there was no table `{table}` at that commit")));
    };
    let main = engine.main()?;
    let diff = whole_diff(engine, at, &main, table)?;
    engine.transact(meta, &mut |transaction| {
        let is_gone = transaction.table(table)?.is_none();
        if is_gone {
            transaction.execute(&create.as_str().into())?;
        }
        let shape = shape_of(transaction, table)?;
        let before = diff.rows.iter().any(|change| change.before.is_some());
        let gone = diff.columns.iter().find(|name| !shape.columns.contains(name));
        if let Some(name) = gone.filter(|_| before && diff.schema_changed && !is_gone) {
            return Err(rejected(format!(
                "`{table}` had a column `{name}` that cannot be written now: add it again first"
            )));
        }
        let changes = diff.rows.iter().map(|change| Undo::new(&diff, shape.clone(), change));
        undo_all(transaction, changes.collect())?;
        // Indexes and triggers come last, so that no trigger sees the rows as new ones.
        others
            .iter()
            .filter(|_| is_gone)
            .try_for_each(|sql| transaction.execute(&sql.as_str().into()).map(|_| ()))
    })
}

/// All rows of a table that differ.
fn whole_diff(
    engine: &mut dyn Engine,
    from: &CommitHash,
    to: &CommitHash,
    table: &str,
) -> EngineResult<TableDiff> {
    let diff = engine.diff(from, to, table, QUERY_ROWS_MAX)?;
    if diff.truncated { Err(EngineError::TooLarge { limit: QUERY_ROWS_MAX }) } else { Ok(diff) }
}

fn shape_of(transaction: &mut dyn Transaction, table: &str) -> EngineResult<TableShape> {
    let gone = || rejected(format!("there is no table `{table}` any more"));
    transaction.table(table)?.ok_or_else(gone)
}

/// One row's change that is to be taken back.
struct Undo<'a> {
    table: &'a str,
    shape: TableShape,
    before: Option<Version>,
    after: Option<Version>,
}

impl<'a> Undo<'a> {
    fn new(diff: &'a TableDiff, shape: TableShape, change: &RowChange) -> Self {
        let version = |row: &Option<Vec<Value>>| {
            let cells = diff.columns.iter().zip(row.as_ref()?);
            // Generated columns follow by themselves.
            let written = cells.filter(|(name, _)| shape.columns.contains(name));
            let cell =
                |(name, value): (&String, &Value)| (name.clone(), Cell::Value(value.clone()));
            Some(written.map(cell).collect())
        };
        let (before, after) = (version(&change.before), version(&change.after));
        Self { table: &diff.table, shape, before, after }
    }

    /// Takes it back, if the row is still as the change left it, or is as it was before already.
    fn run(&self, transaction: &mut dyn Transaction) -> EngineResult<()> {
        if self.shape.key.is_empty() {
            return self.run_without_key(transaction);
        }
        let Some(any) = self.after.as_ref().or(self.before.as_ref()) else { return Ok(()) };
        let is_key = |(name, _): &&(String, Cell)| self.shape.key.contains(name);
        let key: Version = any.iter().filter(is_key).cloned().collect();
        let mut row = Row::new(self.table, &self.shape, &key)?;
        let now = row.read(transaction)?;
        match (&self.before, &self.after, now) {
            (None, _, None) => Ok(()),
            (None, Some(after), Some(now)) if same(after, &now) => row.delete(transaction),
            (Some(before), None, None) => row.put(transaction, before),
            (Some(before), None, Some(now)) if same(before, &now) => Ok(()),
            (Some(before), Some(after), Some(now)) => {
                let changed = before.iter().filter(|cell| !after.contains(cell));
                let old: Version = changed.cloned().collect();
                let new: Version =
                    after.iter().filter(|(name, _)| has(&old, name)).cloned().collect();
                match same(&new, &now) || same(&old, &now) {
                    true => row.put(transaction, &old),
                    false => Err(self.changed_since(&key)),
                }
            }
            _ => Err(self.changed_since(&key)),
        }
    }

    fn run_without_key(&self, transaction: &mut dyn Transaction) -> EngineResult<()> {
        if let Some(after) = &self.after
            && row::remove_equal(transaction, self.table, &self.shape, after)? == 0
        {
            return Err(self.changed_since(after));
        }
        match &self.before {
            Some(before) => row::add_equal(transaction, self.table, &self.shape, before),
            None => Ok(()),
        }
    }

    fn changed_since(&self, row: &Version) -> EngineError {
        let cell = |(name, cell): &(String, Cell)| match cell {
            Cell::Value(value) => format!("{name}={}", value.to_json()),
            Cell::Large { bytes } => format!("{name} of {bytes} bytes"),
        };
        let row = row.iter().map(cell).collect::<Vec<_>>().join(", ");
        rejected(format!("the row {row} of `{}` has been changed since", self.table))
    }
}

fn has(version: &Version, name: &str) -> bool {
    version.iter().any(|(other, _)| other == name)
}

/// Whether a row has all the cells of a version.
fn same(version: &Version, row: &Version) -> bool {
    version.iter().all(|cell| row.contains(cell))
}

/// Takes changes back. One may need another one first that it refers to, so those that are refused
/// are tried again after the others, as long as that helps.
fn undo_all(transaction: &mut dyn Transaction, mut waiting: Vec<Undo<'_>>) -> EngineResult<()> {
    while !waiting.is_empty() {
        let before = waiting.len();
        let (mut refused, mut first) = (Vec::new(), None);
        for undo in waiting {
            match undo.run(transaction) {
                Ok(()) => {}
                Err(error @ EngineError::Rejected { .. }) => {
                    first.get_or_insert(error);
                    refused.push(undo);
                }
                Err(error) => return Err(error),
            }
        }
        match first {
            Some(error) if refused.len() == before => return Err(error),
            _ => waiting = refused,
        }
    }
    Ok(())
}
