//! Carrying ours' changed rows into a table that stands in the form of theirs.
//!
//! When the two sides define a table differently, the table is first brought to its merged form
//! with theirs' rows in it. That is committed, and is called the *form* here. Then each row that
//! ours changed is merged with it by cell. Rows are copied inside the server, so that no value
//! makes the way through this program and back.

use std::collections::{BTreeMap, BTreeSet};

use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::DOLT_ROWS_BATCH;

use super::definition::{Created, Filler};
use super::diff;
use super::session::{During, Link, SqlError, quote};
use super::settle::{Settlement, Stop, Want, constraint_kind};
use super::store::commit_text;
use super::table::{Table, equal_any};
use crate::engine::record::{Record, row_json};
use crate::engine::total::{RowMerge, merge_row, same_row, same_value};
use crate::engine::{EngineResult, Value};

/// A table as one commit has it.
#[derive(Debug, Clone)]
pub(super) struct Version {
    /// The commit.
    pub(super) commit: CommitHash,
    /// What the table is there; `None` if it is not there.
    pub(super) created: Option<Created>,
}

impl Version {
    fn parts(&self) -> impl Iterator<Item = &crate::engine::total::Part> {
        self.created.iter().flat_map(|created| &created.definition.columns)
    }

    fn has(&self, column: &str) -> bool {
        self.parts().any(|part| part.name.eq_ignore_ascii_case(column))
    }

    fn primary_key(&self) -> Option<&str> {
        self.created.as_ref().and_then(Created::primary_key)
    }

    /// The table's name in this version.
    pub(super) fn name(&self) -> &str {
        self.created.as_ref().map_or("", |created| created.name.as_str())
    }

    fn key_json(&self, columns: &[String], row: &[Value]) -> String {
        let key = self.created.as_ref().map(Created::key_columns).unwrap_or_default();
        if key.is_empty() {
            return self.json(columns, row);
        }
        let own = columns.iter().cloned().zip(row.iter().cloned());
        let (names, values): (Vec<_>, Vec<_>) = own.filter(|(name, _)| key.contains(name)).unzip();
        row_json(&names, &values)
    }

    /// The version's row as JSON, with the columns that it has and that are not computed.
    fn json(&self, columns: &[String], row: &[Value]) -> String {
        let is_own = |name: &str| {
            let part = self.parts().find(|part| part.name.eq_ignore_ascii_case(name));
            part.is_some_and(|part| !Created::is_generated(part))
        };
        let own = columns.iter().cloned().zip(row.iter().cloned());
        let (names, values): (Vec<_>, Vec<_>) = own.filter(|(name, _)| is_own(name)).unzip();
        row_json(&names, &values)
    }
}

/// One table that both sides changed.
pub(super) struct Carrier<'a> {
    /// The table in its merged form.
    pub(super) table: Table,
    /// The base's version.
    pub(super) base: &'a Version,
    /// Ours' version.
    pub(super) ours: &'a Version,
    /// Theirs' version.
    pub(super) theirs: &'a Version,
    /// The merged form with theirs' rows.
    pub(super) form: &'a Version,
}

/// The rows of a table that differ between two commits.
struct Rows {
    columns: Vec<String>,
    /// Before and after.
    rows: Vec<[Option<Vec<Value>>; 2]>,
}

/// What is known of one key.
struct Entry {
    key: Vec<Value>,
    base: Option<Vec<Value>>,
    ours: Option<Vec<Value>>,
}

/// What is to be written, by whether the form has no such row and which columns come from ours.
type Groups = BTreeMap<(bool, Vec<bool>), Vec<Vec<Value>>>;

