//! AUTO_INCREMENT counters.
//!
//! The server keeps one counter for each table name of a database, for all branches together, and
//! stores its value with a table whenever rows are inserted. So what a merge stores would depend on
//! what the server has seen, and the counter does not hear of rows that came with a moved main.
//! `ALTER TABLE … AUTO_INCREMENT` puts both right.

use std::collections::BTreeMap;

use doltswarm_core::id::CommitHash;

use super::definition;
use super::diff;
use super::exec::reset;
use super::session::{During, Link, quote};
use super::violations::BRANCH;
use crate::engine::EngineResult;

/// What is known of tables: whether they have a counter.
#[derive(Debug, Default)]
pub(super) struct Counters {
    known: BTreeMap<String, bool>,
}

/// Gives tables of the connection's branch the greater counter of the two sides. Returns whether
/// that changed anything.
pub(super) fn unite<'a>(
    link: &mut Link,
    tables: impl Iterator<Item = &'a str>,
    ours: &CommitHash,
    theirs: &CommitHash,
) -> EngineResult<bool> {
    let mut changed = false;
    for name in tables {
        let Some(now) = definition::read(link, name, None)? else { continue };
        if !now.has_counter() {
            continue;
        }
        let mut greatest = None;
        for side in [ours, theirs] {
            let created = definition::read(link, name, Some(side))?;
            greatest = greatest.max(created.and_then(|created| created.counter));
        }
        if let Some(counter) = greatest.filter(|counter| now.counter != Some(*counter)) {
            set(link, name, counter)?;
            changed = true;
        }
    }
    Ok(changed)
}

fn set(link: &mut Link, name: &str, counter: u64) -> EngineResult<()> {
    let sql = format!("ALTER TABLE {} AUTO_INCREMENT = {counter}", quote(name));
    link.run(&sql, &[]).map(|_| ()).during("set a counter")
}

impl Counters {
    /// Lets the server's counters know of the rows that main gets with a move from one commit to
    /// another, on a private branch, before main moves.
    pub(super) fn raise(
        &mut self,
        link: &mut Link,
        from: &CommitHash,
        to: &CommitHash,
    ) -> EngineResult<()> {
        let mut higher = Vec::new();
        for table in diff::summaries(link, from, to)? {
            let name = table.to.to_lowercase();
            let is_plain = !table.schema_changed && self.known.get(&name) == Some(&false);
            if table.to.is_empty() || is_plain {
                continue;
            }
            let after = definition::read(link, &table.to, Some(to))?;
            let has_counter = after.as_ref().is_some_and(definition::Created::has_counter);
            self.known.insert(name, has_counter);
            let Some(counter) = after.filter(|_| has_counter).and_then(|after| after.counter)
            else {
                continue;
            };
            let before = match table.from.is_empty() {
                true => None,
                false => definition::read(link, &table.from, Some(from))?,
            };
            if before.and_then(|before| before.counter) < Some(counter) {
                higher.push((table.to, counter));
            }
        }
        if higher.is_empty() {
            return Ok(());
        }
        reset(link, BRANCH, to)?;
        higher.iter().try_for_each(|(name, counter)| set(link, name, *counter))
    }
}
