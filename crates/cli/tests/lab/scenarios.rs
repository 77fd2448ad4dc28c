//! What must be true of nodes on bad links, one scenario a test.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Once;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::link::{Conditions, Counts};
use crate::network::Lab;
use crate::support::{Background, Node, Sandbox, Up};

/// How long anything may take before a scenario gives up; generous, because machines that test are
/// slow and busy.
const LIMIT: Duration = Duration::from_secs(300);
/// How long between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The host and the name of the node that founds, and of the one that joins.
const ANN: usize = 0;
const BOB: usize = 1;

/// How much a join may cost beside the database: signatures, headers, acknowledged packets.
const JOIN_OVERHEAD_MAX: f64 = 1.1;

const ROUND_TRIP: Duration = Duration::from_millis(100);

/// Two hosts with a link, and nothing on them; `None`, said once, if this machine cannot.
fn lab(conditions: Conditions) -> Option<Lab> {
    static SAID: Once = Once::new();
    match Lab::new(2) {
        Ok(lab) => {
            lab.link(ANN, BOB, conditions);
            Some(lab)
        }
        Err(error) => {
            // Not by a macro, whose words the harness keeps to itself.
            SAID.call_once(|| {
                let line = format!("SKIPPED: no network namespaces with TUN devices here: {error}");
                let _ = writeln!(std::io::stderr(), "{line}");
            });
            None
        }
    }
}

/// Ann's node, up, with a table of so many rows of about 90 bytes.
struct Founder {
    node: Node,
    _up: Up,
    ticket: String,
}

impl Founder {
    fn new(lab: &Lab, sandbox: &Sandbox, rows: u32) -> Self {
        let node = sandbox.node("ann");
        node.ok(["init", "--name", "ann"]);
        node.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, n INTEGER)");
        node.exec(&format!(
            "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {rows}) \
             INSERT INTO t SELECT i, hex(randomblob(32)), 0 FROM c"
        ));
        let _up = up(lab, ANN, &node);
        let ticket = node.ok(["invite", "--uses", "2"]).trim().to_owned();
        Self { node, _up, ticket }
    }

    /// The bytes of the database.
    fn size(&self) -> u64 {
        fs::metadata(self.node.dir.join("database.db")).unwrap().len()
    }

    /// Begins to join bob's node.
    fn join(&self, lab: &Lab, bob: &Node) -> Join {
        let words = bob.dir.with_extension("log");
        let mut command = bob.command(["join", "--name", "bob", "--json", &self.ticket]);
        command.stderr(File::create(&words).unwrap());
        Join { process: lab.host(BOB).within(|| Background::start(&mut command)), words }
    }

    /// Joins bob's node, which must succeed at the first try; returns what came over the link.
    fn join_at_once(&self, lab: &Lab, bob: &Node) -> Counts {
        let before = lab.counts(ANN, BOB);
        self.join(lab, bob).ends_with(0);
        since(before, lab.counts(ANN, BOB))
    }
}

/// A join under way, and the file with what it says to people.
struct Join {
    process: Background,
    words: PathBuf,
}

impl Join {
    /// Waits for the end of the join, which must have this exit code.
    fn ends_with(mut self, expected: i32) {
        let code = eventually("the join ends", || self.process.ended());
        assert_eq!(code, expected, "{}", fs::read_to_string(&self.words).unwrap());
    }
}

fn up(lab: &Lab, host: usize, node: &Node) -> Up {
    let bind = format!("{}:0", lab.host(host).address);
    let mut command = node.command(["up", "--bind", &bind, "--json"]);
    lab.host(host).within(|| Up::start(&mut command))
}

fn since(before: Counts, after: Counts) -> Counts {
    Counts {
        packets: after.packets - before.packets,
        bytes: after.bytes - before.bytes,
        lost: after.lost - before.lost,
    }
}

fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        sleep(LOOK_AGAIN);
    }
}

/// Asserts that a join that was cut took hardly more than one that was not.
fn assert_cost_of_cuts(came: Counts, whole: Counts) {
    println!("cut: {came:?}, whole: {whole:?}");
    assert!(came.bytes * 10 <= whole.bytes * 11, "{came:?}, without cuts {whole:?}");
    assert!(came.lost > 0, "nothing was cut: {came:?}");
}