impl Carrier<'_> {
    /// Merges ours' rows into the table.
    pub(super) fn carry(&self, settlement: &mut Settlement<'_>) -> Result<(), Stop> {
        self.record_dropped_cells(settlement)?;
        let changes = self.changes(settlement.link, self.ours)?;
        if !self.table.has_key() {
            return self.carry_keyless(settlement, &changes);
        }
        if !self.table.key_names().iter().all(|name| self.ours.has(name)) {
            for row in changes.rows.iter().filter_map(|[_, after]| after.as_ref()) {
                self.record_lost(settlement, &changes.columns, row);
            }
            return Ok(());
        }
        let form = self.form_rows(settlement.link)?;
        let (mut groups, mut gone) = (Groups::new(), Vec::new());
        for (text, entry) in self.entries(&changes) {
            let theirs = match form.get(&text) {
                Some(row) => row.clone(),
                None => entry.base.as_ref().map(|row| self.table.pick(&changes.columns, row)),
            };
            match self.decide(&changes.columns, &entry, theirs.as_deref()) {
                RowMerge::Theirs => {}
                RowMerge::Remove => gone.push(entry.key),
                RowMerge::Write(row) => {
                    let mask = self.mask(theirs.as_deref(), &row);
                    groups.entry((theirs.is_none(), mask)).or_default().push(entry.key);
                }
                RowMerge::Conflict => {
                    let columns = &changes.columns;
                    settlement.records.push(Record {
                        kind: "row".to_owned(),
                        table: self.table.name.clone(),
                        key: row_json(&self.table.key_names(), &entry.key),
                        base: entry.base.as_ref().map(|row| self.base.json(columns, row)),
                        loser: entry.ours.as_ref().map(|row| self.ours.json(columns, row)),
                        winner: theirs.map(|row| self.table.json(&row)),
                    });
                }
            }
        }
        self.write(settlement, groups, gone)
    }

    /// Decides about one row.
    fn decide(&self, columns: &[String], entry: &Entry, theirs: Option<&[Value]>) -> RowMerge {
        let [mut base, mut ours] =
            [&entry.base, &entry.ours].map(|row| row.as_ref().map(|r| self.table.pick(columns, r)));
        // A column that a version does not have was not changed by it.
        for (place, name) in self.table.columns.iter().enumerate() {
            let in_form = theirs.map_or(Value::Null, |row| row[place].clone());
            if !self.ours.has(name) {
                for row in [&mut base, &mut ours].into_iter().flatten() {
                    row[place] = in_form.clone();
                }
            } else if !self.base.has(name)
                && !self.theirs.has(name)
                && let Some(base) = &mut base
            {
                base[place] = in_form;
            }
        }
        merge_row(base.as_deref(), ours.as_deref(), theirs)
    }

    /// Which columns of a row that is written come from ours.
    fn mask(&self, theirs: Option<&[Value]>, row: &[Value]) -> Vec<bool> {
        let names = self.table.columns.iter().enumerate();
        let is_new =
            |place: usize| theirs.is_none_or(|theirs| !same_value(&theirs[place], &row[place]));
        names.map(|(place, name)| is_new(place) && self.ours.has(name)).collect()
    }

    /// The rows that differ between the base and a version. When the keys differ the server cannot
    /// compare them, and whole tables are read.
    fn changes(&self, link: &mut Link, version: &Version) -> EngineResult<Rows> {
        let key = self.form.primary_key();
        let same_key = |other: &Version| other.created.is_none() || other.primary_key() == key;
        if [self.base, self.ours, self.form].into_iter().all(same_key) {
            let name = version.name();
            let found = diff::diff(link, &self.base.commit, &version.commit, name, usize::MAX)?;
            let rows = found.rows.into_iter().map(|row| [row.before, row.after]).collect();
            return Ok(Rows { columns: found.columns, rows });
        }
        let (columns, after) = whole(link, version)?;
        let (own, before) = whole(link, self.base)?;
        let place = |name: &String| own.iter().position(|other| other.eq_ignore_ascii_case(name));
        let places: Vec<_> = columns.iter().map(place).collect();
        let lay = |row: Vec<Value>| -> Vec<Value> {
            let value = |place: &Option<usize>| place.and_then(|place| row.get(place)).cloned();
            places.iter().map(|place| value(place).unwrap_or_default()).collect()
        };
        let before: Vec<_> = before.into_iter().map(lay).collect();
        let texts = |rows: &[Vec<Value>]| rows.iter().map(|row| key_text(row)).collect();
        let (old, new): (BTreeSet<_>, BTreeSet<_>) = (texts(&before), texts(&after));
        let removed = before.into_iter().filter(|row| !new.contains(&key_text(row)));
        let mut rows: Vec<_> = removed.map(|row| [Some(row), None]).collect();
        let added = after.into_iter().filter(|row| !old.contains(&key_text(row)));
        rows.extend(added.map(|row| [None, Some(row)]));
        Ok(Rows { columns, rows })
    }

    /// Theirs' rows in the merged form that differ from the base, by key. `None` is a row that
    /// theirs removed.
    fn form_rows(&self, link: &mut Link) -> EngineResult<BTreeMap<String, Option<Vec<Value>>>> {
        let changes = self.changes(link, self.form)?;
        let mut found = BTreeMap::new();
        for [before, after] in &changes.rows {
            let pick = |row: &Vec<Value>| self.table.pick(&changes.columns, row);
            let (before, after) = (before.as_ref().map(pick), after.as_ref().map(pick));
            if let Some(row) = &before {
                found.entry(key_text(&self.table.key_of(row))).or_insert(None);
            }
            if let Some(row) = after {
                found.insert(key_text(&self.table.key_of(&row)), Some(row));
            }
        }
        Ok(found)
    }

    /// Ours' changes by key, sorted.
    fn entries(&self, changes: &Rows) -> BTreeMap<String, Entry> {
        let mut entries = BTreeMap::new();
        for row in &changes.rows {
            for (place, side) in row.iter().enumerate() {
                let Some(side) = side else { continue };
                let key = self.table.key_of(&self.table.pick(&changes.columns, side));
                let entry = entries.entry(key_text(&key));
                let entry = entry.or_insert(Entry { key, base: None, ours: None });
                let version = if place == 0 { &mut entry.base } else { &mut entry.ours };
                *version = Some(side.clone());
            }
        }
        entries
    }

    /// Records the cells that a side changed in a column that the merged table does not have.
    fn record_dropped_cells(&self, settlement: &mut Settlement<'_>) -> Result<(), Stop> {
        for version in [self.ours, self.theirs] {
            let is_lost = |part: &&crate::engine::total::Part| {
                !self.form.has(&part.name) && !Created::is_generated(part)
            };
            let lost: Vec<_> = version.parts().filter(is_lost).map(|p| p.name.clone()).collect();
            // Cells that it only took over from the base are in the history of both.
            if lost.is_empty() || version.created.is_none() {
                continue;
            }
            let changes = self.changes(settlement.link, version)?;
            for [before, after] in &changes.rows {
                let Some(after) = after else { continue };
                let cell = |row: &[Value], name: &String| {
                    let place = changes.columns.iter().position(|other| other == name)?;
                    row.get(place).cloned()
                };
                for name in &lost {
                    let now = cell(after, name).unwrap_or_default();
                    let was = before.as_ref().and_then(|row| cell(row, name));
                    if now == Value::Null || was.as_ref().is_some_and(|was| same_value(was, &now)) {
                        continue;
                    }
                    let names = std::slice::from_ref(name);
                    settlement.records.push(Record {
                        kind: "cell".to_owned(),
                        table: self.table.name.clone(),
                        key: self.table.key_json(&self.table.pick(&changes.columns, after)),
                        base: was.map(|was| row_json(names, &[was])),
                        loser: Some(row_json(names, &[now])),
                        winner: None,
                    });
                }
            }
        }
        Ok(())
    }

    fn record_lost(&self, settlement: &mut Settlement<'_>, columns: &[String], row: &[Value]) {
        settlement.records.push(Record {
            kind: "row".to_owned(),
            table: self.table.name.clone(),
            key: self.ours.key_json(columns, row),
            base: None,
            loser: Some(self.ours.json(columns, row)),
            winner: None,
        });
    }

    /// Removes and writes rows, many at a time.
    fn write(
        &self,
        settlement: &mut Settlement<'_>,
        groups: Groups,
        gone: Vec<Vec<Value>>,
    ) -> Result<(), Stop> {
        let replaced = groups.iter().filter(|((is_new, _), _)| !is_new);
        let all: Vec<_> = replaced.flat_map(|(_, keys)| keys.clone()).chain(gone).collect();
        for keys in all.chunks(DOLT_ROWS_BATCH) {
            let filter = equal_any("", &self.table.key_names(), keys.len());
            let sql = format!("DELETE FROM {} WHERE {filter}", quote(&self.table.name));
            let params: Vec<_> = keys.iter().flatten().cloned().collect();
            settlement.link.run(&sql, &params).during("remove rows")?;
        }
        for ((is_new, mask), keys) in groups {
            for keys in keys.chunks(DOLT_ROWS_BATCH) {
                match self.insert(settlement.link, is_new, &mask, keys) {
                    Ok(()) => {}
                    Err(error) if error.is_rejection() => {
                        for key in keys {
                            self.insert_one(settlement, is_new, &mask, key)?;
                        }
                    }
                    Err(error) => return Err(Stop::Engine(error.during("carry rows"))),
                }
            }
        }
        Ok(())
    }

    /// Writes one row; when the merged table does not take it, theirs' row stands, and ours' is
    /// recorded.
    fn insert_one(
        &self,
        settlement: &mut Settlement<'_>,
        is_new: bool,
        mask: &[bool],
        key: &[Value],
    ) -> Result<(), Stop> {
        let keys = [key.to_vec()];
        let error = match self.insert(settlement.link, is_new, mask, &keys) {
            Ok(()) => return Ok(()),
            Err(error) if error.is_rejection() => error,
            Err(error) => return Err(Stop::Engine(error.during("carry a row"))),
        };
        let kind = constraint_kind(&error).unwrap_or("row");
        let columns = self.ours.parts().filter(|part| !Created::is_generated(part));
        let columns: Vec<_> = columns.map(|part| part.name.clone()).collect();
        let names = columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "SELECT {names} FROM {} AS OF '{}' WHERE {}",
            quote(self.ours.name()),
            commit_text(&self.ours.commit),
            equal_any("", &self.table.key_names(), 1)
        );
        let rows = settlement.link.rows(&sql, key).during("read a row of ours")?;
        let winner = self.table.get_at(settlement.link, key, &self.form.commit)?;
        settlement.records.push(Record {
            kind: kind.to_owned(),
            table: self.table.name.clone(),
            key: row_json(&self.table.key_names(), key),
            base: None,
            loser: rows.first().map(|row| row_json(&columns, row)),
            winner: winner.map(|row| self.table.json(&row)),
        });
        settlement.adopt(&self.table, vec![Want { key: key.to_vec(), kept: Vec::new() }])
    }

    fn insert(
        &self,
        link: &mut Link,
        is_new: bool,
        mask: &[bool],
        keys: &[Vec<Value>],
    ) -> Result<(), SqlError> {
        let (mut into, mut from) = (Vec::new(), Vec::new());
        for (name, is_ours) in self.table.columns.iter().zip(mask) {
            let quoted = quote(name);
            let source = match (is_ours, is_new) {
                (true, _) => format!("y.{quoted}"),
                (false, false) => format!("x.{quoted}"),
                // The rows of the other side get no value that is computed now.
                (false, true) => match self.filler(name) {
                    Some(filler) => filler.sql().to_owned(),
                    None => continue,
                },
            };
            into.push(quoted);
            from.push(source);
        }
        let key_names = self.table.key_names();
        let filter = equal_any("", &key_names, keys.len());
        let side = |version: &Version| {
            format!(
                "(SELECT * FROM {} AS OF '{}' WHERE {filter})",
                quote(version.name()),
                commit_text(&version.commit)
            )
        };
        let mut params: Vec<_> = keys.iter().flatten().cloned().collect();
        let mut source = format!("{} AS y", side(self.ours));
        if !is_new {
            let same = key_names.iter().map(|name| format!("x.{0} = y.{0}", quote(name)));
            let same = same.collect::<Vec<_>>().join(" AND ");
            source.push_str(&format!(" JOIN {} AS x ON {same}", side(self.form)));
            params.extend(params.clone());
        }
        let (into, from) = (into.join(", "), from.join(", "));
        let table = quote(&self.table.name);
        let sql = format!("INSERT INTO {table} ({into}) SELECT {from} FROM {source}");
        link.run(&sql, &params).map(|_| ())
    }

    fn filler(&self, name: &str) -> Option<Filler> {
        self.form.parts().find(|part| part.name.eq_ignore_ascii_case(name)).and_then(Filler::of)
    }

    /// Without a key a row is known by its values, and a change is about how many there are.
    fn carry_keyless(&self, settlement: &mut Settlement<'_>, changes: &Rows) -> Result<(), Stop> {
        let mut counts: BTreeMap<String, (Vec<Value>, i64)> = BTreeMap::new();
        for row in &changes.rows {
            for (side, by) in row.iter().zip([-1, 1]) {
                let Some(side) = side else { continue };
                let row = self.table.pick(&changes.columns, side);
                counts.entry(key_text(&row)).or_insert((row, 0)).1 += by;
            }
        }
        let same_columns = [self.base, self.ours, self.form].into_iter().all(|version| {
            version.created.is_none() || self.table.columns.iter().all(|name| version.has(name))
        });
        for (row, by) in counts.into_values().filter(|(_, by)| *by != 0) {
            let now = self.table.count_equal(settlement.link, None, &row)?;
            let base = match same_columns && self.base.created.is_some() {
                true => self.table.count_equal(settlement.link, Some(&self.base.commit), &row)?,
                false if self.base.created.is_some() => now,
                false => 0,
            };
            let want = (base + by).max(0);
            if now != base && now != want {
                let shown = |count: i64| (count > 0).then(|| self.table.counted_json(&row, count));
                settlement.records.push(Record {
                    kind: "row".to_owned(),
                    table: self.table.name.clone(),
                    key: self.table.json(&row),
                    base: shown(base),
                    loser: shown(want),
                    winner: shown(now),
                });
                continue;
            }
            settlement.set_count(&self.table, &row, now, want)?;
        }
        Ok(())
    }
}

