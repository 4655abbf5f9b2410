//! What is answered and dropped at XDP, and what is left to TC. Full checksums come back, whatever a device would do.

use proxyip_common::counter::{Counter, Obstacle};
use proxyip_common::flow::HandOff;
use proxyip_common::settings::NamespaceSettings;

use crate::case::Case;
use crate::flags::at;
use crate::handshake::{syn_ack, syn_ack_with_timestamps};
use crate::layout::DESTINATION;
use crate::tags::{CUSTOMER, SERVICE};
use crate::trial::hold;
use proxyip_tests::bench::{
    ACCEPT, AUTO, FAMILIES, Family, Kernel, LINUX, MULTIPATH, OBSERVE, OPEN, OVER, PLAIN, Program,
    RESETTING, SETTINGS, SILENT, TIMESTAMPS, TRANSLATE, after, cookie_of, cookie_of_old, first,
    handshake, is_good, linux_options, no_cookie, translation,
};
use proxyip_tests::packet::{ACK, CWR, Checksum, ECE, ETHERNET, FIN, PSH, Packet, RST, SYN};

/// The shortest Ethernet frame, without its checksum.
const SHORTEST: usize = 60;
/// Bytes of EC2's longest frame, tag included.
const JUMBO: usize = 9001 + ETHERNET + 4;

#[test]
fn in_the_driver() {
    hold("XDP", cases);
}

/// A kernel lets a program for one buffer see frames that fit in a page, with what the kernel keeps before and behind them.
#[test]
fn behind_the_driver() {
    const LONGEST: usize = 3500;
    hold("generic XDP", || {
        let mut cases = cases();
        cases.retain(|case| case.frame.len() <= LONGEST);
        for case in &mut cases {
            case.program = Program::XdpGeneric;
        }
        cases
    });
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in FAMILIES {
        cases.extend(answered(family));
        cases.extend(tagged(family));
        cases.extend(held_back(family));
        cases.extend(segments(family));
        cases.extend(shapes(family));
        cases.extend(states(family));
        cases.extend(links(family));
        cases.extend(flooded(family));
    }
    cases
}

fn case(what: &str, packet: &Packet) -> Case {
    let family = if packet.is_ipv4() { Family::V4 } else { Family::V6 };
    Case::new(at(what, family, packet.to.port()), Program::Xdp, packet.frame())
}

/// As it leaves: a device does not fill it up.
fn filled_up(answer: &Packet) -> Packet {
    // Tags are not counted: they may be taken off on the way.
    let shortest = SHORTEST + 4 * answer.tags.len();
    let missing = shortest.saturating_sub(answer.frame().len());
    answer.with(|answer| answer.padding = vec![0; missing])
}

fn answers(case: Case, answer: &Packet) -> Case {
    let timestamp = (answer.options.len() == 20).then_some(12);
    let case = case.answered_now(Counter::SynAnswered, filled_up(answer), timestamp);
    case.counts(Counter::SynAnsweredAtXdp)
}

/// A SYN with Linux's options.
fn linux(family: Family, port: u16) -> Packet {
    family.syn(port).with(|syn| syn.options = linux_options())
}

fn answered(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    for port in [AUTO, ACCEPT, RESETTING] {
        let syn = family.syn(port);
        cases.push(answers(case("a SYN", &syn), &syn_ack(&syn, PLAIN)));
        let syn = linux(family, port);
        let whole = syn_ack_with_timestamps(&syn, LINUX, 0x0102_0304);
        cases.push(answers(case("Linux's options", &syn), &whole));
    }
    let syn = family.syn(AUTO).with(|syn| syn.padding = vec![0xaa; 6]);
    cases.push(answers(case("a padded SYN", &syn), &syn_ack(&syn, PLAIN)));
    let syn = family.syn(AUTO);
    let room = JUMBO - syn.frame().len();
    let syn = syn.with(|syn| syn.padding = vec![0xaa; room]);
    cases.push(answers(case("a SYN in a jumbo frame", &syn), &syn_ack(&syn, PLAIN)));
    let ecn = linux(family, AUTO).with(|syn| syn.flags = SYN | ECE | CWR);
    let whole = syn_ack_with_timestamps(&ecn, LINUX, 0x0102_0304);
    cases.push(answers(case("ECN", &ecn), &whole.with(|answer| answer.flags = SYN | ACK | ECE)));
    cases
}

