//! The bytes of the store's records. Integers are little-endian, texts and lists have their length
//! before them.
//!
//! Architecture Invariant: what comes from the file is hostile until a function here has checked
//! it; nothing is allocated for a length that the bytes at hand do not bear out.

use doltswarm_core::commit::UserCommit;
use doltswarm_core::id::{CommitHash, PeerId};
use doltswarm_core::limits;
use doltswarm_core::message::SignedCommit;

use super::error::StoreError;
use super::{FORMAT_VERSION_MIN, Invite, PeerEntry};

/// Takes a record apart; every error names the record.
struct Reader<'a> {
    record: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(record: &'static str, bytes: &'a [u8]) -> Self {
        Self { record, rest: bytes }
    }

    fn wrong(&self, what: &str) -> StoreError {
        StoreError::corrupt(format!("a {} record {what}", self.record))
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) =
            self.rest.split_at_checked(n).ok_or_else(|| self.wrong("is cut short"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, StoreError> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, StoreError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, StoreError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, StoreError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self, max: usize) -> Result<String, StoreError> {
        let len = usize::from(self.u16()?);
        if len > max {
            return Err(self.wrong("has a text that is too long"));
        }
        let bytes = self.take(len)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.wrong("has a text not in UTF-8"))?;
        Ok(text.to_owned())
    }

    fn end(&self) -> Result<(), StoreError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.wrong("has bytes left over")) }
    }
}

/// The number after `last`, where numbers count up from 0.
pub(super) fn next_sequence(last: Option<u64>) -> Result<u64, StoreError> {
    last.map_or(Some(0), |last| last.checked_add(1))
        .ok_or_else(|| StoreError::corrupt("its numbers have run out"))
}

fn put_text(out: &mut Vec<u8>, text: &str, max: usize, what: &str) -> Result<(), StoreError> {
    let len = u16::try_from(text.len()).ok().filter(|_| text.len() <= max).ok_or_else(|| {
        StoreError::invalid(format!("{what} has {} bytes, the most is {max}", text.len()))
    })?;
    out.extend(len.to_le_bytes());
    out.extend(text.as_bytes());
    Ok(())
}

/// Commit: hash, number of signatures, each with its key, or without any the key that is taken for
/// the author's; count, what it builds on; then a tag, and after 1 the merge commit it was made on.
pub(super) fn encode_commit(
    commit: &UserCommit,
    signatures: &[SignedCommit],
) -> Result<Vec<u8>, StoreError> {
    let invalid = |what: &str| StoreError::invalid(format!("commit {} {what}", commit.hash));
    let count = u32::try_from(commit.builds_on.len())
        .map_err(|_| invalid("builds on more than a number counts"))?;
    if !commit.builds_on.is_sorted_by(|a, b| a < b) {
        return Err(invalid("builds on what is not sorted, or named twice"));
    }
    let signers = u8::try_from(signatures.len())
        .ok()
        .filter(|_| signatures.len() <= limits::SIGNATURES_PER_COMMIT_MAX)
        .ok_or_else(|| invalid("has too many signatures"))?;
    let are_sorted = signatures.is_sorted_by(|a, b| a.signer < b.signer);
    let is_author = signatures.first().is_none_or(|first| first.signer == commit.signer);
    if !are_sorted || !is_author || signatures.iter().any(|signed| signed.hash != commit.hash) {
        return Err(invalid("came with the signatures of another"));
    }
    let mut out = Vec::with_capacity(142 + CommitHash::BYTES * commit.builds_on.len());
    out.extend(commit.hash.as_bytes());
    out.push(signers);
    if signatures.is_empty() {
        out.extend(commit.signer.as_bytes());
    }
    for signed in signatures {
        out.extend(signed.signer.as_bytes());
        out.extend(signed.signature);
    }
    out.extend(count.to_le_bytes());
    for parent in &commit.builds_on {
        out.extend(parent.as_bytes());
    }
    out.push(u8::from(commit.made_on.is_some()));
    if let Some(merge) = &commit.made_on {
        out.extend(merge.as_bytes());
    }
    Ok(out)
}

