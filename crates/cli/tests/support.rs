//! Running the program: short commands, nodes that are killed when dropped, waiting on conditions.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take; generous, because test machines are slow and busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The program with a clean environment.
pub(crate) fn doltswarm() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doltswarm"));
    for name in ["DOLTSWARM_DIR", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// A directory for nodes.
pub(crate) struct Sandbox {
    root: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// A node's directory; it need not be there.
    pub(crate) fn node(&self, name: &str) -> Node {
        Node { dir: self.root.path().join(name) }
    }

    /// A node that founded a swarm and has a table `cities (name, people)`.
    pub(crate) fn founded(&self, name: &str) -> Node {
        let node = self.node(name);
        let last = name.rsplit('/').next().unwrap_or(name);
        node.ok(["init", "--name", last]);
        node.ok([
            "exec",
            "-m",
            "a table",
            "CREATE TABLE cities (name TEXT PRIMARY KEY, people INTEGER)",
        ]);
        node
    }
}

/// A node's directory.
pub(crate) struct Node {
    pub(crate) dir: PathBuf,
}

impl Node {
    /// The command with these arguments.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = doltswarm();
        command.arg("-C").arg(&self.dir).args(args);
        command
    }

    /// Runs a command.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(&mut self.command(args))
    }

    /// Runs a command that must succeed; gives its standard output.
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout
    }

    /// Runs a command with `--json` that must succeed; gives its answer.
    pub(crate) fn json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Value {
        let mut command = self.command(args);
        let ran = Ran::of(command.arg("--json"));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.json()
    }

    /// Runs a command that must fail with this exit code; gives its standard error.
    ///
    /// Standard output must be empty: a script never takes half an answer for one.
    pub(crate) fn fails<S: AsRef<OsStr>>(
        &self,
        code: i32,
        args: impl IntoIterator<Item = S>,
    ) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert_eq!(ran.stdout, "", "{ran:?}");
        assert!(ran.stderr.contains("error"), "{ran:?}");
        ran.stderr
    }

    /// The whole table `cities`, sorted.
    pub(crate) fn cities(&self) -> Value {
        self.json(["query", "SELECT name, people FROM cities ORDER BY name"])
    }

    /// Executes one statement; gives the commit.
    pub(crate) fn exec(&self, sql: &str) -> String {
        self.json(["exec", "-m", sql, sql])["commit"].as_str().unwrap().to_owned()
    }

    /// Makes a ticket.
    pub(crate) fn invite(&self) -> String {
        self.ok(["invite"]).trim().to_owned()
    }

    /// Starts the node on 127.0.0.1 and waits until it is ready.
    pub(crate) fn up(&self) -> Up {
        Up::start(&mut self.command(["up", "--bind", "127.0.0.1:0", "--json"]))
    }
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Runs it with nothing on standard input.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::from(command.stdin(Stdio::null()).output().unwrap())
    }

    /// Runs it with `input` on standard input.
    pub(crate) fn with_input(command: &mut Command, input: &str) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        // A command that fails early does not read it, which is fine.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Self::from(child.wait_with_output().unwrap())
    }

    /// Standard output as one JSON value.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A process that writes lines and is killed when dropped.
pub(crate) struct Background {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Background {
    /// Starts it. Its standard error goes to the test's.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Its next line.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(LIMIT).expect("a line within the limit")
    }

    /// Asks it to stop, as a service manager does, and gives its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        signal(self.child.id(), "TERM");
        Some(wait_until("the process ends", || self.ended()))
    }

    /// Its exit code, once it ended; -1 where a signal ended it.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let status = self.child.try_wait().unwrap()?;
        Some(status.code().unwrap_or(-1))
    }

    /// Ends it as a power cut does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node that is up.
pub(crate) struct Up {
    pub(crate) process: Background,
    /// Its first line.
    pub(crate) ready: Value,
}

impl Up {
    /// Starts `up --json` and waits for its line.
    pub(crate) fn start(command: &mut Command) -> Self {
        let process = Background::start(command);
        let ready = serde_json::from_str(&process.line()).unwrap();
        Self { process, ready }
    }
}

/// Sends a signal by name.
pub(crate) fn signal(pid: u32, name: &str) {
    // The shell's own `kill`, for machines without the program.
    let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status();
    assert!(status.unwrap().success());
}

/// Looks again and again until `check` gives something, within the limit.
pub(crate) fn wait_until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < LIMIT, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The names of an object's members, sorted.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
