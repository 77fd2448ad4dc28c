//! The one thread that writes to the database.
//!
//! Executing, merging, fetching and moving main are jobs on one queue: they can never overlap, so a
//! write by the application is never lost to a move of main. A job runs to its end even where the
//! caller that asked for it is gone, which is what makes every call above it cancel-safe.
//!
//! No job runs for ever: each has a time limit, and a caller's own stop ends it early. What is
//! stopped leaves the database as it was.
//!
//! A commit makes the fold that is under way useless. So users' writes can be held back for a
//! moment: without that, who writes without a pause would never see others' work.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use doltswarm_core::limits::{ENGINE_JOB_TIMEOUT, WRITE_HOLD_MAX};
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::engine::stop::{self, Stop, StopReason};

type Work = Box<dyn FnOnce(&mut dyn Engine) + Send>;

/// What runs on the thread.
struct Job {
    run: Work,
    limit: Limit,
}

/// What ends a job early.
enum Limit {
    /// It may take so long, once it has begun.
    Time(Duration),
    /// Whoever holds this.
    Stop(Arc<Stop>),
}

impl Job {
    fn new(run: impl FnOnce(&mut dyn Engine) + Send + 'static, limit: Limit) -> Self {
        Self { run: Box::new(run), limit }
    }
}

/// The job that runs now, as other threads see it.
#[derive(Default)]
struct Current {
    stop: Mutex<Option<Arc<Stop>>>,
    /// Whether every job is to end at once.
    closing: AtomicBool,
}

impl Current {
    fn set(&self, stop: Option<Arc<Stop>>) {
        *self.stop.lock().expect("because no holder of this lock panics") = stop;
    }

    fn get(&self) -> Option<Arc<Stop>> {
        self.stop.lock().expect("because no holder of this lock panics").clone()
    }
}

enum Message {
    Job(Job),
    /// A write of a user, which can wait.
    Write(Job),
    /// Whether writes wait.
    Hold(bool),
    Stop,
}

/// The engine thread is gone: the node is closing, or the engine panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped;

/// Hands jobs to the engine thread, which ends at [`EngineHandle::stop`] or when the last handle is
/// dropped.
#[derive(Clone)]
pub(crate) struct EngineHandle {
    jobs: mpsc::Sender<Message>,
    current: Arc<Current>,
}

impl EngineHandle {
    /// Starts the thread. The receiver resolves when it has ended and the database is closed.
    pub(crate) fn spawn(mut engine: Box<dyn Engine>) -> (Self, oneshot::Receiver<()>) {
        let (jobs, queue) = mpsc::channel::<Message>();
        let (ended, end) = oneshot::channel();
        let current = Arc::new(Current::default());
        let running = Arc::clone(&current);
        thread::Builder::new()
            .name("doltswarm-engine".into())
            .spawn(move || {
                let (engine_ref, waiting) = (engine.as_mut(), VecDeque::new());
                Worker { engine: engine_ref, current: running, waiting, held: None }.run(queue);
                drop(engine);
                let _ = ended.send(());
            })
            .expect("because a process that cannot start a thread cannot run a node");
        (Self { jobs, current }, end)
    }

    /// Runs `job` after all jobs handed over before, without waiting.
    pub(crate) fn post(
        &self,
        job: impl FnOnce(&mut dyn Engine) + Send + 'static,
    ) -> Result<(), Stopped> {
        self.post_within(ENGINE_JOB_TIMEOUT, job)
    }

    /// Runs `job` after all jobs handed over before, without waiting. It may take `limit`.
    pub(crate) fn post_within(
        &self,
        limit: Duration,
        job: impl FnOnce(&mut dyn Engine) + Send + 'static,
    ) -> Result<(), Stopped> {
        self.jobs.send(Message::Job(Job::new(job, Limit::Time(limit)))).map_err(|_| Stopped)
    }

    /// Runs a user's write after all those handed over before, without waiting; `stop` ends it.
    pub(crate) fn post_write(
        &self,
        stop: Arc<Stop>,
        job: impl FnOnce(&mut dyn Engine) + Send + 'static,
    ) -> Result<(), Stopped> {
        self.jobs.send(Message::Write(Job::new(job, Limit::Stop(stop)))).map_err(|_| Stopped)
    }

