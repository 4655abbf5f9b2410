//! The handshake of the accept hand-off: a SYN, and what may follow its SYN-ACK.

use etherparse::IpEcn;
use proxyip_common::cookie::Agreed;
use proxyip_common::counter::{Counter, DropReason, Obstacle};
use proxyip_common::flow::HandOff;
use proxyip_common::settings::NamespaceSettings;

use crate::case::Case;
use crate::flags::at;
use crate::trial::hold;
use proxyip_tests::bench::{
    ACCEPT, AUTO, FAMILIES, Family, Kernel, LINUX, MTU, PLAIN, Program, SETTINGS, TIMESTAMPS,
    after, cookie_of, cookie_of_old, first, flow, handshake, is_foreign, is_good, linux_options,
    mss,
};
use proxyip_tests::packet::{ACK, CWR, Checksum, ECE, FIN, PSH, Packet, RST, SYN};

#[test]
fn handshakes() {
    hold("handshakes", || {
        let mut cases = Vec::new();
        for family in FAMILIES {
            cases.extend(offers(family));
            cases.extend(obstacles(family));
            cases.extend(cookies(family));
            cases.extend(probes(family));
            cases.extend(firsts(family));
        }
        cases
    });
}

/// The SYN-ACK for a SYN, with the options that its peer has agreed to, except timestamps.
pub(crate) fn syn_ack(syn: &Packet, agreed: Agreed) -> Packet {
    let cookie = cookie_of(syn, agreed);
    let mut answer = syn.answer(SYN | ACK, cookie, syn.sequence.wrapping_add(1));
    answer.window = SETTINGS.window;
    let headers = if syn.is_ipv4() { 40 } else { 60 };
    answer.options = mss(MTU - headers);
    let scale = [1, 3, 3, SETTINGS.window_scale];
    match (agreed.window_scale, agreed.sack) {
        (None, false) => {}
        (Some(_), false) => answer.options.extend(scale),
        (None, true) => answer.options.extend([1, 1, 1, 1, 1, 1, 4, 2]),
        (Some(_), true) => answer.options.extend([scale, [1, 1, 4, 2]].concat()),
    }
    answer
}

/// The same, with timestamps of now.
pub(crate) fn syn_ack_with_timestamps(syn: &Packet, agreed: Agreed, echo: u32) -> Packet {
    let mut answer = syn_ack(syn, Agreed { sack: false, ..agreed });
    answer.sequence = cookie_of(syn, agreed);
    answer.options.resize(8, 1);
    answer.options.extend(if agreed.sack { [4, 2, 8, 10] } else { [1, 1, 8, 10] });
    answer.options.extend([0; 4]);
    answer.options.extend(echo.to_be_bytes());
    answer
}

/// Every option that a SYN may have, and what of it is agreed to.
fn offers(family: Family) -> Vec<Case> {
    let ingress =
        |what: &str, syn: &Packet| Case::new(at(what, family, AUTO), Program::Ingress, syn.frame());
    let with = |options: &[u8]| family.syn(AUTO).with(|syn| syn.options = options.to_vec());
    let mut cases = Vec::new();
    for (class, bytes) in (0..).zip(family.classes()) {
        let syn = with(&mss(*bytes));
        let answer = syn_ack(&syn, Agreed { mss_class: class, ..PLAIN });
        cases.push(ingress("an MSS", &syn).answered(Counter::SynAnswered, answer));
    }
    let scaled = |scale| Agreed { window_scale: Some(scale), ..PLAIN };
    let alone: [(&str, &[u8], Agreed); 6] = [
        ("a window scale", &[1, 3, 3, 7], scaled(7)),
        ("a window scale of 15", &[1, 3, 3, 15], scaled(14)),
        ("SACK", &[1, 1, 4, 2], Agreed { sack: true, ..PLAIN }),
        ("both", &[3, 3, 2, 4, 2, 0, 0, 0], Agreed { sack: true, ..scaled(2) }),
        ("nothing behind the end", &[0, 3, 3, 7], PLAIN),
        ("an option longer than the header", &[4, 2, 3, 4], Agreed { sack: true, ..PLAIN }),
    ];
    for (what, options, agreed) in alone {
        let syn = with(options);
        cases.push(ingress(what, &syn).answered(Counter::SynAnswered, syn_ack(&syn, agreed)));
    }
    let syn = with(&linux_options());
    let whole = syn_ack_with_timestamps(&syn, LINUX, 0x0102_0304);
    let case = ingress("Linux's options", &syn);
    cases.push(case.answered_now(Counter::SynAnswered, whole, Some(12)));
    for (what, without, agreed) in [
        ("no SACK", NamespaceSettings::SACK, Agreed { sack: false, ..LINUX }),
        ("no scaling", NamespaceSettings::WINDOW_SCALING, Agreed { window_scale: None, ..LINUX }),
    ] {
        let settings = NamespaceSettings { flags: SETTINGS.flags & !without, ..SETTINGS };
        let answer = syn_ack_with_timestamps(&syn, agreed, 0x0102_0304);
        let case = ingress(what, &syn).settings(settings);
        cases.push(case.answered_now(Counter::SynAnswered, answer, Some(12)));
    }
    let flags = SETTINGS.flags & !NamespaceSettings::TIMESTAMPS;
    let case = ingress("no timestamps", &syn).settings(NamespaceSettings { flags, ..SETTINGS });
    cases.push(case.answered(Counter::SynAnswered, syn_ack(&syn, LINUX)));
    cases.extend(congestion(family));
    cases
}

