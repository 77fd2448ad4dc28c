//! Commits that the node itself makes, because the server would not.
//!
//! *Join commits*: how main moves where the fold's tip does not descend from it. Main can only be
//! moved safely by fast-forward. So where the fold's tip is not above main, a commit is made that
//! is above both and has the tip's tables: its parents are the tip and the old main. It is a pure
//! function of the two, never signed and never a head.
//!
//! *Merge commits* whose base is not the one that the server would find: the server merges
//! stand-ins, and the tables that this gives become those of a commit on the two sides themselves.

use std::collections::BTreeMap;

use doltswarm_core::commit::{MERGE_AUTHOR_EMAIL, MERGE_AUTHOR_NAME, join_message, merge_message};
use doltswarm_core::id::{ChunkHash, CommitHash};

use super::closure::Closures;
use super::commit::DoltCommit;
use super::hash::hash_of;
use super::{ChunkSource, corrupt};
use crate::engine::{ChunkReader, CommitMeta, EngineError, EngineResult};

/// Chunks that are not in any store yet.
pub(super) type Chunks = BTreeMap<ChunkHash, Vec<u8>>;

/// A derived commit and the chunks it needs that the database may lack.
///
/// It is brought into the database like a pull: it is the source with which an
/// [`Inbox`](super::Inbox) is filled.
#[derive(Debug, Clone)]
pub struct Derived {
    commit: CommitHash,
    chunks: Chunks,
}

/// What a commit says of itself.
struct Words {
    name: String,
    email: String,
    message: String,
    /// The date, in milliseconds since 1970-01-01 UTC; `None` for the later of its parents' dates.
    millis: Option<i64>,
}

impl Words {
    /// What a commit says that no person made.
    fn derived(message: String) -> Self {
        let (name, email) = (MERGE_AUTHOR_NAME.to_owned(), MERGE_AUTHOR_EMAIL.to_owned());
        Self { name, email, message, millis: None }
    }
}

impl Derived {
    /// Makes the commit that joins main, at `main`, to the fold's tip. Both must be in `chunks`.
    ///
    /// The same two commits give the same bytes on every peer.
    ///
    /// # Errors
    ///
    /// [`EngineError::NoSuchCommit`] where one of them is not there.
    pub fn join(
        tip: &CommitHash,
        main: &CommitHash,
        chunks: &mut dyn ChunkReader,
    ) -> EngineResult<Self> {
        Self::new([tip, main], tip, Words::derived(join_message(tip, main)), chunks)
    }

    /// Makes the merge commit of `theirs` into `ours` with the tables of the commit `tables`: what
    /// the server commits where it finds the base by itself. All three must be in `chunks`.
    ///
    /// # Errors
    ///
    /// [`EngineError::NoSuchCommit`] where one of them is not there.
    pub fn merge(
        ours: &CommitHash,
        theirs: &CommitHash,
        tables: &CommitHash,
        chunks: &mut dyn ChunkReader,
    ) -> EngineResult<Self> {
        Self::new([ours, theirs], tables, Words::derived(merge_message(ours, theirs)), chunks)
    }

    /// Makes a user commit with these parents and the tables of the commit `tables`. All three must
    /// be in `chunks`.
    ///
    /// # Errors
    ///
    /// [`EngineError::NoSuchCommit`] if one of them is not there.
    pub fn by_user(
        parents: [&CommitHash; 2],
        tables: &CommitHash,
        meta: &CommitMeta,
        chunks: &mut dyn ChunkReader,
    ) -> EngineResult<Self> {
        let CommitMeta { author_name, author_email, message, seconds } = meta.clone();
        let millis = Some(seconds.saturating_mul(1_000));
        let words = Words { name: author_name, email: author_email, message, millis };
        Self::new(parents, tables, words, chunks)
    }

    fn new(
        parents: [&CommitHash; 2],
        tables: &CommitHash,
        words: Words,
        chunks: &mut dyn ChunkReader,
    ) -> EngineResult<Self> {
        let Words { name, email, message, millis } = words;
        let root = read(tables, chunks)?.root;
        let [first, second] = parents;
        let (at_first, at_second) = (read(first, chunks)?, read(second, chunks)?);
        let mut closures = Closures { chunks, made: Chunks::new() };
        let mut ancestors = closures.difference(at_second.closure, at_first.closure)?;
        ancestors.extend([(at_first.height, *first), (at_second.height, *second)]);
        let closure = closures.with(at_first.closure, &ancestors)?;
        let height = at_first.height.max(at_second.height).checked_add(1);
        let millis = millis.unwrap_or(at_first.author_millis.max(at_second.author_millis));
        let commit = DoltCommit {
            parents: vec![*first, *second],
            root,
            closure: Some(closure),
            height: height.ok_or_else(|| corrupt("a commit has no room for its height"))?,
            author_name: name,
            author_email: email,
            author_millis: millis,
            committer_name: None,
            committer_email: None,
            committer_millis: millis,
            message,
            signature: None,
        };
        let chunk = commit.chunk();
        let hash = hash_of(&chunk);
        let mut chunks = closures.made;
        chunks.insert(hash, chunk);
        Ok(Self { commit: CommitHash::from_bytes(*hash.as_bytes()), chunks })
    }

    /// The commit.
    pub fn commit(&self) -> CommitHash {
        self.commit
    }

    /// Returns `(tip, main)` where a commit has the form of a join commit. The form proves nothing:
    /// deriving it again does.
    pub fn parents_of(commit: &DoltCommit) -> Option<(CommitHash, CommitHash)> {
        let [tip, main] = commit.parents[..] else { return None };
        let is_join = commit.author_name == MERGE_AUTHOR_NAME
            && commit.author_email == MERGE_AUTHOR_EMAIL
            && commit.message == join_message(&tip, &main);
        is_join.then_some((tip, main))
    }
}

impl ChunkSource for Derived {
    fn get_many(&self, hashes: &[ChunkHash]) -> Result<Vec<Option<Vec<u8>>>, String> {
        Ok(hashes.iter().map(|hash| self.chunks.get(hash).cloned()).collect())
    }
}

fn read(commit: &CommitHash, chunks: &mut dyn ChunkReader) -> EngineResult<DoltCommit> {
    let chunk = chunks.get_many(&[(*commit).into()])?.pop().flatten();
    DoltCommit::parse(&chunk.ok_or(EngineError::NoSuchCommit(*commit))?)
}
