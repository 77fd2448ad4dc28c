//! One direction of an emulated link: which packets arrive, and when. No sockets, no clock.

use std::time::Duration;

/// What a link does to the packets of one direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Conditions {
    /// How long a packet is on its way.
    pub(crate) delay: Duration,
    /// How much longer it may be, at most. Packets keep their order.
    pub(crate) jitter: Duration,
    /// Which share of the packets is lost, from 0 to 1.
    pub(crate) loss: f64,
    /// How many bits a second get through; `None` is as many as are sent.
    pub(crate) rate: Option<u64>,
    /// How many bytes wait for their turn at most; further packets are dropped.
    pub(crate) queue_bytes: u64,
    /// Whether anything gets through.
    pub(crate) is_up: bool,
}

impl Default for Conditions {
    /// A cable: nothing is late or lost.
    fn default() -> Self {
        let (delay, jitter) = (Duration::ZERO, Duration::ZERO);
        Self { delay, jitter, loss: 0.0, rate: None, queue_bytes: 1 << 20, is_up: true }
    }
}

impl Conditions {
    /// A link over which a packet and its answer take `round_trip`, at so many Mbit/s, with a queue
    /// of 200 ms.
    pub(crate) fn wide_area(round_trip: Duration, megabits: u64) -> Self {
        let rate = megabits * 1_000_000;
        Self {
            delay: round_trip / 2,
            rate: Some(rate),
            queue_bytes: rate / 8 / 5,
            ..Self::default()
        }
    }

    /// The same link, on which this share of the packets is lost.
    pub(crate) fn losing(self, loss: f64) -> Self {
        Self { loss, ..self }
    }
}

/// What went through one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Packets that arrived.
    pub(crate) packets: u64,
    /// Their bytes, with the headers of IP and UDP.
    pub(crate) bytes: u64,
    /// Packets that did not.
    pub(crate) lost: u64,
}

/// One direction of a link.
#[derive(Debug)]
pub(crate) struct Direction {
    pub(crate) conditions: Conditions,
    pub(crate) counts: Counts,
    dice: Dice,
    /// When all packets before have been put on the line.
    free_at: Duration,
    /// When the packet before arrives.
    last_due: Duration,
}

impl Direction {
    /// A direction whose dice are those of `seed`.
    pub(crate) fn new(conditions: Conditions, seed: u64) -> Self {
        let (free_at, last_due) = (Duration::ZERO, Duration::ZERO);
        Self { conditions, counts: Counts::default(), dice: Dice(seed), free_at, last_due }
    }

    /// Takes a packet at the time `now`; returns when it arrives, or `None` if it never does.
    pub(crate) fn take(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        let due = self.due(now, bytes as u64);
        match due {
            Some(due) => self.last_due = due,
            None => self.counts.lost += 1,
        }
        due
    }

    fn due(&mut self, now: Duration, bytes: u64) -> Option<Duration> {
        let Conditions { delay, jitter, loss, rate, queue_bytes, is_up } = self.conditions;
        if !is_up {
            return None;
        }
        let begins = self.free_at.max(now);
        if let Some(rate) = rate {
            let waiting = (begins - now).as_secs_f64() * rate as f64 / 8.0;
            if waiting + bytes as f64 > queue_bytes as f64 {
                return None;
            }
            self.free_at = begins + Duration::from_secs_f64(bytes as f64 * 8.0 / rate as f64);
        } else {
            self.free_at = begins;
        }
        // A packet that is lost on the way has taken its place on the line.
        if self.dice.fraction() < loss {
            return None;
        }
        let due = self.free_at + delay + jitter.mul_f64(self.dice.fraction());
        Some(due.max(self.last_due))
    }

    /// A packet is there; says whether it gets through.
    pub(crate) fn arrive(&mut self, bytes: usize) -> bool {
        if self.conditions.is_up {
            self.counts.packets += 1;
            self.counts.bytes += bytes as u64;
        } else {
            self.counts.lost += 1;
        }
        self.conditions.is_up
    }
}

/// A small generator of pseudo-random numbers (SplitMix64): the same seed, the same losses.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    /// A number from 0 up to and without 1.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The upper 53 bits, as many as the type holds exactly.
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn packets_wait_for_their_turn_on_the_line() {
    // 1,000 bytes at 8 Mbit/s are a millisecond.
    let conditions = Conditions { delay: 10 * MS, rate: Some(8_000_000), ..Conditions::default() };
    let mut link = Direction::new(conditions, 1);
    let due: Vec<_> = (0..3).map(|_| link.take(5 * MS, 1_000)).collect();
    assert_eq!(due, [Some(16 * MS), Some(17 * MS), Some(18 * MS)]);
    assert_eq!(link.take(100 * MS, 1_000), Some(111 * MS));
}

#[test]
fn a_full_queue_drops_packets() {
    let conditions =
        Conditions { rate: Some(8_000_000), queue_bytes: 3_000, ..Conditions::default() };
    let mut link = Direction::new(conditions, 1);
    let taken = (0..10).filter(|_| link.take(MS, 1_000).is_some()).count();
    assert_eq!((taken, link.counts.lost), (3, 7));
    // Two of them are through a little later, and make room.
    assert!(link.take(3 * MS, 1_000).is_some());
}

#[test]
fn the_share_of_lost_packets_is_as_asked() {
    let mut link = Direction::new(Conditions::default().losing(0.1), 7);
    let arrived = (0..10_000).filter(|_| link.take(MS, 100).is_some()).count();
    assert!((8_900..9_100).contains(&arrived), "{arrived} of 10,000");
    let mut again = Direction::new(Conditions::default().losing(0.1), 7);
    let second = (0..10_000).filter(|_| again.take(MS, 100).is_some()).count();
    assert_eq!(arrived, second);
}

#[test]
fn jitter_keeps_the_order_of_packets() {
    let conditions = Conditions { delay: 10 * MS, jitter: 5 * MS, ..Conditions::default() };
    let mut link = Direction::new(conditions, 3);
    let due: Vec<_> = (0..100).map(|at| link.take(at * MS / 10, 100).unwrap()).collect();
    assert!(due.is_sorted());
    assert!(due.iter().any(|due| *due > 14 * MS), "{due:?}");
}

#[test]
fn a_link_that_is_off_drops_what_is_on_its_way() {
    let mut link = Direction::new(Conditions { delay: 10 * MS, ..Conditions::default() }, 1);
    assert_eq!(link.take(MS, 100), Some(11 * MS));
    link.conditions.is_up = false;
    assert_eq!(link.take(2 * MS, 100), None);
    assert!(!link.arrive(100));
    assert_eq!(link.counts, Counts { packets: 0, bytes: 0, lost: 2 });
}
