//! A line of the flow log.

use std::net::SocketAddr;

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};
use proxyip_common::counter::DropReason;
use proxyip_common::event::Event;
use serde::Serialize;

use crate::flow::Flow;

/// A line of the flow log; its fields are described in [`Flow`] and below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// `accept`, `close`, `refuse` or `left_to_kernel`.
    pub event: &'static str,
    /// When it happened, RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// `accept`, `reset` or `drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'static str>,
    /// The label of a [`DropReason`] or [`Reason`](proxyip_common::counter::Reason).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Which connection.
    #[serde(flatten)]
    pub connection: Connection,
    /// What it was in all.
    #[serde(flatten)]
    pub totals: Option<Totals>,
}

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Connection {
    /// A connection whose header was consumed.
    Flow(Box<Flow>),
    /// A connection that was refused or left to the kernel, so that no client is known.
    Attempt {
        /// The listener's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        listener: Option<String>,
        /// How the connection would have been given to the application.
        #[serde(skip_serializing_if = "Option::is_none")]
        hand_off: Option<&'static str>,
        /// The load balancer's end.
        peer: SocketAddr,
        /// This host's end.
        local: SocketAddr,
    },
}

/// Sums over a connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Payload from the client, without the header.
    pub bytes_received: u64,
    /// Payload to the client, as far as it was acknowledged.
    pub bytes_sent: u64,
    /// From established to closed.
    pub duration_ms: u64,
}

impl Line {
    /// A line without verdict, reason and totals.
    #[must_use]
    pub fn new(event: &'static str, from: &Event, connection: Connection) -> Self {
        let time = format!("{:.3}", wall_clock(from.time_ns));
        Self { event, time, verdict: None, reason: None, connection, totals: None }
    }
}

impl From<&Event> for Totals {
    fn from(event: &Event) -> Self {
        let record = &event.record;
        let began =
            if record.established_ns == 0 { record.handed_over_ns } else { record.established_ns };
        Self {
            bytes_received: event.bytes_received,
            bytes_sent: event.bytes_sent,
            duration_ms: event.time_ns.saturating_sub(began) / 1_000_000,
        }
    }
}

/// What the kernel programs do with a segment or connection that they refuse for this reason.
#[must_use]
pub const fn verdict(reason: DropReason) -> &'static str {
    use DropReason as R;
    match reason {
        R::HeaderMissing
        | R::HeaderIncomplete
        | R::HeaderTimeout
        | R::HeaderForgotten
        | R::HeaderTooLong
        | R::VersionRefused
        | R::UnknownRefused
        | R::V1TooLong
        | R::V1Family
        | R::V1Address
        | R::V1Port
        | R::V1LineEnd
        | R::V2Version
        | R::V2Command
        | R::V2Family
        | R::V2Length
        | R::V2Tlv
        | R::V2Checksum
        | R::UntrustedReset
        | R::FlowTable
        | R::AssignRefused
        | R::TranslationTable
        | R::HandshakeUnknown
        | R::Signed
        | R::StackRefuses => "reset",
        R::UntrustedDropped
        | R::Checksum
        | R::Fragment
        | R::ExtensionHeader
        | R::Hidden
        | R::SynAckFailed
        | R::ReplyFailed
        | R::TrimFailed
        | R::PayloadWithoutSocket
        | R::TranslateFailed => "drop",
    }
}

/// The wall-clock time of a `CLOCK_MONOTONIC` time, by how long ago it was: so a stepped clock is
/// followed at once.
fn wall_clock(event_ns: u64) -> Timestamp {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |now| i128::from(now.tv_sec()) * 1_000_000_000 + i128::from(now.tv_nsec()));
    before(Timestamp::now(), now - i128::from(event_ns))
}

fn before(now: Timestamp, ago_ns: i128) -> Timestamp {
    let ago = i64::try_from(ago_ns).map_or(SignedDuration::ZERO, SignedDuration::from_nanos);
    now.checked_sub(ago).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_with_milliseconds() {
        let now: Timestamp = "2026-11-20T08:00:01.1239Z".parse().unwrap();
        assert_eq!(format!("{:.3}", before(now, 1_000_000_000)), "2026-11-20T08:00:00.123Z");
        assert_eq!(format!("{:.3}", before(now, 123_900_000)), "2026-11-20T08:00:01.000Z");
        assert_eq!(before(now, i128::MAX), now);
    }

    #[test]
    fn an_event_of_now_has_the_time_of_now() {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
        let now_ns = u64::try_from(now.tv_sec() * 1_000_000_000 + now.tv_nsec()).unwrap();
        let difference = Timestamp::now().duration_since(wall_clock(now_ns));
        assert!(difference.abs() < SignedDuration::from_secs(1), "{difference}");
    }
}