/// SYNs that offer ECN (RFC 3168), whole or by halves, and what of it is agreed to.
fn congestion(family: Family) -> Vec<Case> {
    let syn = family.syn(AUTO).with(|syn| {
        syn.options = linux_options();
        syn.flags = SYN | ECE | CWR;
    });
    let answer_to = |syn: &Packet, flags: u8| {
        let answer = syn_ack_with_timestamps(syn, LINUX, 0x0102_0304);
        answer.with(|answer| answer.flags = flags)
    };
    let case =
        |what: &str, syn: &Packet| Case::new(at(what, family, AUTO), Program::Ingress, syn.frame());
    let off = NamespaceSettings { flags: SETTINGS.flags & !NamespaceSettings::ECN, ..SETTINGS };
    let mut cases = vec![
        case("ECN", &syn).answered_now(
            Counter::SynAnswered,
            answer_to(&syn, SYN | ACK | ECE),
            Some(12),
        ),
        case("no ECN here", &syn).settings(off).answered_now(
            Counter::SynAnswered,
            answer_to(&syn, SYN | ACK),
            Some(12),
        ),
    ];
    let halves = [ECE, CWR].map(|flag| syn.with(|syn| syn.flags = SYN | flag));
    let marked = [IpEcn::ONE, IpEcn::TWO, IpEcn::THREE].map(|ecn| syn.with(|syn| syn.ecn = ecn));
    for syn in halves.iter().chain(&marked) {
        let answer = answer_to(syn, SYN | ACK);
        cases.push(case("no ECN", syn).answered_now(Counter::SynAnswered, answer, Some(12)));
    }
    let plain = syn.with(|syn| syn.options = mss(1460));
    let answer = syn_ack(&plain, Agreed { mss_class: 5, ..PLAIN });
    cases.push(case("ECN without timestamps", &plain).answered(Counter::SynAnswered, answer));
    cases
}

/// SYNs that the accept hand-off cannot serve: translated, or left to the kernel if nothing else is allowed.
fn obstacles(family: Family) -> Vec<Case> {
    let without = |flag: u8| NamespaceSettings { flags: SETTINGS.flags & !flag, ..SETTINGS };
    let least = family.classes()[0];
    let signature = [vec![19, 18], vec![7; 16], vec![1, 1]].concat();
    let kinds = [
        (Obstacle::SynCookiesOff, without(NamespaceSettings::SYNCOOKIES), Vec::new()),
        (Obstacle::ConntrackStrict, without(NamespaceSettings::CONNTRACK_LOOSE), Vec::new()),
        (Obstacle::MssTooSmall, SETTINGS, mss(least - 1)),
        (Obstacle::Signed, SETTINGS, signature),
    ];
    let mut cases = Vec::new();
    for (reason, settings, options) in kinds {
        for port in [AUTO, ACCEPT] {
            let syn = family.syn(port).with(|syn| syn.options.clone_from(&options));
            let case = Case::new(at(reason.label(), family, port), Program::Ingress, syn.frame());
            let case = case.settings(settings);
            cases.push(match (port, reason) {
                (ACCEPT, _) => case.counts(reason),
                // A kernel that does not know signatures would take it.
                (_, Obstacle::Signed) => case.answered(DropReason::Signed, syn.reset()),
                _ => case.after([handshake(&syn, HandOff::Translate, reason)]),
            });
        }
    }
    let syn = family.syn(AUTO);
    let again = syn.with(|again| again.sequence = syn.sequence.wrapping_add(1 << 20));
    let case = Case::new(at("time_wait", family, AUTO), Program::Ingress, again.frame());
    let entry = handshake(&again, HandOff::Translate, Obstacle::TimeWait);
    cases.push(case.kernel(Kernel::TimeWait, &syn).after([entry]));
    cases
}

