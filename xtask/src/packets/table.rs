//! What was measured, as a table of Markdown.

use std::fmt::Write as _;

use super::record::{Counts, Record, Time};

/// The table of what is in the record. Behind what has changed since `before`, it says by how much.
pub(super) fn of(record: &Record, before: &Record) -> String {
    let (kernels, times) = (&record.instructions, record.times.as_ref());
    let mut columns = vec!["class".to_owned()];
    if times.is_some() {
        columns.extend(["ns", "× reference", "in rounds"].map(str::to_owned));
    }
    columns.extend(kernels.keys().map(|kernel| format!("instructions, {kernel}")));
    let mut text =
        format!("| {} |\n|---|{}\n", columns.join(" | "), "--:|".repeat(columns.len() - 1));
    for name in names(record) {
        let _ = write!(text, "| {name} |");
        if let Some(times) = times {
            let before = before.times.as_ref().and_then(|times| times.classes.get(name));
            text += &cells_of_time(times.classes.get(name), before);
        }
        for (kernel, counts) in kernels {
            let before = before.instructions.get(kernel).and_then(|counts| of_class(counts, name));
            let _ = write!(text, " {} |", cell_of_count(of_class(counts, name), before));
        }
        text.push('\n');
    }
    text
}

/// All names of classes in the record.
fn names(record: &Record) -> Vec<&String> {
    let counted = record.instructions.values().flat_map(|counts| counts.classes.keys());
    let timed = record.times.iter().flat_map(|times| times.classes.keys());
    let mut names: Vec<_> = counted.chain(timed).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn of_class(counts: &Counts, name: &str) -> Option<u64> {
    counts.classes.get(name).copied()
}

fn cells_of_time(time: Option<&Time>, before: Option<&Time>) -> String {
    let Some(time) = time else { return " – | – | – |".to_owned() };
    let Time { nanoseconds, ratio, quartiles: [low, _, high] } = time;
    let change = before.map_or_else(String::new, |before| change(before.ratio, *ratio));
    format!(" {nanoseconds:.0} | {ratio:.2}{change} | {low:.2}–{high:.2} |")
}

#[expect(clippy::cast_precision_loss, reason = "few instructions")]
fn cell_of_count(count: Option<u64>, before: Option<u64>) -> String {
    match (count, before) {
        (None, _) => "–".to_owned(),
        (Some(count), Some(before)) => format!("{count}{}", change(before as f64, count as f64)),
        (Some(count), None) => count.to_string(),
    }
}

/// By how many hundredths it has changed, unless that is none.
fn change(before: f64, now: f64) -> String {
    let hundredths = (now / before - 1.0) * 100.0;
    if hundredths.is_finite() && hundredths.abs() >= 0.5 {
        format!(" ({hundredths:+.0} %)")
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::record::Times;

    fn record(count: u64, ratio: &str) -> Record {
        let line = format!("class\tSYN\t9.4\t{ratio}\t1.5\t2\t2.5\n");
        let mut record = Record { times: Some(Times::parse(&line).unwrap()), ..Record::default() };
        let classes = [("RST".to_owned(), 7), ("SYN".to_owned(), count)].into();
        let counts = Counts { commit: String::new(), release: String::new(), classes };
        record.instructions.insert("6.12".to_owned(), counts);
        record
    }

    #[test]
    fn each_class_has_a_row_with_its_changes() {
        let text = of(&record(900, "2.0"), &record(1000, "1.6"));
        let rows: Vec<_> = text.lines().skip(2).collect();
        let expected =
            ["| RST | – | – | – | 7 |", "| SYN | 9 | 2.00 (+25 %) | 1.50–2.50 | 900 (-10 %) |"];
        assert_eq!(rows, expected);
        assert!(
            text.starts_with("| class | ns | × reference | in rounds | instructions, 6.12 |\n")
        );
    }
}
