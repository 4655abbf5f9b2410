//! JSON of connections that are established, or were.
//!
//! On a busy node these lines are most of what the agent does. Made by [`json`] from a [`Line`], each takes several times as
//! long. They are the same lines: a test compares both ways.
//!
//! [`Line`]: proxyip_api::line::Line

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use proxyip_api::tlvs::TlvsJson;
use proxyip_common::event::{Event, EventKind};
use proxyip_common::verdict::Verdict;
use serde::Serialize;

use super::flow::Labels;
use super::period::{Period, lifetime};
use crate::json;

/// What the agent knows of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The name of its listener.
    pub listener: Option<&'a str>,
    /// What the header's TLVs said.
    pub tlvs: Option<&'a TlvsJson>,
}

/// Writes these lines.
#[derive(Debug, Default)]
pub struct Scribe {
    start: Second,
    end: Second,
}

impl Scribe {
    /// Appends the line of a connection that was established, or of one that has ended, without its line feed.
    pub fn write(&mut self, line: &mut Vec<u8>, event: &Event, period: &Period, known: Known) {
        let has_ended = event.kind == EventKind::Closed as u8;
        let mut text = Text(line);
        let end = self.end.text(period.end);
        text.add(if has_ended { r#"{"event":"close""# } else { r#"{"event":"accept""# });
        text.add_time(r#","time":"#, end);
        text.add_label(r#","verdict":"#, Verdict::on_flow(&event.record).label());
        if let Some(listener) = known.listener {
            text.add_json(r#","listener":"#, &listener);
        }
        let Labels { hand_off, origin, transport, version } = Labels::of(&event.record);
        text.add_label(r#","hand_off":"#, hand_off);
        text.add_label(r#","origin":"#, origin);
        if let Some(transport) = transport {
            text.add_label(r#","transport":"#, transport);
        }
        text.add_label(r#","version":"#, version);
        text.add_address(r#","client":"#, event.record.client.0.to_socket_addr());
        text.add_address(r#","peer":"#, event.key.peer.0.to_socket_addr());
        text.add_address(r#","local":"#, event.key.local.0.to_socket_addr());
        text.add_address(r#","destination":"#, event.record.destination.0.to_socket_addr());
        if let Some(tlvs) = known.tlvs {
            text.add_json(r#","tlvs":"#, tlvs);
        }
        if has_ended {
            text.add_time(r#","start":"#, self.start.text(period.start));
            text.add_time(r#","end":"#, end);
            text.add_number(r#","packets_received":"#, event.packets_received.into());
            text.add_number(r#","bytes_received":"#, event.bytes_received);
            text.add_number(r#","packets_sent":"#, event.packets_sent.into());
            text.add_number(r#","bytes_sent":"#, event.bytes_sent);
            let milliseconds = u64::try_from(lifetime(event).as_millis());
            text.add_number(r#","duration_ms":"#, milliseconds.unwrap_or(u64::MAX));
        }
        text.add("}");
    }
}

/// A time in UTC, with milliseconds.
type Time = [u8; "2026-11-20T08:00:01.123Z".len()];

/// The last second that was written. Most events are of the same second as the event before.
#[derive(Debug, Default)]
struct Second {
    number: Option<i64>,
    text: Time,
}

impl Second {
    /// RFC 3339, cut to milliseconds.
    fn text(&mut self, time: Timestamp) -> Time {
        let (second, nanoseconds) = (time.as_second(), time.subsec_nanosecond());
        // Before 1970, the fraction is negative.
        if self.number != Some(second) || nanoseconds < 0 {
            self.number = (nanoseconds >= 0).then_some(second);
            // Years of more than four digits do not occur.
            let _ = write!(self.text.as_mut_slice(), "{time:.3}");
            return self.text;
        }
        let mut text = self.text;
        let mut rest = nanoseconds.unsigned_abs() / 1_000_000;
        for digit in text[20..23].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        text
    }
}

/// A line that is being written. Each method adds what stands before a value, and the value.
struct Text<'a>(&'a mut Vec<u8>);

impl Text<'_> {
    fn add(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn add_label(&mut self, name: &str, label: &'static str) {
        self.add(name);
        self.add("\"");
        self.add(label);
        self.add("\"");
    }

    fn add_number(&mut self, name: &str, number: u64) {
        self.add(name);
        self.add(itoa::Buffer::new().format(number));
    }

    fn add_time(&mut self, name: &str, time: Time) {
        self.add(name);
        self.add("\"");
        self.0.extend_from_slice(&time);
        self.add("\"");
    }

    fn add_address(&mut self, name: &str, address: SocketAddr) {
        self.add(name);
        self.add("\"");
        let IpAddr::V4(ip) = address.ip() else {
            // A vector takes everything.
            let _ = write!(self.0, "{address}\"");
            return;
        };
        for (octet, behind) in ip.octets().into_iter().zip([".", ".", ".", ":"]) {
            self.add(itoa::Buffer::new().format(octet));
            self.add(behind);
        }
        self.add(itoa::Buffer::new().format(address.port()));
        self.add("\"");
    }

    /// What the configuration or the other end may have filled with anything.
    fn add_json(&mut self, name: &str, value: &impl Serialize) {
        self.add(name);
        json::write(&mut *self.0, value).expect("texts and numbers have a JSON form");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proxyip_api::line::Connection;
    use proxyip_common::flow::{FlowKey, FlowRecord};

    use super::*;
    use crate::flowlog::flow::flow;
    use crate::flowlog::flows::tests;
    use crate::flowlog::line;

    const KINDS: [EventKind; 2] = [EventKind::Established, EventKind::Closed];

    /// The line by both ways.
    fn both(scribe: &mut Scribe, event: &Event, period: &Period, known: Known) -> [String; 2] {
        let (listener, tlvs) = (known.listener.map(Into::into), known.tlvs.cloned());
        let connection =
            Connection::Flow(Box::new(flow(&event.key, &event.record, listener, tlvs)));
        let slow = if event.kind == EventKind::Closed as u8 {
            line::closed(event, period, connection)
        } else {
            line::accepted(event, period, connection)
        };
        let mut quick = Vec::new();
        scribe.write(&mut quick, event, period, known);
        [json::to_vec(&slow).unwrap(), quick].map(|line| String::from_utf8(line).unwrap())
    }

    fn assert_same(event: &Event, known: Known) {
        let end = Timestamp::from_nanosecond(i128::from(event.time_ns)).unwrap();
        let period = Period { start: end, end };
        let [slow, quick] = both(&mut Scribe::default(), event, &period, known);
        assert_eq!(quick, slow);
    }

    fn events() -> [Event; 2] {
        KINDS.map(|kind| tests::event(kind, 0))
    }

    #[test]
    fn lines_are_those_of_the_documented_type() {
        let none = Known { listener: None, tlvs: None };
        let tlvs = TlvsJson { alpn: Some("h2\u{202e}\"".into()), ..TlvsJson::default() };
        for mut event in events() {
            for listener in [None, Some("web"), Some("quote \" and \u{9b}31m")] {
                for tlvs in [None, Some(&tlvs)] {
                    assert_same(&event, Known { listener, tlvs });
                }
            }
            for flags in [0, FlowRecord::DENIED, FlowRecord::DATAGRAM, FlowRecord::LONG] {
                for number in 0..5 {
                    event.record.flags = flags;
                    event.record.hand_off = number;
                    event.record.origin = number;
                    event.record.version = number;
                    assert_same(&event, none);
                }
            }
        }
    }

    #[test]
    fn addresses_and_numbers_are_whole() {
        let none = Known { listener: None, tlvs: None };
        for mut event in events() {
            for [peer, local, client, destination] in [
                ["0.0.0.0:0", "255.255.255.255:65535", "10.0.0.2:9", "1.20.100.200:80"],
                ["[2001:db8::9]:51234", "[::1]:443", "[fe80::1]:1", "[::]:0"],
            ]
            .map(|all| all.map(|address| address.parse::<SocketAddr>().unwrap()))
            {
                event.key = FlowKey::new(1, peer.into(), local.into());
                event.record.client = client.into();
                event.record.destination = destination.into();
                assert_same(&event, none);
            }
            (event.packets_received, event.packets_sent) = (u32::MAX, 0);
            (event.bytes_received, event.bytes_sent) = (0, u64::MAX);
            assert_same(&event, none);
        }
    }

    #[test]
    fn times_are_those_of_their_second() {
        let mut scribe = Scribe::default();
        for nanoseconds in [
            0,
            999_999,
            1_000_000,
            999_999_999,
            1_000_000_000,
            1_763_625_600_123_456_789,
            1_763_625_600_000_000_001,
            1_763_625_599_999_999_999,
            1_763_625_600_120_000_000,
            -1,
            -1_500_000_000,
            -1_000_000_000,
            0,
        ] {
            let [before, end] = [1_200_000_000, 0]
                .map(|ago| Timestamp::from_nanosecond(nanoseconds - ago).unwrap());
            for start in [before, end] {
                for event in events() {
                    let known = Known { listener: Some("web"), tlvs: None };
                    let [slow, quick] = both(&mut scribe, &event, &Period { start, end }, known);
                    assert_eq!(quick, slow);
                }
            }
        }
    }
}
