//! What happens on this peer's own database: commits, merges, moves of main.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use doltswarm_core::commit::{ConflictPolicy, Merge, UserCommit};
use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::MERGE_TIME_MAX;
use doltswarm_core::node::{MoveResult, OpId};
use doltswarm_core::walk::Found;
use tokio::time::Instant;

use super::aside::{Unsound, merge_sound, require_sound_target};
use super::foreign::inspect_main;
use super::input::{Infos, Input, MergeDone, Reply};
use super::sidecar::{MESSAGE, commit_and_move};
use super::signatures::add_to;
use super::{Driver, Shared, collect, resolve};
use crate::engine::{Engine, EngineError, EngineResult, Executed, MoveOutcome};
use crate::swarm::{ExecError, ExecReport, SwarmEvent, commit_meta};

/// What a catch-up commit says.
const CATCH_UP: &str = "bring others' work into a main that is committed to without a pause";

/// Moves main. If another program put something there that is refused, it is taken off first.
fn move_main(
    engine: &mut dyn Engine,
    shared: &Shared,
    from: &CommitHash,
    to: &CommitHash,
) -> EngineResult<MoveOutcome> {
    require_sound_target(engine, from, to)?;
    let outcome = engine.move_main(from, to)?;
    let MoveOutcome::MainChanged(main) = outcome else { return Ok(outcome) };
    let (main, refused) = inspect_main(engine, main, from)?;
    if refused.is_empty() {
        return Ok(outcome);
    }
    let _ = shared.inputs.send(Input::Refused(refused));
    if main == *from { engine.move_main(from, to) } else { Ok(MoveOutcome::MainChanged(main)) }
}

/// Why a merge is impossible, if the engine needs not try it to know.
fn recall_impossible(
    engine: &mut dyn Engine,
    merge: &Merge,
    policy: ConflictPolicy,
) -> Option<String> {
    if policy != ConflictPolicy::Park {
        return None;
    }
    engine.recall_impossible(merge).unwrap_or_else(|error| {
        tracing::debug!(%error, "an impossible merge is tried again");
        None
    })
}

impl Driver {
    /// A local exec made a commit, or changed nothing.
    pub(super) fn executed(
        &mut self,
        executed: &Executed,
        infos: &Infos,
        reply: Reply<Result<ExecReport, ExecError>>,
    ) {
        let main = executed.commit.unwrap_or(executed.parent);
        let taken = match executed.commit {
            // The common case needs no walk: the commit was made on the main that the node knows,
            // and on nothing else.
            Some(hash)
                if executed.parent == self.node.main() && !has_more_parents(infos, &hash) =>
            {
                let mut builds_on = self.node.included().to_vec();
                builds_on.sort_unstable();
                let made_on = (builds_on.len() > 1).then_some(executed.parent);
                self.accept_own(vec![Found { hash, builds_on, made_on }], main, vec![hash])
            }
            Some(_) => self.take_main(main, infos),
            None => Ok(()),
        };
        let report = match taken {
            Ok(()) => Ok(ExecReport {
                commit: executed.commit.map(|hash| self.shared.text(&hash)),
                main: self.shared.text(&main),
                rows_affected: executed.rows_affected,
            }),
            Err(reason) => Err(ExecError::NotRecorded { commit: self.shared.text(&main), reason }),
        };
        if let Some(hash) = executed.commit {
            self.shared.emit(SwarmEvent::Committed { commit: self.shared.text(&hash) });
            self.announce_tables(executed.parent, hash, true);
        }
        let _ = reply.send(report);
    }

    /// Main is somewhere else than the node thinks: another program committed.
    pub(super) fn main_seen(&mut self, main: CommitHash, infos: &Infos) {
        let before = self.node.main();
        if main == before {
            return;
        }
        match self.take_main(main, infos) {
            Ok(()) => self.announce_tables(before, main, true),
            // The next poll asks again, with what is known by then.
            Err(reason) => tracing::debug!(%main, %reason, "main moved meanwhile"),
        }
    }

    /// Takes in the new commits under a main that something else than a fold put there.
    fn take_main(&mut self, main: CommitHash, infos: &Infos) -> Result<(), String> {
        let (found, included) =
            resolve(self.node.graph(), main, infos).map_err(|error| error.to_string())?;
        self.accept_own(found, main, included)
    }

