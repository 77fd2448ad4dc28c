//! Views, triggers, events and procedures: keeping them out of the way of a merge, merging them
//! object by object, and taking away those that cannot work in the merged schema.
//!
//! The server keeps their texts in tables of its own, which nobody can write to. They carry the
//! moment at which each was made, so none may be made anew: they are only taken over from commits,
//! and dropped.

use doltswarm_core::id::CommitHash;

use super::commit::{Words, hash_value};
use super::exec::reset;
use super::lexer::{self, Token};
use super::merge::BRANCH;
use super::session::{During, Link, SqlError, quote, text};
use super::settle::Stop;
use super::store::commit_text;
use super::table::Table;
use crate::engine::record::Record;
use crate::engine::{EngineError, EngineResult, Value};

/// The server's tables of objects, with their columns for the name and the text.
pub(super) const TABLES: [(&str, &str, &str); 2] =
    [("dolt_schemas", "name", "fragment"), ("dolt_procedures", "name", "create_stmt")];

/// An object of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    /// `view`, `trigger`, `event` or `procedure`.
    kind: String,
    name: String,
    sql: String,
}

impl Object {
    fn record(&self) -> Record {
        Record::unusable(&self.kind, &self.name, &self.sql)
    }

    fn drop(&self, link: &mut Link) -> EngineResult<()> {
        let kind = self.kind.to_uppercase();
        link.run(&format!("DROP {kind} {}", quote(&self.name)), &[]).during("drop an object")?;
        Ok(())
    }
}

/// Fails where the database has a trigger or a view that calls the engine's version control.
pub(super) fn require_harmless(link: &mut Link) -> EngineResult<()> {
    let sql = "SELECT name FROM dolt_schemas WHERE type IN ('trigger', 'view', 'event') AND \
               LOWER(fragment) REGEXP 'call[^a-z0-9]+dolt_|dolt_(commit|reset|checkout|merge|branch|gc)[^a-z0-9_]*[(]' \
               LIMIT 1";
    let rows = link.rows(sql, &[]).during("read the triggers")?;
    let Some(row) = rows.first() else { return Ok(()) };
    let message = format!(
        "the trigger or view `{}` calls dolt's version control, which is not allowed here: the swarm \
         commits and moves branches itself; drop it",
        text(row.first())
    );
    Err(EngineError::Rejected { message })
}

/// Whether the connection's branch has triggers.
pub(super) fn any_trigger(link: &mut Link) -> EngineResult<bool> {
    let sql = "SELECT 1 FROM dolt_schemas WHERE type = 'trigger' LIMIT 1";
    Ok(!link.rows(sql, &[]).during("read the triggers")?.is_empty())
}

/// Drops all triggers of the connection's branch.
pub(super) fn drop_triggers(link: &mut Link) -> EngineResult<()> {
    list(link, "trigger")?.iter().try_for_each(|object| object.drop(link))
}

/// The objects of a kind on the connection's branch, sorted.
fn list(link: &mut Link, kind: &str) -> EngineResult<Vec<Object>> {
    let (sql, params): (&str, Vec<Value>) = match kind {
        "procedure" => ("SELECT name, create_stmt FROM dolt_procedures ORDER BY name", Vec::new()),
        kind => (
            "SELECT name, fragment FROM dolt_schemas WHERE type = ? ORDER BY name",
            vec![kind.into()],
        ),
    };
    let rows = link.rows(sql, &params).during("list the objects")?;
    let read = |row: &Vec<Value>| Object {
        kind: kind.to_owned(),
        name: text(row.first()).to_owned(),
        sql: text(row.get(1)).to_owned(),
    };
    Ok(rows.iter().map(read).collect())
}

/// The names of the views of a commit, in lower case.
pub(super) fn view_names(link: &mut Link, at: &CommitHash) -> EngineResult<Vec<String>> {
    let at = commit_text(at);
    let sql = format!("SELECT LOWER(name) FROM dolt_schemas AS OF '{at}' WHERE type = 'view'");
    match link.rows(&sql, &[]) {
        Err(error) if error.is_no_table() => Ok(Vec::new()),
        rows => {
            let rows = rows.during("list the views")?;
            Ok(rows.iter().map(|row| text(row.first()).to_owned()).collect())
        }
    }
}

