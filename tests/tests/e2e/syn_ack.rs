//! What the SYN-ACK offers: the same as this namespace's own TCP would.

use std::net::{IpAddr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, CapturedSegment, Dial, Guard, HandOff, Plan, Site, eventually};

use crate::common::{
    CLIENT, ask_names, assert_echoed, auto_and_translate, header_of_client, open_and_send, pattern,
    socket_address, trusted_dial, trusted_dial6,
};

auto_and_translate!(
    jumbo_frames_are_offered_and_used,
    options_are_those_that_the_load_balancer_offers
);

/// The TCP options of one SYN-ACK.
#[derive(Debug)]
struct Offer {
    mss: u32,
    window_scale: bool,
    sack: bool,
    timestamps: bool,
}

/// Opens and uses a connection; returns what the SYN-ACK offered.
fn used_offer(site: &Site, dial: &Dial) -> Offer {
    let stream = open_and_send(site, &unlike_any_before(dial), &header_of_client());
    assert_eq!(ask_names(&stream).named.port(), socket_address(CLIENT).port());
    assert_echoed(&stream, &pattern(400_000));
    offer_to(site, &stream)
}

/// Opens a connection and leaves it; returns what the SYN-ACK offered.
fn unused_offer(site: &Site, dial: &Dial) -> Offer {
    offer_to(site, &unlike_any_before(dial).open(&site.net.balancer))
}

/// From a port that no connection has had: while the capture lags, it shows the last SYN-ACK to the port.
fn unlike_any_before(dial: &Dial) -> Dial {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    dial.clone().from_port(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What the SYN-ACK of this connection offered.
fn offer_to(site: &Site, stream: &TcpStream) -> Offer {
    let port = stream.local_addr().expect("a bound socket").port();
    let is_offer = |segment: &CapturedSegment| segment.destination.port() == port && segment.syn();
    let syn_ack = eventually("a SYN-ACK in the capture", || {
        site.balancer_capture().segments().into_iter().rfind(is_offer)
    });
    let mss = syn_ack.mss().expect("an MSS").into();
    let [window_scale, sack, timestamps] = [3, 4, 8].map(|kind| syn_ack.has_option(kind));
    Offer { mss, window_scale, sack, timestamps }
}

/// The longest segment that one end has sent so far, bytes of payload.
fn longest_segment(site: &Site, source: &str) -> u32 {
    let source: IpAddr = source.parse().expect("an address");
    let segments = site.balancer_capture().segments().into_iter();
    let lengths = segments.filter(|sent| sent.source.ip() == source).map(|sent| sent.length);
    lengths.max().filter(|longest| *longest > 0).expect("segments")
}

fn jumbo_frames_are_offered_and_used(hand_off: HandOff) {
    let site = Site::with(&Plan { mtu: 9001, ..Plan::default() });
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    assert_eq!(used_offer(&site, &trusted_dial(80)).mss, 8961);
    assert_eq!(used_offer(&site, &trusted_dial6(80)).mss, 8941);
    site.stop_captures();
    for address in ["10.77.1.2", "10.77.1.1", "fd00:77:1::2", "fd00:77:1::1"] {
        let longest = longest_segment(&site, address);
        eprintln!("{address} sent up to {longest} bytes in a segment");
        assert!(longest > 8000, "{address} sent at most {longest} bytes");
    }
    site.finish(&mut agent, &[]);
}

#[test]
fn mtu_of_the_route_and_changes_of_it_are_followed() {
    let site = Site::with(&Plan { mtu: 9001, ..Plan::default() });
    site.net.server.ip("route replace 10.77.1.0/24 dev eth0 src 10.77.1.1 mtu 1400");
    site.net.server.ip("-6 route replace fd00:77:1::/64 dev eth0 metric 256 mtu 1400");
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    assert_eq!(used_offer(&site, &trusted_dial(80)).mss, 1360);
    assert_eq!(used_offer(&site, &trusted_dial6(80)).mss, 1340);

    site.net.server.ip("route replace 10.77.1.0/24 dev eth0 src 10.77.1.1");
    site.net.set_mtu(4000);
    eventually("an MSS of 3960 after the change", || {
        (unused_offer(&site, &trusted_dial(80)).mss == 3960).then_some(())
    });
    assert_eq!(used_offer(&site, &trusted_dial(80)).mss, 3960);
    site.finish(&mut agent, &[]);
}

/// Also when they change.
#[test]
fn options_are_those_of_the_servers_sysctls() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    for key in ["tcp_timestamps", "tcp_sack", "tcp_window_scaling"] {
        let has = |offer: &Offer, other: bool| {
            offer.timestamps == (other || key != "tcp_timestamps")
                && offer.sack == (other || key != "tcp_sack")
                && offer.window_scale == (other || key != "tcp_window_scaling")
        };
        for (value, other) in [("0", false), ("1", true)] {
            site.net.server.sysctl(&format!("ipv4.{key}"), value);
            eventually("a SYN-ACK as the sysctl says", || {
                has(&unused_offer(&site, &trusted_dial(80)), other).then_some(())
            });
            for dial in [trusted_dial(80), trusted_dial6(80)] {
                let offer = used_offer(&site, &dial);
                assert!(has(&offer, other), "{key}={value}: {offer:?}");
            }
        }
    }
    site.finish(&mut agent, &[]);
}

fn options_are_those_that_the_load_balancer_offers(hand_off: HandOff) {
    let keys = ["tcp_timestamps", "tcp_sack", "tcp_window_scaling"];
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    for key in keys {
        site.net.balancer.sysctl(&format!("ipv4.{key}"), "0");
        let offer = used_offer(&site, &trusted_dial(80));
        eprintln!("{key}=0 at the load balancer: {offer:?}");
        assert_eq!(offer.timestamps, key != "tcp_timestamps");
        assert_eq!(offer.sack, key != "tcp_sack");
        assert_eq!(offer.window_scale, key != "tcp_window_scaling");
        site.net.balancer.sysctl(&format!("ipv4.{key}"), "1");
    }
    // Explicit congestion notification, asked for and not agreed on.
    site.net.balancer.sysctl("ipv4.tcp_ecn", "1");
    used_offer(&site, &trusted_dial(80));
    // All off: from then on the segments have no options.
    for key in keys {
        site.net.balancer.sysctl(&format!("ipv4.{key}"), "0");
    }
    let offer = used_offer(&site, &trusted_dial6(80));
    assert!(!offer.timestamps && !offer.sack && !offer.window_scale, "{offer:?}");
    site.stop_captures();
    let bare = site.balancer_capture().count(|segment| {
        segment.source.is_ipv6() && segment.length > 0 && segment.options.is_empty()
    });
    assert!(bare > 0, "segments without options");
    site.finish(&mut agent, &[]);
}
