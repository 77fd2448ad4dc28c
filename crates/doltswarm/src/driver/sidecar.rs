//! What other programs do on this peer's own database: their commits are noticed, and what they
//! leave uncommitted is committed for them where the configuration says so.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::AUTO_COMMITS_MAX;
use tokio::time::Instant;

use super::foreign::inspect_main;
use super::input::Input;
use super::{Driver, collect};
use crate::engine::{CommitMeta, Engine, EngineError, EngineResult, MoveOutcome};
use crate::swarm::commit_meta;

/// What the node says about a commit that it makes for other programs.
pub(super) const MESSAGE: &str = "commit what other programs left uncommitted";

/// When to look at the database for the work of other programs.
pub(super) struct Sidecar {
    poll: Duration,
    pub(super) next: Instant,
    /// One question at a time: a long job on the engine thread must not pile them up.
    asked: Arc<AtomicBool>,
    auto_commit: Option<Arc<AutoCommit>>,
}

/// Commits what lies uncommitted for too long. Lives on the engine thread.
struct AutoCommit {
    after: Duration,
    dirty_since: Mutex<Option<Instant>>,
}

impl Sidecar {
    pub(super) fn new(poll: Duration, auto_commit: Option<Duration>) -> Self {
        let auto_commit =
            auto_commit.map(|after| Arc::new(AutoCommit { after, dirty_since: Mutex::default() }));
        let asked = Arc::new(AtomicBool::new(false));
        Self { poll, next: Instant::now() + poll, asked, auto_commit }
    }

    /// Whether the node commits what other programs leave uncommitted.
    pub(super) fn commits_for_others(&self) -> bool {
        self.auto_commit.is_some()
    }
}

impl AutoCommit {
    /// Commits where there is something to commit for long enough.
    fn look(&self, engine: &mut dyn Engine, name: &str, me: &doltswarm_core::id::PeerId) {
        let mut since = self.dirty_since.lock().expect("because no holder of this lock panics");
        match engine.dirty_tables() {
            Ok(tables) if tables.is_empty() => *since = None,
            Ok(tables) if since.get_or_insert_with(Instant::now).elapsed() >= self.after => {
                match engine.commit_pending(&commit_meta(name, me, MESSAGE)) {
                    Ok(_) => *since = None,
                    Err(EngineError::Busy) => {}
                    Err(error) => {
                        tracing::warn!(?tables, %error, "uncommitted work could not be committed");
                        *since = Some(Instant::now());
                    }
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the database could not be looked at"),
        }
    }
}

/// Commits what lies on main and lets main reach the fold, in one job: a main that a program
/// writes to without a pause is never clean when the next job looks.
pub(super) fn commit_and_move(
    engine: &mut dyn Engine,
    [from, to]: [&CommitHash; 2],
    [pending, catch_up]: [&CommitMeta; 2],
) -> EngineResult<MoveOutcome> {
    let mut outcome = MoveOutcome::Dirty(Vec::new());
    for _ in 0..AUTO_COMMITS_MAX {
        engine.commit_pending(pending)?;
        outcome = engine.move_main(from, to)?;
        match outcome {
            MoveOutcome::Moved => break,
            MoveOutcome::Dirty(_) => {}
            MoveOutcome::MainChanged(_) => {
                if let Some(commit) = engine.catch_up(from, to, catch_up, Some(pending))? {
                    return Ok(MoveOutcome::MainChanged(commit));
                }
            }
        }
    }
    Ok(outcome)
}

impl Driver {
    /// Looks for commits that other programs made, where it is time.
    pub(super) fn look_for_foreign_work(&mut self) {
        if self.sidecar.next > Instant::now() {
            return;
        }
        self.sidecar.next = Instant::now() + self.sidecar.poll;
        if self.sidecar.asked.swap(true, Ordering::AcqRel) {
            return;
        }
        let (shared, asked) = (Arc::clone(&self.shared), Arc::clone(&self.sidecar.asked));
        let (expected, auto_commit) = (self.node.main(), self.sidecar.auto_commit.clone());
        let posted = self.shared.engine.post(move |engine| {
            asked.store(false, Ordering::Release);
            if let Some(auto_commit) = auto_commit {
                auto_commit.look(engine, &shared.name, &shared.identity.peer_id());
            }
            let main = engine.main();
            shared.absence.heard(&main);
            let Ok(mut main) = main else { return };
            if main != expected {
                match inspect_main(engine, main, &expected) {
                    Ok((now, refused)) => {
                        main = now;
                        if !refused.is_empty() {
                            let _ = shared.inputs.send(Input::Refused(refused));
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, %main, "main cannot be inspected now");
                        return;
                    }
                }
            }
            if shared.absence.take_return() {
                let _ = shared.inputs.send(Input::EngineVersion(engine.version()));
            }
            if main != expected
                && let Ok(infos) = collect(engine, &shared.store, &[main])
            {
                let _ = shared.inputs.send(Input::MainSeen { main, infos });
            }
        });
        if posted.is_err() {
            tracing::error!("the engine stopped");
        }
    }
}
