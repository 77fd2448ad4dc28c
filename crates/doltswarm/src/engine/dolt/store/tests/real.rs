//! Spools that `dolt push` writes, and inboxes that `dolt fetch` reads.

use std::collections::BTreeSet;

use doltswarm_core::id::{ChunkHash, CommitHash};

use super::super::hash::text;
use super::super::message::{Expected, Kind, Link, links};
use super::super::{ChunkSource, DoltFormat, Inbox, Spool, commit_text};
use super::cli::Repo;
use crate::engine::{ChunkFormat, ChunkReader, EngineError};

/// Tables of all sorts: keys and indexes, large values, documents, no key, a foreign key, checks.
const TABLES: &str = "
    CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(200), CHECK (a < 1000000));
    CREATE INDEX i ON t (a);
    CREATE TABLE child (id INT PRIMARY KEY, t_id INT, FOREIGN KEY (t_id) REFERENCES t (id));
    CREATE TABLE big (id INT PRIMARY KEY, body LONGTEXT, doc JSON, raw LONGBLOB, place POINT);
    CREATE TABLE keyless (a INT, b TEXT);
    CREATE TABLE none (id INT PRIMARY KEY);
    CREATE VIEW v AS SELECT a FROM t;
    CREATE TRIGGER trig BEFORE INSERT ON none FOR EACH ROW SET NEW.id = NEW.id + 1;
    INSERT INTO t SELECT n, n % 97, CONCAT('text ', n, REPEAT('x', n % 50)) FROM
        (WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 5000) SELECT n FROM s) q;
    INSERT INTO child VALUES (1, 1), (2, 4999);
    INSERT INTO big SELECT id, REPEAT(CONCAT('word ', id), id * id * 40),
        CAST(CONCAT('{\"k\": [', REPEAT(CONCAT('{\"n\": ', id, ', \"s\": \"v\"},'), id * id * 10), '1]}') AS JSON),
        REPEAT('z', id * 900), POINT(id, id) FROM t WHERE id <= 25;
    INSERT INTO keyless VALUES (1, 'a'), (1, 'a'), (2, REPEAT('long', 5000))";

/// The chunks of a spool, as a pull would have brought them.
struct Brought {
    spool: Spool,
    /// What the pull did not bring.
    without: BTreeSet<ChunkHash>,
}

impl ChunkSource for Brought {
    fn get_many(&self, hashes: &[ChunkHash]) -> Result<Vec<Option<Vec<u8>>>, String> {
        let mut chunks = self.spool.clone().get_many(hashes).map_err(|error| error.to_string())?;
        for (chunk, hash) in chunks.iter_mut().zip(hashes) {
            if self.without.contains(hash) {
                *chunk = None;
            }
        }
        Ok(chunks)
    }
}

pub(super) fn spool(repo: &Repo, dir: &tempfile::TempDir) -> Spool {
    let spool = Spool::open(dir.path().join("spool")).unwrap();
    repo.dolt(&["remote", "add", "spool", &spool.url()]);
    spool
}

pub(super) fn push(repo: &Repo, spool: &mut Spool) {
    repo.dolt(&["push", "spool", "main"]);
    spool.refresh().unwrap();
}

/// Walks down from a commit; each chunk is there, has its hash, and is what it is named as.
pub(super) fn walk(spool: &mut Spool, commit: CommitHash) -> BTreeSet<ChunkHash> {
    let first = Link { hash: commit.into(), expected: Expected::Commit };
    let (mut seen, mut next) = (BTreeSet::new(), vec![first]);
    while let Some(link) = next.pop() {
        if seen.insert(link.hash) {
            let chunk = spool.get_many(&[link.hash]).unwrap().remove(0);
            let chunk = chunk.unwrap_or_else(|| panic!("{} is not there", text(&link.hash)));
            assert_eq!(DoltFormat.hash(&chunk), link.hash);
            let below = links(&chunk, link.expected)
                .unwrap_or_else(|fault| panic!("{}: {fault}: {chunk:02x?}", text(&link.hash)));
            assert_eq!(
                DoltFormat.children(&chunk).unwrap(),
                below.iter().map(|link| link.hash).collect::<Vec<_>>()
            );
            next.extend(below);
        }
    }
    seen
}

