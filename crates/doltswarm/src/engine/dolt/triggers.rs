//! Triggers, views and procedures that another program made and that would call version control.
//!
//! The texts of users' statements are judged, but what they set off is not in them.

use super::session::{During, Link, text};
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
