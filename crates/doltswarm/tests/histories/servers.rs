//! Databases on a Dolt server, for the nodes of many histories.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use doltswarm::engine::dolt::store::commit_text;
use doltswarm::engine::{ChunkSource, Dolt, DoltOptions, Engine, Password};
use doltswarm_core::commit::EngineKind;
use doltswarm_core::id::CommitHash;
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use tempfile::TempDir;

use super::engine::Server;
use super::engines::{Chunks, Place, founding_meta, temporary};
use super::sql;

/// A server with a founded database, which every node of every history begins with a clone of.
pub(crate) struct Servers {
    server: Arc<Server>,
    template: Arc<Chunks>,
    founding: CommitHash,
    _dir: TempDir,
}

/// The first commit of a new database has the date of today; with another one a seed is the same
/// history each day.
const SAME_EACH_DAY: [&str; 2] = [
    "SET dolt_author_name = 'nobody', dolt_author_email = 'nobody@example.org', \
     dolt_author_date = '2026-01-01T00:00:00Z', dolt_committer_name = 'nobody', \
     dolt_committer_email = 'nobody@example.org', dolt_committer_date = '2026-01-01T00:00:00Z'",
    "CALL DOLT_COMMIT('--amend', '--allow-empty', '-m', 'begin', \
     '--author', 'nobody <nobody@example.org>', '--date', '2026-01-01T00:00:00Z')",
];

impl Servers {
    pub(crate) fn start() -> Option<Self> {
        let server = Server::start()?;
        let dir = temporary();
        let options = options(&server, &dir, "template");
        let mut engine = Dolt::create(&options).unwrap();
        let mut conn = connect(&options);
        for statement in SAME_EACH_DAY {
            conn.query_drop(statement).unwrap();
        }
        conn.query_drop(sql::founding(EngineKind::Dolt)).unwrap();
        let founding = engine.found(&founding_meta()).unwrap();
        let template = Arc::new(Chunks(Mutex::new(engine.chunks().unwrap())));
        Some(Self { server, template, founding, _dir: dir })
    }

    /// Databases for one history.
    pub(crate) fn place(&self) -> Box<dyn Place> {
        let source = Arc::clone(&self.template) as Arc<dyn ChunkSource>;
        let server = Arc::clone(&self.server);
        let (founding, made) = (self.founding, RefCell::new(Vec::new()));
        Box::new(Databases { server, source, founding, dir: temporary(), made })
    }
}

/// A connection of a program that knows nothing of the engine.
fn connect(options: &DoltOptions) -> Conn {
    let url = &options.url;
    let opts = OptsBuilder::new()
        .user(Some(&url.user))
        .ip_or_hostname(Some(&url.host))
        .tcp_port(url.port)
        .db_name(Some(&url.database))
        .prefer_socket(false);
    Conn::new(opts).unwrap()
}

fn options(server: &Arc<Server>, dir: &TempDir, name: &str) -> DoltOptions {
    let folder = dir.path().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    DoltOptions { url: server.database().url, password: Password::Empty, folder }
}

struct Databases {
    server: Arc<Server>,
    source: Arc<dyn ChunkSource>,
    founding: CommitHash,
    dir: TempDir,
    made: RefCell<Vec<DoltOptions>>,
}

impl Place for Databases {
    fn founding(&self) -> CommitHash {
        self.founding
    }

    fn make(&self, node: usize) -> Box<dyn Engine> {
        let options = options(&self.server, &self.dir, &node.to_string());
        let engine = Dolt::clone_from(&options, Arc::clone(&self.source), &self.founding).unwrap();
        self.made.borrow_mut().push(options);
        Box::new(engine)
    }

    fn open(&self, node: usize) -> Box<dyn Engine> {
        Box::new(Dolt::open(&self.made.borrow()[node]).unwrap())
    }

    fn show(&self, node: usize, commit: &CommitHash) {
        let commit = commit_text(commit);
        let sql = format!("CALL DOLT_BRANCH('-f', 'swarm/in/{commit}', '{commit}')");
        connect(&self.made.borrow()[node]).query_drop(sql).unwrap();
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        for options in self.made.get_mut() {
            // A server that is gone has dropped them too.
            let _ = Dolt::drop_database(options);
        }
    }
}
