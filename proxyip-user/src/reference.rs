//! What documents say of keys, labels, metrics, commands and fields, as Markdown, from the lists that the agent itself uses.

use anyhow::{Context, Result};
use proxyip_api::check::Subject;
use proxyip_api::finding::FindingKind;
use proxyip_common::counter::{DropReason, Obstacle};
use proxyip_common::verdict::Verdict;
use serde_json::{Value, json};

use crate::api::routes::metrics::sample;
use crate::cli;
use crate::cli::exit::{GROUPS, Group};
use crate::config::schema::{Described, Effect, Fallback, Kind, SECTIONS, Shape, json_schema};
use crate::flowlog::fields::{Field, fields};

/// The columns of help texts in the documents.
const WIDTH: usize = 100;

/// The generated blocks by name, and the generated files by path.
///
/// # Errors
/// If the metrics cannot be written, or something is not documented.
pub fn reference() -> Result<Value> {
    let schema = serde_json::to_string_pretty(&json_schema())? + "\n";
    Ok(json!({
        "blocks": {
            "config-keys": config_keys(),
            "reasons": reasons(),
            "obstacles": obstacles(),
            "findings": findings(),
            "checks": checks(),
            "metrics": metrics(&sample()?)?,
            "commands": commands(),
            "exit-codes": exit_codes(),
            "flow-log-fields": flow_log_fields()?,
        },
        "files": {"docs/proxyip.schema.json": schema},
    }))
}

/// A table; each row has as many cells as the head.
fn table<Row: AsRef<[String]>>(
    head: &[impl AsRef<str>],
    rows: impl IntoIterator<Item = Row>,
) -> String {
    // A bar would end the cell.
    let row = |cells: &[&str]| {
        let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let head: Vec<_> = head.iter().map(AsRef::as_ref).collect();
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    let rows = rows
        .into_iter()
        .map(|cells| row(&cells.as_ref().iter().map(String::as_str).collect::<Vec<_>>()));
    let rows: String = rows.collect();
    format!("{}{rule}{rows}", row(&head))
}

fn config_keys() -> String {
    let section = |section: &&'static crate::config::schema::Section| {
        let title = match section.shape {
            Shape::Table => format!("[{}]", section.name),
            Shape::Tables(..) => format!("[[{}]]", section.name),
        };
        let row = |key: &&'static (dyn Described + Sync)| {
            let name = format!("`{}`", key.name());
            [
                name,
                kind(&key.kind()),
                default(key.default()),
                effect(key.effect()).into(),
                key.doc().into(),
            ]
        };
        let head = ["key", "kind", "default", "a change needs", "meaning"];
        let rows = table(&head, section.keys.iter().map(row));
        format!("`{title}`: {}\n\n{rows}", section.doc)
    };
    SECTIONS.iter().map(section).collect::<Vec<_>>().join("\n")
}

fn kind(kind: &Kind) -> String {
    let quoted = |labels: &[&str]| {
        labels.iter().map(|label| format!("`\"{label}\"`")).collect::<Vec<_>>().join(", ")
    };
    match kind {
        Kind::Flag => "`true` or `false`".into(),
        Kind::Number { least, most } => format!("a number from {least} to {most}"),
        Kind::Seconds { most } => format!("seconds, from 1 to {most}"),
        Kind::Choice(labels) => quoted(labels),
        Kind::Choices(labels) => format!("a list of {}", quoted(labels)),
        Kind::Text(form) => form.words.into(),
        Kind::Ports => "a list of ports and ranges".into(),
        Kind::Networks => "a list of networks, or one string with commas".into(),
    }
}

fn default(default: Fallback) -> String {
    match default {
        Fallback::Required => "required".into(),
        Fallback::RequiredUnless(other) => format!("required, or `{other}`"),
        Fallback::Value(value) => format!("`{value}`"),
        Fallback::Absent(words) => words.into(),
    }
}

const fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Reload => "a reload",
        Effect::Detach => "`proxyip detach`, then a start",
    }
}

fn reasons() -> String {
    let row = |reason: &DropReason| {
        let verdict = Verdict::on_refusal(*reason).label();
        let label = format!("`{}`", reason.label());
        [label, verdict.into(), reason.sentence().into(), reason.advice().into()]
    };
    table(&["label", "verdict", "meaning", "what to do"], DropReason::ALL.iter().map(row))
}

fn obstacles() -> String {
    let row = |reason: &Obstacle| {
        let label = format!("`{}`", reason.label());
        [label, reason.sentence().into(), reason.advice().into()]
    };
    table(&["label", "meaning", "what to do"], Obstacle::ALL.iter().map(row))
}

fn findings() -> String {
    let row = |kind: &FindingKind| {
        [format!("`{}`", kind.label()), kind.sentence().into(), kind.advice().into()]
    };
    table(&["label", "meaning", "what to do"], FindingKind::ALL.iter().map(row))
}

fn checks() -> String {
    let row = |subject: &Subject| {
        [format!("`{}`", subject.label()), subject.sentence().into(), subject.advice().into()]
    };
    table(&["label", "what is looked at", "what to do"], Subject::ALL.iter().map(row))
}

/// A family of metrics of an `OpenMetrics` text.
#[derive(Debug, Default, PartialEq, Eq)]
struct Family {
    name: String,
    kind: String,
    unit: String,
    help: String,
    labels: Vec<String>,
}

