//! The states of a whole swarm, as small tuples of numbers.
//!
//! A machine that meets the same thing in the same state does the same: so each such step is made
//! once, on the real node, and remembered. A state of the swarm is then the numbers of its
//! machines' states, the numbers of the messages under way, and what may still go wrong; a step is
//! a look in a table.

use std::collections::BTreeMap;

use super::super::checks::Failure;
use super::super::checks::rules::Folds;
use super::super::engine::{Saying, Store};
use super::super::machine::Machine;
use super::super::root::Root;
use super::local::{Around, Input, Local, Message};
use super::scenario::Scenario;

/// A state of the swarm: the machines, [`LEFT`] numbers of what may still happen, and the messages
/// under way, sorted: a network that mixes them up has no order.
pub(super) type State = Vec<u32>;

/// Losses, repetitions, crashes, early timeouts, and 1 + the process that is down.
const LEFT: usize = 5;

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Commit(usize),
    Notice(usize),
    Timeout {
        node: usize,
        is_early: bool,
    },
    /// A process that was killed is back, and linked with all others.
    Back(usize),
    Pulled {
        node: usize,
        from: usize,
        is_lost: bool,
    },
    Merged {
        node: usize,
        fails: bool,
    },
    Moved {
        node: usize,
        fails: bool,
    },
    Deliver(u32),
    Lose(u32),
    LoseAnswer(u32),
    Repeat(u32),
    Crash {
        node: usize,
        is_moved: bool,
        forgets: bool,
    },
}

impl Action {
    /// Whether something goes wrong, so that nobody may count on it.
    pub(super) fn is_fault(self) -> bool {
        match self {
            Self::Lose(_) | Self::LoseAnswer(_) | Self::Repeat(_) | Self::Crash { .. } => true,
            Self::Pulled { is_lost: fails, .. }
            | Self::Merged { fails, .. }
            | Self::Moved { fails, .. }
            | Self::Timeout { is_early: fails, .. } => fails,
            Self::Commit(_) | Self::Notice(_) | Self::Back(_) | Self::Deliver(_) => false,
        }
    }
}

/// A step of one machine, made once.
#[derive(Debug, Clone)]
struct Made {
    to: u32,
    sent: Vec<u32>,
}

/// All states of single machines and all messages that were met.
#[derive(Debug)]
pub(super) struct Swarm<'a> {
    pub(super) scenario: &'a Scenario,
    locals: Vec<Local>,
    local_numbers: BTreeMap<(usize, [u8; 16]), u32>,
    messages: Vec<Message>,
    message_numbers: BTreeMap<Message, u32>,
    made: BTreeMap<(u32, Input), Made>,
    replies: BTreeMap<(u32, usize), u32>,
    folds: Folds,
}

impl<'a> Swarm<'a> {
    pub(super) fn new(scenario: &'a Scenario) -> Self {
        Self {
            scenario,
            locals: Vec::new(),
            local_numbers: BTreeMap::new(),
            messages: Vec::new(),
            message_numbers: BTreeMap::new(),
            made: BTreeMap::new(),
            replies: BTreeMap::new(),
            folds: Folds::default(),
        }
    }

    /// How many states of single machines were met.
    pub(super) fn local_count(&self) -> usize {
        self.locals.len()
    }

    /// The state in which all are linked and at rest, and nobody has committed yet.
    pub(super) fn initial(&mut self) -> Result<State, Failure> {
        let mut store = Store::default();
        let saying = Saying { author: "0".into(), message: "found".into(), seconds: 1_800_000_000 };
        let founding = store.commit(&[], &saying, Root::founding(), None);
        let founding = store.get(&founding).expect("because it was just made").clone();
        let mut state = State::new();
        for node in 0..self.scenario.nodes {
            state.push(self.number(Local::new(Machine::new(
                node,
                1,
                self.scenario.policy,
                &founding,
            ))));
        }
        state.extend([0; LEFT]);
        for b in 0..self.scenario.nodes {
            for a in 0..b {
                self.link(&mut state, a, b)?;
            }
        }
        while let Some(action) = self.first_calm(&state) {
            state = self.step(&state, action)?;
        }
        for node in 0..self.scenario.nodes {
            state = self.step(&state, Action::Timeout { node, is_early: false })?;
            while let Some(action) = self.first_calm(&state) {
                state = self.step(&state, action)?;
            }
        }
        let Scenario { losses, repeats, crashes, early_timeouts, .. } = *self.scenario;
        for (left, most) in [losses, repeats, crashes, early_timeouts].into_iter().enumerate() {
            state[self.scenario.nodes + left] = u32::from(most);
        }
        Ok(state)
    }

