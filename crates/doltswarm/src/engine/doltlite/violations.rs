//! Settling constraint violations that a merge brings about.

use std::collections::{BTreeMap, BTreeSet};

use super::actions::{BrokenKey, FOREIGN_KEY, act};
use super::connection::{During, quote, text};
use super::record::{self, Record};
use super::settle::{Settlement, Stop, Want, same, stuck};
use super::table::{self, Table};
use crate::engine::{EngineError, EngineResult, Value};

/// After this many passes theirs' versions are no longer put in: then rows only go, and so it ends.
const ADOPTING_PASSES: u64 = 8;

/// A row that breaks constraints of its table.
struct Violation {
    kind: String,
    row: Vec<Value>,
    /// The foreign keys that it breaks.
    keys: Vec<BrokenKey>,
}

/// What a pass does to a table.
struct Plan {
    table: Table,
    violations: Vec<Violation>,
}

/// The tables that have violations, sorted.
pub(super) fn tables(settlement: &Settlement<'_>) -> EngineResult<Vec<String>> {
    let sql =
        "SELECT \"table\" FROM dolt_constraint_violations WHERE num_violations > 0 ORDER BY 1";
    let rows = settlement.connection.rows(sql, &[]).during("list the violations")?;
    Ok(rows.iter().map(|row| text(row.first()).to_owned()).collect())
}

/// Settles all violations, in passes. It ends: from the ninth pass on each pass removes rows.
pub(super) fn settle(settlement: &mut Settlement<'_>) -> Result<(), Stop> {
    for pass in 0_u64.. {
        let names = tables(settlement)?;
        if names.is_empty() {
            break;
        }
        let mut plans = Vec::new();
        for name in &names {
            plans.push(plan(settlement, name)?);
        }
        let changed = pass < ADOPTING_PASSES && adopt(settlement, &plans)?;
        if !changed {
            remove(settlement, &plans)?;
        }
        verify(settlement, &names)?;
    }
    Ok(())
}

/// Looks for violations again: in `names`, even where they are now as they were in ours, and in all
/// tables that differ from ours or refer to one that does.
pub(super) fn verify(settlement: &Settlement<'_>, names: &[String]) -> EngineResult<()> {
    let names: BTreeSet<_> = names.iter().chain(&settlement.watched).collect();
    if !names.is_empty() {
        let marks = vec!["?"; names.len()].join(", ");
        let sql = format!("SELECT dolt_verify_constraints('--all', {marks})");
        let names: Vec<Value> = names.iter().map(|name| name.as_str().into()).collect();
        settlement.connection.run(&sql, &names).during("check the constraints")?;
    }
    let sql = "SELECT dolt_verify_constraints()";
    settlement.connection.run(sql, &[]).during("check the constraints")
}

/// Reads what is broken in a table: one entry for each row, whatever it breaks; sorted.
fn plan(settlement: &Settlement<'_>, name: &str) -> EngineResult<Plan> {
    let connection = settlement.connection;
    let table = table::require(connection, name)?;
    let sql = format!("SELECT * FROM {}", quote(&format!("dolt_constraint_violations_{name}")));
    let rows = connection.rows(&sql, &[]).during("read the violations")?;
    let mut found: BTreeMap<String, Violation> = BTreeMap::new();
    let width = table.width();
    for row in rows {
        let picked = row.get(1..=width).and_then(|all| table.pick(all));
        let (Some(values), true) = (picked, row.len() == width + 2) else {
            return Err(EngineError::Failed {
                what: "read the violations",
                message: format!("`{name}` has other columns than its violations"),
            });
        };
        let kind = kind(text(row.first()));
        let broken = (kind == FOREIGN_KEY).then(|| BrokenKey::parse(text(row.last()))).flatten();
        let key = table.key_json(&values);
        let first = || Violation { kind: kind.clone(), row: values, keys: Vec::new() };
        let violation = found.entry(key).or_insert_with(first);
        // A row that breaks several constraints is recorded once, under the first word of them.
        if kind < violation.kind {
            violation.kind = kind;
        }
        violation.keys.extend(broken);
    }
    Ok(Plan { table, violations: found.into_values().collect() })
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

/// Makes each violating row what it is in theirs. Returns whether that changed anything.
fn adopt(settlement: &mut Settlement<'_>, plans: &[Plan]) -> Result<bool, Stop> {
    let mut changed = false;
    for Plan { table, violations } in plans {
        let mut wants = Vec::new();
        for violation in violations {
            let Violation { kind, row, keys } = violation;
            // One at a time: the row is another one then, and what it still breaks is found again.
            let mut acted = false;
            for key in keys {
                acted = acted || act(settlement, table, row, key)?;
            }
            if acted {
                changed = true;
                continue;
            }
            if !table.has_key() {
                if !settlement.theirs_has(table, row)? {
                    remove_row(settlement, table, kind, row)?;
                    changed = true;
                }
                continue;
            }
            let key = table.key_of(row);
            let Some(row) = table.get(settlement.connection, &key)? else { continue };
            let version = settlement.theirs(table, &key, Some(&row))?;
            if version.as_ref().is_some_and(|version| same(version, &row)) {
                continue;
            }
            let winner = version.as_ref().map(|version| table.version_json(version));
            record(settlement, table, kind, &row, winner);
            wants.push(Want { key, version });
        }
        changed |= !wants.is_empty();
        settlement.adopt(table, wants)?;
    }
    Ok(changed)
}

/// Removes the violating rows.
fn remove(settlement: &mut Settlement<'_>, plans: &[Plan]) -> Result<(), Stop> {
    for Plan { table, violations } in plans {
        for Violation { kind, row, .. } in violations {
            remove_row(settlement, table, kind, row)?;
        }
    }
    Ok(())
}

/// Removes a row, and records it.
pub(super) fn remove_row(
    settlement: &mut Settlement<'_>,
    table: &Table,
    kind: &str,
    row: &[Value],
) -> Result<(), Stop> {
    let connection = settlement.connection;
    if !table.has_key() {
        record(settlement, table, kind, row, None);
        return table.delete_equal(connection, row).map_err(|error| stuck(error, table));
    }
    let key = table.key_of(row);
    let Some(row) = table.get(connection, &key)? else { return Ok(()) };
    record(settlement, table, kind, &row, None);
    table.delete(connection, &key).map_err(|error| stuck(error, table))
}

/// Records a version of a row that breaks something.
pub(super) fn record(
    settlement: &mut Settlement<'_>,
    table: &Table,
    kind: &str,
    loser: &[Value],
    winner: Option<String>,
) {
    // The book of conflicts does not book itself.
    if table.name == record::TABLE {
        return;
    }
    settlement.records.push(Record {
        kind: kind.to_owned(),
        table: table.name.clone(),
        key: table.key_json(loser),
        base: None,
        loser: Some(table.json(loser)),
        winner,
    });
}
