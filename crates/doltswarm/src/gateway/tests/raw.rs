//! The protocol by hand: what is answered, and what is refused.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use doltswarm_core::limits;

use super::*;

const ROOT: &[u8] = b"the root";

struct Setup {
    gateway: Gateway,
    shown: Shown,
}

impl Setup {
    fn new() -> Self {
        let memory = Memory::default();
        for n in [1, 2] {
            let chunk = vec![n; usize::from(n) * 3];
            memory.chunks.lock().unwrap().insert(ChunkHash::from_bytes([n; 20]), chunk);
        }
        let gateway = Gateway::start().unwrap();
        let shown = gateway.show(ROOT.to_vec(), Arc::new(memory));
        Self { gateway, shown }
    }

    fn path(&self) -> String {
        let prefix = format!("http://{}", self.gateway.address());
        self.shown.url().strip_prefix(&prefix).unwrap().to_owned()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.gateway.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// One request on a connection of its own: the status and the body.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = self.connect();
        send(&mut stream, method, path, body);
        receive(&mut stream).expect("an answer")
    }

    fn pull(&self, method: &str, call: &str, body: &[u8]) -> (u16, Vec<u8>) {
        self.ask(method, &format!("{}/{call}", self.path()), body)
    }
}

fn send(stream: &mut TcpStream, method: &str, path: &str, body: &[u8]) {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    // Apart, as the engine's client does it.
    stream.write_all(head.as_bytes()).unwrap();
    let _ = stream.write_all(body);
}

/// `None` where the connection ended without an answer.
fn receive(stream: &mut TcpStream) -> Option<(u16, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    Some((status, body))
}

#[test]
fn reads_are_answered() {
    let setup = Setup::new();
    assert_eq!(setup.pull("GET", "refs", b""), (200, ROOT.to_vec()));
    let asked = [[2; 20], [9; 20], [1; 20]].concat();
    let expected =
        [&6_u32.to_be_bytes()[..], &[2; 6], &u32::MAX.to_be_bytes(), &3_u32.to_be_bytes(), &[1; 3]]
            .concat();
    assert_eq!(setup.pull("POST", "get-chunks", &asked), (200, expected));
    assert_eq!(setup.pull("POST", "get-chunks", b""), (200, vec![]));
    assert_eq!(setup.pull("POST", "has-chunks", &asked), (200, vec![1, 0, 1]));
    let chunk = ChunkHash::from_bytes([2; 20]);
    assert_eq!(setup.pull("GET", &format!("chunk/{chunk}"), b""), (200, vec![2; 6]));
}

#[test]
fn connection_is_kept_for_many_requests_also_when_they_come_at_once() {
    let setup = Setup::new();
    let mut stream = setup.connect();
    let refs = format!("{}/refs", setup.path());
    for _ in 0..3 {
        send(&mut stream, "GET", &refs, b"");
        assert_eq!(receive(&mut stream).unwrap(), (200, ROOT.to_vec()));
    }
    let get = format!("{}/get-chunks", setup.path());
    send(&mut stream, "POST", &get, &[9; 20]);
    send(&mut stream, "GET", &refs, b"");
    assert_eq!(receive(&mut stream).unwrap(), (200, vec![0xff; 4]));
    assert_eq!(receive(&mut stream).unwrap(), (200, ROOT.to_vec()));
    // Byte by byte, as a slow but honest client.
    for byte in format!("GET {refs} HTTP/1.1\r\n\r\n").bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(receive(&mut stream).unwrap().0, 200);
}

#[test]
fn writes_are_refused() {
    let setup = Setup::new();
    for (method, call) in [
        ("PUT", "refs"),
        ("PUT", "refs-if"),
        ("POST", "chunks"),
        ("POST", "commit"),
        ("PUT", "anything"),
    ] {
        let (status, body) = setup.pull(method, call, &[0; 300_000]);
        assert_eq!(status, 403, "{method} {call}");
        assert!(String::from_utf8(body).unwrap().contains("can only be read from"));
    }
    for method in ["DELETE", "PATCH", "HEAD", "OPTIONS"] {
        assert_eq!(setup.pull(method, "refs", b"").0, 405, "{method}");
    }
    assert_eq!(setup.pull("GET", "refs", b"").0, 200);
}