/// A commit and its signatures, lowest key first.
type Signed = (UserCommit, Vec<SignedCommit>);

pub(super) fn decode_commit(bytes: &[u8]) -> Result<Signed, StoreError> {
    let mut reader = Reader::new("commit", bytes);
    let hash = CommitHash::from_bytes(reader.array()?);
    let count = usize::from(reader.byte()?);
    if count > limits::SIGNATURES_PER_COMMIT_MAX {
        return Err(reader.wrong("has too many signatures"));
    }
    let author = if count == 0 { Some(PeerId::from_bytes(reader.array()?)) } else { None };
    let mut signatures = Vec::with_capacity(count);
    for _ in 0..count {
        signatures.push(signature(hash, &mut reader)?);
    }
    if !signatures.is_sorted_by(|a, b| a.signer < b.signer) {
        return Err(reader.wrong("has its signatures out of order"));
    }
    let signer = signatures.first().map(|signed| signed.signer).or(author);
    let signer = signer.ok_or_else(|| reader.wrong("has no author"))?;
    let count = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    Ok((rest_of_commit(hash, signer, count, reader)?, signatures))
}

/// A commit of an older format: hash, signer, signature, then as now, but that the count had 2
/// bytes in the first of these formats.
pub(super) fn decode_commit_before(bytes: &[u8], version: u32) -> Result<Signed, StoreError> {
    let mut reader = Reader::new("commit", bytes);
    let hash = CommitHash::from_bytes(reader.array()?);
    let signed = signature(hash, &mut reader)?;
    let count = match version {
        FORMAT_VERSION_MIN => usize::from(reader.u16()?),
        _ => usize::try_from(reader.u32()?).unwrap_or(usize::MAX),
    };
    Ok((rest_of_commit(hash, signed.signer, count, reader)?, vec![signed]))
}

fn signature(hash: CommitHash, reader: &mut Reader<'_>) -> Result<SignedCommit, StoreError> {
    let signer = PeerId::from_bytes(reader.array()?);
    Ok(SignedCommit { hash, signer, signature: reader.array()? })
}

fn rest_of_commit(
    hash: CommitHash,
    signer: PeerId,
    count: usize,
    mut reader: Reader<'_>,
) -> Result<UserCommit, StoreError> {
    let parents = reader.take(count.saturating_mul(CommitHash::BYTES))?;
    let hashes = parents.chunks_exact(CommitHash::BYTES).filter_map(CommitHash::from_slice);
    let builds_on: Vec<CommitHash> = hashes.collect();
    let made_on = match reader.byte()? {
        0 => None,
        1 => Some(CommitHash::from_bytes(reader.array()?)),
        _ => return Err(reader.wrong("has an unknown tag")),
    };
    reader.end()?;
    if !builds_on.is_sorted_by(|a, b| a < b) {
        return Err(reader.wrong("has its commits out of order"));
    }
    Ok(UserCommit { hash, builds_on, made_on, signer })
}

/// Merge: sequence, commit. The pair is the key.
pub(super) fn encode_merge(sequence: u64, commit: &CommitHash) -> Vec<u8> {
    let mut out = sequence.to_le_bytes().to_vec();
    out.extend(commit.as_bytes());
    out
}

pub(super) fn decode_merge(bytes: &[u8]) -> Result<(u64, CommitHash), StoreError> {
    let mut reader = Reader::new("merge", bytes);
    let (sequence, commit) = (reader.u64()?, CommitHash::from_bytes(reader.array()?));
    reader.end()?;
    Ok((sequence, commit))
}