    /// The first thing that can happen without time, commits or faults.
    fn first_calm(&self, state: &[u32]) -> Option<Action> {
        let is_calm = |action: &Action| {
            !action.is_fault() && !matches!(action, Action::Commit(_) | Action::Timeout { .. })
        };
        self.actions(state).into_iter().find(is_calm)
    }

    /// Everything that can happen next.
    pub(super) fn actions(&self, state: &[u32]) -> Vec<Action> {
        let nodes = self.scenario.nodes;
        let [losses, repeats, crashes, timeouts, _] = *self.left(state);
        let mut actions = Vec::new();
        for node in (0..nodes).filter(|node| self.down(state) != Some(*node)) {
            let local = self.local(state, node);
            if self.commits_left(state, node) {
                actions.push(Action::Commit(node));
            }
            if local.is_unnoticed {
                actions.push(Action::Notice(node));
            }
            for fails in [false, true].into_iter().take(1 + losses.min(1) as usize) {
                let pulls = local.pulls.keys();
                actions.extend(pulls.map(|from| Action::Pulled {
                    node,
                    from: *from,
                    is_lost: fails,
                }));
                actions.extend(local.merge.map(|_| Action::Merged { node, fails }));
                actions.extend(local.moving.map(|_| Action::Moved { node, fails }));
            }
            if timeouts > 0 && local.has_timer() {
                actions.push(Action::Timeout { node, is_early: true });
            }
            if crashes > 0 && self.down(state).is_none() {
                for is_moved in
                    [false, true].into_iter().take(1 + usize::from(local.moving.is_some()))
                {
                    for forgets in [false, true] {
                        actions.push(Action::Crash { node, is_moved, forgets });
                    }
                }
            }
        }
        let mut last = None;
        for &message in &state[nodes + LEFT..] {
            if last.replace(message) == Some(message) {
                continue;
            }
            actions.push(Action::Deliver(message));
            if losses > 0 && !matches!(self.message(message), Message::Advert { is_copy: true, .. })
            {
                actions.push(Action::Lose(message));
            }
            // The answer to a question is not missed by who gives it.
            if losses > 0
                && !self.scenario.slow_answers
                && matches!(self.message(message), Message::Advert { is_copy: false, .. })
            {
                actions.push(Action::LoseAnswer(message));
            }
            if repeats > 0
                && matches!(self.message(message), Message::Advert { is_copy: false, .. })
            {
                actions.push(Action::Repeat(message));
            }
        }
        actions.extend(self.down(state).map(Action::Back));
        if self.is_at_rest(state) {
            let timers = (0..nodes).filter(|node| self.local(state, *node).has_timer());
            actions.extend(timers.map(|node| Action::Timeout { node, is_early: false }));
        }
        actions
    }

    /// Whether nothing is under way anywhere.
    pub(super) fn is_at_rest(&self, state: &[u32]) -> bool {
        let nodes = self.scenario.nodes;
        state.len() == nodes + LEFT
            && self.down(state).is_none()
            && (0..nodes).all(|node| {
                let local = self.local(state, node);
                local.is_idle() && !local.is_unnoticed
            })
    }

