//! Reading back the large values of a record, which names them only by length and hash: they are in
//! the history.

use doltswarm_core::commit::EngineKind;
use doltswarm_core::limits::QUERY_ROWS_MAX;
use serde_json::Value as Json;

use super::cell::Cell;
use super::row::quote;
use crate::engine::{EngineError, EngineResult, Rows, Value};
use crate::swarm::Conflict;

/// How many commits are looked at for one value, the newest first: a few seconds.
const COMMITS_LOOKED_AT_MAX: usize = 20_000;

/// Runs a query, with its parameters and the number of rows that it may have.
type Query<'a> = dyn FnMut(&str, &[Value], usize) -> EngineResult<Rows> + 'a;

/// Where the values of records are read back from.
pub(in crate::swarm) struct History {
    kind: EngineKind,
    /// The commits, the newest first; read if a value is asked for.
    commits: Option<Vec<String>>,
}

/// A value that a record names by length and hash.
struct Wanted<'a> {
    table: &'a str,
    key: &'a Json,
    column: &'a str,
    bytes: u64,
    blake3: &'a str,
}

impl History {
    /// The history of main.
    pub(in crate::swarm) fn new(kind: EngineKind) -> Self {
        Self { kind, commits: None }
    }

    /// Puts the values in place of their lengths and hashes in all versions of `conflict`'s row.
    /// One that is larger than `bytes_max`, or of a column that the table does not have any more,
    /// stays as it is.
    pub(in crate::swarm) fn read_back_all(
        &mut self,
        query: &mut Query<'_>,
        conflict: &mut Conflict,
        bytes_max: u64,
    ) -> EngineResult<()> {
        let [mut base, mut loser, mut winner] =
            [&mut conflict.base, &mut conflict.loser, &mut conflict.winner].map(Json::take);
        for version in [&mut base, &mut loser, &mut winner] {
            self.read_back(query, conflict, version, bytes_max)?;
        }
        (conflict.base, conflict.loser, conflict.winner) = (base, loser, winner);
        Ok(())
    }

    fn read_back(
        &mut self,
        query: &mut Query<'_>,
        conflict: &Conflict,
        version: &mut Json,
        bytes_max: u64,
    ) -> EngineResult<()> {
        for (column, cell) in version.as_object_mut().into_iter().flatten() {
            let Some(Cell::Large { bytes }) = Cell::from_json(cell) else { continue };
            let Some(blake3) = cell["blake3"].as_str().filter(|_| bytes <= bytes_max) else {
                continue;
            };
            let (table, key) = (&conflict.table_name, &conflict.row_key);
            let wanted = Wanted { table, key, column, bytes, blake3 };
            if let Some(value) = self.find(query, &wanted)? {
                *cell = value.to_json();
            }
        }
        Ok(())
    }

    fn find(&mut self, query: &mut Query<'_>, wanted: &Wanted<'_>) -> EngineResult<Option<Value>> {
        let (condition, params) = wanted.condition(self.kind);
        let column = quote(wanted.column);
        let commits = match self.commits.take() {
            Some(commits) => commits,
            None => read_commits(query)?,
        };
        let mut found = None;
        for commit in &commits {
            let table = match self.kind {
                EngineKind::DoltLite => {
                    format!("{}('{commit}')", quote(&format!("dolt_at_{}", wanted.table)))
                }
                EngineKind::Dolt => format!("{} AS OF '{commit}'", quote(wanted.table)),
            };
            let sql = format!("SELECT {column} FROM {table} WHERE {condition}");
            let rows = match query(&sql, &params, QUERY_ROWS_MAX) {
                Ok(rows) => rows.rows,
                // DoltLite shows old rows with the columns of today; Dolt has no such table
                // everywhere.
                Err(EngineError::Rejected { .. }) if self.kind == EngineKind::DoltLite => break,
                Err(EngineError::Rejected { .. }) => continue,
                Err(error) => return Err(error),
            };
            found = rows.into_iter().flatten().find(|value| wanted.is(value));
            if found.is_some() {
                break;
            }
        }
        self.commits = Some(commits);
        Ok(found)
    }
}

fn read_commits(query: &mut Query<'_>) -> EngineResult<Vec<String>> {
    let sql = format!("SELECT commit_hash FROM dolt_log LIMIT {COMMITS_LOOKED_AT_MAX}");
    let rows = query(&sql, &[], COMMITS_LOOKED_AT_MAX)?.rows;
    let hash = |row: Vec<Value>| match row.into_iter().next() {
        Some(Value::Text(hash)) => Some(hash),
        _ => None,
    };
    // They go into the text of statements.
    let is_hash = |hash: &String| hash.bytes().all(|byte| byte.is_ascii_alphanumeric());
    Ok(rows.into_iter().filter_map(hash).filter(is_hash).collect())
}

impl Wanted<'_> {
    /// What the row must fulfil: the parts of its key that are recorded whole, and the length.
    fn condition(&self, kind: EngineKind) -> (String, Vec<Value>) {
        let length = i64::try_from(self.bytes).unwrap_or(i64::MAX);
        let column = quote(self.column);
        let mut terms = vec![match kind {
            EngineKind::DoltLite => format!("length(CAST({column} AS BLOB)) = ?"),
            EngineKind::Dolt => format!("LENGTH({column}) = ?"),
        }];
        let mut params = vec![Value::Integer(length)];
        for (column, cell) in self.key.as_object().into_iter().flatten() {
            match Cell::from_json(cell) {
                Some(Cell::Value(Value::Null)) => terms.push(format!("{} IS NULL", quote(column))),
                Some(Cell::Value(value)) => {
                    terms.push(format!("{} = ?", quote(column)));
                    params.push(value);
                }
                Some(Cell::Large { .. }) | None => {}
            }
        }
        (terms.join(" AND "), params)
    }

    fn is(&self, value: &Value) -> bool {
        let bytes = value.bytes().unwrap_or_default();
        bytes.len() as u64 == self.bytes && blake3::hash(bytes).to_hex().as_str() == self.blake3
    }
}
