//! The search: breadth first, so that what it finds is found on a shortest way.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::checks::Failure;
use super::local::Message;
use super::scenario::Scenario;
use super::swarm::{Action, State, Swarm};
use crate::id::CommitHash;

/// What a search came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exploration {
    /// The states of the swarm that were met.
    pub states: usize,
    /// The steps between them.
    pub transitions: usize,
    /// The longest of the shortest ways to a state, in steps.
    pub depth: usize,
    /// The states of single machines that were met.
    pub machines: usize,
    /// The states in which nothing was under way.
    pub rests: usize,
    /// Those of them in which all are in step for good.
    pub ends: usize,
    /// Whether everything was looked at.
    pub is_complete: bool,
    /// What did not hold, where something did not.
    pub failure: Option<Failure>,
    /// How it came to that, step by step.
    pub trace: Vec<String>,
}

/// The digests of the states met, with their numbers: a table with open addressing.
#[derive(Debug)]
struct Seen {
    digests: Vec<u128>,
    slots: Vec<u32>,
}

const EMPTY: u32 = u32::MAX;

impl Seen {
    fn new() -> Self {
        Self { digests: Vec::new(), slots: vec![EMPTY; 1 << 16] }
    }

    fn slot(&self, digest: u128) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = digest as usize & mask;
        while self.slots[slot] != EMPTY && self.digests[self.slots[slot] as usize] != digest {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// The number of a state, and whether it is new. That two of a billion states have one digest
    /// of 128 bits is less likely than that the machine errs.
    fn number(&mut self, state: &[u32]) -> (u32, bool) {
        let mut hasher = blake3::Hasher::new();
        let bytes: Vec<u8> = state.iter().flat_map(|number| number.to_le_bytes()).collect();
        hasher.update(&bytes);
        let digest = hasher.finalize();
        let first = digest.as_bytes().first_chunk().expect("because a digest has 32 bytes");
        let digest = u128::from_le_bytes(*first);
        let slot = self.slot(digest);
        if self.slots[slot] != EMPTY {
            return (self.slots[slot], false);
        }
        let number = u32::try_from(self.digests.len()).expect("because memory ends first");
        self.slots[slot] = number;
        self.digests.push(digest);
        if 2 * self.digests.len() > self.slots.len() {
            self.slots = vec![EMPTY; 2 * self.slots.len()];
            for (number, digest) in (0_u32..).zip(&self.digests) {
                let slot = self.slot(*digest);
                self.slots[slot] = number;
            }
        }
        (number, true)
    }
}

/// Searches everything that can happen in a scenario, up to so many states.
pub fn explore(scenario: &Scenario, states_max: usize) -> Exploration {
    let mut search = Search::new(scenario);
    let result = search.run(states_max);
    let mut found = search.found;
    found.states = search.seen.digests.len();
    found.machines = search.swarm.local_count();
    if let Err((failure, way)) = result {
        found.trace = retell(scenario, &way);
        found.failure = Some(failure);
    }
    found
}

struct Search<'a> {
    swarm: Swarm<'a>,
    seen: Seen,
    /// From which state each was first met, and by which of the actions there.
    parents: Vec<(u32, u16)>,
    /// The states after each state without a fault, one state's after the other's.
    followers: Vec<u32>,
    /// Where the followers of each state begin.
    begins: Vec<usize>,
    /// Which states are ends.
    ends: Vec<bool>,
    found: Exploration,
}

/// A failure, and the actions that led to it.
type Stop = (Failure, Vec<u16>);

