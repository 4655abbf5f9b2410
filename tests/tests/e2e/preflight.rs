//! What `proxyip check` finds on a host before an agent runs there.

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Answer, Guard, Process, Site, address, agent_binary, attempt};
use serde_json::Value;

/// A configuration of one listener on port 80, with these lines for the listener, and these tables.
fn toml(site: &Site, listener: &str, tables: &str) -> String {
    let pin_path = site.scratch.pin_path().display().to_string();
    format!(
        "[[listener]]\nname = \"web\"\nports = [80]\ntrusted = [\"10.77.1.2/32\"]\n{listener}\n{tables}\n\
         [agent]\npin_path = {pin_path:?}\n"
    )
}

fn check(site: &Site, toml: &str, more: &[&str]) -> Answer {
    let file = site.scratch.write("check.toml", toml);
    let socket = site.scratch.path("nobody.sock").display().to_string();
    let mut command = site.net.server.command(&agent_binary().display().to_string());
    command.args(["check", "--config", &file, "--socket", &socket]).args(more);
    attempt(&mut command).into()
}

/// Asserts the exit code, and that exactly this check is not `ok`; with `None`, that all are.
fn assert_found(site: &Site, toml: &str, code: i32, expected: Option<(&str, &str)>) {
    let answer = check(site, toml, &["--json"]);
    let report: Value = serde_json::from_str(&answer.stdout).expect("JSON");
    let preflight = report["preflight"].as_array().expect("an array");
    let found: Vec<_> = preflight.iter().filter(|check| check["state"] != "ok").collect();
    assert_eq!(answer.code, code, "{toml}{found:?}");
    assert_eq!(found.len(), usize::from(expected.is_some()), "{toml}{found:?}");
    if let Some((check, part)) = expected {
        let sentence = found[0]["sentence"].as_str().expect("a sentence");
        assert_eq!(found[0]["check"], check, "{found:?}");
        assert!(sentence.contains(part), "{sentence}");
    }
    assert!(!site.scratch.pin_path().exists(), "a check changes nothing");
}

#[test]
fn a_host_is_ready_unless_something_is_missing() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    assert_is_ready(&site);
    assert_missing_interfaces_and_namespaces_are_problems(&site);
    assert_pins_must_be_on_a_bpf_file_system(&site);
    assert_sysctls_of_each_namespace_are_looked_at(&site);
}

fn assert_is_ready(site: &Site) {
    let toml = toml(site, "", "");
    assert_found(site, &toml, 0, None);
    let text = check(site, &toml, &[]).stdout;
    for line in [
        "this host",
        "  ok       kernel: Linux ",
        "  ok       cgroup: ",
        "the agent's network namespace",
        "  ok       interface: eth0",
        "applications",
        "  ok       listener: \"web\": something listens on 80",
        "no mistakes found",
    ] {
        assert!(text.lines().any(|one| one.starts_with(line)), "{line}: {text}");
    }
}

fn assert_missing_interfaces_and_namespaces_are_problems(site: &Site) {
    let own = "[[interface]]\n";
    let missing = "[[interface]]\nname = \"eth7\"\n";
    assert_found(site, &toml(site, "", missing), 2, Some(("interface", "eth7")));
    let nowhere = format!("{own}[[interface]]\nnetns = \"/run/netns/nowhere\"\n");
    assert_found(site, &toml(site, "", &nowhere), 2, Some(("netns", "/run/netns/nowhere")));
    let same = format!("{own}[[interface]]\nnetns = \"/run/netns/{}\"\n", site.net.server.name());
    assert_found(site, &toml(site, "", &same), 2, Some(("netns", "twice")));
    site.net.server.ip("tuntap add dev tun7 mode tun");
    let no_header = "[[interface]]\nname = \"tun7\"\n";
    assert_found(site, &toml(site, "", no_header), 2, Some(("interface", "no Ethernet header")));
}

fn assert_sysctls_of_each_namespace_are_looked_at(site: &Site) {
    let balancer = format!("[[interface]]\nnetns = \"/run/netns/{}\"\n", site.net.balancer.name());
    let both = format!("[[interface]]\n{balancer}");
    let auto = toml(site, "", &both);
    assert_found(site, &auto, 0, None);
    for (namespace, key) in
        [(&site.net.server, "tcp_syncookies"), (&site.net.balancer, "tcp_window_scaling")]
    {
        namespace.sysctl(&format!("ipv4.{key}"), "0");
        assert_found(site, &auto, 1, Some((key, &format!("sysctl -w net.ipv4.{key}=1"))));
        namespace.sysctl(&format!("ipv4.{key}"), "1");
    }
    site.net.server.sysctl("ipv4.tcp_synack_retries", "2");
    assert_found(site, &auto, 0, None);
    let translate = toml(site, "hand_off = \"translate\"", &both);
    assert_found(site, &translate, 1, Some(("tcp_synack_retries", "later than 7 s")));
}

