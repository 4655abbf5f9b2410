//! `proxyip check --diff`: what a start or a reload would change, and what has drifted.

use proxyip_api::difference::{Difference, How};
use proxyip_api::status::InterfaceJson;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Answer, Guard, Site, address, agent_binary, attempt};

fn interface(name: &str) -> InterfaceJson {
    InterfaceJson { name: name.into(), netns: "host".into(), xdp: None }
}

/// What the command answers, as JSON.
fn difference(answer: &Answer) -> Difference {
    serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[test]
fn a_difference_is_what_a_start_or_a_reload_would_change() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]);
    assert_a_start_is_described(&site, &guard);
    let mut agent = Agent::start(&site, &guard);
    let ask = |agent: &Agent| agent.ask(&["check", "--diff", "--config", agent.config(), "--json"]);
    let same = agent.ask(&["check", "--diff"]);
    assert_eq!(same.code, 0, "{same:?}");
    assert!(same.stdout.starts_with("no difference between "), "{same:?}");

    let lo = "[[interface]]\nname = \"lo\"";
    let changed =
        guard.clone().also_guarding(81).interface_setting(lo).set("a", "cidrs = \"::/0\"");
    agent.configure(&changed);
    let answer = ask(&agent);
    let found = difference(&answer);
    assert_eq!((answer.code, found.agent), (1, Some(agent.status().pid)), "{answer:?}");
    let places: Vec<_> =
        found.changes.iter().map(|one| (&*one.section, one.name.as_deref())).collect();
    let expected = [("interface", Some("lo")), ("listener", Some("web")), ("set", Some("a"))];
    assert_eq!(places, expected);
    let How::Items { added, .. } = &found.changes[1].how else { panic!("{found:?}") };
    assert_eq!((added.count, &*added.first), (1, &["81".to_owned()][..]));
    assert_eq!((&*found.attach, &*found.leave), (&[interface("lo")][..], &[][..]));
    // Nothing has changed yet.
    assert_eq!(agent.listener().ports, [80]);
    agent.hang_up();
    assert_eq!(ask(&agent).code, 0, "{:?}", ask(&agent));
    assert_eq!(agent.listener().ports, [80, 81]);

    agent.configure(&guard.clone().agent_setting("max_flows = 2048"));
    let answer = agent.ask(&["check", "--diff", "--config", agent.config()]);
    assert_eq!(answer.code, 1, "{answer:?}");
    for line in [
        "a reload is refused: agent.max_flows: stop the agent, run `proxyip detach --pin-path ",
        "listener \"web\": ports: removed 81\n",
        "set \"a\": removed\n",
        "leave: lo",
    ] {
        assert!(answer.stdout.contains(line), "{line}: {answer:?}");
    }
    assert_a_second_agent_is_refused(&site, &guard);
    assert_drift_is_named(&mut agent, &changed);
    site.finish(&mut agent, &[]);
}

/// Asks no agent what a start with this file would do.
fn ask_of_start(site: &Site, file: &str) -> Answer {
    let mut command = site.net.server.command(&agent_binary().display().to_string());
    attempt(command.args(["check", "--diff", "--config", file])).into()
}

/// One that has its pins and its socket elsewhere, and wants the interface that is served.
fn assert_a_second_agent_is_refused(site: &Site, guard: &Guard) {
    let (pins, socket) = (site.scratch.pin_path(), site.scratch.path("api.sock"));
    let elsewhere = |text: String, path: &str| {
        assert!(text.contains(path), "{path}: {text}");
        text.replace(path, &format!("{path}-b"))
    };
    let text = elsewhere(guard.toml(&site.scratch), &pins.display().to_string());
    let text = elsewhere(text, &socket.display().to_string());
    let answer = ask_of_start(site, &site.scratch.write("second.toml", &text));
    let refused = "a start fails: programs of another proxyip are attached, which are not pinned";
    assert!(answer.code == 1 && answer.stdout.contains(refused), "{answer:?}");
    assert!(answer.stdout.contains(&format!("below {}", pins.display())), "{answer:?}");
}

fn assert_a_start_is_described(site: &Site, guard: &Guard) {
    let ask = |file: &str| ask_of_start(site, file);
    let answer = ask(&site.scratch.write("start.toml", &guard.toml(&site.scratch)));
    assert_eq!(answer.code, 1, "{answer:?}");
    for line in
        ["listener \"web\": added: ports 80; trusted ", "attach: eth0\n", "note: no agent runs"]
    {
        assert!(answer.stdout.contains(line), "{line}: {answer:?}");
    }
    assert!(!site.scratch.pin_path().exists(), "it changes nothing");
    assert_eq!(ask("/nonexistent").code, 2);
}

/// The configuration is the same, but what is in force is not what it says.
fn assert_drift_is_named(agent: &mut Agent, in_force: &Guard) {
    agent.configure(in_force);
    let drain = |verb: &str| agent.ask(&["listener", verb, "web", "--port", "81"]);
    assert_eq!(drain("drain").code, 0);
    let answer = agent.ask(&["check", "--diff", "--config", agent.config(), "--json"]);
    let found = difference(&answer);
    let drift: Vec<_> = found.drift.iter().map(|one| &*one.label).collect();
    assert_eq!((answer.code, drift), (1, vec!["drained"]), "{answer:?}");
    assert_eq!((found.changes.len(), found.attach.len()), (0, 0), "{answer:?}");
    assert_eq!(drain("resume").code, 0);
}
