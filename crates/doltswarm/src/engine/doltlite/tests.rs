//! The conformance suite on DoltLite, and what only DoltLite has.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::ffi::Connection;
use super::{DoltLite, DoltLiteFormat};
use crate::engine::conformance::{Backend, Pair, Side, chunks_of, conformance_tests, meta_at};
use crate::engine::{ChunkFormat, Engine};

mod chunks;
mod definitions;
mod dump;
mod foreign;
mod from;
mod intake;
mod losses;
mod own;
mod pairs;
mod random;
mod random_definitions;
mod refusals;
mod safety;
mod sizes;
mod threads;

conformance_tests!(super::pair);

/// Two databases of one swarm in a directory of their own.
fn pair() -> Pair {
    pair_at().0
}

/// The same, and where the first of them is.
fn pair_at() -> (Pair, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let paths = [dir.path().join("a.db"), dir.path().join("b.db")];
    let mut a = DoltLite::create(&paths[0]).unwrap();
    let founding = a.found(&meta_at("found", 1_700_000_000)).unwrap();
    let mut b = DoltLite::clone_from(&paths[1], chunks_of(&a), &founding).unwrap();
    // One merges by way of stand-ins, the other never does: every case shows that it is the same.
    (a.stand_ins_above, b.stand_ins_above) = (0, u64::MAX);
    let path = paths[0].clone();
    (Pair::new(Box::new(a), Box::new(b), Box::new(Files { _dir: dir, paths })), path)
}

struct Files {
    _dir: TempDir,
    paths: [PathBuf; 2],
}

impl Files {
    fn path(&self, side: Side) -> &Path {
        match side {
            Side::A => &self.paths[0],
            Side::B => &self.paths[1],
        }
    }
}

impl Backend for Files {
    fn meddle(&mut self, side: Side, sql: &str) {
        Connection::open(self.path(side), false).unwrap().batch(sql).unwrap();
    }

    fn forbid_null(&self) -> &'static str {
        "CREATE TABLE n (id INTEGER PRIMARY KEY, a INT NOT NULL);
         INSERT INTO n SELECT * FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t"
    }

    fn rows_without_a_key_last(&self) -> bool {
        true
    }

    fn format(&self) -> Box<dyn ChunkFormat> {
        Box::new(DoltLiteFormat)
    }
}
