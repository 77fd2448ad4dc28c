//! Triggers: refusing those that would call version control, and keeping them out of merges.

use doltswarm_core::id::CommitHash;

use super::commit::hash_value;
use super::session::{During, Link, quote, text};
use super::settle::{Stop, impossible};
use crate::engine::{EngineError, EngineResult};

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
pub(super) fn any(link: &mut Link) -> EngineResult<bool> {
    let sql = "SELECT 1 FROM dolt_schemas WHERE type = 'trigger' LIMIT 1";
    Ok(!link.rows(sql, &[]).during("read the triggers")?.is_empty())
}

/// Drops all triggers of the connection's branch.
pub(super) fn drop_all(link: &mut Link) -> Result<(), Stop> {
    let sql = "SELECT name FROM dolt_schemas WHERE type = 'trigger' ORDER BY name";
    let rows = link.rows(sql, &[]).during("read the triggers")?;
    for row in rows {
        let name = text(row.first());
        link.run(&format!("DROP TRIGGER {}", quote(name)), &[]).map_err(|error| {
            impossible(error, name, "merge beside a trigger", "drop the trigger on both sides")
        })?;
    }
    Ok(())
}

/// Gives the connection's branch the triggers, views and events that a commit has.
pub(super) fn restore(link: &mut Link, from: &CommitHash) -> EngineResult<()> {
    let sql = "CALL DOLT_CHECKOUT(?, '--', 'dolt_schemas')";
    link.run(sql, &[hash_value(from)]).map(|_| ()).during("put the triggers back")
}
