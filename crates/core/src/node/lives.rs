//! Which process of a peer a node talks to: each names itself by a random number in its hello.
//!
//! A peer that starts again comes with a new number and never returns to an old one. If it does,
//! two processes use its key: its directory was copied, and both run. They push each other out of
//! their one connection to each peer, again and again, unless somebody tells them.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::{COPY_REFUSED_FOR, LIVES_REMEMBERED_MAX};
use crate::time::Time;

/// The processes of one peer, as far as they are remembered.
#[derive(Debug, Clone, Default)]
pub struct Lives {
    current: Option<u64>,
    before: VecDeque<u64>,
    refused_until: Option<Time>,
}

impl Lives {
    /// A process of the peer said hello. Returns whether it is to be taken: not while two processes
    /// use the peer's key at the same time.
    pub fn handle_hello(&mut self, now: Time, life: u64) -> bool {
        if self.current != Some(life) {
            if self.before.contains(&life) {
                self.refused_until = Some(now + COPY_REFUSED_FOR);
            }
            self.before.retain(|before| *before != life);
            self.before.extend(self.current.replace(life));
            if self.before.len() > LIVES_REMEMBERED_MAX {
                self.before.pop_front();
            }
        }
        !self.is_refused(now)
    }

    /// Whether two processes use the peer's key, as far as was seen lately.
    pub fn is_refused(&self, now: Time) -> bool {
        self.refused_until.is_some_and(|until| now < until)
    }
}

/// How long hellos are refused is longer than a peer waits between dials, so that both processes
/// hear it.
const _: () = assert!(
    COPY_REFUSED_FOR.as_secs() > Duration::from_secs(22).as_secs(),
    "a peer dials again after 15 s and up to a half"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_are_taken_and_a_return_is_not() {
        let mut lives = Lives::default();
        let mut now = Time::from_millis(1);
        for life in 1..100 {
            assert!(lives.handle_hello(now, life), "a restart");
            assert!(lives.handle_hello(now, life), "the same process connects again");
        }
        assert!(!lives.handle_hello(now, 98), "the one before is still there");
        assert!(!lives.handle_hello(now, 99) && lives.is_refused(now));
        // Nobody was seen twice for long: one of them was stopped.
        now = now + COPY_REFUSED_FOR;
        assert!(!lives.is_refused(now));
        assert!(lives.handle_hello(now, 99));
        assert!(lives.handle_hello(now, 100));
    }
}
