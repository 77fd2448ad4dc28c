//! Where the nodes of this binary have their databases: on `dolt sql-server`s of this process's
//! own.

use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};

use doltswarm::engine::dolt::Sandbox;
use doltswarm::{DoltServer, DoltUrl};
use tempfile::TempDir;

/// A server, which ends with the last database on it, and leaves nothing.
pub(crate) struct Server {
    sandbox: Mutex<Sandbox>,
    /// Databases so far.
    made: AtomicU64,
    _dir: TempDir,
}

/// A name for a database of its own on a server.
#[derive(Clone)]
pub(crate) struct Database {
    _server: Arc<Server>,
    pub(crate) url: DoltUrl,
}

impl Server {
    /// Starts one, where the program is there.
    pub(crate) fn start() -> Option<Arc<Self>> {
        Self::program().map(|program| Self::start_as(&program))
    }

    /// The program, or else one line says that it is missing.
    pub(crate) fn program() -> Option<PathBuf> {
        let Some(program) = Sandbox::program() else {
            static SAID: Once = Once::new();
            SAID.call_once(|| {
                say("SKIPPED: there is no program `dolt`, so nothing here ran on a Dolt server; \
                     docs/dolt.md says how to get it, and $DOLTSWARM_DOLT names it");
            });
            return None;
        };
        Some(program)
    }

    /// Starts this program.
    pub(crate) fn start_as(program: &Path) -> Arc<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let sandbox = Sandbox::start(program, dir.path()).expect("a server");
        Arc::new(Self { sandbox: Mutex::new(sandbox), made: AtomicU64::new(0), _dir: dir })
    }

    /// A database that nobody else uses; the node that gets it creates it.
    pub(crate) fn database(self: &Arc<Self>) -> Database {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let url = self.sandbox().url(&format!("shop{number}"));
        Database { _server: Arc::clone(self), url }
    }

    /// A database that somebody else uses already.
    pub(crate) fn same(self: &Arc<Self>, other: &Database) -> Database {
        Database { _server: Arc::clone(self), url: other.url.clone() }
    }

    /// The process, to be killed and run again.
    pub(crate) fn sandbox(&self) -> MutexGuard<'_, Sandbox> {
        self.sandbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database {
    pub(crate) fn server(&self) -> DoltServer {
        DoltServer { url: self.url.clone(), password_file: None }
    }
}

/// How many databases a shared server gets. It keeps about 15 MB of memory for each that it ever
/// had, and looks through all of it again and again; to drop a database would disturb others.
const DATABASES_PER_SERVER: u64 = 48;

/// The server that tests share at the moment which do it no harm.
pub(crate) fn shared() -> Option<Arc<Server>> {
    // Weak: what a static holds is not dropped at the end of a process, and its files would stay.
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let has_room =
        |server: &Arc<Server>| server.made.load(Ordering::Relaxed) < DATABASES_PER_SERVER;
    let server = shared.upgrade().filter(has_room).or_else(Server::start)?;
    *shared = Arc::downgrade(&server);
    Some(server)
}

pub(crate) fn database() -> Option<Database> {
    shared().map(|server| server.database())
}

/// Says something that is seen where tests pass too: the test harness hides what is printed.
pub(crate) fn say(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}
