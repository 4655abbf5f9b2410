//! What is wrong with a text, with its line, key and sentence.

use super::*;

#[test]
fn each_mistake_has_its_line_key_and_sentence() {
    for (text, expected) in [
        ("", "1: listener: at least one [[listener]] is needed"),
        ("\nlistener = []", "2: listener: at least one [[listener]] is needed"),
        ("listener = 1", "1: listener: must be a list, not an integer"),
        ("x = 1", "1: x: no such key; there are interface, listener, set, api, log, agent"),
        (
            "[api]\nhttp = 'localhost:1'",
            "2: api.http: \"localhost:1\" is not IP:PORT such as \"127.0.0.1:9811\" or \"[::1]:9811\"",
        ),
        (
            "[api]\nhttp = '0.0.0.0:1'",
            "2: api.http: not a loopback address: whoever can reach it could ask for every client; if that is meant, write http_remote = true",
        ),
        ("[api]\nhttp_remote = 'yes'", "2: api.http_remote: must be a boolean, not a string"),
        (
            "[api]\nsocket_mode = '0888'",
            "2: api.socket_mode: \"0888\" is not a mode, which has three octal digits, such as \"0660\"",
        ),
        (
            "[api]\nsocket_mode = '1777'",
            "2: api.socket_mode: \"1777\" is not a mode, which has three octal digits, such as \"0660\"",
        ),
        ("[api]\nsocket_mode = 0o660", "2: api.socket_mode: must be a string, not an integer"),
        (
            "[api]\nlookup_socket_group = 'no such'",
            "2: api.lookup_socket_group: there is no group \"no such\"",
        ),
        ("[api]\nlookup_socket = 'a'", "2: api.lookup_socket: \"a\" is not an absolute path"),
        (
            "[api]\nlookup_socket = '/run/proxyip/api.sock'",
            "2: api.lookup_socket: must be another path than socket",
        ),
        ("[log]\nto = 'syslog'", "2: log.to: \"syslog\" is not one of stdout, journald"),
        (
            "[log]\npath = '/a'\nto = 'journald'",
            "3: log.to: remove it, or path: the flow log goes to one of the two",
        ),
        ("[api]\nsocket = 'a'", "2: api.socket: \"a\" is not an absolute path"),
        ("[api]\ngetsockopt = 1", "2: api.getsockopt: must be a boolean, not an integer"),
        ("[log]\nflows = 'xml'", "2: log.flows: \"xml\" is not one of json, vpc, off"),
        ("[log]\nflows = true", "2: log.flows: must be a string, not a boolean"),
        ("[agent]\nmax_flows = 1023", "2: agent.max_flows: must be a number from 1024 to 16777216"),
        (
            "[agent]\nhandshake_timeout = 0",
            "2: agent.handshake_timeout: must be a number from 1 to 86400",
        ),
        ("[agent]\nmax_flows = 1.5", "2: agent.max_flows: must be an integer, not a float"),
        (
            "[agent]\nmax_translated = 1",
            "2: agent.max_translated: must be a number from 1024 to 16777216",
        ),
        (
            "[agent]\nmax_tlv_memory = 0",
            "2: agent.max_tlv_memory: must be a number from 1 to 65536",
        ),
        ("agent = 3", "1: agent: must be a table, not an integer"),
        (
            "[[interface]]\nxdp = 'x'",
            "2: interface.xdp: \"x\" is not one of off, auto, native, generic",
        ),
        (
            "[[interface]]\nname = 'eth[0'",
            "2: interface.name: \"eth[0\" is not a pattern: invalid range pattern",
        ),
        (
            "[[interface]]\nname = 'eth* '",
            "2: interface.name: \"eth* \" is not an interface's name, which has 1 to 15 bytes, none of \
             them a space or a slash",
        ),
        (
            "[[interface]]\nnetns = '/proc/*/ns/net'",
            "2: interface.netns: \"/proc/*/ns/net\" has a wildcard in its directory: write wildcards behind \
             the last slash only",
        ),
        (
            "[[interface]]\nnetns = '/run/netns/*'\n[[interface]]\nnetns = '/run/netns/*'",
            "3: interface.name: interface \"eth0\" is named before, in the same namespace",
        ),
        (
            "[[interface]]\nname = 'a/b'",
            "2: interface.name: \"a/b\" is not an interface's name, which has 1 to 15 bytes, none of \
             them a space or a slash",
        ),
        (
            "[[interface]]\nnetns = 'blue'",
            "2: interface.netns: \"blue\" is neither \"host\" nor the absolute path of a namespace file \
             such as \"/run/netns/blue\"",
        ),
        (
            "[[interface]]\n[[interface]]\nname = 'eth0'",
            "3: interface.name: interface \"eth0\" is named before, in the same namespace",
        ),
        ("\ninterface = []", "2: interface: must name at least one interface"),
        (
            "\n[agent]\nmax_flows = 2048\nhandshake_timeout = 5\n[[listener]]",
            "4: agent.handshake_timeout: must be longer than the header_timeout of listener \"default\"",
        ),
    ] {
        let seen = problems(text);
        assert!(seen.iter().any(|problem| problem == expected), "{text:?}: {seen:#?}");
    }
}