/// Peer: last seen, name, count, addresses. The peer is the key.
pub(super) fn encode_peer(entry: &PeerEntry) -> Result<Vec<u8>, StoreError> {
    let count = u8::try_from(entry.addresses.len())
        .ok()
        .filter(|_| entry.addresses.len() <= limits::ADDRESSES_PER_PEER_MAX)
        .ok_or_else(|| {
            StoreError::invalid(format!(
                "peer {} has {} addresses, the most is {}",
                entry.peer,
                entry.addresses.len(),
                limits::ADDRESSES_PER_PEER_MAX
            ))
        })?;
    let mut out = entry.last_seen_ms.to_le_bytes().to_vec();
    put_text(&mut out, &entry.name, limits::NAME_BYTES_MAX, "the name of a peer")?;
    out.push(count);
    for address in &entry.addresses {
        put_text(&mut out, address, limits::ADDRESS_BYTES_MAX, "the address of a peer")?;
    }
    Ok(out)
}

pub(super) fn decode_peer(peer: PeerId, bytes: &[u8]) -> Result<PeerEntry, StoreError> {
    let mut reader = Reader::new("peer", bytes);
    let last_seen_ms = reader.u64()?;
    let name = reader.text(limits::NAME_BYTES_MAX)?;
    let count = usize::from(reader.byte()?);
    if count > limits::ADDRESSES_PER_PEER_MAX {
        return Err(reader.wrong("has too many addresses"));
    }
    let addresses = (0..count)
        .map(|_| reader.text(limits::ADDRESS_BYTES_MAX))
        .collect::<Result<Vec<_>, _>>()?;
    reader.end()?;
    Ok(PeerEntry { peer, addresses, name, last_seen_ms })
}

/// Invite: uses left, expiry, creation, role. The hash of the secret is the key.
pub(super) fn encode_invite(invite: &Invite) -> Result<Vec<u8>, StoreError> {
    let mut out = invite.uses_left.to_le_bytes().to_vec();
    out.extend(invite.expires_ms.to_le_bytes());
    out.extend(invite.created_ms.to_le_bytes());
    put_text(&mut out, &invite.role, limits::NAME_BYTES_MAX, "the role of an invite")?;
    Ok(out)
}

pub(super) fn decode_invite(id: [u8; 32], bytes: &[u8]) -> Result<Invite, StoreError> {
    let mut reader = Reader::new("invite", bytes);
    let uses_left = reader.u32()?;
    let (expires_ms, created_ms) = (reader.u64()?, reader.u64()?);
    let role = reader.text(limits::NAME_BYTES_MAX)?;
    reader.end()?;
    Ok(Invite { id, role, uses_left, expires_ms, created_ms })
}

/// Commit that is set aside: the reason. The commit is the key.
pub(super) fn encode_reason(reason: &str) -> Result<Vec<u8>, StoreError> {
    let mut out = Vec::new();
    put_text(&mut out, reason, limits::REASON_BYTES_MAX, "the reason of a set-aside commit")?;
    Ok(out)
}

pub(super) fn decode_reason(bytes: &[u8]) -> Result<String, StoreError> {
    let mut reader = Reader::new("set-aside", bytes);
    let reason = reader.text(limits::REASON_BYTES_MAX)?;
    reader.end()?;
    Ok(reason)
}

/// Rejected head: sequence, reason. The head is the key.
pub(super) fn encode_rejected(sequence: u64, reason: &str) -> Result<Vec<u8>, StoreError> {
    let mut out = sequence.to_le_bytes().to_vec();
    put_text(&mut out, reason, limits::REASON_BYTES_MAX, "the reason of a rejection")?;
    Ok(out)
}

pub(super) fn decode_rejected(bytes: &[u8]) -> Result<(u64, String), StoreError> {
    let mut reader = Reader::new("rejected-head", bytes);
    let (sequence, reason) = (reader.u64()?, reader.text(limits::REASON_BYTES_MAX)?);
    reader.end()?;
    Ok((sequence, reason))
}
