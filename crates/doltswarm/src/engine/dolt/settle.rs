//! Settling row conflicts: theirs' version stands, ours is recorded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use doltswarm_core::id::CommitHash;

use super::session::{During, Link, SqlError, number, quote, text};
use super::table::{self, Table, Theirs};
use crate::engine::record::{self, Record};
use crate::engine::{EngineError, EngineResult, Value};

/// Why a merge does not come about.
#[derive(Debug)]
pub(super) enum Stop {
    /// It never will, because this swarm parks conflicts: the same commits give the same answer on
    /// every peer.
    Impossible(String),
    /// The server refused a statement that merges or settles.
    Refused(String),
    /// It failed here and now.
    Engine(EngineError),
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// A merge that is being settled, inside its transaction.
pub(super) struct Settlement<'a> {
    /// The connection with the merge.
    pub(super) link: &'a mut Link,
    /// What was recorded so far.
    pub(super) records: Vec<Record>,
    theirs: &'a CommitHash,
    forms: &'a Forms,
    /// What theirs has of each table; looked up once.
    known: BTreeMap<String, Option<Theirs>>,
}

/// Tables that were brought to a merged form, with a commit that has theirs' rows in it.
#[derive(Debug, Clone)]
pub(super) struct Forms {
    /// The commit.
    pub(super) commit: CommitHash,
    /// The tables, in lower case.
    pub(super) tables: BTreeSet<String>,
}

/// A row that is to become what it is in theirs.
pub(super) struct Want {
    /// Its key.
    pub(super) key: Vec<Value>,
    /// Columns that theirs does not have, with their values; others get their default.
    pub(super) kept: Vec<(String, Value)>,
}

/// The row conflicts of one table, sorted by key.
pub(super) struct Conflicts {
    pub(super) table: Table,
    rows: Vec<RowConflict>,
}

/// One row of `dolt_conflicts_<table>`.
struct RowConflict {
    base: Option<Vec<Value>>,
    ours: Option<Vec<Value>>,
    theirs: Option<Vec<Value>>,
    /// How many such rows there are in the base, ours and theirs; for tables without a primary key.
    counts: [i64; 3],
}

impl RowConflict {
    /// Any version, to read the key from.
    fn any(&self) -> &[Value] {
        let mut versions = [&self.theirs, &self.ours, &self.base].into_iter().flatten();
        versions.next().map_or(&[], Vec::as_slice)
    }
}

impl<'a> Settlement<'a> {
    pub(super) fn new(link: &'a mut Link, theirs: &'a CommitHash, forms: &'a Forms) -> Self {
        Self { link, records: Vec::new(), theirs, forms, known: BTreeMap::new() }
    }

    /// Reads the row conflicts of one table and clears them; its rows stay as they are.
    pub(super) fn take_conflicts(&mut self, name: &str) -> Result<Conflicts, Stop> {
        let table = table::require(self.link, name)?;
        let mut rows = self.conflicts(&table)?;
        rows.sort_by_cached_key(|conflict| table.key_json(conflict.any()));
        let sql = format!("DELETE FROM {}", quote(&format!("dolt_conflicts_{name}")));
        self.link.run(&sql, &[]).during("clear the conflicts")?;
        Ok(Conflicts { table, rows })
    }

    /// Settles row conflicts.
    pub(super) fn settle_rows(&mut self, conflicts: Conflicts) -> Result<(), Stop> {
        let Conflicts { table, rows } = conflicts;
        if table.name == record::TABLE {
            self.settle_bookkeeping(&table, rows)
        } else if table.has_key() {
            self.settle_keyed(&table, &rows)
        } else {
            self.settle_keyless(&table, &rows)
        }
    }

    fn settle_keyed(&mut self, table: &Table, conflicts: &[RowConflict]) -> Result<(), Stop> {
        self.record_rows(table, conflicts);
        let want =
            |conflict: &RowConflict| Want { key: table.key_of(conflict.any()), kept: vec![] };
        self.adopt(table, conflicts.iter().map(want).collect())
    }

    /// Records the conflicts in which the sides differ.
    pub(super) fn record_conflicts(&mut self, conflicts: &Conflicts) {
        let differs = |row: &&RowConflict| row.ours != row.theirs;
        let rows: Vec<_> = conflicts.rows.iter().filter(differs).collect();
        self.record_rows(&conflicts.table, rows);
    }