    /// Interrupts the job that runs if its time is up: what it does may not look at the clock.
    pub(crate) fn enforce_limits(&self) {
        if let Some(stop) = self.current.get() {
            stop.enforce();
        }
    }

    /// Interrupts the job that runs and all that come after it.
    pub(crate) fn interrupt_all(&self) {
        self.current.closing.store(true, Ordering::Release);
        if let Some(stop) = self.current.get() {
            stop.request(StopReason::Closing);
        }
    }

    /// Says whether users' writes wait while other jobs go on. None waits longer than
    /// [`WRITE_HOLD_MAX`].
    pub(crate) fn hold_writes(&self, held: bool) {
        let _ = self.jobs.send(Message::Hold(held));
    }

    /// Ends the thread after the jobs handed over before; later ones are refused.
    pub(crate) fn stop(&self) {
        let _ = self.jobs.send(Message::Stop);
    }

    /// Runs `job` after all jobs handed over before and waits for its result. Dropping the future
    /// does not stop the job.
    pub(crate) async fn call<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut dyn Engine) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (reply, result) = oneshot::channel();
        self.post(move |engine| {
            let _ = reply.send(job(engine));
        })?;
        result.await.map_err(|_| Stopped)
    }
}

/// What runs on the thread.
struct Worker<'a> {
    engine: &'a mut dyn Engine,
    current: Arc<Current>,
    /// Writes that are held back, in their order.
    waiting: VecDeque<Job>,
    /// Since when the first of them may have waited.
    held: Option<Instant>,
}

/// The engine panicked.
struct Panicked;

