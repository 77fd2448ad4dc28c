//! What foreign keys say about rows whose parent is gone, or has another key now.

use super::definitions::{Form, Identity};
use super::settle::{CONSTRAINT, Settlement, Stop, same, stuck};
use super::table::Table;
use super::violations::{record, remove_row};
use crate::engine::{EngineResult, Value};

/// A foreign key that a row breaks.
pub(super) struct BrokenKey {
    /// The columns of the row.
    columns: Vec<String>,
    parent: String,
    /// The columns of the parent that these refer to.
    referenced: Vec<String>,
    on_update: Rule,
    on_delete: Rule,
}

/// What becomes of the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Nothing that the definition names.
    NoAction,
    /// It follows its parent, or goes with it.
    Cascade,
    /// The columns become NULL.
    SetNull,
    /// The columns become their default.
    SetDefault,
}

impl Rule {
    fn parse(word: &str) -> Self {
        match word {
            "CASCADE" => Self::Cascade,
            "SET NULL" => Self::SetNull,
            "SET DEFAULT" => Self::SetDefault,
            _ => Self::NoAction,
        }
    }
}

impl BrokenKey {
    /// Reads what the engine says of a broken foreign key.
    pub(super) fn parse(info: &str) -> Option<Self> {
        let info: serde_json::Value = serde_json::from_str(info).ok()?;
        let names = |field: &str| {
            let names = info.get(field)?.as_array()?.iter();
            names.map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        let word = |field: &str| info.get(field)?.as_str();
        Some(Self {
            columns: names("Columns")?,
            parent: word("ReferencedTable")?.to_owned(),
            referenced: names("ReferencedColumns")?,
            on_update: Rule::parse(word("OnUpdate")?),
            on_delete: Rule::parse(word("OnDelete")?),
        })
    }

    fn has_rule(&self) -> bool {
        [self.on_update, self.on_delete].iter().any(|rule| *rule != Rule::NoAction)
    }

    /// Where the columns are in the row.
    fn places(&self, table: &Table) -> Option<Vec<usize>> {
        let place =
            |name: &String| table.columns.iter().position(|other| other.eq_ignore_ascii_case(name));
        self.columns.iter().map(place).collect()
    }
}

/// Does what a foreign key says about a row that breaks it. Returns whether that was possible.
///
/// A parent that the base has is the same row now if it has the same primary key. If it is there,
/// it was updated, else deleted.
pub(super) fn act(
    settlement: &mut Settlement<'_>,
    table: &Table,
    row: &[Value],
    key: &BrokenKey,
) -> Result<bool, Stop> {
    let connection = settlement.connection;
    let Some(places) = key.places(table).filter(|_| key.has_rule()) else { return Ok(false) };
    let values: Vec<_> = places.iter().filter_map(|place| row.get(*place).cloned()).collect();
    let updated = updated_parent(settlement, key, &values)?;
    let rule = if updated.is_some() { key.on_update } else { key.on_delete };
    let values = match (rule, updated) {
        (Rule::NoAction, _) => return Ok(false),
        (Rule::Cascade, None) => {
            remove_row(settlement, table, FOREIGN_KEY, row)?;
            return Ok(true);
        }
        (Rule::Cascade, Some(values)) => values,
        (Rule::SetNull, _) => vec![Value::Null; places.len()],
        (Rule::SetDefault, _) => {
            let fills = Form::load(connection, table.clone())?.fills;
            let fill = |place: &usize| fills.get(*place).map(|fill| fill.value.clone());
            places.iter().map(|place| fill(place).unwrap_or_default()).collect()
        }
    };
    let mut version = row.to_vec();
    for (place, value) in places.iter().zip(values) {
        version[*place] = value;
    }
    // A default without a parent of its own breaks the key again.
    if same(&version.iter().cloned().map(Some).collect(), row) {
        return Ok(false);
    }
    match table.update_equal(connection, row, &version) {
        Ok(()) => {}
        Err(error) if error.code & 0xff == CONSTRAINT => return Ok(false),
        Err(error) => return Err(stuck(error, table)),
    }
    record(settlement, table, FOREIGN_KEY, row, Some(table.json(&version)));
    Ok(true)
}

/// The kind of the records.
pub(super) const FOREIGN_KEY: &str = "foreign key";

/// What the parent that had `values` in the base has now, if it is still there and has others.
fn updated_parent(
    settlement: &mut Settlement<'_>,
    key: &BrokenKey,
    values: &[Value],
) -> EngineResult<Option<Vec<Value>>> {
    let connection = settlement.connection;
    let Some(now) = Table::load(connection, &key.parent)? else { return Ok(None) };
    let base = settlement.base()?;
    let Some(before) = Table::load(base, &key.parent)? else { return Ok(None) };
    let comparable = before.has_key()
        && before.key_names() == now.key_names()
        && before.has_columns(&key.referenced)
        && now.has_columns(&key.referenced);
    if !comparable {
        return Ok(None);
    }
    let identity = Identity::Columns(key.referenced.clone());
    let Some(parent) = before.find(base, &identity, values)? else { return Ok(None) };
    let Some(row) = now.get(connection, &before.key_of(&parent))? else { return Ok(None) };
    let value = |name: &String| {
        let place = now.columns.iter().position(|other| other.eq_ignore_ascii_case(name))?;
        row.get(place).filter(|value| **value != Value::Null).cloned()
    };
    let values_now: Option<Vec<_>> = key.referenced.iter().map(value).collect();
    Ok(values_now.filter(|now| now != values))
}
