//! Who may ask the agent, and who may change something.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use proxyip_tests::{Agent, Answer, Api, Guard, Site, attempt, eventually};
use serde_json::Value;

use crate::common::programs_at;

const HTTP: &str = "127.0.0.1:9811";
/// A group that nobody is in unless the test says so.
const GROUP: u32 = 54_321;
const CHANGE: &str = "/v1/acl/web?network=198.51.100.0/24&verdict=deny";

/// Runs a command as somebody who is not root and in these groups.
fn as_member_of(groups: &[u32], command: &[&str]) -> Answer {
    let groups: Vec<_> = groups.iter().map(u32::to_string).collect();
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid=65534", "--regid=65534"]);
    match groups.as_slice() {
        [] => setpriv.arg("--clear-groups"),
        groups => setpriv.arg(format!("--groups={}", groups.join(","))),
    };
    attempt(setpriv.args(command)).into()
}

/// The status that curl gets, 0 if it cannot connect.
fn status(groups: &[u32], socket: &str, method: &str, path: &str) -> u16 {
    let url = format!("http://localhost{path}");
    let curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", socket];
    let answer = as_member_of(groups, &[curl.as_slice(), &["-X", method, &url]].concat());
    answer.stdout.parse().expect("a status")
}

fn assert_no_rules(agent: &Agent) {
    let rules = agent.api().get("/v1/acl/web");
    assert_eq!(rules["rules"], serde_json::json!([]));
}

#[test]
fn members_of_the_group_may_ask_but_only_root_may_change() {
    let site = Site::without_captures();
    let guard = Guard::ports(&[80])
        .api_setting(&format!("socket_group = \"{GROUP}\""))
        .api_setting("lookup_socket_mode = \"0666\"");
    let mut agent = Agent::start(&site, &guard);
    let path = |name| site.scratch.path(name).display().to_string();
    let (socket, lookup) = (path("api.sock"), path("lookup.sock"));
    for (path, group, mode) in [(&socket, GROUP, 0o660), (&lookup, 0, 0o666)] {
        let metadata = fs::metadata(path).expect("a socket");
        assert_eq!(
            (metadata.gid(), metadata.permissions().mode() & 0o777),
            (group, mode),
            "{path}"
        );
    }

    assert_eq!(status(&[GROUP], &socket, "GET", "/v1/flows"), 200);
    for (method, change) in [
        ("PUT", CHANGE),
        ("DELETE", "/v1/acl/web?network=198.51.100.0/24"),
        ("POST", "/v1/disconnect"),
    ] {
        assert_eq!(status(&[GROUP], &socket, method, change), 403, "{method}");
        assert_eq!(status(&[], &socket, method, change), 0, "{method}");
    }
    assert_eq!(status(&[], &socket, "GET", "/healthz"), 0);
    assert_no_rules(&agent);
    assert_eq!(agent.api().reply("PUT", CHANGE).status, 200);

    let ask = format!("echo 10.77.1.2:1 10.77.1.1:80 | nc -N -U {lookup}");
    assert_eq!(as_member_of(&[], &["sh", "-c", &ask]).stdout, "-");
    agent.assert_healthy(&[]);
}

/// As `nc -N` does, and programs that close what they have written to.
#[test]
fn who_sends_nothing_more_is_answered_and_changes_happen() {
    let site = Site::without_captures();
    let guard = Guard::ports(&[80]).api_setting(&format!("http = {HTTP:?}"));
    let mut agent = Agent::start(&site, &guard);
    let half_closed = |mut api: Api, method: &str, path: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        api.send(request.as_bytes()).expect("the agent reads");
        api.end();
        api.receive().unwrap_or_else(|error| panic!("{method} {path}: {error}")).status
    };
    for path in [
        "/",
        "/openapi.json",
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/status",
        "/v1/listeners",
        "/v1/flows",
        "/v1/clients",
        "/v1/acl/web",
        "/v1/acl/web/test?client=198.51.100.7",
    ] {
        for api in [agent.api(), agent.api_over_tcp(HTTP)] {
            assert_eq!(half_closed(api, "GET", path), 200, "{path}");
        }
    }
    let unknown = "/v1/flows/lookup?peer=10.77.1.2:1&local=10.77.1.1:80";
    assert_eq!(half_closed(agent.api(), "GET", unknown), 404);
    assert_eq!(half_closed(agent.api(), "PUT", CHANGE), 200);
    let rules = agent.api().get("/v1/acl/web");
    assert_eq!(rules["rules"].as_array().map(Vec::len), Some(1), "{rules}");
    assert_eq!(half_closed(agent.api(), "POST", "/v1/disconnect"), 200);
    agent.assert_healthy(&[]);
}

