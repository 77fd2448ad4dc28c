//! Deciding conflicts: one ordinary signed commit puts the chosen version of each row in its place
//! and marks the records as resolved.

pub(super) mod cell;
mod recorded;
pub(super) mod row;

use doltswarm_core::limits::QUERY_ROWS_MAX;

use self::recorded::History;
use self::row::{Row, Versions};
use super::ask::{CONFLICTS, conflict_of};
use super::{Conflict, ExecError, ExecReport, QueryError, Swarm};
use crate::engine::{EngineError, EngineResult, Statement, TableShape, Transaction, Value};

/// How many bytes a value has at most that [`Swarm::conflict_values`] reads back: three of them,
/// written as JSON, fit into an answer.
pub const SHOWN_VALUE_BYTES_MAX: u64 = 1 << 20;

/// How many digits of a conflict's id an error shows.
const SHORT_ID: usize = 10;

/// Which conflicts to resolve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConflictSelection {
    /// These, each by its id or the beginning of it.
    Ids(Vec<String>),
    /// All that are open, of one table or of all tables.
    Open {
        /// The table; `None` for all of them.
        table: Option<String>,
    },
}

/// What is to stand after a conflict is resolved.
#[derive(Debug, Clone, PartialEq)]
pub enum Keep {
    /// The version that stands already: only the record is marked.
    Winner,
    /// The version that lost, exactly as it was recorded; where a deletion lost, the row goes.
    Loser,
    /// Both, if the table has room for both: its row has another key, or the table has none.
    Both,
    /// The row as it is now (or, if it is gone, as it was in the version that lost) with these
    /// values in these columns.
    Set(Vec<(String, Value)>),
}

/// What resolving conflicts did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ResolveReport {
    /// The new commit; null if there was nothing to resolve.
    pub commit: Option<String>,
    /// The tip of main afterwards.
    pub main: String,
    /// Rows inserted, updated and deleted, the records among them.
    pub rows_affected: u64,
    /// The ids of the conflicts that are resolved now, sorted.
    pub resolved: Vec<String>,
}

impl Swarm {
    /// Resolves conflicts in one commit, signed by this peer: puts what `keep` says in place of
    /// each conflict's row and marks the records as resolved.
    ///
    /// Rows that refer to each other may be among them in any order. If any of them cannot be
    /// resolved as asked, none is.
    ///
    /// # Errors
    ///
    /// [`ExecError::Engine`] with [`EngineError::Rejected`] if an id fits no open conflict or more
    /// than one, the table or a column is gone, or the row cannot stand beside what is there now;
    /// the message names the conflict. Else as [`Swarm::exec_and_commit`].
    pub async fn resolve_conflicts(
        &self,
        which: ConflictSelection,
        keep: Keep,
        message: &str,
    ) -> Result<ResolveReport, ExecError> {
        let kind = self.inner.shared.founding.engine;
        let resolve = move |transaction: &mut dyn Transaction| {
            let conflicts = select(transaction, &which)?;
            put_all(transaction, &conflicts, &keep, &mut History::new(kind))?;
            let ids = conflicts.into_iter().map(|conflict| conflict.id).collect::<Vec<_>>();
            for id in &ids {
                let sql = "UPDATE swarm_conflicts SET state = 'resolved' WHERE id = ?";
                transaction.execute(&Statement::new(sql, vec![id.as_str().into()]))?;
            }
            Ok(ids)
        };
        let (report, resolved) = self.transaction(message, resolve).await?;
        let ExecReport { commit, main, rows_affected } = report;
        Ok(ResolveReport { commit, main, rows_affected, resolved })
    }
}

impl Swarm {
    /// The conflict with the values that its record names only by length and hash, read back from
    /// the history: those of at most [`SHOWN_VALUE_BYTES_MAX`] bytes, of columns that are still
    /// there.
    ///
    /// # Errors
    ///
    /// As [`Swarm::query`].
    pub async fn conflict_values(&self, mut conflict: Conflict) -> Result<Conflict, QueryError> {
        let kind = self.inner.shared.founding.engine;
        self.engine(move |engine| {
            let mut reader = engine.reader()?;
            let mut query = |sql: &str, params: &[Value], limit| reader.query(sql, params, limit);
            let mut history = History::new(kind);
            history.read_back_all(&mut query, &mut conflict, SHOWN_VALUE_BYTES_MAX)?;
            Ok(conflict)
        })
        .await
    }
}

/// A refusal of what the caller asked for.
pub(super) fn rejected(message: impl Into<String>) -> EngineError {
    EngineError::Rejected { message: message.into() }
}

/// The beginning of an id, for messages.
fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

