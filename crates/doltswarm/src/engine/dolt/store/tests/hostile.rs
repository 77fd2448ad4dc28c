//! Bytes that are not what they should be: nothing panics, and every error says where.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use doltswarm_core::id::{ChunkHash, CommitHash};
use proptest::prelude::*;

use super::super::build::Builder;
use super::super::hash::{hash_of, text};
use super::super::manifest::Manifest;
use super::super::message::{Expected, Kind, links};
use super::super::table_file::TableWriter;
use super::super::{ChunkSource, DoltCommit, DoltFormat, Inbox, Spool};
use crate::engine::{ChunkFormat, ChunkReader, EngineError};

/// Chunks in memory.
#[derive(Default)]
struct Memory(BTreeMap<ChunkHash, Vec<u8>>);

impl Memory {
    fn add(&mut self, chunk: Vec<u8>) -> ChunkHash {
        let hash = hash_of(&chunk);
        self.0.insert(hash, chunk);
        hash
    }
}

impl ChunkSource for Memory {
    fn get_many(&self, hashes: &[ChunkHash]) -> Result<Vec<Option<Vec<u8>>>, String> {
        Ok(hashes.iter().map(|hash| self.0.get(hash).cloned()).collect())
    }
}

fn commit(root: ChunkHash) -> DoltCommit {
    DoltCommit {
        parents: Vec::new(),
        root,
        closure: None,
        height: 1,
        author_name: "Ada".into(),
        author_email: "ada@example.org".into(),
        author_millis: 1,
        committer_name: None,
        committer_email: None,
        committer_millis: 1,
        message: "m".into(),
        signature: None,
    }
}

/// A map of names at a level, as a message.
fn names(level: u8, named: &[ChunkHash]) -> Vec<u8> {
    let mut builder = Builder::default();
    let keys = (0..named.len()).flat_map(|n| [b'a', n as u8]).collect::<Vec<_>>();
    let keys = builder.bytes(&keys);
    let ends = (0..=named.len()).map(|n| 2 * n as u16).collect::<Vec<_>>();
    let ends = builder.shorts(&ends);
    let hashes = named.iter().flat_map(|hash| *hash.as_bytes()).collect::<Vec<_>>();
    let hashes = builder.bytes(&hashes);
    let counts = builder.bytes(&vec![0; named.len()]);
    let mut fields = builder.table();
    fields.part(0, keys);
    fields.part(1, ends);
    fields.part(2, hashes);
    fields.part(3, counts);
    fields.u64(4, named.len() as u64);
    fields.u8(5, level);
    let table = fields.finish();
    builder.finish(table, *b"ADRM")
}

/// A root value with these tables.
fn root_value(tables: &[ChunkHash]) -> Vec<u8> {
    let mut builder = Builder::default();
    let tables = builder.bytes(&names(0, tables));
    let mut fields = builder.table();
    fields.u64(0, 7);
    fields.part(1, tables);
    let table = fields.finish();
    builder.finish(table, *b"RTVL")
}

fn fill(source: &Memory, commit: ChunkHash) -> Result<u32, String> {
    let dir = tempfile::tempdir().unwrap();
    let inbox = Inbox::open(dir.path()).unwrap();
    let filled = inbox.fill(&CommitHash::from_bytes(*commit.as_bytes()), source);
    if filled.is_err() {
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a failed fill leaves nothing");
    }
    filled.map(|filled| filled.chunks).map_err(|error| error.to_string())
}

#[test]
fn a_chunk_must_have_its_hash_and_be_what_it_is_named_as() {
    let mut source = Memory::default();
    let root = source.add(root_value(&[]));
    let good = source.add(commit(root).chunk());
    assert_eq!(fill(&source, good), Ok(3));

    // The source says something else under that name.
    let mut altered = root_value(&[]);
    *altered.last_mut().unwrap() ^= 1;
    let honest = source.0.insert(root, altered).unwrap();
    let error = fill(&source, good).unwrap_err();
    assert!(error.contains(&text(&root)) && error.contains("does not have its hash"), "{error}");
    source.0.insert(root, honest);

    // Names that lead to another kind than stands there.
    let fake_root = source.add(commit(good).chunk());
    let table_is_commit = source.add(root_value(&[good]));
    let table_is_commit = source.add(commit(table_is_commit).chunk());
    let mut under = commit(root);
    under.parents.push(CommitHash::from_bytes(*root.as_bytes()));
    under.height = 2;
    let parent_is_root = source.add(under.chunk());
    let synthetic = source.add(DoltFormat.synthetic_root(&CommitHash::from_bytes([1; 20])));
    let root_is_refs = source.add(commit(synthetic).chunk());
    for wrong in [fake_root, table_is_commit, parent_is_root, root_is_refs, root, synthetic] {
        let error = fill(&source, wrong).unwrap_err();
        assert!(error.contains("is refused"), "{error}");
    }
    assert!(
        DoltFormat.children(&source.0[&synthetic]).is_err(),
        "no commit reaches a list of refs"
    );
}

