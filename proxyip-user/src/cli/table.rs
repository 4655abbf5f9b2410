//! Tables for people.
//!
//! By hand: libraries of tables print a table once it is whole, and this one is printed as its rows come.

use unicode_width::UnicodeWidthStr as _;

/// A table that is printed in parts: columns are as wide as the widest cell so far, and never become narrower.
#[derive(Debug, Default)]
pub(super) struct Table {
    widths: Vec<usize>,
}

impl Table {
    /// These rows, padded. A row may have fewer cells than others.
    pub(super) fn align(&mut self, rows: &[impl AsRef<[String]>]) -> String {
        for row in rows {
            let row = row.as_ref();
            self.widths.resize(self.widths.len().max(row.len()), 0);
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let mut text = String::new();
        for row in rows {
            let start = text.len();
            for (cell, width) in row.as_ref().iter().zip(&self.widths) {
                // `format!()` pads by characters, but some characters are two columns wide.
                text.push_str(cell);
                text.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
            }
            text.truncate(start + text[start..].trim_end().len());
            text.push('\n');
        }
        text
    }
}

/// A whole table, each column as wide as its widest cell.
pub(super) fn align(rows: &[impl AsRef<[String]>]) -> String {
    Table::default().align(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_keep_their_widths() {
        let mut table = Table::default();
        let row = |cells: [&str; 2]| cells.map(String::from);
        assert_eq!(table.align(&[row(["A", "B"]), row(["long", "b"])]), "A     B\nlong  b\n");
        assert_eq!(table.align(&[row(["a", "ü"])]), "a     ü\n");
        assert_eq!(table.align(&[row(["longer", ""])]), "longer\n");
        assert_eq!(table.align(&[row(["日本", "b"])]), "日本    b\n", "two columns each");
    }
}
