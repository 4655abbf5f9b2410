//! What the documents show is run as it stands there. The rules of `docs/firewalls.md` are run by `firewall.rs` and
//! `firewall_states.rs`, commands of cargo are checked by `cargo xtask lint`.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::process::Command;

use proxyip_tests::documents::{Block, blocks_of_all, repository};
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Dial, Site, Stranger, attempt, header};
use serde_json::Value;

use crate::cgroups::hierarchy;
use crate::common::{open_and_send, socket_address};
use crate::firewall;

/// What the README calls the smallest configuration.
const SMALLEST: &str = "[[listener]]\nports = [443]\ntrusted = [\"10.0.0.0/16\"]\n";
const CONFIG: &str = "/etc/proxyip.toml";

/// What is done with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// A picture, an output or a help text: nothing to run.
    Shown,
    /// A configuration, or a part of one.
    Configuration,
    /// [`a_stranger_follows_the_readme`]
    Readme,
    /// [`a_stranger_installs_and_uninstalls_a_service`]
    Service,
    /// [`questions_are_answered_as_shown`]
    Questions,
    /// [`rules_are_made_as_shown`]
    Lists,
    /// [`mistakes_are_found_as_shown`]
    Mistakes,
    /// `firewall.rs` and `firewall_states.rs`
    Firewall,
    /// `cargo xtask lint`, which knows its own verbs, checks each line. `.ci/run` does not run the benchmarks, soak,
    /// screenshots and the nightly run.
    Cargo,
    /// [`the_program_in_c_compiles`]
    Program,
    /// [`prometheus_asks_where_the_page_says`]
    Scrape,
}

/// By page, section and language; of each several blocks may be there.
const COMMANDS: [(&str, &str, &str, Rule); 23] = [
    ("README.md", "Try it", "sh", Rule::Readme),
    ("README.md", "Use it", "sh", Rule::Readme),
    ("README.md", "Use it", "toml", Rule::Readme),
    ("README.md", "Use it", "console", Rule::Readme),
    ("CONTRIBUTING.md", "Commands", "sh", Rule::Cargo),
    ("docs/access-control.md", "Access control", "toml", Rule::Lists),
    ("docs/access-control.md", "Rules by command", "console", Rule::Lists),
    ("docs/api.md", "HTTP", "console", Rule::Questions),
    ("docs/api.md", "Line protocol", "sh", Rule::Questions),
    ("docs/api.md", "Socket option", "c", Rule::Program),
    ("docs/cli.md", "Asking the agent", "console", Rule::Questions),
    ("docs/configuration.md", "Configuration", "sh", Rule::Questions),
    ("docs/firewalls.md", "Named sets, for iptables", "sh", Rule::Firewall),
    ("docs/firewalls.md", "Marks, for nftables and iptables", "sh", Rule::Firewall),
    ("docs/firewalls.md", "Rules on connection states", "sh", Rule::Firewall),
    ("docs/install.md", "Build", "sh", Rule::Service),
    ("docs/install.md", "Try it first", "sh", Rule::Service),
    ("docs/install.md", "Start", "sh", Rule::Service),
    ("docs/install.md", "As a systemd service", "sh", Rule::Service),
    ("docs/install.md", "Completions and manual pages", "sh", Rule::Service),
    ("docs/operations.md", "Detach", "sh", Rule::Service),
    ("docs/performance.md", "Comparing two commits", "sh", Rule::Cargo),
    ("docs/troubleshooting.md", "What proxyip check looks at", "console", Rule::Mistakes),
];

fn rule(block: &Block) -> Option<Rule> {
    let place = (&*block.page, &*block.section, &*block.language);
    let known =
        COMMANDS.iter().find(|(page, section, language, _)| (*page, *section, *language) == place);
    match &*block.language {
        _ if known.is_some() => known.map(|(.., rule)| *rule),
        "text" => Some(Rule::Shown),
        "toml" => Some(Rule::Configuration),
        "yaml" => Some(Rule::Scrape),
        _ => None,
    }
}

