//! Nothing gets past the programs. Payload without a header, from a trusted source, must reach no application on any
//! way. Nothing from refused sources may reach one either.

use std::time::Duration;

use crate::flags::at;
use crate::fragments::SHORTEST;
use crate::layout::{DESTINATION, HOP_BY_HOP};
use crate::tags::{CUSTOMER, SERVICE};
use crate::trial::report;
use crate::wire::{MOMENT, REQUEST, on_wire, read_soon};
use proxyip_tests::bench::{
    ACCEPT, AUTO, Bench, DROPPING, FAMILIES, Family, OPEN, PATIENCE, Program, RESETTING, SETTINGS,
    TRANSLATE, after, linux_options, on_bench,
};
use proxyip_tests::packet::{ACK, FIN, PSH, Packet, RST, SYN};

/// A way for a segment: the frames that it makes.
type Way = fn(&Packet) -> Vec<Vec<u8>>;

/// Ways on which the kernel takes a segment that has 20 bytes of options.
fn ways(family: Family) -> Vec<(&'static str, Way)> {
    let mut ways: Vec<(&'static str, Way)> = vec![
        ("as it is", |packet| vec![packet.frame()]),
        ("in a padded frame", |packet| vec![packet.with(|one| one.padding = vec![9; 9]).frame()]),
        ("in VLAN 0", |packet| vec![tagged(packet, &[[CUSTOMER, 0]])]),
        ("in VLAN 0, with a priority", |packet| vec![tagged(packet, &[[CUSTOMER, 0xe000]])]),
        ("twice in VLAN 0", |packet| vec![tagged(packet, &[[CUSTOMER, 0], [CUSTOMER, 0]])]),
        ("in service VLAN 0 and VLAN 0", |packet| {
            vec![tagged(packet, &[[SERVICE, 0], [CUSTOMER, 0]])]
        }),
        ("in fragments, cut in the options", |packet| pieces(packet, 24)),
        ("in fragments, cut behind the options", |packet| pieces(packet, 40)),
        ("in fragments, the last one first", |packet| {
            let mut pieces = pieces(packet, 24);
            pieces.reverse();
            pieces
        }),
    ];
    match family {
        Family::V4 => {
            ways.extend::<[(&str, Way); 6]>([
                ("with IP options", |packet| vec![behind(packet).frame()]),
                ("in fragments of 8 bytes", |packet| pieces(packet, 8)),
                ("in fragments of 8 bytes, padded", |packet| padded(pieces(packet, 8))),
                ("in fragments of 16 bytes, padded", |packet| padded(pieces(packet, 16))),
                ("in fragments of 8 bytes with IP options", |packet| pieces(&behind(packet), 8)),
                ("in fragments of 8 bytes with all IP options", |packet| {
                    pieces(&packet.with(|one| one.ip_options = vec![1; 40]), 8)
                }),
            ]);
        }
        Family::V6 => {
            ways.extend::<[(&str, Way); 6]>([
                ("with one extension header", |packet| vec![behind(packet).frame()]),
                ("with 5 extension headers", |packet| vec![extended(packet, 5).frame()]),
                ("with 6 extension headers", |packet| vec![extended(packet, 6).frame()]),
                ("with 7 extension headers", |packet| vec![extended(packet, 7).frame()]),
                ("with 20 extension headers", |packet| vec![extended(packet, 20).frame()]),
                ("as an atomic fragment", |packet| pieces(packet, usize::MAX)),
            ]);
        }
    }
    ways
}

fn tagged(packet: &Packet, tags: &[[u16; 2]]) -> Vec<u8> {
    packet.with(|one| one.tags = tags.to_vec()).frame()
}

/// The segment in fragments of this many bytes.
fn pieces(packet: &Packet, bytes: usize) -> Vec<Vec<u8>> {
    let end = packet.frame().len() - packet.tcp_at();
    let bytes = bytes.min(end.next_multiple_of(8));
    (0..end)
        .step_by(bytes)
        .map(|from| packet.fragment(from..(from + bytes).min(end), from + bytes < end))
        .collect()
}

fn padded(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    for frame in &mut frames {
        frame.resize(frame.len().max(SHORTEST), 0x50);
    }
    frames
}

/// With IPv4 options or an IPv6 extension header.
fn behind(packet: &Packet) -> Packet {
    packet.with(|one| {
        if one.is_ipv4() {
            one.ip_options = vec![1; 4];
        } else {
            one.extensions = vec![(HOP_BY_HOP, vec![1, 4, 0, 0, 0, 0])];
        }
    })
}

fn extended(packet: &Packet, count: usize) -> Packet {
    packet.with(|one| one.extensions = vec![(DESTINATION, vec![1, 4, 0, 0, 0, 0]); count])
}

