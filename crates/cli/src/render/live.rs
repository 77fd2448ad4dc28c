//! How the rows of a query changed.

use serde_json::{Value, json};

use crate::render::rows;
use crate::render::text::{clean, items, list, sql_value};

/// The change with each row as an object: `added`, `changed` (with `before` and `after`),
/// `removed`.
pub(crate) fn objects(change: &Value) -> Value {
    let of =
        |rows: Vec<Value>| rows::objects(&json!({ "columns": change["columns"], "rows": rows }));
    let side = |place: usize| -> Value {
        of(list(change, "changed").iter().map(|pair| pair[place].clone()).collect())
    };
    let (before, after) = (side(0), side(1));
    let pairs = items(&before).iter().zip(items(&after));
    let changed: Vec<Value> =
        pairs.map(|(before, after)| json!({ "before": before, "after": after })).collect();
    json!({
        "added": of(list(change, "added").to_vec()),
        "changed": changed,
        "removed": of(list(change, "removed").to_vec()),
    })
}

/// The change in lines: `+ id=1 name=x` for a new row, `-` for one that is gone, and
/// `~ id=1 name=x -> y` for one that changed, with what is the same in its first column only.
pub(crate) fn lines(change: &Value) -> String {
    let columns: Vec<String> =
        list(change, "columns").iter().filter_map(Value::as_str).map(clean).collect();
    let whole = |sign: &str, row: &Value| {
        let cells = columns.iter().zip(items(row));
        let cells = cells.map(|(column, value)| format!(" {column}={}", sql_value(value)));
        format!("{sign}{}\n", cells.collect::<String>())
    };
    let differing = |pair: &Value| {
        let cells = columns.iter().zip(items(&pair[0])).zip(items(&pair[1])).enumerate();
        let cells = cells.filter_map(|(place, ((column, before), after))| {
            let (old, new) = (sql_value(before), sql_value(after));
            match before == after {
                true => (place == 0).then(|| format!(" {column}={new}")),
                false => Some(format!(" {column}={old} -> {new}")),
            }
        });
        format!("~{}\n", cells.collect::<String>())
    };
    let removed = list(change, "removed").iter().map(|row| whole("-", row));
    let changed = list(change, "changed").iter().map(differing);
    let added = list(change, "added").iter().map(|row| whole("+", row));
    removed.chain(changed).chain(added).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Value {
        json!({
            "columns": ["id", "a", "a"],
            "added": [[1, "x\n", null]],
            "changed": [[[2, "x", 1], [2, "y", 1]]],
            "removed": [[3, "z", 0]],
        })
    }

    #[test]
    fn a_change_is_lines_for_people() {
        let expected = "- id=3 a=z a=0\n~ id=2 a=x -> y\n+ id=1 a=x\\n a=NULL";
        assert_eq!(lines(&change()), expected);
    }

    #[test]
    fn a_change_is_objects_for_programs() {
        let expected = json!({
            "added": [{ "id": 1, "a": "x\n", "a_2": null }],
            "changed": [{
                "before": { "id": 2, "a": "x", "a_2": 1 },
                "after": { "id": 2, "a": "y", "a_2": 1 },
            }],
            "removed": [{ "id": 3, "a": "z", "a_2": 0 }],
        });
        assert_eq!(objects(&change()), expected);
    }
}
