//! Aligned columns of text.

use unicode_width::UnicodeWidthStr;

/// What separates columns.
const GAP: &str = "  ";

/// A table under construction.
#[derive(Debug, Default)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Columns whose cells end at the same place.
    right: Vec<bool>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        let header: Vec<String> = header.into_iter().map(Into::into).collect();
        let right = vec![false; header.len()];
        Self { header, rows: Vec::new(), right }
    }

    /// Aligns the columns to the right where it is true.
    pub(crate) fn align_right(mut self, right: Vec<bool>) -> Self {
        self.right = right;
        self
    }

    /// Adds a row with a cell for each column.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The text, every line ended.
    pub(crate) fn render(&self) -> String {
        let mut widths: Vec<usize> = self.header.iter().map(|cell| cell.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        let mut out = String::new();
        for line in [&self.header, &rules].into_iter().chain(&self.rows) {
            self.line(&mut out, line, &widths);
        }
        out
    }

    fn line(&self, out: &mut String, cells: &[String], widths: &[usize]) {
        let start = out.len();
        for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            if column > 0 {
                out.push_str(GAP);
            }
            if self.right.get(column).copied().unwrap_or_default() {
                out.push_str(&padding);
                out.push_str(cell);
            } else {
                out.push_str(cell);
                out.push_str(&padding);
            }
        }
        out.truncate(start + out[start..].trim_end_matches(' ').len());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_by_width_on_screen() {
        let mut table = Table::new(["n", "name"]).align_right(vec![true, false]);
        table.row(["1", "Zürich"]);
        table.row(["10", "東京"]);
        assert_eq!(table.render(), " n  name\n--  ------\n 1  Zürich\n10  東京\n");
    }
}