#[test]
fn nodes_must_hold_together() {
    let some = [hash_of(b"a"), hash_of(b"b")];
    assert_eq!(links(&names(0, &some), Expected::Any).unwrap().len(), 2);
    assert_eq!(links(&names(3, &some), Expected::Any).unwrap().len(), 2);
    assert!(links(&names(1, &[]), Expected::Any).is_err(), "an inner node has children");
    assert!(links(&names(0, &some), Expected::Value).is_err(), "a document begins at level 1");
    // One field more than this version knows.
    let mut builder = Builder::default();
    let keys = builder.bytes(b"");
    let mut fields = builder.table();
    fields.part(0, keys);
    fields.u8(5, 1);
    let table = fields.finish();
    let fault = links(&builder.finish(table, *b"CMCL"), Expected::Any).unwrap_err();
    assert!(fault.contains("newer version"), "{fault}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_make_a_message_panic(bytes: Vec<u8>, kind in 0..11_usize) {
        let ids = [b"DCMT", b"RTVL", b"DTBL", b"DSCH", b"DFKC", b"TUPM", b"IVFF", b"ADRM", b"ARTM", b"CMCL", b"BLOB"];
        let mut buffer = vec![16, 0, 0, 0];
        buffer.extend(ids[kind]);
        buffer.extend(bytes);
        let mut message = vec![27];
        message.extend(&(buffer.len() as u32).to_be_bytes()[1..]);
        message.extend(buffer);
        let _ = links(&message, Expected::Any);
        let _ = DoltCommit::parse(&message);
    }

    #[test]
    fn no_altered_byte_makes_a_message_panic(at in any::<prop::sample::Index>(), byte: u8, level in 0..3_u8) {
        let some = [hash_of(b"a"), hash_of(b"b")];
        for message in [commit(some[0]).chunk(), names(level, &some), root_value(&some)] {
            let mut altered = message.clone();
            let at = at.index(altered.len());
            altered[at] = byte;
            let _ = links(&altered, Expected::Any);
            let _ = Kind::read(&altered);
            let _ = DoltCommit::parse(&altered);
            let _ = links(&message[..at], Expected::Any);
        }
    }

    #[test]
    fn commits_round_trip(
        parents in prop::collection::vec(any::<[u8; 20]>(), 0..4),
        height in any::<u64>(),
        millis in any::<(i64, i64)>(),
        texts in any::<(String, String, String)>(),
        others in any::<(Option<String>, Option<String>, Option<String>)>(),
    ) {
        let mut written = commit(hash_of(b"root"));
        written.parents = parents.into_iter().map(CommitHash::from_bytes).collect();
        written.height = height;
        (written.author_millis, written.committer_millis) = millis;
        (written.author_name, written.author_email, written.message) = texts;
        (written.committer_name, written.committer_email, written.signature) = others;
        let chunk = written.chunk();
        prop_assert_eq!(DoltCommit::parse(&chunk).unwrap(), written);
    }
}