    /// Lets one thing happen.
    pub(super) fn step(&mut self, state: &[u32], action: Action) -> Result<State, Failure> {
        let mut next = state.to_vec();
        match action {
            Action::Commit(node) => self.apply(&mut next, node, Input::Commit)?,
            Action::Notice(node) => self.apply(&mut next, node, Input::Notice)?,
            Action::Timeout { node, is_early } => {
                self.spend(&mut next, 3, is_early);
                self.apply(&mut next, node, Input::Timeout)?;
            }
            Action::Back(node) => {
                next[self.scenario.nodes + 4] = 0;
                for peer in (0..self.scenario.nodes).filter(|peer| *peer != node) {
                    self.link(&mut next, node, peer)?;
                }
            }
            Action::Pulled { node, from, is_lost } => {
                self.spend(&mut next, 0, is_lost);
                let is_whole = !is_lost && self.can_pull(state, node, from);
                self.apply_from(&mut next, node, Input::Pulled(from, is_whole), Some(from))?;
            }
            Action::Merged { node, fails } => {
                self.spend(&mut next, 0, fails);
                self.apply(&mut next, node, Input::Merged(!fails))?;
            }
            Action::Moved { node, fails } => {
                self.spend(&mut next, 0, fails);
                self.apply(&mut next, node, Input::Moved(!fails))?;
            }
            Action::Deliver(message) => self.deliver(&mut next, message)?,
            Action::Lose(message) => self.lose(&mut next, message)?,
            Action::LoseAnswer(message) => {
                let (_, to) = self.message(message).ends();
                self.apply(&mut next, to, Input::Arrives(message))?;
                self.lose(&mut next, message)?;
            }
            Action::Repeat(message) => {
                self.spend(&mut next, 1, true);
                let Message::Advert { from, to, advert, .. } = self.message(message).clone() else {
                    return Ok(next);
                };
                self.send(&mut next, Message::Advert { from, to, advert, is_copy: true });
            }
            Action::Crash { node, is_moved, forgets } => {
                self.crash(&mut next, node, Input::Crash { is_moved, forgets })?;
            }
        }
        next[self.scenario.nodes + LEFT..].sort_unstable();
        Ok(next)
    }

    fn deliver(&mut self, next: &mut State, number: u32) -> Result<(), Failure> {
        self.take_out(next, number);
        match *self.message(number) {
            Message::Advert { from, to, is_copy, .. } => {
                self.apply(next, to, Input::Arrives(number))?;
                if !is_copy && self.scenario.slow_answers {
                    self.send(next, Message::Taken { from: to, to: from });
                } else if !is_copy {
                    self.apply(next, from, Input::Advertised(to, true))?;
                }
            }
            Message::Taken { from, to } => self.apply(next, to, Input::Advertised(from, true))?,
            Message::Question { from, to } => {
                if self.scenario.slow_answers {
                    let reply = self.reply(next[to], to, from);
                    next.push(reply);
                } else {
                    self.answer(next, from, to)?;
                }
            }
            Message::Heads { to, .. } => self.apply(next, to, Input::Arrives(number))?,
        }
        Ok(())
    }

    /// A message goes astray; who waits for its answer gives up. That it does so at once is no less
    /// than later: until then nothing would happen but what can happen before the loss.
    fn lose(&mut self, next: &mut State, number: u32) -> Result<(), Failure> {
        self.spend(next, 0, true);
        self.take_out(next, number);
        match *self.message(number) {
            Message::Advert { from, to, .. } => {
                self.apply(next, from, Input::Advertised(to, false))
            }
            Message::Taken { from, to } => self.apply(next, to, Input::Advertised(from, false)),
            Message::Question { from, to } => self.apply(next, from, Input::NoHeads(to)),
            Message::Heads { from, to, .. } => self.apply(next, to, Input::NoHeads(from)),
        }
    }

    fn crash(&mut self, next: &mut State, node: usize, input: Input) -> Result<(), Failure> {
        self.spend(next, 2, true);
        let nodes = self.scenario.nodes;
        let gone = |message: &u32| {
            let (from, to) = self.messages[*message as usize].ends();
            from == node || to == node
        };
        let kept: Vec<u32> = next[nodes + LEFT..].iter().copied().filter(|m| !gone(m)).collect();
        next.truncate(nodes + LEFT);
        next.extend(kept);
        self.apply(next, node, input)?;
        next[nodes + 4] = node as u32 + 1;
        for peer in (0..nodes).filter(|peer| *peer != node) {
            self.apply(next, peer, Input::Cut(node))?;
        }
        Ok(())
    }

    /// Links two nodes. Unless answers are slow, what they say to each other on that is heard at
    /// once.
    fn link(&mut self, next: &mut State, a: usize, b: usize) -> Result<(), Failure> {
        self.apply(next, a, Input::Linked(b))?;
        self.apply(next, b, Input::Linked(a))?;
        if self.scenario.slow_answers {
            return Ok(());
        }
        let said: Vec<u32> = next[self.scenario.nodes + LEFT..].to_vec();
        for message in said {
            let ends = self.message(message).ends();
            if ends == (a, b) || ends == (b, a) {
                self.deliver(next, message)?;
            }
        }
        Ok(())
    }