/// The conflicts that are meant, sorted by id.
fn select(
    transaction: &mut dyn Transaction,
    which: &ConflictSelection,
) -> EngineResult<Vec<Conflict>> {
    let mut read = |condition: &str, params: &[Value]| {
        let sql = format!("{CONFLICTS} WHERE {condition} ORDER BY id");
        let rows = transaction.query(&sql, params, QUERY_ROWS_MAX)?.rows;
        Ok::<Vec<Conflict>, EngineError>(rows.into_iter().map(conflict_of).collect())
    };
    let ids = match which {
        ConflictSelection::Open { table: None } => return read("state = 'open'", &[]),
        ConflictSelection::Open { table: Some(table) } => {
            return read("state = 'open' AND table_name = ?", &[table.as_str().into()]);
        }
        ConflictSelection::Ids(ids) => ids,
    };
    let mut found: Vec<Conflict> = Vec::new();
    for id in ids {
        let length = i64::try_from(id.len()).unwrap_or(i64::MAX);
        let matching = read("substr(id, 1, ?) = ?", &[length.into(), id.as_str().into()])?;
        let [conflict] = &matching[..] else {
            let why = match matching.len() {
                0 => format!("there is no conflict `{id}`"),
                many => format!("{many} conflicts begin with `{id}`: give more digits"),
            };
            return Err(rejected(why));
        };
        if conflict.state == "resolved" {
            return Err(rejected(format!("conflict {} is resolved already", short(&conflict.id))));
        }
        found.push(conflict.clone());
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found.dedup_by(|a, b| a.id == b.id);
    Ok(found)
}

/// Puts the chosen versions in place. A row may need another one first that it refers to, so those
/// that are refused are tried again after the others, as long as that helps.
fn put_all(
    transaction: &mut dyn Transaction,
    conflicts: &[Conflict],
    keep: &Keep,
    history: &mut History,
) -> EngineResult<()> {
    let mut waiting: Vec<&Conflict> = conflicts.iter().collect();
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut refused = Vec::new();
        let mut first = None;
        for conflict in waiting {
            match put(transaction, conflict, keep, history) {
                Ok(()) => {}
                Err(EngineError::Rejected { message }) => {
                    let message = format!("conflict {}: {message}", short(&conflict.id));
                    first.get_or_insert(EngineError::Rejected { message });
                    refused.push(conflict);
                }
                Err(error) => return Err(error),
            }
        }
        match first {
            Some(error) if refused.len() == before => return Err(error),
            _ => waiting = refused,
        }
    }
    Ok(())
}

/// Puts what is to stand in the place of one conflict's row.
fn put(
    transaction: &mut dyn Transaction,
    conflict: &Conflict,
    keep: &Keep,
    history: &mut History,
) -> EngineResult<()> {
    if *keep == Keep::Winner {
        return Ok(());
    }
    let table = &conflict.table_name;
    let Some(shape) = transaction.table(table)? else {
        return Err(rejected(format!(
            "there is no table `{table}` any more: the winner is all that can be kept"
        )));
    };
    // One at a time, so that no more than one row's values are held.
    let mut whole = conflict.clone();
    let mut query = |sql: &str, params: &[Value], limit| transaction.query(sql, params, limit);
    history.read_back_all(&mut query, &mut whole, u64::MAX)?;
    let versions = Versions::of(&whole).ok_or_else(|| {
        rejected(format!(
            "it is about the definition of `{table}`, not about a row: keep the winner, and change \
             the definition with an exec"
        ))
    })?;
    if shape.key.is_empty() {
        return put_without_key(transaction, table, &shape, &versions, keep);
    }
    let mut row = Row::new(table, &shape, &versions.key)?;
    match keep {
        Keep::Winner => Ok(()),
        Keep::Loser => match &versions.loser {
            Some(loser) => row.put(transaction, loser),
            None => row.delete(transaction),
        },
        Keep::Both => match &versions.loser {
            None => Err(rejected("a deletion lost, and it cannot stand beside a row")),
            Some(_) if row.exists(transaction)? => Err(rejected(format!(
                "both versions have the key {}, under which `{table}` has room for one row: keep \
                 one of them, or set the columns",
                conflict.row_key
            ))),
            Some(loser) => row.put(transaction, loser),
        },
        Keep::Set(cells) => {
            let start = [&versions.loser, &versions.winner, &versions.base];
            row.set(transaction, start.into_iter().flatten().next(), cells)
        }
    }
}

/// In a table without a primary key a row is known by its values alone.
fn put_without_key(
    transaction: &mut dyn Transaction,
    table: &str,
    shape: &TableShape,
    versions: &Versions,
    keep: &Keep,
) -> EngineResult<()> {
    if matches!(keep, Keep::Set(_)) {
        return Err(rejected(format!(
            "`{table}` has no primary key, so there is no one row to set: keep the winner, and \
             change the rows with an exec"
        )));
    }
    if let Some(loser) = &versions.loser {
        row::add_equal(transaction, table, shape, loser)?;
    } else if *keep == Keep::Both {
        return Err(rejected("a deletion lost, and it cannot stand beside a row"));
    }
    match (&versions.winner, keep) {
        (Some(winner), Keep::Loser) => {
            row::remove_equal(transaction, table, shape, winner).map(|_| ())
        }
        _ => Ok(()),
    }
}
