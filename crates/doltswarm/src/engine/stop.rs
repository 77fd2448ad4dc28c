//! Ending work that runs too long, or that nobody waits for any more.
//!
//! Work runs in a scope of its thread. What carries out its statements asks the scope before each
//! step, and every so often during one, whether it may go on; and it lends the scope a handle, by
//! which other threads interrupt what asks seldom. Rolling back runs shielded from all that.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Why work was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Whoever asked for it does not want it any more.
    Cancelled,
    /// It ran longer than it may.
    TimedOut(Duration),
    /// The node is closing.
    Closing,
}

impl std::fmt::Display for StopReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cancelled => write!(f, "it was cancelled"),
            Self::TimedOut(limit) => write!(f, "it took longer than {} s", limit.as_secs_f64()),
            Self::Closing => write!(f, "the node is closing"),
        }
    }
}

/// Interrupts a statement from another thread.
pub(crate) trait Interrupt: Send + Sync {
    /// Makes the statement that runs now end soon; does nothing if none does.
    fn interrupt(&self);
}

/// Stops one piece of work, from any thread.
#[derive(Default)]
pub(crate) struct Stop {
    requested: AtomicBool,
    limit: Option<(Duration, Instant)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reason: Option<StopReason>,
    running: Option<Arc<dyn Interrupt>>,
}

impl Stop {
    /// Stops by itself after `limit`, counted from now.
    pub(crate) fn after(limit: Duration) -> Self {
        Self { limit: Some((limit, Instant::now() + limit)), ..Self::default() }
    }

    /// Asks the work to end. The first reason stays.
    pub(crate) fn request(&self, reason: StopReason) {
        let mut state = self.lock();
        state.reason.get_or_insert(reason);
        self.requested.store(true, Ordering::Release);
        if let Some(running) = &state.running {
            running.interrupt();
        }
    }

    /// Asks the work to end if its time is up.
    pub(crate) fn enforce(&self) {
        if let Some((limit, until)) = self.limit
            && Instant::now() >= until
        {
            self.request(StopReason::TimedOut(limit));
        }
    }

    fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("because no holder of this lock panics")
    }
}

/// How much a piece of work may use.
struct Budget {
    steps: u64,
    left: u64,
    time: Duration,
    until: Instant,
}

impl Budget {
    fn is_used_up(&self) -> bool {
        self.left == 0 || Instant::now() >= self.until
    }
}

/// What the work of a thread has to keep to.
#[derive(Default)]
struct Scope {
    stop: Option<Arc<Stop>>,
    budget: Option<Budget>,
    shielded: bool,
}

thread_local! {
    static SCOPE: RefCell<Scope> = RefCell::default();
}

/// Puts back what a scope was when it is dropped, however the work ended.
struct Restore<F: FnMut(&mut Scope)>(F);

impl<F: FnMut(&mut Scope)> Drop for Restore<F> {
    fn drop(&mut self) {
        SCOPE.with_borrow_mut(&mut self.0);
    }
}

/// Runs `work` so that `stop` ends it.
pub(crate) fn run<T>(stop: &Arc<Stop>, work: impl FnOnce() -> T) -> T {
    let mut outer = SCOPE.with_borrow_mut(|scope| scope.stop.replace(Arc::clone(stop)));
    let _restore = Restore(|scope| scope.stop = outer.take());
    work()
}

/// Runs `work` with a budget of steps and of time.
pub(crate) fn limited<T>(steps: u64, time: Duration, work: impl FnOnce() -> T) -> T {
    let budget = Budget { steps, left: steps, time, until: Instant::now() + time };
    let mut outer = SCOPE.with_borrow_mut(|scope| scope.budget.replace(budget));
    let _restore = Restore(|scope| scope.budget = outer.take());
    work()
}

