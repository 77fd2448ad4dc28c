//! Settling row conflicts: theirs' version stands, ours is recorded.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;

use doltswarm_core::id::CommitHash;

use super::connection::{During, open_at, quote, text};
use super::ffi::{Connection, SqliteError};
use super::record::{self, Record};
use super::table::{self, Table, Version};
use crate::engine::{EngineError, EngineResult, Value};

/// Why a merge does not come about.
#[derive(Debug)]
pub(super) enum Stop {
    /// It never will: the same commits give the same answer on every peer.
    Impossible {
        /// Why.
        reason: String,
        /// The table in which rows clash, or break a constraint, if that is the reason.
        clash: Option<String>,
    },
    /// It failed here and now.
    Engine(EngineError),
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// A row that is to become what it is in theirs.
pub(super) struct Want {
    /// Its key.
    pub(super) key: Vec<Value>,
    /// Theirs' version, or `None` where theirs has no such row.
    pub(super) version: Option<Version>,
}

/// A merge that is being settled, inside its transaction.
pub(super) struct Settlement<'a> {
    /// The connection with the merge.
    pub(super) connection: &'a Connection,
    /// What was recorded so far.
    pub(super) records: Vec<Record>,
    /// Tables whose constraints are checked as a whole at each look.
    pub(super) watched: Vec<String>,
    path: &'a Path,
    base: &'a CommitHash,
    theirs: &'a CommitHash,
    /// The database as it is in the base; opened when first needed.
    at_base: Option<Connection>,
    /// The same of theirs.
    at: Option<Connection>,
}

/// One row of `dolt_conflicts_<table>`.
struct RowConflict {
    /// The row both sides started from.
    base: Option<Vec<Value>>,
    /// Ours' version; `None` where ours removed it.
    ours: Option<Vec<Value>>,
    /// Theirs' version; `None` where theirs removed it.
    theirs: Option<Vec<Value>>,
}

impl RowConflict {
    /// Any version, to read the key from.
    fn any(&self) -> &[Value] {
        [&self.theirs, &self.ours, &self.base]
            .into_iter()
            .flatten()
            .next()
            .map_or(&[], Vec::as_slice)
    }
}

