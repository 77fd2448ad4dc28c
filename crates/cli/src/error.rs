//! What a command can fail with, and the exit code it gives.

use std::io;

use doltswarm::{ExecError, JoinError, OpenError, PeersError, QueryError};
use serde::{Deserialize, Serialize};

/// The result of a command or a part of one.
pub(crate) type CommandResult<T> = Result<T, CommandError>;

/// Who has to act, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorKind {
    /// What was asked could not be done: exit code 1.
    Failed,
    /// The command line is wrong: exit code 2.
    Usage,
    /// The time was up: exit code 3.
    TimedOut,
    /// Nobody reads the output any more (`doltswarm log | head -1`): exit code 0, without a word.
    OutputClosed,
}

/// Why a command failed: what happened, to which thing, and apart from that what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CommandError {
    /// Who has to act.
    pub(crate) kind: ErrorKind,
    /// What happened; empty where there is nothing to add to what was printed.
    pub(crate) message: String,
    /// What to do, where the message does not say it.
    pub(crate) hint: Option<String>,
}

impl CommandError {
    /// What was asked could not be done.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Failed, message: message.into(), hint: None }
    }

    /// The command line is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Usage, message: message.into(), hint: None }
    }

    /// The time was up.
    pub(crate) fn timed_out(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::TimedOut, message: message.into(), hint: None }
    }

    /// Adds what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::OutputClosed => 0,
            ErrorKind::Failed => 1,
            ErrorKind::Usage => 2,
            ErrorKind::TimedOut => 3,
        }
    }

    /// An error of standard output.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self { kind: ErrorKind::OutputClosed, message: String::new(), hint: None }
        } else {
            Self::failed(format!("cannot write to standard output: {error}"))
        }
    }
}

/// The library's errors say what to do themselves, so they need no hint.
macro_rules! from_library {
    ($($error:ty),+) => {
        $(impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                Self::failed(error.to_string())
            }
        })+
    };
}

from_library!(OpenError, JoinError, ExecError, QueryError, PeersError);

impl From<serde_json::Error> for CommandError {
    fn from(error: serde_json::Error) -> Self {
        Self::failed(format!("cannot write the answer as JSON: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_exit_code() {
        assert_eq!(CommandError::failed("x").exit_code(), 1);
        assert_eq!(CommandError::usage("x").exit_code(), 2);
        assert_eq!(CommandError::timed_out("x").exit_code(), 3);
        let closed = CommandError::output(&io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(closed.exit_code(), 0);
        assert_eq!(CommandError::output(&io::Error::other("full")).exit_code(), 1);
    }
}
