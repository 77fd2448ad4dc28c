//! Tests of staging: what survives, what is never believed.

use doltswarm_core::id::CommitHash;
use proptest::prelude::*;

use super::*;
use crate::engine::EngineResult;
use crate::small_disk::SmallDisk;

/// Hashes as DoltLite does, and knows no children.
struct Format;

impl ChunkFormat for Format {
    fn hash(&self, chunk: &[u8]) -> ChunkHash {
        ChunkHash::from_slice(&blake3::hash(chunk).as_bytes()[..20]).unwrap()
    }

    fn children(&self, _: &[u8]) -> EngineResult<Vec<ChunkHash>> {
        Ok(Vec::new())
    }

    fn synthetic_root(&self, _: &CommitHash) -> Vec<u8> {
        Vec::new()
    }
}

fn open(dir: &Path) -> Staging {
    Staging::open(dir, Arc::new(Format)).unwrap()
}

fn file(dir: &Path) -> PathBuf {
    dir.join(DIR_NAME).join(FILE_NAME)
}

/// Chunk `n`, of 4,000 bytes or so.
fn chunk(n: u32) -> Vec<u8> {
    n.to_le_bytes().repeat(1_000 + n as usize % 7)
}

fn put(staging: &Staging, chunk: &[u8]) -> ChunkHash {
    let hash = Format.hash(chunk);
    staging.put(hash, chunk).unwrap();
    hash
}

fn put_all(staging: &Staging, numbers: std::ops::Range<u32>) -> Vec<ChunkHash> {
    numbers.map(|n| put(staging, &chunk(n))).collect()
}

/// How many chunks are enough for the file.
const SPILLING: u32 = 300;

#[test]
fn small_pull_never_touches_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let staging = open(dir.path());
    let hashes = put_all(&staging, 0..50);
    assert_eq!(staging.get(&hashes[3]).unwrap(), Some(chunk(3)));
    assert!(staging.contains(&hashes[0]) && !staging.contains(&Format.hash(b"absent")));
    staging.clear().unwrap();
    assert!(!staging.contains(&hashes[0]));
    assert_eq!((staging.chunks(), staging.bytes()), (0, 0));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn large_pull_survives_a_crash_but_for_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let staging = open(dir.path());
    let hashes = put_all(&staging, 0..2 * SPILLING);
    for (n, hash) in (0..).zip(&hashes) {
        assert_eq!(staging.get(hash).unwrap(), Some(chunk(n)));
    }
    let bytes = staging.bytes();
    assert!(bytes > 4_000 * u64::from(2 * SPILLING));
    std::mem::forget(staging);

    let staging = open(dir.path());
    let lost = hashes.iter().filter(|hash| !staging.contains(hash)).count();
    assert!(lost <= limits::STAGING_MEMORY_BYTES / 4_000 + 1, "{lost} lost");
    assert_eq!(staging.chunks(), hashes.len() - lost);
    // The transfer goes on where it was.
    put_all(&staging, 0..2 * SPILLING);
    let all = staging.get_many(&hashes).unwrap();
    assert!(all.iter().zip(0..).all(|(found, n)| found.as_ref() == Some(&chunk(n))));
    assert_eq!(staging.chunks(), hashes.len());

    staging.clear().unwrap();
    assert_eq!(fs::metadata(file(dir.path())).unwrap().len(), 0);
    put_all(&staging, 0..SPILLING);
    assert!(fs::metadata(file(dir.path())).unwrap().len() > 0, "it is used again");
}

#[test]
fn what_waits_in_memory_is_kept_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let staging = open(dir.path());
    let hashes = put_all(&staging, 0..9);
    drop(staging);
    let staging = open(dir.path());
    let all = staging.get_many(&hashes).unwrap();
    assert!(all.iter().zip(0..).all(|(found, n)| found.as_ref() == Some(&chunk(n))));
}