    /// Signs, stores and takes in commits made on this database.
    fn accept_own(
        &mut self,
        found: Vec<Found>,
        main: CommitHash,
        included: Vec<CommitHash>,
    ) -> Result<(), String> {
        let commits = self.own(found);
        let hashes: Vec<CommitHash> = commits.iter().map(|commit| commit.hash).collect();
        // Relaxed: at a crash these are found again under main and signed again.
        let signed = self.sign(&hashes);
        self.shared
            .store
            .add_commits_relaxed(&commits, &signed)
            .map_err(|error| error.to_string())?;
        add_to(&mut self.signers, &signed);
        let now = self.now();
        self.tags.touched(Instant::now());
        self.node
            .handle_local_commits(now, commits, main, included)
            .map_err(|error| error.to_string())
    }

    fn own(&self, found: Vec<Found>) -> Vec<UserCommit> {
        let signer = self.shared.identity.peer_id();
        found.into_iter().map(|found| found.signed_by(signer)).collect()
    }

    pub(super) fn merge(&mut self, op: OpId, merge: Merge) {
        let (shared, policy) = (Arc::clone(&self.shared), self.shared.founding.policy);
        let posted = self.shared.engine.post_within(MERGE_TIME_MAX, move |engine| {
            let result = match recall_impossible(engine, &merge, policy) {
                Some(reason) => Ok((Err(reason), 0)),
                None => {
                    shared.merges.fetch_add(1, Ordering::AcqRel);
                    shared.intents.begin(&merge.theirs);
                    let result = merge_sound(engine, &merge, policy);
                    shared.intents.end(&merge.theirs);
                    result
                }
            };
            let _ = shared.inputs.send(Input::Merged { op, merge, result });
        });
        if posted.is_err() {
            tracing::error!("the engine stopped");
        }
    }

    pub(super) fn merged(&mut self, op: OpId, merge: &Merge, result: MergeDone) {
        let mut unsound = None;
        let result = match result {
            Ok((result, conflicts)) => {
                self.engine_failure = None;
                if let Ok(commit) = &result {
                    self.remember(&merge.ours, &merge.theirs, commit);
                }
                if conflicts > 0 {
                    self.shared.emit(SwarmEvent::ConflictsRecorded { count: conflicts });
                }
                Ok(result)
            }
            Err(error) => {
                tracing::warn!(%error, "a merge failed; it is tried again");
                self.engine_failure = Some(error.to_string());
                self.mend(&error);
                unsound = Unsound::of(error);
                Err(())
            }
        };
        // What is done above takes time, and may tell the node another one.
        let now = self.now();
        self.node.handle_merged(now, op, result);
        self.set_unsound_aside(unsound);
    }

    /// A remembered merge may be gone: another program can collect garbage too.
    fn mend(&mut self, error: &EngineError) {
        if matches!(error, EngineError::NoSuchCommit(_)) {
            self.forget_merges();
        }
    }

    fn remember(&self, ours: &CommitHash, theirs: &CommitHash, commit: &CommitHash) {
        if let Err(error) = self.shared.store.remember_merge(ours, theirs, commit) {
            tracing::warn!(%error, "a merge was not remembered; it is made again at the next start");
        }
    }

