//! Hosts in network namespaces of their own, and the links between them.
//!
//! Each host has one interface, a TUN device whose other end is a file that this process reads.
//! A packet is read there, judged by its [`Direction`], and written to the device of the host that
//! it is for. Namespaces and devices have no name outside of this process and are gone with it,
//! however it ends.

use std::collections::{BTreeMap, BinaryHeap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::ffi;
use crate::link::{Conditions, Counts, Direction};

const INTERFACE: &str = "lab0";
/// As on an Ethernet.
const MTU: i32 = 1_500;
/// How many packets wait for this process to read them: all that a sender may have on the way. Only
/// a link drops packets.
const DEVICE_QUEUE: i32 = 10_000;
/// How often a thread that waits for packets looks whether it is still wanted.
const CLOSE_CHECK: Duration = Duration::from_millis(50);

/// A machine of the lab.
pub(crate) struct Host {
    namespace: File,
    tun: Arc<File>,
    pub(crate) address: Ipv4Addr,
}

impl Host {
    fn new(number: u8) -> io::Result<Self> {
        let address = Ipv4Addr::new(10, 77, 0, number + 1);
        let make = || {
            let namespace = ffi::new_namespace()?;
            let tun = Arc::new(ffi::open_tun(INTERFACE)?);
            ffi::configure(INTERFACE, address, MTU, DEVICE_QUEUE)?;
            ffi::switch_on(INTERFACE)?;
            ffi::switch_on("lo")?;
            Ok(Self { namespace, tun, address })
        };
        // On a thread of its own: it stays in the namespace.
        thread::scope(|scope| scope.spawn(make).join().expect("because it does not panic"))
    }

    /// Does `work` on this host: sockets that it opens and processes that it starts are there.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let on_host = || {
            ffi::enter(&self.namespace).expect("because the namespace was entered before");
            work()
        };
        let ended = thread::scope(|scope| scope.spawn(on_host).join());
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Hosts and links.
pub(crate) struct Lab {
    hosts: Vec<Host>,
    switch: Arc<Switch>,
    threads: Vec<JoinHandle<()>>,
}

impl Lab {
    /// A lab of hosts that no link joins yet.
    pub(crate) fn new(hosts: u8) -> io::Result<Self> {
        let hosts = (0..hosts).map(Host::new).collect::<io::Result<Vec<Host>>>()?;
        let switch = Arc::new(Switch::new());
        let mut threads = Vec::new();
        for (from, host) in hosts.iter().enumerate() {
            let (switch, tun) = (Arc::clone(&switch), Arc::clone(&host.tun));
            threads.push(thread::spawn(move || switch.read_from(from, &tun)));
        }
        let tuns: Vec<Arc<File>> = hosts.iter().map(|host| Arc::clone(&host.tun)).collect();
        let courier = Arc::clone(&switch);
        threads.push(thread::spawn(move || courier.deliver(&tuns)));
        Ok(Self { hosts, switch, threads })
    }

    pub(crate) fn host(&self, number: usize) -> &Host {
        &self.hosts[number]
    }

    /// Puts a link between two hosts, or changes the one that is there; what is on its way stays.
    pub(crate) fn link(&self, a: usize, b: usize, conditions: Conditions) {
        self.set(a, b, conditions);
        self.set(b, a, conditions);
    }

    /// Sets one direction of a link.
    pub(crate) fn set(&self, from: usize, to: usize, conditions: Conditions) {
        let mut state = self.switch.lock();
        let seed = (from * self.hosts.len() + to) as u64;
        let new = || Direction::new(conditions, seed);
        state.links.entry((from, to)).or_insert_with(new).conditions = conditions;
    }

    /// Switches a link off or on, in both directions.
    pub(crate) fn switch(&self, a: usize, b: usize, is_up: bool) {
        let mut state = self.switch.lock();
        for way in [(a, b), (b, a)] {
            if let Some(direction) = state.links.get_mut(&way) {
                direction.conditions.is_up = is_up;
            }
        }
    }

    /// What arrived at `to` from `from` so far.
    pub(crate) fn counts(&self, from: usize, to: usize) -> Counts {
        self.switch.lock().links.get(&(from, to)).map(|link| link.counts).unwrap_or_default()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.switch.lock().is_closed = true;
        self.switch.changed.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What all packets pass.
struct Switch {
    began: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    links: BTreeMap<(usize, usize), Direction>,
    on_the_way: BinaryHeap<Packet>,
    taken: u64,
    is_closed: bool,
}

struct Packet {
    due: Duration,
    /// How many packets were taken before this one.
    number: u64,
    way: (usize, usize),
    bytes: Vec<u8>,
}

impl Ord for Packet {
    /// The next to arrive is the greatest, as a heap has it.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl PartialOrd for Packet {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Packet {}

impl Switch {
    fn new() -> Self {
        Self { began: Instant::now(), state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a host sends, until the lab is closed.
    fn read_from(&self, from: usize, mut tun: &File) {
        let mut buffer = [0; MTU as usize];
        loop {
            let length = match tun.read(&mut buffer) {
                Ok(length) => length,
                Err(_) => {
                    if self.lock().is_closed {
                        return;
                    }
                    ffi::readable(tun, CLOSE_CHECK);
                    continue;
                }
            };
            let Some(to) = receiver(&buffer[..length]) else { continue };
            let now = self.began.elapsed();
            let mut state = self.lock();
            let State { links, on_the_way, taken, .. } = &mut *state;
            let Some(link) = links.get_mut(&(from, to)) else { continue };
            let Some(due) = link.take(now, length) else { continue };
            *taken += 1;
            let bytes = buffer[..length].to_vec();
            on_the_way.push(Packet { due, number: *taken, way: (from, to), bytes });
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Gives packets to their hosts when they are due, until the lab is closed.
    fn deliver(&self, tuns: &[Arc<File>]) {
        let mut state = self.lock();
        while !state.is_closed {
            let now = self.began.elapsed();
            match state.on_the_way.peek().map(|next| next.due) {
                None => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Some(due) if due > now => {
                    let waited = self.changed.wait_timeout(state, due - now);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                Some(_) => {
                    let Some(packet) = state.on_the_way.pop() else { continue };
                    let link = state.links.get_mut(&packet.way);
                    if link.is_some_and(|link| link.arrive(packet.bytes.len())) {
                        drop(state);
                        // A host that is gone takes nothing more.
                        let _ = (&*tuns[packet.way.1]).write(&packet.bytes);
                        state = self.lock();
                    }
                }
            }
        }
    }
}

/// The host that an IPv4 packet is for; `None` for anything else that a kernel sends.
fn receiver(packet: &[u8]) -> Option<usize> {
    const VERSION: u8 = 4;
    match packet {
        [first, ..] if first >> 4 == VERSION => match packet.get(16..20)? {
            [10, 77, 0, host] => usize::from(*host).checked_sub(1),
            _ => None,
        },
        _ => None,
    }
}
