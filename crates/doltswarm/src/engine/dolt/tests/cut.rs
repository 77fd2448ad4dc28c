//! Main's commit and its tables, after a server ended between the two.

use doltswarm_core::id::CommitHash;
use mysql::Conn;
use mysql::prelude::Queryable;
use serde_json::json;

use super::super::cut::{Move, Note, Noted};
use super::super::session::{Losses, Purpose, open};
use super::super::store::{commit_from_text, commit_text};
use super::super::{Dolt, DoltOptions};
use super::Place;
use super::own::{TABLE, founded, tip_of};
use super::server::connect;
use crate::engine::conformance::{meta_at, query};
use crate::engine::{Engine, EngineError};

const NONE: [&str; 0] = [];

/// A database whose main is at a commit that brought two rows, with the tables from before.
struct Cut {
    engine: Dolt,
    options: DoltOptions,
    other: Conn,
    moving: Move,
    _place: Place,
}

fn cut() -> Option<Cut> {
    let (mut engine, options, place) = founded()?;
    let mut exec = |sql: &str, seconds| {
        engine.exec_and_commit(&[sql.into()], &meta_at("x", seconds)).unwrap().commit.unwrap()
    };
    let from = exec(TABLE, 1_700_000_001);
    let to = exec("INSERT INTO t VALUES (2, 2), (3, 3)", 1_700_000_002);
    let mut other = connect(&options);
    other.query_drop(format!("CALL DOLT_RESET('--hard', '{}')", commit_text(&from))).unwrap();
    other.query_drop(format!("CALL DOLT_RESET('--soft', '{}')", commit_text(&to))).unwrap();
    let moving = Move { from, to };
    assert_eq!(engine.dirty_tables().unwrap(), ["t"], "it looks like somebody's work");
    Some(Cut { engine, options, other, moving, _place: place })
}

impl Cut {
    /// As a program that starts finds it.
    fn reopened(self) -> Self {
        let Self { engine, options, other, moving, _place } = self;
        drop(engine);
        let engine = Dolt::open(&options).unwrap();
        Self { engine, options, other, moving, _place }
    }

    /// The same, where a program ended in the middle of the move.
    fn noted(self) -> Self {
        Note::read(&self.options.folder).unwrap().begin(Noted::Forward(self.moving)).unwrap();
        self.reopened()
    }

    fn ids(&self) -> serde_json::Value {
        query(&self.engine, "SELECT id FROM t ORDER BY id")
    }

    fn is_noted(&self) -> bool {
        self.options.folder.join("moving").exists()
    }

    fn tip(&self) -> CommitHash {
        commit_from_text(&tip_of(&self.options)).unwrap()
    }
}

#[test]
fn a_move_that_was_cut_is_put_right_at_the_first_look() {
    let looks: [fn(&mut Dolt); 4] = [
        |engine| assert!(engine.main().is_ok()),
        |engine| assert_eq!(engine.dirty_tables().unwrap(), NONE),
        |engine| {
            let done = engine.commit_pending(&meta_at("x", 1_700_000_003)).unwrap();
            assert_eq!(done.commit, None, "the old tables are nobody's work");
        },
        |engine| {
            let sql = "INSERT INTO t VALUES (9, 9)";
            engine.exec_and_commit(&[sql.into()], &meta_at("x", 1_700_000_003)).unwrap();
            engine
                .exec_and_commit(&["DELETE FROM t WHERE id = 9".into()], &meta_at("x", 4))
                .unwrap();
        },
    ];
    for look in looks {
        let Some(cut) = cut() else { return };
        let mut cut = cut.noted();
        look(&mut cut.engine);
        assert_eq!(cut.ids(), json!([[1], [2], [3]]));
        assert_eq!(cut.engine.dirty_tables().unwrap(), NONE);
        assert!(!cut.is_noted());
    }
}

