//! A real `dolt sql-server` for the tests of this process.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::engine::dolt::sandbox::free_port;
use crate::engine::dolt::{DoltOptions, Sandbox};

/// How long a server may take to start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A running server. It ends when this process does, however that ends.
pub(super) struct Server {
    port: u16,
    dir: PathBuf,
    program: PathBuf,
    /// The shell that watches this process and the server; its standard input is the sign of life.
    watchdog: Option<Child>,
}

/// A server that several tests share, and its files. It ends with the last of these tests.
pub(super) struct Shared {
    server: Server,
    _dir: TempDir,
}

impl Deref for Shared {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// How many tests share a server. It keeps about 15 MB of memory for each database that it ever
/// had, and looks through all of it again and again; to drop a database would disturb others.
const TESTS_PER_SERVER: usize = 24;

/// The server that tests share at the moment; `None`, said once, if Dolt is not installed.
pub(super) fn shared() -> Option<Arc<Shared>> {
    static SHARED: Mutex<(usize, Weak<Shared>)> = Mutex::new((0, Weak::new()));
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let (uses, server) = &mut *shared;
    let usable = server.upgrade().filter(|_| *uses < TESTS_PER_SERVER);
    if let Some(server) = usable {
        *uses += 1;
        return Some(server);
    }
    let dir = tempfile::tempdir().unwrap();
    let started = Arc::new(Shared { server: Server::start(dir.path())?, _dir: dir });
    (*uses, *server) = (1, Arc::downgrade(&started));
    Some(started)
}

impl Server {
    /// Starts a server on a free port with its data in `dir`, or says why there is none.
    pub(super) fn start(dir: &Path) -> Option<Self> {
        static SAID: OnceLock<()> = OnceLock::new();
        let Some(program) = Sandbox::program() else {
            SAID.get_or_init(|| {
                let text = "SKIPPED: the tests of the engine Dolt need the program `dolt` on the path \
                            or in DOLTSWARM_DOLT; docs/dolt.md says how to get it\n";
                // Past the test harness, which shows the output of failing tests only.
                let _ = std::fs::OpenOptions::new()
                    .append(true)
                    .open("/dev/stderr")
                    .and_then(|mut out| out.write_all(text.as_bytes()));
            });
            return None;
        };
        let port = free_port().unwrap();
        let mut server = Self { port, dir: dir.to_owned(), program, watchdog: None };
        server.configure();
        server.run();
        Some(server)
    }

    fn configure(&self) {
        let dir = self.dir.display();
        std::fs::create_dir_all(self.dir.join("data")).unwrap();
        std::fs::create_dir_all(self.dir.join("home/.dolt")).unwrap();
        std::fs::write(
            self.dir.join("home/.dolt/config_global.json"),
            r#"{"metrics.disabled":"true","versioncheck.disabled":"true"}"#,
        )
        .unwrap();
        let text = format!(
            "log_level: warning\nlistener:\n  host: 127.0.0.1\n  port: {}\n  max_connections: 1000\n\
             data_dir: {dir}/data\ncfg_dir: {dir}/data/.doltcfg\nmetrics:\n  port: -1\n",
            self.port
        );
        std::fs::write(self.dir.join("config.yaml"), text).unwrap();
    }

    /// Runs the server under a shell that ends it when this process is gone.
    pub(super) fn run(&mut self) {
        let script = "\"$1\" sql-server --config \"$2/config.yaml\" >>\"$2/log\" 2>&1 </dev/null & \
                      echo $! >\"$2/pid\"; read gone; kill -9 $!";
        let home = self.dir.join("home");
        let child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&self.program)
            .arg(&self.dir)
            .env("HOME", &home)
            .env("DOLT_ROOT_PATH", &home)
            .env("DOLT_DISABLE_EVENT_FLUSH", "1")
            .env("DOLT_ARCHIVE_PULL_STREAMER", "0")
            .current_dir(&self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.watchdog = Some(child);
        let began = Instant::now();
        while !self.answers() {
            assert!(began.elapsed() < START_TIMEOUT, "the server does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        // A server says hello first.
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        stream.read(&mut [0; 8]).is_ok_and(|read| read > 0)
    }

    /// Ends the server at once, as a crash would.
    pub(super) fn kill(&mut self) {
        if let Some(mut watchdog) = self.watchdog.take() {
            drop(watchdog.stdin.take());
            watchdog.wait().unwrap();
        }
        while self.answers() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The address of a database on it.
    pub(super) fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Another program's connection to a database.
pub(super) fn connect(options: &DoltOptions) -> mysql::Conn {
    let url = &options.url;
    let opts = mysql::OptsBuilder::new()
        .user(Some(url.user.clone()))
        .db_name(Some(url.database.clone()))
        .ip_or_hostname(Some(url.host.clone()))
        .tcp_port(url.port)
        .prefer_socket(false);
    mysql::Conn::new(opts).unwrap()
}