fn kinds(spool: &mut Spool, hashes: &BTreeSet<ChunkHash>) -> BTreeSet<String> {
    let hashes = hashes.iter().copied().collect::<Vec<_>>();
    let chunks = spool.get_many(&hashes).unwrap();
    chunks
        .iter()
        .map(|chunk| format!("{:?}", Kind::read(chunk.as_ref().unwrap()).unwrap().0))
        .collect()
}

#[test]
fn what_dolt_pushes_is_read_and_what_the_inbox_holds_is_fetched() {
    let Some(founder) = Repo::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut spool = spool(&founder, &dir);
    let first = founder.commit(TABLES);
    push(&founder, &mut spool);
    let below = walk(&mut spool, first);
    let found = kinds(&mut spool, &below);
    for kind in ["Blob", "Closure", "Commit", "ForeignKeys", "RootValue", "Rows", "Schema", "Table"]
    {
        assert!(found.contains(kind), "no {kind} in {found:?}");
    }

    // A second repository fetches it all, then only what is new.
    let other = Repo::new().unwrap();
    let inbox = Inbox::open(dir.path().join("in box")).unwrap();
    other.dolt(&["remote", "add", "inbox", &inbox.url()]);
    let source = Brought { spool: spool.clone(), without: BTreeSet::new() };
    let filled = inbox.fill(&first, &source).unwrap();
    assert_eq!(filled.chunks as usize, below.len() + 1);
    other.dolt(&["fetch", "inbox", "main"]);
    other.dolt(&["reset", "--hard", &commit_text(&first)]);
    assert_eq!(other.head("main"), first);
    let sums = "SELECT COUNT(*), SUM(a), SUM(LENGTH(b)) FROM t; SELECT SUM(LENGTH(body)),
        SUM(LENGTH(raw)), SUM(JSON_LENGTH(doc, '$.k')) FROM big; SELECT COUNT(*) FROM keyless";
    assert_eq!(founder.sql(sums), other.sql(sums));

    let second = founder.commit("UPDATE t SET a = 0 WHERE id = 17");
    push(&founder, &mut spool);
    let source = Brought { spool: spool.clone(), without: below };
    let filled = inbox.fill(&second, &source).unwrap();
    assert!(filled.chunks < 15, "{filled:?}");
    other.dolt(&["fetch", "inbox", "main"]);
    other.dolt(&["merge", "--ff-only", &commit_text(&second)]);
    assert_eq!(other.head("main"), second);
    assert_eq!(founder.sql(sums), other.sql(sums));
    other.dolt(&["fsck"]);

    // Nothing else lies about, and what is not there at all is an error that changes nothing.
    let names = std::fs::read_dir(inbox.dir()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap()).collect::<BTreeSet<_>>();
    assert_eq!(names.iter().filter(|name| name.len() == 32).count(), 1, "{names:?}");
    let third = founder.commit("UPDATE t SET a = 1 WHERE id = 17");
    inbox.fill(&third, &source).unwrap();
    let error = other.try_dolt(&["fetch", "inbox", "main"]).unwrap_err();
    assert!(error.contains("not found"), "{error}");
    assert_eq!(other.head("inbox/main"), second);
}

#[test]
fn the_rarer_kinds_are_walked() {
    let Some(repo) = Repo::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut spool = spool(&repo, &dir);
    // Enough tables that the map of them is a tree of its own.
    let table = |n| format!("CREATE TABLE a_table_with_a_long_name_{n} (id INT PRIMARY KEY)");
    repo.commit(&(0..250).map(table).collect::<Vec<_>>().join(";"));
    // A document and values so large that they are trees of several levels; indexes of other kinds.
    repo.commit(
        "SET @@group_concat_max_len = 10000000;
         CREATE TABLE d (id INT PRIMARY KEY, j JSON, b LONGBLOB);
         INSERT INTO d WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 6000)
            SELECT 1, CAST(CONCAT('{', GROUP_CONCAT(CONCAT('\"key ', n, '\": {\"v\": \"', REPEAT('x', n % 300), '\"}')), '}') AS JSON),
                REPEAT('blob', 1000000) FROM s",
    );
    repo.commit(
        "CREATE TABLE vec (id INT PRIMARY KEY, v JSON NOT NULL, VECTOR INDEX i (v));
         INSERT INTO vec WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 300)
            SELECT n, CAST(CONCAT('[', n, ',', n % 7, ',', n % 31, ']') AS JSON) FROM s",
    );
    // Violations that someone committed by force.
    repo.sql(
        "CREATE TABLE p (id INT PRIMARY KEY); CREATE TABLE c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id));
         SET @@foreign_key_checks = 0; SET @@dolt_force_transaction_commit = 1;
         INSERT INTO c WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 2000) SELECT n, n FROM s;
         CALL DOLT_COMMIT('-A', '-m', 'broken'); CALL DOLT_VERIFY_CONSTRAINTS('--all');
         CALL DOLT_COMMIT('-A', '--force', '-m', 'by force')",
    );
    let commit = repo.head("main");
    push(&repo, &mut spool);
    let below = walk(&mut spool, commit);
    let found = kinds(&mut spool, &below);
    for kind in ["Names", "Vectors", "Artifacts", "Blob"] {
        assert!(found.contains(kind), "no {kind} in {found:?}");
    }
}