/// A tag of VLAN 0 stays in the frame. Others are of an interface of their own.
fn tagged(family: Family) -> Vec<Case> {
    let syn = |tags: &[[u16; 2]]| family.syn(AUTO).with(|syn| syn.tags = tags.to_vec());
    let mut cases = Vec::new();
    for tag in [[CUSTOMER, 0], [CUSTOMER, 0xe000], [SERVICE, 0]] {
        let syn = syn(&[tag]);
        let answer = syn_ack(&syn, PLAIN).with(|answer| answer.tags = vec![tag]);
        cases.push(answers(case(&format!("tag {tag:x?}"), &syn), &answer));
    }
    for tags in [
        &[[CUSTOMER, 5]][..],
        &[[SERVICE, 5]],
        &[[CUSTOMER, 0], [CUSTOMER, 0]],
        &[[SERVICE, 0], [CUSTOMER, 5]],
    ] {
        cases.push(case(&format!("tags {tags:x?}"), &syn(tags)));
    }
    cases
}

fn held_back(family: Family) -> Vec<Case> {
    let syn = family.syn(AUTO);
    let ack = after(&syn, cookie_of(&syn, PLAIN), ACK, &[]);
    let mut old = family.syn(AUTO);
    let cookie = cookie_of_old(&mut old, PLAIN, 1);
    let dropped = |what, packet: &Packet| {
        case(what, packet).dropped(Counter::AckDeferred).counts(Counter::AckDeferredAtXdp)
    };
    vec![
        dropped("a bare ACK", &ack),
        dropped("a bare ACK with timestamps", &ack.with(|ack| ack.options = TIMESTAMPS.to_vec())),
        dropped("a padded ACK", &ack.with(|ack| ack.padding = vec![7; 9])),
        dropped("in VLAN 0", &ack.with(|ack| ack.tags = vec![[CUSTOMER, 0]])),
        dropped("never on a wire", &ack.with(|ack| ack.checksum = Checksum::Partial)),
        dropped("of the epoch before", &after(&old, cookie, ACK, &[])),
    ]
}

/// Segments that TC decides on.
fn segments(family: Family) -> Vec<Case> {
    let syn = linux(family, AUTO);
    let cookie = cookie_of(&syn, LINUX);
    let flagged = |flags| after(&syn, cookie, flags, &[]);
    let mut cases = vec![
        case("a SYN with payload", &syn.with(|syn| syn.payload = b"x".to_vec())),
        case("SYN and PSH", &syn.with(|syn| syn.flags = SYN | PSH)),
        case("a RST", &flagged(RST)),
        case("RST and ACK", &flagged(RST | ACK)),
        case("FIN and ACK", &flagged(FIN | ACK)),
        case("SYN and ACK", &flagged(SYN | ACK)),
        case("no flags", &flagged(0)),
        case("ACK and PSH", &flagged(ACK | PSH)),
        case("a header", &first(&syn, cookie, &family.header())),
        case("a header without PSH", &after(&syn, cookie, ACK, &family.header())),
        case("a jumbo header", &after(&syn, cookie, ACK, &vec![b'x'; 8_900])),
        case("the segment before", &flagged(ACK).with(|ack| ack.sequence = syn.sequence)),
    ];
    let other = after(&syn, cookie ^ 1 << 20, ACK, &[]);
    if !is_good(&other, cookie ^ 1 << 20, syn.sequence) {
        cases.push(case("another cookie", &other));
    }
    cases
}

fn shapes(family: Family) -> Vec<Case> {
    let syn = linux(family, AUTO);
    let ack = after(&syn, cookie_of(&syn, LINUX), ACK, &[]);
    let mut cases = Vec::new();
    for packet in [&syn, &ack] {
        cases.push(case("damaged", &packet.with(|one| one.checksum = Checksum::Damaged(0x40))));
        cases.push(case("too short an offset", &packet.with(|one| one.offset = Some(4))));
        cases.push(case("too long an offset", &packet.with(|one| one.offset = Some(15))));
        let behind = packet.with(|one| match family {
            Family::V4 => one.ip_options = vec![1; 4],
            Family::V6 => one.extensions = vec![(DESTINATION, vec![1, 4, 0, 0, 0, 0])],
        });
        cases.push(case("behind something", &behind));
        for (range, more) in [(0..16, true), (0..packet_length(packet), false)] {
            // Of IPv4, what is no fragment is the packet itself.
            if more || family == Family::V6 {
                let mut fragment = case("a fragment", packet);
                fragment.frame = packet.fragment(range, more);
                cases.push(fragment);
            }
        }
        for length in [ETHERNET, ETHERNET + 4, packet.tcp_at(), packet.tcp_at() + 19] {
            let mut cut = case(&format!("{length} bytes"), packet);
            cut.frame.truncate(length);
            cases.push(cut);
        }
    }
    let partial = syn.with(|syn| syn.checksum = Checksum::Partial);
    cases.push(case("a SYN that was never on a wire", &partial));
    cases
}

