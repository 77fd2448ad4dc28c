//! SQL functions that people's definitions use and the engine lacks.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};

use regex_lite::Regex;

use super::Sqlite3;

/// UTF-8, the same for the same arguments, and harmless in a definition that someone else made.
const FLAGS: c_int = 0x1 | 0x800 | 0x20_0000;

/// The engine's number for the type of NULL.
const NULL: c_int = 5;

#[repr(C)]
struct Context {
    _opaque: [u8; 0],
}

#[repr(C)]
struct Argument {
    _opaque: [u8; 0],
}

type Function = unsafe extern "C" fn(*mut Context, c_int, *mut *mut Argument);

unsafe extern "C" {
    fn sqlite3_create_function_v2(
        db: *mut Sqlite3,
        name: *const c_char,
        arguments: c_int,
        flags: c_int,
        data: *mut c_void,
        function: Option<Function>,
        step: *const c_void,
        last: *const c_void,
        destroy: *const c_void,
    ) -> c_int;
    fn sqlite3_value_type(value: *mut Argument) -> c_int;
    fn sqlite3_value_text(value: *mut Argument) -> *const u8;
    fn sqlite3_value_bytes(value: *mut Argument) -> c_int;
    fn sqlite3_result_int(context: *mut Context, value: c_int);
    fn sqlite3_result_error(context: *mut Context, message: *const c_char, bytes: c_int);
}

thread_local! {
    /// The pattern that was used last: one statement mostly uses one for all rows.
    static LAST: RefCell<Option<(String, Regex)>> = const { RefCell::new(None) };
}

/// Makes the functions known to a connection.
pub(super) fn register(db: NonNull<Sqlite3>) -> c_int {
    let none = ptr::null();
    // SAFETY: the handle is open, the name is NUL-terminated, and `regexp` is what the engine
    // expects of a function without data.
    unsafe {
        sqlite3_create_function_v2(
            db.as_ptr(),
            c"regexp".as_ptr(),
            2,
            FLAGS,
            ptr::null_mut(),
            Some(regexp),
            none,
            none,
            none,
        )
    }
}

/// Makes a function known that gives NULL for any arguments.
pub(super) fn register_absent(db: NonNull<Sqlite3>, name: &CStr) -> c_int {
    let none = ptr::null();
    // SAFETY: the handle is open, the name is NUL-terminated, and `absent` is what the engine
    // expects of a function without data.
    unsafe {
        sqlite3_create_function_v2(
            db.as_ptr(),
            name.as_ptr(),
            -1,
            FLAGS,
            ptr::null_mut(),
            Some(absent),
            none,
            none,
            none,
        )
    }
}

/// Sets no result, which is NULL.
unsafe extern "C" fn absent(_context: *mut Context, _count: c_int, _args: *mut *mut Argument) {}

/// `text REGEXP pattern`: whether the pattern matches somewhere in the text. NULL if one is NULL.
unsafe extern "C" fn regexp(context: *mut Context, _count: c_int, arguments: *mut *mut Argument) {
    // SAFETY: the engine calls this with two arguments, which are valid for the length of the call.
    let (pattern, text) = unsafe { (text_of(*arguments), text_of(*arguments.add(1))) };
    let (Some(pattern), Some(text)) = (pattern, text) else { return };
    match matches(&pattern, &text) {
        // SAFETY: the context is valid for the length of the call.
        Ok(found) => unsafe { sqlite3_result_int(context, found.into()) },
        Err(error) => {
            let message = format!("REGEXP cannot read the pattern: {error}");
            let bytes = c_int::try_from(message.len()).unwrap_or(c_int::MAX);
            // SAFETY: as above; the message is readable for its length, and the engine copies it.
            unsafe { sqlite3_result_error(context, message.as_ptr().cast(), bytes) };
        }
    }
}

fn matches(pattern: &str, text: &str) -> Result<bool, regex_lite::Error> {
    LAST.with_borrow_mut(|last| {
        let regex = match last {
            Some((known, regex)) if known == pattern => regex,
            last => &mut last.insert((pattern.to_owned(), Regex::new(pattern)?)).1,
        };
        Ok(regex.is_match(text))
    })
}

/// An argument as a text; `None` if it is NULL.
///
/// # Safety
///
/// `value` must be an argument of the call that is under way.
unsafe fn text_of(value: *mut Argument) -> Option<String> {
    // SAFETY: the caller says so; the text is asked for before its length, as the engine wants it,
    // and is copied before the next call.
    unsafe {
        if sqlite3_value_type(value) == NULL {
            return None;
        }
        let start = sqlite3_value_text(value);
        let bytes = usize::try_from(sqlite3_value_bytes(value)).unwrap_or(0);
        if start.is_null() {
            return Some(String::new());
        }
        let bytes = std::slice::from_raw_parts(start, bytes);
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}
