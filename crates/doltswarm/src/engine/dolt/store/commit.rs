//! Commits as bytes.
//!
//! Dolt, go/serial/commit.fbs and go/store/datas/commit.go (`commit_flatbuffer`).

use doltswarm_core::commit::CommitInfo;
use doltswarm_core::id::{ChunkHash, CommitHash};
use doltswarm_core::limits::{COMMIT_MESSAGE_BYTES_MAX, HASH_BYTES};

use super::build::Builder;
use super::corrupt;
use super::message::{Fault, Kind, hash_in, hashes};
use crate::engine::EngineResult;

/// A commit, as its chunk says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoltCommit {
    /// The parents, in Dolt's order.
    pub parents: Vec<CommitHash>,
    /// The root value: all tables as of the commit.
    pub root: ChunkHash,
    /// The set of all ancestors; `None` where there are none.
    pub closure: Option<ChunkHash>,
    /// 1 + the greatest height of a parent.
    pub height: u64,
    /// The author's name.
    pub author_name: String,
    /// The author's e-mail.
    pub author_email: String,
    /// The author's date, in milliseconds since 1970-01-01 UTC.
    pub author_millis: i64,
    /// The committer's name, where it is not the author's.
    pub committer_name: Option<String>,
    /// The committer's e-mail, where it is not the author's.
    pub committer_email: Option<String>,
    /// The committer's date, in milliseconds since 1970-01-01 UTC.
    pub committer_millis: i64,
    /// The message.
    pub message: String,
    /// The signature that Dolt made, if any. The swarm's own are kept elsewhere.
    pub signature: Option<String>,
}

impl DoltCommit {
    /// Reads a commit from its chunk, whose hash the caller has verified. The bytes may be hostile.
    pub fn parse(chunk: &[u8]) -> EngineResult<Self> {
        Self::read(chunk).map_err(|fault| corrupt(format!("the commit is damaged: {fault}")))
    }

    fn read(chunk: &[u8]) -> Result<Self, Fault> {
        let table = Kind::Commit.open(chunk)?;
        let required = |field| {
            let text = table.string(field)?.ok_or("a commit lacks its author or message")?;
            Ok::<_, Fault>(text.to_owned())
        };
        let optional = |field| Ok::<_, Fault>(table.string(field)?.map(str::to_owned));
        let parents = hashes(table.bytes(2)?)?;
        Ok(Self {
            parents: parents.iter().map(|hash| CommitHash::from_bytes(*hash.as_bytes())).collect(),
            root: hash_in(Some(table.bytes(0)?))?.ok_or("a commit has no root value")?,
            closure: hash_in(table.vector(3, 1)?)?,
            height: table.u64(1)?,
            author_name: required(4)?,
            author_email: required(5)?,
            message: required(6)?,
            committer_millis: table.u64(7)?.cast_signed(),
            author_millis: table.u64(8)?.cast_signed(),
            signature: optional(9)?,
            committer_name: optional(10)?,
            committer_email: optional(11)?,
        })
    }

    /// Writes the commit, byte for byte as Dolt does.
    pub fn chunk(&self) -> Vec<u8> {
        let mut builder = Builder::default();
        let root = builder.bytes(self.root.as_bytes());
        let parents = self.parents.iter().flat_map(|hash| *hash.as_bytes()).collect::<Vec<_>>();
        let parents = builder.bytes(&parents);
        let none = ChunkHash::from_bytes([0; HASH_BYTES]);
        let closure = builder.bytes(self.closure.unwrap_or(none).as_bytes());
        let name = builder.text(&self.author_name);
        let email = builder.text(&self.author_email);
        let message = builder.text(&self.message);
        let mut text = |text: &Option<String>| text.as_deref().map(|text| builder.text(text));
        let signature = text(&self.signature);
        let committer_name = text(&self.committer_name);
        let committer_email = text(&self.committer_email);
        let mut fields = builder.table();
        fields.part(0, root);
        fields.u64(1, self.height);
        fields.part(2, parents);
        fields.part(3, closure);
        fields.part(4, name);
        fields.part(5, email);
        fields.part(6, message);
        fields.u64(7, self.committer_millis.cast_unsigned());
        fields.u64(8, self.author_millis.cast_unsigned());
        for (slot, part) in [(9, signature), (10, committer_name), (11, committer_email)] {
            if let Some(part) = part {
                fields.part(slot, part);
            }
        }
        let table = fields.finish();
        builder.finish(table, *b"DCMT")
    }

    /// Describes the commit as the rest of the library sees it; `hash` is that of its chunk. The
    /// date is the author's, as in `dolt log`.
    pub fn info(&self, hash: CommitHash) -> CommitInfo {
        CommitInfo {
            hash,
            parents: self.parents.clone(),
            author_name: self.author_name.clone(),
            author_email: self.author_email.clone(),
            message: self.message.clone(),
            seconds: self.author_millis.div_euclid(1_000),
        }
    }

    /// What is wrong with what the commit says of itself, if anything: an empty name, a message
    /// longer than any that a node makes, a commit that is its own parent twice, ancestors that are
    /// missing or too many.
    ///
    /// Whether the height is right needs the parents: [`DoltCommit::follows`].
    pub fn fault(&self) -> Option<&'static str> {
        let mut parents = self.parents.clone();
        parents.sort_unstable();
        if self.author_name.is_empty() || self.author_email.is_empty() {
            Some("the commit has no author")
        } else if self.message.len() > COMMIT_MESSAGE_BYTES_MAX {
            Some("the commit's message is too long")
        } else if parents.windows(2).any(|pair| pair[0] == pair[1]) {
            Some("the commit has a parent twice")
        } else if self.parents.is_empty() != self.closure.is_none() {
            Some("the commit's set of ancestors does not fit its parents")
        } else if self.parents.is_empty() != (self.height == 1) {
            Some("the commit's height does not fit its parents")
        } else {
            None
        }
    }

    /// Whether the height is that of a commit on these parents.
    pub fn follows(&self, parents: &[Self]) -> bool {
        let below = parents.iter().map(|parent| parent.height).max().unwrap_or(0);
        below.checked_add(1) == Some(self.height)
    }
}
