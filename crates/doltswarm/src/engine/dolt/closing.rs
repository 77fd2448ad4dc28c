//! Commits with two parents whose tables are given.

use std::sync::{Mutex, PoisonError};

use doltswarm_core::id::CommitHash;

use super::chunks::Pusher;
use super::commit::{Words, info};
use super::ingest;
use super::session::Link;
use super::store::{Derived, Inbox};
use crate::engine::{CommitMeta, EngineResult};

/// Makes a commit by `meta`'s author with these parents and the tables of `content`. No branch of
/// main moves.
///
/// The server has no statement for it, so the commit is written by the node and fetched.
pub(super) fn commit(
    link: &mut Link,
    inbox: &Inbox,
    pusher: &Mutex<Pusher>,
    parents: [&CommitHash; 2],
    content: &CommitHash,
    meta: &CommitMeta,
) -> EngineResult<CommitHash> {
    // The same rules for an author and a message as for every other commit.
    Words::new(meta)?;
    let derived = {
        let mut pusher = pusher.lock().unwrap_or_else(PoisonError::into_inner);
        pusher.hold(&[*parents[0], *parents[1], *content])?;
        Derived::by_user(parents, content, meta, &mut pusher.spool())?
    };
    let commit = derived.commit();
    if info(link, &commit)?.is_none() {
        inbox.fill(&commit, &derived)?;
        ingest::fetch(link, inbox, &commit)?;
        inbox.clear()?;
    }
    Ok(commit)
}
