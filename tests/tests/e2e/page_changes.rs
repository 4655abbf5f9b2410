//! The agent's page while the agent, its listeners or its peers change.

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, Site, address, eventually, is_reset};

use crate::common::{open_and_send, trusted_dial};
use crate::page::{assert_silent, connect, guard, open_page, search, wait_clients};

#[test]
fn it_says_that_the_agent_is_gone_and_recovers() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard());
    let _live = connect(&site, "198.51.100.7:51234", &[]);
    let browser = open_page(&site);
    wait_clients(&browser, &["198.51.100.7:51234"]);
    assert_silent(&browser);

    let announced = |text: &str| {
        browser.wait(&format!(
            "document.getElementById('announcement').textContent.includes('{text}')"
        ));
    };
    agent.kill();
    browser.wait("document.getElementById('state').dataset.state === 'lost'");
    announced("does not answer");
    wait_clients(&browser, &["198.51.100.7:51234"]);
    agent.start_again();
    browser.wait("document.getElementById('state').dataset.state === 'live'");
    announced("started again");
    wait_clients(&browser, &["198.51.100.7:51234"]);
    // Who has paused the page is told when a search fails, and what is shown stays what it says it is.
    browser.run("document.getElementById('pause').click()");
    browser.wait("document.getElementById('state').dataset.state === 'paused'");
    agent.kill();
    search(&browser, "198.51.100.9");
    browser.wait("document.getElementById('state').dataset.state === 'lost'");
    announced("does not answer");
    agent.start_again();
    search(&browser, "198.51.100.9");
    browser.wait("document.getElementById('state').dataset.state === 'paused'");
    wait_clients(&browser, &[]);
    site.finish(&mut agent, &[]);
}

#[test]
fn refused_peers_are_no_new_connections() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard());
    let browser = open_page(&site);
    let text = |id: &str| {
        let text = browser.run(&format!("return document.getElementById('{id}').textContent"));
        text.as_str().expect("text").to_owned()
    };
    let mut refused = 0;
    eventually("refusals per second", || {
        let stream = open_and_send(&site, &trusted_dial(80), b"GET / HTTP/1.1\r\n\r\n");
        assert!(is_reset(&stream));
        refused += 1;
        assert!(["–", "0"].contains(&text("new-rate").as_str()), "{}", text("new-rate"));
        text("refused-rate").parse::<f64>().ok().filter(|rate| *rate > 0.0)
    });
    let row = "return document.querySelector('#listeners tbody').rows[0].cells[3].textContent";
    assert_eq!(browser.run(row), "0");
    site.finish(&mut agent, &[("header_missing", refused)]);
}

/// A reload may remove a listener while the page shows its flows.
#[test]
fn a_listener_that_is_gone_cannot_be_searched_for() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let alone = guard();
    let mut agent = Agent::start(&site, &alone.clone().with(&Guard::ports(&[81]).named("other")));
    let _live = connect(&site, "198.51.100.7:51234", &[]);
    let browser = open_page(&site);
    browser.run(
        "const listener = document.getElementById('listener');
         listener.value = 'other'; listener.dispatchEvent(new Event('change'));",
    );
    wait_clients(&browser, &[]);
    agent.reload(&alone);
    wait_clients(&browser, &["198.51.100.7:51234"]);
    assert_eq!(browser.run("return document.getElementById('listener').value"), "");
    assert_eq!(browser.run("return document.getElementById('search-error').textContent"), "");
    assert_silent(&browser);
    site.finish(&mut agent, &[]);
}
