//! Random histories with faults, and numbers for calm ones.

use std::time::Duration;

use super::checks::heal::{check_after_heal, check_quiet, in_step};
use super::edit::Edit;
use super::regressions::{KILLERS, REGRESSIONS, Regression};
use super::root::PLAIN;
use super::run::{run, run_script};
use super::{Counts, Options, Topology, World};
use crate::mutant::{self, Mutant};

#[test]
fn random_histories_converge_and_lose_nothing() {
    let mut catch_ups = 0;
    for seed in 0..400 {
        let options = Options::random(seed);
        let report = run(&options);
        assert_eq!(report.failure, None, "{options:#?}");
        catch_ups += report.counts.catch_ups;
    }
    assert!(catch_ups > 3, "{catch_ups} catch-up commits");
}

#[test]
fn random_histories_of_a_swarm_with_partial_views_converge_too() {
    for seed in 0..20 {
        let options = Options { nodes: 12, topology: Topology::Mesh, ..Options::random(seed) };
        let report = run(&options);
        assert_eq!(report.failure, None, "{options:#?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 11, 42] {
        let options = Options::random(seed);
        let [first, second] = [(); 2].map(|()| run_script(&options, &options.script(), true));
        assert!(first.trace.len() > 20);
        assert_eq!(first, second);
    }
}

/// A calm mesh that has come up, with nothing under way.
fn calm_mesh(nodes: usize) -> World {
    let mut world = World::new(Options::calm(5, nodes));
    world.start();
    check_quiet(&mut world);
    world.counts = Counts::default();
    world
}

fn commit(world: &mut World, node: usize, value: usize) {
    let edit = Edit::Set { table: PLAIN, key: node as u8, column: 0, value: value as u8 };
    world.commit(node, &[edit], 0).expect("because the value is a new one");
}

#[test]
fn one_commit_in_a_mesh_of_eight_costs_seven_adverts() {
    let mut world = calm_mesh(8);
    for commits in 1..=20 {
        commit(&mut world, commits % 8, commits);
        assert!(world.run_until(Duration::from_secs(2), in_step));
        world.run_for(Duration::from_secs(3));
        assert_eq!(world.counts.adverts, 7 * commits);
        assert_eq!(world.counts.merges, 0);
    }
    check_quiet(&mut world);
    assert_eq!(world.failure, None);
}

#[test]
fn concurrent_commits_in_a_mesh_cost_no_more_each() {
    let mut world = calm_mesh(8);
    for round in 1..=5 {
        (0..8).for_each(|node| commit(&mut world, node, round));
        assert!(world.run_until(Duration::from_secs(5), in_step));
        // A few more, where a regular question for heads crosses an advert.
        let adverts = world.counts.adverts;
        assert!((56 * round..=60 * round).contains(&adverts), "{adverts} in round {round}");
    }
    check_after_heal(&mut world);
    assert_eq!(world.failure, None);
}

#[test]
fn a_busy_mesh_merges_little_and_moves_mostly_forward() {
    let mut world = calm_mesh(6);
    for round in 0..120 {
        commit(&mut world, round % 6, round);
        world.run_for(Duration::from_millis(30));
    }
    check_after_heal(&mut world);
    assert_eq!(world.failure, None);
    let Counts { adverts, merges, moves, fast_forwards, .. } = world.counts;
    assert!(adverts <= 120 * 2 * 5, "{:?}", world.counts);
    assert!(merges <= 120 * 6, "{:?}", world.counts);
    assert!(2 * fast_forwards >= moves, "{:?}", world.counts);
}

/// The runs of a few seeds, digested. It is the same on every machine, and changes with what nodes
/// do.
const TRACES: &str = "627d03dd79c2a0c9";

#[test]
fn a_seed_is_the_same_run_on_every_machine() {
    let mut hasher = blake3::Hasher::new();
    for seed in [3, 11, 42] {
        let options = Options::random(seed);
        let report = run_script(&options, &options.script(), true);
        for line in report.trace {
            hasher.update(line.as_bytes());
        }
    }
    let digest = hasher.finalize().to_hex();
    assert_eq!(
        &digest[..16],
        TRACES,
        "was it meant to change what happens in a run? Then this is the new digest: {digest}"
    );
}

#[test]
fn what_was_mended_stays_mended() {
    for Regression { seed, mutant, story } in REGRESSIONS {
        let options = Options::random(*seed);
        assert_eq!(run(&options).failure, None, "seed {seed}: {story}");
        let again = mutant::with(*mutant, || run(&options).failure);
        assert_eq!(
            again.is_some(),
            mutant.is_some(),
            "seed {seed} says nothing about {mutant:?} any more; `sim --mutants` has one that does"
        );
    }
}

#[test]
fn every_wrong_version_is_found_by_its_seed() {
    assert!(KILLERS.iter().map(|(wrong, _)| *wrong).eq(Mutant::ALL));
    for (wrong, seed) in KILLERS {
        let found = mutant::with(Some(*wrong), || run(&Options::random(*seed)).failure);
        assert!(
            found.is_some(),
            "seed {seed} does not find {wrong:?} any more; `sim --mutants` has the seeds that do"
        );
        assert_eq!(run(&Options::random(*seed)).failure, None, "without {wrong:?}");
    }
}
