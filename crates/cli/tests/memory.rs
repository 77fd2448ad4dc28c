//! A node needs memory for a row, and not for all of them: measured for each process by itself.

#![cfg(target_os = "linux")]

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::support::{Node, Sandbox};

/// What a process may take for [`ROWS`] rows: far more than a node with nothing to do, and less
/// than it would take to hold all of them.
const USUAL_BYTES_MAX: u64 = 120 << 20;
const ROWS: u64 = 36;
const ROW_BYTES: u64 = 3_000_000;
/// What it may take however many rows there are.
const BYTES_MAX: u64 = 300 << 20;
/// The most that is written in one transaction, which the writer holds.
const COMMIT_BYTES: u64 = 50_000_000;

/// A number from the environment, so that a person can run the same test with much more.
fn scale(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().map_or(usual, |text| text.parse().unwrap())
}

/// The most memory that a process has had, in bytes; `None` if it is gone.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().unwrap();
    Some(kib << 10)
}

struct Scale {
    rows: u64,
    bytes: u64,
    bound: u64,
}

impl Scale {
    fn of_this_run() -> Self {
        let rows = scale("DOLTSWARM_LARGE_ROWS", ROWS);
        let bytes = scale("DOLTSWARM_LARGE_BYTES", ROW_BYTES);
        let usual = (rows, bytes) == (ROWS, ROW_BYTES);
        Self { rows, bytes, bound: if usual { USUAL_BYTES_MAX } else { BYTES_MAX } }
    }

    /// Writes the rows from `first` on, in several commits, by a process of its own.
    fn write(&self, node: &Node, first: u64, count: u64) {
        let step = (COMMIT_BYTES / self.bytes).max(1);
        for from in (first..first + count).step_by(usize::try_from(step).unwrap()) {
            let some = step.min(first + count - from);
            node.exec(&format!(
                "INSERT INTO large WITH RECURSIVE n (i) AS
                     (SELECT {from} UNION ALL SELECT i + 1 FROM n LIMIT {some})
                 SELECT i, randomblob({}) FROM n",
                self.bytes
            ));
        }
    }

    fn is_bounded(&self, what: &str, bytes: Option<u64>) {
        let bytes = bytes.expect("the process is there");
        assert!(bytes < self.bound, "{what}: {bytes} bytes");
    }

    fn has(&self, node: &Node, rows: u64) {
        let sql = "SELECT count(*), sum(length(b)) FROM large";
        let all = node.json(["query", sql]);
        assert_eq!(all, json!([{"count(*)": rows, "sum(length(b))": rows * self.bytes}]));
    }
}

/// `DOLTSWARM_LARGE_ROWS` and `DOLTSWARM_LARGE_BYTES` make it as large as one likes.
#[test]
fn serving_joining_and_pulling_take_bounded_memory() {
    let scale = Scale::of_this_run();
    let sandbox = Sandbox::new();
    let ann = sandbox.founded("ann");
    ann.exec("CREATE TABLE large (id INTEGER PRIMARY KEY, b BLOB)");
    scale.write(&ann, 0, scale.rows);
    // What serves has not written: a transaction may take what it holds.
    let up = ann.up();
    let bob = sandbox.node("bob");
    let mut join = bob.command(["join", &ann.invite(), "--name", "bob"]);
    let mut join = join.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let mut joining = None;
    while join.try_wait().unwrap().is_none() {
        joining = joining.max(peak(join.id()));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(join.wait().unwrap().success());
    scale.is_bounded("joining", joining);
    scale.is_bounded("serving a join", peak(up.process.id()));
    scale.has(&bob, scale.rows);

    up.process.kill();
    let more = (scale.rows / 3).max(1);
    scale.write(&ann, scale.rows, more);
    let (up, follower) = (ann.up(), bob.up());
    bob.ok(["wait", "--peers", "2", "--timeout", "3600s"]);
    scale.is_bounded("pulling", peak(follower.process.id()));
    scale.is_bounded("serving a pull", peak(up.process.id()));
    scale.has(&bob, scale.rows + more);
}
