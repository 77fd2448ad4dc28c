//! The log and the difference between commits.

use std::fmt::Write;

use serde_json::Value;

use crate::render::text::{clean, count, flag, items, list, row, short, text};

/// The log, a commit in two lines.
pub(crate) fn log(entries: &Value) -> String {
    let mut out = String::new();
    for entry in items(entries) {
        let kind = text(entry, "kind");
        let signer = entry["signer"].as_str().map(|id| {
            let name = text(entry, "signer_name");
            let name = if name.is_empty() { name } else { format!("{name} ") };
            format!("  signed by {name}{}", short(id))
        });
        let _ = writeln!(
            out,
            "{}  {}  {:<8}{}",
            text(entry, "commit"),
            text(entry, "date"),
            kind,
            signer.unwrap_or_default()
        );
        // Only the first line of a message, and made safe after that.
        let message = entry["message"].as_str().unwrap_or_default();
        let _ = writeln!(out, "    {}", clean(message.lines().next().unwrap_or_default()));
    }
    if out.is_empty() {
        out.push_str("there are no commits\n");
    }
    out
}

/// What changed, by table and row: `+` added, `-` removed, `~` modified.
pub(crate) fn diff(report: &Value) -> String {
    let mut out = format!("{} .. {}\n", text(report, "from"), text(report, "to"));
    for table in list(report, "tables") {
        let schema = if flag(table, "schema_changed") { "  (definition changed)" } else { "" };
        let _ = writeln!(out, "\n{}{schema}", text(table, "table"));
        for change in list(table, "rows") {
            match change["change"].as_str() {
                Some("added") => _ = writeln!(out, "  + {}", row(&change["after"])),
                Some("removed") => _ = writeln!(out, "  - {}", row(&change["before"])),
                _ => {
                    let _ = writeln!(out, "  ~ {}", row(&change["before"]));
                    let _ = writeln!(out, "  > {}", row(&changed_cells(change)));
                }
            }
        }
        if flag(table, "truncated") {
            let shown = count(list(table, "rows").len() as u64, "row");
            let _ = writeln!(out, "  … after {shown}; -n shows more");
        }
    }
    if list(report, "tables").is_empty() {
        out.push_str("no difference\n");
    }
    out
}

/// The cells of the row after that are not as before.
fn changed_cells(change: &Value) -> Value {
    match (&change["before"], &change["after"]) {
        (Value::Object(before), Value::Object(after)) => {
            let changed = after.iter().filter(|(column, cell)| before.get(*column) != Some(cell));
            Value::Object(changed.map(|(column, cell)| (column.clone(), cell.clone())).collect())
        }
        (_, after) => after.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_modified_row_shows_what_became_of_it() {
        let report = json!({ "from": "a", "to": "b", "tables": [{
            "table": "t", "schema_changed": false, "truncated": false,
            "rows": [{ "change": "modified", "before": { "k": 1, "v": 1 }, "after": { "k": 1, "v": 2 } }],
        }] });
        assert_eq!(diff(&report), "a .. b\n\nt\n  ~ k=1, v=1\n  > v=2\n");
    }

    #[test]
    fn a_log_shows_the_first_line_of_a_message() {
        let entries = json!([{ "commit": "c", "date": "d", "kind": "merge", "signer": null, "message": "a\nb" }]);
        assert_eq!(log(&entries), "c  d  merge   \n    a\n");
    }
}