/// The handshake's bare ACK, with cookies good and bad.
fn cookies(family: Family) -> Vec<Case> {
    let ack = |what: &str, packet: &Packet| {
        Case::new(at(what, family, AUTO), Program::Ingress, packet.frame())
    };
    let mut cases = Vec::new();
    for ago in 0..4 {
        let mut syn = family.syn(AUTO);
        let cookie = cookie_of_old(&mut syn, LINUX, ago);
        for payload in [Vec::new(), family.header()] {
            let packet = after(&syn, cookie, ACK, &payload);
            let case = ack(&format!("a cookie of {ago} epochs ago"), &packet);
            cases.push(match (ago, payload.is_empty()) {
                (0 | 1, true) => case.dropped(Counter::AckDeferred),
                (0 | 1, false) => case.handed_over(&packet),
                _ => case.answered(Counter::CookieForeign, packet.reset()),
            });
        }
    }
    let mut syn = family.syn(AUTO);
    let cookie = cookie_of_old(&mut syn, PLAIN, 0);
    for bit in (8..31).filter(|bit| !is_good(&syn, cookie ^ (1 << bit), syn.sequence)) {
        let packet = first(&syn, cookie ^ 1 << bit, &family.header());
        let case = ack(&format!("a cookie with bit {bit} flipped"), &packet);
        cases.push(case.dropped(Counter::OutOfOrder));
    }
    for bit in 0..8 {
        let packet = first(&syn, cookie ^ 1 << bit, &family.header());
        let case = ack(&format!("a cookie with bit {bit} flipped"), &packet);
        cases.push(case.answered(Counter::CookieForeign, packet.reset()));
    }
    let mut other = family.syn(AUTO);
    while !is_foreign(&other, cookie) {
        other = family.syn(AUTO);
    }
    for payload in [Vec::new(), family.header()] {
        let packet = first(&other, cookie, &payload);
        let case = ack("a cookie of another flow", &packet);
        cases.push(case.clone().answered(Counter::CookieForeign, packet.reset()));
        cases.push(case.in_a_flood().dropped(Counter::CookieForeignUnanswered));
    }
    cases
}

/// Keep-alive probes, and other segments without anything new.
fn probes(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    for (agreed, window) in [(PLAIN, SETTINGS.window), (LINUX, SETTINGS.window >> 7)] {
        let syn = family.syn(AUTO);
        let cookie = cookie_of(&syn, agreed);
        for payload in [&[][..], &[0]] {
            let probe =
                after(&syn, cookie, ACK, payload).with(|probe| probe.sequence = syn.sequence);
            let mut answer = probe.answer(ACK, probe.acknowledgment, syn.sequence.wrapping_add(1));
            answer.window = window;
            let what = at("a keep-alive probe", family, AUTO);
            let case = Case::new(what.clone(), Program::Ingress, probe.frame());
            cases.push(case.answered(Counter::KeepAliveAnswered, answer.clone()));
            let stamped = probe.with(|probe| probe.options = TIMESTAMPS.to_vec());
            // The clock stands still.
            answer.options = [&[1, 1, 8, 10][..], &TIMESTAMPS[8..12], &TIMESTAMPS[4..8]].concat();
            let case = Case::new(what, Program::Ingress, stamped.frame());
            cases.push(case.answered(Counter::KeepAliveAnswered, answer));
        }
        for (what, flags, behind, payload) in [
            ("a probe of two bytes", ACK, 0, 2),
            ("a probe with FIN", ACK | FIN, 0, 0),
            ("the second segment", ACK | PSH, 1449, 100),
            ("an ACK behind the second segment", ACK, 1449, 0),
        ] {
            let mut packet = after(&syn, cookie, flags, &vec![b'x'; payload]);
            packet.sequence = syn.sequence.wrapping_add(behind);
            if behind != 0 && is_good(&syn, cookie, packet.sequence.wrapping_sub(1)) {
                continue;
            }
            let case = Case::new(at(what, family, AUTO), Program::Ingress, packet.frame());
            cases.push(case.dropped(Counter::OutOfOrder));
        }
        let end = after(&syn, cookie, ACK | FIN, &[]);
        let case =
            Case::new(at("FIN before the header", family, AUTO), Program::Ingress, end.frame());
        cases.push(case.answered(Counter::FinBeforeHeader, end.reset()));
        let abort = after(&syn, cookie, RST | ACK, &[]);
        let what = at("RST before the header", family, AUTO);
        cases.push(Case::new(what, Program::Ingress, abort.frame()));
    }
    cases
}

/// The segment that brings the header.
fn firsts(family: Family) -> Vec<Case> {
    let syn = family.syn(AUTO);
    let cookie = cookie_of(&syn, PLAIN);
    let good = first(&syn, cookie, &[family.header(), b"data".to_vec()].concat());
    let case = |what: &str, packet: &Packet| {
        Case::new(at(what, family, AUTO), Program::Ingress, packet.frame())
    };
    let ended = good.with(|packet| packet.flags |= FIN);
    let damaged = good.with(|packet| packet.checksum = Checksum::Damaged(1 << 4));
    let padded = good.with(|packet| packet.padding = vec![0xaa; 9]);
    vec![
        case("a header", &good).handed_over(&good),
        case("a header and FIN", &ended).handed_over(&ended),
        case("a header in a padded frame", &padded).handed_over(&padded),
        case("a damaged segment", &damaged).dropped(DropReason::Checksum),
        case("a header that has been read this very moment", &good)
            .before([flow(&good, family, HandOff::Accept)])
            .queued_again(),
    ]
}