/// Asserts that what came is no more than the database and a little.
fn assert_downloaded_once(came: Counts, size: u64) {
    let most = size as f64 * JOIN_OVERHEAD_MAX;
    assert!(came.bytes as f64 <= most, "{came:?} for a database of {size} bytes");
    assert!(came.bytes >= size / 2, "{came:?} for a database of {size} bytes: was it counted?");
}

/// A join of 3.6 MB over 100 ms, 50 Mbit/s and 0.1 % loss is done at the first try.
#[test]
fn join_survives_a_little_loss() {
    join_once(Conditions::wide_area(ROUND_TRIP, 50).losing(0.001));
}

/// A join of 3.6 MB over 100 ms, 50 Mbit/s and 1 % loss is done at the first try.
#[test]
fn join_survives_much_loss() {
    join_once(Conditions::wide_area(ROUND_TRIP, 50).losing(0.01));
}

/// A join of 3.6 MB over 100 ms, 3 Mbit/s and jitter of 20 ms is done at the first try, though a
/// full window of the stream takes longer than a silent peer is waited for.
#[test]
fn join_survives_a_slow_link() {
    let jitter = Duration::from_millis(20);
    join_once(Conditions { jitter, ..Conditions::wide_area(ROUND_TRIP, 3) });
}

fn join_once(conditions: Conditions) {
    let Some(lab) = lab(conditions) else { return };
    let sandbox = Sandbox::new();
    let ann = Founder::new(&lab, &sandbox, 40_000);
    let began = Instant::now();
    let came = ann.join_at_once(&lab, &sandbox.node("bob"));
    println!(
        "{conditions:?}: {:.1} s, {came:?}, {} bytes",
        began.elapsed().as_secs_f64(),
        ann.size()
    );
    assert_downloaded_once(came, ann.size());
}

/// The link of a join is cut five times for a second: one try, and at most 1.1 times the bytes.
#[test]
fn join_survives_short_cuts() {
    const CUTS: u64 = 5;
    let Some(lab) = lab(Conditions::wide_area(ROUND_TRIP, 20)) else { return };
    let sandbox = Sandbox::new();
    let ann = Founder::new(&lab, &sandbox, 60_000);
    let whole = ann.join_at_once(&lab, &sandbox.node("cid"));
    let (before, join) = (lab.counts(ANN, BOB), ann.join(&lab, &sandbox.node("bob")));
    let came = || since(before, lab.counts(ANN, BOB));
    for cut in 1..=CUTS {
        let until = whole.bytes * cut / (CUTS + 1);
        eventually("more arrives", || (came().bytes >= until).then_some(()));
        lab.switch(ANN, BOB, false);
        sleep(Duration::from_secs(1));
        lab.switch(ANN, BOB, true);
    }
    join.ends_with(0);
    assert_cost_of_cuts(came(), whole);
}

/// The link of a join is cut five times until the join gives up: the same command goes on from what
/// has arrived, and all tries together take no more than 1.1 times the bytes.
#[test]
fn join_goes_on_after_long_cuts() {
    const CUTS: u64 = 5;
    let Some(lab) = lab(Conditions::wide_area(ROUND_TRIP, 20)) else { return };
    let sandbox = Sandbox::new();
    let ann = Founder::new(&lab, &sandbox, 60_000);
    let whole = ann.join_at_once(&lab, &sandbox.node("cid"));
    let (bob, before) = (sandbox.node("bob"), lab.counts(ANN, BOB));
    let came = || since(before, lab.counts(ANN, BOB));
    for cut in 1..=CUTS {
        let join = ann.join(&lab, &bob);
        let until = whole.bytes * cut / (CUTS + 1);
        eventually("more arrives", || (came().bytes >= until).then_some(()));
        lab.switch(ANN, BOB, false);
        join.ends_with(1);
        lab.switch(ANN, BOB, true);
    }
    ann.join_at_once(&lab, &bob);
    assert_cost_of_cuts(came(), whole);
}

