//! What the three nodes do, step by step.

use std::path::Path;
use std::time::Instant;

use doltswarm::{InviteOptions, Statement};
use serde_json::{Value, json};

use crate::demo::data::{Expected, SELECT_COUNTRIES, SELECT_ZONES, Zone};
use crate::demo::nodes::{Node, settle, statuses};
use crate::demo::servers::Servers;
use crate::demo::teller::{Teller, millis};
use crate::error::{CommandError, CommandResult};

/// The one who founds the swarm.
const ANN: usize = 0;
const BOB: usize = 1;
/// The one who is cut off.
const CID: usize = 2;
/// Changes one cell of a zone.
const SET_COMMENTS: &str = "UPDATE zones SET comments = ? WHERE name = ?";
/// Changes another cell of a zone.
const SET_COORDINATES: &str = "UPDATE zones SET coordinates = ? WHERE name = ?";
/// How many differences are told of one node.
const DIFFERENCES_MAX: usize = 5;

/// What the story came to.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The nodes' hashes at the end.
    pub(super) nodes: Vec<Value>,
    /// How many rows were compared, on all nodes.
    pub(super) rows_checked: usize,
    /// The rows of `swarm_conflicts`.
    pub(super) conflicts: Value,
    /// What is not as it must be; empty where all is well.
    pub(super) problems: Vec<String>,
}

/// The story while it is played.
pub(super) struct Story<'a> {
    directory: &'a Path,
    servers: &'a Servers,
    /// Owned by the caller, who closes them whatever happens.
    nodes: &'a mut Vec<Node>,
    teller: &'a mut Teller,
    expected: Expected,
    problems: Vec<String>,
}

impl<'a> Story<'a> {
    /// A story in `directory`, whose nodes go into `nodes`.
    pub(super) fn new(
        directory: &'a Path,
        servers: &'a Servers,
        nodes: &'a mut Vec<Node>,
        teller: &'a mut Teller,
    ) -> Self {
        Self { directory, servers, nodes, teller, expected: Expected::load(), problems: Vec::new() }
    }

    /// Plays it.
    pub(super) async fn play(&mut self) -> CommandResult<Outcome> {
        self.teller.say("Three peers on this machine: ann, bob and cid. No server.")?;
        self.found_and_join().await?;
        self.load().await?;
        self.spread().await?;
        self.concurrent().await?;
        self.conflict().await?;
        self.partition().await?;
        self.check().await
    }

    async fn found_and_join(&mut self) -> CommandResult<()> {
        self.teller.step("join", "ann founds a swarm; bob and cid join with a ticket.")?;
        let start = Instant::now();
        let ann = Node::found("ann", &self.directory.join("ann"), self.servers.of(ANN)).await?;
        let found = start.elapsed();
        let options = InviteOptions { uses: 2, ..InviteOptions::default() };
        let ticket = ann.swarm.invite(options).await;
        self.nodes.push(ann);
        let ticket = ticket?;
        let start = Instant::now();
        for (node, name) in [(BOB, "bob"), (CID, "cid")] {
            let (dir, server) = (self.directory.join(name), self.servers.of(node));
            self.nodes.push(Node::join(name, &dir, &ticket, server).await?);
        }
        settle(self.nodes).await?;
        let joined = start.elapsed();
        self.teller.figure("found_ms", millis(found));
        self.teller.figure("join_ms", millis(joined));
        self.teller.draw(&["   ann", "   / \\", " bob-cid"])?;
        let (found, joined) = (millis(found), millis(joined));
        self.teller.say(&format!("   founded in {found} ms, both joined in {joined} ms"))
    }

    async fn load(&mut self) -> CommandResult<()> {
        let rows = self.expected.rows();
        let about = format!("ann loads the IANA time zone tables, {rows} rows, with one commit.");
        self.teller.step("load", &about)?;
        let start = Instant::now();
        let statements = self.expected.statements();
        let commit = self.nodes[ANN].write("load the time zone tables", statements).await?;
        let written = start.elapsed();
        settle(self.nodes).await?;
        let everywhere = start.elapsed();
        self.teller.figure("rows", rows);
        self.teller.figure("commit", commit);
        self.teller.figure("commit_ms", millis(written));
        self.teller.figure("everywhere_ms", millis(everywhere));
        let (written, everywhere) = (millis(written), millis(everywhere));
        self.teller
            .say(&format!("   committed after {written} ms, on all three after {everywhere} ms"))
    }

