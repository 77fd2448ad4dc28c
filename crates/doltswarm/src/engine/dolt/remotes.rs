//! The two remotes of a database: stores of files in the node's folder.

use super::session::{During, Link, text};
use crate::engine::EngineResult;

/// Makes a remote stand for a URL.
pub(super) fn point(link: &mut Link, name: &str, url: &str) -> EngineResult<()> {
    let sql = "SELECT url FROM dolt_remotes WHERE name = ?";
    let rows = link.rows(sql, &[name.into()]).during("read the remotes")?;
    match rows.first() {
        Some(row) if text(row.first()) == url => return Ok(()),
        Some(_) => remove(link, name)?,
        None => {}
    }
    let sql = "CALL DOLT_REMOTE('add', ?, ?)";
    link.run(sql, &[name.into(), url.into()]).map(|_| ()).during("name a remote")
}

/// Forgets a remote, if there is one.
pub(super) fn forget(link: &mut Link, name: &str) -> EngineResult<()> {
    let sql = "SELECT 1 FROM dolt_remotes WHERE name = ?";
    match link.rows(sql, &[name.into()]).during("read the remotes")?.is_empty() {
        true => Ok(()),
        false => remove(link, name),
    }
}

/// Forgets a remote, and what was fetched from it by name.
fn remove(link: &mut Link, name: &str) -> EngineResult<()> {
    link.run("CALL DOLT_REMOTE('remove', ?)", &[name.into()]).map(|_| ()).during("forget a remote")
}
