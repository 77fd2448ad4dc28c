//! The engine's own client against the gateway.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use doltlite::Connection;
use doltswarm_core::id::CommitHash;
use libz_sys as _;
use tempfile::TempDir;

use super::*;

/// A remote that takes whatever is pushed to it: how a test gets at the chunks of a database
/// without a way around the engine.
fn pushed_chunks(database: &Connection) -> Memory {
    let memory = Arc::new(Memory::default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/sink", listener.local_addr().unwrap());
    let sink = Arc::clone(&memory);
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        take_pushes(stream, &sink);
    });
    text(database, &format!("select dolt_remote('add', 'sink', '{url}')"));
    text(database, "select dolt_push('sink', 'main')");
    text(database, "select dolt_remote('remove', 'sink')");
    server.join().unwrap();
    Arc::into_inner(memory).unwrap()
}

fn take_pushes(stream: TcpStream, memory: &Memory) {
    let mut out = stream.try_clone().unwrap();
    let mut lines = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if lines.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            lines.read_line(&mut header).unwrap();
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body).unwrap();
        let path = request.split(' ').nth(1).unwrap();
        let (status, reply) = match path.rsplit('/').next().unwrap() {
            "refs" => ("404 Not Found", Vec::new()),
            "has-chunks" => ("200 OK", vec![0; length / 20]),
            "chunks" => {
                keep(memory, &body);
                ("200 OK", Vec::new())
            }
            _ => ("200 OK", Vec::new()),
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", reply.len());
        out.write_all(&[head.as_bytes(), &reply].concat()).unwrap();
    }
}

/// Records of the hash, the length (little-endian) and the bytes.
fn keep(memory: &Memory, mut body: &[u8]) {
    let mut chunks = memory.chunks.lock().unwrap();
    while let Some((hash, rest)) = body.split_first_chunk::<20>() {
        let (length, rest) = rest.split_first_chunk::<4>().unwrap();
        let (chunk, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        chunks.insert(ChunkHash::from_bytes(*hash), chunk.to_vec());
        body = rest;
    }
}

/// A root with one branch, `main`, at `commit`.
fn root(commit: &CommitHash) -> Vec<u8> {
    let mut root = vec![7];
    root.extend(4_u32.to_le_bytes());
    root.extend(b"main");
    root.extend(1_u32.to_le_bytes());
    root.extend(4_u32.to_le_bytes());
    root.extend(b"main");
    root.extend(commit.as_bytes());
    root.extend([0; 20]);
    root.extend([0; 16]);
    root
}

fn try_text(database: &Connection, sql: &str) -> Result<String, String> {
    let row = database.query_row(sql, &[]).map_err(|error| error.to_string())?;
    let value = row.expect("a row");
    let value = &value.values()[0];
    Ok(value.as_str().map_or_else(|| format!("{value:?}"), ToOwned::to_owned))
}

fn text(database: &Connection, sql: &str) -> String {
    try_text(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn open(dir: &TempDir, name: &str) -> Connection {
    Connection::open(dir.path().join(name)).unwrap()
}

fn add_and_commit(database: &Connection, sql: &str) -> CommitHash {
    database.execute_batch(sql).unwrap();
    text(database, "select dolt_commit('-A', '-m', 'x')");
    text(database, "select dolt_hashof('main')").parse().unwrap()
}

#[test]
fn engine_clones_and_fetches_and_cannot_push() {
    let dir = tempfile::tempdir().unwrap();
    let ours = open(&dir, "ours.db");
    let first = add_and_commit(
        &ours,
        "create table t(id integer primary key, name text);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
        insert into t select i, 'row ' || i from n",
    );
    let gateway = Gateway::start().unwrap();

    let chunks = pushed_chunks(&ours);
    eprintln!("{} chunks", chunks.chunks.lock().unwrap().len());
    let shown = gateway.show(root(&first), Arc::new(chunks));
    let theirs = open(&dir, "theirs.db");
    let start = Instant::now();
    text(&theirs, &format!("select dolt_clone('{}')", shown.url()));
    eprintln!("clone of 20,000 rows: {:?}", start.elapsed());
    drop(shown);
    assert_eq!(text(&theirs, "select dolt_hashof('main')"), first.to_string());
    assert_eq!(text(&theirs, "select count(*) from t"), "Integer(20000)");

    let mut times = Vec::new();
    for n in 0..10 {
        let commit = add_and_commit(&ours, &format!("insert into t values (-1 - {n}, 'new')"));
        let shown = gateway.show(root(&commit), Arc::new(pushed_chunks(&ours)));
        let add = format!("select dolt_remote('add', 'pull', '{}')", shown.url());
        text(&theirs, &add);
        let start = Instant::now();
        text(&theirs, "select dolt_fetch('pull', 'main')");
        times.push(start.elapsed());
        text(&theirs, "select dolt_remote('remove', 'pull')");
        text(&theirs, &format!("select dolt_reset('--hard', '{commit}')"));
    }
    times.sort();
    eprintln!("fetch of one row: median {:?}, most {:?}", times[5], times[9]);
    // Without quick acknowledgements each request costs 40 ms, and a fetch makes several.
    assert!(cfg!(not(target_os = "linux")) || times[5].as_millis() < 40, "{times:?}");
    assert_eq!(text(&theirs, "select count(*) from t"), "Integer(20010)");

    let shown = gateway.show(root(&first), Arc::new(pushed_chunks(&ours)));
    text(&ours, &format!("select dolt_remote('add', 'gateway', '{}')", shown.url()));
    let pushed = try_text(&ours, "select dolt_push('gateway', 'main')").unwrap_err();
    assert!(pushed.contains("can only be read from"), "{pushed}");
    gateway.close();
}

#[test]
fn fetch_fails_with_what_the_source_says() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(&dir, "a.db");
    let gateway = Gateway::start().unwrap();
    let shown = gateway
        .show(root(&CommitHash::from_bytes([3; 20])), Arc::new(Broken("peer \"ab\" went away\n")));
    text(&database, &format!("select dolt_remote('add', 'pull', '{}')", shown.url()));
    let failed = try_text(&database, "select dolt_fetch('pull', 'main')").unwrap_err();
    assert!(failed.contains("peer 'ab' went away?"), "{failed}");
    drop(shown);
    try_text(&database, "select dolt_fetch('pull', 'main')").unwrap_err();
}

#[test]
fn chunk_that_is_absent_or_false_fails_the_fetch() {
    let dir = tempfile::tempdir().unwrap();
    let ours = open(&dir, "ours.db");
    let commit = add_and_commit(&ours, "create table t(id integer primary key)");
    let gateway = Gateway::start().unwrap();
    for spoil in [0, 1] {
        let chunks = pushed_chunks(&ours);
        {
            // All but the commit: of a single one the fetch might not want to know.
            let mut chunks = chunks.chunks.lock().unwrap();
            if spoil == 0 {
                chunks.retain(|hash, _| *hash == commit.into());
            } else {
                let others = chunks.iter_mut().filter(|(hash, _)| **hash != commit.into());
                others.for_each(|(_, chunk)| chunk[0] ^= 1);
            }
        }
        let shown = gateway.show(root(&commit), Arc::new(chunks));
        let theirs = open(&dir, &format!("theirs{spoil}.db"));
        let clone = format!("select dolt_clone('{}')", shown.url());
        try_text(&theirs, &clone).unwrap_err();
    }
}