/// The blocks with this rule, in the order of their pages.
fn blocks(of: Rule) -> Vec<Block> {
    let blocks: Vec<_> =
        blocks_of_all().into_iter().filter(|block| rule(block) == Some(of)).collect();
    assert!(!blocks.is_empty(), "no block is {of:?}");
    blocks
}

/// The block of the page in this language.
fn block(of: Rule, page: &str, language: &str) -> String {
    let mut blocks = blocks(of).into_iter();
    let block = blocks.find(|block| block.page == page && block.language == language);
    block.unwrap_or_else(|| panic!("{page} has no {language}")).text
}

#[test]
fn each_block_has_a_rule_and_each_rule_a_block() {
    let blocks = blocks_of_all();
    let without: Vec<_> = blocks.iter().filter(|block| rule(block).is_none()).collect();
    assert!(without.is_empty(), "say in COMMANDS what is done with {without:?}");
    let places: BTreeSet<_> =
        blocks.iter().map(|block| (&*block.page, &*block.section, &*block.language)).collect();
    for (page, section, language, _) in COMMANDS {
        assert!(places.contains(&(page, section, language)), "{page}, {section}: no {language}");
    }
    for (section, count) in firewall::BLOCKS {
        let of_section =
            |block: &&Block| block.page == "docs/firewalls.md" && block.section == section;
        assert_eq!(blocks.iter().filter(of_section).count(), count, "{section}");
    }
    let of_cargo = blocks.iter().filter(|block| rule(block) == Some(Rule::Cargo));
    for line in of_cargo.flat_map(|block| block.text.lines()) {
        assert!(line.starts_with("cargo "), "{line}");
    }
}

/// A client of the documents, after its connection has been accepted.
fn connect(site: &Site, port: u16) -> TcpStream {
    let dial = Dial::to("10.0.1.2", port).from("10.0.0.2", 34711);
    let header = header::v2(socket_address("203.0.113.9:51234"), socket_address("192.0.2.1:443"));
    let stream = open_and_send(site, &dial, &[header, b"who am I?\n".to_vec()].concat());
    assert!(firewall::is_answered(&stream));
    stream
}

/// Nothing was refused, and no checksum was wrong.
fn finish(site: &Site, stranger: &Stranger) {
    let status: Value =
        serde_json::from_str(&stranger.done("proxyip status --json")).expect("JSON");
    let drops = status["drops"].as_object().expect("the reasons");
    assert!(drops.values().all(|count| count == 0), "{drops:?}");
    site.assert_clean();
}

#[test]
fn a_stranger_follows_the_readme() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", 443);
    let mut stranger = Stranger::new(&site);
    let mut connection = None;
    for block in blocks(Rule::Readme) {
        match &*block.language {
            "toml" => stranger.write(CONFIG, &block.text),
            "console" => {
                connection.get_or_insert_with(|| connect(&site, 443));
                stranger.compare(&block.text);
            }
            _ => stranger.follow(&block.text),
        }
    }
    assert!(connection.is_some());
    finish(&site, &stranger);
}

#[test]
fn a_stranger_installs_and_uninstalls_a_service() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", 443);
    let mut stranger = Stranger::new(&site);
    stranger.write(CONFIG, SMALLEST);
    for block in blocks(Rule::Service) {
        if block.section == "As a systemd service" {
            stranger.stop();
        }
        if block.page == "docs/operations.md" {
            // An operator's reload comes before the end.
            stranger.done("systemctl reload proxyip");
            drop(connect(&site, 443));
            finish(&site, &stranger);
        }
        stranger.follow(&block.text);
        if block.section == "As a systemd service" {
            stranger.wait_ready();
        }
    }
    assert_eq!(stranger.ask("ls -A /sys/fs/bpf/proxyip").stdout, "");
    stranger.done("test -s /usr/share/bash-completion/completions/proxyip");
    stranger.done("test -s /usr/local/share/man/man1/proxyip-run.1");
    stranger.done("test -e /etc/systemd/system/multi-user.target.wants/proxyip.service");
}

