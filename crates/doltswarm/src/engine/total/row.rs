//! What becomes of one row: a three-way merge by cell.

use crate::engine::Value;

/// What becomes of a row that ours changed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RowMerge {
    /// Theirs' state stands as it is (a row, or no row), and nothing of ours is lost.
    Theirs,
    /// This row stands; nothing is lost.
    Write(Vec<Value>),
    /// The row goes; nothing is lost.
    Remove,
    /// Both sides changed one cell, or one removed what the other changed: theirs' state stands,
    /// ours' is recorded.
    Conflict,
}

/// Merges a row cell by cell. The three versions have the same columns in the same order; `None` is
/// no row.
///
/// A row that ours has as it was in the base, or not at all there and here, is theirs' alone.
pub(crate) fn merge_row(
    base: Option<&[Value]>,
    ours: Option<&[Value]>,
    theirs: Option<&[Value]>,
) -> RowMerge {
    let same = |a: Option<&[Value]>, b: Option<&[Value]>| match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => same_row(a, b),
        _ => false,
    };
    if same(ours, theirs) || same(ours, base) {
        return RowMerge::Theirs;
    }
    if same(theirs, base) {
        return ours.map_or(RowMerge::Remove, |row| RowMerge::Write(row.to_vec()));
    }
    let (Some(base), Some(ours), Some(theirs)) = (base, ours, theirs) else {
        return RowMerge::Conflict;
    };
    let cells = base.iter().zip(ours).zip(theirs).map(|((base, ours), theirs)| {
        if same_value(ours, theirs) || same_value(ours, base) {
            Some(theirs.clone())
        } else {
            same_value(theirs, base).then(|| ours.clone())
        }
    });
    match cells.collect::<Option<Vec<_>>>() {
        Some(row) if same_row(&row, theirs) => RowMerge::Theirs,
        Some(row) => RowMerge::Write(row),
        None => RowMerge::Conflict,
    }
}

/// Whether two rows have the same values, bit for bit.
pub(crate) fn same_row(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b))
}

/// Whether two values are the same, bit for bit: 0.0 and -0.0 are not.
pub(crate) fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Real(a), Value::Real(b)) => a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[i64]) -> Vec<Value> {
        cells.iter().map(|n| Value::Integer(*n)).collect()
    }

    fn merge(base: Option<&[i64]>, ours: Option<&[i64]>, theirs: Option<&[i64]>) -> RowMerge {
        let [base, ours, theirs] = [base, ours, theirs].map(|side| side.map(row));
        merge_row(base.as_deref(), ours.as_deref(), theirs.as_deref())
    }

    #[test]
    fn cells_of_both_sides_merge() {
        let merged = merge(Some(&[1, 0, 0]), Some(&[1, 2, 0]), Some(&[1, 0, 3]));
        assert_eq!(merged, RowMerge::Write(row(&[1, 2, 3])));
    }

    #[test]
    fn one_cell_in_two_ways_conflicts() {
        assert_eq!(merge(Some(&[1, 0]), Some(&[1, 2]), Some(&[1, 3])), RowMerge::Conflict);
        assert_eq!(merge(None, Some(&[1, 2]), Some(&[1, 3])), RowMerge::Conflict);
        assert_eq!(merge(Some(&[1, 0]), None, Some(&[1, 3])), RowMerge::Conflict);
        assert_eq!(merge(Some(&[1, 0]), Some(&[1, 3]), None), RowMerge::Conflict);
    }

    #[test]
    fn what_one_side_did_alone_stands() {
        assert_eq!(merge(None, Some(&[1]), None), RowMerge::Write(row(&[1])));
        assert_eq!(merge(Some(&[1]), None, Some(&[1])), RowMerge::Remove);
        assert_eq!(merge(Some(&[1]), Some(&[1]), Some(&[2])), RowMerge::Theirs);
        assert_eq!(merge(Some(&[1]), None, None), RowMerge::Theirs);
        assert_eq!(merge(None, Some(&[1]), Some(&[1])), RowMerge::Theirs);
        assert_eq!(merge(Some(&[1, 0, 0]), Some(&[1, 5, 0]), Some(&[1, 5, 6])), RowMerge::Theirs);
    }

    #[test]
    fn zeros_of_two_signs_are_two_values() {
        assert!(!same_value(&Value::Real(0.0), &Value::Real(-0.0)));
        assert!(!same_value(&Value::Real(1.0), &Value::Integer(1)));
    }
}
