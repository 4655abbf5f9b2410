//! The agent's page in a browser: what it shows, and what it does when the agent is gone.

use std::net::{SocketAddr, TcpStream};

use proxyip_tests::header::{tlv, v2_with};
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Browser, Guard, Site, address, eventually};
use serde_json::{Value, json};

use crate::common::{
    DESTINATION, DESTINATION6, expect_names, open_and_send, open_for, socket_address, trusted_dial,
};

/// The clients on the page of flows that is shown, ascending.
const CLIENTS: &str = "[...document.querySelectorAll('#flows tbody')]
    .map((flow) => flow.rows[0].cells[0].textContent).sort()";

/// The listener `web`, and the page at [`open_page`]'s address.
pub(crate) fn guard() -> Guard {
    Guard::ports(&[80]).api_setting("http = \"127.0.0.1:9811\"")
}

/// A browser on the server that shows the page, and what the agent says.
pub(crate) fn open_page(site: &Site) -> Browser<'_> {
    let browser = Browser::start(site, &site.net.server);
    browser.open("http://127.0.0.1:9811/");
    browser.wait("document.getElementById('state').dataset.state === 'live'");
    browser
}

/// A live connection of a client of this address and port. Its header has these TLVs.
pub(crate) fn connect(site: &Site, client: &str, tlvs: &[u8]) -> TcpStream {
    let destination: SocketAddr = match socket_address(client) {
        SocketAddr::V4(_) => socket_address(DESTINATION),
        SocketAddr::V6(_) => socket_address(DESTINATION6),
    };
    let header = v2_with(socket_address(client), destination, tlvs);
    let bytes = [header, b"who am I?\n".to_vec()].concat();
    let stream = open_and_send(site, &trusted_dial(80), &bytes);
    expect_names(&stream);
    stream
}

/// Types into the search for a client, instead of what is there, and presses Enter.
pub(crate) fn search(browser: &Browser, client: &str) {
    browser.run(
        "document.getElementById('client').focus(); document.getElementById('client').select()",
    );
    browser.press(&format!("{client}\n"));
}

/// Waits until the page shows the flows of exactly these clients.
pub(crate) fn wait_clients(browser: &Browser, clients: &[&str]) {
    let expected = json!(clients);
    eventually(&format!("the flows of {clients:?}"), || {
        (browser.run(&format!("return {CLIENTS}")) == expected).then_some(())
    });
}

/// What the console has had must be nothing: no error, no violation of the policy.
pub(crate) fn assert_silent(browser: &Browser) {
    assert_eq!(browser.console(), Vec::<String>::new(), "the console");
}

#[test]
fn listeners_and_their_rates() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let other = Guard::ports(&[7000, 7001, 7002, 7006]).named("git");
    let mut agent = Agent::start(&site, &guard().with(&other));
    let browser = open_page(&site);

    let listener = |cell: u8| {
        format!(
            "return document.querySelector('#listeners tbody').rows[0].cells[{cell}].textContent"
        )
    };
    let names = "return [...document.querySelectorAll('#listeners tbody tr')].map((row) => [row.cells[0].textContent, row.cells[1].textContent])";
    assert_eq!(browser.run(names), json!([["web", "80"], ["git", "7000–7002, 7006"]]));
    let new_connections = agent.listener().new_connections;
    let shown = browser.run(&listener(2));
    assert_eq!(shown, [&*new_connections.hand_off, &new_connections.why].concat());

    let mut opened = 0;
    eventually("connections per second", || {
        drop(open_for(&site, opened));
        opened += 1;
        let rate = browser.run(&listener(3));
        rate.as_str()?.parse::<f64>().ok().filter(|rate| *rate > 0.0)
    });
    let accepted = "document.querySelector('#listeners tbody').rows[0].cells[5].textContent";
    browser.wait(&format!("{accepted}.replaceAll(',', '') === '{opened}'"));
    browser.wait("document.querySelector('#listeners path.curve').getAttribute('d').includes('L')");
    assert_silent(&browser);
    site.finish(&mut agent, &[]);
}

#[test]
fn flows_are_found_by_the_clients_address_and_network() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard());
    let clients = ["198.51.100.7:51234", "198.51.100.8:51234", "203.0.113.66:1024"];
    let _live = clients.map(|client| connect(&site, client, &[]));
    let browser = open_page(&site);
    wait_clients(&browser, &clients);

    search(&browser, "198.51.100.7");
    wait_clients(&browser, &clients[..1]);
    search(&browser, "198.51.100.0/24");
    wait_clients(&browser, &clients[..2]);
    search(&browser, "192.0.2.0/24");
    wait_clients(&browser, &[]);
    let top = "[...document.querySelectorAll('#clients button')].find((button) => button.textContent === '203.0.113.66')";
    browser.wait(&format!("{top} !== undefined"));
    browser.run(&format!("{top}.click()"));
    wait_clients(&browser, &clients[2..]);
    assert_silent(&browser);

    search(&browser, "nobody");
    browser.wait("document.getElementById('search-error').textContent !== ''");
    browser.wait("document.getElementById('announcement').textContent === document.getElementById('search-error').textContent");
    assert_eq!(browser.run("return document.getElementById('client').ariaInvalid"), "true");
    search(&browser, "198.51.100.8");
    wait_clients(&browser, &clients[1..2]);
    assert_eq!(browser.run("return document.getElementById('search-error').textContent"), "");
    site.finish(&mut agent, &[]);
}

