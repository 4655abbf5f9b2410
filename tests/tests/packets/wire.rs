//! What shows only when frames come by an interface: connections that are handed over.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

use proxyip_common::counter::{Counter, Obstacle, per_listener};
use proxyip_common::flow::{HandOff, Translation};

use crate::flags::at;
use crate::trial::{report, same};
use proxyip_tests::bench::{
    AUTO, Bench, Count, FAMILIES, Family, PATIENCE, Program, SETTINGS, TRANSLATE, after, flow,
    on_bench, translation,
};
use proxyip_tests::packet::{ACK, PSH, Packet};

/// How long an answer may take that should not come.
pub(crate) const MOMENT: Duration = Duration::from_millis(20);

/// What an application would take for a request.
pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

/// Runs `work` with each ingress program that this kernel can load on the interface, and reports what it found wrong of how many cases.
pub(crate) fn on_wire(
    theme: &str,
    work: impl Fn(&mut Bench, Program) -> Vec<Result<(), String>> + Sync,
) {
    let mut results = Vec::new();
    for program in Program::INGRESS.into_iter().filter(|program| program.is_possible()) {
        on_bench(|bench| {
            bench.attach(program);
            results.extend(work(bench, program));
        });
    }
    let count = results.len();
    let wrong: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    report(theme, count, &wrong);
}

/// What there is to read at once; an error is nothing.
pub(crate) fn read_soon(stream: &mut TcpStream, patience: Duration) -> Vec<u8> {
    stream.set_nonblocking(false).expect("a flag");
    stream.set_read_timeout(Some(patience)).expect("a time limit");
    let mut bytes = vec![0; 4096];
    let length = stream.read(&mut bytes).unwrap_or(0);
    bytes.truncate(length);
    bytes
}

#[test]
fn connections_are_handed_over() {
    on_wire("connections by the wire", |bench, program| {
        let mut results = Vec::new();
        for family in FAMILIES {
            for words in 0..=10 {
                for data in [&b""[..], b"!", REQUEST] {
                    for port in [AUTO, TRANSLATE] {
                        // It is followed only once the programs on sockets have seen the connection; they are for a
                        // whole machine, and not loaded here.
                        if data.is_empty() && (program, port) != (Program::Ingress, AUTO) {
                            continue;
                        }
                        let what =
                            at(&format!("{} bytes, {words} words", data.len()), family, port);
                        let outcome = hand_over(bench, program, family, port, words, data);
                        let named = |error| format!("{}, {what}: {error}", program.name());
                        results.push(outcome.map_err(named));
                    }
                }
            }
        }
        results
    });
}

/// A connection from its SYN to its data. All of its segments have this many words of options.
fn hand_over(
    bench: &mut Bench,
    program: Program,
    family: Family,
    port: u16,
    words: usize,
    data: &[u8],
) -> Result<(), String> {
    bench.tables.reset(SETTINGS, &[]);
    let options = |packet: &Packet| packet.with(|one| one.options = vec![1; 4 * words]);
    let syn = options(&family.syn(port));
    bench.tap.write(&syn.frame());
    let answer = bench.hear(&syn).ok_or("no SYN-ACK")?;
    let ack = options(&after(&syn, answer.sequence, ACK, &[]));
    bench.tap.write(&ack.frame());
    if bench.accept_within(Duration::ZERO, &syn).is_some() {
        return Err("a connection before its header".into());
    }
    let payload = [&family.header(), data].concat();
    let first = ack.with(|one| (one.flags, one.payload) = (ACK | PSH, payload));
    bench.tap.write(&first.frame());
    let mut stream = bench.accept_within(PATIENCE, &syn).ok_or("no connection")?;
    let read = read_soon(&mut stream, if data.is_empty() { MOMENT } else { PATIENCE });
    if read != data {
        return Err(format!("read {read:?}"));
    }
    let length = u32::try_from(first.payload.len()).expect("a short payload");
    let end = first.sequence.wrapping_add(length);
    let mut heard = std::iter::from_fn(|| bench.hear(&syn));
    if !heard.any(|heard| heard.acknowledgment == end && heard.flags == ACK) {
        return Err("not acknowledged".into());
    }
    recorded(bench, program, family, &syn)
}

/// Whether tables and counters show the hand-over.
fn recorded(bench: &Bench, program: Program, family: Family, syn: &Packet) -> Result<(), String> {
    let (hand_off, count) = how(program, syn.to.port());
    let mut counted = vec![Counter::AckDeferred.into(), Counter::HandedOver.into(), count];
    let mut expected = vec![flow(syn, family, hand_off)];
    if hand_off == HandOff::Accept {
        counted.push(Counter::SynAnswered.into());
    } else {
        let shift = u16::try_from(family.header().len()).expect("a short header");
        expected.push(translation(syn, shift, Translation::OPENING));
        // Of a SYN that was answered with a cookie, only a timestamp could tell when that was.
        counted.push(Count::Latency);
    }
    let counted: Vec<_> = counted.into_iter().map(|count| (count, 1)).collect();
    let (counts, entries) = (bench.tables.counts(), bench.tables.entries());
    if !same(&counts, &counted) {
        return Err(format!("counted {counts:?}, expected {counted:?}"));
    }
    if !same(&entries, &expected) {
        return Err(format!("the tables hold {entries:?}, expected {expected:?}"));
    }
    Ok(())
}

/// The hand-off that a connection gets, and what counts it.
fn how(program: Program, port: u16) -> (HandOff, Count) {
    let translate = |listener, reason: Obstacle| {
        let counter = per_listener::TRANSLATE + reason as u32;
        (HandOff::Translate, Count::Listener(listener, counter))
    };
    match (program, port) {
        (Program::Ingress, AUTO) => (HandOff::Accept, Count::Listener(0, per_listener::ACCEPT)),
        (_, AUTO) => translate(0, Obstacle::NoKfunc),
        _ => translate(1, Obstacle::Configured),
    }
}