/// Gives the connection's branch the objects that a commit has.
pub(super) fn put(link: &mut Link, from: &CommitHash) -> EngineResult<()> {
    for (table, _, _) in TABLES {
        let sql = format!("SELECT 1 FROM {table} AS OF '{}' LIMIT 1", commit_text(from));
        let is_there = match link.rows(&sql, &[]) {
            Err(error) if error.is_no_table() => false,
            rows => !rows.during("read the objects")?.is_empty(),
        };
        if is_there {
            let sql = "CALL DOLT_CHECKOUT(?, '--', ?)";
            let params = [hash_value(from), table.into()];
            link.run(sql, &params).during("put the objects back")?;
            continue;
        }
        let kinds: &[&str] =
            if table == "dolt_procedures" { &["procedure"] } else { &["trigger", "view", "event"] };
        for kind in kinds {
            list(link, kind)?.iter().try_for_each(|object| object.drop(link))?;
        }
    }
    Ok(())
}

/// Merges the objects that both sides changed: a commit that has those that stand.
///
/// They are rows of two tables, which never change their form; so the server merges them, in
/// commits that differ in nothing else.
pub(super) fn merge(
    link: &mut Link,
    words: &Words,
    [base, ours, theirs]: [&CommitHash; 3],
    records: &mut Vec<Record>,
) -> Result<CommitHash, Stop> {
    let base = with_objects(link, words, ours, base)?;
    let [ours_only, theirs_only] =
        [with_objects(link, words, &base, ours)?, with_objects(link, words, &base, theirs)?];
    if ours_only == theirs_only {
        return Ok(ours_only);
    }
    reset(link, BRANCH, &ours_only)?;
    words.tell(link)?;
    link.run("START TRANSACTION", &[]).during("begin a transaction")?;
    let sql = "CALL DOLT_MERGE('--no-ff', '--no-commit', ?)";
    link.run(sql, &[hash_value(&theirs_only)]).during("merge the objects")?;
    for (table, name, sql) in TABLES {
        let conflicts = conflicts(link, table, name, sql)?;
        if !conflicts.is_empty() {
            records.extend(conflicts);
            let sql = "CALL DOLT_CONFLICTS_RESOLVE('--theirs', ?)";
            link.run(sql, &[table.into()]).during("settle the objects")?;
        }
    }
    let made = words.commit(link, &["--allow-empty"]).during("commit the objects")?;
    made.ok_or_else(|| Stop::Engine(no_commit()))
}

fn no_commit() -> EngineError {
    EngineError::Failed {
        what: "commit the objects",
        message: "the server made no commit".to_owned(),
    }
}

/// Commits the objects of one commit on top of another.
fn with_objects(
    link: &mut Link,
    words: &Words,
    on: &CommitHash,
    of: &CommitHash,
) -> EngineResult<CommitHash> {
    reset(link, BRANCH, on)?;
    words.tell(link)?;
    put(link, of)?;
    let made = words.commit(link, &["--allow-empty"]).during("commit the objects")?;
    made.ok_or_else(no_commit)
}

/// The objects that both sides changed in two ways.
fn conflicts(link: &mut Link, table: &str, name: &str, sql: &str) -> EngineResult<Vec<Record>> {
    let kind =
        if table == "dolt_procedures" { "'procedure'" } else { "COALESCE(our_type, their_type)" };
    let query = format!(
        "SELECT {kind}, COALESCE(our_{name}, their_{name}), base_{sql}, our_{sql}, their_{sql} \
         FROM dolt_conflicts_{table} ORDER BY 1, 2"
    );
    let rows = match link.rows(&query, &[]) {
        Err(error) if error.is_no_table() => return Ok(Vec::new()),
        rows => rows.during("read the conflicts of objects")?,
    };
    let read = |row: &Vec<Value>| {
        let versions = [2, 3, 4].map(|column| match row.get(column) {
            Some(Value::Text(sql)) => Some(sql.as_str()),
            _ => None,
        });
        Record::definition(text(row.first()), text(row.get(1)), versions)
    };
    Ok(rows.iter().map(read).collect())
}

/// Takes away the views and triggers that cannot work on the connection's branch, and those views
/// that have the name of a table.
pub(super) fn remove_broken(
    link: &mut Link,
    tables: &[String],
    whole: &CommitHash,
) -> EngineResult<Vec<Record>> {
    let mut records = Vec::new();
    for view in list(link, "view")? {
        if tables.iter().any(|table| table.eq_ignore_ascii_case(&view.name)) {
            records.push(view.record());
            view.drop(link)?;
        }
    }
    loop {
        let mut broken = None;
        for view in list(link, "view")? {
            let sql = format!("EXPLAIN PLAN SELECT * FROM {}", quote(&view.name));
            if !accepts(link, &sql)? {
                broken = Some(view);
                break;
            }
        }
        // One view may use another, so all are looked at anew.
        let Some(view) = broken else { break };
        records.push(view.record());
        view.drop(link)?;
    }
    let guilty = broken_triggers(link, tables, whole)?;
    for trigger in &guilty {
        trigger.drop(link)?;
    }
    records.extend(guilty.iter().map(Object::record));
    Ok(records)
}

