//! Large swarms, as large as a debug build can bear.

use super::super::machine::peer_id;
use super::*;
use crate::limits::{DIAL_TARGETS_MAX, HUB_NEIGHBOURS_MAX, HUB_SHARE, NEIGHBOURS_MAX};
use crate::node::hubs::is_hub;

/// A swarm that has come up.
fn grown(peers: usize) -> Light {
    let mut light = Light::new(3, peers);
    light.run_for(Duration::from_secs(60));
    let first = light.commit(0);
    assert!(light.run_until_reached(&[first], REACH_LIMIT));
    light.run_for(REST);
    light
}

/// Lets these commit at once, and says how long it took until all living nodes had it all.
fn commit_all(light: &mut Light, writers: &[usize], limit: Duration) -> Duration {
    let begun = light.now();
    let commits: Vec<CommitHash> = writers.iter().map(|writer| light.commit(*writer)).collect();
    assert!(light.run_until_reached(&commits, limit), "not everywhere after {limit:?}");
    light.now() - begun
}

#[test]
fn a_commit_costs_at_most_two_messages_a_peer() {
    let swarms = [(10, 1, 3), (10, 8, 3), (100, 1, 6), (100, 8, 6), (400, 8, 8)];
    for (peers, writers, hops) in swarms {
        let (mut light, first) = grow(7, peers);
        assert!(first <= 2 * peers, "the first one too: {first}");
        let cost = measure(&mut light, writers, 3);
        assert!(cost.percent(cost.messages()) <= 200, "{cost:?}");
        assert!(cost.percent(cost.sent.pulls) <= 100, "{cost:?}");
        assert!(cost.hops.1 <= hops, "{cost:?}");
        assert!(cost.reach.1 <= Duration::from_secs(4), "{cost:?}");
    }
}

#[test]
fn links_are_few_and_join_everyone() {
    let light = grown(150);
    assert_eq!(light.reachable(), 150);
    let degrees = light.degrees();
    // For the few seconds that a visit takes a node may have some too many.
    for (number, links) in degrees.iter().enumerate() {
        let most = if is_hub(&peer_id(number)) { HUB_NEIGHBOURS_MAX } else { NEIGHBOURS_MAX };
        assert!((1..=most + 4).contains(links), "{degrees:?}");
    }
    assert!(average(&degrees) <= 800, "{degrees:?}");
    assert!(light.living().iter().all(|number| light.known(*number) <= DIAL_TARGETS_MAX));
}

#[test]
fn when_a_third_dies_at_once_the_others_go_on() {
    let mut light = grown(150);
    let dead: Vec<usize> = (0..150).filter(|number| number % 10 < 3).collect();
    light.kill(&dead);
    // Before anyone has noticed, and with a third of the hubs among the dead.
    commit_all(&mut light, &[5, 77], Duration::from_secs(40));
    light.run_for(Duration::from_secs(30));
    assert_eq!(light.reachable(), light.living().len());
    // The gaps are closed: adverts alone bring the next one.
    let took = commit_all(&mut light, &[14, 99], Duration::from_secs(40));
    assert!(took < Duration::from_secs(8), "{took:?}");
    light.fold();
    assert!(is_one(&light));
}

#[test]
fn where_all_hubs_die_at_once_the_others_stand_in() {
    let mut light = grown(100);
    let dead: Vec<usize> = (0..100).filter(|number| is_hub(&peer_id(*number))).collect();
    light.kill(&dead);
    let left = light.living();
    commit_all(&mut light, &[left[3], left[40]], Duration::from_secs(40));
    light.run_for(Duration::from_secs(30));
    light.sent = Sent::default();
    let took = commit_all(&mut light, &[left[5], left[70]], Duration::from_secs(40));
    assert!(took < Duration::from_secs(2), "{took:?}");
    light.run_for(REST);
    assert!(light.sent.adverts + light.sent.grafts <= 5 * left.len(), "{:?}", light.sent);
}

#[test]
fn where_hubs_are_few_links_do_not_come_and_go() {
    let mut light = grown(100);
    let hubs = (0..100).filter(|number| is_hub(&peer_id(*number))).skip(1);
    light.kill(&hubs.collect::<Vec<_>>());
    light.run_for(Duration::from_secs(60));
    light.sent = Sent::default();
    light.run_for(Duration::from_secs(60));
    assert!(light.sent.links <= 3 * 100, "{:?}", light.sent);
    let left = light.living();
    let took = commit_all(&mut light, &[left[5], left[60]], Duration::from_secs(40));
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn one_in_a_few_is_a_hub() {
    let hubs = (0..10_000).filter(|number| is_hub(&peer_id(*number))).count();
    let share = 10_000 / usize::from(HUB_SHARE);
    assert!((share * 9 / 10..=share * 11 / 10).contains(&hubs), "{hubs}");
}

#[test]
fn lost_messages_are_made_up_for() {
    let mut light = grown(60);
    light.loss_percent = 20;
    for writer in [1, 2, 3] {
        commit_all(&mut light, &[writer, writer + 20], Duration::from_secs(60));
    }
    light.loss_percent = 0;
    light.run_for(REST);
    assert!(light.is_converged());
}

#[test]
fn parts_that_were_apart_for_long_find_each_other_again() {
    let mut light = grown(60);
    light.split(|number| number % 2 == 0);
    for round in 0..3 {
        light.commit(2 * round);
        light.commit(2 * round + 1);
        light.run_for(Duration::from_secs(60));
    }
    assert!(light.reachable() <= 30, "all links to the other side are gone");
    light.join();
    light.run_for(Duration::from_secs(90));
    assert!(light.is_converged());
    assert_eq!(light.reachable(), 60);
    light.fold();
    assert!(is_one(&light));
}

#[test]
fn a_swarm_at_rest_only_asks() {
    let mut light = grown(60);
    light.run_for(Duration::from_secs(60));
    light.sent = Sent::default();
    light.run_for(Duration::from_secs(60));
    let Sent { adverts, grafts, pulls, questions, .. } = light.sent;
    assert_eq!((adverts, pulls), (0, 0));
    assert!(grafts <= 10, "a few links change: {grafts}");
    assert!(questions <= 60 * 60, "one a second: {questions}");
}

#[test]
fn the_same_seed_gives_the_same_swarm() {
    let [first, second] = [(); 2].map(|()| {
        let mut light = grown(40);
        commit_all(&mut light, &[7, 8], REACH_LIMIT);
        (light.sent, light.now(), light.degrees())
    });
    assert_eq!(first, second);
}
