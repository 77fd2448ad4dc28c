//! What changed between two commits.

use std::collections::BTreeMap;

use doltswarm_core::id::CommitHash;

use super::commit::require;
use super::session::{During, Link, number, quote, text};
use super::store::commit_text;
use crate::engine::{EngineError, EngineResult, RowChange, TableDiff, Value};

/// Tables of the engine in which views, triggers and procedures are kept.
pub(super) const NO_TABLES: [&str; 2] = ["dolt_schemas", "dolt_procedures"];

/// What `dolt_diff_summary` says of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    /// The table's name before; empty if it was made.
    pub(super) from: String,
    /// The table's name after; empty if it was dropped.
    pub(super) to: String,
    /// Whether its definition changed.
    pub(super) schema_changed: bool,
}

/// The tables that differ between two commits, sorted.
///
/// *Measured* on Dolt 2.2.0: `dolt_diff_summary` leaves out a table whose primary key is another
/// one, with no more than a warning; `dolt_schema_diff` has it.
pub(super) fn summaries(
    link: &mut Link,
    from: &CommitHash,
    to: &CommitHash,
) -> EngineResult<Vec<Summary>> {
    require(link, from)?;
    require(link, to)?;
    let range = format!("('{}', '{}')", commit_text(from), commit_text(to));
    let sql = format!(
        "SELECT from_table_name, to_table_name, schema_change FROM dolt_diff_summary{range} \
         UNION ALL SELECT from_table_name, to_table_name, 1 FROM dolt_schema_diff{range}"
    );
    let rows = link.rows(&sql, &[]).during("list the changed tables")?;
    let mut found: BTreeMap<(String, String), bool> = BTreeMap::new();
    for row in &rows {
        let names = (text(row.first()).to_owned(), text(row.get(1)).to_owned());
        *found.entry(names).or_default() |= number(row.get(2)) == 1;
    }
    let read = |((from, to), schema_changed)| Summary { from, to, schema_changed };
    Ok(found.into_iter().map(read).collect())
}

/// The names of the tables that differ, sorted.
pub(super) fn changed_tables(
    link: &mut Link,
    from: &CommitHash,
    to: &CommitHash,
) -> EngineResult<Vec<String>> {
    let found = summaries(link, from, to)?;
    let mut names: Vec<_> = found.into_iter().flat_map(|table| [table.from, table.to]).collect();
    names.retain(|name| !name.is_empty() && !NO_TABLES.contains(&name.as_str()));
    names.sort();
    names.dedup();
    Ok(names)
}

/// The statement that makes a table with its indexes as it was at a commit.
pub(super) fn definition(
    link: &mut Link,
    at: &CommitHash,
    table: &str,
) -> EngineResult<Vec<String>> {
    require(link, at)?;
    let sql = format!("SHOW CREATE TABLE {} AS OF '{}'", quote(table), commit_text(at));
    let rows = match link.rows(&sql, &[]) {
        Err(error) if error.code() == 1146 || error.message().contains("table not found") => {
            return Ok(Vec::new());
        }
        rows => rows.during("read a definition")?,
    };
    Ok(rows.iter().map(|row| text(row.get(1)).to_owned()).collect())
}

/// The rows of a table that differ.
pub(super) fn diff(
    link: &mut Link,
    from: &CommitHash,
    to: &CommitHash,
    name: &str,
    limit: usize,
) -> EngineResult<TableDiff> {
    let found = summaries(link, from, to)?
        .into_iter()
        .find(|table| table.from.eq_ignore_ascii_case(name) || table.to.eq_ignore_ascii_case(name));
    let schema_changed = found.as_ref().is_some_and(|table| table.schema_changed);
    let table = match found {
        Some(Summary { from, to, .. }) => {
            if to.is_empty() {
                from
            } else {
                to
            }
        }
        None => name.to_owned(),
    };
    let sql = format!(
        "SELECT * FROM dolt_diff('{}', '{}', {})",
        commit_text(from),
        commit_text(to),
        literal(&table)
    );
    let (rows, truncated) = match link.read(&sql, &[], limit) {
        Err(error) if error.is_no_table() => {
            let message = format!("there is no table `{name}` in either commit");
            return Err(EngineError::Rejected { message });
        }
        read => read.during("compare a table")?,
    };
    let layout = Layout::of(&rows.columns).ok_or_else(|| EngineError::Failed {
        what: "compare a table",
        message: format!("the difference of `{name}` has unknown columns"),
    })?;
    let rows = rows.rows.iter().map(|row| layout.read(row)).collect();
    Ok(TableDiff { table, schema_changed, columns: layout.columns, rows, truncated })
}

/// Writes a text so that it is one, whatever is in it. A table function takes no parameters.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Where the columns of a difference stand: to…, to_commit, to_commit_date, from…, from_commit,
/// from_commit_date, diff_type. They are taken by place, because a user's column may have one of
/// these names.
struct Layout {
    columns: Vec<String>,
    /// For each of `columns`, where its value after and before stands.
    places: Vec<(Option<usize>, Option<usize>)>,
}

impl Layout {
    fn of(names: &[String]) -> Option<Self> {
        let run = |from: usize, prefix: &str| -> Option<Vec<String>> {
            let run = names.get(from..)?.iter();
            let run: Vec<String> =
                run.map_while(|name| name.strip_prefix(prefix).map(str::to_owned)).collect();
            // The last two are the commit and its date.
            Some(run.get(..run.len().checked_sub(2)?)?.to_vec())
        };
        let after = run(0, "to_")?;
        let start = after.len() + 2;
        let before = run(start, "from_")?;
        let mut columns = after.clone();
        columns.extend(before.iter().filter(|name| !after.contains(name)).cloned());
        let place = |list: &[String], name: &String| list.iter().position(|other| other == name);
        let places = columns
            .iter()
            .map(|name| (place(&after, name), place(&before, name).map(|place| start + place)));
        let places = places.collect();
        Some(Self { columns, places })
    }

    fn read(&self, row: &[Value]) -> RowChange {
        let value = |place: Option<usize>| {
            place.and_then(|place| row.get(place)).cloned().unwrap_or(Value::Null)
        };
        let kind = text(row.last());
        RowChange {
            before: (kind != "added")
                .then(|| self.places.iter().map(|(_, before)| value(*before)).collect()),
            after: (kind != "removed")
                .then(|| self.places.iter().map(|(after, _)| value(*after)).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_texts() {
        assert_eq!(literal(r"it's \'"), r"'it''s \\'''");
    }
}
