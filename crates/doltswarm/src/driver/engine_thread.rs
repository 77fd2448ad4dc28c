//! The one thread that writes to the database.
//!
//! Executing, merging, fetching and moving main are jobs on one queue: they can never overlap, so a
//! write by the application is never lost to a move of main. A job runs to its end even where the
//! caller that asked for it is gone, which is what makes every call above it cancel-safe.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use crate::engine::Engine;

type Job = Box<dyn FnOnce(&mut dyn Engine) + Send>;

enum Message {
    Job(Job),
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
                for message in queue {
                    let Message::Job(job) = message else { break };
                    // A panic in a job must not hang every later call: the thread ends, and callers
                    // see `Stopped`.
                    if catch_unwind(AssertUnwindSafe(|| job(engine.as_mut()))).is_err() {
                        tracing::error!("the engine panicked; the node stops writing");
                        break;
                    }
                }
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
