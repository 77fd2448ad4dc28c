//! Waiting: jitter from a seed, backoff after failures, and operations that are under way.

use std::collections::VecDeque;
use std::time::Duration;

use super::io::{Event, OpId, Output};
use crate::limits::{RETRY_DELAY_MAX, RETRY_DELAY_MIN};
use crate::time::Time;

/// A small generator of pseudo-random numbers (SplitMix64): the same seed, the same jitter.
///
/// It spreads peers in time and decides nothing else, so it need not be unpredictable.
#[derive(Debug, Clone)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Returns a number below `bound`, which must not be zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Stretches a delay by up to a half.
    pub(crate) fn stretch(&mut self, delay: Duration) -> Duration {
        let half = u64::try_from(delay.as_millis() / 2).unwrap_or(u64::MAX - 1);
        delay + Duration::from_millis(self.below(half.saturating_add(1)))
    }
}

/// When something that failed may be tried again.
#[derive(Debug, Clone, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Time>,
}

impl Backoff {
    /// How often it failed in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn fail(&mut self, now: Time, jitter: &mut Jitter) {
        let doubled = RETRY_DELAY_MIN.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + jitter.stretch(doubled.min(RETRY_DELAY_MAX)));
    }

    /// Waits once, without counting a failure.
    pub(super) fn wait(&mut self, until: Time) {
        self.until = Some(until);
    }

    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_ready(&self, now: Time) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// When it is ready; nothing where it never failed.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.until
    }
}

/// What every part of a node writes to.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    outputs: VecDeque<Output>,
    next_op: u64,
    pub(super) jitter: Jitter,
}

impl Outbox {
    pub(super) fn new(seed: u64) -> Self {
        Self { outputs: VecDeque::new(), next_op: 0, jitter: Jitter::new(seed) }
    }

    /// Sends an output that carries a new operation.
    pub(super) fn start(&mut self, output: impl FnOnce(OpId) -> Output) -> OpId {
        let op = OpId(self.next_op);
        self.next_op += 1;
        self.outputs.push_back(output(op));
        op
    }

    pub(super) fn send(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn event(&mut self, event: Event) {
        self.send(Output::Event(event));
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_limit_with_jitter_of_up_to_a_half() {
        let mut jitter = Jitter::new(7);
        let mut backoff = Backoff::default();
        let now = Time::from_millis(1_000);
        assert!(backoff.is_ready(now));
        let mut least = RETRY_DELAY_MIN;
        for failures in 1..200 {
            backoff.fail(now, &mut jitter);
            assert_eq!(backoff.failures(), failures);
            let delay = backoff.deadline().unwrap() - now;
            assert!(least <= delay && delay <= least + least / 2, "{delay:?}");
            assert!(!backoff.is_ready(now) && backoff.is_ready(now + delay));
            least = (least * 2).min(RETRY_DELAY_MAX);
        }
        backoff.reset();
        assert!(backoff.is_ready(now) && backoff.deadline().is_none());
    }

    #[test]
    fn the_same_seed_gives_the_same_jitter() {
        let numbers = |seed| {
            let mut jitter = Jitter::new(seed);
            [(); 8].map(|()| jitter.below(1_000_000))
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
    }
}
