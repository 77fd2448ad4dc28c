//! Carrying rows from one definition of a table into another, by column name.

use super::super::connection::{During, text};
use super::super::ffi::Connection;
use super::super::table::Table;
use super::tokens::{Kind, tokens};
use crate::engine::total::same_value;
use crate::engine::{EngineResult, Value};

/// What a column holds for rows of a side that does not have it.
#[derive(Debug, Clone)]
pub(in super::super) struct Fill {
    /// The value: the default when it is a literal, else NULL, else a fixed value of the type.
    pub(in super::super) value: Value,
    /// Whether the column's default is an expression, which no merge evaluates.
    pub(super) stands_for_expression: bool,
    /// Whether the value is what the engine puts into the rows that are there when the column is
    /// added.
    is_exact: bool,
}

/// A table in the form that stands.
pub(in super::super) struct Form {
    /// The table.
    pub(super) table: Table,
    /// What each column holds for rows of a side that lacks it.
    pub(in super::super) fills: Vec<Fill>,
}

impl Form {
    /// Reads the form of a table that is there.
    pub(in super::super) fn load(connection: &Connection, table: Table) -> EngineResult<Self> {
        let sql = "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_xinfo(?) \
                   WHERE hidden = 0";
        let rows = connection.rows(sql, &[table.name.as_str().into()]);
        let mut fills = Vec::new();
        for row in rows.during("read a table's columns")? {
            let must_be = row.get(2) != Some(&Value::Integer(0));
            fills.push(fill(connection, text(row.get(1)), must_be, row.get(3))?);
        }
        Ok(Self { table, fills })
    }

    /// Says which column of `from` each column here is.
    pub(super) fn columns_of(&self, from: &Table) -> Columns {
        let places = self
            .table
            .columns
            .iter()
            .map(|name| from.columns.iter().position(|other| other.eq_ignore_ascii_case(name)));
        let places: Vec<_> = places.collect();
        let left_out =
            (0..from.columns.len()).filter(|place| !places.contains(&Some(*place))).collect();
        Columns { places, left_out }
    }

    /// Carries a row. `before` is the row that it was made from, in this form: a column that the
    /// side does not have any more keeps its value.
    pub(super) fn carry(
        &self,
        columns: &Columns,
        row: &[Value],
        before: Option<(&Columns, &[Value])>,
    ) -> Vec<Value> {
        let cell = |(column, place): (usize, &Option<usize>)| {
            if let Some(value) = place.and_then(|place| row.get(place)) {
                return value.clone();
            }
            let kept = before.filter(|(columns, _)| columns.places[column].is_some());
            kept.and_then(|(_, row)| row.get(column)).unwrap_or(&self.fills[column].value).clone()
        };
        columns.places.iter().enumerate().map(cell).collect()
    }
}

/// What a side's own definition puts into the columns that the side added.
#[derive(Debug)]
pub(super) struct Added(Vec<(usize, usize, Value)>);

impl Added {
    /// Finds the columns of `form` that the side has and the base has not.
    pub(super) fn new(form: &Form, base: &Columns, side: &Columns, own: &Form) -> Self {
        let places = base.places.iter().zip(&side.places).enumerate();
        let added = places.filter_map(|(column, (base, side))| {
            let place = side.filter(|_| base.is_none())?;
            let fill = own.fills.get(place).filter(|fill| fill.is_exact)?;
            (column < form.fills.len()).then(|| (column, place, fill.value.clone()))
        });
        Self(added.collect())
    }

    /// A cell that only the side's default put into a row of the base is no change: it holds what
    /// the form's default puts there. `carried` is `row` in the form.
    pub(super) fn reset_untouched(&self, form: &Form, row: &[Value], carried: &mut [Value]) {
        for (column, place, own) in &self.0 {
            if row.get(*place).is_some_and(|value| same_value(value, own)) {
                carried[*column].clone_from(&form.fills[*column].value);
            }
        }
    }
}

