//! The rows of a query: a list of objects, a table, or CSV.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::render::csv;
use crate::render::table::Table;
use crate::render::text::{clean, items, list, sql_value};

/// The rows as a list of objects. Of columns with one name, all but the first get a number.
pub(crate) fn objects(answer: &Value) -> Value {
    let columns = distinct(columns(answer));
    let object = |row: &Value| -> Value {
        let cells = columns.iter().cloned().zip(items(row).iter().cloned());
        cells.collect::<Map<String, Value>>().into()
    };
    list(answer, "rows").iter().map(object).collect::<Vec<_>>().into()
}

/// The rows for people. Columns of numbers are aligned to the right.
pub(crate) fn table(answer: &Value) -> String {
    let columns = columns(answer);
    if columns.is_empty() {
        return String::new();
    }
    let rows = list(answer, "rows");
    let numeric = |column: usize| {
        !rows.is_empty() && rows.iter().all(|row| row[column].is_number() || row[column].is_null())
    };
    let mut table = Table::new(columns.iter().map(|column| clean(column)))
        .align_right((0..columns.len()).map(numeric).collect());
    for row in rows {
        table.row(items(row).iter().map(sql_value));
    }
    table.render()
}

/// The rows as CSV, with a header.
pub(crate) fn csv(answer: &Value) -> String {
    let mut out = String::new();
    csv::line(
        &mut out,
        columns(answer).into_iter().map(|column| csv::Cell::Text(column.to_owned())),
    );
    for row in list(answer, "rows") {
        csv::line(&mut out, items(row).iter().map(csv::Cell::from_json));
    }
    out
}

fn columns(answer: &Value) -> Vec<&str> {
    list(answer, "columns").iter().filter_map(Value::as_str).collect()
}

/// Makes the names distinct: `a, a, b` becomes `a, a_2, b`, passing over names that are taken.
fn distinct(columns: Vec<&str>) -> Vec<String> {
    let mut taken: HashSet<String> = columns.iter().map(|column| (*column).to_owned()).collect();
    let mut seen: HashMap<&str, u64> = HashMap::new();
    let mut names = Vec::with_capacity(columns.len());
    for column in columns {
        // The number to try next for this name; the first of a name needs none.
        let number = seen.entry(column).or_insert(1);
        let mut name = column.to_owned();
        while *number > 1 && !taken.insert(name.clone()) {
            name = format!("{column}_{number}");
            *number += 1;
        }
        *number = (*number).max(2);
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn repeated_columns_keep_all_their_values() {
        assert_eq!(distinct(vec!["a", "a", "a_2", "a"]), ["a", "a_3", "a_2", "a_4"]);
        let answer = json!({ "columns": ["a", "a"], "rows": [[1, 2]] });
        assert_eq!(objects(&answer), json!([{ "a": 1, "a_2": 2 }]));
    }

    #[test]
    fn many_equal_columns_take_no_quadratic_time() {
        let columns = vec!["a"; 2_000];
        assert_eq!(distinct(columns).last().map(String::as_str), Some("a_2000"));
    }

    #[test]
    fn all_formats_tell_null_from_empty() {
        let answer = json!({ "columns": ["n", "t"], "rows": [[1, ""], [null, "NULL,\"x\""]] });
        assert_eq!(table(&answer), "   n  t\n----  --------\n   1\nNULL  NULL,\"x\"\n");
        assert_eq!(csv(&answer), "n,t\r\n1,\"\"\r\n,\"NULL,\"\"x\"\"\"\r\n");
    }
}