    /// Each node writes in turn, and the others are watched.
    async fn spread(&mut self) -> CommandResult<()> {
        self.teller.step("spread", "Each changes one row. How soon do the others see it?")?;
        let mut figures = Vec::new();
        for (writer, zone) in ["Europe/Paris", "Asia/Tokyo", "America/Lima"].into_iter().enumerate()
        {
            let comments = format!("seen by {}", self.nodes[writer].name);
            let others = [(writer + 1) % 3, (writer + 2) % 3].map(|other| &self.nodes[other]);
            let events = others.map(|node| node.swarm.events());
            let [first, second] = events;
            let start = Instant::now();
            let (written, first, second) = tokio::join!(
                self.nodes[writer].write(&comments, vec![set_comments(zone, &comments)]),
                others[0].sees_comments(first, zone, &comments, start),
                others[1].sees_comments(second, zone, &comments, start),
            );
            written?;
            let (first, second) = (millis(first?), millis(second?));
            let (name, a, b) = (self.nodes[writer].name, others[0].name, others[1].name);
            self.teller.say(&format!(
                "   {name} wrote: {a} saw it after {first} ms, {b} after {second} ms"
            ))?;
            figures.push(json!({ "writer": name, "seen_ms": { a: first, b: second } }));
            self.expected.set_comments(zone, &comments);
        }
        self.teller.figure("writes", figures);
        settle(self.nodes).await.map(drop)
    }

    /// Writes that do not touch each other merge: other rows, and other cells of one row.
    async fn concurrent(&mut self) -> CommandResult<()> {
        let about = "All three write at once: other rows, and two cells of one row.";
        self.teller.step("concurrent", about)?;
        let (shared, place) = ("Europe/London", "+512840-0000005");
        let [ann, bob, cid] = &self.nodes[..] else { return Err(no_nodes()) };
        let note = "Greenwich is in it";
        let (a, b, c) = tokio::join!(
            ann.write(
                "two rows by ann",
                vec![set_comments("Africa/Cairo", "by ann"), set_comments(shared, note)]
            ),
            bob.write(
                "two rows by bob",
                vec![
                    set_comments("Asia/Kathmandu", "by bob"),
                    Statement::new(SET_COORDINATES, vec![place.into(), shared.into()]),
                ]
            ),
            cid.write("one row by cid", vec![set_comments("Pacific/Auckland", "by cid")]),
        );
        a?;
        b?;
        c?;
        let took = settle(self.nodes).await?;
        for (zone, comments) in [
            ("Africa/Cairo", "by ann"),
            ("Asia/Kathmandu", "by bob"),
            ("Pacific/Auckland", "by cid"),
            (shared, note),
        ] {
            self.expected.set_comments(zone, comments);
        }
        self.expected.set_coordinates(shared, place);
        self.teller.figure("settle_ms", millis(took));
        let took = millis(took);
        self.teller.say(&format!(
            "   merged everywhere after {took} ms: {shared} has ann's comments and bob's coordinates"
        ))
    }

    /// Two versions of one cell: one stands, the other is a row of `swarm_conflicts`.
    async fn conflict(&mut self) -> CommandResult<()> {
        let zone = "Europe/Berlin";
        let about = format!("ann and bob change the same cell of {zone}, unknown to each other.");
        self.teller.step("conflict", &about)?;
        let (ann, bob) = (&self.nodes[ANN], &self.nodes[BOB]);
        // Cut off for a moment: else one might see the other's write first, and there is no
        // conflict.
        ann.swarm.set_isolated(true).await;
        let versions = ["ann was here", "bob was here"];
        let (a, b) = tokio::join!(
            ann.write("Berlin by ann", vec![set_comments(zone, versions[0])]),
            bob.write("Berlin by bob", vec![set_comments(zone, versions[1])]),
        );
        ann.swarm.set_isolated(false).await;
        a?;
        b?;
        let took = settle(self.nodes).await?;
        let stands = self.nodes[ANN].comments(zone).await?.unwrap_or_default();
        let Some(winner) = versions.iter().position(|version| *version == stands) else {
            return Err(CommandError::failed(format!(
                "neither version of {zone} stands: `{stands}`"
            )));
        };
        let lost = versions[1 - winner];
        self.expected.set_comments(zone, versions[winner]);
        let recorded = self.nodes[ANN].swarm.conflicts(false).await?;
        let (winner, loser) = (self.nodes[winner].name, self.nodes[1 - winner].name);
        self.teller.figure("winner", winner);
        self.teller.figure("loser", loser);
        self.teller.figure("settle_ms", millis(took));
        self.teller.say(&format!(
            "   settled everywhere after {} ms: {winner}'s version stands, and {loser}'s is kept in swarm_conflicts:",
            millis(took)
        ))?;
        match recorded.iter().find(|row| row.loser.to_string().contains(lost)) {
            Some(row) => {
                let text = crate::render::conflict::show(&serde_json::to_value(row)?);
                self.teller.draw(&text.lines().collect::<Vec<_>>())
            }
            None => {
                self.problems
                    .push(format!("{loser}'s version of {zone} is not in swarm_conflicts"));
                self.teller.say("   (it is not there!)")
            }
        }
    }