#[test]
fn each_mistake_in_a_listener() {
    for (line, expected) in [
        ("ports = []", "ports: must name at least one port"),
        ("ports = 443", "ports: must be a list, not an integer"),
        ("ports = [0]", "ports: \"0\" is not a port"),
        ("ports = [65536]", "ports: \"65536\" is not a port"),
        ("ports = [99999999999999999999]", "ports: "),
        ("ports = ['+80']", "ports: \"+80\" is not a port"),
        ("ports = ['80-']", "ports: \"80-\" is not a port"),
        ("ports = ['90-80']", "ports: the range \"90-80\" ends before it begins"),
        ("ports = [true]", "ports: must be ports or ranges such as \"8000-8010\", not a boolean"),
        ("trusted = []", "trusted: must name at least one network"),
        ("trusted = ['any']", "trusted: \"any\" is not a network"),
        ("trusted = ['10.0.0.0/33']", "trusted: \"10.0.0.0/33\" is not a network"),
        ("trusted = ['10.0.0.1']", "trusted: \"10.0.0.1\" is an address; write \"10.0.0.1/32\""),
        ("trusted = ['fd00::1']", "trusted: \"fd00::1\" is an address; write \"fd00::1/128\""),
        (
            "trusted = ['10.0.0.1/16']",
            "trusted: \"10.0.0.1/16\" has bits set behind its prefix; the network is \"10.0.0.0/16\"",
        ),
        (
            "trusted = ['::ffff:10.0.0.1/112']",
            "trusted: \"::ffff:10.0.0.1/112\" is IPv4 in IPv6 notation; write \"10.0.0.0/16\"",
        ),
        ("trusted = [1]", "trusted: must be networks such as \"10.0.0.0/16\", not an integer"),
        ("untrusted = 'x'", "untrusted: \"x\" is not one of bypass, reset, drop"),
        ("versions = []", "versions: must name at least one version"),
        ("versions = ['v3']", "versions: \"v3\" is not one of v1, v2"),
        ("unknown = 'drop'", "unknown: \"drop\" is not one of accept, reset, local"),
        ("headerless = 'accept'", "headerless: \"accept\" is not one of reset, local"),
        ("header_timeout = 301", "header_timeout: must be a number from 1 to 300"),
        ("hand_off = 'x'", "hand_off: \"x\" is not one of auto, accept, translate, observe"),
        ("denied = 'x'", "denied: \"x\" is not one of reset, drop, mark"),
        ("mark = 1", "mark: only denied = \"mark\" uses it; write that too, or remove this"),
        ("port = 3", "port: no such key; there are name, ports, trusted"),
        ("name = ' '", "name: must name at least one character"),
        ("name = \"a\\u0000\"", "name: must not have control characters in it"),
        ("name = \"a\\u001b[31m\"", "name: must not have control characters in it"),
        ("name = \"a\\u202eb\"", "name: must not have control characters in it"),
    ] {
        let key = line.split_once(' ').unwrap().0;
        let rest = LEAST.lines().skip(1).filter(|line| !line.starts_with(&format!("{key} ")));
        let text = format!("[[listener]]\n{line}\n{}", rest.collect::<Vec<_>>().join("\n"));
        let seen = problems(&text);
        assert_eq!(seen.len(), 1, "{text}: {seen:#?}");
        assert!(seen[0].starts_with(&format!("2: listener.{expected}")), "{text}: {seen:#?}");
    }
}

#[test]
fn everything_wrong_is_said_at_once_in_the_order_of_lines() {
    let text = "[agent]\nmax_flows = 1\n[[listener]]\nports = [0, 1, 70000]\nmark = 1\n[log]\npath = 'x'\n";
    let lines: Vec<_> = problems(text)
        .iter()
        .map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            "2 agent.max_flows",
            "3 listener.trusted",
            "4 listener.ports",
            "4 listener.ports",
            "5 listener.mark",
            "7 log.path"
        ]
    );
}

#[test]
fn what_is_not_toml_has_its_line_and_key() {
    for (text, line_and_key) in [
        ("[api]\nsocket = \n", "2: socket: this is not TOML: "),
        ("[api]\nsocket = 'a'\nsocket = 'b'\n", "3: socket: this is not TOML: "),
        ("[api\n", "1: syntax: this is not TOML: "),
    ] {
        let seen = problems(text);
        assert!(seen[0].starts_with(line_and_key), "{text:?}: {seen:#?}");
    }
}

#[test]
fn every_line_names_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxyip.toml");
    let error = Config::from_file(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: cannot be read: ", path.display())), "{error}");
    std::fs::write(&path, "x = 1\ny = 2\n[[listener]]\n").unwrap();
    let error = Config::from_file(&path).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 4, "{error}");
    let starts = |(line, number)| {
        let start = format!("{}:{number}: ", path.display());
        <str>::starts_with(line, &start)
    };
    assert!(error.lines().zip([1, 2, 3, 3]).all(starts), "{error}");
}
