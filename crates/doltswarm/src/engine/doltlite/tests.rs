//! The conformance suite on DoltLite, and what only DoltLite has.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use doltswarm_core::id::{ChunkHash, CommitHash};
use tempfile::TempDir;

use super::ffi::Connection;
use super::{DoltLite, DoltLiteFormat};
use crate::engine::conformance::{Backend, Pair, Side, conformance_tests, meta_at};
use crate::engine::{ChunkFormat, ChunkReader, Engine};

mod chunks;
mod own;
mod random;

conformance_tests!(super::pair);

/// Two databases of one swarm in a directory of their own, joined by a gateway.
fn pair() -> Pair {
    pair_at().0
}

/// The same, and where the first of them is.
fn pair_at() -> (Pair, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let paths = [dir.path().join("a.db"), dir.path().join("b.db")];
    let mut a = DoltLite::create(&paths[0]).unwrap();
    let founding = a.found(&meta_at("found", 1_700_000_000)).unwrap();
    let gateway = Gateway::start();
    gateway.show(a.chunks().unwrap(), &founding);
    let mut b = DoltLite::clone_from(&paths[1], &gateway.url).unwrap();
    // One merges by way of stand-ins, the other never does: every case shows that it is the same.
    (a.stand_ins_above, b.stand_ins_above) = (0, u64::MAX);
    let path = paths[0].clone();
    (Pair::new(Box::new(a), Box::new(b), Box::new(Files { _dir: dir, paths, gateway })), path)
}

struct Files {
    _dir: TempDir,
    paths: [PathBuf; 2],
    gateway: Gateway,
}

impl Files {
    fn path(&self, side: Side) -> &Path {
        match side {
            Side::A => &self.paths[0],
            Side::B => &self.paths[1],
        }
    }
}

impl Backend for Files {
    fn transfer(&mut self, from: Side, to: &mut dyn Engine, commit: &CommitHash) {
        self.gateway
            .show(Box::new(super::chunks::DoltLiteChunks::open(self.path(from)).unwrap()), commit);
        to.fetch(&self.gateway.url, commit).unwrap();
    }

    fn meddle(&mut self, side: Side, sql: &str) {
        Connection::open(self.path(side), false).unwrap().batch(sql).unwrap();
    }

    fn format(&self) -> Box<dyn ChunkFormat> {
        Box::new(DoltLiteFormat)
    }
}

/// What the gateway serves: chunks, and the root that shows one commit.
type Shown = Arc<Mutex<Option<(Box<dyn ChunkReader>, Vec<u8>)>>>;

/// A little HTTP server that speaks the engine's remote protocol, as far as reading needs it.
struct Gateway {
    url: String,
    shown: Shown,
    /// How many more requests are answered; then connections are dropped.
    answers: Arc<AtomicUsize>,
}

impl Gateway {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/token/peer", listener.local_addr().unwrap());
        let shown = Shown::default();
        let answers = Arc::new(AtomicUsize::new(usize::MAX));
        let serve = (Arc::clone(&shown), Arc::clone(&answers));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shown, answers) = serve.clone();
                std::thread::spawn(move || serve_one(&stream, &shown, &answers));
            }
        });
        Self { url, shown, answers }
    }

    fn show(&self, chunks: Box<dyn ChunkReader>, commit: &CommitHash) {
        *self.shown.lock().unwrap() = Some((chunks, DoltLiteFormat.synthetic_root(commit)));
    }
}

fn serve_one(stream: &TcpStream, shown: &Shown, answers: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut request, mut length) = (String::new(), 0);
        reader.read_line(&mut request).ok().filter(|read| *read > 0)?;
        // The client sends a request in two parts and waits between them for this side's word.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(stream).set_tcp_quickack(true).ok()?;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).ok()?;
        let mut shown = shown.lock().ok()?;
        let (chunks, root) = shown.as_mut()?;
        let reply = if request.contains("/refs") {
            root.clone()
        } else {
            let hashes: Vec<_> = body.chunks(20).filter_map(ChunkHash::from_slice).collect();
            chunks.get_many(&hashes).ok()?.into_iter().flat_map(framed).collect()
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", reply.len());
        let mut stream = stream;
        stream.write_all(&[head.as_bytes(), &reply].concat()).ok()?;
    }
}

fn framed(chunk: Option<Vec<u8>>) -> Vec<u8> {
    match chunk {
        Some(chunk) => [&(chunk.len() as u32).to_be_bytes()[..], &chunk].concat(),
        None => u32::MAX.to_be_bytes().to_vec(),
    }
}
