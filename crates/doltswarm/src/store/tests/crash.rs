//! Crashes and a full disk: what was acknowledged is there afterwards, in order.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;
use crate::small_disk::SmallDisk;

const CHILD_DIR: &str = "DOLTSWARM_TEST_STORE_DIR";

#[test]
fn file_as_a_crash_leaves_it_has_every_durable_commit() {
    let (dir, store) = new_store();
    for n in 0..20 {
        add(&store, &[commit(n)]).unwrap();
        store.remember_merge(&hash(n), &hash(n + 1), &hash(n)).unwrap();
        // Copied while it is open: as at a power cut after the call, with no clean close.
        let after = tempfile::tempdir().unwrap();
        fs::copy(dir.path().join(FILE_NAME), after.path().join(FILE_NAME)).unwrap();
        let crashed = Store::open(after.path()).unwrap();
        assert_eq!(crashed.restore_commits().unwrap(), commits(0..n + 1));
        add(&crashed, &[commit(n + 1)]).expect("a store that crashed goes on");
    }
}

/// The victim of the test below: writes until it is killed and says what was acknowledged.
#[test]
#[ignore = "a process that another test starts and kills"]
fn child_that_is_killed() {
    let Ok(dir) = env::var(CHILD_DIR) else { return };
    let store = Store::open(Path::new(&dir)).unwrap();
    let mut next = store.commit_count().unwrap();
    let mut out = std::io::stdout();
    loop {
        add(&store, &commits(next..next + 5)).unwrap();
        next += 5;
        writeln!(out, "acknowledged {next}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn killed_process_loses_nothing_it_acknowledged() {
    let (dir, store) = new_store();
    drop(store);
    let mut acknowledged = 0;
    for round in 1..6 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "store::tests::crash::child_that_is_killed"])
            .args(["--ignored", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut seen = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let Ok(line) = line else { break };
            if let Some((_, n)) = line.split_once("acknowledged ") {
                acknowledged = n.parse().unwrap();
                seen += 1;
                if seen == round * 7 {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let restored = store.restore_commits().unwrap();
        let len = restored.len() as u64;
        assert!(len >= acknowledged && len.is_multiple_of(5), "{len} of {acknowledged}");
        assert_eq!(restored, commits(0..len));
    }
    assert!(acknowledged >= 5 * 7);
}

#[test]
fn full_disk_is_said_and_survived_without_a_restart() {
    let Some(disk) = SmallDisk::mount(8 << 10) else { return };
    let store = Store::create(disk.path(), &founding()).unwrap();
    add(&store, &commits(0..10)).unwrap();
    disk.fill();
    let mut next = 10;
    let error = loop {
        match add(&store, &commits(next..next + 200)) {
            Ok(()) => next += 200,
            Err(error) => break error,
        }
        assert!(next < 1_000_000, "the disk does not fill up");
    };
    assert!(matches!(error, StoreError::DiskFull), "{error}");
    // The node's own commits go on meanwhile, in memory.
    let relaxed = add_relaxed(&store, &commits(next..next + 3));
    let flushed = store.flush();
    eprintln!("while the disk is full: relaxed {relaxed:?}, flush {flushed:?}");
    assert!(relaxed.is_err() || flushed.is_err());

    disk.make_room();
    if relaxed.is_err() {
        add_relaxed(&store, &commits(next..next + 3)).unwrap();
    }
    store.flush().expect("there is room again");
    add(&store, &commits(next + 3..next + 10)).unwrap();
    let store = reopen(disk.path(), store);
    assert_eq!(store.restore_commits().unwrap(), commits(0..next + 10));
}

#[test]
fn disk_too_full_for_a_new_store_leaves_no_node() {
    let Some(disk) = SmallDisk::mount(1 << 10) else { return };
    disk.fill();
    let error = Store::create(disk.path(), &founding()).unwrap_err();
    assert!(matches!(error, StoreError::DiskFull), "{error}");
    disk.make_room();
    assert!(matches!(Store::open(disk.path()), Err(StoreError::Missing { .. })));
}