    pub(super) fn move_main(&mut self, op: OpId, from: CommitHash, to: CommitHash, outrun: bool) {
        // An own commit that main includes is found again under main after a crash; one that is
        // parked only in the store.
        if !self.node.parked().is_empty()
            && let Err(error) = self.shared.store.flush()
        {
            let outcome = Err(EngineError::Failed {
                what: "keep what is parked",
                message: error.to_string(),
            });
            let _ = self.shared.inputs.send(Input::Moved { op, outcome, infos: Infos::new() });
            return;
        }
        let shared = Arc::clone(&self.shared);
        let commits_for_others = self.sidecar.commits_for_others();
        let posted = self.shared.engine.post(move |engine| {
            let meta = commit_meta(&shared.name, &shared.identity.peer_id(), CATCH_UP);
            let mut outcome = move_main(engine, &shared, &from, &to);
            if commits_for_others && matches!(outcome, Ok(MoveOutcome::Dirty(_))) {
                let pending = commit_meta(&shared.name, &shared.identity.peer_id(), MESSAGE);
                outcome = commit_and_move(engine, [&from, &to], [&pending, &meta]);
            } else if outrun && matches!(outcome, Ok(MoveOutcome::MainChanged(_))) {
                match engine.catch_up(&from, &to, &meta, None) {
                    Ok(Some(commit)) => outcome = Ok(MoveOutcome::MainChanged(commit)),
                    Ok(None) => tracing::debug!("main could not be brought up to date"),
                    Err(error) => outcome = Err(error),
                }
            }
            let infos = match &outcome {
                Ok(MoveOutcome::MainChanged(main)) => {
                    collect(engine, &shared.store, &[*main]).unwrap_or_default()
                }
                _ => Infos::new(),
            };
            let _ = shared.inputs.send(Input::Moved { op, outcome, infos });
        });
        if posted.is_err() {
            tracing::error!("the engine stopped");
        }
    }

    pub(super) fn moved(
        &mut self,
        op: OpId,
        outcome: Result<MoveOutcome, EngineError>,
        infos: &Infos,
    ) {
        let mut unsound = None;
        let result = match outcome {
            Ok(MoveOutcome::Moved) => {
                self.engine_failure = None;
                self.tags.touched(Instant::now());
                Ok(MoveResult::Moved)
            }
            Ok(MoveOutcome::Dirty(tables)) => Ok(MoveResult::Dirty(tables)),
            Ok(MoveOutcome::MainChanged(main)) => self.main_changed(main, infos),
            Err(error) => {
                tracing::warn!(%error, "main could not be moved; it is tried again");
                self.engine_failure = Some(error.to_string());
                self.mend(&error);
                unsound = Unsound::of(error);
                Err(())
            }
        };
        let now = self.now();
        if let Err(error) = self.node.handle_moved(now, op, result) {
            tracing::error!(%error, "main has a commit that does not fit the graph");
        }
        self.set_unsound_aside(unsound);
    }

    fn main_changed(&mut self, main: CommitHash, infos: &Infos) -> Result<MoveResult, ()> {
        let resolved = resolve(self.node.graph(), main, infos);
        let (found, included) = resolved.map_err(|error| {
            tracing::warn!(%error, "main changed and cannot be walked; it is tried again");
        })?;
        let commits = self.own(found);
        let hashes: Vec<CommitHash> = commits.iter().map(|commit| commit.hash).collect();
        let signed = self.sign(&hashes);
        if let Err(error) = self.shared.store.add_commits_relaxed(&commits, &signed) {
            tracing::warn!(%error, "commits found on main could not be recorded; it is tried again");
            return Err(());
        }
        add_to(&mut self.signers, &signed);
        Ok(MoveResult::MainChanged { main, commits, included })
    }

    pub(super) fn set_parked(&mut self, heads: Vec<CommitHash>) {
        // A commit made here may be among them, and then main leaves it: after a crash it would not
        // be found again under main, so the store must have it before.
        if !heads.is_empty()
            && let Err(error) = self.shared.store.flush()
        {
            tracing::warn!(%error, "the store could not be written before main moves");
        }
        self.kept = Some(heads.clone());
        let _ = self.shared.engine.post(move |engine| {
            if let Err(error) = engine.set_parked(&heads) {
                tracing::warn!(%error, "the branches of parked heads could not be set");
            }
        });
    }

    /// Says which tables differ between two tips of main, where somebody listens.
    pub(super) fn announce_tables(&self, from: CommitHash, to: CommitHash, local: bool) {
        if !self.shared.events.are_heard() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let _ = self.shared.engine.post(move |engine| match engine.changed_tables(&from, &to) {
            Ok(tables) if !tables.is_empty() => {
                let (from, to) = (shared.text(&from), shared.text(&to));
                shared.emit(SwarmEvent::TablesChanged { tables, from, to, local });
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "changed tables could not be told"),
        });
    }
}

/// Whether a commit is known to have more than one parent.
fn has_more_parents(infos: &Infos, hash: &CommitHash) -> bool {
    infos.get(hash).is_some_and(|info| info.parents.len() > 1)
}
