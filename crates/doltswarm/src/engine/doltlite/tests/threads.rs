//! Several databases in one process.

use std::sync::{Arc, Barrier};

use super::super::DoltLite;
use crate::engine::conformance::meta_at;
use crate::engine::{Engine, Value};

/// Makes a database whose commits all have one date, and reads all dates of it again and again.
fn dates_of_a_database(seconds: i64, ready: &Barrier) -> Vec<Vec<Value>> {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = DoltLite::create(&dir.path().join("a.db")).unwrap();
    engine.found(&meta_at("found", seconds)).unwrap();
    for n in 0..50 {
        let sql = format!("CREATE TABLE t{n} (id INTEGER PRIMARY KEY)");
        engine.exec_and_commit(&[sql.as_str().into()], &meta_at("table", seconds)).unwrap();
    }
    let mut reader = engine.reader().unwrap();
    ready.wait();
    let mut dates = Vec::new();
    for _ in 0..400 {
        let sql = "SELECT DISTINCT date FROM dolt_log WHERE message = 'table'";
        dates.extend(reader.query(sql, &[], 100).unwrap().rows);
        dates.dedup();
    }
    dates
}

/// The engine asks the C library for calendars, which has one for the whole process: two databases
/// must not see each other's dates, or what one of them merges has another hash.
#[test]
fn databases_on_two_threads_keep_their_dates() {
    let ready = Arc::new(Barrier::new(2));
    let threads = [1_000_000_000, 1_500_000_123].map(|seconds| {
        let ready = Arc::clone(&ready);
        std::thread::spawn(move || dates_of_a_database(seconds, &ready))
    });
    let dates = threads.map(|thread| thread.join().unwrap());
    let expected = ["2001-09-09 01:46:40", "2017-07-14 02:42:03"];
    assert_eq!(dates, expected.map(|date| vec![vec![Value::Text(date.to_owned())]]));
}