/// Runs `work`, which puts right what was stopped, to its end.
pub(crate) fn shielded<T>(work: impl FnOnce() -> T) -> T {
    let outer = SCOPE.with_borrow_mut(|scope| std::mem::replace(&mut scope.shielded, true));
    let _restore = Restore(|scope| scope.shielded = outer);
    work()
}

/// Whether the work of this thread has to end, now that it has taken `steps` more.
pub(crate) fn is_over(steps: u64) -> bool {
    SCOPE.with_borrow_mut(|scope| {
        if scope.shielded {
            return false;
        }
        if let Some(stop) = &scope.stop {
            stop.enforce();
            if stop.is_requested() {
                return true;
            }
        }
        scope.budget.as_mut().is_some_and(|budget| {
            budget.left = budget.left.saturating_sub(steps);
            budget.is_used_up()
        })
    })
}

/// Why the work of this thread has to end.
pub(crate) fn reason() -> String {
    if let Some(reason) = requested() {
        return reason.to_string();
    }
    SCOPE.with_borrow(|scope| match &scope.budget {
        Some(budget) if budget.is_used_up() => {
            format!("it took more than {} steps or {} s", budget.steps, budget.time.as_secs_f64())
        }
        _ => StopReason::Cancelled.to_string(),
    })
}

/// Why the work of this thread was stopped, if that was not its budget.
pub(crate) fn requested() -> Option<StopReason> {
    SCOPE.with_borrow(|scope| scope.stop.as_ref().and_then(|stop| stop.lock().reason))
}

/// A statement that runs: other threads can interrupt it until this is dropped.
pub(crate) struct Running {
    stop: Option<Arc<Stop>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(stop) = &self.stop {
            stop.lock().running = None;
        }
    }
}

/// The work of this thread has to end.
pub(crate) struct Over;

/// Lends this thread's scope the handle of a statement that is about to run.
pub(crate) fn running(handle: &Arc<impl Interrupt + 'static>) -> Result<Running, Over> {
    let stop = SCOPE.with_borrow(|scope| scope.stop.clone().filter(|_| !scope.shielded));
    if let Some(stop) = &stop {
        let mut state = stop.lock();
        if stop.is_requested() {
            return Err(Over);
        }
        state.running = Some(Arc::clone(handle) as Arc<dyn Interrupt>);
    }
    Ok(Running { stop })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Interrupt for Counter {
        fn interrupt(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn only_what_runs_is_interrupted() {
        let (stop, handle) = (Arc::new(Stop::default()), Arc::new(Counter::default()));
        run(&stop, || {
            drop(running(&handle));
            assert!(!is_over(1));
            stop.request(StopReason::Cancelled);
            assert!(is_over(1));
            assert!(running(&handle).is_err());
            assert!(!shielded(|| is_over(1)));
            assert!(shielded(|| running(&handle)).is_ok());
        });
        assert_eq!(handle.0.load(Ordering::SeqCst), 0);
        assert!(!is_over(1));
        let (stop, running) = (Arc::new(Stop::default()), &handle);
        run(&stop, || {
            let _running = super::running(running);
            stop.request(StopReason::Closing);
            stop.request(StopReason::Cancelled);
            assert_eq!(reason(), "the node is closing");
        });
        assert_eq!(handle.0.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_budget_ends_with_its_steps_or_its_time() {
        limited(10, Duration::from_secs(600), || {
            assert!(!is_over(9));
            limited(1, Duration::from_secs(600), || assert!(is_over(1)));
            assert!(is_over(1));
            assert_eq!(reason(), "it took more than 10 steps or 600 s");
        });
        limited(10, Duration::ZERO, || assert!(is_over(0)));
        assert!(!is_over(u64::MAX));
    }

    #[test]
    fn a_time_limit_is_a_reason() {
        let stop = Arc::new(Stop::after(Duration::ZERO));
        run(&stop, || {
            assert!(is_over(0));
            assert_eq!(reason(), "it took longer than 0 s");
        });
    }
}