#[cfg(unix)]
#[test]
fn file_is_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    put_all(&open(dir.path()), 0..SPILLING);
    let mode = fs::metadata(file(dir.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn torn_tail_is_cut_off_and_written_over() {
    let dir = tempfile::tempdir().unwrap();
    put_all(&open(dir.path()), 0..SPILLING);
    let whole = fs::read(file(dir.path())).unwrap();
    let count = open(dir.path()).chunks();
    for cut in [whole.len() - 1, whole.len() - 4_000, whole.len() - 4_020, 30, 10, 0] {
        fs::write(file(dir.path()), &whole[..cut]).unwrap();
        let staging = open(dir.path());
        assert!(staging.chunks() < count, "{cut}");
        let hashes = put_all(&staging, 0..2 * SPILLING);
        assert!(staging.get_many(&hashes).unwrap().iter().all(Option::is_some), "{cut}");
    }
    // What some file systems leave of a write that was not synced.
    fs::write(file(dir.path()), [&whole[..], &[0; 9_000]].concat()).unwrap();
    assert_eq!(open(dir.path()).chunks(), count);
    assert_eq!(fs::metadata(file(dir.path())).unwrap().len(), whole.len() as u64);
}

#[test]
fn damaged_record_is_absent_and_can_be_put_again() {
    let dir = tempfile::tempdir().unwrap();
    let hashes = put_all(&open(dir.path()), 0..SPILLING);
    let mut bytes = fs::read(file(dir.path())).unwrap();
    bytes[RECORD_HEAD_BYTES + 9] ^= 1;
    let first = ChunkHash::from_slice(&bytes[..ChunkHash::BYTES]).unwrap();
    fs::write(file(dir.path()), bytes).unwrap();
    let staging = open(dir.path());
    assert!(staging.contains(&first), "nothing was read yet");
    assert_eq!(staging.get(&first).unwrap(), None);
    assert!(!staging.contains(&first));
    let n = hashes.iter().zip(0..).find(|(hash, _)| **hash == first).unwrap().1;
    assert_eq!(put(&staging, &chunk(n)), first);
    assert_eq!(ChunkSource::get_many(&staging, &[first]), Ok(vec![Some(chunk(n))]));
    assert_eq!(staging.has_many(&[first, Format.hash(b"absent")]), Ok(vec![true, false]));
}

#[test]
fn chunk_of_no_size_or_too_much_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let staging = open(dir.path());
    for bad in [vec![], vec![0; limits::CHUNK_BYTES_MAX + 1]] {
        let refused = staging.put(Format.hash(&bad), &bad);
        assert!(matches!(refused, Err(StagingError::ChunkSize { .. })), "{refused:?}");
    }
    let large = vec![5; 3 * limits::STAGING_MEMORY_BYTES];
    let hash = put(&staging, &large);
    assert_eq!(staging.get(&hash).unwrap(), Some(large));
    assert_eq!(staging.chunks(), 1);
}

#[test]
fn full_disk_is_said_and_nothing_before_is_lost() {
    let Some(disk) = SmallDisk::mount(6 << 10) else { return };
    let staging = open(disk.path());
    let mut kept = put_all(&staging, 0..SPILLING);
    disk.fill();
    let mut n = SPILLING;
    let error = loop {
        let chunk = chunk(n);
        match staging.put(Format.hash(&chunk), &chunk) {
            Ok(()) => kept.push(Format.hash(&chunk)),
            Err(error) => break error,
        }
        n += 1;
    };
    assert!(matches!(error, StagingError::DiskFull { .. }), "{error}");
    assert!(!staging.contains(&Format.hash(&chunk(n))));
    for _ in 0..3 {
        assert!(staging.put(Format.hash(&chunk(n)), &chunk(n)).is_err());
    }
    assert!(staging.get_many(&kept).unwrap().iter().all(Option::is_some));
    // After a crash in this state too, what is found is whole.
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join(DIR_NAME)).unwrap();
    fs::copy(file(disk.path()), file(copy.path())).unwrap();
    let after = open(copy.path());
    assert!(kept.iter().all(|hash| !after.contains(hash) || after.get(hash).unwrap().is_some()));

    disk.make_room();
    kept.extend(put_all(&staging, n..n + 50));
    assert!(staging.get_many(&kept).unwrap().iter().all(Option::is_some));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_file_opens_and_gives_nothing_false(
        mut bytes in prop::collection::vec(any::<u8>(), 0..400),
        lengths in prop::collection::vec(0_u32..60, 0..8),
    ) {
        // Records that look right, then garbage.
        let mut content = Vec::new();
        for (n, length) in (0_u8..).zip(lengths) {
            content.extend([n; ChunkHash::BYTES]);
            content.extend(length.to_le_bytes());
            content.extend(vec![n; length as usize]);
        }
        content.append(&mut bytes);
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(DIR_NAME)).unwrap();
        fs::write(file(dir.path()), &content).unwrap();
        let staging = open(dir.path());
        for n in 0..8 {
            prop_assert_eq!(staging.get(&ChunkHash::from_bytes([n; 20])).unwrap(), None);
        }
        let hash = put(&staging, b"new");
        prop_assert_eq!(staging.get(&hash).unwrap(), Some(b"new".to_vec()));
    }
}
