//! `proxyip status`

use std::fmt::{self, Write};

use anyhow::Result;
use proxyip_api::finding::Finding;
use proxyip_api::status::{Connections, NewConnections};
use proxyip_api::status::{ListenerJson, Numbers, PatternJson, Status, Verdicts, XdpJson};
use proxyip_common::counter::{Counter, DropReason, Obstacle};

use super::duration::short;
use super::output::print;
use super::reading::Reading;
use crate::client;
use crate::config::port_ranges;

/// Show what the agent guards, and what it has counted.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    reading: Reading,
}

pub(super) async fn run(arguments: &Arguments) -> Result<()> {
    let (status, json) = client::get::<Status>(&arguments.reading.socket, "/v1/status").await?;
    if arguments.reading.json {
        return print([&json[..], b"\n"].concat());
    }
    let mut text = String::new();
    render(&mut text, &status)?;
    print(text)
}

fn render(text: &mut String, status: &Status) -> fmt::Result {
    let Status { version, pid, uptime_s, flows, translated, limits, .. } = status;
    writeln!(text, "proxyip {version}, process {pid}, running for {}", short(*uptime_s))?;
    let (of_flows, of_translated) = (limits.flows, limits.translated);
    writeln!(text, "{flows} of {of_flows} flows, {translated} of {of_translated} translated")?;
    remarks(text, LOOK_AT, &looked_at(status))?;
    remarks(text, "Limits of this kernel", &status.kernel)?;
    writeln!(text, "\nInterfaces that the kernel programs are attached to")?;
    for interface in &status.interfaces {
        let within = match interface.netns.as_str() {
            "host" => String::new(),
            netns => format!(" in {netns}"),
        };
        writeln!(text, "  {}{within}{}", interface.name, at_xdp(interface.xdp.as_ref()))?;
    }
    for PatternJson { name, netns, interfaces } in &status.patterns {
        let within = if netns == "host" { String::new() } else { format!(" in {netns}") };
        match interfaces {
            0 => writeln!(text, "  pattern {name}{within}: matches nothing yet")?,
            count => writeln!(text, "  pattern {name}{within}: interfaces: {count}")?,
        }
    }
    writeln!(text, "\nListeners, and how their connections reach the application")?;
    status.listeners.iter().try_for_each(|one| listener(text, one))?;
    let counters = sentences(Counter::ALL, |counter| (counter.label(), counter.sentence()));
    numbers(
        text,
        "Counted since the kernel programs were first attached",
        &status.counters,
        &counters,
    )?;
    let drops = sentences(DropReason::ALL, |reason| (reason.label(), reason.sentence()));
    numbers(text, "Refused, by reason", &status.drops, &drops)?;
    let left = sentences(Obstacle::ALL, |reason| (reason.label(), reason.sentence()));
    numbers(
        text,
        "Left alone, so that the application gets the header, by reason",
        &status.left_to_kernel,
        &left,
    )
}

/// What became of the wish for a program at XDP, behind an interface.
fn at_xdp(xdp: Option<&XdpJson>) -> String {
    match xdp {
        None => String::new(),
        Some(XdpJson { mode, reason: None, .. }) => format!(", and at {mode} XDP"),
        Some(XdpJson { wanted, reason: Some(why), .. }) => {
            format!("\n    not at XDP, which xdp = {wanted:?} asks for: {why}")
        }
    }
}

/// The title above warnings and findings.
const LOOK_AT: &str = "What you should look at (`proxyip explain LABEL` says more)";

/// Warnings and findings.
fn looked_at(status: &Status) -> Vec<String> {
    let (warnings, findings) = status.split_remarks();
    warnings.iter().chain(&findings).map(Finding::to_string).collect()
}

/// Writes nothing if there are none.
fn remarks(text: &mut String, title: &str, all: &[String]) -> fmt::Result {
    if !all.is_empty() {
        writeln!(text, "\n{title}")?;
    }
    all.iter().try_for_each(|sentence| writeln!(text, "  {sentence}"))
}

fn listener(text: &mut String, listener: &ListenerJson) -> fmt::Result {
    let mut trusted: Vec<_> = listener.trusted.iter().map(ToString::to_string).collect();
    if listener.trusted_by_file > 0 {
        trusted.push(format!("{} networks of a file", listener.trusted_by_file));
    }
    writeln!(
        text,
        "  {}: ports {}, hand-off {}, trusts {}",
        listener.name,
        port_ranges(&listener.ports),
        listener.hand_off,
        trusted.join(", ")
    )?;
    if let Some(lists) = lists(listener) {
        writeln!(text, "    {lists}")?;
    }
    if !listener.drained.is_empty() {
        writeln!(text, "    drained by command: ports {}", port_ranges(&listener.drained))?;
    }
    let NewConnections { hand_off, why } = &listener.new_connections;
    writeln!(text, "    {:>10}  {hand_off:<9}  {why}", "new")?;
    for Connections { hand_off, sentence, count, .. } in &listener.connections {
        let why = sentence.as_deref().unwrap_or_default();
        writeln!(text, "{}", format!("    {count:>10}  {hand_off:<9}  {why}").trim_end())?;
    }
    if let Some(verdicts) = verdicts(&listener.verdicts) {
        writeln!(text, "    verdicts: {verdicts}")?;
    }
    if listener.headerless > 0 {
        writeln!(text, "    without a header: {} of trusted sources", listener.headerless)?;
    }
    Ok(())
}

