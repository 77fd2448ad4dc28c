//! The few system calls of the lab that the standard library does not have.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

/// How many bytes the name of an interface takes in a request, its final zero included.
const NAME_BYTES: usize = libc::IFNAMSIZ;

/// A request about an interface: its name, and what the request needs to know. As large as the
/// kernel's own structure on any machine; what is left over is zero.
#[repr(C, align(8))]
struct Request {
    name: [u8; NAME_BYTES],
    value: [u8; 24],
}

// The kernel reads no more of a request than its own structure has.
const _: () = assert!(size_of::<Request>() >= size_of::<libc::ifreq>());

impl Request {
    fn new(interface: &str, value: &[u8]) -> Self {
        let mut request = Self { name: [0; NAME_BYTES], value: [0; 24] };
        request.name[..interface.len()].copy_from_slice(interface.as_bytes());
        request.value[..value.len()].copy_from_slice(value);
        request
    }

    fn send(mut self, to: RawFd, code: libc::Ioctl) -> io::Result<()> {
        // SAFETY: every code in this file takes a pointer to an `ifreq`, which the kernel reads and
        // may write over. `self` is at least as large, is alive until the call returns, and any
        // bytes in it are valid. A descriptor of the wrong kind is an error, not a fault.
        check(unsafe { libc::ioctl(to, code, &raw mut self) })
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Puts the calling thread into a new network namespace, which nothing is in but its own loopback
/// interface, and returns a handle that keeps the namespace.
pub(crate) fn new_namespace() -> io::Result<File> {
    // SAFETY: takes no pointers. It changes which network this thread sees, and no memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    File::open("/proc/thread-self/ns/net")
}

/// Puts the calling thread, and the processes that it starts from now on, into a namespace.
pub(crate) fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: takes no pointers, and the descriptor is open as long as `namespace` is borrowed. It
    // changes which network this thread sees, and no memory.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Makes a TUN device in the calling thread's namespace: a file that gives each packet that is sent
/// through the interface, one a read, and takes those that are to arrive. The device is gone with
/// the file.
pub(crate) fn open_tun(interface: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let tun = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    Request::new(interface, &flags.to_ne_bytes()).send(tun.as_raw_fd(), libc::TUNSETIFF)?;
    Ok(tun)
}

/// Gives an interface of the calling thread's namespace an address in a network of 256, the size
/// of its largest packet, and the length of its queue in packets.
pub(crate) fn configure(
    interface: &str,
    address: Ipv4Addr,
    mtu: i32,
    queue: i32,
) -> io::Result<()> {
    let ask = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let send = |value: &[u8], code| Request::new(interface, value).send(ask.as_raw_fd(), code);
    send(&socket_address(address), libc::SIOCSIFADDR as libc::Ioctl)?;
    send(&socket_address(Ipv4Addr::new(255, 255, 255, 0)), libc::SIOCSIFNETMASK as libc::Ioctl)?;
    send(&mtu.to_ne_bytes(), libc::SIOCSIFMTU as libc::Ioctl)?;
    send(&queue.to_ne_bytes(), libc::SIOCSIFTXQLEN as libc::Ioctl)
}

/// Switches an interface of the calling thread's namespace on.
pub(crate) fn switch_on(interface: &str) -> io::Result<()> {
    let ask = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let code = libc::SIOCSIFFLAGS as libc::Ioctl;
    Request::new(interface, &flags.to_ne_bytes()).send(ask.as_raw_fd(), code)
}

/// The bytes of a `sockaddr_in` without a port.
fn socket_address(address: Ipv4Addr) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&(libc::AF_INET as libc::sa_family_t).to_ne_bytes());
    bytes[4..8].copy_from_slice(&address.octets());
    bytes
}

/// Waits until a file can be read, for a time at most; says whether it can.
pub(crate) fn readable(file: &File, limit: Duration) -> bool {
    let milliseconds = limit.as_millis().try_into().unwrap_or(libc::c_int::MAX);
    let mut poll = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one `pollfd`, as the count says, which lives until the call
    // returns; its descriptor is open as long as `file` is borrowed.
    unsafe { libc::poll(&raw mut poll, 1, milliseconds) > 0 }
}
