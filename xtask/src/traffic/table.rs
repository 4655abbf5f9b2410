//! What was measured, as tables of Markdown.

use std::fmt::Write as _;

use super::{
    kind::Kind,
    record::{Contender, Programs, Record},
};

/// The tables. Behind ratios that have changed since `before`, they say by how much.
pub(super) fn of(kind: Kind, record: &Record, before: Option<&Record>) -> String {
    let (unit, reference) = (kind.unit(), kind.reference());
    let mut text = format!("| | {unit} | × {reference} | in rounds | errors |\n");
    text += "|---|--:|--:|--:|--:|\n";
    let grouped = record.groups.len() > 1;
    for group in &record.groups {
        if grouped {
            let _ = writeln!(text, "| **{}** | | | | |", group.name);
        }
        for contender in &group.contenders {
            let before = before.and_then(|before| before.find(&group.name, &contender.name));
            text += &row(contender, before);
        }
    }
    if !record.programs.is_empty() {
        text += &programs(kind, &record.programs);
    }
    text
}

fn row(contender: &Contender, before: Option<&Contender>) -> String {
    let Contender { name, median, range, ratio: [least, ratio, greatest], errors } = contender;
    let range = range.map_or_else(String::new, |range| {
        let [least, greatest] = range.map(absolute);
        format!(" ({least}–{greatest})")
    });
    let change = before.map_or_else(String::new, |before| change(before.median_ratio(), *ratio));
    format!(
        "| {name} | {}{range} | {ratio:.3}{change} | {least:.2}–{greatest:.2} | {errors} |\n",
        absolute(*median)
    )
}

/// Three digits at least.
pub(super) fn absolute(number: f64) -> String {
    let decimals = if number >= 100.0 { 0 } else { 2 };
    format!("{number:.decimals$}")
}

fn change(before: f64, now: f64) -> String {
    let hundredths = (now / before - 1.0) * 100.0;
    if hundredths.abs() >= 0.5 { format!(" ({hundredths:+.0} %)") } else { String::new() }
}

fn programs(kind: Kind, all: &[Programs]) -> String {
    let head = match kind {
        Kind::Requests => "| for a request | runs | ns | of a direct request |",
        Kind::Lists | Kind::Flows => {
            "| the programs, for a connection | runs | ns | of a connection |"
        }
        _ => "| for a connection | runs | ns | of a direct connection |",
    };
    let mut text = format!("\n{head}\n");
    text += "|---|--:|--:|--:|\n";
    for Programs { contender, nanoseconds, share, each } in all {
        let [least, share, greatest] = share.map(|share| share * 100.0);
        let _ = writeln!(
            text,
            "| **{contender}** | | {nanoseconds:.0} | {share:.2} % ({least:.2}–{greatest:.2}) |"
        );
        for program in each {
            let (runs, nanoseconds) = (program.runs, program.nanoseconds);
            let share = program.share * 100.0;
            let name = &program.name;
            let _ = writeln!(text, "| `{name}` | {runs:.2} | {nanoseconds:.0} | {share:.2} % |");
        }
    }
    text
}

/// Ratios of connections and requests alone, for those who decide between contenders.
pub(super) fn of_rates(connections: &Record, requests: &Record) -> String {
    let commands = [Kind::Connections, Kind::Requests]
        .map(|kind| format!("{kind} (`cargo xtask bench {kind}`)"));
    let mut text = format!("| | {} |\n|---|--:|--:|\n", commands.join(" | "));
    for (_, contender) in connections.contenders() {
        let name = &contender.name;
        let same = requests.contenders().find(|(_, other)| other.name == *name);
        // The flow log has no part in requests.
        let other = same
            .map_or_else(|| "–".to_owned(), |(_, other)| format!("{:.2}", other.median_ratio()));
        let _ = writeln!(text, "| {name} | {:.2} | {other} |", contender.median_ratio());
    }
    text
}

/// A sentence on where and when it was measured.
pub(super) fn circumstances(record: &Record) -> String {
    let Record { commit, release, processor, processors, rounds, .. } = record;
    let release = major_and_minor(release);
    format!(
        "Medians of {rounds} rounds at commit {commit}, on {processors} processors ({processor}) with Linux {release}.\n"
    )
}

/// What comes behind them is the builder's own.
fn major_and_minor(release: &str) -> String {
    let mut numbers = release.splitn(3, ['.', '-']);
    let (major, minor) = (numbers.next().unwrap_or(release), numbers.next());
    minor.map_or_else(|| major.to_owned(), |minor| format!("{major}.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "sample\tup\tdirect\t200\t0\nsample\tup\tother\t90\t3\n";

    #[test]
    fn each_contender_has_a_row_with_its_change() {
        let before = Record::of(&LINES.replace("90", "100")).unwrap();
        let text = of(Kind::Connections, &Record::of(LINES).unwrap(), Some(&before));
        let expected = "| | connections/s | × direct | in rounds | errors |\n\
            |---|--:|--:|--:|--:|\n\
            | direct | 200 (200–200) | 1.000 | 1.00–1.00 | 0 |\n\
            | other | 90.00 (90.00–90.00) | 0.450 (-10 %) | 0.45–0.45 | 3 |\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_kernel_is_named_by_two_numbers() {
        for (release, expected) in [("6.1.0-18-amd64", "6.1"), ("6.18-rc3", "6.18"), ("6", "6")] {
            assert_eq!(major_and_minor(release), expected);
        }
        let circumstances = circumstances(&Record {
            release: "6.12.5-custom".to_owned(),
            ..Record::of(LINES).unwrap()
        });
        assert!(circumstances.ends_with(" with Linux 6.12.\n"), "{circumstances}");
    }

    #[test]
    fn rates_are_those_of_contenders_of_connections() {
        let [one, other] = ["90", "50"].map(|rate| Record::of(&LINES.replace("90", rate)).unwrap());
        let text = of_rates(&one, &other);
        assert!(text.ends_with("| direct | 1.00 | 1.00 |\n| other | 0.45 | 0.25 |\n"), "{text}");
        let renamed = Record::of(&LINES.replace("other", "another")).unwrap();
        let text = of_rates(&one, &renamed);
        assert!(text.ends_with("| direct | 1.00 | 1.00 |\n| other | 0.45 | – |\n"), "{text}");
    }

    #[test]
    fn groups_and_programs_have_headings() {
        let more = "sample\tdown\tdirect\t1\t0\nprogram\tother\tingress\t3\t50\t0.01\n\
            share\tother\t50\t0.01\n";
        let record = Record::of(&format!("{LINES}{more}")).unwrap();
        let text = of(Kind::Requests, &record, None);
        assert!(text.contains("| **up** | | | | |\n| direct |"), "{text}");
        assert!(text.contains("| **down** | | | | |\n| direct |"), "{text}");
        let expected = "\n| for a request | runs | ns | of a direct request |\n\
            |---|--:|--:|--:|\n| **other** | | 50 | 1.00 % (1.00–1.00) |\n\
            | `ingress` | 3.00 | 50 | 1.00 % |\n";
        assert!(text.ends_with(expected), "{text}");
    }
}
