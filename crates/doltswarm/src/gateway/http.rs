//! As much of HTTP/1.1 as DoltLite's client speaks, with a bound on everything.

use std::io::{self, BufWriter, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use doltswarm_core::limits;

const HEADERS_MAX: usize = 32;
/// The largest body a request may have: one hash after another.
const BODY_BYTES_MAX: usize = limits::CHUNKS_PER_REQUEST_MAX * limits::HASH_BYTES;
const READ_BYTES: usize = 16 << 10;
/// What is still read from a client that was refused, so that it finds the answer and not a reset.
const LINGER_BYTES_MAX: usize = 1 << 20;
const LINGER_TIMEOUT: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Put,
    Other,
}

/// The head of a request.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) content_length: u64,
    /// Whether the client wants no further request on this connection.
    pub(super) close: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    Forbidden,
    NotFound,
    NotAllowed,
    TooLarge,
    HeadTooLarge,
    Failed,
    NotImplemented,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::NotAllowed => "405 Method Not Allowed",
            Self::TooLarge => "413 Content Too Large",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Failed => "500 Internal Server Error",
            Self::NotImplemented => "501 Not Implemented",
        }
    }
}

pub(super) enum Body {
    Bytes(Vec<u8>),
    /// Each as its length and its bytes, or as [`ABSENT`].
    Chunks(Vec<Option<Vec<u8>>>),
}

const ABSENT: u32 = u32::MAX;

impl Body {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Chunks(chunks) => {
                chunks.iter().map(|chunk| 4 + chunk.as_ref().map_or(0, Vec::len)).sum()
            }
        }
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => out.write_all(bytes),
            Self::Chunks(chunks) => chunks.iter().try_for_each(|chunk| match chunk {
                Some(chunk) => {
                    // The whole reply is bounded below this.
                    let len = u32::try_from(chunk.len()).map_err(io::Error::other)?;
                    out.write_all(&len.to_be_bytes())?;
                    out.write_all(chunk)
                }
                None => out.write_all(&ABSENT.to_be_bytes()),
            }),
        }
    }
}

pub(super) struct Reply {
    pub(super) status: Status,
    pub(super) body: Body,
}

impl Reply {
    pub(super) fn ok(body: Body) -> Self {
        Self { status: Status::Ok, body }
    }

    /// An error in the form that DoltLite's client shows to its user.
    pub(super) fn error(status: Status, code: &str, message: &str) -> Self {
        // The client takes the text up to the next quote and knows no escapes.
        let message: String = message
            .chars()
            .take(500)
            .map(|c| match c {
                '"' | '\\' => '\'',
                ' '..='~' => c,
                _ => '?',
            })
            .collect();
        let body = format!("{{\"code\":\"{code}\",\"message\":\"{message}\"}}");
        Self { status, body: Body::Bytes(body.into_bytes()) }
    }
}

/// Why there is no request.
pub(super) enum NoRequest {
    /// The client went away, was too slow, or the connection broke.
    Gone,
    /// What it sent is not a request that is read further.
    Refused(Reply),
}

impl From<io::Error> for NoRequest {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// One connection of a client.
pub(super) struct Connection {
    stream: TcpStream,
    /// What arrived and was not used yet.
    buffer: Vec<u8>,
    /// When the request being read has to be there.
    deadline: Instant,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(limits::STALL_TIMEOUT))?;
        acknowledge_at_once(&stream);
        Ok(Self { stream, buffer: Vec::new(), deadline: Instant::now() })
    }

    /// Reads the head of the next request, which may be `idle` in coming.
    pub(super) fn read_head(&mut self, idle: Duration) -> Result<Head, NoRequest> {
        self.deadline = Instant::now() + idle;
        let mut started = false;
        loop {
            if !self.buffer.is_empty() {
                if !started {
                    started = true;
                    self.deadline = Instant::now() + limits::GATEWAY_REQUEST_TIMEOUT;
                }
                if let Some((head, used)) = parse_head(&self.buffer)? {
                    self.buffer.drain(..used);
                    return Ok(head);
                }
                if self.buffer.len() >= limits::GATEWAY_HEADER_BYTES_MAX {
                    return Err(refused(Status::HeadTooLarge, "the head is too large"));
                }
            }
            self.read_more()?;
        }
    }

    /// Reads the body of the request whose head was just read.
    pub(super) fn read_body(&mut self, head: &Head) -> Result<Vec<u8>, NoRequest> {
        let length = usize::try_from(head.content_length)
            .ok()
            .filter(|length| *length <= BODY_BYTES_MAX)
            .ok_or_else(|| refused(Status::TooLarge, "more hashes than one request may name"))?;
        while self.buffer.len() < length {
            self.read_more()?;
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    fn read_more(&mut self) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut bytes = [0; READ_BYTES];
        let n = self.stream.read(&mut bytes)?;
        acknowledge_at_once(&self.stream);
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend(&bytes[..n]);
        Ok(())
    }

    /// Sends a reply, in one segment where it is small.
    pub(super) fn send(&mut self, reply: &Reply, close: bool) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(64 << 10, &self.stream);
        write!(
            out,
            "HTTP/1.1 {}\r\nContent-Length: {}\r\nConnection: {}\r\n\r\n",
            reply.status.line(),
            reply.body.len(),
            if close { "close" } else { "keep-alive" },
        )?;
        reply.body.write(&mut out)?;
        out.flush()
    }

    /// Ends a connection on which the client may still be sending.
    pub(super) fn linger(mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        self.deadline = Instant::now() + LINGER_TIMEOUT;
        let mut dropped = 0;
        while dropped < LINGER_BYTES_MAX && self.read_more().is_ok() {
            dropped += self.buffer.len();
            self.buffer.clear();
        }
    }
}

fn refused(status: Status, message: &str) -> NoRequest {
    NoRequest::Refused(Reply::error(status, "bad_request", message))
}

/// Takes the head off the front of `bytes`: `None` where it is not all there yet.
fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, NoRequest> {
    let bad = |message| refused(Status::BadRequest, message);
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let used = match request.parse(bytes) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(refused(Status::HeadTooLarge, "there are too many headers"));
        }
        Err(_) => return Err(bad("this is not an HTTP request")),
    };
    let method = match request.method {
        Some("GET") => Method::Get,
        Some("POST") => Method::Post,
        Some("PUT") => Method::Put,
        _ => Method::Other,
    };
    let mut length = None;
    let mut close = request.version != Some(1);
    for header in request.headers.iter() {
        let name = |name: &str| header.name.eq_ignore_ascii_case(name);
        if name("transfer-encoding") {
            return Err(refused(Status::NotImplemented, "a body has to say its length"));
        } else if name("content-length") {
            let value = parse_length(header.value).ok_or_else(|| bad("a wrong length"))?;
            if length.replace(value).is_some() {
                return Err(bad("two lengths"));
            }
        } else if name("connection") {
            close |= header.value.trim_ascii().eq_ignore_ascii_case(b"close");
        }
    }
    let path = request.path.unwrap_or_default().to_owned();
    Ok(Some((Head { method, path, content_length: length.unwrap_or(0), close }, used)))
}

/// Digits and nothing else: a sign or a list would mean different things to different readers.
fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Asks the kernel to acknowledge what arrived now.
///
/// The client sends head and body apart and waits for the acknowledgement of the first before it
/// sends the second; the kernel's habit is to delay that by 40 ms. The kernel forgets the wish, so
/// it is said after every read.
fn acknowledge_at_once(stream: &TcpStream) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_quickack(true) {
        tracing::trace!(%error, "no quick acknowledgement");
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = stream;
}