/// While 1.5 MB are on their way to bob at 2 Mbit/s, a row of his gets to ann: her small messages
/// and requests do not wait behind what she sends.
#[test]
fn small_commit_overtakes_a_large_transfer() {
    const ROWS: u64 = 12_000;
    let Some(lab) = lab(Conditions::wide_area(ROUND_TRIP, 50)) else { return };
    let sandbox = Sandbox::new();
    let ann = Founder::new(&lab, &sandbox, 100);
    let bob = sandbox.node("bob");
    ann.join_at_once(&lab, &bob);
    let _bob = up(&lab, BOB, &bob);
    // So the two are connected.
    ann.node.exec("UPDATE t SET n = 1 WHERE id = 1");
    eventually("the two are in step", || (cell(&bob, 1) == 1).then_some(()));
    lab.link(ANN, BOB, Conditions::wide_area(ROUND_TRIP, 2));
    let before = lab.counts(ANN, BOB);
    let arrived = || since(before, lab.counts(ANN, BOB)).bytes;
    ann.node.exec(&format!(
        "WITH RECURSIVE c(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM c WHERE i < {ROWS}) \
         INSERT INTO t SELECT i, hex(randomblob(64)), 0 FROM c"
    ));
    eventually("the transfer begins", || (arrived() > 100_000).then_some(()));
    bob.exec("UPDATE t SET n = 2 WHERE id = 2");
    eventually("bob's commit is with ann", || (cell(&ann.node, 2) == 2).then_some(()));
    let overtaken = arrived();
    eventually("all is with bob", || (cell(&bob, ROWS) == 0).then_some(()));
    let whole = arrived();
    println!("{overtaken} of {whole} bytes had arrived when the small commit had");
    assert!(overtaken * 4 < whole * 3, "{overtaken} of {whole} bytes came first");
}

/// What a number of commits cost one that follows.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Bytes over the link, in both directions.
    bytes: u64,
    packets: u64,
    /// Calls of the follower to pull, each at least one round trip.
    calls: u64,
    /// Requests of the follower's engine for chunks.
    requests: u64,
}

/// One of the counts.
type Count = fn(&Cost) -> u64;

impl Cost {
    fn now(lab: &Lab, bob: &Node) -> Self {
        let traffic = bob.json(["status"])["traffic"].clone();
        let count = |name: &str| traffic[name].as_u64().unwrap();
        let (there, back) = (lab.counts(ANN, BOB), lab.counts(BOB, ANN));
        Self {
            bytes: there.bytes + back.bytes,
            packets: there.packets + back.packets,
            calls: count("transfer_calls"),
            requests: count("fetch_requests"),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            bytes: self.bytes - before.bytes,
            packets: self.packets - before.packets,
            calls: self.calls - before.calls,
            requests: self.requests - before.requests,
        }
    }
}

/// One row is committed 50 times at 100 ms; to a peer that only pulls, the last ten commits cost
/// the bytes, packets and calls of the second ten. The first ten also carry the transport's search
/// for the largest packet, which is over after some seconds.
#[test]
fn fiftieth_commit_costs_as_much_as_the_first() {
    const COMMITS: u64 = 50;
    let Some(lab) = lab(Conditions::wide_area(ROUND_TRIP, 50)) else { return };
    let sandbox = Sandbox::new();
    let ann = Founder::new(&lab, &sandbox, 10_000);
    let bob = sandbox.node("bob");
    ann.join_at_once(&lab, &bob);
    let _bob = up(&lab, BOB, &bob);
    let mut costs = vec![Cost::now(&lab, &bob)];
    for commit in 1..=COMMITS {
        ann.node.exec("UPDATE t SET n = n + 1 WHERE id = 5000");
        eventually("the commit is there", || (cell(&bob, 5_000) == commit).then_some(()));
        if commit % 10 == 0 {
            costs.push(Cost::now(&lab, &bob));
        }
    }
    let tens: Vec<Cost> = costs.windows(2).map(|two| two[1].since(two[0])).collect();
    println!("ten commits each: {tens:?}");
    let counts: [(&str, Count); 4] = [
        ("bytes", |cost| cost.bytes),
        ("packets", |cost| cost.packets),
        ("calls", |cost| cost.calls),
        ("requests", |cost| cost.requests),
    ];
    for (what, of) in counts {
        let (first, last) = (of(&tens[1]), of(&tens[tens.len() - 1]));
        assert!(last * 10 <= first * 11, "{what}: {first} for ten early commits, {last} for late");
        assert!(first > 0, "{what} are not counted");
    }
}

/// What a node has in the last column of a row; null if it has no such row.
fn cell(node: &Node, id: u64) -> Value {
    node.json(["query", &format!("SELECT n FROM t WHERE id = {id}")])[0]["n"].clone()
}
