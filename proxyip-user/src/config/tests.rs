pub(crate) mod lists;
mod mistakes;
mod warnings;

use std::path::Path;
use std::time::Duration;

use super::*;

/// A file that is right.
pub(crate) const GOOD: &str = r#"
[[interface]]
name = "ens5"
xdp = "auto"

[[interface]]
name = "eth0"
netns = "/run/netns/blue"

[[listener]]
name = "gitea"
ports = [3000, "8000-8002", 8001]
trusted = ["10.0.0.0/16", "fd00::/8", "10.0.0.0/16"]
untrusted = "reset"
allow = "203.0.113.0/24, 2001:db8::/32,203.0.113.0/24"
deny = ["203.0.113.66/32"]
denied = "mark"
mark = 0xffffffff
versions = ["v2"]
hand_off = "accept"
unknown = "reset"
headerless = "local"
header_timeout = 20

[[listener]]
name = "web"
ports = [443]
trusted = ["192.0.2.1/32"]
hand_off = "observe"

[[set]]
name = "office_net-1"
cidrs = ["198.51.100.0/24"]

[api]
socket = "/run/a.sock"
getsockopt = true

[log]
flows = "off"
path = "/var/log/flows"

[agent]
pin_path = "/sys/fs/bpf/a"
procfs_path = "/host/proc"
netns_path = "/host/run/netns"
max_flows = 1024
max_translated = 2048
max_listeners = 16
max_tlv_memory = 16
handshake_timeout = 60
"#;

/// The least there can be.
pub(crate) const LEAST: &str = "[[listener]]\nports = [443]\ntrusted = ['10.0.0.0/8']\n";

/// What is wrong with a file, a line each.
pub(crate) fn problems(text: &str) -> Vec<String> {
    let problems = Config::from_toml(text).expect_err(text);
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn every_key_is_read() {
    let network = |text| network(text).unwrap();
    let expected = Config {
        interfaces: vec![
            Interface {
                name: Names::One("ens5".into()),
                netns: Namespaces::One(Netns::Host),
                xdp: Xdp::Auto,
            },
            Interface {
                name: Names::One("eth0".into()),
                netns: Namespaces::One(Netns::Path("/run/netns/blue".into())),
                xdp: Xdp::Off,
            },
        ],
        listeners: vec![
            Listener {
                name: "gitea".into(),
                ports: vec![3000, 8000, 8001, 8002],
                trusted: vec![network("10.0.0.0/16"), network("fd00::/8")].into(),
                untrusted: Untrusted::Reset,
                versions: Versions { v1: false, v2: true },
                unknown: Unknown::Reset,
                headerless: Headerless::Local,
                hand_off: HandOffChoice::Accept,
                header_timeout: Duration::from_secs(20),
                allow: vec![network("203.0.113.0/24"), network("2001:db8::/32")].into(),
                deny: vec![network("203.0.113.66/32")].into(),
                denied: Denied::Mark,
                mark: u32::MAX,
            },
            Listener {
                name: "web".into(),
                ports: vec![443],
                trusted: vec![network("192.0.2.1/32")].into(),
                hand_off: HandOffChoice::Observe,
                ..Listener::default()
            },
        ],
        sets: vec![Set {
            name: "office_net-1".into(),
            networks: vec![network("198.51.100.0/24")].into(),
        }],
        api: Api { socket: "/run/a.sock".into(), getsockopt: true, ..Api::default() },
        log: Log { flows: FlowFormat::Off, to: Destination::File("/var/log/flows".into()) },
        agent: Agent {
            pin_path: "/sys/fs/bpf/a".into(),
            procfs_path: "/host/proc".into(),
            netns_path: "/host/run/netns".into(),
            max_flows: 1024,
            max_translated: 2048,
            max_listeners: 16,
            max_tlv_memory: 16,
            handshake_timeout: Duration::from_mins(1),
        },
        origin: Origin::default(),
    };
    assert_eq!(Config::from_toml(GOOD), Ok(expected));
}

#[test]
fn flags_and_the_least_file_mean_the_same() {
    let from_arguments = Config::from_arguments(
        vec![Names::One("eth0".into())],
        &["443".parse().unwrap()],
        vec![network("10.0.0.0/8").unwrap()],
    );
    assert_eq!(Config::from_toml(LEAST), Ok(from_arguments));
    assert!(Path::new(DEFAULT_PIN_PATH).is_absolute());
}

#[test]
fn a_hand_off_is_named_as_it_is_configured() {
    for label in ["auto", "accept", "translate", "observe"] {
        let config = Config::from_toml(&format!("{LEAST}hand_off = '{label}'")).unwrap();
        assert_eq!(config.listeners[0].hand_off_label(), label);
    }
}

#[test]
fn listeners_do_not_share_names_or_ports() {
    let text = "\
[[listener]]
ports = ['8000-8010', 80]
trusted = ['10.0.0.0/8']
[[listener]]
ports = ['8005-9000', 80]
trusted = ['10.0.0.0/8']
";
    assert_eq!(
        problems(text),
        [
            "4: listener.name: another listener is named \"default\"; names must differ",
            "5: listener.ports: port 80 is guarded by listener \"default\" already",
        ]
    );
}

#[test]
fn a_mark_has_32_bits_of_which_one_is_set() {
    let with = |lines: &str| format!("{LEAST}{lines}\n");
    for (mark, expected) in [("1", 1), ("0x50", 0x50), ("0xffff_ffff", u32::MAX)] {
        let config = Config::from_toml(&with(&format!("denied = 'mark'\nmark = {mark}"))).unwrap();
        assert_eq!(config.listeners[0].mark, expected);
    }
    for mark in ["0", "-1", "0x1_0000_0000"] {
        assert_eq!(
            problems(&with(&format!("denied = 'mark'\nmark = {mark}"))),
            ["5: listener.mark: must be a number from 1 to 4294967295"]
        );
    }
    assert_eq!(Config::from_toml(&with("denied = 'mark'")).unwrap().listeners[0].mark, 0x50);
    for denied in ["reset", "drop"] {
        let seen = problems(&with(&format!("mark = 1\ndenied = '{denied}'")));
        assert_eq!(seen.len(), 1, "{seen:#?}");
        assert!(seen[0].starts_with("4: listener.mark: only denied = "), "{seen:#?}");
    }
    let seen = problems(&with("mark = 1\ndenied = 'marked'"));
    assert_eq!(seen.len(), 1, "one mistake is not two: {seen:#?}");
}

#[test]
fn the_longest_name_has_63_bytes() {
    let named = |name: &str| format!("{LEAST}name = '{name}'\n");
    let longest = "é".repeat(31) + "e";
    assert_eq!(Config::from_toml(&named(&longest)).unwrap().listeners[0].name, longest);
    assert_eq!(problems(&named(&"é".repeat(32))), ["4: listener.name: must have at most 63 bytes"]);
}

#[test]
fn each_flow_log_format_is_read() {
    for (text, format) in
        [("json", FlowFormat::Json), ("vpc", FlowFormat::Vpc), ("off", FlowFormat::Off)]
    {
        let config = Config::from_toml(&format!("{LEAST}[log]\nflows = '{text}'\n")).unwrap();
        assert_eq!(config.log.flows, format);
    }
}