    fn record_rows<'r>(
        &mut self,
        table: &Table,
        conflicts: impl IntoIterator<Item = &'r RowConflict>,
    ) {
        self.records.extend(conflicts.into_iter().map(|conflict| Record {
            kind: "row".to_owned(),
            table: table.name.clone(),
            key: table.key_json(conflict.any()),
            base: conflict.base.as_ref().map(|row| table.json(row)),
            loser: conflict.ours.as_ref().map(|row| table.json(row)),
            winner: conflict.theirs.as_ref().map(|row| table.json(row)),
        }));
    }

    /// Without a key a row is known by its values: the two sides disagree about how many there are.
    fn settle_keyless(&mut self, table: &Table, conflicts: &[RowConflict]) -> Result<(), Stop> {
        for conflict in conflicts {
            let [_, ours, theirs] = conflict.counts;
            let row = conflict.any().to_vec();
            if ours != theirs {
                let shown = |count: i64| (count > 0).then(|| table.counted_json(&row, count));
                self.records.push(Record {
                    kind: "row".to_owned(),
                    table: table.name.clone(),
                    key: table.json(&row),
                    base: shown(conflict.counts[0]),
                    loser: shown(ours),
                    winner: shown(theirs),
                });
            }
            let now = table.count_equal(self.link, None, &row)?;
            self.set_count(table, &row, now, theirs)?;
        }
        Ok(())
    }

    /// Makes it that a table has `count` equal rows of which it has `now`.
    pub(super) fn set_count(
        &mut self,
        table: &Table,
        row: &[Value],
        now: i64,
        count: i64,
    ) -> Result<(), Stop> {
        if now > count {
            let gone = table.delete_equal(self.link, row, now - count);
            gone.map_err(|error| stuck(error, table))?;
        }
        (now..count).try_for_each(|_| self.insert_equal(table, row))
    }

    fn insert_equal(&mut self, table: &Table, row: &[Value]) -> Result<(), Stop> {
        let marks = vec!["?"; row.len()].join(", ");
        let names = table.columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
        let sql = format!("INSERT INTO {} ({names}) VALUES ({marks})", quote(&table.name));
        match self.link.run(&sql, row) {
            Ok(_) => Ok(()),
            Err(error) => match constraint_kind(&error) {
                Some(kind) => {
                    self.record_lost(table, kind, row);
                    Ok(())
                }
                None => Err(stuck(error, table)),
            },
        }
    }

    /// Records a version that nothing stands for.
    pub(super) fn record_lost(&mut self, table: &Table, kind: &str, row: &[Value]) {
        self.record(table, kind, row, None);
    }

    /// Records a version that lost to a constraint.
    pub(super) fn record(
        &mut self,
        table: &Table,
        kind: &str,
        loser: &[Value],
        winner: Option<String>,
    ) {
        // The book of conflicts does not book itself.
        if table.name == record::TABLE {
            return;
        }
        self.records.push(Record {
            kind: kind.to_owned(),
            table: table.name.clone(),
            key: table.key_json(loser),
            base: None,
            loser: Some(table.json(loser)),
            winner,
        });
    }

    /// A conflict on the table of conflicts: the table only grows, and what is resolved on either
    /// side is resolved.
    fn settle_bookkeeping(
        &mut self,
        table: &Table,
        conflicts: Vec<RowConflict>,
    ) -> Result<(), Stop> {
        let state = table.columns.iter().position(|column| column == "state");
        for conflict in conflicts {
            let resolved = |row: &Option<Vec<Value>>| {
                let state = state.and_then(|state| row.as_ref()?.get(state));
                text(state) == "resolved"
            };
            let is_resolved = resolved(&conflict.ours) || resolved(&conflict.theirs);
            let key = table.key_of(conflict.any());
            let Some(mut row) = conflict.theirs.or(conflict.ours) else { continue };
            if let (Some(state), true) = (state, is_resolved) {
                row[state] = "resolved".into();
            }
            table.delete(self.link, &key).map_err(|error| stuck(error, table))?;
            self.insert_equal(table, &row)?;
        }
        Ok(())
    }

    fn conflicts(&mut self, table: &Table) -> EngineResult<Vec<RowConflict>> {
        let sql = format!("SELECT * FROM {}", quote(&format!("dolt_conflicts_{}", table.name)));
        let (found, _) = self.link.read(&sql, &[], usize::MAX).during("read the conflicts")?;
        let layout = Layout::of(&found.columns).ok_or_else(|| EngineError::Failed {
            what: "read the conflicts",
            message: format!("the conflicts of `{}` have unknown columns", table.name),
        })?;
        Ok(found.rows.iter().map(|row| layout.read(table, row)).collect())
    }

    /// Makes rows of a table what they are in theirs.
    ///
    /// A unique index may not let one in, because a row that is not theirs' is in its way: then
    /// that row becomes what it is in theirs too. In theirs no two rows collide, so this ends, and
    /// each row is changed once.
    pub(super) fn adopt(&mut self, table: &Table, wants: Vec<Want>) -> Result<(), Stop> {
        let mut done = BTreeSet::new();
        for want in &wants {
            table.delete(self.link, &want.key).map_err(|error| stuck(error, table))?;
            done.insert(format!("{:?}", want.key));
        }
        let Some(theirs) = self.theirs_of(table)? else { return Ok(()) };
        let mut queue = VecDeque::from(wants);
        while let Some(want) = queue.pop_front() {
            let error = match table.copy(self.link, &theirs, &want.key, &want.kept) {
                Ok(()) => continue,
                Err(error) => error,
            };
            let Some(kind) = constraint_kind(&error) else { return Err(stuck(error, table)) };
            let moved = self.make_way(table, &theirs, &want.key, &mut done)?;
            if kind == "unique" && !moved.is_empty() {
                queue.push_front(want);
                queue.extend(moved);
                continue;
            }
            // Theirs' own version breaks a rule that ours added: it cannot stand.
            if let Some(row) = self.row_in_theirs(table, &theirs, &want.key)? {
                self.record_lost(table, kind, &row);
            }
        }
        Ok(())
    }

    /// Removes the rows that are in the way of theirs' version of another, and returns what they
    /// are to become. Those that are as in theirs already stay.
    fn make_way(
        &mut self,
        table: &Table,
        theirs: &Theirs,
        key: &[Value],
        done: &mut BTreeSet<String>,
    ) -> Result<Vec<Want>, Stop> {
        let mut moved = Vec::new();
        for row in table.in_the_way(self.link, theirs, key)? {
            let key = table.key_of(&row);
            let version = self.row_in_theirs(table, theirs, &key)?;
            if version.as_ref().is_some_and(|version| same(version, &row, table, theirs))
                || !done.insert(format!("{key:?}"))
            {
                continue;
            }
            table.delete(self.link, &key).map_err(|error| stuck(error, table))?;
            let winner = version.as_ref().map(|version| version_json(version, table, theirs));
            self.record(table, "unique", &row, winner);
            let kept = kept_columns(table, theirs, &row);
            moved.push(Want { key, kept });
        }
        Ok(moved)
    }

    /// What theirs has of a table.
    pub(super) fn theirs_of(&mut self, table: &Table) -> EngineResult<Option<Theirs>> {
        if !self.known.contains_key(&table.name) {
            let is_formed = self.forms.tables.contains(&table.name.to_lowercase());
            let theirs = if is_formed { &self.forms.commit } else { self.theirs };
            let theirs = Theirs::load(self.link, table, theirs)?;
            self.known.insert(table.name.clone(), theirs);
        }
        Ok(self.known.get(&table.name).cloned().flatten())
    }

    /// The row with this key as it is in theirs: values for the table's columns, NULL for those
    /// that theirs does not have.
    pub(super) fn row_in_theirs(
        &mut self,
        table: &Table,
        theirs: &Theirs,
        key: &[Value],
    ) -> EngineResult<Option<Vec<Value>>> {
        let columns = theirs.columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
        let names = table.key_names();
        let equal = names.iter().map(|name| format!("{} <=> ?", quote(name)));
        let sql = format!(
            "SELECT {columns} FROM {} AS OF '{}' WHERE {}",
            quote(&table.name),
            super::store::commit_text(&theirs.commit),
            equal.collect::<Vec<_>>().join(" AND ")
        );
        let rows = self.link.rows(&sql, key).during("read a row of theirs")?;
        Ok(rows.first().map(|row| table.pick(&theirs.columns, row)))
    }

    /// Whether theirs has a row with exactly these values. For tables without a primary key.
    pub(super) fn theirs_has(&mut self, table: &Table, row: &[Value]) -> EngineResult<bool> {
        match self.theirs_of(table)? {
            Some(theirs) if theirs.columns == table.columns => {
                Ok(table.count_equal(self.link, Some(&theirs.commit), row)? > 0)
            }
            _ => Ok(false),
        }
    }
}