/// Takes out of a table of theirs the rows that ours removed and theirs left as they were, before
/// the table gets another key: they need not have one.
pub(super) fn drop_removed(
    link: &mut Link,
    base: &Version,
    ours: &Version,
    name: &str,
) -> Result<(), Stop> {
    let (columns, mut removed) = whole(link, base)?;
    let (own, kept) = whole(link, ours)?;
    let place = |name: &String| own.iter().position(|other| other.eq_ignore_ascii_case(name));
    let places: Vec<_> = columns.iter().map(place).collect();
    let shared = |row: &[Value], is_base: bool| -> String {
        let pairs = places.iter().enumerate();
        let at = pairs.filter_map(|(at, place)| Some(if is_base { at } else { (*place)? }));
        let has = |at: &usize| !is_base || places[*at].is_some();
        key_text(&at.filter(has).filter_map(|at| row.get(at).cloned()).collect::<Vec<_>>())
    };
    let kept: BTreeSet<_> = kept.iter().map(|row| shared(row, false)).collect();
    removed.retain(|row| !kept.contains(&shared(row, true)));
    let table = super::table::require(link, name)?;
    for row in removed {
        let row = table.pick(&columns, &row);
        table.delete_equal(link, &row, 1).during("remove a row")?;
    }
    Ok(())
}

