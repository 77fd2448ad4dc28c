//! User commits: making them, and describing any commit.

use std::cell::Cell;

use doltswarm_core::commit::CommitInfo;
use doltswarm_core::id::CommitHash;

use super::connection::{During, dirty_tables, hash_value, head, parse_hash, text, transaction};
use super::ffi::{Connection, SqliteError};
use super::guard::{Mode, harmless_triggers, is_plain};
use super::spacing::spaced;
use super::table::Table;
use super::{date, record};
use crate::engine::{
    CommitMeta, EngineError, EngineResult, Executed, Rows, Statement, TableShape, Transaction,
    Value, stop,
};

/// Creates `swarm_conflicts` and commits it with all uncommitted work.
pub(super) fn found(main: &Connection, meta: &CommitMeta) -> EngineResult<CommitHash> {
    let arguments = arguments(meta)?;
    transaction(main, || {
        require_parents(main)?;
        record::create_table(main)?;
        commit(main, arguments)?.ok_or(EngineError::Failed {
            what: "make the founding commit",
            message: "the engine found nothing to commit".to_owned(),
        })
    })
}

/// What a transaction did.
pub(super) struct Transacted {
    pub(super) executed: Executed,
    pub(super) schema_changed: bool,
}

/// For which schema plain statements need no judge.
#[derive(Default)]
pub(super) struct Trusted {
    schema: Option<Option<Value>>,
    plain: bool,
}

impl Trusted {
    /// Whether plain statements need no judge with this schema.
    fn plain(&mut self, main: &Connection, schema: &Option<Value>) -> EngineResult<bool> {
        if self.schema.as_ref() != Some(schema) {
            self.plain = harmless_triggers(main)?;
            self.schema = Some(schema.clone());
        }
        Ok(self.plain)
    }
}

/// Runs `work` and commits what it did, as one step.
pub(super) fn transact(
    main: &Connection,
    trusted: &mut Trusted,
    meta: &CommitMeta,
    work: &mut dyn FnMut(&mut dyn Transaction) -> EngineResult<()>,
) -> EngineResult<Transacted> {
    let arguments = arguments(meta)?;
    let mut committing = false;
    let result = transaction(main, || {
        let tables = dirty_tables(main)?;
        if !tables.is_empty() {
            return Err(EngineError::Dirty { tables });
        }
        let parent = head(main)?;
        let (rows, schema) = (main.total_changes(), schema_version(main)?);
        let trusts = Cell::new(trusted.plain(main, &schema)?);
        work(&mut Open { main, schema: &schema, trusts })?;
        // The work may have swallowed the error of a statement that ended the transaction.
        require_open(main)?;
        let rows_affected = main.total_changes() - rows;
        let schema_changed = schema_version(main)? != schema;
        if schema_changed {
            require_parents(main)?;
        }
        committing = true;
        let commit = commit(main, arguments)?;
        Ok(Transacted { executed: Executed { commit, parent, rows_affected }, schema_changed })
    });
    if result.is_err() && committing {
        // Nothing was uncommitted before, and a commit that fails may leave all of the transaction.
        match stop::shielded(|| discard(main)) {
            Ok(left) if left.is_empty() => {}
            Ok(left) => tracing::warn!(tables = ?left, "discarded what a failed commit left"),
            Err(error) => tracing::error!(%error, "a failed commit left changes in the database"),
        }
    }
    result
}

/// Throws away what is uncommitted and returns the tables that had changes, sorted.
///
/// A hard reset keeps tables that are not staged; the ignored ones are never staged.
pub(super) fn discard(main: &Connection) -> EngineResult<Vec<String>> {
    let what = "discard uncommitted work";
    let tables = transaction(main, || {
        let tables = dirty_tables(main)?;
        if !tables.is_empty() {
            main.run("SELECT dolt_add('-A')", &[]).during(what)?;
            main.run("SELECT dolt_reset('--hard')", &[]).during(what)?;
        }
        Ok(tables)
    })?;
    let left = dirty_tables(main)?;
    if left.is_empty() {
        return Ok(tables);
    }
    Err(EngineError::Failed { what, message: format!("changes stay in {}", left.join(", ")) })
}