impl<'a> Search<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        Self {
            swarm: Swarm::new(scenario),
            seen: Seen::new(),
            parents: Vec::new(),
            followers: Vec::new(),
            begins: Vec::new(),
            ends: Vec::new(),
            found: Exploration::default(),
        }
    }

    fn run(&mut self, states_max: usize) -> Result<(), Stop> {
        let initial = self.swarm.initial().map_err(|failure| (failure, Vec::new()))?;
        self.seen.number(&initial);
        self.parents.push((0, 0));
        let mut level = vec![(0, initial)];
        while !level.is_empty() {
            let mut next_level = Vec::new();
            for (number, state) in level {
                self.expand(number, &state, &mut next_level)?;
                if self.seen.digests.len() > states_max {
                    return Ok(());
                }
            }
            self.found.depth += usize::from(!next_level.is_empty());
            level = next_level;
        }
        self.found.is_complete = true;
        self.check_all_can_end()
    }

    fn expand(
        &mut self,
        number: u32,
        state: &State,
        next_level: &mut Vec<(u32, State)>,
    ) -> Result<(), Stop> {
        let is_end = self.check_rest(state).map_err(|failure| (failure, self.way(number)))?;
        self.ends.push(is_end);
        self.begins.push(self.followers.len());
        for (index, action) in (0_u16..).zip(self.swarm.actions(state)) {
            let stop = |failure, search: &Self| {
                let mut way = search.way(number);
                way.push(index);
                (failure, way)
            };
            let next = take_step(&mut self.swarm, state, action);
            let next = next.map_err(|failure| stop(failure, self))?;
            if is_end && let Some(failure) = self.breaks_silence(state, action, &next) {
                return Err(stop(failure, self));
            }
            self.found.transitions += 1;
            let (next_number, is_new) = self.seen.number(&next);
            if !action.is_fault() {
                self.followers.push(next_number);
            }
            if is_new {
                self.parents.push((number, index));
                next_level.push((next_number, next));
            }
        }
        Ok(())
    }

    /// Where nothing is under way and all are in step and know it, nothing may be lost. Says
    /// whether it is so.
    fn check_rest(&mut self, state: &State) -> Result<bool, Failure> {
        if !self.swarm.is_at_rest(state) {
            return Ok(false);
        }
        self.found.rests += 1;
        let nodes = 0..self.swarm.scenario.nodes;
        let locals: Vec<_> = nodes.clone().map(|node| self.swarm.local(state, node)).collect();
        let first = &locals[0].machine.node;
        let in_step = nodes.clone().all(|node| {
            let local = &locals[node].machine.node;
            local.is_settled()
                && local.heads() == first.heads()
                && !self.swarm.commits_left(state, node)
                && local.peers().all(|view| view.in_sync && view.failing.is_none())
        });
        if !in_step {
            return Ok(false);
        }
        let everyone: BTreeSet<CommitHash> =
            locals.iter().flat_map(|local| local.own.iter().copied()).collect();
        for local in locals {
            let machine = &local.machine;
            let (main, parked) = (machine.main, machine.parked.iter().copied());
            let kept = machine.store.under(parked.chain([main]));
            let said: BTreeSet<_> = machine.node.parked().iter().map(|p| p.head).collect();
            if let Some(lost) = everyone.iter().find(|hash| !kept.contains(hash)) {
                let detail = format!("n{} lost {lost:?}", machine.number);
                return Err(Failure { rule: "nothing lost", detail });
            }
            if machine.node.main() != main || said != machine.parked {
                let detail = format!("n{}: its engine is elsewhere", machine.number);
                return Err(Failure { rule: "nothing lost", detail });
            }
        }
        self.found.ends += 1;
        Ok(true)
    }

    /// **No storms**: once all are in step, nothing but the regular question is asked.
    fn breaks_silence(&self, state: &State, action: Action, next: &State) -> Option<Failure> {
        if !matches!(action, Action::Timeout { .. }) {
            return None;
        }
        let sent = &next[state.len()..];
        let is_question =
            |number: &u32| matches!(self.swarm.message(*number), Message::Question { .. });
        let is_idle = (0..self.swarm.scenario.nodes).all(|n| self.swarm.local(next, n).is_idle());
        if is_idle && sent.iter().all(is_question) {
            return None;
        }
        let detail = format!("in step, and something begins: {action:?}");
        Some(Failure { rule: "no storms", detail })
    }

    /// **Liveness**: from every state, without any more faults, the swarm can still come to rest in
    /// step; there is no corner that it cannot leave.
    fn check_all_can_end(&self) -> Result<(), Stop> {
        let mut can_end = self.ends.clone();
        loop {
            let mut is_changed = false;
            for state in (0..can_end.len()).rev() {
                let end = self.begins.get(state + 1).copied().unwrap_or(self.followers.len());
                let followers = &self.followers[self.begins[state]..end];
                if !can_end[state] && followers.iter().any(|next| can_end[*next as usize]) {
                    can_end[state] = true;
                    is_changed = true;
                }
            }
            if !is_changed {
                break;
            }
        }
        let Some(stuck) = can_end.iter().position(|can| !can) else { return Ok(()) };
        let number = u32::try_from(stuck).expect("because states are counted in u32");
        let detail = "from here they never get in step".to_owned();
        Err((Failure { rule: "liveness", detail }, self.way(number)))
    }

    /// The actions that lead to a state.
    fn way(&self, mut number: u32) -> Vec<u16> {
        let mut way = Vec::new();
        while number != 0 {
            let (parent, index) = self.parents[number as usize];
            way.push(index);
            number = parent;
        }
        way.reverse();
        way
    }
}

/// A step; a panic of the code under test is a failure like any other.
fn take_step(swarm: &mut Swarm<'_>, state: &State, action: Action) -> Result<State, Failure> {
    let step = catch_unwind(AssertUnwindSafe(|| swarm.step(state, action)));
    step.unwrap_or_else(|panic| Err(Failure::of_panic(panic.as_ref())))
}

/// Goes the way again and says what happens.
fn retell(scenario: &Scenario, way: &[u16]) -> Vec<String> {
    let mut swarm = Swarm::new(scenario);
    let mut lines = Vec::new();
    let Ok(mut state) = swarm.initial() else { return lines };
    for index in way {
        let action = swarm.actions(&state)[usize::from(*index)];
        lines.push(match action {
            Action::Deliver(message)
            | Action::Lose(message)
            | Action::LoseAnswer(message)
            | Action::Repeat(message) => {
                let text = format!("{action:?}");
                let verb = text.split('(').next().unwrap_or_default();
                format!("{verb} {:?}", swarm.message(message))
            }
            _ => format!("{action:?}"),
        });
        match take_step(&mut swarm, &state, action) {
            Ok(next) => state = next,
            Err(failure) => {
                lines.push(format!("!! {failure}"));
                break;
            }
        }
        for node in 0..scenario.nodes {
            let local = &swarm.local(&state, node).machine;
            let (heads, parked) = (local.node.heads(), &local.parked);
            lines.push(format!(
                "    n{node} main {:?} heads {heads:?} parked {parked:?}",
                local.main
            ));
        }
    }
    lines
}
