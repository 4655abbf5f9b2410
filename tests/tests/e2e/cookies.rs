//! Cookies that are too old, or that another sender was given: they begin no connection. All come from trusted
//! addresses, with a complete header.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::Duration;

use proxyip_common::cookie::{Agreed, Check};
use proxyip_tests::{Agent, Cookies, Flooder, Forged, HandOff, RawPeer, Site, eventually};

use crate::common::{CLIENT, header_of_client, socket_address};
use crate::crowd::{Crowd, guard, server, settle};
use crate::raw::{DATA, QUESTION};

/// What [`RawPeer::open`] agrees on if it offers [`MSS`].
const AGREED: Agreed = Agreed { mss_class: 5, sack: false, window_scale: None };
/// MSS 1460 as a TCP option.
const MSS: [u8; 4] = [2, 4, 0x05, 0xb4];

/// The server's applications on ports 80 and 81, which are the test itself.
struct Applications([TcpListener; 2]);

impl Applications {
    fn start(site: &Site) -> Self {
        Self([80, 81].map(|port| {
            let listener = site.net.server.enter(|| TcpListener::bind(server(port)));
            let listener = listener.expect("a listener");
            listener.set_nonblocking(true).expect("O_NONBLOCK");
            listener
        }))
    }

    /// Takes a connection. It is the only connection that the server has ever had.
    fn expect_client(&self, site: &Site) {
        let (_, client) = eventually("a connection", || self.0[0].accept().ok());
        assert_eq!(client, socket_address(CLIENT));
        assert_eq!(site.net.server.statistic("Tcp", "PassiveOpens"), 1);
        self.expect_nobody_waiting();
    }

    /// Asserts that the server has never made a socket from what came.
    fn expect_nothing(&self, site: &Site, agent: &Agent) {
        assert_eq!(site.net.server.statistic("Tcp", "PassiveOpens"), 0);
        assert_eq!(site.net.server.run("ss -Htan state connected"), "");
        assert_eq!(["handed_over", "established"].map(|label| agent.counter(label)), [0, 0]);
        self.expect_nobody_waiting();
    }

    fn expect_nobody_waiting(&self) {
        for listener in &self.0 {
            let accepted = listener.accept().map_err(|error| error.kind());
            assert!(matches!(accepted, Err(ErrorKind::WouldBlock)), "{accepted:?}");
        }
    }
}

/// Every test here.
fn with_applications(test: impl FnOnce(&Site, &Agent, &Applications, &Cookies)) {
    let site = Site::without_captures();
    settle(&site);
    let applications = Applications::start(&site);
    let guard = guard().also_guarding(81).hand_off(HandOff::Auto);
    let mut agent = Agent::start(&site, &guard);
    let cookies = Cookies::of(&site);
    test(&site, &agent, &applications, &cookies);
    site.finish(&mut agent, &[]);
}

fn first_segment() -> Vec<u8> {
    [header_of_client(), QUESTION.to_vec()].concat()
}

/// Sends a header with a cookie; asserts that it is refused, as it has to be. One cookie in 256 has by chance the flow
/// tag of the connection, and is dropped without an answer.
fn expect_refusal(agent: &Agent, cookies: &Cookies, peer: &mut RawPeer, cookie: u32) {
    let (from, to) = peer.ends();
    let check = cookies.check(from, to, peer.sequence.wrapping_sub(1), cookie);
    let held = agent.counter("out_of_order");
    let start = peer.sequence;
    peer.acknowledgment = cookie.wrapping_add(1);
    peer.send(DATA, &[], &first_segment());
    peer.sequence = start;
    if check == Check::SameFlow {
        agent.wait_counter("out_of_order", held + 1);
        assert_eq!(peer.receive(Duration::from_millis(100)), None);
        return;
    }
    assert_eq!(check, Check::Foreign);
    let answer = peer.receive(Duration::from_secs(5)).expect("a RST");
    assert_eq!((answer.flags, answer.sequence), (RawPeer::RST, peer.acknowledgment), "{answer:?}");
}

#[test]
fn a_made_up_cookie_opens_nothing() {
    with_applications(|site, agent, applications, cookies| {
        let mut peer = RawPeer::new(site, 4000, 80);
        let cookie = peer.open(&MSS).sequence;
        let (from, to) = peer.ends();
        assert_eq!(cookie, cookies.make(0, from, to, RawPeer::INITIAL, AGREED), "as computed here");
        // The epoch, the flow tag, both tags.
        for change in [1 << 31, 1 << 3, 0x0101_0101] {
            expect_refusal(agent, cookies, &mut peer, cookie ^ change);
        }
        applications.expect_nothing(site, agent);
        peer.acknowledgment = cookie.wrapping_add(1);
        peer.send(DATA, &[], &first_segment());
        applications.expect_client(site);
    });
}

#[test]
fn twenty_thousand_guesses_open_nothing() {
    const GUESSES: u64 = 20_000;
    with_applications(|site, agent, applications, cookies| {
        let flooder = Flooder::new(site);
        let check = |guess: &Forged| {
            let (isn, cookie) =
                (guess.sequence.wrapping_sub(1), guess.acknowledgment.wrapping_sub(1));
            cookies.check(guess.source, guess.target, isn, cookie)
        };
        let mut expected = [0; 2];
        let mut number = 0;
        let counted = |label| agent.counter(label);
        // Not all are answered that are sent so fast.
        let foreign = || counted("cookie_foreign") + counted("cookie_foreign_unanswered");
        let refused = || [foreign(), counted("out_of_order")];
        // The link may lose a few.
        while refused().iter().sum::<u64>() < GUESSES {
            let guess = |number| Crowd::Trusted.segment(number, DATA, &first_segment());
            let mut guesses: Vec<_> = (number..number + 1000).map(guess).collect();
            // About one in 4,000,000 is right.
            guesses.retain(|guess| !matches!(check(guess), Check::Valid(_)));
            number += 1000;
            assert!(u64::from(number) < 2 * GUESSES, "most guesses were lost: {:?}", refused());
            for guess in &guesses {
                expected[usize::from(check(guess) == Check::SameFlow)] += 1;
            }
            flooder.send(guesses);
        }
        let refused = refused();
        eprintln!("{number} guesses; foreign, held back: {refused:?} of {expected:?}");
        assert!(refused.iter().zip(expected).all(|(refused, expected)| *refused <= expected));
        applications.expect_nothing(site, agent);
    });
}
