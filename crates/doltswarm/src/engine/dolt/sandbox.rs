//! A `dolt sql-server` of one's own: what the demo, the benchmark and the tests run on.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use doltswarm_core::limits::{DOLT_PORTS_TRIED_MAX, DOLT_START_ATTEMPTS_MAX, DOLT_START_TIMEOUT};

use super::DoltUrl;

/// How often a server that starts is asked whether it is there.
const START_POLL: Duration = Duration::from_millis(10);
/// Where servers listen: see [`free_port`].
const PORTS: std::ops::Range<u16> = 10_240..32_768;
/// The variable that names the program.
const PROGRAM_VARIABLE: &str = "DOLTSWARM_DOLT";
/// What the server is told of its user: it neither calls home nor asks for a newer version.
const USER_CONFIG: &str = r#"{"metrics.disabled":"true","versioncheck.disabled":"true"}"#;
/// Runs the server `$1` on the directory `$2`, and ends it when standard input does: when the
/// process that holds the other end is gone, however it went.
const WATCH: &str = "\"$1\" sql-server --config \"$2/config.yaml\" >>\"$2/log\" 2>&1 </dev/null & \
                     read gone; kill -9 $!; wait $! 2>/dev/null";

/// A running `dolt sql-server` on 127.0.0.1 that keeps its data, its settings and its log in one
/// directory. It ends when this value is dropped, or when this process ends, however that happens.
///
/// Its user is `root` without a password, so it is for trying things out only.
#[derive(Debug)]
pub struct Sandbox {
    program: PathBuf,
    dir: PathBuf,
    port: u16,
    /// The shell that watches this process and the server.
    watcher: Option<Child>,
    /// How long the log was when the server was started last: what is before it is of earlier runs.
    log_from: usize,
}

/// Why a server of one's own could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The directory or the program cannot be used.
    #[error("cannot start a dolt sql-server in {}: {source}", .dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The server did not come up in time.
    #[error("the dolt sql-server in {} does not answer; its log says: {log}", .dir.display())]
    Silent {
        /// The directory.
        dir: PathBuf,
        /// The end of its log.
        log: String,
    },
}

impl Sandbox {
    /// Looks for the program `dolt`: what `$DOLTSWARM_DOLT` names and nothing else where that is
    /// set, else on the path, else where Go installs it.
    pub fn program() -> Option<PathBuf> {
        if let Some(named) = std::env::var_os(PROGRAM_VARIABLE) {
            return Some(PathBuf::from(named)).filter(|file| file.is_file());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).map(|dir| dir.join("dolt"));
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join("go/bin/dolt"));
        on_path.chain(home).find(|file| file.is_file())
    }

    /// Starts a server on a free port with its data in `dir`, which is made where it is missing,
    /// and waits until it answers. Blocks for about 0.3 s.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Io`], [`SandboxError::Silent`]. No process is left.
    pub fn start(program: &Path, dir: &Path) -> Result<Self, SandboxError> {
        let mut server = Self {
            program: program.to_owned(),
            dir: dir.to_owned(),
            port: 0,
            watcher: None,
            log_from: 0,
        };
        let mut attempt = 1;
        loop {
            server.configure().map_err(|source| server.failed(source))?;
            match server.run() {
                // Somebody else took the port meanwhile.
                Err(SandboxError::Silent { log, .. })
                    if attempt < DOLT_START_ATTEMPTS_MAX && log.contains("already in use") =>
                {
                    attempt += 1;
                }
                result => return result.map(|()| server),
            }
        }
    }

    /// The address of a database on it.
    pub fn url(&self, database: &str) -> DoltUrl {
        DoltUrl {
            user: "root".to_owned(),
            host: Ipv4Addr::LOCALHOST.to_string(),
            port: self.port,
            socket: None,
            database: database.to_owned(),
        }
    }

    /// Ends the server at once, as a crash would, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut watcher) = self.watcher.take() {
            drop(watcher.stdin.take());
            // It cannot be waited for only where somebody else did.
            let _ = watcher.wait();
        }
    }

    /// Starts the server again on the same data and port, after [`Self::kill`].
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn run(&mut self) -> Result<(), SandboxError> {
        self.kill();
        self.log_from = self.whole_log().len();
        let child = self.spawn().map_err(|source| self.failed(source))?;
        self.watcher = Some(child);
        let began = Instant::now();
        while !self.answers() {
            if began.elapsed() > DOLT_START_TIMEOUT || self.has_ended() {
                self.kill();
                return Err(SandboxError::Silent { dir: self.dir.clone(), log: self.log() });
            }
            sleep(START_POLL);
        }
        Ok(())
    }

    /// Ends the server and starts another program on the same data and port: a newer version
    /// perhaps.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn run_as(&mut self, program: &Path) -> Result<(), SandboxError> {
        program.clone_into(&mut self.program);
        self.run()
    }

    fn failed(&self, source: io::Error) -> SandboxError {
        SandboxError::Io { dir: self.dir.clone(), source }
    }

    fn configure(&mut self) -> io::Result<()> {
        self.port = free_port()?;
        fs::create_dir_all(self.dir.join("data"))?;
        fs::create_dir_all(self.dir.join("home/.dolt"))?;
        fs::write(self.dir.join("home/.dolt/config_global.json"), USER_CONFIG)?;
        OpenOptions::new().create(true).append(true).open(self.dir.join("log"))?;
        let text = format!(
            "log_level: warning\nlistener:\n  host: 127.0.0.1\n  port: {}\n  max_connections: 1000\n\
             data_dir: {dir:?}\ncfg_dir: {cfg:?}\nmetrics:\n  port: -1\n",
            self.port,
            dir = self.dir.join("data"),
            cfg = self.dir.join("data/.doltcfg"),
        );
        fs::write(self.dir.join("config.yaml"), text)
    }

    fn spawn(&self) -> io::Result<Child> {
        let home = self.dir.join("home");
        Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .arg(&self.program)
            .arg(&self.dir)
            .env("HOME", &home)
            .env("DOLT_ROOT_PATH", &home)
            .env("DOLT_DISABLE_EVENT_FLUSH", "1")
            .current_dir(&self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else {
            return false;
        };
        // A server says hello first.
        stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
            && stream.read(&mut [0; 8]).is_ok_and(|read| read > 0)
    }

    /// Whether the server has ended by itself.
    fn has_ended(&self) -> bool {
        self.log().contains("already in use")
    }

    fn whole_log(&self) -> Vec<u8> {
        fs::read(self.dir.join("log")).unwrap_or_default()
    }

    /// The end of what the server said since it was started last.
    fn log(&self) -> String {
        let log = self.whole_log();
        let text = String::from_utf8_lossy(log.get(self.log_from..).unwrap_or_default());
        text.lines().rev().take(3).collect::<Vec<_>>().join(" / ")
    }
}

/// A port that nobody listens on. It is below those that the system gives to outgoing connections,
/// so that none of these has taken it when a server that was killed comes back.
pub(super) fn free_port() -> io::Result<u16> {
    let mut last = None;
    for _ in 0..DOLT_PORTS_TRIED_MAX {
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let port = PORTS.start + u16::from_le_bytes(random) % (PORTS.end - PORTS.start);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("no port was tried")))
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.kill();
    }
}