impl<'a> Settlement<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        path: &'a Path,
        base: &'a CommitHash,
        theirs: &'a CommitHash,
    ) -> Self {
        let (records, watched) = (Vec::new(), Vec::new());
        Self { connection, records, watched, path, base, theirs, at_base: None, at: None }
    }

    /// Settles the row conflicts of one table.
    pub(super) fn settle_rows(&mut self, name: &str) -> Result<(), Stop> {
        let table = table::require(self.connection, name)?;
        let mut conflicts = self.conflicts(&table)?;
        conflicts.sort_by_cached_key(|conflict| table.key_json(conflict.any()));
        if name == record::TABLE {
            return self.settle_bookkeeping(&table, conflicts);
        }
        if !table.has_key() {
            // Only the engine's own statistics: other tables without a key are merged row by row.
            let sql = "SELECT dolt_conflicts_resolve('--theirs', ?)";
            return Ok(self.connection.run(sql, &[name.into()]).during("settle statistics")?);
        }
        for conflict in &conflicts {
            self.record_row(&table, conflict);
        }
        self.clear_conflicts(name)?;
        let wants = conflicts
            .into_iter()
            .map(|conflict| Want {
                key: table.key_of(conflict.any()),
                version: conflict.theirs.map(|row| row.into_iter().map(Some).collect()),
            })
            .collect();
        self.adopt(&table, wants)
    }

    /// Records a row conflict.
    fn record_row(&mut self, table: &Table, conflict: &RowConflict) {
        self.records.push(Record {
            kind: "row".to_owned(),
            table: table.name.clone(),
            key: table.key_json(conflict.any()),
            base: conflict.base.as_ref().map(|row| table.json(row)),
            loser: conflict.ours.as_ref().map(|row| table.json(row)),
            winner: conflict.theirs.as_ref().map(|row| table.json(row)),
        });
    }

    /// Records a version that nothing stands for.
    fn record_lost(&mut self, table: &Table, kind: &str, row: &[Value]) {
        self.records.push(Record {
            kind: kind.to_owned(),
            table: table.name.clone(),
            key: table.key_json(row),
            base: None,
            loser: Some(table.json(row)),
            winner: None,
        });
    }

    /// A conflict on the table of conflicts: the table only grows, and what is resolved on either
    /// side is resolved.
    fn settle_bookkeeping(
        &mut self,
        table: &Table,
        conflicts: Vec<RowConflict>,
    ) -> Result<(), Stop> {
        self.clear_conflicts(record::TABLE)?;
        let state = table.columns.iter().position(|column| column == "state");
        let mut wants = Vec::new();
        for conflict in conflicts {
            let key = table.key_of(conflict.any());
            let resolved = |row: &Option<Vec<Value>>| {
                let state = state.and_then(|state| row.as_ref()?.get(state));
                text(state) == "resolved"
            };
            let is_resolved = resolved(&conflict.ours) || resolved(&conflict.theirs);
            let mut row = conflict.theirs.or(conflict.ours);
            if let (Some(row), Some(state), true) = (&mut row, state, is_resolved) {
                row[state] = "resolved".into();
            }
            let version = row.map(|row| row.into_iter().map(Some).collect());
            wants.push(Want { key, version });
        }
        self.adopt(table, wants)
    }

    fn conflicts(&self, table: &Table) -> EngineResult<Vec<RowConflict>> {
        let sql = format!("SELECT * FROM {}", quote(&format!("dolt_conflicts_{}", table.name)));
        let rows = self.connection.rows(&sql, &[]).during("read the conflicts")?;
        let width = table.width();
        // from_root_ish, base, ours, our_diff_type, theirs, their_diff_type, dolt_conflict_id: the
        // columns are taken by place, because a user's column may have one of these names.
        let (ours, our_diff) = (1 + width, 1 + 2 * width);
        let (theirs, their_diff) = (2 + 2 * width, 2 + 3 * width);
        rows.into_iter()
            .map(|row| {
                let side = |from: usize| table.pick(row.get(from..from + width)?);
                let (our_type, their_type) = (text(row.get(our_diff)), text(row.get(their_diff)));
                let present = |kind: &str, from| (kind != "removed").then(|| side(from)).flatten();
                if row.len() != 4 + 3 * width {
                    return Err(EngineError::Failed {
                        what: "read the conflicts",
                        message: format!("`{}` has other columns than its conflicts", table.name),
                    });
                }
                Ok(RowConflict {
                    base: (our_type != "added").then(|| side(1)).flatten(),
                    ours: present(our_type, ours),
                    theirs: present(their_type, theirs),
                })
            })
            .collect()
    }

    /// Forgets the conflicts of a table; its rows stay as they are.
    fn clear_conflicts(&self, name: &str) -> EngineResult<()> {
        let sql = "SELECT dolt_conflicts_resolve('--ours', ?)";
        self.connection.run(sql, &[name.into()]).during("clear the conflicts")
    }

    /// Makes rows of a table what they are in theirs.
    ///
    /// A unique index may not let one in, because a row that is not theirs' is in its way: then
    /// that row becomes what it is in theirs too. In theirs no two rows collide, so this ends, and
    /// each row is changed once.
    pub(super) fn adopt(&mut self, table: &Table, wants: Vec<Want>) -> Result<(), Stop> {
        let mut done = BTreeSet::new();
        for want in &wants {
            table.delete(self.connection, &want.key).map_err(|e| stuck(e, table))?;
            done.insert(format!("{:?}", want.key));
        }
        let mut queue = VecDeque::from(wants);
        while let Some(Want { key, version }) = queue.pop_front() {
            let Some(version) = version else { continue };
            let lost = match table.offer(self.connection, &version) {
                Ok(None) => continue,
                Ok(Some(row)) => {
                    if let Some(moved) = self.make_way(table, &row, &mut done)? {
                        queue.push_front(Want { key, version: Some(version) });
                        queue.push_back(moved);
                        continue;
                    }
                    "unique"
                }
                Err(error) if error.code & 0xff == CONSTRAINT => constraint_kind(&error),
                Err(error) => return Err(stuck(error, table)),
            };
            // Theirs' own version breaks a rule that ours added: it cannot stand.
            let row: Vec<_> = version.into_iter().map(Option::unwrap_or_default).collect();
            self.record_lost(table, lost, &row);
        }
        Ok(())
    }

    /// Removes a row that is in the way of theirs' version of another, and returns what it is to
    /// become; `None` where it is as in theirs already.
    fn make_way(
        &mut self,
        table: &Table,
        row: &[Value],
        done: &mut BTreeSet<String>,
    ) -> Result<Option<Want>, Stop> {
        let key = table.key_of(row);
        let theirs = self.theirs(table, &key, Some(row))?;
        if theirs.as_ref().is_some_and(|theirs| same(theirs, row))
            || !done.insert(format!("{key:?}"))
        {
            return Ok(None);
        }
        table.delete(self.connection, &key).map_err(|e| stuck(e, table))?;
        self.records.push(Record {
            kind: "unique".to_owned(),
            table: table.name.clone(),
            key: table.key_json(row),
            base: None,
            loser: Some(table.json(row)),
            winner: theirs.as_ref().map(|version| table.version_json(version)),
        });
        Ok(Some(Want { key, version: theirs }))
    }

    /// The row with this key as it is in theirs. Columns that theirs' table does not have keep
    /// their value in `current`, or get their default.
    pub(super) fn theirs(
        &mut self,
        table: &Table,
        key: &[Value],
        current: Option<&[Value]>,
    ) -> EngineResult<Option<Version>> {
        let at = self.at()?;
        let Some(there) = Table::load(at, &table.name)? else { return Ok(None) };
        if there.key_names() != table.key_names() {
            return Ok(None);
        }
        let Some(row) = there.get(at, key)? else { return Ok(None) };
        let version = table.columns.iter().enumerate().map(|(place, name)| {
            match there.columns.iter().position(|other| other == name) {
                Some(other) => row.get(other).cloned(),
                None => current.and_then(|row| row.get(place).cloned()),
            }
        });
        Ok(Some(version.collect()))
    }

    /// Whether theirs has a row with exactly these values. For tables without a primary key.
    pub(super) fn theirs_has(&mut self, table: &Table, row: &[Value]) -> EngineResult<bool> {
        let at = self.at()?;
        match Table::load(at, &table.name)? {
            Some(there) if there.columns == table.columns => Ok(there.count_equal(at, row)? > 0),
            _ => Ok(false),
        }
    }

    fn at(&mut self) -> EngineResult<&Connection> {
        opened(&mut self.at, self.path, self.theirs)
    }

    /// The database as it is in the base.
    pub(super) fn base(&mut self) -> EngineResult<&Connection> {
        opened(&mut self.at_base, self.path, self.base)
    }
}

