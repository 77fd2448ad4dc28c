//! The decisions of a total merge that need no database: which definition of a schema object
//! stands, and what becomes of a row.
//!
//! A merge is total when every pair of commits has a result. The smallest unit that can decide,
//! decides: cell, else row, else table, else schema object; the later side, theirs, stands, and
//! what ours loses is recorded. Everything here is a pure function of the three versions it is
//! given, the same for every engine. The algorithm is section "The fold" of `docs/protocol.md`.

mod definition;
mod row;

pub(crate) use definition::{Definition, Part};
pub(crate) use row::{RowMerge, merge_row, same_row, same_value};

/// Which of two versions of one thing stands, compared with the version both started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Both sides have the same.
    Same,
    /// Only ours changed it.
    Ours,
    /// Only theirs changed it.
    Theirs,
    /// Both changed it, in two ways: theirs stands, ours' version is recorded.
    Clash,
}

/// Compares three versions; absence is a version too.
pub(crate) fn pick<T: PartialEq + ?Sized>(
    base: Option<&T>,
    ours: Option<&T>,
    theirs: Option<&T>,
) -> Pick {
    if ours == theirs {
        Pick::Same
    } else if theirs == base {
        Pick::Ours
    } else if ours == base {
        Pick::Theirs
    } else {
        Pick::Clash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_that_changed_stands() {
        assert_eq!(pick(Some(&1), Some(&1), Some(&1)), Pick::Same);
        assert_eq!(pick(Some(&1), Some(&2), Some(&1)), Pick::Ours);
        assert_eq!(pick(Some(&1), Some(&1), None), Pick::Theirs);
        assert_eq!(pick(Some(&1), None, Some(&2)), Pick::Clash);
        assert_eq!(pick(None, Some(&3), Some(&3)), Pick::Same);
        assert_eq!(pick(None, Some(&3), Some(&4)), Pick::Clash);
    }
}
