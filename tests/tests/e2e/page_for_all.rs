//! The agent's page for those who use no mouse, see little, or read it on a telephone.

use std::fs;
use std::io::Write;
use std::net::TcpStream;

use proxyip_tests::header::tlv;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Browser, Guard, Scheme, Site, address, is_reset};
use serde_json::{Value, json};

use crate::common::trusted_dial;
use crate::page::{assert_silent, connect, guard, open_page, search};

/// The key, as [drivers](https://www.w3.org/TR/webdriver2/#keyboard-actions) call it.
const TAB: &str = "\u{e004}";

/// Texts and their backgrounds with a contrast below 4.5 (WCAG 2.2, 1.4.3), and how many texts there are.
const CONTRASTS: &str = r"
    const channels = (color) => color.match(/[\d.]+/g).map(Number);
    const luminance = (color) => {
        const [red, green, blue] = channels(color).map((value) => value / 255)
            .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const ground = (element) => {
        const color = getComputedStyle(element).backgroundColor;
        return (channels(color)[3] ?? 1) > 0 || !element.parentElement ? color : ground(element.parentElement);
    };
    const contrast = (one, other) => {
        const [dark, light] = [luminance(one), luminance(other)].sort((one, other) => one - other);
        return (light + 0.05) / (dark + 0.05);
    };
    const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const seen = [];
    while (nodes.nextNode()) {
        const element = nodes.currentNode.parentElement;
        if (nodes.currentNode.data.trim() && element.checkVisibility() && !element.closest('script, style, option')) {
            seen.push([nodes.currentNode.data, contrast(getComputedStyle(element).color, ground(element))]);
        }
    }
    for (const input of document.querySelectorAll('input, select')) {
        seen.push([input.id, contrast(getComputedStyle(input).color, ground(input))]);
        seen.push([input.id, contrast(getComputedStyle(input, '::placeholder').color, ground(input))]);
    }
    return { weak: seen.filter(([, contrast]) => !(contrast >= 4.5)), count: seen.length };";

/// axe-core, which `PROXYIP_AXE` names.
fn axe() -> String {
    let path = std::env::var_os("PROXYIP_AXE").expect(
        "the environment variable PROXYIP_AXE must name axe.min.js; `cargo xtask test` gets it",
    );
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("PROXYIP_AXE={}: {error}", path.display()))
}

/// A page with something in each of its parts.
struct Full<'a> {
    site: &'a Site,
    agent: Agent<'a>,
    browser: Browser<'a>,
    live: Vec<TcpStream>,
    _echo: EchoServer,
}

impl<'a> Full<'a> {
    fn open(site: &'a Site) -> Self {
        let echo = EchoServer::start(&site.net.server, address::SERVER, 80);
        // Trusting everybody is worth a warning.
        let everybody = Guard::ports(&[7000]).named("everybody").trusting("0.0.0.0/0");
        let agent = Agent::start(site, &guard().with(&everybody));
        let live = vec![
            connect(site, "198.51.100.7:51234", &tlv(0x02, b"example.org")),
            connect(site, "198.51.100.8:51234", &[]),
        ];
        let mut refused = trusted_dial(80).open(&site.net.balancer);
        refused.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("cannot send");
        assert!(is_reset(&refused));
        let browser = open_page(site);
        browser.wait("document.querySelectorAll('#flows tbody').length === 2");
        browser.wait("document.querySelector('#reasons tbody tr') !== null");
        browser.wait("document.querySelector('#clients tbody tr') !== null");
        browser.wait("document.querySelector('#attention li') !== null");
        browser.run("document.querySelector('summary').click(); document.querySelector('#flows tbody button').click()");
        Self { site, agent, browser, live, _echo: echo }
    }

    fn finish(mut self) {
        self.site.finish(&mut self.agent, &[("header_missing", 1)]);
    }
}

#[test]
fn nobody_is_shut_out_on_any_screen() {
    let axe = axe();
    let site = Site::without_captures();
    let page = Full::open(&site);
    it_fits_a_telephone(&page.browser);
    for scheme in [Scheme::Light, Scheme::Dark] {
        nobody_is_shut_out(&page.browser, &axe, scheme);
    }
    page.finish();
}

