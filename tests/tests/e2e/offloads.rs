//! Checksums and segmentation left to the device, and not: a header and payload of any size arrive
//! whole either way.

use std::collections::HashMap;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{
    Agent, Batches, Capture, Dial, Directions, Guard, HandOff, Offloads, Plan, Site,
};

use crate::common::{
    CLIENT, CLIENT6, assert_both, assert_echoed, auto_and_translate, expect_names,
    header_of_client, header_of_client6, on_ipv6_socket, open_and_send, pattern, socket_address,
    trusted_dial, trusted_dial6,
};

auto_and_translate!(
    no_offloads,
    merged_on_receipt,
    partial_checksums_with_and_without_segmentation_and_merging,
    segments_in_one_batch
);

const QUESTION: &[u8] = b"who am I?\n";
/// Payload of one `send()`.
const LARGE: usize = 60_000;
/// What Linux sends of it in the first segment: up to half of the window that the SYN-ACK offers.
const FIRST_SEGMENT: u32 = 30_000;

fn no_offloads(hand_off: HandOff) {
    all_shapes(hand_off, &[Offloads::NONE]);
}

fn merged_on_receipt(hand_off: HandOff) {
    all_shapes(hand_off, &[Offloads { merging: true, ..Offloads::NONE }]);
}

/// One agent sees the offloads change.
fn partial_checksums_with_and_without_segmentation_and_merging(hand_off: HandOff) {
    let some = |segmentation, merging| Offloads { checksums: true, segmentation, merging };
    all_shapes(hand_off, &[some(false, false), some(true, false), some(true, true)]);
}

/// A network card hands up several segments at once. All of them pass the kernel programs before TCP sees the first.
/// They must still reach TCP in order.
fn segments_in_one_batch(hand_off: HandOff) {
    let site = Site::with(&Plan { offloads: Offloads::NONE, ..Plan::default() });
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let _batches = Batches::on(&site.net.server, "eth0");
    let bytes = pattern(6_000);
    for (dial, header, client) in [
        (trusted_dial(80), header_of_client(), format!("[::ffff:{}", CLIENT.replace(':', "]:"))),
        (trusted_dial6(80), header_of_client6(), CLIENT6.to_owned()),
    ] {
        for _ in 0..20 {
            let first = [&header[..], QUESTION, &bytes].concat();
            let stream = open_and_send(&site, &dial, &first);
            stream.shutdown(std::net::Shutdown::Write).expect("the end of the stream");
            assert_both(expect_names(&stream), socket_address(&client));
            crate::common::assert_same(&proxyip_tests::read_rest(&stream), &bytes);
        }
    }
    assert_eq!(agent.counter("out_of_order"), 0, "segments dropped until they come again");
    site.finish(&mut agent, &[]);
}

/// Header alone, header and a line in one segment, header and 60 KB in one `send()`; IPv4 and IPv6;
/// payload compared in both directions. The same with each of these offloads.
fn all_shapes(hand_off: HandOff, plans: &[Offloads]) {
    let site = Site::with(&Plan { offloads: plans[0], ..Plan::default() });
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    // The load balancer may send 60 KB at once, before the first acknowledgment.
    site.net.balancer.ip("route replace 10.77.1.0/24 dev eth1 src 10.77.1.2 initcwnd 60");
    site.net.balancer.ip("-6 route replace fd00:77:1::/64 dev eth1 metric 256 initcwnd 60");
    for offloads in plans {
        site.net.set_offloads(*offloads);
        all_shapes_with(&site, *offloads);
    }
    site.finish(&mut agent, &[]);
}

fn all_shapes_with(site: &Site, offloads: Offloads) {
    let server = &site.net.server;
    let whole = Capture::start(&site.scratch, server, "eth0", Directions::Both);

    for (dial, header, client) in [
        (trusted_dial(80), header_of_client(), CLIENT),
        (trusted_dial6(80), header_of_client6(), CLIENT6),
    ] {
        let client = on_ipv6_socket(client);
        let (alone, with_line) = ([header.clone()], [header.clone(), QUESTION.to_vec()]);
        header_then_payload(site, &dial, &alone.concat(), client);
        header_with_payload(site, &dial, &with_line.concat(), client);
        header_with_large_payload(site, &dial, &with_line.concat(), client);
    }

    whole.stop();
    let segments = whole.segments();
    let to_server = || segments.iter().filter(|segment| segment.destination.port() == 80);
    let starts: HashMap<_, _> = to_server()
        .filter(|segment| segment.syn())
        .map(|syn| (syn.source, syn.sequence.wrapping_add(1)))
        .collect();
    let first = to_server().filter(|segment| starts[&segment.source] == segment.sequence);
    let longest = first.map(|segment| segment.length).max();
    eprintln!("{offloads:?}: longest first segment {longest:?}");
    if offloads.segmentation {
        assert!(longest >= Some(FIRST_SEGMENT), "the first segment had at most {longest:?} bytes");
    }
}

fn header_then_payload(site: &Site, dial: &Dial, header: &[u8], client: std::net::SocketAddr) {
    let stream = open_and_send(site, dial, header);
    // The header's segment is acknowledged before anything else is sent.
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_both(crate::common::ask_names(&stream), client);
    assert_echoed(&stream, &pattern(1_000_000));
}

fn header_with_payload(site: &Site, dial: &Dial, first: &[u8], client: std::net::SocketAddr) {
    let stream = open_and_send(site, dial, first);
    assert_both(expect_names(&stream), client);
    assert_echoed(&stream, &pattern(LARGE));
}

fn header_with_large_payload(site: &Site, dial: &Dial, first: &[u8], client: std::net::SocketAddr) {
    let bytes = pattern(LARGE);
    let stream = open_and_send(site, dial, &[first, &bytes].concat());
    stream.shutdown(std::net::Shutdown::Write).expect("the end of the stream");
    assert_both(expect_names(&stream), client);
    crate::common::assert_same(&proxyip_tests::read_rest(&stream), &bytes);
}
