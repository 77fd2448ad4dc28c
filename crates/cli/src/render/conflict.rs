//! Conflicts: which version stands, and which lost.

use std::fmt::Write;

use serde_json::Value;

use crate::render::table::Table;
use crate::render::text::{clean, count, items, list as list_of, row, short, short_row, text};

/// The conflicts, a line each.
pub(crate) fn list(conflicts: &Value) -> String {
    if items(conflicts).is_empty() {
        return "no conflicts\n".to_owned();
    }
    let mut table = Table::new(["id", "kind", "table", "key", "state"]);
    for conflict in items(conflicts) {
        table.row([
            short(&text(conflict, "id")),
            text(conflict, "kind"),
            text(conflict, "table_name"),
            row(&conflict["row_key"]),
            text(conflict, "state"),
        ]);
    }
    format!(
        "{}\n`doltswarm conflicts show ID` shows the versions of one, \
         `doltswarm conflicts resolve ID --keep winner|loser` decides\n",
        table.render()
    )
}

/// What a resolution did.
pub(crate) fn resolved(report: &Value) -> String {
    match report["commit"].as_str() {
        Some(_) => {
            let resolved = count(list_of(report, "resolved").len() as u64, "conflict");
            format!("{}  {resolved} resolved\n", text(report, "commit"))
        }
        None => "no conflict is open, so there is no commit\n".to_owned(),
    }
}

/// One conflict with its versions.
pub(crate) fn show(conflict: &Value) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "conflict {}  {}", text(conflict, "id"), text(conflict, "state"));
    let _ = writeln!(
        out,
        "{} conflict in {} at {}",
        text(conflict, "kind"),
        text(conflict, "table_name"),
        row(&conflict["row_key"])
    );
    for (label, key) in [("base", "base"), ("lost", "loser"), ("stands", "winner")] {
        let _ = writeln!(out, "  {label:<7} {}", short_row(&conflict[key]));
        let by = &conflict[format!("{key}_by")];
        if by.is_object() {
            let (author, date) = (text(by, "author"), text(by, "date"));
            let message = by["message"].as_str().unwrap_or_default();
            let message = clean(message.lines().next().unwrap_or_default());
            let _ = writeln!(out, "          by {author}, {date}: {message}");
        }
    }
    if text(conflict, "state") == "open" {
        let id = short(&text(conflict, "id"));
        let _ = writeln!(
            out,
            "next: `doltswarm conflicts resolve {id} --keep winner|loser`, or `--set COLUMN=VALUE`"
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deleted_version_is_shown_as_no_row() {
        let conflict = json!({ "id": "c1", "kind": "row", "table_name": "t", "state": "open",
            "row_key": { "k": 1 }, "base": { "k": 1, "v": 0 }, "loser": { "k": 1, "v": 2 }, "winner": null });
        let text = show(&conflict);
        assert!(text.contains("lost    k=1, v=2"), "{text}");
        assert!(text.contains("stands  (no row)"), "{text}");
    }
}
