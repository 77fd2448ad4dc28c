//! The conformance suite on a Dolt server, and what only Dolt has.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mysql::prelude::Queryable;
use tempfile::TempDir;

use self::server::{Server, Shared};
use super::store::DoltFormat;
use super::{Dolt, DoltOptions, Password};
use crate::engine::conformance::{
    Backend, Pair, Side, Split, chunks_of, conformance_tests, meta_at,
};
use crate::engine::{ChunkFormat, Engine};

mod catch_up;
mod cut;
mod losses;
mod own;
mod race;
mod server;
mod steps;
mod total;

conformance_tests!(super::pair);

/// A database of its own on a server.
fn options(server: &Server, folder: PathBuf) -> DoltOptions {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let database = format!("d{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let url = server.url(&database).parse().unwrap();
    DoltOptions { url, password: Password::Empty, folder }
}

/// The same two commits, with the other one as the later.
fn flip(split: &Split) -> Split {
    Split { ours: split.theirs, theirs: split.ours }
}

/// Two databases of one swarm; `None` where there is no Dolt here.
fn pair() -> Option<Pair> {
    pair_at().map(|(pair, _)| pair)
}

/// The same, and where they are.
fn pair_at() -> Option<(Pair, [DoltOptions; 2])> {
    let server = server::shared()?;
    let dir = tempfile::tempdir().unwrap();
    let all = ["a", "b"].map(|name| options(&server, dir.path().join(name)));
    let mut a = Dolt::create(&all[0]).unwrap();
    let founding = a.found(&meta_at("found", 1_700_000_000)).unwrap();
    let b = Dolt::clone_from(&all[1], chunks_of(&a), &founding).unwrap();
    let backend = Databases { _place: Place { dir, _server: server }, all: all.clone() };
    Some((Pair::new(Box::new(a), Box::new(b), Box::new(backend)), all))
}

/// What a test's databases need for as long as they are used.
struct Place {
    dir: TempDir,
    _server: Arc<Shared>,
}

struct Databases {
    _place: Place,
    all: [DoltOptions; 2],
}

impl Backend for Databases {
    fn meddle(&mut self, side: Side, sql: &str) {
        let options = &self.all[usize::from(side == Side::B)];
        server::connect(options).query_drop(sql).unwrap();
    }

    fn forbid_null(&self) -> &'static str {
        "ALTER TABLE t MODIFY COLUMN a INT NOT NULL"
    }

    fn rows_without_a_key_last(&self) -> bool {
        false
    }

    fn format(&self) -> Box<dyn ChunkFormat> {
        Box::new(DoltFormat)
    }
}
