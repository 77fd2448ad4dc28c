//! A move of main that the end of the server cut in two.
//!
//! *Measured* on Dolt 2.2.0: a fast-forward writes the commit of the branch first and its tables
//! after. A server killed in between comes back with the new commit and the old tables, which looks
//! as if somebody had taken back, uncommitted, all that the move brought. So each move is noted in
//! a file before it begins, and the note goes when it has ended. Where a note is found, and main is
//! at the new commit with exactly the old tables, staged ones too, nobody's work is in them and
//! they are put right.
//!
//! A step down from a join commit is noted too: what another program committed on the join in that
//! moment falls off main, and has to be found, also after the node ended in between.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use doltswarm_core::id::CommitHash;

use super::commit::{hash_value, tip};
use super::moving;
use super::refs::drop_branch;
use super::session::{During, Link, text};
use super::steps::{Step, reached};
use super::store::{commit_from_text, commit_text, io_failed};
use crate::engine::{EngineError, EngineResult};

/// A branch at the commit from before the move: the server tells the hash of a branch's tables
/// only.
const BEFORE: &str = "swarm/before";
/// The note's file in the node's folder.
const FILE: &str = "moving";

/// The note of the move that is under way, or was when a server or a process ended.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
    open: Option<Noted>,
}

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// Main goes forward.
    Forward(Move),
    /// Main steps down from a join commit to the fold's tip, which has the same tables.
    Down(Move),
}

/// Main goes from one commit to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) from: CommitHash,
    pub(super) to: CommitHash,
}

/// How main looks after a move that may have been cut.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// Whole: it has moved with its tables, or not at all.
    Whole,
    /// At the new commit with the old tables.
    Cut,
    /// At the new commit with the old tables, and somebody's uncommitted rows among them.
    Mixed,
}

impl Note {
    /// Reads the note of a move that was under way when this program last ended.
    pub(super) fn read(folder: &Path) -> EngineResult<Self> {
        let path = folder.join(FILE);
        let open = match std::fs::read_to_string(&path) {
            Ok(text) => Noted::parse(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(io_failed("read the note of a move", &path, &error)),
        };
        Ok(Self { path, open })
    }

    /// Notes a move that is about to begin.
    pub(super) fn begin(&mut self, noted: Noted) -> EngineResult<()> {
        std::fs::write(&self.path, noted.line())
            .map_err(|error| io_failed("note a move of main", &self.path, &error))?;
        self.open = Some(noted);
        Ok(())
    }

    /// The move is over: it was made, or it was not.
    pub(super) fn end(&mut self) -> EngineResult<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(io_failed("remove the note of a move", &self.path, &error));
            }
            _ => self.open = None,
        }
        Ok(())
    }

    /// Puts main's tables right where a move was cut. Costs nothing where none is noted.
    pub(super) fn mend(&mut self, link: &mut Link) -> EngineResult<()> {
        self.mend_while(link, &mut || {})
    }

    /// Main has stepped down. Keeps, and returns, the commit that fell off in that moment, if any.
    ///
    /// Its rows are main's tables still, and look like uncommitted work: as after a move forward
    /// that was cut, from that commit to this one.
    pub(super) fn stepped_down(
        &mut self,
        link: &mut Link,
        down: &Move,
    ) -> EngineResult<Option<CommitHash>> {
        let lost = moving::rescue(link, &down.from, &down.to)?;
        reached(Step::Rescued)?;
        match lost {
            None => self.end()?,
            Some(from) => {
                self.begin(Noted::Forward(Move { from, to: down.to }))?;
                self.mend(link)?;
            }
        }
        Ok(lost)
    }

    /// As [`Note::mend`]; `meanwhile` is what other programs do between the look and its
    /// consequence.
    pub(super) fn mend_while(
        &mut self,
        link: &mut Link,
        meanwhile: &mut dyn FnMut(),
    ) -> EngineResult<()> {
        let moving = match self.open {
            None => return Ok(()),
            Some(Noted::Forward(moving)) => moving,
            Some(Noted::Down(down)) => {
                return match tip(link)? == down.from {
                    true => self.end(),
                    false => self.stepped_down(link, &down).map(|_| ()),
                };
            }
        };
        if tip(link)? != moving.to {
            // It was not made, or other programs have committed on top of it.
            return self.end();
        }
        let params = [BEFORE.into(), hash_value(&moving.from)];
        link.run("CALL DOLT_BRANCH('-f', ?, ?)", &params).during("name the old main")?;
        link.run("START TRANSACTION", &[]).during("begin a transaction")?;
        let look = look(link, &moving).and_then(|look| {
            meanwhile();
            if look == Look::Cut {
                put_right(link)?;
            }
            Ok(look)
        });
        if !matches!(look, Ok(Look::Cut)) {
            link.run("ROLLBACK", &[]).during("end a transaction")?;
        }
        drop_branch(link, BEFORE)?;
        match look? {
            // It can be put right when they have taken their rows back.
            Look::Mixed => Ok(()),
            Look::Whole => self.end(),
            Look::Cut => {
                tracing::warn!(
                    commit = commit_text(&moving.to),
                    "the server ended while main moved: its tables are put right"
                );
                self.end()
            }
        }
    }
}