fn packet_length(packet: &Packet) -> usize {
    packet.frame().len() - packet.tcp_at()
}

/// What the kernel and the tables have, so that TC decides otherwise.
fn states(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    for port in [OPEN, OVER, SILENT, MULTIPATH, TRANSLATE, OBSERVE] {
        cases.push(case("a SYN", &linux(family, port)));
    }
    let unknown = linux(family, AUTO).with(|syn| syn.from = family.stranger());
    cases.push(case("not trusted", &unknown));
    let elsewhere = linux(family, AUTO).with(|syn| syn.to = family.other_host(AUTO));
    cases.push(case("for another host", &elsewhere));
    for flag in [NamespaceSettings::SYNCOOKIES, NamespaceSettings::CONNTRACK_LOOSE] {
        let settings = NamespaceSettings { flags: SETTINGS.flags & !flag, ..SETTINGS };
        cases.push(case("against a sysctl", &linux(family, AUTO)).settings(settings));
    }
    for kernel in [Kernel::Request, Kernel::Connected, Kernel::TimeWait] {
        let syn = family.syn(AUTO);
        let again = syn.with(|again| again.sequence = syn.sequence.wrapping_add(7_000));
        cases.push(case(&format!("a SYN, {kernel:?}"), &again).kernel(kernel, &syn));
        // Each has a socket of its own.
        let syn = family.syn(AUTO);
        let ack = after(&syn, cookie_of(&syn, PLAIN), ACK, &[]);
        cases.push(case(&format!("an ACK, {kernel:?}"), &ack).kernel(kernel, &syn));
    }
    let syn = linux(family, AUTO);
    let ack = after(&syn, cookie_of(&syn, LINUX), ACK, &[]);
    for entry in [
        handshake(&syn, HandOff::Translate, Obstacle::TimeWait),
        translation(&syn, 28, proxyip_common::flow::Translation::ESTABLISHED),
    ] {
        cases.push(case("a bare ACK that is known", &ack).before([entry]));
        let whole = syn_ack_with_timestamps(&syn, LINUX, 0x0102_0304);
        let answered = answers(case("a SYN of an old port", &syn), &whole);
        cases.push(answered.before([entry]).after([]));
    }
    cases
}

/// A bare ACK of a number that nobody has sent, when as many were answered as may be.
fn flooded(family: Family) -> Vec<Case> {
    let forged = |syn: &Packet| {
        let mut ack = after(syn, 0, ACK, &[]);
        ack.acknowledgment = no_cookie(&mut ack);
        ack
    };
    let syn = family.syn(AUTO);
    let ack = forged(&syn);
    let with = |change: fn(&mut Packet)| ack.with(change);
    let dropped = |what, packet: &Packet| {
        let case = case(what, packet).dropped(Counter::CookieForeignUnanswered);
        case.counts(Counter::CookieForeignUnansweredAtXdp)
    };
    let mut cases = vec![
        dropped("forged", &ack),
        dropped("forged, translate", &forged(&family.syn(TRANSLATE))),
        dropped("forged, accept", &forged(&family.syn(ACCEPT))),
        dropped("forged, never on a wire", &with(|ack| ack.checksum = Checksum::Partial)),
        case("forged, with payload", &with(|ack| ack.payload = b"x".to_vec())),
        case("forged, FIN", &with(|ack| ack.flags = ACK | FIN)),
        case("forged, damaged", &with(|ack| ack.checksum = Checksum::Damaged(0x40))),
        case("forged, not seen", &ack).without_neighbour(),
        case("forged, another machine", &with(|ack| ack.ethernet[1][5] ^= 4)),
        case("forged, of a connection", &ack).kernel(Kernel::Connected, &syn),
    ];
    cases = cases.into_iter().map(Case::in_a_flood).collect();
    cases.push(case("forged, no flood", &ack));
    cases
}

/// Who else is on the link.
fn links(family: Family) -> Vec<Case> {
    let syn = linux(family, AUTO);
    let ack = after(&syn, cookie_of(&syn, LINUX), ACK, &[]);
    let mut cases = Vec::new();
    for packet in [&syn, &ack] {
        cases.push(case("nobody was seen", packet).without_neighbour());
        for place in [0, 1] {
            let other = packet.with(|one| one.ethernet[place][5] ^= 4);
            cases.push(case(&format!("another machine, {place}"), &other));
        }
        cases.push(case("to a group", &packet.with(|one| one.ethernet[0][0] |= 1)));
    }
    cases
}
