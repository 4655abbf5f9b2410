//! `proxyip reload`.

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, Site, address};

use crate::reload::{CLIENT_NET, assert_accepted, assert_refused};

#[test]
fn a_reload_by_command_waits_and_says_how_it_ended() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]);
    let mut agent = Agent::start(&site, &guard);
    let metric = |agent: &Agent| {
        let text = agent.api().reply("GET", "/metrics").body;
        let text = String::from_utf8(text).expect("text");
        let name = "proxyip_config_last_reload_successful ";
        text.lines().find_map(|line| line.strip_prefix(name)).expect("the metric").to_owned()
    };
    agent.configure(&guard.clone().setting(&format!("deny = [{CLIENT_NET:?}]")));
    let answer = agent.ask(&["reload"]);
    assert_eq!((answer.code, &*answer.stdout), (0, "the configuration is in force"), "{answer:?}");
    assert_refused(&site, 80);

    agent.configure(&guard.clone().setting("colour = 1"));
    let answer = agent.ask(&["reload"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("listener.colour"), "{answer:?}");
    assert_refused(&site, 80);
    assert_eq!(metric(&agent), "0");
    let status = agent.status();
    assert!(!status.last_reload.successful, "{status:?}");
    let found = &status.findings[0];
    assert!(found.contains("was refused") && found.contains("listener.colour"), "{found}");

    agent.configure(&guard);
    let said: serde_json::Value = agent.json(&["reload"]);
    assert_eq!(said["warnings"].as_array().map(Vec::len), Some(0), "{said}");
    assert_accepted(&site, 80);
    assert_eq!(metric(&agent), "1");
    assert!(agent.status().findings.is_empty());
    let nobody = agent.ask(&["reload", "--socket", "/nonexistent.sock"]);
    assert_eq!(nobody.code, 2, "{nobody:?}");
    site.finish(&mut agent, &[("denied_reset", 2)]);
}