/// Moves main back to `parent`, and leaves what was in its commits uncommitted.
pub(super) fn uncommit(main: &Connection, parent: &CommitHash) -> EngineResult<()> {
    let sql = "SELECT dolt_reset('--soft', ?)";
    main.run(sql, &[hash_value(parent)]).during("take a commit back")
}

/// The engine's number of the schema; another one for another schema.
fn schema_version(main: &Connection) -> EngineResult<Option<Value>> {
    let rows = main.hot("PRAGMA schema_version", &[]).during("read the schema's version")?;
    Ok(rows.into_iter().flatten().next())
}

/// Refuses foreign keys that refer to no table.
///
/// The engine's commit refuses them too, but it does so after it has ended the transaction, so that
/// everything in it stays, uncommitted, for good.
fn require_parents(main: &Connection) -> EngineResult<()> {
    let sql = "SELECT child.name, key.\"table\" \
               FROM sqlite_schema AS child, pragma_foreign_key_list(child.name) AS key \
               WHERE child.type = 'table' AND NOT EXISTS (SELECT 1 FROM sqlite_schema AS parent \
                   WHERE parent.type = 'table' AND parent.name = key.\"table\" COLLATE NOCASE) \
               ORDER BY 1, 2 LIMIT 1";
    let rows = main.rows(sql, &[]).during("check the foreign keys")?;
    let Some(row) = rows.first() else { return Ok(()) };
    let (child, parent) = (text(row.first()), text(row.get(1)));
    let message =
        format!("foreign key on table `{child}` requires the referenced table `{parent}`");
    Err(EngineError::Rejected { message })
}

/// Commits what other programs left uncommitted.
pub(super) fn pending(main: &Connection, meta: &CommitMeta) -> EngineResult<Executed> {
    let arguments = arguments(meta)?;
    transaction(main, || {
        let parent = head(main)?;
        require_parents(main)?;
        let commit = commit(main, arguments)?;
        Ok(Executed { commit, parent, rows_affected: 0 })
    })
}

/// The transaction that a caller's work runs in.
struct Open<'a> {
    main: &'a Connection,
    /// The schema at the beginning.
    schema: &'a Option<Value>,
    /// Whether plain statements need no judge.
    trusts: Cell<bool>,
}

impl Open<'_> {
    /// Runs a caller's statement, judged as one where its text leaves any doubt.
    fn judged<T>(
        &self,
        sql: &str,
        run: impl FnOnce(&Connection, &str) -> Result<T, SqliteError>,
    ) -> EngineResult<T> {
        let main = self.main;
        // A caller may swallow the error of the statement that ended the transaction; what follows
        // would then stand on its own.
        require_open(main)?;
        if self.trusts.get() && is_plain(sql) {
            let value = run(main, sql).map_err(SqliteError::of_caller)?;
            require_open(main)?;
            return Ok(value);
        }
        let result = main.judging(Mode::Change, || run(main, &spaced(sql)));
        let value = result.map_err(SqliteError::of_caller)?;
        require_open(main)?;
        // It may have made a trigger.
        if self.trusts.get() && schema_version(main)? != *self.schema {
            self.trusts.set(false);
        }
        Ok(value)
    }
}

/// `ON CONFLICT ROLLBACK` ends a transaction.
fn require_open(main: &Connection) -> EngineResult<()> {
    if main.in_transaction() {
        return Ok(());
    }
    let message = "a statement rolled the transaction back".to_owned();
    Err(EngineError::Rejected { message })
}

