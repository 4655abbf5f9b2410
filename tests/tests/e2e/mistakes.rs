//! Mistakes in the configuration, here or at the load balancer: who reports them, and when.

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{
    Agent, Answer, Dial, Guard, Site, address, agent_binary, attempt, eventually, is_reset,
};

use crate::common::{
    CLIENT, ask_names, assert_both, header_of_client, open_and_send, socket_address, trusted_dial,
};

/// `proxyip check` on the server, where no agent is unless these arguments say so.
fn check(site: &Site, arguments: &[&str]) -> Answer {
    let mut command = site.net.server.command(&agent_binary().display().to_string());
    attempt(command.arg("check").args(arguments)).into()
}

fn wait_finding(agent: &Agent, parts: &[&str]) {
    let answer = eventually("a finding", || {
        let answer = agent.ask(&["check"]);
        answer.stdout.contains("found: ").then_some(answer)
    });
    assert_eq!(answer.code, 1, "{answer:?}");
    let findings = agent.status().findings.concat();
    for part in parts {
        assert!(answer.stdout.contains(part), "{part}: {answer:?}");
        assert!(findings.contains(part), "{part}: {findings}");
        agent.wait_diagnostic(part);
    }
}

#[test]
fn trust_in_everybody_is_warned_of() {
    let site = Site::without_captures();
    let guard = Guard::ports(&[80]).trusting("0.0.0.0/0");
    let mut agent = Agent::start(&site, &guard);
    let answer = agent.ask(&["check", "--config", agent.config()]);
    assert_eq!(answer.code, 1, "{answer:?}");
    let begin = "warning: trusts_everyone: ";
    let warning = answer.stdout.lines().find_map(|line| line.strip_prefix(begin));
    let warning = warning.unwrap_or_else(|| panic!("{answer:?}"));
    assert!(warning.contains("0.0.0.0/0"), "{warning}");
    agent.wait_diagnostic(warning);
    // The agent says so unasked.
    let answer = agent.ask(&["check"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stdout.contains(&format!("{begin}{warning}")), "{answer:?}");
    site.finish(&mut agent, &[]);
}

#[test]
fn a_load_balancer_whose_addresses_are_refused_is_found() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).trusting("192.0.2.0/24").setting("untrusted = \"reset\"");
    let mut agent = Agent::start(&site, &guard);
    for _ in 0..3 {
        assert!(trusted_dial(80).attempt(&site.net.balancer).is_err());
    }
    let source = format!("({})", address::BALANCER);
    wait_finding(&agent, &["listener \"web\"", "preserve_client_ip.enabled", "`trusted`", &source]);
    site.finish(&mut agent, &[("untrusted_reset", 3)]);
}

#[test]
fn trusted_sources_without_headers_are_found_until_headers_come() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    for _ in 0..3 {
        assert!(is_reset(&open_and_send(&site, &trusted_dial(80), b"GET / HTTP/1.1\r\n\r\n")));
    }
    wait_finding(&agent, &["listener \"web\"", "proxy_protocol_v2.enabled"]);
    let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
    eventually("no finding", || (agent.ask(&["check"]).code == 0).then_some(()));
    assert!(agent.status().findings.is_empty());

    // Between others that have one, those are found too.
    for _ in 0..3 {
        assert!(is_reset(&open_and_send(&site, &trusted_dial(80), b"GET / HTTP/1.1\r\n\r\n")));
        ask_names(&open_and_send(&site, &trusted_dial(80), &header_of_client()));
    }
    wait_finding(&agent, &["while others sent one"]);
    site.finish(&mut agent, &[("header_missing", 6)]);
}

/// Traffic from untrusted sources without headers is nobody's mistake.
#[test]
fn headers_of_untrusted_sources_are_found_and_other_traffic_is_not() {
    let site = Site::without_captures();
    let _echoes = [80, 81].map(|port| EchoServer::start(&site.net.server, address::SERVER, port));
    let other = Guard::ports(&[81]).named("ordinary");
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).with(&other));
    let stranger = |port| Dial::to(address::SERVER, port).from(address::STRANGER, 0);
    for _ in 0..5 {
        let stream = stranger(81).open(&site.net.balancer);
        assert_both(ask_names(&stream), stream.local_addr().expect("a bound socket"));
    }
    let mut with_header = header_of_client();
    with_header.push(b'\n');
    let stream = open_and_send(&site, &stranger(80), &with_header);
    assert!(!is_reset(&stream));
    let source = format!("({})", address::STRANGER);
    wait_finding(&agent, &["listener \"web\"", "preserve_client_ip.enabled", "`trusted`", &source]);
    // The counters of both listeners are looked at in one go, and the ordinary ones came first.
    let findings = agent.status().findings.concat();
    assert!(!findings.contains("ordinary"), "{findings}");
    site.finish(&mut agent, &[]);
}

/// A header between a reload and the agent's next look is found. The finding follows its listener's name, and goes when
/// its source is trusted.
#[test]
fn findings_of_strangers_follow_reloads() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let web = Guard::ports(&[80]);
    let mut agent = Agent::start(&site, &web);
    agent.reload(&web.clone().setting("header_timeout = 6"));
    let stranger = Dial::to(address::SERVER, 80).from(address::STRANGER, 0);
    assert!(!is_reset(&open_and_send(
        &site,
        &stranger,
        &[&header_of_client()[..], b"\n"].concat()
    )));
    wait_finding(&agent, &["listener \"web\": PROXY headers", ", 1 by now: "]);
    let wait_findings = |agent: &Agent, beginning: &str| {
        let named = |agent: &Agent| agent.status().findings.concat();
        eventually(beginning, || named(agent).starts_with(beginning).then_some(()));
    };
    let shop = web.named("shop");
    agent.reload(&shop);
    wait_findings(&agent, "listener \"shop\": PROXY headers");
    agent.reload(&shop.also_trusting(&format!("{}/32", address::STRANGER)));
    eventually("no finding", || agent.status().findings.is_empty().then_some(()));
    site.finish(&mut agent, &[]);
}

#[test]
fn a_file_is_checked_without_an_agent() {
    const RIGHT: &str = "[[listener]]\nports = [80]\ntrusted = [\"10.0.0.0/8\"]\n";
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let socket = site.scratch.path("nobody.sock").display().to_string();
    for (text, code, parts) in [
        (RIGHT.to_owned(), 0, ["no mistakes found", "nothing could be learnt from traffic"]),
        (RIGHT.replace("10.0.0.0/8", "0.0.0.0/0"), 1, ["warning: ", "0.0.0.0/0"]),
        (
            format!("{RIGHT}colour = 1\nhand_off = \"guess\"\n"),
            2,
            ["check.toml:4: listener.colour: ", "check.toml:5: listener.hand_off: "],
        ),
    ] {
        let file = site.scratch.write("check.toml", &text);
        let answer = check(&site, &["--config", &file, "--socket", &socket]);
        assert_eq!(answer.code, code, "{text}{answer:?}");
        assert!(parts.iter().all(|part| answer.stdout.contains(part)), "{text}{answer:?}");
    }
    let answer = check(&site, &["--socket", &socket]);
    assert_eq!(answer.code, 0, "neither a file nor an agent: {answer:?}");
    for part in ["this host\n", "no mistakes found", "nothing could be learnt from traffic"] {
        assert!(answer.stdout.contains(part), "{part}: {answer:?}");
    }
}
