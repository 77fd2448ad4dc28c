//! Large swarms: what a commit costs by the number of peers and of writers.
//!
//! The nodes and dialers are those of the product, and the rest is [`light`]. How to use it is told
//! in `docs/simulation.md`.

pub mod light;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::time::Duration;

use crate::id::CommitHash;
use crate::node::timers::Jitter;
use light::{Light, Sent, below};

/// How long a swarm has to come up.
const GROWTH: Duration = Duration::from_secs(300);
/// How long it rests between two rounds of commits.
const REST: Duration = Duration::from_secs(10);
/// The longest that commits may take to reach everyone.
const REACH_LIMIT: Duration = Duration::from_secs(60);
/// The time in which all writers of a round commit.
const ROUND_MILLIS: u64 = 1_000;

/// What commits cost in one swarm.
#[derive(Debug, Clone, Default)]
pub struct Cost {
    /// How many nodes there are.
    pub peers: usize,
    /// How many of them commit within a second.
    pub writers: usize,
    /// How many commits were measured.
    pub commits: usize,
    /// What was sent while they were made, and in the rest after each round.
    pub sent: Sent,
    /// How long that was.
    pub measured: Duration,
    /// How many links a node has, on average and at most, in hundredths.
    pub links: (usize, usize),
    /// How many pulls lie between a writer and the farthest node, on average and at most, the
    /// average in hundredths.
    pub hops: (usize, usize),
    /// How long a commit took to everyone, on average and at most.
    pub reach: (Duration, Duration),
}

impl Cost {
    /// Messages that the commits caused: adverts, and requests to be told. Pulls are not among
    /// them, of which each node makes one for each commit at most, nor questions, which are asked
    /// anyway.
    pub fn messages(&self) -> usize {
        self.sent.adverts + self.sent.grafts
    }

    /// Messages for each commit and each hundred peers.
    pub fn percent(&self, count: usize) -> usize {
        count * 100 / (self.commits * self.peers).max(1)
    }
}

/// Grows a swarm, and lets one node commit. Returns it, and how many messages that cost.
///
/// # Panics
///
/// Where the links do not join all nodes.
pub fn grow(seed: u64, peers: usize) -> (Light, usize) {
    let mut light = Light::new(seed, peers);
    light.run_for(GROWTH);
    assert_eq!(light.reachable(), peers, "the links do not join all nodes");
    light.sent = Sent::default();
    round(&mut light, &[0], &mut Jitter::new(seed));
    let first = light.sent.adverts + light.sent.grafts;
    (light, first)
}

/// Lets some of a swarm write, in rounds.
///
/// # Panics
///
/// Where a commit does not reach everyone, or mains differ at the end.
pub fn measure(light: &mut Light, writers: usize, rounds: usize) -> Cost {
    let peers = light.living().len();
    let mut cost = Cost { peers, writers, ..Cost::default() };
    let mut random = Jitter::new(light.now().as_millis());
    light.sent = Sent::default();
    let begun = light.now();
    let mut waves = Vec::new();
    for _ in 0..rounds {
        let mut all = light.living();
        let chosen: Vec<usize> = (0..writers.min(peers))
            .filter_map(|_| below(&mut random, all.len()).map(|at| all.swap_remove(at)))
            .collect();
        waves.extend(round(light, &chosen, &mut random));
    }
    cost.measured = light.now() - begun;
    cost.sent = light.sent;
    cost.commits = waves.len();
    let degrees = light.degrees();
    cost.links = (average(&degrees), degrees.iter().copied().max().unwrap_or(0));
    let hops: Vec<usize> = waves.iter().map(|hash| light.wave(hash).hops_max().into()).collect();
    cost.hops = (average(&hops), hops.iter().copied().max().unwrap_or(0));
    let reach = waves.iter().map(|hash| light.wave(hash).ended - light.wave(hash).begun);
    let reach: Vec<Duration> = reach.collect();
    let sum: Duration = reach.iter().sum();
    cost.reach = (sum / u32::try_from(reach.len().max(1)).unwrap_or(1), max(&reach));
    cost
}

/// Each of the writers commits once within a second, and all nodes get it and fold.
fn round(light: &mut Light, writers: &[usize], random: &mut Jitter) -> Vec<CommitHash> {
    let mut moments: Vec<(u64, usize)> =
        writers.iter().map(|writer| (random.below(ROUND_MILLIS), *writer)).collect();
    moments.sort_unstable();
    let begun = light.now();
    let mut commits = Vec::new();
    for (moment, writer) in moments {
        light.run_for(begun + Duration::from_millis(moment) - light.now());
        commits.push(light.commit(writer));
    }
    assert!(light.run_until_reached(&commits, REACH_LIMIT), "a commit did not reach everyone");
    light.fold();
    assert!(is_one(light), "equal heads gave different mains");
    light.run_for(REST);
    commits
}

/// Whether all nodes are settled on one main.
fn is_one(light: &Light) -> bool {
    let nodes: Vec<_> = light.living().into_iter().map(|number| light.node(number)).collect();
    nodes.iter().all(|node| node.is_settled() && node.main() == nodes[0].main())
}

fn average(numbers: &[usize]) -> usize {
    numbers.iter().sum::<usize>() * 100 / numbers.len().max(1)
}

fn max(durations: &[Duration]) -> Duration {
    durations.iter().copied().max().unwrap_or_default()
}

/// The table of `docs/simulation.md`: swarms of ten peers, and ten times as many each, up to
/// `most`. In each one node commits first, in a swarm that has never told news; then some write,
/// and then more of them.
pub fn table(most: usize) -> String {
    let mut text = String::from(
        "| peers | writers | commits | links: average, most | first commit: messages a peer | \
         messages a peer and commit | pulls a peer and commit | \
         hops: average, most | ms to all: average, most | questions a peer and minute |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for peers in [10, 100, 1_000, 10_000].into_iter().filter(|peers| *peers <= most) {
        let (mut light, first) = grow(7, peers);
        for writers in [1, 8, 64].into_iter().filter(|writers| *writers <= peers) {
            let rounds = if writers == 1 { 8 } else { 2 };
            let cost = measure(&mut light, writers, rounds);
            let _ = writeln!(text, "{}", row(&cost, first));
        }
    }
    text
}

fn row(cost: &Cost, first: usize) -> String {
    let hundredths = |number: usize| format!("{}.{:02}", number / 100, number % 100);
    let minute = cost.measured.as_millis().max(1);
    let questions = cost.sent.questions as u128 * 60_000 / minute / cost.peers as u128;
    format!(
        "| {} | {} | {} | {}, {} | {} | {} | {} | {}, {} | {}, {} | {questions} |",
        cost.peers,
        cost.writers,
        cost.commits,
        hundredths(cost.links.0),
        cost.links.1,
        hundredths(first * 100 / cost.peers),
        hundredths(cost.percent(cost.messages())),
        hundredths(cost.percent(cost.sent.pulls)),
        hundredths(cost.hops.0),
        cost.hops.1,
        cost.reach.0.as_millis(),
        cost.reach.1.as_millis(),
    )
}
