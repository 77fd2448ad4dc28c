//! User commits, in an order that has parents first, and their signatures.

use std::collections::{BTreeSet, HashMap, HashSet};

use doltswarm_core::commit::UserCommit;
use doltswarm_core::id::{CommitHash, PeerId};
use doltswarm_core::limits;
use doltswarm_core::message::{SignedCommit, SignersDigest};
use doltswarm_core::sign::keep_lowest;
use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction,
};

use super::codec;
use super::error::StoreError;
use super::{Founding, Store};

/// With their signatures, in the order of arrival, which has parents first. Hashes are random: a
/// table by hash is written all over, so only the small one below is.
const COMMITS: TableDefinition<u64, &[u8]> = TableDefinition::new("commits");
/// Where each commit is in that order.
const COMMIT_SEQUENCE: TableDefinition<&[u8; CommitHash::BYTES], u64> =
    TableDefinition::new("commit_sequence");

/// A commit and its signatures, which the store never parts.
#[derive(Debug, Clone)]
pub(super) struct Record {
    commit: UserCommit,
    /// Lowest key first.
    signatures: Vec<SignedCommit>,
}

/// How the keys that signed a commit changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignersChange {
    /// The commit.
    pub commit: CommitHash,
    /// Whose signatures the store had, lowest key first; nobody's if it had none.
    pub before: Vec<PeerId>,
    /// Whose it has.
    pub after: Vec<PeerId>,
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::from_redb("keep commits", error)
}

pub(super) fn create_tables(txn: &WriteTransaction) -> Result<(), StoreError> {
    txn.open_table(COMMITS).map_err(failed)?;
    txn.open_table(COMMIT_SEQUENCE).map_err(failed)?;
    Ok(())
}

/// Adds `records`, parents first. A commit that is there already stays as it is.
pub(super) fn write(txn: &WriteTransaction, records: &[Record]) -> Result<(), StoreError> {
    if records.is_empty() {
        return Ok(());
    }
    let mut commits = txn.open_table(COMMITS).map_err(failed)?;
    let mut sequences = txn.open_table(COMMIT_SEQUENCE).map_err(failed)?;
    let mut last = commits.last().map_err(failed)?.map(|(last, _)| last.value());
    for Record { commit, signatures } in records {
        if sequences.get(commit.hash.as_bytes()).map_err(failed)?.is_some() {
            continue;
        }
        for parent in &commit.builds_on {
            if sequences.get(parent.as_bytes()).map_err(failed)?.is_none() {
                return Err(not_parents_first(commit, parent));
            }
        }
        let next = codec::next_sequence(last)?;
        let bytes = codec::encode_commit(commit, signatures)?;
        commits.insert(next, bytes.as_slice()).map_err(failed)?;
        sequences.insert(commit.hash.as_bytes(), next).map_err(failed)?;
        last = Some(next);
    }
    Ok(())
}

/// Rewrites the commits of an older format in this one's.
pub(super) fn upgrade(txn: &WriteTransaction, version: u32) -> Result<(), StoreError> {
    let mut commits = txn.open_table(COMMITS).map_err(failed)?;
    let mut next = 0;
    // One at a time, so that a long history needs no memory.
    loop {
        let Some((sequence, record)) = first_from(&commits, next, version)? else { return Ok(()) };
        commits.insert(sequence, record.as_slice()).map_err(failed)?;
        next = codec::next_sequence(Some(sequence))?;
    }
}

/// The first commit from this number on, encoded anew.
fn first_from(
    commits: &impl ReadableTable<u64, &'static [u8]>,
    begin: u64,
    version: u32,
) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
    let Some(entry) = commits.range(begin..).map_err(failed)?.next() else { return Ok(None) };
    let (sequence, bytes) = entry.map_err(failed)?;
    let (commit, signed) = codec::decode_commit_before(bytes.value(), version)?;
    Ok(Some((sequence.value(), codec::encode_commit(&commit, &signed)?)))
}

fn not_parents_first(commit: &UserCommit, parent: &CommitHash) -> StoreError {
    StoreError::invalid(format!(
        "commit {} builds on {parent}, which has to be added first",
        commit.hash
    ))
}

