//! Whose database it is. A node that shares one with another would take the other's commits for its
//! own.
//!
//! A branch names the node, so it is as durable as the database, is in each copy and backup of it,
//! and never travels to a peer. For two processes with one key there is a lock, which the server
//! holds as long as the connection of the process lasts.

use doltswarm_core::id::{CommitHash, PeerId};
use doltswarm_core::limits::DOLT_LOCK_WAIT_SECS;

use super::commit::hash_value;
use super::session::{During, Link, number, text};
use super::store::name_of;
use crate::engine::{EngineError, EngineResult, Value};

/// Before the names of the branches that name nodes.
const MARK: &str = "swarm/node/";

/// The nodes that the database is marked for; more than one only where somebody made marks by hand.
pub(super) fn owners(link: &mut Link) -> EngineResult<Vec<PeerId>> {
    let sql = "SELECT name FROM dolt_branches WHERE name LIKE 'swarm/node/%' ORDER BY name";
    let rows = link.rows(sql, &[]).during("read whose database it is")?;
    let named = rows.iter().filter_map(|row| text(row.first()).strip_prefix(MARK)?.parse().ok());
    Ok(named.collect())
}

/// Marks the database for a node.
pub(super) fn mark(link: &mut Link, owner: &PeerId, at: &CommitHash) -> EngineResult<()> {
    let params = [format!("{MARK}{owner}").into(), hash_value(at)];
    link.run("CALL DOLT_BRANCH('-f', ?, ?)", &params).map(|_| ()).during("mark the database")
}

/// Takes the lock on the database of this connection, which goes with it.
pub(super) fn lock(link: &mut Link, database: &str) -> EngineResult<()> {
    // A name of a lock may be shorter than one of a database.
    let name = format!("swarm/node/{}", name_of(database));
    let params = [name.into(), Value::Integer(DOLT_LOCK_WAIT_SECS)];
    let rows = link.rows("SELECT GET_LOCK(?, ?)", &params).during("lock the database")?;
    if number(rows.first().and_then(|row| row.first())) == 1 {
        return Ok(());
    }
    let message = format!(
        "another process has the database `{database}` open as a node: stop it, or give this node a \
         database of its own"
    );
    Err(EngineError::Rejected { message })
}
