//! The one thread that writes to the database.
//!
//! Executing, merging, fetching and moving main are jobs on one queue: they can never overlap, so a
//! write by the application is never lost to a move of main. A job runs to its end even where the
//! caller that asked for it is gone, which is what makes every call above it cancel-safe.
//!
//! A commit makes the fold that is under way useless. So users' writes can be held back for a moment:
//! without that, who writes without a pause would never see others' work.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use doltswarm_core::limits::WRITE_HOLD_MAX;
use tokio::sync::oneshot;

use crate::engine::Engine;

type Job = Box<dyn FnOnce(&mut dyn Engine) + Send>;

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
}

impl EngineHandle {
    /// Starts the thread. The receiver resolves when it has ended and the database is closed.
    pub(crate) fn spawn(mut engine: Box<dyn Engine>) -> (Self, oneshot::Receiver<()>) {
        let (jobs, queue) = mpsc::channel::<Message>();
        let (ended, end) = oneshot::channel();
        thread::Builder::new()
            .name("doltswarm-engine".into())
            .spawn(move || {
                Worker { engine: engine.as_mut(), waiting: VecDeque::new(), held: None }.run(queue);
                drop(engine);
                let _ = ended.send(());
            })
            .expect("because a process that cannot start a thread cannot run a node");
        (Self { jobs }, end)
    }

    /// Runs `job` after all jobs handed over before, without waiting.
    pub(crate) fn post(
        &self,
        job: impl FnOnce(&mut dyn Engine) + Send + 'static,
    ) -> Result<(), Stopped> {
        self.jobs.send(Message::Job(Box::new(job))).map_err(|_| Stopped)
    }

    /// Runs a user's write after all those handed over before, without waiting.
    pub(crate) fn post_write(
        &self,
        job: impl FnOnce(&mut dyn Engine) + Send + 'static,
    ) -> Result<(), Stopped> {
        self.jobs.send(Message::Write(Box::new(job))).map_err(|_| Stopped)
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

    /// A panic in a job must not hang every later call: the thread ends, and callers see [`Stopped`].
    fn job(&mut self, job: Job) -> Result<(), Panicked> {
        catch_unwind(AssertUnwindSafe(|| job(self.engine))).map_err(|_| Panicked)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::engine::DoltLite;

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
        rig.handle.post_write(rig.job("write 1")).expect("it runs");
        rig.handle.post(rig.job("merge")).expect("it runs");
        rig.handle.post_write(rig.job("write 2")).expect("it runs");
        rig.handle.call(|_| ()).await.expect("it runs");
        assert_eq!(rig.ran(), ["merge"]);
        rig.handle.hold_writes(false);
        rig.handle.post_write(rig.job("write 3")).expect("it runs");
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
            .post_write(move |engine| {
                write(engine);
                let _ = told.send(());
            })
            .expect("it runs");
        // Nobody ever says that it may.
        ends.await.expect("it runs");
        rig.handle.post_write(rig.job("write 2")).expect("it runs");
        rig.handle.stop();
        let Rig { end, ran, .. } = rig;
        end.await.expect("the thread ends");
        assert_eq!(*ran.lock().expect("no panic"), ["write 1", "write 2"]);
    }
}