#[test]
fn more_flows_than_a_page_has() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard());
    let live: Vec<_> = (0..130).map(|number| open_for(&site, number)).collect();
    let browser = open_page(&site);

    let mut pages = vec![browser.run(&format!("return {CLIENTS}"))];
    while browser.run("return document.getElementById('next').ariaDisabled") == "false" {
        browser.run("document.getElementById('next').click()");
        browser.wait(&format!(
            "document.getElementById('page').textContent === 'Page {}'",
            pages.len() + 1
        ));
        pages.push(browser.run(&format!("return {CLIENTS}")));
        assert!(pages.len() <= live.len(), "pages without end");
    }
    assert!(pages.len() > 1, "{pages:?}");
    let mut shown: Vec<_> =
        pages.iter().flat_map(|page| page.as_array().expect("a list")).collect();
    shown.sort_by_key(|client| client.as_str());
    let mut expected: Vec<_> =
        live.iter().map(|(_, client)| Value::from(client.to_string())).collect();
    expected.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
    assert_eq!(shown, expected.iter().collect::<Vec<_>>(), "each flow once");

    // A second click before the answer has come goes nowhere.
    search(&browser, "198.18.0.0/16");
    browser.wait("document.getElementById('page').textContent === 'Page 1'");
    let first = browser.run(&format!("return {CLIENTS}"));
    browser.run(
        "const next = document.getElementById('next'); next.click(); next.click(); next.click();",
    );
    browser.wait("document.getElementById('page').textContent === 'Page 2'");
    let second = browser.run(&format!("return {CLIENTS}"));
    assert_ne!(first, second);
    browser.run("document.getElementById('previous').click()");
    browser.wait("document.getElementById('page').textContent === 'Page 1'");
    assert_eq!(browser.run(&format!("return {CLIENTS}")), first);
    assert_silent(&browser);

    // If the agent cannot deliver a page, the shown page stays, and its way on still works.
    browser.run("document.getElementById('pause').click()");
    browser.wait("document.getElementById('state').dataset.state === 'paused'");
    agent.kill();
    browser.run("document.getElementById('next').click()");
    browser.wait("document.getElementById('state').dataset.state === 'lost'");
    assert_eq!(browser.run("return document.getElementById('page').textContent"), "Page 1");
    agent.start_again();
    browser.run("document.getElementById('next').click()");
    browser.wait("document.getElementById('page').textContent === 'Page 2'");
    assert_eq!(browser.run(&format!("return {CLIENTS}")), second);
    // A failed search begins at its first page when the agent is back.
    agent.kill();
    search(&browser, "198.18.0.1");
    browser.wait("document.getElementById('state').dataset.state === 'lost'");
    agent.start_again();
    browser.run("document.getElementById('pause').click()");
    wait_clients(&browser, &["198.18.0.1:40000"]);
    assert_eq!(browser.run("return document.getElementById('page').textContent"), "Page 1");
    site.finish(&mut agent, &[]);
}

#[test]
fn what_a_stranger_writes_into_tlvs_stays_text() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard());
    let hostile = [
        r#"<img src=x onerror="document.title='taken'">"#,
        "</script><script>document.title='taken'</script>",
        "\" onmouseover=\"document.title='taken'",
    ];
    let ssl = [vec![0x07, 0, 0, 0, 0], tlv(0x22, hostile[1].as_bytes())].concat();
    let tlvs = [
        tlv(0x01, hostile[2].as_bytes()),
        tlv(0x02, hostile[0].as_bytes()),
        tlv(0x05, hostile[0].as_bytes()),
        tlv(0x20, &ssl),
        tlv(0xe4, hostile[0].as_bytes()),
    ];
    let _live = connect(&site, "198.51.100.7:51234", &tlvs.concat());
    let browser = open_page(&site);
    browser.wait("document.querySelector('#flows tbody button') !== null");
    browser.run("document.querySelector('#flows tbody button').click()");
    browser.wait("document.querySelector('#flows dl').checkVisibility()");
    let texts = browser
        .run("return [...document.querySelectorAll('#flows dd')].map((text) => text.textContent)");
    for text in hostile {
        assert!(texts.as_array().expect("a list").contains(&text.into()), "{text}: {texts}");
    }
    assert_eq!(browser.run("return document.querySelectorAll('main img, main script').length"), 0);
    assert_eq!(browser.run("return document.title"), "proxyip");
    assert_silent(&browser);
    site.finish(&mut agent, &[]);
}
