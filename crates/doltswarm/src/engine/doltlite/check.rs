//! Whether a commit can be worked with: its schema parses, and its views and triggers do what they
//! say.
//!
//! The engine commits and merges definitions that it cannot read again, and a view or a trigger may
//! name what is gone. A commit that becomes main with such a schema stops every node. So a
//! throw-away connection opens it before. What it finds is a function of the schema, so a commit
//! that changes rows alone costs the reading of two chunks.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use doltswarm_core::id::{ChunkHash, CommitHash};
use doltswarm_core::limits::{
    INSPECT_STEPS_MAX, INSPECT_TIME_MAX, SCHEMAS_KNOWN_MAX, WRITTEN_CHUNK_BYTES_MAX,
};

use super::chunks::{DoltLiteChunks, schema_of};
use super::connection::{During, MALFORMED, Purpose, open_branch, quote, text};
use super::ffi::{Connection, SqliteError};
use super::keeper::Keeper;
use super::sizes::too_large;
use crate::engine::stop;
use crate::engine::{EngineError, EngineResult, Value};

/// The branch on which commits are opened. The engine compiles no triggers at a bare commit.
const BRANCH: &str = "swarm/check";

/// What other programs may have and this one has not, so that nothing is wrong with the commit.
const FOREIGN: [&str; 3] =
    ["no such function: ", "no such module: ", "no such collation sequence: "];

/// Whether the engine rejects a statement for what other programs may have and this one has not.
pub(super) fn is_lack(error: &SqliteError) -> bool {
    FOREIGN.iter().any(|words| error.message.starts_with(words))
}

/// What is known of schemas.
#[derive(Default)]
pub(super) struct Checker {
    /// What is wrong with each schema, by its hash; most have nothing.
    known: BTreeMap<ChunkHash, Vec<String>>,
    /// Opened by the first commit that is looked at.
    chunks: Option<DoltLiteChunks>,
    chunk_limit: ChunkLimit,
    budget: CheckBudget,
}

/// How much it may take to look at one schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct CheckBudget {
    pub(super) steps: u64,
    pub(super) time: Duration,
}

impl Default for CheckBudget {
    fn default() -> Self {
        Self { steps: INSPECT_STEPS_MAX, time: INSPECT_TIME_MAX }
    }
}

/// The largest chunk that may be written, in bytes.
struct ChunkLimit(usize);

impl Default for ChunkLimit {
    fn default() -> Self {
        Self(WRITTEN_CHUNK_BYTES_MAX)
    }
}

impl Checker {
    /// Sets how large a chunk may be that is written.
    #[cfg(test)]
    pub(super) fn set_chunk_limit(&mut self, bytes: usize) {
        self.chunk_limit = ChunkLimit(bytes);
    }

    /// Sets how much it may take to look at one schema, and forgets what was looked at.
    #[cfg(test)]
    pub(super) fn set_budget(&mut self, budget: CheckBudget) {
        self.budget = budget;
        self.known.clear();
    }

    /// What is wrong with the schema of `commit`, in the order of the objects' names.
    pub(super) fn faults(
        &mut self,
        path: &Path,
        keeper: &Keeper,
        commit: &CommitHash,
    ) -> EngineResult<Vec<String>> {
        let schema = self.schema(path, commit)?;
        if let Some(faults) = self.known.get(&schema) {
            return Ok(faults.clone());
        }
        keeper.point(BRANCH, commit)?;
        let faults = stop::limited(self.budget.steps, self.budget.time, || look(path))?;
        // Then it says nothing about the commit.
        if let Some(reason) = stop::requested() {
            return Err(EngineError::Stopped { reason: reason.to_string() });
        }
        if self.known.len() >= SCHEMAS_KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(schema, faults.clone());
        Ok(faults)
    }

    /// What is too large to travel in `commit`, or in a commit between it and `since`.
    pub(super) fn too_large(
        &mut self,
        path: &Path,
        commit: &CommitHash,
        since: Option<&CommitHash>,
    ) -> EngineResult<Option<String>> {
        let limit = self.chunk_limit.0;
        too_large(self.chunks(path)?, commit, since, limit)
    }

    fn schema(&mut self, path: &Path, commit: &CommitHash) -> EngineResult<ChunkHash> {
        schema_of(self.chunks(path)?, commit)
    }