impl Transaction for Open<'_> {
    fn execute(&mut self, statement: &Statement) -> EngineResult<u64> {
        let before = self.main.total_changes();
        self.judged(&statement.sql, |main, sql| match statement.params.is_empty() {
            true => main.batch(sql),
            false => main.run(sql, &statement.params),
        })?;
        Ok(self.main.total_changes() - before)
    }

    fn query(&mut self, sql: &str, params: &[Value], limit: usize) -> EngineResult<Rows> {
        let (rows, more) = self.judged(sql, |main, sql| main.read(sql, params, limit))?;
        if more { Err(EngineError::TooLarge { limit }) } else { Ok(rows) }
    }

    fn table(&mut self, name: &str) -> EngineResult<Option<TableShape>> {
        let shape = |table: Table| TableShape {
            key: table.key_names().into_iter().map(str::to_owned).collect(),
            columns: table.columns,
        };
        Ok(Table::load(self.main, name)?.map(shape))
    }
}

/// The parameters of `dolt_commit`: message, author and date.
pub(super) fn arguments(meta: &CommitMeta) -> EngineResult<[Value; 3]> {
    let CommitMeta { author_name, author_email, message, seconds } = meta;
    let reserved = |c: char| matches!(c, '<' | '>') || c.is_control();
    for (what, part) in [("name", author_name), ("e-mail", author_email)] {
        if part.trim().is_empty() || part.contains(reserved) {
            let message = format!(
                "`{}` cannot be an author's {what}: it must not be empty or have `<`, `>` or \
                 control characters",
                part.escape_debug()
            );
            return Err(EngineError::Rejected { message });
        }
    }
    if message.is_empty() {
        let message = "the commit message is empty".to_owned();
        return Err(EngineError::Rejected { message });
    }
    let author = format!("{author_name} <{author_email}>");
    Ok([message.as_str().into(), author.into(), date::format(*seconds)?.into()])
}

/// Commits all that changed on the connection's branch; `None` where nothing did.
fn commit(main: &Connection, arguments: [Value; 3]) -> EngineResult<Option<CommitHash>> {
    let sql = "SELECT dolt_commit('-A', '--skip-empty', '-m', ?, '--author', ?, '--date', ?)";
    // A deferred foreign key is checked here, so the caller's statements may be to blame.
    let rows = main.hot(sql, &arguments).map_err(SqliteError::of_caller)?;
    match rows.first().and_then(|row| row.first()) {
        Some(Value::Integer(0)) => Ok(None),
        value => parse_hash(value).map(Some),
    }
}

/// Describes a commit, or `None` where the database does not hold it.
pub(super) fn info(
    connection: &Connection,
    commit: &CommitHash,
) -> EngineResult<Option<CommitInfo>> {
    let sql = "SELECT committer, email, date, message FROM dolt_log(?) LIMIT 1";
    let rows = match connection.hot(sql, &[hash_value(commit)]) {
        // How the engine says that it knows no such commit.
        Err(error) if error.message.contains("invalid dolt_log revision") => return Ok(None),
        rows => rows.during("read a commit")?,
    };
    let Some(row) = rows.first() else { return Ok(None) };
    let seconds = date::parse(text(row.get(2))).ok_or_else(|| EngineError::Failed {
        what: "read a commit's date",
        message: text(row.get(2)).to_owned(),
    })?;
    Ok(Some(CommitInfo {
        hash: *commit,
        parents: parents(connection, commit)?,
        author_name: text(row.first()).to_owned(),
        author_email: text(row.get(1)).to_owned(),
        message: text(row.get(3)).to_owned(),
        seconds,
    }))
}

/// A commit's parents in order.
pub(super) fn parents(
    connection: &Connection,
    commit: &CommitHash,
) -> EngineResult<Vec<CommitHash>> {
    let sql = "SELECT parent_hash FROM dolt_commit_ancestors \
               WHERE commit_hash = ? AND parent_hash IS NOT NULL ORDER BY parent_index";
    let rows = connection.hot(sql, &[hash_value(commit)]).during("read a commit's parents")?;
    rows.iter().map(|row| parse_hash(row.first())).collect()
}

/// Fails where the database does not hold `commit`.
pub(super) fn require(connection: &Connection, commit: &CommitHash) -> EngineResult<CommitInfo> {
    info(connection, commit)?.ok_or(EngineError::NoSuchCommit(*commit))
}
