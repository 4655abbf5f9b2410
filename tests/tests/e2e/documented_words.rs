//! What the program prints and the documents repeat: help texts, and the labels of reasons.

use std::fs;
use std::process::Command;

use proxyip_tests::documents::repository;
use proxyip_tests::{agent_binary, attempt};
use proxyip_user::config::schema::SECTIONS;

/// A document.
fn page(name: &str) -> String {
    fs::read_to_string(repository().join(name)).expect("a document")
}

/// What a command that needs no agent prints, on a terminal of 100 columns.
fn printed(arguments: &[&str]) -> String {
    let mut command = Command::new(agent_binary());
    command.args(arguments).env("COLUMNS", "100").env_remove("PROXYIP_SOCKET");
    let output = attempt(&mut command);
    assert!(output.status.success(), "proxyip {arguments:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().map(str::trim_end);
    lines.fold(String::new(), |text, line| text + line + "\n").trim_end().to_owned() + "\n"
}

/// The words at the beginning of the lines with this indentation, below the heading.
fn names(text: &str, heading: &str) -> Vec<String> {
    let (_, below) = text.split_once(&format!("{heading}\n")).expect("the heading");
    let lines = below.lines().take_while(|line| line.starts_with("  "));
    let names =
        lines.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    names.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The words alone: where lines end, and what is in the environment, is no difference.
fn unfolded(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").replace("=]", "]")
}

#[test]
fn the_page_of_commands_has_the_help_of_each() {
    let page = unfolded(&page("docs/cli.md"));
    let mut verbs = Vec::new();
    let all = names(&printed(&["--help"]), "Commands:");
    for verb in all.into_iter().filter(|verb| verb != "help") {
        let help = printed(&[&verb, "--help"]);
        if help.contains("\nCommands:\n") {
            let below = names(&help, "Commands:").into_iter();
            verbs.extend(below.map(|name| vec![verb.clone(), name]));
        }
        verbs.push(vec![verb]);
    }
    assert!(verbs.len() > 10, "{verbs:?}");
    for verb in verbs.iter().filter(|verb| verb.last().is_some_and(|name| name != "help")) {
        let arguments: Vec<_> = verb.iter().map(String::as_str).chain(["--help"]).collect();
        assert!(
            page.contains(&unfolded(&printed(&arguments))),
            "docs/cli.md has no `proxyip {arguments:?}` of today"
        );
    }
}

#[test]
fn each_reason_is_on_the_page_that_says_what_to_do() {
    let labels = printed(&["explain"]);
    for (heading, name) in [
        ("Refused", "docs/troubleshooting.md"),
        ("Not served by the accept hand-off", "docs/hand-offs.md"),
    ] {
        let (page, labels) = (page(name), names(&labels, heading));
        assert!(labels.len() > 5, "{labels:?}");
        for label in labels {
            assert!(page.contains(&format!("`{label}`")), "{name} has no {label}");
        }
    }
}

#[test]
fn each_key_is_on_the_page_of_the_configuration() {
    let page = page("docs/configuration.md");
    for section in SECTIONS {
        for key in section.keys {
            let path = format!("`{}.{}`", section.name, key.name());
            // In a table of its section the name is enough.
            let of_section = page.split_once(&format!("[{}]", section.name));
            let name = format!("| `{}` |", key.name());
            let is_there = of_section.is_some_and(|(_, below)| below.contains(&name));
            assert!(page.contains(&path) || is_there, "docs/configuration.md has no {path}");
        }
    }
}