/// Rows enough that Dolt makes a dictionary: it wants a thousand chunks to learn from.
const MANY: &str = "CREATE TABLE many (id INT PRIMARY KEY, a VARCHAR(100), b VARCHAR(100));
    INSERT INTO many SELECT t.id * 12 + c.id, SHA1(t.id * 12 + c.id), CONCAT('row ', SHA1(t.id - c.id))
        FROM t JOIN t c ON c.id < 12";

fn with_dictionary(spool: &Spool) -> usize {
    spool.files().iter().map(|file| file.with_dictionary()).sum()
}

/// Says whether the run saw the form of archives that a busy machine does not always make.
fn said_of_dictionaries(spool: &Spool) {
    eprintln!("{} of {} chunks have a dictionary", with_dictionary(spool), spool.chunks());
}

#[test]
fn archives_are_read_as_table_files_are() {
    let Some(mut repo) = Repo::new() else { return };
    repo.archives = true;
    let dir = tempfile::tempdir().unwrap();
    let mut spool = spool(&repo, &dir);
    repo.commit(TABLES);
    push(&repo, &mut spool);
    assert_eq!(with_dictionary(&spool), 0);
    let second = repo.commit(MANY);
    push(&repo, &mut spool);
    let names = std::fs::read_dir(spool.dir()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap()).collect::<Vec<_>>();
    assert!(names.iter().any(|name| name.ends_with(".darc")), "{names:?}");
    // A plain store has no journal, which is a file of this name.
    assert!(!names.contains(&"v".repeat(32)), "{names:?}");
    // More than that are only the roots, one or two for each push.
    let others = spool.chunks() - walk(&mut spool, second).len();
    assert!(others <= 4, "{others}");
    // Dolt makes a dictionary while it writes, and goes without where it has not got one in time.
    said_of_dictionaries(&spool);

    // Damage anywhere is an error, or does not matter; never a panic, never another chunk.
    let largest = spool.files().into_iter().max_by_key(|file| file.bytes()).unwrap();
    let path = spool.dir().join(text(&largest.name()) + ".darc");
    let good = std::fs::read(&path).unwrap();
    let hashes = largest.hashes();
    let step = hashes.len() / 20;
    let asked = hashes.iter().step_by(step).copied().collect::<Vec<_>>();
    let read = || Spool::open(spool.dir()).and_then(|mut spool| spool.get_many(&asked));
    let right = read().unwrap();
    let mut errors = 0;
    for n in 0..150 {
        let mut bytes = good.clone();
        // All over the file, its dictionary at the front and its index and footer at the end.
        let at = match n % 3 {
            0 => n * 7_919 * 31 % bytes.len(),
            1 => n * 97 % 20_000,
            _ => bytes.len() - 1 - n * 3 % 300,
        };
        bytes[at] ^= 1 << (n % 8);
        std::fs::write(&path, bytes).unwrap();
        match read() {
            Ok(got) => {
                assert!(got.iter().zip(&right).all(|(got, right)| got.is_none() || got == right))
            }
            Err(error) => {
                assert!(matches!(error, EngineError::Corrupt { .. }), "{error}");
                errors += 1;
            }
        }
    }
    // How many depends on where Dolt put what was asked for, which is not the same each time.
    assert!(errors > 0, "no damage was noticed");
}

#[test]
fn what_the_collector_leaves_is_read() {
    let Some(repo) = Repo::new() else { return };
    repo.commit(TABLES);
    let second = repo.commit(MANY);
    repo.dolt(&["gc"]);
    let mut spool = Spool::open(repo.noms().join("oldgen")).unwrap();
    assert!(walk(&mut spool, second).len() > 1_000);
    said_of_dictionaries(&spool);
}