#[test]
fn questions_are_answered_as_shown() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", 443);
    let mut stranger = Stranger::with_agent(&site);
    stranger.write(CONFIG, &format!("{SMALLEST}name = \"web\"\n"));
    stranger.follow(&format!("proxyip run --config {CONFIG}"));
    let _connection = connect(&site, 443);
    for block in blocks(Rule::Questions) {
        match &*block.language {
            "console" => stranger.compare(&block.text),
            _ if block.section == "Line protocol" => {
                assert_eq!(stranger.done(&block.text), "203.0.113.9:51234");
            }
            _ => stranger.follow(&block.text),
        }
    }
    finish(&site, &stranger);
}

#[test]
fn rules_are_made_as_shown() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", 3000);
    let mut stranger = Stranger::with_agent(&site);
    let page = "docs/access-control.md";
    stranger.write(CONFIG, &block(Rule::Lists, page, "toml"));
    stranger.follow(&format!("proxyip run --config {CONFIG}"));
    let _connection = connect(&site, 3000);
    stranger.compare(&block(Rule::Lists, page, "console"));
    finish(&site, &stranger);
}

#[test]
fn mistakes_are_found_as_shown() {
    let site = Site::without_captures();
    site.net.server.sysctl("ipv4.tcp_syncookies", "0");
    let stranger = Stranger::with_agent(&site);
    stranger
        .write(CONFIG, &SMALLEST.replace("443", "8080").replace("ports", "name = \"web\"\nports"));
    let console = block(Rule::Mistakes, "docs/troubleshooting.md", "console");
    // The sysctl is that of the host's own namespace.
    let (shown, here) = (
        "jit: on",
        "jit: net.core.bpf_jit_enable cannot be seen from this network namespace; it must not be 0",
    );
    // Cgroup v2 may be mounted beside cgroup v1.
    let (usual, mounted) =
        ("is reached by /sys/fs/cgroup\n", format!("is reached by {}\n", hierarchy().display()));
    assert!(console.contains(shown) && console.contains(usual));
    stranger.compare(&console.replace(shown, here).replace(usual, &mounted));
}

/// A configuration without a listener is a part: the test completes it with a listener.
#[test]
fn configurations_have_no_mistake() {
    let site = Site::without_captures();
    let stranger = Stranger::with_agent(&site);
    stranger.done("mkdir /etc/proxyip");
    for (number, list) in ["lb", "allow", "deny", "office"].iter().enumerate() {
        stranger.write(&format!("/etc/proxyip/{list}"), &format!("192.0.2.{number}/32\n"));
    }
    let configurations = blocks_of_all().into_iter().filter(|block| block.language == "toml");
    for Block { page, text, .. } in configurations {
        let whole =
            if text.contains("[[listener]]") { text } else { format!("{text}\n{SMALLEST}") };
        stranger.write(CONFIG, &whole);
        let answer = stranger.ask(&format!("proxyip check --json --config {CONFIG}"));
        let report: Value = serde_json::from_str(&answer.stdout).expect("JSON");
        assert_eq!(report["problems"], Value::Array(Vec::new()), "{page}\n{whole}");
    }
}

#[test]
fn the_program_in_c_compiles() {
    let site = Site::without_captures();
    for block in blocks(Rule::Program) {
        let (includes, statements): (Vec<_>, Vec<_>) =
            block.text.lines().partition(|line| line.starts_with('#'));
        let (includes, statements) = (includes.join("\n"), statements.join("\n"));
        let source =
            format!("{includes}\nvoid ask(int fd);\nvoid ask(int fd)\n{{\n{statements}\n}}\n");
        let source = site.scratch.write("program.c", &source);
        let include = repository().join("include");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-I"])
            .arg(include)
            .arg(source);
        let output = attempt(&mut compiler);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", block.page);
    }
}

#[test]
fn prometheus_asks_where_the_page_says() {
    let address = |text: &str| {
        let (_, rest) = text.split_once("127.0.0.1:").expect("an address");
        rest.chars().take_while(char::is_ascii_digit).collect::<String>()
    };
    let page = "docs/observability.md";
    let scrape = block(Rule::Scrape, page, "yaml");
    assert_eq!(address(&scrape), address(&block(Rule::Configuration, page, "toml")));
}