/// Joins commits with their signatures and checks what needs no file. Commits without a signature
/// are refused, unless `may_lack` says that they may.
fn records(
    founding: &Founding,
    commits: &[UserCommit],
    signed: &[SignedCommit],
    may_lack: bool,
) -> Result<Vec<Record>, StoreError> {
    let mut by_commit: HashMap<CommitHash, Vec<SignedCommit>> = HashMap::new();
    for signed in signed {
        by_commit.entry(signed.hash).or_default().push(signed.clone());
    }
    let mut records = Vec::with_capacity(commits.len());
    for commit in commits {
        let invalid = |what: &str| StoreError::invalid(format!("commit {} {what}", commit.hash));
        let mut signatures = by_commit.remove(&commit.hash).unwrap_or_default();
        keep_lowest(&mut signatures);
        if signatures.is_empty() && !may_lack {
            return Err(invalid("came without a signature"));
        }
        if commit.builds_on.is_empty() != (commit.hash == founding.founding) {
            return Err(invalid("builds on nothing, or the founding commit on something"));
        }
        // What cannot be encoded must not wait in memory, where it would fail every write.
        codec::encode_commit(commit, &signatures)?;
        records.push(Record { commit: commit.clone(), signatures });
    }
    if let Some(commit) = by_commit.keys().min() {
        return Err(StoreError::invalid(format!(
            "a signature of {commit} came without the commit"
        )));
    }
    Ok(records)
}

/// Adds a signature to those of a commit, if the commit is there.
fn add_signature(
    txn: &WriteTransaction,
    founding: &Founding,
    signed: &SignedCommit,
) -> Result<Option<SignersChange>, StoreError> {
    // Who founded the swarm is known without a signature, so nobody else's counts.
    if signed.hash == founding.founding && signed.signer != founding.founder {
        return Ok(None);
    }
    let sequences = txn.open_table(COMMIT_SEQUENCE).map_err(failed)?;
    let mut commits = txn.open_table(COMMITS).map_err(failed)?;
    let sequence = sequences.get(signed.hash.as_bytes()).map_err(failed)?;
    let Some(sequence) = sequence.map(|sequence| sequence.value()) else { return Ok(None) };
    let record = commits.get(sequence).map_err(failed)?;
    let record = record.map(|record| codec::decode_commit(record.value())).transpose()?;
    let Some((mut commit, mut signatures)) = record else { return Ok(None) };
    let keys = |signatures: &[SignedCommit]| signatures.iter().map(|it| it.signer).collect();
    let before: Vec<PeerId> = keys(&signatures);
    signatures.push(signed.clone());
    keep_lowest(&mut signatures);
    let after: Vec<PeerId> = keys(&signatures);
    if before == after {
        return Ok(None);
    }
    commit.signer = after.first().copied().unwrap_or(commit.signer);
    let bytes = codec::encode_commit(&commit, &signatures)?;
    commits.insert(sequence, bytes.as_slice()).map_err(failed)?;
    Ok(Some(SignersChange { commit: commit.hash, before, after }))
}

impl Store {
    /// All user commits, each after those it builds on. What waits in memory is written first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] where a record is damaged, comes twice, or builds on what is not
    /// there.
    pub fn restore_commits(&self) -> Result<Vec<UserCommit>, StoreError> {
        Ok(self.restore()?.0)
    }

    /// As [`Self::restore_commits`], with which keys signed them.
    pub fn restore(&self) -> Result<(Vec<UserCommit>, SignersDigest), StoreError> {
        self.flush()?;
        let founding = self.founding().founding;
        self.read(|txn| {
            let table = txn.open_table(COMMITS).map_err(failed)?;
            let mut seen = HashSet::new();
            let (mut commits, mut signers) = (Vec::new(), SignersDigest::default());
            for entry in table.iter().map_err(failed)? {
                let (_, bytes) = entry.map_err(failed)?;
                let (commit, signatures) = codec::decode_commit(bytes.value())?;
                signatures.iter().for_each(|signed| signers.add(&commit.hash, &signed.signer));
                if let Some(missing) = commit.builds_on.iter().find(|hash| !seen.contains(*hash)) {
                    return Err(StoreError::corrupt(format!(
                        "commit {} builds on {missing}, which is not before it",
                        commit.hash
                    )));
                }
                if commit.builds_on.is_empty() != (commit.hash == founding) {
                    return Err(StoreError::corrupt(format!(
                        "commit {} is the founding commit or not, and builds on the contrary",
                        commit.hash
                    )));
                }
                if !seen.insert(commit.hash) {
                    return Err(StoreError::corrupt(format!("commit {} is twice", commit.hash)));
                }
                commits.push(commit);
            }
            Ok((commits, signers))
        })
    }