fn metrics(text: &str) -> Result<String> {
    let families = families(text)?;
    let row = |family: Family| {
        let suffix = match family.kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let name = format!("`{}{suffix}`", family.name);
        [name, family.kind, labels.join(", "), family.unit, family.help]
    };
    Ok(table(&["metric", "type", "labels", "unit", "meaning"], families.into_iter().map(row)))
}

fn families(text: &str) -> Result<Vec<Family>> {
    let mut families: Vec<Family> = Vec::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let mut word = || words.next().with_context(|| format!("not understood: {line}"));
            let (what, name, value) = (word()?, word()?, word()?.to_owned());
            if families.last().is_none_or(|family| family.name != name) {
                families.push(Family { name: name.into(), ..Family::default() });
            }
            let family = families.last_mut().expect("just made");
            match what {
                "HELP" => family.help = value.trim_end_matches('.').into(),
                "TYPE" => family.kind = value,
                _ => family.unit = value,
            }
        } else if let (Some((_, rest)), Some(family)) = (line.split_once('{'), families.last_mut())
        {
            let labels = rest.split_once('}').map_or(rest, |(labels, _)| labels);
            for (label, _) in labels.split(',').filter_map(|label| label.split_once('=')) {
                // It counts buckets of a histogram.
                if label != "le" && !family.labels.iter().any(|known| known == label) {
                    family.labels.push(label.into());
                }
            }
        }
    }
    if let Some(family) = families.iter().find(|family| family.help.is_empty()) {
        anyhow::bail!("the metric {} has no help text", family.name);
    }
    Ok(families)
}

fn flow_log_fields() -> Result<String> {
    let row =
        |field: Field| [format!("`{}`", field.name), field.kind.into(), field.events, field.doc];
    Ok(table(&["field", "type", "in", "meaning"], fields()?.into_iter().map(row)))
}

fn exit_codes() -> String {
    let commands = |group: &Group| {
        group.commands.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    let row = |code: usize| {
        let exits = GROUPS.each_ref().map(|group| group.exits[code]);
        let mut cells = vec![exits[0].code().to_string()];
        cells.extend(exits.map(|exit| exit.meaning().to_owned()));
        cells
    };
    let mut head = vec!["exit code".to_owned()];
    head.extend(GROUPS.each_ref().map(commands));
    table(head.as_slice(), (0..3).map(row))
}

fn commands() -> String {
    let mut command = cli::command().disable_help_subcommand(true).term_width(WIDTH);
    command.build();
    let mut texts = Vec::new();
    help(&command, &mut texts);
    texts.join("\n")
}

/// The help text of a command that does something itself, and those of its verbs.
fn help(command: &clap::Command, texts: &mut Vec<String>) {
    for verb in command.get_subcommands() {
        let name = verb.get_bin_name().unwrap_or(verb.get_name()).to_owned();
        // The help text does not depend on the environment of whoever makes the documents.
        let mut shown = verb.clone().mut_args(|argument| argument.hide_env_values(true));
        let lines = shown.render_long_help().to_string();
        let lines: Vec<_> = lines.trim_end().lines().map(str::trim_end).collect();
        texts.push(format!("### {name}\n\n```text\n{}\n```\n", lines.join("\n")));
        help(verb, texts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_has_its_entries() {
        let reference = reference().unwrap();
        let block = |name: &str| reference["blocks"][name].as_str().unwrap().to_owned();
        assert_eq!(block("reasons").lines().count(), DropReason::ALL.len() + 2);
        assert_eq!(block("obstacles").lines().count(), Obstacle::ALL.len() + 2);
        assert_eq!(block("findings").lines().count(), FindingKind::ALL.len() + 2);
        assert_eq!(block("checks").lines().count(), Subject::ALL.len() + 2);
        for key in SECTIONS.iter().flat_map(|section| section.keys) {
            assert!(block("config-keys").contains(&format!("\n| `{}` |", key.name())));
        }
        for metric in [
            "| `proxyip_build_info` | info | `version` |",
            "| `proxyip_connections_total` | counter | `listener`, `hand_off`, `version`, `verdict` |",
            "| `proxyip_header_latency_seconds` | histogram | `listener` | seconds |",
            "| `proxyip_drops_total` | counter | `reason` |",
            "| `proxyip_flows` | gauge |  |",
        ] {
            assert!(block("metrics").contains(metric), "{metric}: {}", block("metrics"));
        }
        for field in [
            "| `time` | text | all |",
            "| `tlvs.ssl.cipher` | text | `accept`, `close` |",
            "| `client` | text | `accept`, `close`, `refuse` of a denied client |",
            "| `duration_ms` | number | `close` |",
        ] {
            assert!(block("flow-log-fields").contains(field), "{field}");
        }
        assert!(block("exit-codes").contains("\n| 1 | failed; "), "{}", block("exit-codes"));
        for command in
            ["### proxyip run\n", "### proxyip acl disconnect\n", "### proxyip explain\n"]
        {
            assert!(block("commands").contains(command), "{command}");
        }
    }

    #[test]
    fn a_metric_without_help_is_refused() {
        assert!(families("# TYPE proxyip_a counter\nproxyip_a_total 1\n# EOF\n").is_err());
    }

    #[test]
    fn a_bar_does_not_end_a_cell() {
        assert_eq!(table(&["a"], [["x|y".to_owned()]]), "| a |\n|---|\n| x\\|y |\n");
    }
}
