//! The only place that writes: answers to standard output, words for people to standard error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::json;

use crate::error::{CommandError, CommandResult};

/// Writes text to standard output, ending it with a newline if it has none.
pub(crate) fn print(text: &str) -> CommandResult<()> {
    let mut out = io::stdout().lock();
    let mut write = || {
        out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        out.flush()
    };
    write().map_err(|error| CommandError::output(&error))
}

/// Writes one JSON value as one line to standard output.
pub(crate) fn print_json(value: &impl Serialize) -> CommandResult<()> {
    print(&serde_json::to_string(value)?)
}

/// Writes a line to standard error. Nothing is lost for a script if it cannot be written.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes to standard error without ending the line.
pub(crate) fn prompt(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Replaces the current line of a terminal on standard error.
pub(crate) fn replace_line(text: &str) {
    prompt(&format!("\r\x1b[K{text}"));
}

/// Whether a person looks at standard error.
pub(crate) fn notes_go_to_a_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Reports why the command failed, unless there is nothing left to say: with `json` as one JSON
/// object on one line. It goes to standard error in either form, so that no script takes it for an
/// answer.
pub(crate) fn report(error: &CommandError, json: bool) {
    if error.message.is_empty() {
        return;
    }
    if json && let Ok(text) = serde_json::to_string(&json!({ "error": error })) {
        note(&text);
        return;
    }
    note(&format!("error: {}", error.message));
    if let Some(hint) = &error.hint {
        note(&format!("hint: {hint}"));
    }
}