#[test]
fn anything_else_is_not_found() {
    let setup = Setup::new();
    for (method, call) in [
        ("GET", ""),
        ("GET", "refs/"),
        ("GET", "get-chunks"),
        ("GET", "chunk/xyz"),
        ("GET", "../refs"),
        ("POST", "refs"),
        ("POST", "refs-if"),
    ] {
        assert_eq!(setup.pull(method, call, b"").0, 404, "{method} {call}");
    }
    let absent = ChunkHash::from_bytes([9; 20]);
    assert_eq!(setup.pull("GET", &format!("chunk/{absent}"), b"").0, 404);
}

#[test]
fn stranger_learns_nothing() {
    let setup = Setup::new();
    let path = setup.path();
    let (token, id) = path[1..].split_once('/').unwrap();
    assert_eq!(token.len(), 32);
    let other = Gateway::start().unwrap();
    assert_ne!(other.shared.token, token);
    let last = if token.ends_with('0') { '1' } else { '0' };
    for wrong in [
        format!("/{}{last}/{id}/refs", &token[..31]),
        format!("/{}/{id}/refs", &token[..31]),
        format!("/{token}0/{id}/refs"),
        format!("//{id}/refs"),
        "/".to_owned(),
        "/refs".to_owned(),
        format!("/{}/{id}/refs", token.to_uppercase().replace(|c: char| c.is_numeric(), "A")),
    ] {
        assert_eq!(setup.ask("GET", &wrong, b"").0, 404, "{wrong}");
    }
    assert_eq!(setup.ask("GET", &format!("/{token}/ffff/refs"), b"").0, 404);
    assert_eq!(setup.ask("GET", &format!("/{token}/{id}/refs"), b"").0, 200);
    let secrets = format!("{:?} {:?}", setup.gateway, setup.shown);
    assert!(!secrets.contains(token), "{secrets}");
}

#[test]
fn path_is_gone_with_the_guard_and_each_pull_has_its_own() {
    let setup = Setup::new();
    let second = setup.gateway.show(b"other".to_vec(), Arc::new(Memory::default()));
    assert_ne!(second.url(), setup.shown.url());
    let prefix = format!("http://{}", setup.gateway.address());
    let path = format!("{}/refs", second.url().strip_prefix(&prefix).unwrap());
    assert_eq!(setup.ask("GET", &path, b""), (200, b"other".to_vec()));
    drop(second);
    assert_eq!(setup.ask("GET", &path, b"").0, 404);
    assert_eq!(setup.pull("GET", "refs", b"").0, 200);
}

#[test]
fn too_much_is_refused() {
    let setup = Setup::new();
    let most = limits::CHUNKS_PER_REQUEST_MAX * 20;
    assert_eq!(setup.pull("POST", "get-chunks", &vec![9; most]).0, 200);
    assert_eq!(setup.pull("POST", "get-chunks", &vec![9; most + 20]).0, 413);
    assert_eq!(setup.pull("POST", "get-chunks", &[9; 19]).0, 400);
    assert_eq!(setup.pull("POST", "has-chunks", &[9; 21]).0, 400);
    let long = format!("/{}", "x".repeat(2 * limits::GATEWAY_HEADER_BYTES_MAX));
    assert_eq!(setup.ask("GET", &long, b"").0, 431);
    let mut stream = setup.connect();
    let many = "A: b\r\n".repeat(100);
    stream.write_all(format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes()).unwrap();
    assert_eq!(receive(&mut stream).unwrap().0, 431);
}