/// The agent looks at interfaces every two seconds.
const TWICE_A_LOOK: Duration = Duration::from_secs(4);

/// Its kernel programs are gone with it. A new interface of the same name gets others.
#[test]
fn an_interface_that_is_gone_is_told_of_until_it_is_there_again() {
    let site = Site::without_captures();
    let make = || site.net.server.ip("link add extra0 type veth peer name extra1");
    make();
    let guard = Guard::ports(&[80]).interface_setting("[[interface]]\nname = \"extra0\"");
    let mut agent = Agent::start(&site, &guard);
    let ready = || agent.api().request("GET", "/readyz");
    assert_eq!(ready().0, 200);
    // A renamed interface keeps its programs.
    site.net.server.ip("link set extra0 name other0");
    sleep(TWICE_A_LOOK);
    assert_eq!(ready().0, 200);
    site.net.server.ip("link del other0");
    let is_gone = |json: Value| json.to_string().contains("interface extra0 is gone");
    eventually("it is missed", || {
        let (status, json) = ready();
        (status == 503 && is_gone(json)).then_some(())
    });
    let found = agent.status().findings.concat();
    assert!(found.contains("interface extra0 is gone"), "{found}");
    make();
    eventually("it is attached to again", || (ready().0 == 200).then_some(()));
    assert_eq!(programs_at(&site.net.server, "extra0"), ["proxyip_ingress", "proxyip_egress"]);
    agent.assert_healthy(&[]);
}

#[test]
fn sockets_are_where_and_whose_the_configuration_says() {
    let site = Site::without_captures();
    let elsewhere = site.scratch.path("made/by/the/agent.sock").display().to_string();
    let guard = Guard::ports(&[80])
        .api_setting("socket_mode = \"0600\"")
        .api_setting(&format!("lookup_socket = {elsewhere:?}"))
        .api_setting(&format!("lookup_socket_group = \"{GROUP}\""));
    let agent = Agent::start(&site, &guard);
    let socket = site.scratch.path("api.sock").display().to_string();
    assert_eq!(status(&[0], &socket, "GET", "/healthz"), 0, "not even the group");
    let ask = format!("echo 10.77.1.2:1 10.77.1.1:80 | nc -N -U {elsewhere}");
    assert_eq!(as_member_of(&[GROUP], &["sh", "-c", &ask]).stdout, "-");
    let refused = as_member_of(&[], &["sh", "-c", &ask]);
    assert!(refused.code != 0 && refused.stdout.is_empty(), "{refused:?}");
    assert!(!site.scratch.path("lookup.sock").exists());
    drop(agent);
    assert!(!site.scratch.path("api.sock").exists());
    assert!(!fs::exists(&elsewhere).expect("a directory"));
}

#[test]
fn over_tcp_only_those_who_name_this_host_are_answered_and_nobody_changes() {
    let site = Site::without_captures();
    let guard = Guard::ports(&[80]).api_setting(&format!("http = {HTTP:?}"));
    let mut agent = Agent::start(&site, &guard);
    for (host, answered) in [
        (HTTP, 200),
        ("localhost", 200),
        ("LocalHost:9811", 200),
        ("127.0.0.1", 200),
        ("[::1]:9811", 200),
        ("203.0.113.9", 200),
        ("", 403),
        ("example.org", 403),
        ("example.org:9811", 403),
        ("localhost.example.org", 403),
        ("127.0.0.1.example.org", 403),
        ("localhost@example.org", 403),
        ("localhost example.org", 403),
        ("127.0.0.1:9811:9811", 403),
    ] {
        let reply = agent.api_over_tcp(HTTP).host(host).reply("GET", "/v1/flows");
        assert_eq!(reply.status, answered, "{host}");
    }
    let none = "GET /healthz HTTP/1.0\r\n\r\n";
    let twice = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: example.org\r\n\r\n";
    let other = "GET http://example.org/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for request in [none, twice, other] {
        let mut api = agent.api_over_tcp(HTTP);
        api.send(request.as_bytes()).expect("the agent reads");
        assert_eq!(api.receive().expect("an answer").status, 403, "{request}");
    }
    let mut api = agent.api_over_tcp(HTTP);
    for (method, path) in [
        ("PUT", CHANGE),
        ("DELETE", "/v1/acl/web?network=198.51.100.0/24"),
        ("POST", "/v1/disconnect"),
        ("POST", "/v1/disconnect?listener=nobody"),
        ("PUT", "/v1/acl/nobody"),
    ] {
        assert_eq!(api.reply(method, path).status, 403, "{method} {path}");
    }
    assert_no_rules(&agent);
    agent.assert_healthy(&[]);
}
