//! The page.

use std::fmt::Write as _;

use super::prose::wrapped;
use super::topic::Topic;
use super::verdict::{Outcome, Verdict};
use super::{JUDGES, Report, Row};
use crate::header::SIGNATURE;

/// What comes before the matters of dispute.
const DISPUTES: &str = "\
## Disagreements

First come those matters in which proxyip does not follow the letter of the specification.
";
/// Characters of a header that are shown.
const SHOWN: usize = 70;

/// How to read the tables.
const LEGEND: &str = "\
## How to read the tables

Each case is sent in one segment with a request behind it, unless it is the beginning of a header. Of version 2
headers the bytes behind the signature are shown: version and command, family and transport, length; then how many
bytes follow.

| column | what it says |
|---|---|
| proxyip | the client that is named; *peer* where the load balancer itself counts as the client; *waits* for the rest; or \
*refused* and why, as logs and `proxyip status` name it |
| on the wire | *handed over*: the application has the connection and reads the request; *RST*; *silence*: neither payload nor a RST, what has come is acknowledged, and reset after `header_timeout` |
| other judges | *same* as proxyip, or else what they say; *misread*: taken with another length than the header has |

";

/// All of it but what names versions.
pub(super) fn tables(report: &Report) -> String {
    let mut page = LEGEND.to_owned();
    for (title, rows) in &report.groups {
        writeln!(page, "## {title}\n").expect("a String grows");
        let head = ["case", "header", "§", "proxyip", "on the wire"];
        let head: Vec<_> = head.iter().chain(&JUDGES).copied().collect();
        writeln!(page, "| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()))
            .expect("a String grows");
        page.extend(rows.iter().map(line));
        page.push('\n');
    }
    page += DISPUTES;
    page.extend(Topic::ALL.iter().map(|topic| dispute(report, *topic)));
    page
}

fn line(row: &Row) -> String {
    let Row { vector, kernel, others, .. } = row;
    let expected = vector.expected.outcome();
    let mut cells = vec![
        vector.name.clone(),
        shown(&vector.header),
        vector.section.to_owned(),
        own(&expected),
        wire(kernel).to_owned(),
    ];
    cells.extend(others.iter().map(|other| match other {
        same if same.agrees(&expected.verdict) => "same".to_owned(),
        other => format!("**{other}**"),
    }));
    format!("| {} |\n", cells.join(" | "))
}

fn own(outcome: &Outcome) -> String {
    let Outcome { verdict, label } = outcome;
    if label == "proxied" { verdict.to_string() } else { format!("{verdict}: `{label}`") }
}

fn wire(kernel: &Outcome) -> &'static str {
    match kernel.verdict {
        Verdict::Accepted(_) => "handed over",
        Verdict::Misread => "misread",
        Verdict::Refused => "RST",
        Verdict::Waits => "silence",
    }
}

/// A header as people can read it.
fn shown(header: &[u8]) -> String {
    if header.is_empty() {
        return String::new();
    }
    if let Some([command, family, high, low, rest @ ..]) = header.strip_prefix(SIGNATURE) {
        let fixed = format!("`{command:02x} {family:02x} {high:02x}{low:02x}`");
        return if rest.is_empty() { fixed } else { format!("{fixed} + {}", rest.len()) };
    }
    let text = header.escape_ascii().to_string();
    if text.len() <= SHOWN {
        return format!("`{text}`");
    }
    let (start, end) = (&text[..SHOWN - 20], &text[text.len() - 16..]);
    format!("`{start}…{end}`")
}

/// One matter of dispute: who sees which case differently.
fn dispute(report: &Report, topic: Topic) -> String {
    let (section, text, standing) = (topic.section(), topic.text(), topic.standing().sentence());
    let text = wrapped(&format!("§{section}. **{standing}** {text}"));
    let mut lines = Vec::new();
    for (index, judge) in JUDGES.iter().enumerate() {
        for (verb, is_meant) in VERBS {
            let of_judge = |row: &&Row| {
                row.vector.topic == Some(topic)
                    && is_meant(&row.others[index])
                    && row.disagrees(index)
            };
            let names = report.rows().filter(of_judge).map(|row| format!("*{}*", row.vector.name));
            let names: Vec<_> = names.collect();
            if !names.is_empty() {
                lines.push(format!("- {judge} {verb}: {}\n", names.join("; ")));
            }
        }
    }
    if lines.is_empty() {
        lines.push("Nobody disagrees.\n".to_owned());
    }
    format!("\n### {}\n\n{text}\n\n{}", topic.title(), lines.concat())
}

/// Tells verdicts of one kind from others.
type IsMeant = fn(&Verdict) -> bool;

/// What a judge does, and which verdicts that is.
const VERBS: [(&str, IsMeant); 4] = [
    ("takes", |verdict| matches!(verdict, Verdict::Accepted(_))),
    ("misreads", |verdict| *verdict == Verdict::Misread),
    ("refuses", |verdict| *verdict == Verdict::Refused),
    ("waits for more of", |verdict| *verdict == Verdict::Waits),
];