#[test]
fn garbage_is_refused() {
    let setup = Setup::new();
    let refs = format!("{}/refs", setup.path());
    let cases = [
        "\0\0\0\0\r\n\r\n".to_owned(),
        "hello\r\n\r\n".to_owned(),
        format!("GET {refs} HTTP/2.0\r\n\r\n"),
        format!("GET {refs} HTTP/1.1\r\nContent-Length: -1\r\n\r\n"),
        format!("GET {refs} HTTP/1.1\r\nContent-Length: 1,1\r\n\r\n"),
        format!("GET {refs} HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n"),
        format!("GET {refs} HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"),
        format!("POST {refs} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ];
    for case in cases {
        let mut stream = setup.connect();
        stream.write_all(case.as_bytes()).unwrap();
        let (status, _) = receive(&mut stream).expect("an answer");
        assert!([400, 501].contains(&status), "{status}: {case}");
        assert_eq!(receive(&mut stream), None, "and the connection ends");
    }
    let mut half = setup.connect();
    half.write_all(b"GET /").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    assert_eq!(receive(&mut half), None);
    assert_eq!(setup.pull("GET", "refs", b"").0, 200);
}

#[test]
fn failing_and_lying_sources_are_errors() {
    struct Short;
    impl ChunkSource for Short {
        fn get_many(&self, _: &[ChunkHash]) -> Result<Vec<Option<Vec<u8>>>, String> {
            Ok(Vec::new())
        }
    }
    let mut setup = Setup::new();
    for source in [Arc::new(Short) as Arc<dyn ChunkSource>, Arc::new(Broken("gone"))] {
        setup.shown = setup.gateway.show(ROOT.to_vec(), source);
        assert_eq!(setup.pull("POST", "get-chunks", &[1; 20]).0, 500);
        assert_eq!(setup.pull("POST", "has-chunks", &[1; 20]).0, 500);
        let chunk = ChunkHash::from_bytes([1; 20]);
        assert!([404, 500].contains(&setup.pull("GET", &format!("chunk/{chunk}"), b"").0));
        assert_eq!(setup.pull("GET", "refs", b"").0, 200);
    }
}

#[test]
fn slow_client_is_cut_off() {
    let setup = Setup::new();
    let mut stream = setup.connect();
    let start = Instant::now();
    // A byte now and then does not buy more time.
    let ended = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(200));
        let sent = stream.write_all(b"G");
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        sent.is_err() || matches!(stream.read(&mut [0]), Ok(0))
    });
    let took = start.elapsed();
    assert!(ended && took < 2 * limits::GATEWAY_REQUEST_TIMEOUT, "{took:?}");
    assert_eq!(setup.pull("GET", "refs", b"").0, 200);
}

#[test]
fn connections_are_bounded_and_come_free_again() {
    let setup = Setup::new();
    let held: Vec<TcpStream> =
        (0..limits::GATEWAY_CONNECTIONS_MAX).map(|_| setup.connect()).collect();
    // Each is in once it has an answer.
    let refs = format!("{}/refs", setup.path());
    for mut stream in &held {
        send(&mut stream.try_clone().unwrap(), "GET", &refs, b"");
        assert_eq!(receive(&mut stream.try_clone().unwrap()).unwrap().0, 200);
        stream.flush().unwrap();
    }
    let mut one_more = setup.connect();
    send(&mut one_more, "GET", &refs, b"");
    assert_eq!(receive(&mut one_more), None);
    drop(held);
    let free_again = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let mut stream = setup.connect();
        send(&mut stream, "GET", &refs, b"");
        receive(&mut stream).is_some()
    });
    assert!(free_again);
}

#[test]
fn close_ends_open_connections_and_frees_the_port() {
    let setup = Setup::new();
    let mut stream = setup.connect();
    send(&mut stream, "GET", &format!("{}/refs", setup.path()), b"");
    assert_eq!(receive(&mut stream).unwrap().0, 200);
    let address = setup.gateway.address();
    let start = Instant::now();
    setup.gateway.close();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(receive(&mut stream), None);
    assert!(TcpStream::connect(address).is_err());
}
