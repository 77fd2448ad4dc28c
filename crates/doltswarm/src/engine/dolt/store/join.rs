//! Join commits: how main moves where the fold's tip does not descend from it.
//!
//! Main can only be moved safely by fast-forward. So where the fold's tip is not above main, a commit
//! is made that is above both and has the tip's tables: its parents are the tip and the old main. It
//! is a pure function of the two, never signed and never a head.

use std::collections::BTreeMap;

use doltswarm_core::commit::{MERGE_AUTHOR_EMAIL, MERGE_AUTHOR_NAME, join_message};
use doltswarm_core::id::{ChunkHash, CommitHash};

use super::closure::Closures;
use super::commit::DoltCommit;
use super::hash::hash_of;
use super::{ChunkSource, corrupt};
use crate::engine::{ChunkReader, EngineError, EngineResult};

/// Chunks that are not in any store yet.
pub(super) type Chunks = BTreeMap<ChunkHash, Vec<u8>>;

/// A join commit and the chunks it needs that the database may lack.
///
/// It is brought into the database like a pull: it is the source with which an
/// [`Inbox`](super::Inbox) is filled.
#[derive(Debug, Clone)]
pub struct Join {
    commit: CommitHash,
    chunks: Chunks,
}

impl Join {
    /// Makes the commit that joins main, at `main`, to the fold's tip. Both must be in `chunks`.
    ///
    /// The same two commits give the same bytes on every peer.
    ///
    /// # Errors
    ///
    /// [`EngineError::NoSuchCommit`] where one of them is not there.
    pub fn new(
        tip: &CommitHash,
        main: &CommitHash,
        chunks: &mut dyn ChunkReader,
    ) -> EngineResult<Self> {
        let at_tip = read(tip, chunks)?;
        let at_main = read(main, chunks)?;
        let mut closures = Closures { chunks, made: Chunks::new() };
        let mut ancestors = closures.difference(at_main.closure, at_tip.closure)?;
        ancestors.extend([(at_tip.height, *tip), (at_main.height, *main)]);
        let closure = closures.with(at_tip.closure, &ancestors)?;
        let height = at_tip.height.max(at_main.height).checked_add(1);
        let millis = at_tip.author_millis.max(at_main.author_millis);
        let commit = DoltCommit {
            parents: vec![*tip, *main],
            root: at_tip.root,
            closure: Some(closure),
            height: height.ok_or_else(|| corrupt("a commit has no room for its height"))?,
            author_name: MERGE_AUTHOR_NAME.to_owned(),
            author_email: MERGE_AUTHOR_EMAIL.to_owned(),
            author_millis: millis,
            committer_name: None,
            committer_email: None,
            committer_millis: millis,
            message: join_message(tip, main),
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

impl ChunkSource for Join {
    fn get_many(&self, hashes: &[ChunkHash]) -> Result<Vec<Option<Vec<u8>>>, String> {
        Ok(hashes.iter().map(|hash| self.chunks.get(hash).cloned()).collect())
    }
}

fn read(commit: &CommitHash, chunks: &mut dyn ChunkReader) -> EngineResult<DoltCommit> {
    let chunk = chunks.get_many(&[(*commit).into()])?.pop().flatten();
    DoltCommit::parse(&chunk.ok_or(EngineError::NoSuchCommit(*commit))?)
}
