//! What in a schema will hurt when several peers write, and what to do about it.

use std::collections::BTreeMap;

use doltswarm_core::commit::EngineKind;
use serde::Serialize;

use super::{QueryError, Swarm};
use crate::engine::Value;

/// From how many bytes on a row is named: it is merged, recorded and sent as a whole.
const LARGE_ROW_BYTES: i64 = 1 << 20;

/// Something that will hurt, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LintFinding {
    /// The table.
    pub table: String,
    /// The column, index or trigger; null if it is the table itself.
    pub subject: Option<String>,
    /// What kind of trouble, in one word: `counted_key`, `no_key`, `unique`, `default`,
    /// `large_rows` or `trigger`.
    pub rule: &'static str,
    /// What will happen.
    pub problem: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Swarm {
    /// Looks at main for what will hurt when several peers write: keys that each peer counts up by
    /// itself, tables without a key, columns that have to be unique, defaults that are not
    /// literals, rows above a megabyte, triggers. Sorted by table.
    ///
    /// Looks at every row, for the size. On the engine Dolt, rows and triggers are not looked at.
    ///
    /// # Errors
    ///
    /// As [`Swarm::query`].
    pub async fn lint(&self) -> Result<Vec<LintFinding>, QueryError> {
        let mut findings = match self.inner.shared.founding.engine {
            EngineKind::DoltLite => self.lint_file().await?,
            EngineKind::Dolt => self.lint_server().await?,
        };
        findings
            .sort_by(|a, b| (&a.table, a.rule, &a.subject).cmp(&(&b.table, b.rule, &b.subject)));
        Ok(findings)
    }

    async fn lint_file(&self) -> Result<Vec<LintFinding>, QueryError> {
        let sql = "SELECT t.name, c.name, upper(c.type), c.pk, c.dflt_value, c.hidden, \
                     (SELECT count(*) FROM pragma_table_xinfo(t.name) WHERE pk > 0) \
                   FROM sqlite_schema AS t, pragma_table_xinfo(t.name) AS c \
                   WHERE t.type = 'table' AND t.sql NOT LIKE 'create virtual%' \
                     AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND t.name <> 'swarm_conflicts' \
                     AND t.name NOT IN (SELECT name FROM pragma_table_list WHERE type = 'shadow') \
                   ORDER BY t.name, c.cid";
        let mut findings = Vec::new();
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in self.query(sql, Vec::new()).await?.rows {
            let [table, column, kind] = [0, 1, 2].map(|place| text(row.get(place)));
            let (rank, keys) = (number(row.get(3)), number(row.get(6)));
            let columns = tables.entry(table.clone()).or_default();
            if columns.is_empty() && keys == 0 {
                findings.push(no_key(&table));
            }
            columns.push(column.clone());
            if rank == 1 && keys == 1 && kind == "INTEGER" {
                findings.push(counted_key(&table, &column));
            }
            let default = text(row.get(4));
            if number(row.get(5)) == 0 && !default.is_empty() && !is_literal(&default) {
                findings.push(computed_default(&table, &column, &default));
            }
        }
        let sql = "SELECT t.name, i.name, (SELECT group_concat(coalesce(name, 'an expression'), ', ') \
                     FROM pragma_index_info(i.name)) \
                   FROM sqlite_schema AS t, pragma_index_list(t.name) AS i \
                   WHERE t.type = 'table' AND i.\"unique\" = 1 AND i.origin <> 'pk' \
                     AND t.name <> 'swarm_conflicts'";
        for row in self.query(sql, Vec::new()).await?.rows {
            findings.push(unique(&text(row.first()), &text(row.get(2))));
        }
        let sql = "SELECT tbl_name, name FROM sqlite_schema \
                   WHERE type = 'trigger' AND sql LIKE '%update%set%'";
        for row in self.query(sql, Vec::new()).await?.rows {
            findings.push(trigger(&text(row.first()), &text(row.get(1))));
        }
        for (table, columns) in tables {
            let sum =
                columns.iter().map(|name| format!("coalesce(octet_length({}), 0)", quote(name)));
            let sum = sum.collect::<Vec<_>>().join(" + ");
            let sql = format!("SELECT count(*) FROM {} WHERE {sum} > ?", quote(&table));
            let rows = self.query(&sql, vec![LARGE_ROW_BYTES.into()]).await?.rows;
            let count = number(rows.first().and_then(|row| row.first()));
            if count > 0 {
                findings.push(large_rows(&table, count));
            }
        }
        Ok(findings)
    }

    async fn lint_server(&self) -> Result<Vec<LintFinding>, QueryError> {
        let mut findings = Vec::new();
        let tables =
            self.query("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'", Vec::new()).await?;
        for row in tables.rows {
            let table = text(row.first());
            if table == "swarm_conflicts" {
                continue;
            }
            let name = format!("`{}`", table.replace('`', "``"));
            let columns = self.query(&format!("SHOW COLUMNS FROM {name}"), Vec::new()).await?.rows;
            if !columns.iter().any(|column| text(column.get(3)) == "PRI") {
                findings.push(no_key(&table));
            }
            for column in &columns {
                let (subject, extra) = (text(column.first()), text(column.get(5)).to_lowercase());
                if extra.contains("auto_increment") {
                    findings.push(counted_key(&table, &subject));
                }
                if extra.contains("default_generated") {
                    findings.push(computed_default(&table, &subject, &text(column.get(4))));
                }
            }
            let mut indexes: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for index in self.query(&format!("SHOW INDEX FROM {name}"), Vec::new()).await?.rows {
                let key = text(index.get(2));
                if number(index.get(1)) == 0 && key != "PRIMARY" {
                    indexes.entry(key).or_default().push(text(index.get(4)));
                }
            }
            findings.extend(indexes.values().map(|columns| unique(&table, &columns.join(", "))));
        }
        Ok(findings)
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::Text(text)) => text.clone(),
        _ => String::new(),
    }
}

