//! Whether the database answers: a server can go away while the node stays.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::date::rfc3339;
use crate::engine::{EngineError, EngineResult};
use crate::swarm::DatabaseProblem;

/// Why the database cannot be asked, and since when; nothing where it answers.
#[derive(Debug, Default)]
pub(crate) struct Absence {
    problem: Mutex<Option<DatabaseProblem>>,
    /// It came back, and nobody has looked at what came back.
    returned: AtomicBool,
}

impl Absence {
    /// Takes note of how a look at the database ended.
    pub(crate) fn heard<T>(&self, result: &EngineResult<T>) {
        match result {
            Ok(_) => self.answers(),
            Err(error) if is_absence(error) => drop(self.missed(error.to_string())),
            // It answered, with another fault.
            Err(_) => {}
        }
    }

    /// Takes note that it does not answer, and gives the whole problem.
    pub(crate) fn missed(&self, reason: String) -> DatabaseProblem {
        let mut problem = self.lock();
        if problem.is_none() {
            tracing::warn!(reason, "the database does not answer; the node waits for it");
        }
        let since = problem.take().map_or_else(now, |problem| problem.since);
        problem.insert(DatabaseProblem { since, reason }).clone()
    }

    fn answers(&self) {
        if let Some(problem) = self.lock().take() {
            tracing::info!(since = problem.since, "the database answers again");
            self.returned.store(true, Ordering::Release);
        }
    }

    /// Whether it came back since this was asked last. What came back may be of another version.
    pub(crate) fn take_return(&self) -> bool {
        self.returned.swap(false, Ordering::AcqRel)
    }

    fn lock(&self) -> MutexGuard<'_, Option<DatabaseProblem>> {
        self.problem.lock().expect("because no holder of this lock panics")
    }
}

/// Whether this is about a server that is gone, or that does not let this node in any more: the
/// rest of the node can go on and say so.
pub(crate) fn is_absence(error: &EngineError) -> bool {
    matches!(error, EngineError::Unreachable { .. } | EngineError::Rejected { .. })
}

/// The time of day, as it is shown.
pub(crate) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_stays_and_the_reason_is_the_newest() {
        let absence = Absence::default();
        let first = absence.missed("a".into());
        let gone = |message: &str| EngineError::Unreachable { message: message.into() };
        absence.heard::<()>(&Err(gone("b")));
        let second = absence.missed("c".into());
        assert_eq!((first.since, "c"), (second.since, second.reason.as_str()));
        // A database that is busy or says no to something else is there, but is not asked with
        // success.
        absence.heard::<()>(&Err(EngineError::Busy));
        assert!(absence.lock().is_some() && !absence.take_return());
        absence.heard(&Ok(()));
        assert!(absence.lock().is_none());
        assert_eq!((absence.take_return(), absence.take_return()), (true, false));
    }
}