#[test]
fn applications_that_do_not_listen_are_missed() {
    let site = Site::without_captures();
    let nobody = toml(&site, "", "");
    assert_found(&site, &nobody, 1, Some(("listener", "nothing listens on 80:")));
    let hidden = EchoServer::start(&site.net.server, "127.0.0.1", 80);
    assert_found(&site, &nobody, 1, Some(("listener", "what listens on 80 has a loopback")));
    assert_found(&site, &toml(&site, "", "[[interface]]\nname = \"lo\"\n"), 0, None);
    drop(hidden);
    let _echo = EchoServer::start(&site.net.server, address::SERVER6, 80);
    assert_found(&site, &nobody, 0, None);
}

#[test]
fn an_application_on_mptcp_is_told_of() {
    let site = Site::without_captures();
    let mut command = site.net.server.command("mptcpize");
    command.args(["run", "python3", "-m", "http.server", "80", "--bind", address::SERVER]);
    let server = Process::start("http.server", site.scratch.directory(), &mut command);
    let _server = server.listening(&site.net.server, 80);
    let auto = toml(&site, "", "");
    assert_found(&site, &auto, 0, None);
    let text = check(&site, &auto, &[]).stdout;
    assert!(text.contains("MPTCP socket on 80, so connections are translated"), "{text}");
    let accept = toml(&site, "hand_off = \"accept\"", "");
    assert_found(&site, &accept, 1, Some(("listener", "GODEBUG=multipathtcp=0")));
}

fn assert_pins_must_be_on_a_bpf_file_system(site: &Site) {
    let elsewhere = site.scratch.path("pins").display().to_string();
    let toml =
        toml(site, "", "").replace(&site.scratch.pin_path().display().to_string(), &elsewhere);
    assert_found(site, &toml, 2, Some(("bpffs", "one is mounted at ")));
    assert!(!site.scratch.path("pins").exists());
}

/// As after a virtual address has moved to the server.
#[test]
fn a_load_balancer_on_the_own_host_is_warned_of() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let trusting_itself = |tables: &str| {
        toml(&site, "", tables).replace("10.77.1.2/32", &format!("{}/32", address::SERVER))
    };
    assert_found(&site, &trusting_itself(""), 1, Some(("interface", "connects over lo")));
    let lo = "[[interface]]\n[[interface]]\nname = \"lo\"\n";
    assert_found(&site, &trusting_itself(lo), 0, None);
}

#[test]
fn a_running_agent_is_known() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).api_setting("http = \"127.0.0.1:9811\"");
    let mut agent = Agent::start(&site, &guard);
    let pid = agent.status().pid;
    let answer = agent.ask(&["check", "--config", agent.config()]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.stdout.contains(&format!("ok       agent: process {pid} runs")), "{answer:?}");
    // Without the file, its pins are found all the same.
    let pins = format!("bpffs: {} is on", site.scratch.pin_path().display());
    let answer = agent.ask(&["check"]);
    assert!(answer.stdout.contains(&pins), "{answer:?}");
    let nobody = site.scratch.path("nobody.sock").display().to_string();
    let answer = agent.ask(&["check", "--config", agent.config(), "--socket", &nobody]);
    assert_eq!(answer.code, 2, "{answer:?}");
    let problem = format!("problem  agent: process {pid} runs on");
    assert!(answer.stdout.contains(&problem), "{answer:?}");
    // Its address is not the mistake.
    assert_eq!(answer.stdout.matches("  problem  ").count(), 1, "{answer:?}");
    site.finish(&mut agent, &[]);
}

/// Without permission for anything, it says what is missing.
#[test]
fn whoever_is_not_root_is_told() {
    let site = Site::without_captures();
    let binary = site.scratch.path("proxyip");
    // By another process: a program that this one has open for writing cannot be run, and whatever another test
    // starts meanwhile has it open too for a moment.
    proxyip_tests::run(
        "cp",
        &[&agent_binary().display().to_string(), &binary.display().to_string()],
    );
    let mut command = site.net.server.command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(&binary).args(["check", "--socket", "/nonexistent"]);
    let answer = Answer::from(attempt(&mut command));
    assert_eq!(answer.code, 2, "{answer:?}");
    for part in ["problem  permissions: ", "run this as root", "problem  kernel: "] {
        assert!(answer.stdout.contains(part), "{part}: {answer:?}");
    }
}
