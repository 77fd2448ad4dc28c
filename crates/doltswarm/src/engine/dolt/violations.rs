//! Settling constraint violations that a merge brings about.
//!
//! *Measured* on Dolt 2.2.0: what `DOLT_VERIFY_CONSTRAINTS` writes makes a commit in the same
//! transaction fail ("dangling ref"). So the merge is committed on the private branch first, what
//! is broken is found in a transaction that is rolled back, and what settles it amends the commit.

use std::collections::BTreeMap;

use doltswarm_core::id::CommitHash;

use super::diff;
use super::exec::reset;
use super::session::{During, Link, quote, text};
use super::settle::{Settlement, Stop, Want, kept_columns, same, stuck, version_json};
use super::table::{self, Table};
use crate::engine::{EngineResult, Value};

/// The branch that a merge is checked on.
pub(super) const BRANCH: &str = "swarm/check";

/// After this many passes theirs' versions are no longer put in: then rows only go, and so it ends.
pub(super) const ADOPTING_PASSES: usize = 8;

/// A row that breaks constraints of its table.
pub(super) struct Violation {
    kind: String,
    row: Vec<Value>,
}

/// What a pass does to a table.
pub(super) struct Plan {
    table: Table,
    violations: Vec<Violation>,
}

impl Plan {
    /// The table's name.
    pub(super) fn table(&self) -> &str {
        &self.table.name
    }
}

/// The tables that have violations, sorted.
pub(super) fn tables(link: &mut Link) -> EngineResult<Vec<String>> {
    let sql = "SELECT `table` FROM dolt_constraint_violations WHERE num_violations > 0 ORDER BY 1";
    let rows = link.rows(sql, &[]).during("list the violations")?;
    Ok(rows.iter().map(|row| text(row.first()).to_owned()).collect())
}

/// Reads the rows that are broken in each table.
pub(super) fn plans(link: &mut Link) -> EngineResult<Vec<Plan>> {
    tables(link)?.iter().map(|name| plan(link, name)).collect()
}

/// Looks for broken constraints in the tables that differ between `ours` and `merged`, and in those
/// that refer to one of them. Nothing of it stays.
///
/// *Measured* on Dolt 2.2.0: without `--all` only what differs from HEAD is looked at, and then a
/// value that moved from one row to another is taken for one that both have. So whole tables are
/// looked at, but no more of them than can be broken.
pub(super) fn verify(
    link: &mut Link,
    ours: &CommitHash,
    merged: &CommitHash,
) -> EngineResult<Vec<Plan>> {
    let mut names = diff::changed_tables(link, ours, merged)?;
    let sql = "SELECT DISTINCT table_name, referenced_table_name FROM \
               information_schema.key_column_usage WHERE table_schema = ? AND \
               referenced_table_name IS NOT NULL";
    reset(link, BRANCH, merged)?;
    let schema = link.rows("SELECT DATABASE()", &[]).during("read the foreign keys")?;
    let schema = schema.into_iter().flatten().next().unwrap_or_default();
    let keys = link.rows(sql, &[schema]).during("read the foreign keys")?;
    let changed = names.clone();
    let refers = keys
        .iter()
        .filter(|row| changed.iter().any(|name| name.eq_ignore_ascii_case(text(row.get(1)))));
    names.extend(refers.map(|row| text(row.first()).to_owned()));
    names.sort();
    names.dedup();
    let tables = link.rows("SHOW TABLES", &[]).during("list the tables")?;
    names.retain(|name| tables.iter().any(|row| text(row.first()).eq_ignore_ascii_case(name)));
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let marks = vec!["?"; names.len()].join(", ");
    let names: Vec<Value> = names.into_iter().map(Value::Text).collect();
    look(link, &format!("CALL DOLT_VERIFY_CONSTRAINTS('--all', {marks})"), &names)
}

/// Looks for broken constraints in all rows of the connection's branch. Nothing of it stays.
pub(super) fn verify_all(link: &mut Link) -> EngineResult<Vec<Plan>> {
    look(link, "CALL DOLT_VERIFY_CONSTRAINTS('--all')", &[])
}

fn look(link: &mut Link, verify: &str, names: &[Value]) -> EngineResult<Vec<Plan>> {
    link.run("START TRANSACTION", &[]).during("check the constraints")?;
    link.run(verify, names).during("check the constraints")?;
    let found = plans(link)?;
    link.run("ROLLBACK", &[]).during("check the constraints")?;
    Ok(found)
}