impl Noted {
    fn line(&self) -> String {
        let (word, Move { from, to }) = match self {
            Self::Forward(moving) => ("forward", moving),
            Self::Down(moving) => ("down", moving),
        };
        format!("{word} {} {}\n", commit_text(from), commit_text(to))
    }

    /// What cannot be read was not written to its end: then the move had not begun.
    fn parse(line: &str) -> Option<Self> {
        let (word, commits) = line.strip_suffix('\n')?.split_once(' ')?;
        let (from, to) = commits.split_once(' ')?;
        let moving = Move { from: commit_from_text(from)?, to: commit_from_text(to)? };
        match word {
            "forward" => Some(Self::Forward(moving)),
            "down" => Some(Self::Down(moving)),
            _ => None,
        }
    }
}

/// Looks at main, which is at the new commit, inside of a transaction.
fn look(link: &mut Link, moving: &Move) -> EngineResult<Look> {
    let sql = "SELECT DOLT_HASHOF('HEAD'), DOLT_HASHOF_DB('HEAD'), DOLT_HASHOF_DB('WORKING'), \
               DOLT_HASHOF_DB('STAGED'), DOLT_HASHOF_DB(?)";
    let rows = link.rows(sql, &[BEFORE.into()]).during("look at main's tables")?;
    let row: Vec<&str> =
        rows.first().into_iter().flatten().map(|value| text(Some(value))).collect();
    let [head, new, working, staged, old] = row[..] else {
        return Err(EngineError::Failed {
            what: "look at main's tables",
            message: "the server answered with other columns than were asked for".to_owned(),
        });
    };
    let is_there = head == commit_text(&moving.to) && new != old;
    Ok(match (is_there && staged == old, working == old) {
        (false, _) => Look::Whole,
        (true, true) => Look::Cut,
        (true, false) => Look::Mixed,
    })
}

/// Gives main the tables of its commit, and ends the transaction.
///
/// No rows of others can get lost in this: what they write between the beginning of the transaction
/// and its end is merged with it by the server, or makes it fail.
fn put_right(link: &mut Link) -> EngineResult<()> {
    link.run("CALL DOLT_RESET('--hard')", &[]).map(|_| ()).during("put main's tables right")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_and_half_a_note_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let moving =
            Move { from: CommitHash::from_bytes([1; 20]), to: CommitHash::from_bytes([2; 20]) };
        let mut note = Note::read(dir.path()).unwrap();
        assert_eq!(note.open, None);
        for noted in [Noted::Forward(moving), Noted::Down(moving)] {
            note.begin(noted).unwrap();
            assert_eq!(Note::read(dir.path()).unwrap().open, Some(noted));
        }
        let path = dir.path().join(FILE);
        let line = std::fs::read_to_string(&path).unwrap();
        for end in 0..line.len() {
            std::fs::write(&path, &line[..end]).unwrap();
            assert_eq!(Note::read(dir.path()).unwrap().open, None, "{end}");
        }
        note.end().unwrap();
        assert!(!path.exists());
        note.end().unwrap();
    }
}
