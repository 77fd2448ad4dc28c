//! What must hold once everything has healed: everyone gets in step, and then there is silence.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::options::Fault;
use super::super::world::{Counts, World};
use crate::id::CommitHash;
use crate::node::neighbours::View;

/// How long a healed swarm may take until all are in step, in simulated time.
pub const HEAL_LIMIT: Duration = Duration::from_secs(120);

/// Ends all faults, runs until all nodes are in step, and checks everything. Returns how long it
/// took.
pub fn check_after_heal(world: &mut World) -> Duration {
    world.heal();
    let begin = world.now();
    if !world.run_until(HEAL_LIMIT, in_step) {
        let detail = format!("not in step after {HEAL_LIMIT:?}: {}", standing(world));
        world.fail("liveness", detail);
    }
    let took = world.now() - begin;
    for check in [check_quiet, check_nothing_lost, check_adverts, check_twins] {
        if world.failure.is_none() {
            check(world);
        }
    }
    took
}

/// Whether all honest nodes are settled on the same heads.
pub fn in_step(world: &World) -> bool {
    let mut nodes = world.nodes();
    let Some(first) = nodes.next() else { return true };
    first.is_settled() && nodes.all(|node| node.heads() == first.heads() && node.is_settled())
}

fn standing(world: &World) -> String {
    let mut text = String::new();
    for (number, node) in world.nodes().enumerate() {
        let linked = node.peers().filter(|view| view.connected).count();
        let (heads, main, settled) = (node.heads(), node.main(), node.is_settled());
        text += &format!("n{number} heads {heads:?} main {main:?} settled {settled} ({linked}); ");
    }
    text
}

/// **No storms**: once all are in step nothing but the regular question for heads is sent.
pub fn check_quiet(world: &mut World) {
    world.run_for(Duration::from_secs(60));
    // A liar keeps them pulling what is not there, now and then.
    let patience = Duration::from_secs(if world.options.has(Fault::Adversary) { 60 } else { 0 });
    if !world.run_until(patience, in_step) {
        return world.fail("liveness", "they fell out of step".into());
    }
    if world.options.has(Fault::Adversary) {
        // A liar is never quiet.
        return;
    }
    let before = world.counts;
    world.run_for(Duration::from_secs(60));
    let after = world.counts;
    let peers = world.options.nodes * (world.options.nodes - 1);
    let asked = after.requests - before.requests;
    // Of many peers each makes a new link now and then.
    let is_partial = world.machines.iter().any(|machine| machine.dialer.view() == View::Partial);
    let connects = if is_partial { before.connects } else { after.connects };
    let (requests, bytes) = (before.requests, before.bytes);
    let silent = Counts { requests, bytes, connects, ..after } == before;
    if !silent || asked > 6 * peers {
        world.fail("no storms", format!("in a minute of rest: {before:?} became {after:?}"));
    }
    let doubtful = world
        .nodes()
        .flat_map(|node| node.peers())
        .any(|view| view.connected && (!view.in_sync || view.failing.is_some()));
    if doubtful {
        world.fail("told truly", "in step, and a node does not know it".into());
    }
}

/// **Nothing lost**: what any user was told is committed lies under main or a parked branch,
/// everywhere; and main's engine is where the node says.
fn check_nothing_lost(world: &mut World) {
    for number in 0..world.options.nodes {
        let machine = &world.machines[number];
        let kept = machine.store.under(machine.parked.iter().copied().chain([machine.main]));
        let lost: Vec<_> = world.checks.everyone.difference(&kept).copied().collect();
        let parked: BTreeSet<CommitHash> =
            machine.node.parked().iter().map(|parked| parked.head).collect();
        let (main, branches) = (machine.main, machine.parked.clone());
        if machine.node.main() != main || parked != branches {
            let detail = format!("n{number}: the engine has main {main:?}, parked {branches:?}");
            return world.fail("nothing lost", detail);
        }
        if !lost.is_empty() {
            return world.fail("nothing lost", format!("n{number} lost {lost:?}"));
        }
    }
}

/// **No storms**: adverts are bounded by the changes of heads, the links that came up and what
/// failed.
fn check_adverts(world: &mut World) {
    if world.options.has(Fault::Adversary) {
        return;
    }
    let counts = world.counts;
    let neighbours = world.options.nodes - 1;
    let bound = counts.heads_changes * neighbours + 4 * counts.connects + counts.failures;
    if counts.adverts > bound {
        world.fail("no storms", format!("{counts:?} is over {bound} adverts"));
    }
}

fn check_twins(world: &mut World) {
    let Some(twins) = &mut world.twins else { return };
    for machine in &world.machines[..world.options.nodes] {
        twins.check_end(machine.number, machine.main, machine.root());
    }
}
