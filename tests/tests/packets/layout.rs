//! Headers of every length: TCP options, IPv4 options, IPv6 extension headers, and lengths that are wrong.

use etherparse::{IpNumber, ip_number};
use proxyip_common::cookie::Agreed;
use proxyip_common::counter::{Counter, DropReason, Obstacle, per_listener};
use proxyip_common::flow::{HandOff, Translation};

use crate::case::Case;
use crate::flags::at;
use crate::handshake::syn_ack;
use crate::trial::hold;
use proxyip_tests::bench::{
    AUTO, Count, FAMILIES, Family, Kernel, PLAIN, Program, TRANSLATE, after, cookie_of, first,
    flow, handshake, mss, no_cookie, translation,
};
use proxyip_tests::packet::{ACK, Packet, SYN};

/// Numbers of IPv6 extension headers.
pub(crate) const HOP_BY_HOP: IpNumber = ip_number::IPV6_HEADER_HOP_BY_HOP;
pub(crate) const ROUTING: IpNumber = ip_number::IPV6_ROUTE_HEADER;
pub(crate) const DESTINATION: IpNumber = ip_number::IPV6_DESTINATION_OPTIONS;

#[test]
fn layout() {
    hold("layout", || {
        let mut cases = Vec::new();
        for family in FAMILIES {
            for words in 5..=15 {
                cases.extend(offsets(family, words));
            }
            cases.extend(wrong_offsets(family));
            cases.extend(wrong_lengths(family));
        }
        for program in Program::INGRESS {
            for packet in extended() {
                cases.extend(between(&packet, program));
            }
        }
        cases
    });
}

/// Every length of the TCP header, in each segment of a handshake.
fn offsets(family: Family, words: usize) -> Vec<Case> {
    let syn = |port| {
        let mut syn = family.syn(port);
        syn.options = if words == 5 { Vec::new() } else { mss(1400) };
        syn.options.resize(4 * (words - 5), 1);
        syn
    };
    let mut cases = accepted(family, &syn(AUTO), words);
    for program in Program::INGRESS {
        let begins = syn(TRANSLATE);
        let entry = handshake(&begins, HandOff::Translate, Obstacle::Configured);
        let what = at(&format!("a SYN with offset {words}"), family, TRANSLATE);
        cases.push(Case::new(what, program, begins.frame()).after([entry]));
        cases.extend(translated(family, program, words));
    }
    cases
}

fn accepted(family: Family, syn: &Packet, words: usize) -> Vec<Case> {
    let agreed = if words == 5 { PLAIN } else { Agreed { mss_class: 3, ..PLAIN } };
    let cookie = cookie_of(syn, agreed);
    let options = |packet: &mut Packet| packet.options = vec![1; 4 * (words - 5)];
    let bare = after(syn, cookie, ACK, &[]).with(options);
    let payload = [family.header(), b"data".to_vec()].concat();
    let whole = first(syn, cookie, &payload).with(options);
    let case = |what: &str, packet: &Packet| {
        let what = at(&format!("{what} with offset {words}"), family, AUTO);
        Case::new(what, Program::Ingress, packet.frame())
    };
    vec![
        case("a SYN", syn).answered(Counter::SynAnswered, syn_ack(syn, agreed)),
        case("the bare ACK", &bare).dropped(Counter::AckDeferred),
        case("a header", &whole).handed_over(&whole),
    ]
}

fn translated(family: Family, program: Program, words: usize) -> Vec<Case> {
    let shift = u16::try_from(family.header().len()).expect("a short header");
    let waiting = |what: &str, payload: &[u8]| {
        let syn = family.syn(TRANSLATE);
        let entry = handshake(&syn, HandOff::Translate, Obstacle::Configured);
        let packet =
            after(&syn, 1, ACK, payload).with(|one| one.options = vec![1; 4 * (words - 5)]);
        let what = at(&format!("{what} with offset {words}"), family, TRANSLATE);
        let case = Case::new(what, program, packet.frame());
        (case.kernel(Kernel::Request, &syn).before([entry]), syn, packet)
    };
    let (bare, ..) = waiting("the bare ACK", &[]);
    let (whole, syn, packet) = waiting("a header", &[family.header(), b"data".to_vec()].concat());
    let lowered = packet.with(|one| one.sequence = one.sequence.wrapping_sub(shift.into()));
    let counted = per_listener::TRANSLATE + Obstacle::Configured as u32;
    vec![
        bare.dropped(Counter::AckDeferred),
        whole
            .passed_as(lowered.frame())
            .counts(Counter::HandedOver)
            .counts(Count::Listener(1, counted))
            .after([
                flow(&syn, family, HandOff::Translate),
                translation(&syn, shift, Translation::OPENING),
            ]),
    ]
}

