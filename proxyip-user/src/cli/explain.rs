//! `proxyip explain`

use std::fmt;
use std::process::ExitCode;

use proxyip_api::check::Subject;
use proxyip_api::finding::FindingKind;
use proxyip_common::counter::{Counter, DropReason, Obstacle};
use proxyip_common::flow::{HandOff, Origin};
use proxyip_common::verdict::Verdict;

use super::exit::Exit;
use super::output::{fail, finish, print};

/// Say what a label of metrics, logs, findings and checks means, and what to do about it.
///
/// Without a label it lists all. It asks no agent.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A label such as `header_missing`.
    #[arg(value_name = "LABEL")]
    label: Option<String>,
}

/// What one list says of a label. Two lists may have the same label.
#[derive(Debug)]
struct Entry {
    /// What a label of this list means.
    kind: &'static str,
    label: &'static str,
    sentence: &'static str,
    /// A counter that is no reason needs none.
    advice: Option<&'static str>,
}

const REFUSED: &str = "Refusals";
const NOT_ACCEPT: &str = "Obstacles to the accept hand-off";
const COUNTED: &str = "Counters";
const FOUND: &str = "Findings and warnings";
const HAND_OFFS: &str = "Hand-offs";
const ORIGINS: &str = "What a header says of the client";
const VERDICTS: &str = "Verdicts";
const CHECKED: &str = "What `proxyip check` looks at";

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let all = entries();
    let Some(label) = &arguments.label else { return finish(print(list(&all))) };
    let found: Vec<_> = all.iter().filter(|entry| entry.label == label).collect();
    if found.is_empty() {
        return fail(
            format_args!("no label is {label:?}; `proxyip explain` lists all"),
            Exit::Failed,
        );
    }
    finish(print(explanation(&found)))
}

fn entries() -> Vec<Entry> {
    let refused = DropReason::ALL.iter().map(|reason| Entry {
        kind: REFUSED,
        label: reason.label(),
        sentence: reason.sentence(),
        advice: Some(reason.advice()),
    });
    let not_accept = Obstacle::ALL.iter().map(|reason| Entry {
        kind: NOT_ACCEPT,
        label: reason.label(),
        sentence: reason.sentence(),
        advice: Some(reason.advice()),
    });
    let counted = Counter::ALL.iter().map(|counter| Entry {
        kind: COUNTED,
        label: counter.label(),
        sentence: counter.sentence(),
        advice: advice_of(*counter),
    });
    let found = FindingKind::ALL.iter().map(|kind| Entry {
        kind: FOUND,
        label: kind.label(),
        sentence: kind.sentence(),
        advice: Some(kind.advice()),
    });
    let checked = Subject::ALL.iter().map(|subject| Entry {
        kind: CHECKED,
        label: subject.label(),
        sentence: subject.sentence(),
        advice: Some(subject.advice()),
    });
    let reasons = found.chain(checked).chain(refused).chain(not_accept).chain(counted);
    reasons.chain(hand_offs()).chain(origins()).chain(verdicts()).collect()
}

/// Most counters ask for nothing.
const fn advice_of(counter: Counter) -> Option<&'static str> {
    match counter {
        Counter::Bypassed => Some(
            "Add the source to `trusted` if it is the load balancer. Others are meant to pass, as `untrusted = \"bypass\"` says.",
        ),
        Counter::UntrustedHeader => Some(FindingKind::UntrustedHeaders.advice()),
        _ => None,
    }
}

/// The values of `hand_off`, in the configuration, in answers and in the flow log.
fn hand_offs() -> impl Iterator<Item = Entry> {
    let auto = (
        "auto",
        "each connection is accepted if that is possible, and translated if not: decided at its SYN",
    );
    let one = |hand_off: HandOff| {
        let sentence = match hand_off {
            HandOff::Accept => {
                "the connection begins behind its header, and is an ordinary one from then on"
            }
            HandOff::Translate => {
                "the header is taken out of the connection, whose sequence numbers are translated for its life"
            }
            HandOff::Observe => "the header is read and left in place for the application",
        };
        (hand_off.label(), sentence)
    };
    let others = [HandOff::Accept, HandOff::Translate, HandOff::Observe].map(one);
    std::iter::once(auto).chain(others).map(|meaning| word(HAND_OFFS, meaning))
}

/// The values of `origin` in answers and in the flow log.
fn origins() -> impl Iterator<Item = Entry> {
    let one = |origin: Origin| {
        let sentence = match origin {
            Origin::Proxied => "the header names the client",
            Origin::Local => {
                "the load balancer speaks for itself, for example in a health check: the peer is the client"
            }
            Origin::Unknown => "the header names no client, so the peer is taken for it",
        };
        word(ORIGINS, (origin.label(), sentence))
    };
    [Origin::Proxied, Origin::Local, Origin::Unknown].into_iter().map(one)
}