/// The triggers that let a statement on their table fail.
fn broken_triggers(
    link: &mut Link,
    tables: &[String],
    whole: &CommitHash,
) -> EngineResult<Vec<Object>> {
    let triggers = list(link, "trigger")?;
    let mut broken = Vec::new();
    let mut groups: std::collections::BTreeMap<(String, String), Vec<Object>> =
        std::collections::BTreeMap::new();
    for trigger in triggers {
        match trigger_target(&trigger.sql) {
            Some((event, table)) if has(tables, &table) => {
                groups.entry((table.to_lowercase(), event)).or_default().push(trigger);
            }
            _ => broken.push(trigger),
        }
    }
    // A trigger without its table lets the server fail on others.
    for trigger in &broken {
        trigger.drop(link)?;
    }
    for ((table, event), group) in groups {
        if prepares(link, &table, &event)? {
            continue;
        }
        for tried in &group {
            put_triggers(link, whole)?;
            for other in list(link, "trigger")? {
                if other.name != tried.name {
                    other.drop(link)?;
                }
            }
            if !prepares(link, &table, &event)? {
                broken.push(tried.clone());
            }
        }
    }
    put_triggers(link, whole)?;
    Ok(broken)
}

fn has(tables: &[String], name: &str) -> bool {
    tables.iter().any(|table| table.eq_ignore_ascii_case(name))
}

/// Gives the branch back what it had before triggers were tried one by one.
fn put_triggers(link: &mut Link, whole: &CommitHash) -> EngineResult<()> {
    let views = list(link, "view")?;
    put(link, whole)?;
    for view in list(link, "view")? {
        if !views.contains(&view) {
            view.drop(link)?;
        }
    }
    Ok(())
}

/// Whether a statement of the kind that fires a trigger can be prepared.
fn prepares(link: &mut Link, table: &str, event: &str) -> EngineResult<bool> {
    let Some(shape) = Table::load(link, table)? else { return Ok(true) };
    let quoted = quote(table);
    let names: Vec<_> = shape.columns.iter().map(|name| quote(name)).collect();
    let Some(first) = names.first() else { return Ok(true) };
    let names = names.join(", ");
    let sql = match event {
        "insert" => {
            format!("EXPLAIN PLAN INSERT INTO {quoted} ({names}) SELECT {names} FROM {quoted}")
        }
        "update" => format!("EXPLAIN PLAN UPDATE {quoted} SET {first} = {first}"),
        _ => format!("EXPLAIN PLAN DELETE FROM {quoted} WHERE {first} IS NULL"),
    };
    accepts(link, &sql)
}

fn accepts(link: &mut Link, sql: &str) -> EngineResult<bool> {
    match link.rows(sql, &[]) {
        Err(SqlError::Lost(message)) => Err(EngineError::Unreachable { message }),
        Err(error) if error.is_rejection() => Ok(false),
        rows => rows.during("prepare an object").map(|_| true),
    }
}

/// The event and the table of a trigger.
fn trigger_target(sql: &str) -> Option<(String, String)> {
    let pieces = lexer::split(sql);
    let tokens = &pieces.first()?.tokens;
    let is_time = |token: &Token<'_>| token.is("BEFORE") || token.is("AFTER");
    let at = tokens.iter().position(is_time)?;
    let event = tokens.get(at + 1)?.name()?.to_lowercase();
    tokens.get(at + 2).filter(|token| token.is("ON"))?;
    let mut table = tokens.get(at + 3)?.name()?;
    if let (Some(Token::Sign('.')), Some(after)) = (tokens.get(at + 4), tokens.get(at + 5)) {
        table = after.name()?;
    }
    Some((event, table.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_a_trigger_is_read_from_its_text() {
        let target = |sql| trigger_target(sql);
        let found = Some(("insert".to_owned(), "my t".to_owned()));
        assert_eq!(
            target("CREATE TRIGGER g BEFORE INSERT ON `my t` FOR EACH ROW SET NEW.a = 1"),
            found
        );
        assert_eq!(
            target("create trigger `after` after insert on d.`my t` for each row set @a = 1"),
            found
        );
        assert_eq!(target("CREATE VIEW v AS SELECT 1"), None);
    }
}