/// Impossible data offsets: below the fixed header, and beyond the packet. TCP drops these segments.
fn wrong_offsets(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    for program in Program::INGRESS {
        for port in [AUTO, TRANSLATE] {
            let syn = family.syn(port);
            let ack = after(&syn, cookie_of(&syn, PLAIN), ACK, &[]);
            for packet in [syn, ack] {
                for words in (0..5).chain(6..=15) {
                    let packet = packet.with(|one| one.offset = Some(words));
                    let what = at(&format!("an offset of {words}"), family, port);
                    cases.push(Case::new(what, program, packet.frame()));
                }
            }
            let long = family.syn(port).with(|syn| {
                (syn.offset, syn.payload) = (Some(4), vec![0; 64]);
            });
            let what = at("an offset of 4 before much", family, port);
            cases.push(Case::new(what, program, long.frame()));
        }
    }
    // The payload is taken for options: none of a known kind, then a broken one.
    let syn = family.syn(AUTO).with(|syn| (syn.offset, syn.payload) = (Some(15), vec![0x47; 40]));
    let case = Case::new(at("payload as options", family, AUTO), Program::Ingress, syn.frame());
    cases.push(case.answered(Counter::SynAnswered, syn_ack(&syn, PLAIN)));
    cases
}

/// Lengths in the IP header that do not fit the frame, and headers that are cut off by them.
fn wrong_lengths(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    let ip = family.headers() - 20;
    // The IPv6 header's length does not count that header.
    let length = |whole: u16| if family == Family::V4 { whole } else { whole.saturating_sub(ip) };
    for program in Program::INGRESS {
        for whole in (ip + 1)..(ip + 20) {
            let syn = family.syn(AUTO).with(|syn| syn.ip_length = Some(length(whole)));
            let what = at(&format!("a length of {whole}"), family, AUTO);
            cases.push(Case::new(what, program, syn.frame()));
        }
    }
    for behind in [1, 100, 1000] {
        let longer = length(ip + 20 + behind);
        let syn = family.syn(AUTO).with(|syn| syn.ip_length = Some(longer));
        let what = at(&format!("a SYN with {behind} bytes that are not there"), family, AUTO);
        let case = Case::new(what, Program::Ingress, syn.frame());
        cases.push(case.dropped(DropReason::Checksum));
    }
    let syn = family.syn(AUTO);
    let whole = first(&syn, cookie_of(&syn, PLAIN), &family.header());
    let honest = ip + 20 + u16::try_from(whole.payload.len()).expect("a short header");
    for (what, said, count) in [
        ("a header cut off by the IP length", honest - 1, DropReason::Checksum),
        ("a header and less than IP says", honest + 1, DropReason::Checksum),
        ("a header and much less than IP says", honest + 1000, DropReason::Checksum),
    ] {
        let packet = whole.with(|one| one.ip_length = Some(length(said)));
        let case = Case::new(at(what, family, AUTO), Program::Ingress, packet.frame());
        cases.push(case.dropped(count));
    }
    cases
}

/// Packets with something between IP and TCP header.
fn extended() -> Vec<Packet> {
    let mut packets = Vec::new();
    for words in 1..=10 {
        let mut packet = Family::V4.syn(AUTO);
        packet.ip_options = vec![1; 4 * words];
        packets.push(packet);
    }
    let with = |extensions: &[(IpNumber, usize)]| {
        let mut packet = Family::V6.syn(AUTO);
        for (kind, length) in extensions {
            // One option that pads all.
            let mut content = vec![1, u8::try_from(length - 2).expect("one option")];
            content.resize(*length, 0);
            packet.extensions.push((*kind, content));
        }
        packet
    };
    for kind in [HOP_BY_HOP, ROUTING, DESTINATION] {
        for length in [6, 14, 254] {
            packets.push(with(&[(kind, length)]));
        }
    }
    packets.push(with(&[(HOP_BY_HOP, 6), (DESTINATION, 6), (ROUTING, 22), (DESTINATION, 14)]));
    for count in 1..=8 {
        packets.push(with(&vec![(DESTINATION, 6); count]));
    }
    packets
}

/// Behind these headers, a segment that could begin a connection is dropped. A segment of an established connection
/// passes.
fn between(syn: &Packet, program: Program) -> Vec<Case> {
    let count = syn.extensions.len() + usize::from(!syn.ip_options.is_empty());
    let name = format!("{count} IP options or extension headers, {} bytes", syn.tcp_at());
    let case =
        |what: &str, packet: &Packet| Case::new(format!("{name}, {what}"), program, packet.frame());
    let mut ack = syn.with(|packet| packet.flags = ACK);
    ack.acknowledgment = no_cookie(&mut ack);
    let waiting = ack.with(|packet| packet.to.set_port(TRANSLATE));
    let handshake_syn = syn.with(|packet| {
        packet.to.set_port(TRANSLATE);
        packet.from = waiting.from;
        (packet.ip_options, packet.extensions) = (Vec::new(), Vec::new());
    });
    let connected = ack.with(|packet| packet.from = family_of(syn).peer());
    let connected_syn = Packet::new(connected.from, connected.to, SYN);
    let mut cases = vec![
        case("a SYN", syn).dropped(DropReason::ExtensionHeader),
        case("an ACK", &ack).dropped(DropReason::ExtensionHeader),
        case("an ACK of a handshake", &waiting)
            .kernel(Kernel::Request, &handshake_syn)
            .dropped(DropReason::ExtensionHeader),
    ];
    // More than are looked into: whether they go on when nothing begins with them is all the same.
    if count <= 6 {
        let case = case("an ACK of a connection", &connected);
        cases.push(case.kernel(Kernel::Connected, &connected_syn));
    }
    cases
}

fn family_of(packet: &Packet) -> Family {
    if packet.is_ipv4() { Family::V4 } else { Family::V6 }
}