    /// A node is cut off; both sides go on; then they meet again.
    async fn partition(&mut self) -> CommandResult<()> {
        self.teller.step("partition", "cid is cut off. Both sides go on writing.")?;
        self.teller.draw(&["   ann    ╎", "   /      ╎   cid", " bob      ╎"])?;
        self.nodes[CID].swarm.set_isolated(true).await;
        let written = self.write_on_both_sides().await;
        let apart = statuses(self.nodes).await;
        self.nodes[CID].swarm.set_isolated(false).await;
        written?;
        for (node, status) in self.nodes.iter().zip(apart?) {
            self.teller.say(&format!("   {}  main {}", node.name, status.main))?;
        }
        let took = settle(self.nodes).await?;
        self.teller.figure("heal_ms", millis(took));
        let took = millis(took);
        self.teller.say(&format!("   back together: in step after {took} ms"))
    }

    async fn write_on_both_sides(&mut self) -> CommandResult<()> {
        let added = [
            (ANN, Zone::new("Europe/Amsterdam", "NL", "+5222+00454")),
            (BOB, Zone::new("Europe/Stockholm", "SE", "+5920+01803")),
            (CID, Zone::new("Africa/Accra", "GH", "+0533-00013")),
        ];
        for (writer, zone) in added {
            let message = format!("add {}", zone.name);
            self.nodes[writer].write(&message, vec![zone.insert()]).await?;
            self.expected.add(zone);
        }
        for (writer, zone) in [(ANN, "Asia/Dubai"), (CID, "America/Jamaica")] {
            let comments = format!("{}, while apart", self.nodes[writer].name);
            self.nodes[writer].write("while apart", vec![set_comments(zone, &comments)]).await?;
            self.expected.set_comments(zone, &comments);
        }
        Ok(())
    }

    /// Compares all hashes, and every row on every node.
    async fn check(&mut self) -> CommandResult<Outcome> {
        self.teller.step("check", "Are they the same, and is anything lost?")?;
        let mut outcome = Outcome {
            nodes: Vec::new(),
            rows_checked: 0,
            conflicts: json!([]),
            problems: std::mem::take(&mut self.problems),
        };
        let statuses = statuses(self.nodes).await?;
        let first = &statuses[ANN];
        let expected_conflicts =
            serde_json::to_value(self.nodes[ANN].swarm.conflicts(true).await?)?;
        for (node, status) in self.nodes.iter().zip(&statuses) {
            let name = node.name;
            self.teller.say(&format!("   {name}  main {}  state {}", status.main, status.state))?;
            if (&status.main, &status.state) != (&first.main, &first.state) {
                outcome.problems.push(format!("{name}'s hashes are not ann's"));
            }
            for head in &status.parked {
                outcome.problems.push(format!("{name} parked {}: {}", head.head, head.reason));
            }
            let countries = node.rows(SELECT_COUNTRIES, Vec::new()).await?;
            let zones = node.rows(SELECT_ZONES, Vec::new()).await?;
            outcome.rows_checked += countries.len() + zones.len();
            let found = self.expected.differences(&countries, &zones);
            let told = found.iter().take(DIFFERENCES_MAX);
            outcome.problems.extend(told.map(|difference| format!("{name}: {difference}")));
            if serde_json::to_value(node.swarm.conflicts(true).await?)? != expected_conflicts {
                outcome.problems.push(format!("{name}'s conflicts are not ann's"));
            }
            outcome.nodes.push(json!({
                "name": name,
                "peer": status.peer,
                "main": status.main,
                "state": status.state,
                "rows": countries.len() + zones.len(),
            }));
        }
        outcome.conflicts = expected_conflicts;
        for problem in &outcome.problems {
            self.teller.say(&format!("   PROBLEM: {problem}"))?;
        }
        let (rows, nodes) = (self.expected.rows(), self.nodes.len());
        self.teller.figure("rows_expected", rows);
        if outcome.problems.is_empty() {
            self.teller
                .say(&format!("   equal hashes; all {rows} rows as expected on all {nodes}"))?;
        }
        Ok(outcome)
    }
}

fn set_comments(zone: &str, comments: &str) -> Statement {
    Statement::new(SET_COMMENTS, vec![comments.into(), zone.into()])
}

fn no_nodes() -> CommandError {
    CommandError::failed("the demo has not three nodes")
}