/// The verdicts that were given at least once.
fn verdicts(verdicts: &Verdicts) -> Option<String> {
    let Verdicts { accept, mark, reset, drop } = *verdicts;
    let all = [("accept", accept), ("mark", mark), ("reset", reset), ("drop", drop)];
    let all = all.iter().filter(|(_, count)| *count > 0);
    let all: Vec<_> = all.map(|(verdict, count)| format!("{count} {verdict}")).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// The lists of clients that the configuration has.
fn lists(listener: &ListenerJson) -> Option<String> {
    let list = |verdict, count: Option<usize>| Some(format!("{verdict} {} networks", count?));
    let lists = [list("allows", listener.allow), list("denies", listener.deny)];
    let lists: Vec<_> = lists.into_iter().flatten().collect();
    let denied = &listener.denied;
    (!lists.is_empty()).then(|| format!("{}; denied clients: {denied}", lists.join(", ")))
}

/// A label and its sentence.
type Sentence = (&'static str, &'static str);

fn sentences<T: Copy>(all: &[T], sentence: impl Fn(T) -> Sentence) -> Vec<Sentence> {
    all.iter().map(|item| sentence(*item)).collect()
}

/// The numbers that are not zero, in the order of `known`. Numbers that only the agent knows come last.
fn numbers(text: &mut String, title: &str, numbers: &Numbers, known: &[Sentence]) -> fmt::Result {
    writeln!(text, "\n{title}")?;
    let unknown = |label: &&String| known.iter().all(|(known, _)| known != label);
    let foreign = numbers.keys().filter(unknown).map(|label| (label.as_str(), ""));
    let mut none = true;
    for (label, sentence) in known.iter().copied().chain(foreign) {
        let number = numbers.get(label).copied().unwrap_or(0);
        if number > 0 {
            none = false;
            writeln!(text, "  {number:>10}  {label:<24} {sentence}")?;
        }
    }
    if none {
        writeln!(text, "  nothing")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proxyip_api::finding::FindingKind;

    use super::*;

    #[test]
    fn each_hand_off_of_a_listener_has_its_line() {
        let connections = |hand_off: &'static str, sentence: Option<&'static str>, count| {
            let sentence = sentence.map(Into::into);
            Connections { hand_off: hand_off.into(), reason: None, sentence, count }
        };
        let mut text = String::new();
        let web = ListenerJson {
            name: "web".into(),
            ports: vec![443],
            trusted: vec!["10.0.0.0/8".parse().unwrap()],
            trusted_by_file: 2,
            allow: Some(3),
            deny: None,
            denied: "drop".into(),
            hand_off: "auto".into(),
            drained: vec![443],
            degraded: Vec::new(),
            new_connections: NewConnections { hand_off: "accept".into(), why: "it may".into() },
            connections: vec![
                connections("accept", None, 10),
                connections("translate", Some("MPTCP"), 5),
            ],
            verdicts: Verdicts { accept: 13, mark: 2, reset: 0, drop: 1 },
            headerless: 4,
        };
        listener(&mut text, &web).unwrap();
        let expected = "  web: ports 443, hand-off auto, trusts 10.0.0.0/8, 2 networks of a file
    allows 3 networks; denied clients: drop
    drained by command: ports 443
           new  accept     it may
            10  accept
             5  translate  MPTCP
    verdicts: 13 accept, 2 mark, 1 drop
    without a header: 4 of trusted sources
";
        assert_eq!(text, expected);
    }

    #[test]
    fn remarks_are_shown_if_there_are_any() {
        let mut text = String::new();
        remarks(&mut text, "Remarks", &["nobody sends a header".into()]).unwrap();
        remarks(&mut text, "Limits", &[]).unwrap();
        assert_eq!(text, "\nRemarks\n  nobody sends a header\n");
    }

    #[test]
    fn what_to_look_at_has_its_label() {
        let mut status: Status = serde_json::from_value(serde_json::json!({
            "version": "0.1.0", "pid": 7, "counters": {}, "drops": {}, "left_to_kernel": {},
            "interfaces": [], "listeners": [], "flows": 0, "translated": 0, "kernel": [],
            "findings": ["eth0 is gone"],
        }))
        .unwrap();
        assert_eq!(looked_at(&status), ["eth0 is gone"], "of an older agent");
        status.remarks = vec![Finding::new(FindingKind::InterfaceGone, "eth0 is gone")];
        assert_eq!(looked_at(&status), ["interface_gone: eth0 is gone"]);
    }

    #[test]
    fn only_what_is_not_zero_is_shown() {
        let counted: Numbers = [("established", 7), ("bypassed", 0), ("later", 3)]
            .map(|(label, n)| (label.into(), n))
            .into();
        let mut text = String::new();
        let known = sentences(Counter::ALL, |counter| (counter.label(), counter.sentence()));
        numbers(&mut text, "Counted", &counted, &known).unwrap();
        numbers(&mut text, "Refused", &Numbers::new(), &[]).unwrap();
        assert_eq!(
            text,
            "\nCounted\n           7  established              \
             connection whose header was read and that is established\n           \
             3  later                    \n\nRefused\n  nothing\n"
        );
    }
}