fn nobody_is_shut_out(browser: &Browser, axe: &str, scheme: Scheme) {
    browser.prefer(scheme);
    let is_dark = "return matchMedia('(prefers-color-scheme: dark)').matches";
    assert_eq!(browser.run(is_dark), scheme == Scheme::Dark);
    search(browser, "nobody");
    browser.wait("document.getElementById('search-error').textContent !== ''");

    let found = browser.run(CONTRASTS);
    assert_eq!(found["weak"], json!([]), "contrasts");
    assert!(found["count"].as_u64() > Some(50), "{found}");
    let violations = browser.run_async(
        axe,
        "const done = arguments[arguments.length - 1];
         axe.run().then(({ violations, passes }) => done({
             passes: passes.length,
             violations: violations.map(({ id, help, nodes }) => [id, help, nodes.map(({ html }) => html)]),
         }), (error) => done(String(error)));",
    );
    assert_eq!(violations["violations"], json!([]), "axe");
    assert!(violations["passes"].as_u64() > Some(20), "axe: {violations}");
}

/// A choice counts more than the system's, and lasts.
#[test]
fn light_and_dark_are_a_choice() {
    let site = Site::without_captures();
    let page = Full::open(&site);
    let browser = &page.browser;
    let ground = || browser.run("return getComputedStyle(document.body).backgroundColor");
    browser.prefer(Scheme::Light);
    let light = ground();
    browser.prefer(Scheme::Dark);
    let dark = ground();
    assert_ne!(light, dark);
    browser.run("document.getElementById('theme').focus()");
    browser.press("L");
    browser.wait("document.getElementById('theme').value === 'light'");
    assert_eq!(ground(), light);
    browser.open("http://127.0.0.1:9811/");
    assert_eq!(ground(), light);
    assert_silent(browser);
    page.finish();
}

/// The element that has the focus: its id, or else its text.
fn focused(browser: &Browser) -> String {
    let name = browser
        .run("return document.activeElement.id || document.activeElement.textContent.trim()");
    name.as_str().expect("text").to_owned()
}

fn tab_to(browser: &Browser, name: &str) {
    let mut passed = Vec::new();
    while focused(browser) != name {
        passed.push(focused(browser));
        assert!(passed.len() < 60, "no way to {name}: {passed:?}");
        browser.press(TAB);
    }
}

#[test]
fn the_keyboard_is_enough() {
    let site = Site::without_captures();
    let mut page = Full::open(&site);
    let browser = &page.browser;
    browser.open("http://127.0.0.1:9811/");
    browser.wait("document.querySelectorAll('#flows tbody').length === 2");
    let order = [0; 3].map(|_| {
        browser.press(TAB);
        focused(browser)
    });
    assert_eq!(order, ["Skip to the content", "pause", "theme"]);

    browser.run("document.activeElement.blur()");
    browser.open("http://127.0.0.1:9811/");
    browser.press(&format!("{TAB}\n"));
    assert_eq!(focused(browser), "main", "the skip link");
    tab_to(browser, "client");
    browser.press("198.51.100.7\n");
    browser.wait("document.querySelectorAll('#flows tbody').length === 1");
    tab_to(browser, "Details");
    browser.press("\n");
    browser.wait("document.activeElement.ariaExpanded === 'true'");
    let ring = browser.run("return getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(ring, "solid", "the focus is visible");
    wait_refreshes(browser, 2);
    assert_eq!(focused(browser), "Details", "a refresh takes the focus away");
    assert_eq!(browser.run("return document.querySelector('#flows dl').checkVisibility()"), true);

    page.live.clear();
    browser.wait("document.querySelector('#flows tbody').classList.contains('gone')");
    assert_eq!(focused(browser), "Details", "the end of the flow takes the focus away");
    browser.press(TAB);
    browser.wait("document.querySelector('#flows tbody') === null");

    browser.run("document.getElementById('pause').focus()");
    browser.press(" ");
    browser.wait("document.getElementById('state').dataset.state === 'paused'");
    assert_eq!(browser.run("return document.activeElement.textContent"), "Resume");
    browser.press(" ");
    browser.wait("document.getElementById('state').dataset.state === 'live'");
    assert_silent(browser);
    page.finish();
}

/// Waits until the page has asked the agent this many more times.
fn wait_refreshes(browser: &Browser, count: u32) {
    let asked = "performance.getEntriesByName(location.origin + '/v1/status').length";
    let before = browser.run(&format!("return {asked}")).as_u64().expect("a count");
    browser.wait(&format!("{asked} > {before} + {count}"));
}

/// Longer parts scroll separately. A window of 1280 with text twice as large has a width of 640.
fn it_fits_a_telephone(browser: &Browser) {
    for width in [360, 640, 1280] {
        browser.resize(width, 740);
        browser.wait(&format!("innerWidth === {width}"));
        let needed = browser.run("return document.documentElement.scrollWidth");
        assert_eq!(needed, Value::from(width), "pixels that the page takes");
    }
    assert_silent(browser);
}