/// Whether theirs' version of a row has exactly its values, in the columns that theirs has.
pub(super) fn same(version: &[Value], row: &[Value], table: &Table, theirs: &Theirs) -> bool {
    let shared = |name: &String| theirs.columns.contains(name);
    let mut pairs = table.columns.iter().zip(version.iter().zip(row));
    pairs.all(|(name, (a, b))| !shared(name) || a == b)
}

/// Theirs' version of a row as JSON: only the columns that it has.
pub(super) fn version_json(version: &[Value], table: &Table, theirs: &Theirs) -> String {
    let shared = table.columns.iter().cloned().zip(version.iter().cloned());
    let (names, values): (Vec<_>, Vec<_>) =
        shared.filter(|(name, _)| theirs.columns.contains(name)).unzip();
    record::row_json(&names, &values)
}

/// The columns that theirs does not have, with the values of a row.
pub(super) fn kept_columns(table: &Table, theirs: &Theirs, row: &[Value]) -> Vec<(String, Value)> {
    let own = table.columns.iter().cloned().zip(row.iter().cloned());
    own.filter(|(name, _)| !theirs.columns.contains(name)).collect()
}

/// The word for the constraint that a write broke, or `None` where it was something else.
pub(super) fn constraint_kind(error: &SqlError) -> Option<&'static str> {
    match error.code() {
        1062 | 1169 => Some("unique"),
        1048 | 1364 => Some("not null"),
        1451 | 1452 => Some("foreign key"),
        3819 => Some("check"),
        _ if error.message().starts_with("Check constraint") => Some("check"),
        _ => None,
    }
}

