//! Tables for people.

use std::fmt::Write;

/// Pads each column to its widest cell.
pub(super) fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        let start = text.len();
        for (cell, width) in row.iter().zip(widths) {
            write!(text, "{cell:width$}  ").expect("writing to a string does not fail");
        }
        text.truncate(start + text[start..].trim_end().len());
        text.push('\n');
    }
    text
}
