//! Databases made of files that are none of the engine's.

use serde_json::json;

use super::super::DoltLite;
use crate::engine::conformance::{meta_at, query};
use crate::engine::{Engine, EngineError};

/// A plain SQLite database: a table that refers to a later one, one without a row number, equal
/// rows without a key, a partial index, a view, a trigger, a full-text table, and one that keeps no
/// texts.
const PLAIN: &[u8] = include_bytes!("plain.sqlite");

#[test]
fn plain_sqlite_file_is_taken_whole_and_what_cannot_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (from, path) = (dir.path().join("plain.db"), dir.path().join("a.db"));
    std::fs::write(&from, PLAIN).unwrap();
    let (mut engine, left) = DoltLite::create_from(&from, &path).unwrap();
    engine.found(&meta_at("found", 1_700_000_000)).unwrap();
    let [left] = &left[..] else { panic!("one thing: {left:?}") };
    assert!(left.starts_with("table `blind`: it keeps no texts"), "{left}");
    assert_eq!(engine.dirty_tables().unwrap(), Vec::<String>::new());
    let albums = "SELECT id, title, artist, hex(cover), price FROM album ORDER BY id";
    let expected = json!([
        [3, "Let's; \"go\"", "AC/DC", "00FF27", 1.5e300],
        [9, "two\nlines", null, "", -0.25],
    ]);
    assert_eq!(query(&engine, albums), expected);
    let artists = "SELECT name, born FROM artist ORDER BY born";
    let expected = json!([["AC/DC", 1973], ["Björk", 9_007_199_254_740_993_i64]]);
    assert_eq!(query(&engine, artists), expected);
    assert_eq!(query(&engine, "SELECT what FROM log"), json!([["a"], ["a"], [null]]));
    assert_eq!(query(&engine, "SELECT title FROM \"cheap ones\""), json!([["two\nlines"]]));
    let found = query(&engine, "SELECT rowid FROM notes WHERE notes MATCH 'dog'");
    assert_eq!(found, json!([[8]]));
    assert_eq!(query(&engine, "PRAGMA user_version"), json!([[7]]));
    // Triggers fire from here on, keys go on where they were, and foreign keys are enforced.
    let insert = "INSERT INTO album (title, artist) VALUES ('new', 'björk')";
    let meta = meta_at("x", 1_700_000_001);
    engine.exec_and_commit(&[insert.into()], &meta).unwrap();
    assert_eq!(query(&engine, "SELECT what FROM log WHERE what LIKE 'new%'"), json!([["new 10;"]]));
    let orphan = "INSERT INTO album (title, artist) VALUES ('x', 'nobody')";
    let refused = engine.exec_and_commit(&[orphan.into()], &meta);
    assert!(matches!(refused, Err(EngineError::Rejected { .. })), "{refused:?}");
    assert_eq!(std::fs::read(&from).unwrap(), PLAIN, "the file is only read");
    let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let beside = names.filter(|name| name.to_string_lossy().starts_with("plain.db"));
    assert_eq!(beside.count(), 1, "nothing is left beside it");
}

#[test]
fn damaged_sqlite_file_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (from, path) = (dir.path().join("plain.db"), dir.path().join("a.db"));
    for (start, end) in [(1_100, 6_000), (100, 900)] {
        let mut damaged = PLAIN.to_vec();
        damaged[start..end].fill(0x5a);
        std::fs::write(&from, damaged).unwrap();
        let error = DoltLite::create_from(&from, &path).map(|_| ()).unwrap_err();
        assert!(matches!(error, EngineError::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains("plain.db"), "{error}");
        assert!(!path.exists());
    }
    std::fs::write(&from, &PLAIN[..700]).unwrap();
    assert!(DoltLite::create_from(&from, &path).is_err());
    assert!(!path.exists());
}

#[test]
fn dump_becomes_a_database_and_a_broken_one_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (from, path) = (dir.path().join("dump.sql"), dir.path().join("a.db"));
    let dump = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE c (p INT REFERENCES p (id));\n\
                INSERT INTO c VALUES(1);\nCREATE TABLE p (id INTEGER PRIMARY KEY);\nINSERT INTO p VALUES(1);\n\
                COMMIT;\n";
    for broken in [dump.replace("INSERT INTO p VALUES(1);", ""), dump.replace("TABLE p", "TABEL p")]
    {
        std::fs::write(&from, broken).unwrap();
        let error = DoltLite::create_from(&from, &path).map(|_| ()).unwrap_err();
        assert!(matches!(error, EngineError::Rejected { .. }), "{error:?}");
        assert!(!path.exists());
    }
    std::fs::write(&from, dump).unwrap();
    let (mut engine, left) = DoltLite::create_from(&from, &path).unwrap();
    assert_eq!(left, Vec::<String>::new());
    engine.found(&meta_at("found", 1_700_000_000)).unwrap();
    assert_eq!(query(&engine, "SELECT id FROM p JOIN c ON p = id"), json!([[1]]));
    for other in [&b""[..], b"\0\0\0\0", b"\x7fELF\x02"] {
        let elsewhere = dir.path().join("b.db");
        std::fs::write(&from, other).unwrap();
        let error = DoltLite::create_from(&from, &elsewhere).map(|_| ()).unwrap_err();
        assert!(matches!(error, EngineError::Corrupt { .. }), "{error:?}");
        assert!(!elsewhere.exists());
    }
}