/// All rows of a table in a commit, with the names of its columns.
fn whole(link: &mut Link, version: &Version) -> EngineResult<(Vec<String>, Vec<Vec<Value>>)> {
    if version.created.is_none() {
        return Ok((Vec::new(), Vec::new()));
    }
    let (name, at) = (quote(version.name()), commit_text(&version.commit));
    let sql = format!("SELECT * FROM {name} AS OF '{at}'");
    let (found, _) = link.read(&sql, &[], usize::MAX).during("read a table")?;
    Ok((found.columns, found.rows))
}

/// Values as a text that is the same only for the same values.
fn key_text(values: &[Value]) -> String {
    format!("{values:?}")
}

/// Records rows of ours that go with their table.
pub(super) fn record_rows(
    settlement: &mut Settlement<'_>,
    base: &Version,
    ours: &Version,
) -> Result<(), Stop> {
    let name = ours.name();
    let found = diff::diff(settlement.link, &base.commit, &ours.commit, name, usize::MAX)?;
    for row in &found.rows {
        let Some(after) = &row.after else { continue };
        let was = row.before.as_ref();
        if was.is_some_and(|was| same_row(was, after)) {
            continue;
        }
        settlement.records.push(Record {
            kind: "row".to_owned(),
            table: name.to_owned(),
            key: ours.key_json(&found.columns, after),
            base: was.map(|row| base.json(&found.columns, row)),
            loser: Some(ours.json(&found.columns, after)),
            winner: None,
        });
    }
    Ok(())
}