    /// Whether the store has this user commit, one that waits in memory included.
    pub fn contains_commit(&self, hash: &CommitHash) -> Result<bool, StoreError> {
        if self.pending().commits.iter().rev().any(|record| record.commit.hash == *hash) {
            return Ok(true);
        }
        self.read(|txn| {
            let table = txn.open_table(COMMIT_SEQUENCE).map_err(failed)?;
            let sequence = table.get(hash.as_bytes()).map_err(failed)?;
            Ok(sequence.is_some())
        })
    }

    /// How many user commits the store has, without those that wait in memory.
    pub fn commit_count(&self) -> Result<u64, StoreError> {
        self.read(|txn| txn.open_table(COMMITS).map_err(failed)?.len().map_err(failed))
    }

    /// Adds commits with their signatures, one or several for each, parents first. All of
    /// them are on the disk when it returns, or none. A commit that is there already is skipped.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] if a commit builds on one that is neither there nor before it, has
    /// no signature, or is said to be by another than the lowest key that signed it.
    pub fn add_commits(
        &self,
        commits: &[UserCommit],
        signed: &[SignedCommit],
    ) -> Result<(), StoreError> {
        let records = records(self.founding(), commits, signed, false)?;
        self.write("keep commits", |txn| write(txn, &records))
    }

    /// Adds commits as [`Self::add_commits`] does, some of them without a signature: the database
    /// holds them, and a peer has their signatures.
    pub fn add_found_commits(
        &self,
        commits: &[UserCommit],
        signed: &[SignedCommit],
    ) -> Result<(), StoreError> {
        let records = records(self.founding(), commits, signed, true)?;
        self.write("keep commits", |txn| write(txn, &records))
    }

    /// Adds verified signatures to commits that are there; of each commit those of the lowest keys
    /// stay. Returns what changed.
    pub fn add_signatures(
        &self,
        signed: &[SignedCommit],
    ) -> Result<Vec<SignersChange>, StoreError> {
        self.write("keep signatures", |txn| {
            let add = |signed| add_signature(txn, self.founding(), signed).transpose();
            signed.iter().filter_map(add).collect()
        })
    }

    /// Adds commits as [`Self::add_commits`] does, but lets them wait in memory: for the node's
    /// own, which the engine holds durably, and which are signed again at start if they got no
    /// further. They are on the disk after the next durable call or [`Self::flush`].
    pub fn add_commits_relaxed(
        &self,
        commits: &[UserCommit],
        signed: &[SignedCommit],
    ) -> Result<(), StoreError> {
        let records = records(self.founding(), commits, signed, false)?;
        // Checked now, with what waits before them: a record that cannot be written must not wait.
        let mut known = HashSet::new();
        for Record { commit, .. } in &records {
            for parent in &commit.builds_on {
                if !known.contains(parent) && !self.contains_commit(parent)? {
                    return Err(not_parents_first(commit, parent));
                }
            }
            known.insert(commit.hash);
        }
        if records.len() > limits::STORE_PENDING_MAX {
            return self.write("keep commits", |txn| write(txn, &records));
        }
        // Bounded also while the disk is full: then this refuses what is one too many.
        if self.pending().commits.len() + records.len() > limits::STORE_PENDING_MAX {
            self.flush()?;
        }
        self.pending().commits.extend(records);
        Ok(())
    }

