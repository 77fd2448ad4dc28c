//! Branches, tags and remotes: moving main, keeping parked heads, fetching.

use std::collections::{BTreeMap, BTreeSet};

use doltswarm_core::id::CommitHash;

use super::commit::require;
use super::connection::{During, dirty_tables, hash_value, head, parse_hash, text, transaction};
use super::ffi::Connection;
use super::keeper::REFUSED;
use crate::engine::{EngineError, EngineResult, MoveOutcome, Value};

/// The one remote; its address is another at each start of the program.
const REMOTE: &str = "swarm_pull";
const PARKED: &str = "parked/";
const SIGNATURES: &str = "sig/";

/// The branches under `refused/`: the commits, sorted.
pub(super) fn refused(main: &Connection) -> EngineResult<Vec<CommitHash>> {
    let sql = "SELECT name FROM dolt_branches ORDER BY name";
    let rows = main.rows(sql, &[]).during("list the branches")?;
    let names = rows.iter().filter_map(|row| text(row.first()).strip_prefix(REFUSED));
    // What does not read as a hash was made by someone else.
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

/// Moves main from `expected` to `to` if there is more on it than its commit: uncommitted work,
/// which stays, or tables that the database ignores, which a hard reset keeps.
///
/// The transaction keeps other writers out between the look and the move. The engine makes a reset
/// visible as a whole, at once, so a process killed anywhere in here leaves main before it or
/// after.
pub(super) fn move_main(
    main: &Connection,
    expected: &CommitHash,
    to: &CommitHash,
) -> EngineResult<MoveOutcome> {
    transaction(main, || {
        let tip = head(main)?;
        if tip != *expected {
            return Ok(MoveOutcome::MainChanged(tip));
        }
        let tables = dirty_tables(main)?;
        if !tables.is_empty() {
            return Ok(MoveOutcome::Dirty(tables));
        }
        let sql = "SELECT dolt_reset('--hard', ?)";
        main.run(sql, &[hash_value(to)]).during("move main")?;
        Ok(MoveOutcome::Moved)
    })
}

/// Makes the branches under `parked/` exactly those of `heads`.
pub(super) fn set_parked(main: &Connection, heads: &[CommitHash]) -> EngineResult<()> {
    for commit in heads {
        require(main, commit)?;
    }
    let wanted: BTreeMap<_, _> =
        heads.iter().map(|head| (format!("{PARKED}{head}"), head)).collect();
    let sql = "SELECT name, hash FROM dolt_branches ORDER BY name";
    let mut present = BTreeSet::new();
    for row in main.rows(sql, &[]).during("list the branches")? {
        let name = text(row.first());
        if !name.starts_with(PARKED) {
            continue;
        }
        if wanted.get(name).is_some_and(|head| text(row.get(1)) == head.to_string()) {
            present.insert(name.to_owned());
        } else {
            let sql = "SELECT dolt_branch('-D', ?)";
            main.run(sql, &[name.into()]).during("drop a parked branch")?;
        }
    }
    for (name, head) in wanted {
        if !present.contains(&name) {
            let sql = "SELECT dolt_branch(?, ?)";
            main.run(sql, &[name.into(), hash_value(head)]).during("park a head")?;
        }
    }
    Ok(())
}

/// Makes the tags under `sig/` exactly `tags`.
pub(super) fn set_signature_tags(
    main: &Connection,
    tags: &[(CommitHash, String)],
) -> EngineResult<()> {
    for (commit, _) in tags {
        require(main, commit)?;
    }
    let present: BTreeMap<_, _> = signature_tags(main)?.into_iter().collect();
    let wanted: BTreeMap<_, _> =
        tags.iter().map(|(commit, text)| (*commit, text.clone())).collect();
    for (commit, message) in &present {
        if wanted.get(commit) != Some(message) {
            let name = format!("{SIGNATURES}{commit}");
            main.run("SELECT dolt_tag('-d', ?)", &[name.into()]).during("drop a tag")?;
        }
    }
    for (commit, message) in &wanted {
        if present.get(commit) != Some(message) {
            let name = format!("{SIGNATURES}{commit}");
            let params = [name.into(), hash_value(commit), message.as_str().into()];
            main.run("SELECT dolt_tag(?, ?, '-m', ?)", &params).during("tag a commit")?;
        }
    }
    Ok(())
}

/// The tags under `sig/`, sorted by commit.
pub(super) fn signature_tags(main: &Connection) -> EngineResult<Vec<(CommitHash, String)>> {
    let sql = "SELECT tag_name, tag_hash, message FROM dolt_tags ORDER BY tag_name";
    let rows = main.rows(sql, &[]).during("list the tags")?;
    let mut tags = Vec::new();
    for row in rows {
        // The name says what was signed; a tag that stands elsewhere is someone else's.
        let named = text(row.first()).strip_prefix(SIGNATURES).map(str::parse::<CommitHash>);
        let Some(Ok(commit)) = named else { continue };
        if parse_hash(row.get(1))? == commit {
            tags.push((commit, text(row.get(2)).to_owned()));
        }
    }
    tags.sort();
    Ok(tags)
}

/// Fetches `commit`, which the remote at `url` shows as its branch `main`.
pub(super) fn fetch(main: &Connection, url: &str, commit: &CommitHash) -> EngineResult<()> {
    point_remote(main, url)?;
    let params = [REMOTE.into(), "main".into()];
    main.run("SELECT dolt_fetch(?, ?)", &params).during("fetch")?;
    let sql = "SELECT hash FROM dolt_remote_branches WHERE name = ?";
    let name = Value::Text(format!("remotes/{REMOTE}/main"));
    let rows = main.rows(sql, &[name]).during("read what was fetched")?;
    let fetched = parse_hash(rows.first().and_then(|row| row.first()))?;
    if fetched == *commit {
        return Ok(());
    }
    Err(EngineError::Failed {
        what: "fetch",
        message: format!("the remote showed {fetched} where {commit} was asked for"),
    })
}

fn point_remote(main: &Connection, url: &str) -> EngineResult<()> {
    let sql = "SELECT url FROM dolt_remotes WHERE name = ?";
    let rows = main.rows(sql, &[REMOTE.into()]).during("read the remotes")?;
    match rows.first() {
        Some(row) if text(row.first()) == url => return Ok(()),
        Some(_) => remove_remote(main, REMOTE)?,
        None => {}
    }
    let sql = "SELECT dolt_remote('add', ?, ?)";
    main.run(sql, &[REMOTE.into(), url.into()]).during("name the remote")
}

/// Forgets a remote and what was fetched from it by name.
pub(super) fn remove_remote(main: &Connection, name: &str) -> EngineResult<()> {
    main.run("SELECT dolt_remote('remove', ?)", &[name.into()]).during("forget a remote")
}
