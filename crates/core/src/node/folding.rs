//! From heads to main: which merge is made next, and when main moves.
//!
//! Invariants:
//! - At most one of merging and moving is under way, so the engine never works against itself.
//! - Main only moves to a fold of heads that include all that was committed here, so nobody sees an
//!   own commit vanish. Newer heads of others may come after it.
//! - Main keeps moving however fast heads come: a fold is begun anew for newer heads only so often.
//!   Commits made here make a fold useless; where they do so again and again, the caller is asked
//!   to hold them back, and the engine is told of the fold that they outran: it may know a way.

use std::collections::BTreeSet;

use super::io::{Event, MoveResult, OpId, Output, Stalled};
use super::timers::{Backoff, Outbox};
use crate::commit::{ConflictPolicy, Merge};
use crate::fold::{self, FoldRun, Folded, MergeMemory, MergeResult, Parked, Plan};
use crate::graph::{CommitGraph, Standing};
use crate::id::CommitHash;
use crate::limits::{DIRTY_RETRY_DELAY, ENGINE_FAILURES_SHOWN_MIN, FOLD_RESTARTS_MAX};
use crate::time::Time;

/// Brings main to the fold of the heads.
#[derive(Debug, Clone)]
pub(super) struct Folding {
    policy: ConflictPolicy,
    main: CommitHash,
    /// The user commits that main includes.
    included: Vec<CommitHash>,
    run: FoldRun,
    /// Main when `run` began, and what it included.
    begun_on: (CommitHash, Vec<CommitHash>),
    /// The fold of the heads that `run` folds, once it is known.
    folded: Option<Folded>,
    /// Whether the heads changed since `run` began.
    outdated: bool,
    /// How often in a row a fold was begun anew before it was known.
    restarts: u32,
    /// How often commits made here came before main was at the fold, since main was last moved to
    /// one; counted as far as it matters.
    outrun: u32,
    /// The last known fold's parked heads.
    parked: Vec<Parked>,
    /// What was last said to be parked or set aside, sorted by hash; nothing before the first fold.
    kept_said: Option<Vec<CommitHash>>,
    /// What the last [`Event::Folded`] said.
    folded_said: (CommitHash, Vec<Parked>),
    merging: Option<(OpId, Merge)>,
    moving: Option<Moving>,
    merge_retry: Backoff,
    move_retry: Backoff,
    /// What the engine failed to do last, if nothing went well since.
    failed: Option<[CommitHash; 2]>,
    dirty: Vec<String>,
}

#[derive(Debug, Clone)]
struct Moving {
    op: OpId,
    from: CommitHash,
    /// Whether main descends from where it was, once it has moved.
    fast_forward: bool,
    to: Folded,
}

impl Folding {
    pub(super) fn new(
        policy: ConflictPolicy,
        main: CommitHash,
        included: Vec<CommitHash>,
        graph: &CommitGraph,
        standing: &Standing,
    ) -> Self {
        Self {
            policy,
            main,
            run: FoldRun::new(fold::order(standing.fold_heads(), graph), policy),
            begun_on: (main, included.clone()),
            included,
            folded: None,
            outdated: false,
            restarts: 0,
            outrun: 0,
            parked: Vec::new(),
            kept_said: None,
            folded_said: (main, Vec::new()),
            merging: None,
            moving: None,
            merge_retry: Backoff::default(),
            move_retry: Backoff::default(),
            failed: None,
            dirty: Vec::new(),
        }
    }

    pub(super) fn main(&self) -> CommitHash {
        self.main
    }

    pub(super) fn included(&self) -> &[CommitHash] {
        &self.included
    }

    pub(super) fn parked(&self) -> &[Parked] {
        &self.parked
    }

    pub(super) fn dirty(&self) -> &[String] {
        &self.dirty
    }

    /// Main is the fold of the heads, and the engine has nothing to do.
    pub(super) fn is_settled(&self) -> bool {
        let arrived = self.folded.as_ref().is_some_and(|folded| folded.tip == self.main);
        arrived && self.merging.is_none() && self.moving.is_none()
    }

    /// A merge or a move is under way.
    pub(super) fn is_at_work(&self) -> bool {
        self.merging.is_some() || self.moving.is_some()
    }

    /// What the engine failed to do so often in a row that people must know.
    pub(super) fn stalled(&self) -> Option<Stalled> {
        let failures = self.merge_retry.failures().max(self.move_retry.failures());
        let commits = self.failed.filter(|_| failures >= ENGINE_FAILURES_SHOWN_MIN)?;
        Some(Stalled { commits, failures })
    }