/// The database as it is in `commit`, which is opened once.
fn opened<'c>(
    at: &'c mut Option<Connection>,
    path: &Path,
    commit: &CommitHash,
) -> EngineResult<&'c Connection> {
    match at {
        Some(connection) => Ok(connection),
        none => Ok(none.insert(open_at(path, commit)?)),
    }
}

/// The engine's primary code for a broken constraint.
pub(super) const CONSTRAINT: i32 = 19;

/// Whether a version has exactly the values of a row.
pub(super) fn same(version: &Version, row: &[Value]) -> bool {
    version.len() == row.len()
        && version.iter().zip(row).all(|(a, b)| a.as_ref().is_none_or(|a| a == b))
}

/// The word for the constraint that an insert broke.
pub(super) fn constraint_kind(error: &SqliteError) -> &'static str {
    match error.code >> 8 {
        1 => "check",
        3 => "foreign key",
        5 => "not null",
        6 | 8 | 10 => "unique",
        _ => "constraint",
    }
}

/// An error of a statement that settles: impossible where the same data gives it again.
pub(super) fn impossible(
    error: SqliteError,
    table: &str,
    task: &'static str,
    advice: &str,
) -> Stop {
    if error.is_rejection() {
        let message = error.message;
        let reason = format!("table `{table}`: cannot {task}: {message}; {advice}");
        return Stop::Impossible { reason, clash: None };
    }
    Stop::Engine(error.during(task))
}

/// The error of a write that settles a row.
pub(super) fn stuck(error: SqliteError, table: &Table) -> Stop {
    impossible(error, &table.name, "settle a row", "change the rows on one side so that they agree")
}
