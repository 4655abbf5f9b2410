//! Secrets of the cookie change with the epochs, here of a second.

use std::time::{Duration, Instant};

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, Site, address, is_reset};

use crate::common::{
    CLIENT, ask_names, assert_both, header_of_client, open_and_send, socket_address, trusted_dial,
};
use crate::split::send_parts;

/// A cookie counts for an epoch at least, and for two at most.
const EPOCH: Duration = Duration::from_secs(2);

fn guard() -> Guard {
    let setting = format!("handshake_timeout = {}", EPOCH.as_secs());
    Guard::ports(&[80])
        .hand_off(HandOff::Accept)
        .setting("header_timeout = 1")
        .agent_setting(&setting)
}

/// Some of the handshakes are in flight when an epoch ends, some from one second to the next.
#[test]
fn rotation_breaks_no_handshake() {
    const CONNECTIONS: u32 = 200;
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            let site = &site;
            scope.spawn(move || {
                // Begun over four epochs, silent for up to one; a little less, as the machine may be busy.
                std::thread::sleep(4 * EPOCH * number / CONNECTIONS);
                let stream = trusted_dial(80).open(&site.net.balancer);
                std::thread::sleep(EPOCH * 3 / 4 * (number % 10) / 10);
                let header = header_of_client();
                // Half of them in two parts.
                let at = if number % 2 == 0 { 20 } else { header.len() };
                send_parts(&stream, &[&header[..at], &header[at..]]);
                assert_both(ask_names(&stream), socket_address(CLIENT));
            });
        }
    });
    assert!(start.elapsed() > 4 * EPOCH);
    assert_eq!(agent.counter("established"), u64::from(CONNECTIONS));
    site.finish(&mut agent, &[]);
}

#[test]
fn after_two_epochs_a_handshake_is_over() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard());
    let stream = trusted_dial(80).open(&site.net.balancer);
    std::thread::sleep(2 * EPOCH + Duration::from_millis(100));
    send_parts(&stream, &[&header_of_client()]);
    assert!(is_reset(&stream));
    assert_eq!((agent.counter("handed_over"), agent.counter("cookie_foreign")), (0, 1));
    let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
    site.finish(&mut agent, &[]);
}