fn number(value: Option<&Value>) -> i64 {
    match value {
        Some(Value::Integer(number)) => *number,
        Some(Value::Text(text)) => text.parse().unwrap_or(0),
        _ => 0,
    }
}

/// Whether a default is a value by itself, the same on every machine at every time.
fn is_literal(default: &str) -> bool {
    let bare = default.trim().trim_start_matches(['(', '+', '-', ' ']).trim_end_matches([')', ' ']);
    let lower = bare.to_ascii_lowercase();
    lower.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '\'' | '"' | '.'))
        || lower.starts_with("x'")
        || ["null", "true", "false"].contains(&lower.as_str())
}

fn finding(
    table: &str,
    subject: Option<&str>,
    rule: &'static str,
    problem: String,
    remedy: &'static str,
) -> LintFinding {
    let subject = subject.map(str::to_owned);
    LintFinding { table: table.to_owned(), subject, rule, problem, remedy }
}

fn counted_key(table: &str, column: &str) -> LintFinding {
    let problem = format!(
        "each peer counts `{column}` up by itself, so two that insert at once pick the same number, and \
         one of the two rows becomes a conflict"
    );
    let remedy = "use a key that no two peers make up alike, such as a UUID (in SQLite, \
                  lower(hex(randomblob(16))) in the INSERT), or a natural one";
    finding(table, Some(column), "counted_key", problem, remedy)
}

fn no_key(table: &str) -> LintFinding {
    let problem = "without a primary key rows are known by their values alone, so two changes of one \
                   row cannot be merged cell by cell";
    let remedy = "give the table a primary key";
    finding(table, None, "no_key", problem.to_owned(), remedy)
}

fn unique(table: &str, columns: &str) -> LintFinding {
    let problem = format!(
        "if two peers fill in the same {columns} at once, one of the two rows is pushed out and \
         recorded as a conflict"
    );
    let remedy = "make it the primary key, so that the two rows are one and merge; or drop the \
                  uniqueness";
    finding(table, Some(columns), "unique", problem, remedy)
}

fn computed_default(table: &str, column: &str, default: &str) -> LintFinding {
    let problem = format!(
        "the default {default} of `{column}` is another value at each time or on each machine, so a \
         merge cannot use it for rows of others"
    );
    let remedy = "use a literal as the default, and write the value in the INSERT";
    finding(table, Some(column), "default", problem, remedy)
}

fn large_rows(table: &str, count: i64) -> LintFinding {
    let problem =
        format!("{count} rows have more than 1 MB, and every peer carries each version of them");
    let remedy = "keep large contents in files, and their names or hashes in the table";
    finding(table, None, "large_rows", problem, remedy)
}

fn trigger(table: &str, name: &str) -> LintFinding {
    let problem = format!(
        "trigger `{name}` updates rows where the write is made and not in a merge, so a total that it \
         keeps comes out as one peer's and not as the sum"
    );
    let remedy = "compute such totals in a view";
    finding(table, Some(name), "trigger", problem, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_told_from_expressions() {
        for literal in ["0", "-1.5", "(+2)", "'now()'", "x'00'", "NULL", " true ", "\"a\"", ".5"] {
            assert!(is_literal(literal), "{literal}");
        }
        for other in ["CURRENT_TIMESTAMP", "(hex(randomblob(4)))", "(now())", "(a + 1)"] {
            assert!(!is_literal(other), "{other}");
        }
    }
}