/// A spool with one file of these chunks.
fn spool_of(dir: &Path, chunks: &[Vec<u8>]) -> (Spool, ChunkHash) {
    let mut writer = TableWriter::create(dir).unwrap();
    for chunk in chunks {
        writer.add(hash_of(chunk), chunk).unwrap();
    }
    let written = writer.finish(dir).unwrap();
    let files = vec![(written.name, written.chunks)];
    Manifest { root: hash_of(&chunks[0]), files }.write(dir).unwrap();
    assert_eq!(fs::metadata(dir.join(text(&written.name))).unwrap().len(), written.bytes);
    (Spool::open(dir).unwrap(), written.name)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn table_files_round_trip(chunks in prop::collection::btree_set(any::<Vec<u8>>(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let chunks = chunks.into_iter().collect::<Vec<_>>();
        let (mut spool, _) = spool_of(dir.path(), &chunks);
        let mut hashes = chunks.iter().map(|chunk| hash_of(chunk)).collect::<Vec<_>>();
        let got = spool.get_many(&hashes).unwrap();
        prop_assert_eq!(got, chunks.into_iter().map(Some).collect::<Vec<_>>());
        hashes.push(hash_of(b"not there, as its length says"));
        prop_assert_eq!(spool.has_many(&hashes).unwrap().iter().filter(|has| **has).count(), hashes.len() - 1);
    }

    #[test]
    fn no_damage_to_a_file_goes_unnoticed_or_panics(
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let chunks = (0..9_u8).map(|n| vec![n; 30]).collect::<Vec<_>>();
        let (_, name) = spool_of(dir.path(), &chunks);
        let path = dir.path().join(text(&name));
        let good = fs::read(&path).unwrap();
        let hashes = chunks.iter().map(|chunk| hash_of(chunk)).collect::<Vec<_>>();
        let mut altered = good.clone();
        let place = at.index(altered.len());
        altered[place] ^= flip;
        let shorter = good[..cut.index(good.len())].to_vec();
        let archive = dir.path().join(text(&name) + ".darc");
        for (bytes, path) in [(&altered, &path), (&shorter, &path), (&altered, &archive)] {
            let _ = fs::remove_file(dir.path().join(text(&name)));
            fs::write(path, bytes).unwrap();
            let read = Spool::open(dir.path()).and_then(|mut spool| spool.get_many(&hashes));
            match read {
                // What is there is what was written.
                Ok(got) => for (got, chunk) in got.iter().zip(&chunks) {
                    prop_assert!(got.as_ref().is_none_or(|got| got == chunk));
                },
                Err(EngineError::Corrupt { message }) => {
                    prop_assert!(message.contains(&text(&name)), "{}", message);
                }
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    }
}

#[test]
fn a_spool_follows_its_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, first) = spool_of(dir.path(), &[vec![1; 10]]);
    let reader = spool.clone();
    // The server joins the files: another file, another manifest, and the old file is gone.
    let (_, second) = spool_of(dir.path(), &[vec![1; 10], vec![2; 10]]);
    fs::remove_file(dir.path().join(text(&first))).unwrap();
    let (old, new) = (hash_of(&[1; 10]), hash_of(&[2; 10]));
    assert_eq!(spool.get_many(&[old]).unwrap(), [Some(vec![1; 10])], "the open file is still read");
    // What is not in the known files is looked for in the manifest of now.
    assert_eq!(reader.clone().has_many(&[old, new]).unwrap(), [true, true]);
    let size = fs::metadata(dir.path().join(text(&second))).unwrap().len();
    assert_eq!((spool.bytes(), spool.size().unwrap(), spool.chunks()), (size, size, 2));

    // A file that is gone for good.
    let missing = hash_of(b"missing");
    let manifest = Manifest { root: old, files: vec![(second, 2), (missing, 1)] };
    manifest.write(dir.path()).unwrap();
    let error = spool.refresh().unwrap_err().to_string();
    assert!(error.contains(&text(&missing)), "{error}");
    assert_eq!(spool.has_many(&[new]).unwrap(), [true], "what was known is known");

    // A reset removes what is the store's, and nothing else.
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    fs::write(dir.path().join("LOCK"), "").unwrap();
    spool.reset().unwrap();
    let mut names = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect::<Vec<_>>();
    names.sort();
    assert_eq!(names, ["LOCK", "notes.txt"]);
    spool.refresh().unwrap();
    assert_eq!((spool.has_many(&[old, new]).unwrap(), spool.bytes()), (vec![false, false], 0));
}

#[test]
fn an_inbox_holds_only_the_last_pull() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = Inbox::open(dir.path().join("in")).unwrap();
    let mut source = Memory::default();
    let root = source.add(root_value(&[]));
    for height in 1..4 {
        let mut commit = commit(root);
        commit.height = height;
        let hash = source.add(commit.chunk());
        let filled = inbox.fill(&CommitHash::from_bytes(*hash.as_bytes()), &source).unwrap();
        assert_eq!(filled.chunks, 3);
        let mut spool = Spool::open(inbox.dir()).unwrap();
        assert_eq!(spool.has_many(&[hash, root, filled.root]).unwrap(), [true; 3]);
        assert_eq!(spool.bytes(), filled.bytes);
        assert_eq!(fs::read_dir(inbox.dir()).unwrap().count(), 2);
    }
    inbox.clear().unwrap();
    assert_eq!(fs::read_dir(inbox.dir()).unwrap().count(), 0);
    inbox.clear().unwrap();
}