/// Which segments of a connection take the way; the others come as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taking {
    All,
    AllButTheSyn,
}

/// Whether payload without a header reaches the application on this way.
fn gets_past(
    bench: &mut Bench,
    syn: &Packet,
    way: Way,
    taking: Taking,
    patience: Duration,
) -> bool {
    bench.tables.reset(SETTINGS, &[]);
    bench.drain();
    let send = |packet: &Packet, way: Way| {
        for frame in way(packet) {
            bench.tap.write(&frame);
        }
    };
    send(syn, if taking == Taking::All { way } else { as_it_is });
    let Some(answer) = bench.hear_within(patience, syn) else { return false };
    let ack = after(syn, answer.sequence, ACK, &[]).with(|one| one.options = vec![1; 20]);
    send(&ack, way);
    send(&ack.with(|one| (one.flags, one.payload) = (ACK | PSH, REQUEST.to_vec())), way);
    let stream = bench.accept_within(patience, syn);
    stream.is_some_and(|mut stream| read_soon(&mut stream, patience) == REQUEST)
}

fn as_it_is(packet: &Packet) -> Vec<Vec<u8>> {
    vec![packet.frame()]
}

/// A SYN with 20 bytes of options.
fn syn(family: Family, port: u16) -> Packet {
    family.syn(port).with(|syn| {
        syn.options = linux_options();
        if matches!(port, RESETTING | DROPPING) {
            syn.from = family.stranger();
        }
    })
}

/// A way that the kernel does not take would show nothing.
#[test]
fn without_programs_everything_gets_past() {
    on_bench(|bench| {
        let mut wrong = Vec::new();
        let mut count = 0;
        for family in FAMILIES {
            for (what, way) in ways(family) {
                for taking in [Taking::All, Taking::AllButTheSyn] {
                    count += 1;
                    if !gets_past(bench, &syn(family, OPEN), way, taking, PATIENCE) {
                        wrong.push(format!("does not: {what}, {taking:?}, {}", family.name()));
                    }
                }
            }
        }
        report("ways round, without programs", count, &wrong);
    });
}

#[test]
fn nothing_gets_past() {
    on_wire("ways round, by the wire", |bench, program| {
        let mut results = Vec::new();
        for family in FAMILIES {
            for (what, way) in ways(family) {
                for taking in [Taking::All, Taking::AllButTheSyn] {
                    for port in [AUTO, TRANSLATE, ACCEPT, RESETTING, DROPPING] {
                        // Without the accept hand-off, its connections are left to the kernel.
                        if program == Program::IngressBasic && port == ACCEPT {
                            continue;
                        }
                        let past = gets_past(bench, &syn(family, port), way, taking, MOMENT);
                        let what = at(&format!("{what}, {taking:?}"), family, port);
                        let what = format!("{}, {what}: gets past", program.name());
                        results.push(if past { Err(what) } else { Ok(()) });
                    }
                }
            }
        }
        results
    });
}

/// A TCP option with nothing sensible in it, and what makes it 20 bytes.
fn option(kind: u8, length: u8) -> Vec<u8> {
    let mut option = vec![kind, length];
    option.resize(length.into(), 7);
    option.resize(20, 1);
    option
}

/// SYNs that begin nothing, or nothing without a header. The verdict of the programs does not matter here.
#[test]
fn no_oddity_begins_a_connection() {
    on_wire("oddities by the wire", |bench, program| {
        let mut results = Vec::new();
        for family in FAMILIES {
            for port in [AUTO, TRANSLATE] {
                let with = |change: fn(&mut Packet)| family.syn(port).with(change);
                let oddities = [
                    ("SYN and FIN", with(|syn| syn.flags = SYN | FIN)),
                    ("SYN and RST", with(|syn| syn.flags = SYN | RST)),
                    ("land", with(|syn| syn.from = syn.to)),
                    ("a length of zero", with(|syn| syn.ip_length = Some(0))),
                    ("Fast Open", with(|syn| syn.options = option(34, 2))),
                    ("an MD5 signature", with(|syn| syn.options = option(19, 18))),
                    ("half an MD5 signature", with(|syn| syn.options = option(19, 2))),
                    ("a TCP-AO signature", with(|syn| syn.options = option(29, 16))),
                    ("half a TCP-AO signature", with(|syn| syn.options = option(29, 2))),
                ];
                for (what, syn) in oddities {
                    let past = gets_past(bench, &syn, as_it_is, Taking::All, MOMENT);
                    let what = format!("{}, {}: gets past", program.name(), at(what, family, port));
                    results.push(if past { Err(what) } else { Ok(()) });
                }
            }
        }
        results
    });
}