/// Reads what is broken in a table: one entry for each row, whatever it breaks; sorted.
fn plan(link: &mut Link, name: &str) -> EngineResult<Plan> {
    let table = table::require(link, name)?;
    let sql = format!("SELECT * FROM {}", quote(&format!("dolt_constraint_violations_{name}")));
    let (found, _) = link.read(&sql, &[], usize::MAX).during("read the violations")?;
    // from_root_ish, violation_type, the row, violation_info: by place, because a user's column may
    // have one of these names.
    let names = found.columns.get(2..found.columns.len().saturating_sub(1)).unwrap_or(&[]);
    let mut kinds: BTreeMap<String, (Vec<String>, Vec<Value>)> = BTreeMap::new();
    for row in &found.rows {
        let values = table.pick(names, row.get(2..).unwrap_or(&[]));
        let entry = kinds.entry(table.key_json(&values));
        let (kinds, _) = entry.or_insert_with(|| (Vec::new(), values));
        kinds.push(kind(text(row.get(1))));
    }
    let violations = kinds
        .into_values()
        // A row that breaks several constraints is recorded once, under the first word of them.
        .map(|(kinds, row)| Violation { kind: kinds.into_iter().min().unwrap_or_default(), row })
        .collect();
    Ok(Plan { table, violations })
}

/// The engine's word for a constraint, shortened to the name people know.
fn kind(word: &str) -> String {
    match word {
        "unique index" => "unique",
        "check constraint" => "check",
        word => word,
    }
    .to_owned()
}

/// Records the rows that the engine itself left out of the merge, because a column of theirs may
/// not be NULL in ours or the reverse. *Measured*: they are listed as violations and are in no
/// table.
pub(super) fn record_left_out(settlement: &mut Settlement<'_>) -> Result<(), Stop> {
    for Plan { table, violations } in plans(settlement.link)? {
        for Violation { kind, row } in violations {
            let is_there = match table.has_key() {
                true => table.get(settlement.link, &table.key_of(&row))?.is_some(),
                false => table.count_equal(settlement.link, None, &row)? > 0,
            };
            if kind == "not null" && !is_there {
                settlement.record_lost(&table, &kind, &row);
            }
        }
        let name = format!("dolt_constraint_violations_{}", table.name);
        let sql = format!("DELETE FROM {}", quote(&name));
        settlement.link.run(&sql, &[]).during("clear the violations")?;
    }
    Ok(())
}

/// Makes each violating row what it is in theirs. Returns whether that changed anything.
pub(super) fn adopt(settlement: &mut Settlement<'_>, plans: &[Plan]) -> Result<bool, Stop> {
    let mut changed = false;
    for Plan { table, violations } in plans {
        let theirs = settlement.theirs_of(table)?;
        let mut wants = Vec::new();
        for Violation { kind, row } in violations {
            if !table.has_key() {
                if !settlement.theirs_has(table, row)? {
                    remove_row(settlement, table, kind, row)?;
                    changed = true;
                }
                continue;
            }
            let key = table.key_of(row);
            let Some(row) = table.get(settlement.link, &key)? else { continue };
            let (mut winner, mut kept) = (None, Vec::new());
            if let Some(theirs) = &theirs
                && let Some(version) = settlement.row_in_theirs(table, theirs, &key)?
            {
                if same(&version, &row, table, theirs) {
                    continue;
                }
                winner = Some(version_json(&version, table, theirs));
                kept = kept_columns(table, theirs, &row);
            }
            settlement.record(table, kind, &row, winner);
            wants.push(Want { key, kept });
        }
        changed |= !wants.is_empty();
        settlement.adopt(table, wants)?;
    }
    Ok(changed)
}

/// Removes the violating rows.
pub(super) fn remove(settlement: &mut Settlement<'_>, plans: &[Plan]) -> Result<(), Stop> {
    for Plan { table, violations } in plans {
        for Violation { kind, row } in violations {
            remove_row(settlement, table, kind, row)?;
        }
    }
    Ok(())
}

fn remove_row(
    settlement: &mut Settlement<'_>,
    table: &Table,
    kind: &str,
    row: &[Value],
) -> Result<(), Stop> {
    if !table.has_key() {
        settlement.record(table, kind, row, None);
        let gone = table.delete_equal(settlement.link, row, 1);
        return gone.map_err(|error| stuck(error, table));
    }
    let key = table.key_of(row);
    let Some(row) = table.get(settlement.link, &key)? else { return Ok(()) };
    settlement.record(table, kind, &row, None);
    table.delete(settlement.link, &key).map_err(|error| stuck(error, table))
}
