//! Small searches, quick enough for every test run, and that they find what is wrong.

use super::*;
use crate::mutant::{self, Mutant};

const STATES_MAX: usize = 100_000;

#[test]
fn small_swarms_keep_every_rule_in_every_order() {
    for scenario in Scenario::small() {
        let found = explore(&scenario, STATES_MAX);
        assert_eq!(found.failure, None, "{}: {:#?}", scenario.name, found.trace);
        assert!(found.is_complete, "{}: {found:?}", scenario.name);
        assert!(found.states > 500 && found.ends > 0, "{}: {found:?}", scenario.name);
    }
}

#[test]
fn a_search_is_the_same_each_time() {
    let scenario = &Scenario::small()[0];
    assert_eq!(explore(scenario, STATES_MAX), explore(scenario, STATES_MAX));
}

/// Wrong versions, each with the search that finds it.
const FOUND: [(Mutant, &str); 11] = [
    (Mutant::TiesByArrival, "small lost"),
    (Mutant::HeadDropped, "small lost"),
    (Mutant::GreedyFromFirst, "small impossible"),
    (Mutant::MovesBlindly, "small lost"),
    (Mutant::StormOnMove, "small lost"),
    (Mutant::HeadsNeverDropped, "small foreign"),
    (Mutant::StoreWrittenLate, "small impossible"),
    (Mutant::LoserNotRecorded, "small lost"),
    (Mutant::DefinitionNotRecorded, "small dropped"),
    (Mutant::RecordWithoutBase, "small lost"),
    (Mutant::ClashParks, "small dropped"),
];

#[test]
fn wrong_versions_are_found_on_a_shortest_way() {
    for (wrong, name) in FOUND {
        let scenarios = Scenario::small();
        let scenario = scenarios.iter().find(|scenario| scenario.name == name).unwrap();
        let found = mutant::with(Some(wrong), || explore(scenario, STATES_MAX));
        assert!(found.failure.is_some(), "{name} does not find {wrong:?}: {found:?}");
        assert!(found.trace.last().is_some_and(|line| !line.is_empty()));
    }
}