/// An error of a statement that merges or settles.
pub(super) fn refused(error: SqlError, table: &str, task: &'static str) -> Stop {
    if error.is_rejection() {
        let message = error.message();
        return Stop::Refused(format!("table `{table}`: cannot {task}: {message}"));
    }
    Stop::Engine(error.during(task))
}

/// The error of a write that settles a row.
pub(super) fn stuck(error: SqlError, table: &Table) -> Stop {
    refused(error, &table.name, "settle a row")
}

/// Where the columns of `dolt_conflicts_<table>` stand. They are taken by place: a user's column
/// may have a name like one of the engine's.
struct Layout {
    /// Names without their prefix, and where they begin: base, ours, theirs.
    sides: [(usize, Vec<String>); 3],
    our_diff: usize,
    their_diff: usize,
    counts: Option<usize>,
}

impl Layout {
    fn of(columns: &[String]) -> Option<Self> {
        // from_root_ish, base…, our…, our_diff_type, their…, their_diff_type, dolt_conflict_id;
        // then three counts for a table without a primary key.
        let run = |from: usize, prefix: &str| {
            let names = columns.get(from..)?.iter();
            let names: Vec<String> =
                names.map_while(|name| name.strip_prefix(prefix).map(str::to_owned)).collect();
            Some((from, names))
        };
        let base = run(1, "base_")?;
        let mut ours = run(1 + base.1.len(), "our_")?;
        let our_diff = ours.0 + ours.1.len() - 1;
        let mut theirs = run(our_diff + 1, "their_")?;
        let their_diff = theirs.0 + theirs.1.len() - 1;
        (ours.1.pop()? == "diff_type" && theirs.1.pop()? == "diff_type").then_some(())?;
        let counts = (columns.len() == their_diff + 5).then_some(their_diff + 2);
        Some(Self { sides: [base, ours, theirs], our_diff, their_diff, counts })
    }

    fn read(&self, table: &Table, row: &[Value]) -> RowConflict {
        let side = |side: usize| {
            let (from, names) = &self.sides[side];
            let values = row.get(*from..from + names.len()).unwrap_or(&[]);
            table.pick(names, values)
        };
        let (our_type, their_type) = (text(row.get(self.our_diff)), text(row.get(self.their_diff)));
        let counts =
            self.counts.map_or([0; 3], |from| [0, 1, 2].map(|place| number(row.get(from + place))));
        RowConflict {
            base: (our_type != "added").then(|| side(0)),
            ours: (our_type != "removed").then(|| side(1)),
            theirs: (their_type != "removed").then(|| side(2)),
            counts,
        }
    }
}