    fn chunks(&mut self, path: &Path) -> EngineResult<&mut DoltLiteChunks> {
        match &mut self.chunks {
            Some(chunks) => Ok(chunks),
            none => Ok(none.insert(DoltLiteChunks::open(path)?)),
        }
    }
}

/// Opens what is on the branch and looks at everything.
fn look(path: &Path) -> EngineResult<Vec<String>> {
    let connection = match open_branch(path, BRANCH, Purpose::Beside) {
        Ok(connection) => connection,
        Err(EngineError::Corrupt { message }) if message.contains(MALFORMED) => {
            let place = message.find(MALFORMED).unwrap_or(0);
            return Ok(vec![message[place..].to_owned()]);
        }
        Err(EngineError::Stopped { reason }) => return Ok(vec![too_long(&reason)]),
        Err(error) => return Err(error),
    };
    let mut faults = Vec::new();
    match look_at_objects(&connection, &mut faults) {
        Ok(()) => {}
        Err(EngineError::Stopped { reason }) => faults.push(too_long(&reason)),
        Err(error) => return Err(error),
    }
    Ok(faults)
}

fn too_long(reason: &str) -> String {
    format!("its views and triggers cannot be prepared: {reason}")
}

fn look_at_objects(connection: &Connection, faults: &mut Vec<String>) -> EngineResult<()> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY name";
    for row in connection.rows(sql, &[]).during("list the views")? {
        let name = text(row.first());
        let sql = format!("SELECT * FROM {}", quote(name));
        note(faults, &format!("view `{name}`"), connection.prepares(&sql))?;
    }
    for table in triggered(connection)? {
        let what = format!("triggers of `{}`", table.name);
        let changes = match changes(connection, &table.name) {
            Ok(changes) => changes,
            Err(error) => {
                note(faults, &what, Err(error))?;
                continue;
            }
        };
        for sql in changes {
            match connection.prepares(&sql) {
                Err(error) if table.takes_no(&error) => {}
                result => note(faults, &what, result)?,
            }
        }
    }
    Ok(())
}

/// A table or a view with triggers.
pub(super) struct Triggered {
    pub(super) name: String,
    is_view: bool,
}

impl Triggered {
    /// Whether an error says that this view has no trigger for a change: a view takes what its
    /// triggers take.
    pub(super) fn takes_no(&self, error: &SqliteError) -> bool {
        self.is_view && error.message.contains("because it is a view")
    }
}

/// The tables and views with triggers, sorted by name.
pub(super) fn triggered(connection: &Connection) -> EngineResult<Vec<Triggered>> {
    let sql = "SELECT DISTINCT tbl_name, (SELECT type FROM sqlite_schema AS owner \
                   WHERE owner.name = made.tbl_name AND owner.type IN ('table', 'view')) \
               FROM sqlite_schema AS made WHERE type = 'trigger' ORDER BY tbl_name";
    let rows = connection.rows(sql, &[]).during("list the triggers")?;
    let table = |row: &Vec<Value>| Triggered {
        name: text(row.first()).to_owned(),
        is_view: text(row.get(1)) == "view",
    };
    Ok(rows.iter().map(table).collect())
}

/// An insert, an update of every column, and a delete.
pub(super) fn changes(connection: &Connection, table: &str) -> Result<Vec<String>, SqliteError> {
    let sql = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid";
    let rows = connection.rows(sql, &[table.into()])?;
    let columns = rows.iter().map(|row| quote(text(row.first())));
    let set: Vec<_> = columns.map(|column| format!("{column} = {column}")).collect();
    let table = quote(table);
    let mut changes =
        vec![format!("INSERT INTO {table} DEFAULT VALUES"), format!("DELETE FROM {table}")];
    if !set.is_empty() {
        changes.push(format!("UPDATE {table} SET {}", set.join(", ")));
    }
    Ok(changes)
}

/// Takes note of a statement that the engine rejects.
fn note(faults: &mut Vec<String>, what: &str, result: Result<(), SqliteError>) -> EngineResult<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if is_lack(&error) => Ok(()),
        Err(error) if error.is_rejection() => {
            faults.push(format!("{what}: {}", error.message));
            Ok(())
        }
        Err(error) => Err(error.during("check the schema")),
    }
}