/// How the columns of one definition lie in another.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// For each column of the form, where it is in the other definition.
    pub(super) places: Vec<Option<usize>>,
    /// The columns of the other definition that the form does not have.
    pub(super) left_out: Vec<usize>,
}

impl Columns {
    /// The columns of the form that the other definition does not have.
    pub(super) fn missing(&self) -> impl Iterator<Item = usize> {
        self.places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.is_none())
            .map(|(column, _)| column)
    }

    /// The cells that the form has no column for and that this side set: positions in its row.
    pub(super) fn cells_left_out(
        &self,
        before: Option<(&Table, &[Value])>,
        (table, row): (&Table, &[Value]),
    ) -> Vec<usize> {
        let was = |place: usize| {
            let (before, row) = before?;
            let name = &table.columns[place];
            row.get(before.columns.iter().position(|other| other.eq_ignore_ascii_case(name))?)
        };
        let changed = |place: &&usize| match row.get(**place) {
            None => false,
            Some(value) => !same_value(was(**place).unwrap_or(&Value::Null), value),
        };
        self.left_out.iter().filter(changed).copied().collect()
    }
}

fn fill(
    connection: &Connection,
    kind: &str,
    must_be: bool,
    default: Option<&Value>,
) -> EngineResult<Fill> {
    let default = text(default);
    let literal = literal(default);
    if let Some(literal) = literal {
        let rows = connection.rows(&format!("SELECT {literal}"), &[]).during("read a default")?;
        let value = rows.into_iter().flatten().next().unwrap_or_default();
        if !(must_be && value == Value::Null) {
            return Ok(Fill { value, stands_for_expression: false, is_exact: true });
        }
    }
    let stands_for_expression = !default.is_empty() && literal.is_none();
    let value = if must_be { fixed(kind) } else { Value::Null };
    let is_exact = !stands_for_expression && !must_be;
    Ok(Fill { value, stands_for_expression, is_exact })
}

/// A value of a type, for a column that may not be NULL. The rules are those of SQLite's affinity.
fn fixed(kind: &str) -> Value {
    let kind = kind.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
    if has(&["INT"]) {
        Value::Integer(0)
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Value::Text(String::new())
    } else if has(&["BLOB"]) || kind.is_empty() {
        Value::Blob(Vec::new())
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Value::Real(0.0)
    } else {
        Value::Integer(0)
    }
}

/// The default when it is a literal: the only kind of expression that gives the same on every
/// machine without a doubt.
fn literal(default: &str) -> Option<&str> {
    let mut inner = default.trim();
    while let Some(rest) = inner.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        inner = rest.trim();
    }
    let all = tokens(inner);
    let unsigned = match all.split_first() {
        Some((sign, rest)) if sign.is_mark("-") || sign.is_mark("+") => rest,
        _ => &all[..],
    };
    let [one] = unsigned else { return None };
    let word = ["null", "true", "false"].iter().any(|word| one.is_word(word));
    // A parameter or a double-quoted text would begin otherwise.
    (one.kind == Kind::Literal || (word && unsigned.len() == all.len())).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_literals_are_defaults_of_other_sides_rows() {
        for text in ["1", "-1.5", "'a''b'", "x'00'", "NULL", "(7)", "((true))"] {
            assert!(literal(text).is_some(), "{text}");
        }
        for text in ["CURRENT_TIMESTAMP", "(hex(randomblob(4)))", "(1 + 1)", "", "(1) + (2)"] {
            assert_eq!(literal(text), None, "{text}");
        }
    }

    #[test]
    fn fixed_values_follow_the_type() {
        assert_eq!(fixed("VARCHAR(9)"), Value::Text(String::new()));
        assert_eq!(fixed("bigint"), Value::Integer(0));
        assert_eq!(fixed(""), Value::Blob(Vec::new()));
        assert_eq!(fixed("DOUBLE"), Value::Real(0.0));
        assert_eq!(fixed("NUMERIC"), Value::Integer(0));
    }
}