    /// Lets `from` hear at once which heads `to` has.
    fn answer(&mut self, next: &mut State, from: usize, to: usize) -> Result<(), Failure> {
        let reply = self.reply(next[to], to, from);
        self.apply(next, from, Input::Arrives(reply))
    }

    /// What a machine in this state says when it is asked for its heads.
    fn reply(&mut self, local: u32, from: usize, to: usize) -> u32 {
        if let Some(number) = self.replies.get(&(local, to)) {
            return *number;
        }
        let (heads, main) = self.locals[local as usize].reply();
        let number = self.message_number(Message::Heads { from, to, heads, main });
        self.replies.insert((local, to), number);
        number
    }

    fn apply(&mut self, next: &mut State, node: usize, input: Input) -> Result<(), Failure> {
        self.apply_from(next, node, input, None)
    }

    fn apply_from(
        &mut self,
        next: &mut State,
        node: usize,
        input: Input,
        source: Option<usize>,
    ) -> Result<(), Failure> {
        let key = (next[node], input);
        let made = match self.made.get(&key) {
            Some(made) => made.clone(),
            None => {
                let mut local = self.locals[key.0 as usize].clone();
                let around = Around {
                    scenario: self.scenario,
                    message: match input {
                        Input::Arrives(number) => Some(&self.messages[number as usize]),
                        _ => None,
                    },
                    source: source.map(|from| &self.locals[next[from] as usize].machine.store),
                };
                let sent = local.take(input, &around, &mut self.folds)?;
                let sent = sent.into_iter().map(|message| self.message_number(message)).collect();
                let made = Made { to: self.number(local), sent };
                self.made.insert(key, made.clone());
                made
            }
        };
        next[node] = made.to;
        next.extend(made.sent);
        Ok(())
    }

    fn number(&mut self, local: Local) -> u32 {
        let locals = &mut self.locals;
        let key = (local.machine.number, local.digest());
        *self.local_numbers.entry(key).or_insert_with(|| {
            locals.push(local);
            u32::try_from(locals.len() - 1).expect("because memory ends first")
        })
    }

    fn message_number(&mut self, message: Message) -> u32 {
        if let Some(number) = self.message_numbers.get(&message) {
            return *number;
        }
        let number = u32::try_from(self.messages.len()).expect("because memory ends first");
        self.messages.push(message.clone());
        self.message_numbers.insert(message, number);
        number
    }

    fn send(&mut self, next: &mut State, message: Message) {
        let number = self.message_number(message);
        next.push(number);
    }

    fn take_out(&self, next: &mut State, message: u32) {
        let from = self.scenario.nodes + LEFT;
        let at = next[from..].iter().position(|other| *other == message);
        next.remove(from + at.expect("because only what is under way arrives"));
    }

    fn spend(&self, next: &mut State, what: usize, is_spent: bool) {
        next[self.scenario.nodes + what] -= u32::from(is_spent);
    }

    fn left<'s>(&self, state: &'s [u32]) -> &'s [u32; LEFT] {
        let left = state[self.scenario.nodes..].first_chunk();
        left.expect("because a state has these numbers after its machines")
    }

    pub(super) fn local(&self, state: &[u32], node: usize) -> &Local {
        &self.locals[state[node] as usize]
    }

    pub(super) fn message(&self, number: u32) -> &Message {
        &self.messages[number as usize]
    }

    /// Whether the node's user still has something to commit.
    pub(super) fn commits_left(&self, state: &[u32], node: usize) -> bool {
        let planned = self.scenario.commits.iter().filter(|commit| commit.node == node).count();
        self.local(state, node).made < planned
    }

    /// A peer has what it once named: an engine loses no commit, so it has all of it or none.
    fn can_pull(&self, state: &[u32], node: usize, from: usize) -> bool {
        let (_, heads) = &self.local(state, node).pulls[&from];
        let store = &self.local(state, from).machine.store;
        self.down(state) != Some(from) && heads.iter().all(|head| store.get(head).is_some())
    }

    /// The process that was killed and is not back, where there is one.
    fn down(&self, state: &[u32]) -> Option<usize> {
        (self.left(state)[4] as usize).checked_sub(1)
    }
}