/// The values of `verdict` in the flow log and in metrics.
fn verdicts() -> impl Iterator<Item = Entry> {
    let one = |verdict: Verdict| {
        let sentence = match verdict {
            Verdict::Accept => "the connection is given to the application",
            Verdict::Mark => {
                "the connection is given to the application, and its packets are marked because its client is denied"
            }
            Verdict::Reset => "the connection is reset",
            Verdict::Drop => "the connection gets no answer",
        };
        word(VERDICTS, (verdict.label(), sentence))
    };
    Verdict::ALL.into_iter().map(one)
}

/// A word that needs no advice.
const fn word(kind: &'static str, (label, sentence): (&'static str, &'static str)) -> Entry {
    Entry { kind, label, sentence, advice: None }
}

/// A line for each label, below the title of its list.
fn list(entries: &[Entry]) -> String {
    let groups = entries.chunk_by(|one, other| one.kind == other.kind);
    let group = |entries: &[Entry]| {
        let lines = entries
            .iter()
            .map(|Entry { label, sentence, .. }| format!("  {label:<24} {sentence}\n"));
        format!("{}\n{}", entries[0].kind, lines.collect::<String>())
    };
    groups.map(group).collect::<Vec<_>>().join("\n")
}

fn explanation(entries: &[&Entry]) -> String {
    entries.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, label, sentence, advice } = self;
        writeln!(f, "{label}: {sentence}")?;
        writeln!(f, "  Listed under: {kind}")?;
        match advice {
            Some(advice) => writeln!(f, "  What to do: {}", to_do(advice)),
            None => Ok(()),
        }
    }
}

/// An advice as it follows a colon.
fn to_do(advice: &str) -> String {
    let Some(because) = advice.strip_prefix("Nothing: ") else { return advice.into() };
    let mut rest = because.chars();
    let first = rest.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("nothing. {first}{}", rest.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(label: &str) -> String {
        let all = entries();
        explanation(&all.iter().filter(|entry| entry.label == label).collect::<Vec<_>>())
    }

    #[test]
    fn a_label_has_its_sentence_and_advice() {
        let text = explain("header_missing");
        let sentence = "header_missing: the first bytes are no PROXY header\n  Listed under: Refusals\n  What to do: Switch";
        assert!(text.starts_with(sentence), "{text}");
        assert_eq!(
            explain("closed"),
            "closed: established connection that has ended\n  Listed under: Counters\n"
        );
    }

    #[test]
    fn words_of_answers_and_of_the_flow_log_are_explained() {
        for label in ["auto", "translate", "observe", "proxied", "local", "unknown", "mark"] {
            let text = explain(label);
            assert!(text.starts_with(&format!("{label}: ")), "{label}: {text}");
        }
        let text = explain("accept");
        assert!(text.contains(HAND_OFFS) && text.contains(VERDICTS), "{text}");
    }

    /// Findings have other labels, which say what to do.
    #[test]
    fn counters_of_sources_that_are_not_trusted_say_what_to_do() {
        for label in ["untrusted_header", "bypassed"] {
            let text = explain(label);
            assert!(text.contains("What to do: Add the source to `trusted`"), "{text}");
        }
    }

    #[test]
    fn nothing_to_do_is_said_in_words() {
        let text = explain("untrusted_reset");
        assert!(text.contains("  What to do: nothing. `untrusted = \"reset\"` asks"), "{text}");
        assert_eq!(to_do("Nothing: the next one."), "nothing. The next one.");
        assert_eq!(to_do("Nothing if it is rare."), "Nothing if it is rare.");
    }

    #[test]
    fn a_label_of_two_lists_has_both_meanings() {
        let text = explain("signed");
        assert_eq!(text.matches("signed: ").count(), 2, "{text}");
        assert!(text.contains(REFUSED) && text.contains(NOT_ACCEPT), "{text}");
    }

    #[test]
    fn the_list_has_each_label() {
        let all = entries();
        let text = list(&all);
        assert_eq!(text.lines().filter(|line| line.starts_with("  ")).count(), all.len());
        let reasons = [FOUND, CHECKED, REFUSED, NOT_ACCEPT, COUNTED];
        for title in reasons.into_iter().chain([HAND_OFFS, ORIGINS, VERDICTS]) {
            assert_eq!(text.lines().filter(|line| *line == title).count(), 1, "{text}");
        }
    }
}
