//! A model of a storage engine: commits named by their content, each with the whole database.
//!
//! It is deterministic as the real ones are: the same parents give the same merge commit, byte for
//! byte. Where a real engine runs beside it (see [`Twin`](super::twin::Twin)) commits have that
//! engine's names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::merge::{Context, merge_roots};
use super::root::Root;
use crate::commit::{
    CommitInfo, ConflictPolicy, MERGE_AUTHOR_EMAIL, MERGE_AUTHOR_NAME, Merge, MergeBase,
    merge_message,
};
use crate::id::CommitHash;

/// A commit and what the database is there.
#[derive(Debug)]
pub struct Commit {
    /// The commit as the engine describes it.
    pub info: CommitInfo,
    /// The database.
    pub root: Root,
    /// What it compared its two sides with, if it is a merge.
    pub base: Option<MergeBase>,
}

/// One node's commits.
#[derive(Debug, Clone, Default)]
pub struct Store {
    commits: BTreeMap<CommitHash, Arc<Commit>>,
}

/// What a user commit says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saying {
    /// The author's name.
    pub author: String,
    /// The message.
    pub message: String,
    /// Seconds since 1970-01-01 UTC.
    pub seconds: i64,
}

impl Saying {
    /// The author's e-mail.
    pub fn email(&self) -> String {
        format!("{}@example.org", self.author)
    }
}

impl Store {
    /// Makes a user commit; `name` is the real engine's, where one runs beside.
    pub fn commit(
        &mut self,
        parents: &[CommitHash],
        saying: &Saying,
        root: Root,
        name: Option<CommitHash>,
    ) -> CommitHash {
        let info = CommitInfo {
            hash: CommitHash::from_bytes([0; 20]),
            parents: parents.to_vec(),
            author_name: saying.author.clone(),
            author_email: saying.email(),
            message: saying.message.clone(),
            seconds: saying.seconds,
        };
        self.insert(info, None, root, name)
    }

    /// What a merge gives, or why it is impossible.
    ///
    /// The model's table of conflicts is a union and needs no ancestor to compare with. `here` is
    /// what a default that is no literal would evaluate to on this machine.
    ///
    /// # Errors
    ///
    /// A reason for people, if it is impossible.
    pub fn merged(&self, merge: &Merge, policy: ConflictPolicy, here: u8) -> Result<Root, String> {
        let Merge { ours, theirs, base } = merge;
        let roots = [&base.commit, ours, theirs].map(|hash| &self.commits[hash].root);
        merge_roots(roots, &Context { policy, base: base.commit, here })
    }

    /// Makes a merge commit, whose database is `root`.
    pub fn insert_merge(
        &mut self,
        merge: &Merge,
        root: Root,
        name: Option<CommitHash>,
    ) -> CommitHash {
        let Merge { ours, theirs, base } = *merge;
        let info = CommitInfo {
            hash: ours,
            parents: vec![ours, theirs],
            author_name: MERGE_AUTHOR_NAME.into(),
            author_email: MERGE_AUTHOR_EMAIL.into(),
            message: merge_message(&ours, &theirs),
            seconds: self.commits[&ours].info.seconds.max(self.commits[&theirs].info.seconds),
        };
        self.insert(info, Some(base), root, name)
    }

    fn insert(
        &mut self,
        mut info: CommitInfo,
        base: Option<MergeBase>,
        root: Root,
        name: Option<CommitHash>,
    ) -> CommitHash {
        info.hash = name.unwrap_or_else(|| {
            let mut hasher = blake3::Hasher::new();
            for parent in &info.parents {
                hasher.update(parent.as_bytes());
            }
            let CommitInfo { author_name, author_email, message, seconds, .. } = &info;
            let text = format!("{author_name}\0{author_email}\0{message}\0{seconds}\0");
            hasher.update(text.as_bytes());
            root.digest(&mut hasher);
            short(&hasher)
        });
        let hash = info.hash;
        self.commits.insert(hash, Arc::new(Commit { info, root, base }));
        hash
    }

    /// Takes a commit from another store. Its parents must be here or come too.
    pub fn receive(&mut self, commit: Arc<Commit>) {
        self.commits.insert(commit.info.hash, commit);
    }

    /// Returns a commit, if it is here.
    pub fn get(&self, hash: &CommitHash) -> Option<&Arc<Commit>> {
        self.commits.get(hash)
    }

    /// All commits, sorted by hash.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Commit>> {
        self.commits.values()
    }

    /// Returns the commit and everything under it, merge commits included.
    pub fn ancestors(&self, hash: &CommitHash) -> BTreeSet<CommitHash> {
        self.under([*hash])
    }

    /// Returns the commits and everything under them, merge commits included.
    pub fn under(&self, hashes: impl IntoIterator<Item = CommitHash>) -> BTreeSet<CommitHash> {
        let mut stack: Vec<CommitHash> = hashes.into_iter().collect();
        let mut seen: BTreeSet<CommitHash> = stack.iter().copied().collect();
        while let Some(hash) = stack.pop() {
            let parents = &self.commits[&hash].info.parents;
            stack.extend(parents.iter().filter(|parent| seen.insert(**parent)));
        }
        seen
    }
}

/// The first 20 bytes, which is how the engines name things.
pub(super) fn short(hasher: &blake3::Hasher) -> CommitHash {
    CommitHash::from_slice(&hasher.finalize().as_bytes()[..CommitHash::BYTES])
        .expect("because the slice has as many bytes as a hash")
}