    /// Takes commits out again, which the database turned out not to hold. Every commit that builds
    /// on one of them must be among them.
    pub fn forget_commits(&self, commits: &BTreeSet<CommitHash>) -> Result<(), StoreError> {
        self.write("forget commits", |txn| {
            let mut table = txn.open_table(COMMITS).map_err(failed)?;
            let mut sequences = txn.open_table(COMMIT_SEQUENCE).map_err(failed)?;
            for hash in commits {
                let sequence = sequences.remove(hash.as_bytes()).map_err(failed)?;
                if let Some(sequence) = sequence.map(|sequence| sequence.value()) {
                    table.remove(sequence).map_err(failed)?;
                }
            }
            Ok(())
        })
    }

    /// The signatures of each commit, lowest key first, in the order asked; none if the store does
    /// not have the commit, or no signature of it.
    pub fn signatures(&self, commits: &[CommitHash]) -> Result<Vec<Vec<SignedCommit>>, StoreError> {
        // What waits is looked at first: what is written in between is then found in the file.
        let mut found: Vec<Option<Vec<SignedCommit>>> = {
            let pending = self.pending();
            let waiting = pending.commits.iter();
            let waiting: HashMap<_, _> =
                waiting.map(|record| (record.commit.hash, &record.signatures)).collect();
            commits.iter().map(|hash| waiting.get(hash).copied().cloned()).collect()
        };
        self.read(|txn: &ReadTransaction| {
            let sequences = txn.open_table(COMMIT_SEQUENCE).map_err(failed)?;
            let commits_table = txn.open_table(COMMITS).map_err(failed)?;
            for (slot, hash) in found.iter_mut().zip(commits).filter(|(slot, _)| slot.is_none()) {
                let sequence = sequences.get(hash.as_bytes()).map_err(failed)?;
                let Some(sequence) = sequence.map(|sequence| sequence.value()) else { continue };
                let record = commits_table.get(sequence).map_err(failed)?;
                let record =
                    record.map(|record| codec::decode_commit(record.value())).transpose()?;
                let record = record.filter(|(commit, _)| commit.hash == *hash);
                let Some((_, signatures)) = record else {
                    let message = format!("commit {hash} is not where its number says");
                    return Err(StoreError::corrupt(message));
                };
                *slot = Some(signatures);
            }
            Ok(())
        })?;
        Ok(found.into_iter().map(Option::unwrap_or_default).collect())
    }
}

/// Rewrites the commits in an older format.
#[cfg(test)]
pub(super) fn downgrade_for_test(store: &Store, version: u32) {
    let records = store.read(|txn| {
        let table = txn.open_table(COMMITS).map_err(failed)?;
        let all = table.iter().map_err(failed)?.map(|entry| {
            let (sequence, bytes) = entry.map_err(failed)?;
            let (_, signatures) = codec::decode_commit(bytes.value())?;
            assert_eq!(signatures.len(), 1);
            let mut record = bytes.value().to_vec();
            // There was no number of signatures after the hash.
            record.remove(CommitHash::BYTES);
            if version == super::FORMAT_VERSION_MIN {
                // The upper bytes of the count, which comes after hash, signer and signature.
                assert_eq!(record[118..120], [0, 0]);
                record.drain(118..120);
            }
            Ok((sequence.value(), record))
        });
        all.collect::<Result<Vec<_>, StoreError>>()
    });
    let put = |txn: &WriteTransaction| {
        let mut table = txn.open_table(COMMITS).map_err(failed)?;
        for (sequence, record) in records.expect("read") {
            table.insert(sequence, record.as_slice()).map_err(failed)?;
        }
        Ok::<(), StoreError>(())
    };
    store.write("downgrade", put).expect("downgrade");
}

/// Writes records in any order behind the store's back.
#[cfg(test)]
pub(super) fn put_for_test(store: &Store, commits: &[UserCommit]) {
    let put = |txn: &WriteTransaction| {
        let mut table = txn.open_table(COMMITS).map_err(failed)?;
        for (n, commit) in (0..).zip(commits) {
            let signed =
                SignedCommit { hash: commit.hash, signer: commit.signer, signature: [7; 64] };
            table.insert(n, codec::encode_commit(commit, &[signed])?.as_slice()).map_err(failed)?;
        }
        Ok::<(), StoreError>(())
    };
    store.write("put", put).expect("put");
}
