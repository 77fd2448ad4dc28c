//! Prepared statements: values in, rows out.

use std::ffi::{CStr, c_int};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use super::Stmt;
use super::connection::{Connection, SqliteError};
use crate::engine::stop;
use crate::engine::value::Value;

/// The engine's number for texts in UTF-8.
const UTF8: u8 = 1;

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// How many steps of statements this thread has taken: what the engine's work costs, without a
/// clock.
#[cfg(test)]
pub(in super::super) fn steps_taken() -> u64 {
    STEPS.get()
}

/// A prepared statement, finalized when dropped.
pub(super) struct Statement<'a> {
    /// The connection it belongs to.
    pub(super) connection: &'a Connection,
    /// The engine's statement; not finalized yet.
    pub(super) raw: NonNull<Stmt>,
}

impl Statement<'_> {
    /// Fails unless the statement has this many parameters.
    pub(super) fn check_parameters(&self, given: usize) -> Result<(), SqliteError> {
        // SAFETY: the statement is live.
        let wanted = unsafe { super::sqlite3_bind_parameter_count(self.raw.as_ptr()) };
        if usize::try_from(wanted) == Ok(given) {
            return Ok(());
        }
        let message =
            format!("the statement has {wanted} parameters, but {given} values are given");
        Err(SqliteError::new(25, message))
    }

    /// Whether running the statement cannot change the database.
    pub(super) fn is_read_only(&self) -> bool {
        // SAFETY: the statement is live.
        unsafe { super::sqlite3_stmt_readonly(self.raw.as_ptr()) != 0 }
    }

    /// Gives the parameters their values.
    pub(super) fn bind_all(&mut self, params: &[Value]) -> Result<(), SqliteError> {
        self.check_parameters(params.len())?;
        params.iter().enumerate().try_for_each(|(index, value)| self.bind(index, value))
    }

    /// Stops the statement so that it can run again.
    pub(super) fn reset(&mut self) {
        // SAFETY: the statement is live; what a reset returns is the error of the last step, which
        // was looked at.
        unsafe { super::sqlite3_reset(self.raw.as_ptr()) };
    }

    /// Stops the statement so that it can run again, and gives it away.
    pub(super) fn reset_into_raw(self) -> NonNull<Stmt> {
        let statement = ManuallyDrop::new(self);
        // SAFETY: the statement is live; what a reset returns is the error of the last step, and
        // that one was good.
        unsafe { super::sqlite3_reset(statement.raw.as_ptr()) };
        statement.raw
    }

    fn bind(&mut self, index: usize, value: &Value) -> Result<(), SqliteError> {
        let index = c_int::try_from(index + 1).unwrap_or(c_int::MAX);
        let raw = self.raw.as_ptr();
        // SAFETY: the statement is live; text and blob pointers are readable for the length given
        // (never dangling null: a slice's pointer is not null), and the engine copies them.
        let code = unsafe {
            match value {
                Value::Null => super::sqlite3_bind_null(raw, index),
                Value::Integer(n) => super::sqlite3_bind_int64(raw, index, *n),
                Value::Real(x) => super::sqlite3_bind_double(raw, index, *x),
                Value::Text(text) => super::sqlite3_bind_text64(
                    raw,
                    index,
                    text.as_ptr().cast(),
                    text.len() as u64,
                    super::TRANSIENT,
                    UTF8,
                ),
                Value::RawText(text) => super::sqlite3_bind_text64(
                    raw,
                    index,
                    text.as_ptr().cast(),
                    text.len() as u64,
                    super::TRANSIENT,
                    UTF8,
                ),
                Value::Blob(blob) => super::sqlite3_bind_blob64(
                    raw,
                    index,
                    blob.as_ptr().cast(),
                    blob.len() as u64,
                    super::TRANSIENT,
                ),
            }
        };
        if code == super::OK { Ok(()) } else { Err(self.connection.error(code)) }
    }

    /// Goes to the next row; whether there is one.
    pub(super) fn step(&mut self) -> Result<bool, SqliteError> {
        let _running =
            stop::running(&self.connection.handle).map_err(|_| SqliteError::stopped())?;
        #[cfg(test)]
        STEPS.set(STEPS.get() + 1);
        // SAFETY: the statement is live.
        match unsafe { super::sqlite3_step(self.raw.as_ptr()) } {
            super::ROW => Ok(true),
            super::DONE => Ok(false),
            code => Err(self.connection.error(code)),
        }
    }

    /// The columns' names.
    pub(super) fn columns(&self) -> Vec<String> {
        // SAFETY: the statement is live; a column's name is NUL-terminated and copied at once.
        unsafe {
            (0..super::sqlite3_column_count(self.raw.as_ptr()))
                .map(|column| {
                    let name = super::sqlite3_column_name(self.raw.as_ptr(), column);
                    if name.is_null() {
                        return String::new();
                    }
                    CStr::from_ptr(name).to_string_lossy().into_owned()
                })
                .collect()
        }
    }

    /// The row it stands on.
    pub(super) fn row(&self) -> Vec<Value> {
        // SAFETY: the statement is live.
        let count = unsafe { super::sqlite3_column_count(self.raw.as_ptr()) };
        (0..count).map(|column| self.value(column)).collect()
    }

    fn value(&self, column: c_int) -> Value {
        let raw = self.raw.as_ptr();
        // SAFETY: the statement stands on a row, `column` is in range, and no call converts the
        // value between asking for its pointer and copying its bytes.
        unsafe {
            match super::sqlite3_column_type(raw, column) {
                super::INTEGER => Value::Integer(super::sqlite3_column_int64(raw, column)),
                super::FLOAT => Value::Real(super::sqlite3_column_double(raw, column)),
                super::TEXT => {
                    let text = copy(super::sqlite3_column_text(raw, column), raw, column);
                    String::from_utf8(text)
                        .map_or_else(|raw| Value::RawText(raw.into_bytes()), Value::Text)
                }
                super::BLOB => {
                    Value::Blob(copy(super::sqlite3_column_blob(raw, column), raw, column))
                }
                _ => Value::Null,
            }
        }
    }
}

/// Copies the bytes of the value at `column`.
///
/// # Safety
///
/// `start` must be what the engine just gave for this column of this statement.
unsafe fn copy(start: *const u8, statement: *mut Stmt, column: c_int) -> Vec<u8> {
    // SAFETY: the statement is live, as the caller has just used it.
    let bytes = unsafe { super::sqlite3_column_bytes(statement, column) };
    match usize::try_from(bytes) {
        // SAFETY: the engine's value has this many bytes at `start`.
        Ok(bytes) if bytes > 0 && !start.is_null() => unsafe {
            std::slice::from_raw_parts(start, bytes).to_vec()
        },
        _ => Vec::new(),
    }
}

impl Drop for Statement<'_> {
    fn drop(&mut self) {
        // SAFETY: the statement is live and is not used again.
        unsafe { super::sqlite3_finalize(self.raw.as_ptr()) };
    }
}