#[test]
fn old_tables_without_a_note_are_somebodys_work() {
    let Some(mut cut) = cut() else { return };
    assert_eq!(cut.engine.main().unwrap(), cut.moving.to);
    assert_eq!(cut.ids(), json!([[1]]));
    cut = cut.reopened();
    assert_eq!(cut.engine.dirty_tables().unwrap(), ["t"]);
}

#[test]
fn rows_that_another_program_wrote_since_are_left_and_its_tables_with_them() {
    let Some(cut) = cut() else { return };
    let mut cut = cut.noted();
    cut.other.query_drop("INSERT INTO t VALUES (7, 7)").unwrap();
    assert_eq!(cut.engine.dirty_tables().unwrap(), ["t"]);
    assert_eq!(cut.ids(), json!([[1], [7]]));
    assert!(cut.is_noted());
    cut.other.query_drop("DELETE FROM t WHERE id = 7").unwrap();
    assert_eq!(cut.engine.dirty_tables().unwrap(), NONE);
    assert_eq!(cut.ids(), json!([[1], [2], [3]]));
}

/// After a move that was made whole, a program takes back what it brought.
#[test]
fn a_note_of_a_move_that_was_whole_takes_nobodys_work() {
    let Some(mut cut) = cut() else { return };
    cut.other.query_drop("CALL DOLT_RESET('--hard')").unwrap();
    let mut cut = cut.noted();
    cut.other.query_drop("DELETE FROM t WHERE id > 1").unwrap();
    assert_eq!(cut.engine.dirty_tables().unwrap(), ["t"]);
    assert_eq!(cut.ids(), json!([[1]]));
    assert!(!cut.is_noted());
}

#[test]
fn a_note_of_a_move_that_was_not_made_goes() {
    let Some(mut cut) = cut() else { return };
    let from = commit_text(&cut.moving.from);
    cut.other.query_drop(format!("CALL DOLT_RESET('--hard', '{from}')")).unwrap();
    let mut cut = cut.noted();
    assert_eq!(cut.engine.main().unwrap(), cut.moving.from);
    assert!(!cut.is_noted());
}

/// What another program writes while the tables are put right: `sql` runs after the look and before
/// the end of the transaction.
fn race(sql: &[&str]) -> Option<(Cut, Result<(), EngineError>)> {
    let mut cut = cut()?;
    let mut link = open(&cut.options, Purpose::Main, &Losses::default()).unwrap();
    let mut note = Note::read(&cut.options.folder).unwrap();
    note.begin(Noted::Forward(cut.moving)).unwrap();
    let done = note.mend_while(&mut link, &mut || {
        for sql in sql {
            cut.other.query_drop(sql).unwrap();
        }
    });
    Some((cut, done))
}

#[test]
fn what_another_program_writes_meanwhile_is_never_lost() {
    let Some((mut cut, done)) = race(&["INSERT INTO t VALUES (7, 7)"]) else { return };
    done.unwrap();
    assert_eq!(cut.ids(), json!([[1], [2], [3], [7]]));
    assert_eq!(cut.engine.dirty_tables().unwrap(), ["t"], "its row is not committed");
    // The same row with another value: the server refuses, and the next look finds its work.
    let Some((cut, done)) = race(&["INSERT INTO t VALUES (2, 22)"]) else { return };
    assert!(matches!(done, Err(EngineError::Busy)), "{done:?}");
    assert_eq!(cut.ids(), json!([[1], [2]]));
    assert_eq!(query(&cut.engine, "SELECT a FROM t WHERE id = 2"), json!([[22]]));
    assert!(cut.is_noted());
}

/// It commits the old tables with its row: that commit stays, and the rows of the move come back.
#[test]
fn what_another_program_commits_meanwhile_is_never_lost() {
    let sql = ["INSERT INTO t VALUES (7, 7)", "CALL DOLT_COMMIT('-A', '-m', 'x')"];
    let Some((cut, done)) = race(&sql) else { return };
    done.unwrap();
    assert_ne!(cut.tip(), cut.moving.to);
    assert_eq!(cut.ids(), json!([[1], [2], [3], [7]]));
}
