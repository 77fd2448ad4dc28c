//! Branches and tags that keep parked heads and signatures.

use std::collections::{BTreeMap, BTreeSet};

use doltswarm_core::id::CommitHash;

use super::commit::{hash_value, parse_hash, require};
use super::session::{During, Link, text};
use super::store::{commit_from_text, commit_text};
use crate::engine::{EngineResult, Value};

/// Before the names of the branches of parked heads.
pub(super) const PARKED: &str = "parked/";
/// Before the names of the tags with signatures. A name must not be a hash alone: the server takes
/// it for one.
const SIGNATURES: &str = "sig/";

/// Makes the branches under `parked/` exactly those of `heads`.
pub(super) fn set_parked(link: &mut Link, heads: &[CommitHash]) -> EngineResult<()> {
    for commit in heads {
        require(link, commit)?;
    }
    let wanted: BTreeMap<_, _> =
        heads.iter().map(|head| (format!("{PARKED}{}", commit_text(head)), head)).collect();
    let mut present = BTreeSet::new();
    let sql = "SELECT name, hash FROM dolt_branches ORDER BY name";
    for row in link.rows(sql, &[]).during("list the branches")? {
        let name = text(row.first());
        if !name.starts_with(PARKED) {
            continue;
        }
        if wanted.get(name).is_some_and(|head| text(row.get(1)) == commit_text(head)) {
            present.insert(name.to_owned());
        } else {
            drop_branch(link, name)?;
        }
    }
    for (name, head) in wanted {
        if !present.contains(&name) {
            let params = [name.into(), hash_value(head)];
            link.run("CALL DOLT_BRANCH(?, ?)", &params).during("park a head")?;
        }
    }
    Ok(())
}

/// Drops a branch, merged or not.
pub(super) fn drop_branch(link: &mut Link, name: &str) -> EngineResult<()> {
    drop_branches(link, &[name.into()])
}

/// Drops branches, merged or not.
pub(super) fn drop_branches(link: &mut Link, names: &[Value]) -> EngineResult<()> {
    if names.is_empty() {
        return Ok(());
    }
    let marks = vec!["?"; names.len()].join(", ");
    let sql = format!("CALL DOLT_BRANCH('-D', '-f', {marks})");
    link.run(&sql, names).map(|_| ()).during("drop a branch")
}

/// Makes the tags under `sig/` exactly `tags`.
pub(super) fn set_signature_tags(
    link: &mut Link,
    tags: &[(CommitHash, String)],
) -> EngineResult<()> {
    let present: BTreeMap<_, _> = signature_tags(link)?.into_iter().collect();
    // What has a tag is there.
    for (commit, _) in tags.iter().filter(|(commit, _)| !present.contains_key(commit)) {
        require(link, commit)?;
    }
    let wanted: BTreeMap<_, _> =
        tags.iter().map(|(commit, text)| (*commit, text.clone())).collect();
    for (commit, message) in &present {
        if wanted.get(commit) != Some(message) {
            let name = format!("{SIGNATURES}{}", commit_text(commit));
            link.run("CALL DOLT_TAG('-d', ?)", &[name.into()]).during("drop a tag")?;
        }
    }
    for (commit, message) in &wanted {
        if present.get(commit) != Some(message) {
            let name = format!("{SIGNATURES}{}", commit_text(commit));
            let params = [message.as_str().into(), name.into(), hash_value(commit)];
            link.run("CALL DOLT_TAG('-m', ?, ?, ?)", &params).during("tag a commit")?;
        }
    }
    Ok(())
}

/// The tags under `sig/`, sorted by commit.
pub(super) fn signature_tags(link: &mut Link) -> EngineResult<Vec<(CommitHash, String)>> {
    let sql = "SELECT tag_name, tag_hash, message FROM dolt_tags ORDER BY tag_name";
    let rows = link.rows(sql, &[]).during("list the tags")?;
    let mut tags = Vec::new();
    for row in rows {
        // The name says what was signed; a tag that stands elsewhere is someone else's.
        let named = text(row.first()).strip_prefix(SIGNATURES).and_then(commit_from_text);
        let Some(commit) = named else { continue };
        if parse_hash(row.get(1))? == commit {
            tags.push((commit, text(row.get(2)).to_owned()));
        }
    }
    tags.sort();
    Ok(tags)
}