    /// Commits made here outran the fold so often that they should wait until what is under way
    /// ends.
    pub(super) fn is_outrun(&self) -> bool {
        self.outrun >= FOLD_RESTARTS_MAX && self.is_at_work()
    }

    /// The set of heads changed by commits made elsewhere.
    ///
    /// Where that has interrupted the fold too often already, it is ended first: its heads include
    /// all that was committed here.
    pub(super) fn refold(&mut self, graph: &CommitGraph, standing: &Standing) {
        if self.folded.is_some() {
            self.begin(graph, standing);
        } else if self.restarts < FOLD_RESTARTS_MAX && self.outrun <= FOLD_RESTARTS_MAX {
            let restarts = self.restarts + 1;
            self.begin(graph, standing);
            self.restarts = restarts;
        } else {
            self.outdated = true;
        }
    }

    /// The set of heads changed by commits made here.
    ///
    /// Main can no more go to the fold under way. Where such folds never came to their end, this
    /// one does all the same, so that the engine hears of it.
    pub(super) fn refold_local(&mut self, graph: &CommitGraph, standing: &Standing) {
        if self.folded.is_none() && self.outrun > FOLD_RESTARTS_MAX {
            self.outdated = true;
        } else {
            self.begin(graph, standing);
        }
    }

    /// Begins the fold of the current heads. Merges made so far are remembered, so little is lost.
    pub(super) fn begin(&mut self, graph: &CommitGraph, standing: &Standing) {
        self.run = FoldRun::new(fold::order(standing.fold_heads(), graph), self.policy);
        self.begun_on = (self.main, self.included.clone());
        self.folded = None;
        self.outdated = false;
        self.restarts = 0;
    }

    /// Begins the fold of other heads than those whose merges failed: what failed says nothing
    /// about it.
    pub(super) fn begin_anew(&mut self, graph: &CommitGraph, standing: &Standing) {
        self.merge_retry.reset();
        self.begin(graph, standing);
    }

    /// Main is somewhere else, and no one here moved it.
    pub(super) fn set_main(&mut self, main: CommitHash, included: Vec<CommitHash>) {
        // What was committed before main was at the fold outran it.
        self.outrun += u32::from(!self.is_settled());
        self.outrun = self.outrun.min(FOLD_RESTARTS_MAX + 1);
        self.main = main;
        self.included = included;
        // Whoever committed may have committed what main waited for.
        self.move_retry.reset();
    }

    /// Returns `(ours, theirs, result)` if this was the merge under way and its result is a fact
    /// about the two.
    ///
    /// Under `settle` merges are total, so an engine that calls one impossible has failed: it is
    /// retried.
    pub(super) fn handle_merged(
        &mut self,
        now: Time,
        op: OpId,
        result: Result<MergeResult, ()>,
        outbox: &mut Outbox,
    ) -> Option<(CommitHash, CommitHash, MergeResult)> {
        let (_, merge) = self.merging.take_if(|(under_way, _)| *under_way == op)?;
        match (result, self.policy) {
            (Ok(result), policy) if result.is_ok() || policy == ConflictPolicy::Park => {
                self.merge_retry.reset();
                self.failed = None;
                Some((merge.ours, merge.theirs, result))
            }
            _ => {
                self.merge_retry.fail(now, &mut outbox.jitter);
                self.failed = Some([merge.ours, merge.theirs]);
                None
            }
        }
    }

    /// Returns the result where this was the move under way and main turned out to be elsewhere.
    pub(super) fn handle_moved(
        &mut self,
        now: Time,
        op: OpId,
        result: Result<MoveResult, ()>,
        outbox: &mut Outbox,
    ) -> Option<MoveResult> {
        let moving = self.moving.take_if(|moving| moving.op == op)?;
        match result {
            Ok(MoveResult::Moved) => self.arrive(moving, outbox),
            Ok(changed @ MoveResult::MainChanged { .. }) => {
                self.move_retry.reset();
                return Some(changed);
            }
            Ok(MoveResult::Dirty(tables)) => {
                self.move_retry.wait(now + DIRTY_RETRY_DELAY);
                if self.dirty != tables {
                    self.dirty.clone_from(&tables);
                    outbox.event(Event::MainWaits { tables });
                }
            }
            Err(()) => {
                self.move_retry.fail(now, &mut outbox.jitter);
                self.failed = Some([moving.from, moving.to.tip]);
            }
        }
        None
    }

