//! What a commit is to the swarm: a user commit or a merge commit.

use data_encoding::BASE32_DNSSEC;

use crate::id::{CommitHash, ParseIdError, PeerId};

/// The author name of every merge commit.
pub const MERGE_AUTHOR_NAME: &str = "doltswarm";
/// The author e-mail of every merge commit.
pub const MERGE_AUTHOR_EMAIL: &str = "merge@doltswarm";

/// A commit as the engine describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its hash.
    pub hash: CommitHash,
    /// Its parents in the engine's order; empty for a root.
    pub parents: Vec<CommitHash>,
    /// The author's name.
    pub author_name: String,
    /// The author's e-mail.
    pub author_email: String,
    /// The whole message.
    pub message: String,
    /// Seconds since 1970-01-01 UTC.
    pub seconds: i64,
}

impl CommitInfo {
    /// Returns `(ours, theirs)` where this commit has the form of a merge commit.
    ///
    /// The form proves nothing about the content: a merge commit is vouched for by the signed user
    /// commit above it, or by being derived again.
    pub fn as_merge(&self) -> Option<(CommitHash, CommitHash)> {
        let [ours, theirs] = self.parents[..] else { return None };
        let is_merge = self.author_name == MERGE_AUTHOR_NAME
            && self.author_email == MERGE_AUTHOR_EMAIL
            && self.message == merge_message(&ours, &theirs);
        is_merge.then_some((ours, theirs))
    }

    /// Returns the fold's tip where this commit has the form of a join commit.
    ///
    /// A join commit is made beside a database that other programs write to: it lets main reach the
    /// fold's tip by fast-forward where the tip does not descend from main. It has the tip's
    /// tables. So it stands for the tip, and what only its other parent has is no part of its
    /// content. As with a merge commit, the form proves nothing.
    pub fn as_join(&self) -> Option<CommitHash> {
        let [tip, main] = self.parents[..] else { return None };
        let is_join = self.author_name == MERGE_AUTHOR_NAME
            && self.author_email == MERGE_AUTHOR_EMAIL
            && self.message == join_message(&tip, &main);
        is_join.then_some(tip)
    }

    /// Returns the parents that the commit's content comes from: all of them, or for a join commit
    /// the fold's tip alone.
    pub fn content_parents(&self) -> &[CommitHash] {
        match self.as_join() {
            Some(_) => &self.parents[..1],
            None => &self.parents,
        }
    }
}

/// The message of the merge commit of `theirs` into `ours`.
pub fn merge_message(ours: &CommitHash, theirs: &CommitHash) -> String {
    format!("merge {theirs} into {ours}")
}

/// The message of the join commit of the fold's tip `tip` and the old main `main`. Only Dolt's
/// databases have such commits, so the hashes are written as Dolt does: 32 digits to base 32.
pub fn join_message(tip: &CommitHash, main: &CommitHash) -> String {
    let [tip, main] = [tip, main].map(|hash| EngineKind::Dolt.write_hash(hash));
    format!("join {main} to {tip}")
}

/// A user commit as the commit graph knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCommit {
    /// Its hash.
    pub hash: CommitHash,
    /// The user commits it builds on, none of which is an ancestor of another; sorted by hash.
    /// Empty only for the founding commit.
    pub builds_on: Vec<CommitHash>,
    /// Where it builds on several by way of one merge commit: that merge commit, which is their
    /// fold. It is vouched for by this commit's signature alone.
    pub made_on: Option<CommitHash>,
    /// The peer whose signature it carries; of several the one with the lowest key.
    pub signer: PeerId,
}

/// What a merge compares its two sides with.
///
/// Where the newest common ancestor of the two is one commit, it is both fields. Where histories
/// cross there are several, none above the others, and the tables to compare with are those of
/// their fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MergeBase {
    /// The commit with the tables that both sides started from. It has nothing that a side lacks,
    /// but for conflicts that were settled on the way to it.
    pub commit: CommitHash,
    /// An ancestor of both sides: what only ever grows, the table of conflicts, is compared with
    /// what it is there.
    pub ancestor: CommitHash,
}

/// A merge to be made. What comes of it is a function of these commits and the policy alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Merge {
    /// The commit whose version of a row loses.
    pub ours: CommitHash,
    /// The commit whose version of a row stands.
    pub theirs: CommitHash,
    /// What both are compared with. It follows from the two and all below them.
    pub base: MergeBase,
}

impl From<CommitHash> for MergeBase {
    fn from(commit: CommitHash) -> Self {
        Self { commit, ancestor: commit }
    }
}

/// What a swarm does when two versions of a row meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictPolicy {
    /// The later head's version stands, the other is recorded in `swarm_conflicts`.
    Settle,
    /// The head that conflicts is parked.
    Park,
}

impl ConflictPolicy {
    /// The word for it on the command line and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settle => "settle",
            Self::Park => "park",
        }
    }

    /// Reads the word for it.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Settle, Self::Park].into_iter().find(|policy| policy.as_str() == word)
    }
}

/// A storage engine; one swarm uses one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// DoltLite, embedded.
    DoltLite,
    /// A `dolt sql-server` beside the node.
    Dolt,
}

impl EngineKind {
    /// The word for it on the command line and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DoltLite => "doltlite",
            Self::Dolt => "dolt",
        }
    }

    /// Reads the word for it.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::DoltLite, Self::Dolt].into_iter().find(|kind| kind.as_str() == word)
    }

    /// Writes a hash as the engine does: DoltLite in hexadecimal, Dolt in the base 32 whose digits
    /// are `0-9a-v`.
    pub fn write_hash(self, hash: &CommitHash) -> String {
        match self {
            Self::DoltLite => hash.to_string(),
            Self::Dolt => BASE32_DNSSEC.encode(hash.as_bytes()),
        }
    }

    /// Reads a hash as [`Self::write_hash`] writes it.
    ///
    /// # Errors
    ///
    /// [`ParseIdError`] where the text is not one, in either case of letters for Dolt.
    pub fn read_hash(self, text: &str) -> Result<CommitHash, ParseIdError> {
        match self {
            Self::DoltLite => text.parse(),
            Self::Dolt => BASE32_DNSSEC
                .decode(text.as_bytes())
                .ok()
                .and_then(|bytes| CommitHash::from_slice(&bytes))
                .ok_or_else(|| ParseIdError::new("commit hash", "32 digits of 0-9 and a-v", text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_as_each_engine_does() {
        let hash = CommitHash::from_bytes([0xfe; 20]);
        let texts = [EngineKind::DoltLite, EngineKind::Dolt].map(|kind| kind.write_hash(&hash));
        assert_eq!(texts, ["fe".repeat(20), "vrvftvnu".repeat(4)]);
        for (kind, text) in [EngineKind::DoltLite, EngineKind::Dolt].into_iter().zip(&texts) {
            assert_eq!(kind.read_hash(text), Ok(hash));
            assert!(kind.read_hash(&text[1..]).is_err());
        }
        let error = EngineKind::Dolt.read_hash("xyz").unwrap_err().to_string();
        assert_eq!(error, "`xyz` is not a commit hash: expected 32 digits of 0-9 and a-v");
    }
}