impl Worker<'_> {
    /// Does what comes, until the end is asked for, nobody is left to ask, or the engine panics.
    fn run(mut self, queue: mpsc::Receiver<Message>) {
        loop {
            let next = match self.held.filter(|_| !self.waiting.is_empty()) {
                Some(since) => queue.recv_timeout(WRITE_HOLD_MAX.saturating_sub(since.elapsed())),
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let done = match next {
                Ok(Message::Job(job)) => self.job(job),
                Ok(Message::Write(job)) => self.write(job),
                Ok(Message::Hold(true)) => {
                    self.held = self.held.or_else(|| Some(Instant::now()));
                    Ok(())
                }
                Ok(Message::Hold(false)) => {
                    self.held = None;
                    self.write_waiting()
                }
                Err(RecvTimeoutError::Timeout) => self.write_waiting(),
                Ok(Message::Stop) => {
                    let _ = self.write_waiting();
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if done.is_err() {
                tracing::error!("the engine panicked; the node stops writing");
                return;
            }
        }
    }

    fn write(&mut self, job: Job) -> Result<(), Panicked> {
        match &mut self.held {
            None => self.job(job),
            Some(since) => {
                if self.waiting.is_empty() {
                    *since = Instant::now();
                }
                self.waiting.push_back(job);
                Ok(())
            }
        }
    }

    fn write_waiting(&mut self) -> Result<(), Panicked> {
        while let Some(job) = self.waiting.pop_front() {
            self.job(job)?;
        }
        Ok(())
    }

    /// A panic in a job must not hang every later call: the thread ends, and callers see
    /// [`Stopped`].
    fn job(&mut self, job: Job) -> Result<(), Panicked> {
        let Job { run, limit } = job;
        let stop = match limit {
            Limit::Time(limit) => Arc::new(Stop::after(limit)),
            Limit::Stop(stop) => stop,
        };
        self.current.set(Some(Arc::clone(&stop)));
        if self.current.closing.load(Ordering::Acquire) {
            stop.request(StopReason::Closing);
        }
        let work = || stop::run(&stop, || run(self.engine));
        let done = catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked);
        self.current.set(None);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{CommitMeta, DoltLite, EngineError, EngineResult, Executed};

    /// A thread, and what ran on it.
    struct Rig {
        handle: EngineHandle,
        end: oneshot::Receiver<()>,
        ran: Arc<Mutex<Vec<&'static str>>>,
        _dir: tempfile::TempDir,
    }

    impl Rig {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let engine = DoltLite::create(&dir.path().join("db")).expect("a database");
            let (handle, end) = EngineHandle::spawn(Box::new(engine));
            Self { handle, end, ran: Arc::default(), _dir: dir }
        }

        fn job(&self, name: &'static str) -> impl FnOnce(&mut dyn Engine) + Send + 'static {
            let ran = Arc::clone(&self.ran);
            move |_| ran.lock().expect("no panic").push(name)
        }

        fn ran(&self) -> Vec<&'static str> {
            self.ran.lock().expect("no panic").clone()
        }
    }

    #[tokio::test]
    async fn writes_that_are_held_run_later_in_their_order_and_nothing_else_waits() {
        let rig = Rig::new();
        rig.handle.hold_writes(true);
        rig.handle.post_write(Arc::default(), rig.job("write 1")).expect("it runs");
        rig.handle.post(rig.job("merge")).expect("it runs");
        rig.handle.post_write(Arc::default(), rig.job("write 2")).expect("it runs");
        rig.handle.call(|_| ()).await.expect("it runs");
        assert_eq!(rig.ran(), ["merge"]);
        rig.handle.hold_writes(false);
        rig.handle.post_write(Arc::default(), rig.job("write 3")).expect("it runs");
        rig.handle.call(|_| ()).await.expect("it runs");
        assert_eq!(rig.ran(), ["merge", "write 1", "write 2", "write 3"]);
    }

    #[tokio::test]
    async fn no_write_is_held_for_ever_or_lost_at_the_end() {
        let rig = Rig::new();
        rig.handle.hold_writes(true);
        let (told, ends) = oneshot::channel();
        let write = rig.job("write 1");
        rig.handle
            .post_write(Arc::default(), move |engine| {
                write(engine);
                let _ = told.send(());
            })
            .expect("it runs");
        // Nobody ever says that it may.
        ends.await.expect("it runs");
        rig.handle.post_write(Arc::default(), rig.job("write 2")).expect("it runs");
        rig.handle.stop();
        let Rig { end, ran, .. } = rig;
        end.await.expect("the thread ends");
        assert_eq!(*ran.lock().expect("no panic"), ["write 1", "write 2"]);
    }

    /// Counts to no end.
    const ENDLESS: &str =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

    /// Runs a statement that has no end, and gives what came of it.
    fn endless(rig: &Rig, stop: &Arc<Stop>) -> oneshot::Receiver<EngineResult<Executed>> {
        let (told, result) = oneshot::channel();
        let meta = CommitMeta {
            author_name: "a".into(),
            author_email: "a@b".into(),
            message: "m".into(),
            seconds: 1_700_000_000,
        };
        rig.handle
            .post_write(Arc::clone(stop), move |engine| {
                let insert = "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)";
                let statements = [insert.into(), ENDLESS.into()];
                let _ = told.send(engine.exec_and_commit(&statements, &meta));
            })
            .expect("it runs");
        result
    }

    fn reason(result: EngineResult<Executed>) -> String {
        match result {
            Err(EngineError::Stopped { reason }) => reason,
            result => panic!("{result:?}"),
        }
    }

    async fn assert_unchanged(rig: &Rig) {
        let dirty = rig.handle.call(|engine| engine.dirty_tables()).await.expect("it runs");
        assert_eq!(dirty.expect("the status"), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_write_ends_when_it_is_cancelled_or_its_time_is_up() {
        let rig = Rig::new();
        let stop = Arc::new(Stop::after(Duration::from_millis(50)));
        let result = endless(&rig, &stop).await.expect("an answer");
        assert_eq!(reason(result), "it took longer than 0.05 s");
        assert_unchanged(&rig).await;
        let stop = Arc::new(Stop::default());
        let result = endless(&rig, &stop);
        stop.request(StopReason::Cancelled);
        assert_eq!(reason(result.await.expect("an answer")), "it was cancelled");
        assert_unchanged(&rig).await;
    }

    #[tokio::test]
    async fn closing_interrupts_what_runs_and_what_waits() {
        let rig = Rig::new();
        let (first, second) = (Arc::new(Stop::default()), Arc::new(Stop::default()));
        let results = [endless(&rig, &first), endless(&rig, &second)];
        rig.handle.interrupt_all();
        for result in results {
            assert_eq!(reason(result.await.expect("an answer")), "the node is closing");
        }
        rig.handle.stop();
        rig.end.await.expect("the thread ends");
    }
}