    fn arrive(&mut self, moving: Moving, outbox: &mut Outbox) {
        let Moving { from, to, fast_forward, .. } = moving;
        self.move_retry.reset();
        self.failed = None;
        self.outrun = 0;
        self.dirty.clear();
        outbox.event(Event::MainMoved { from, to: to.tip, fast_forward });
        // A move only succeeds from where main is expected. So where main is elsewhere by now,
        // someone committed on top of the move, and that is the newer word.
        if self.main == from {
            self.main = to.tip;
            self.included = to.included;
        }
    }

    /// Does what can be done now.
    pub(super) fn drive(
        &mut self,
        now: Time,
        (graph, standing): (&CommitGraph, &Standing),
        memory: &MergeMemory,
        outbox: &mut Outbox,
    ) {
        while self.merging.is_none() && self.moving.is_none() {
            if self.folded.is_none() {
                match self.run.advance(memory, graph) {
                    Plan::Done(folded) => self.take_fold(folded, standing, outbox),
                    Plan::Need(merge) => {
                        self.start_merge(now, merge, outbox);
                        return;
                    }
                }
            }
            self.start_move(now, graph, memory, outbox);
            // While main moves this fold is still the one that it moves to.
            if !self.outdated || self.moving.is_some() {
                return;
            }
            self.begin(graph, standing);
        }
    }

    fn start_merge(&mut self, now: Time, merge: Merge, outbox: &mut Outbox) {
        if self.merge_retry.is_ready(now) {
            let op = outbox.start(|op| Output::Merge { op, merge });
            self.merging = Some((op, merge));
        }
    }

    fn start_move(
        &mut self,
        now: Time,
        graph: &CommitGraph,
        memory: &MergeMemory,
        outbox: &mut Outbox,
    ) {
        let Some(folded) = &self.folded else { return };
        if folded.tip == self.main {
            self.dirty.clear();
        } else if self.move_retry.is_ready(now) {
            let (from, included) = &self.begun_on;
            let (from, to) = (*from, folded.clone());
            let fast_forward = descends(from, included, &to, graph, memory);
            let outrun = self.outrun > FOLD_RESTARTS_MAX;
            let op = outbox.start(|op| Output::MoveMain { op, from, to: to.tip, outrun });
            self.moving = Some(Moving { op, from, fast_forward, to });
        }
    }

    fn take_fold(&mut self, folded: Folded, standing: &Standing, outbox: &mut Outbox) {
        let parked = folded.parked.iter().map(|parked| parked.head);
        let mut heads: Vec<_> =
            parked.chain(standing.set_aside().iter().map(|aside| aside.head)).collect();
        heads.sort_unstable();
        if self.kept_said.as_ref() != Some(&heads) {
            self.kept_said = Some(heads.clone());
            outbox.send(Output::SetParked { heads });
        }
        let said = (folded.tip, folded.parked.clone());
        if self.folded_said != said {
            let (main, parked) = said.clone();
            outbox.event(Event::Folded { main, parked });
            self.folded_said = said;
        }
        self.parked.clone_from(&folded.parked);
        self.folded = Some(folded);
    }

    /// When to look again, of what waits for time alone.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Time> {
        let idle = !self.is_at_work();
        let merge = self.merge_retry.deadline().filter(|_| idle && self.folded.is_none());
        let must_move = self.folded.as_ref().is_some_and(|folded| folded.tip != self.main);
        let moved = self.move_retry.deadline().filter(|_| idle && must_move);
        merge.into_iter().chain(moved)
    }
}

/// Whether the tip of `to` descends from `from`, which includes `included`.
///
/// The graph knows no merge commits. But a merge commit is the fold of what it includes, so `from`
/// lies under the tip where it is a link of the tip's own chain, or of the chain of what some user
/// commit under the tip was built on.
fn descends(
    from: CommitHash,
    included: &[CommitHash],
    to: &Folded,
    graph: &CommitGraph,
    memory: &MergeMemory,
) -> bool {
    if graph.contains(&from) {
        return to.included.iter().any(|head| graph.is_ancestor(&from, head));
    }
    let mut tip = to.included.first().copied();
    for theirs in to.included.iter().skip(1) {
        tip = tip.and_then(|ours| memory.get(&ours, theirs)?.as_ref().ok().copied());
        if tip == Some(from) {
            return true;
        }
    }
    let chain = fold::order(included, graph);
    let included: BTreeSet<_> = included.iter().collect();
    graph.difference(&to.included, &chain).iter().filter_map(|hash| graph.get(hash)).any(|commit| {
        // One with two parents was not made on the fold of what it builds on.
        commit.made_on.is_some()
            && commit.builds_on.len() >= included.len()
            && fold::order(&commit.builds_on, graph).starts_with(&chain)
    })
}
