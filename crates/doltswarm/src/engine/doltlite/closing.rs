//! Commits with two parents whose tables are given.

use std::path::Path;

use doltswarm_core::id::CommitHash;

use super::commit::{arguments, parents, require};
use super::connection::{During, Purpose, hash_value, open, parse_hash, transaction};
use super::ffi::Connection;
use crate::engine::{CommitMeta, EngineError, EngineResult};

/// The branch such a commit is made on. It is there only meanwhile.
const BRANCH: &str = "swarm/close";

/// Makes a commit by `meta`'s author with these parents and the tables of `content`. No branch that
/// outlives the call moves.
pub(super) fn commit(
    path: &Path,
    main: &Connection,
    both: [&CommitHash; 2],
    content: &CommitHash,
    meta: &CommitMeta,
) -> EngineResult<CommitHash> {
    let arguments = arguments(meta)?;
    for commit in both.into_iter().chain([content]) {
        require(main, commit)?;
    }
    drop_branch(main)?;
    let sql = "SELECT dolt_branch(?, ?)";
    main.run(sql, &[BRANCH.into(), hash_value(content)]).during("make a branch")?;
    let made = (|| {
        let side = open(path, Purpose::Merge)?;
        side.run("SELECT dolt_checkout(?)", &[BRANCH.into()]).during("check out a branch")?;
        transaction(&side, || {
            let sql = "SELECT dolt_reset('--soft', ?)";
            side.run(sql, &[hash_value(both[0])]).during("name the first parent")?;
            side.set_merge_parent(both[1].as_bytes()).during("name the second parent")?;
            let sql =
                "SELECT dolt_commit('-A', '--allow-empty', '-m', ?, '--author', ?, '--date', ?)";
            let rows = side.rows(sql, &arguments).during("commit")?;
            let commit = parse_hash(rows.first().and_then(|row| row.first()))?;
            if parents(&side, &commit)? == both.map(|parent| *parent) {
                return Ok(commit);
            }
            let message = format!("{commit} has other parents than the two it was to have");
            Err(EngineError::Failed { what: "commit", message })
        })
    })();
    drop_branch(main)?;
    made
}

fn drop_branch(main: &Connection) -> EngineResult<()> {
    let sql = "SELECT 1 FROM dolt_branches WHERE name = ?";
    if main.rows(sql, &[BRANCH.into()]).during("list the branches")?.is_empty() {
        return Ok(());
    }
    main.run("SELECT dolt_branch('-D', ?)", &[BRANCH.into()]).during("drop a branch")
}
