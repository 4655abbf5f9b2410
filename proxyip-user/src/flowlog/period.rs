//! When a connection began and ended, by the wall clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};
use proxyip_common::event::{Event, EventKind};

/// From when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
}

impl Period {
    /// The time that the event's connection lasted; it ends with the event.
    #[must_use]
    pub fn of(event: &Event, clock: &Clock) -> Self {
        let end = clock.time(event.time_ns);
        let lasted = i128::try_from(lifetime(event).as_nanos()).unwrap_or(i128::MAX);
        Self { start: before(end, lasted), end }
    }
}

/// From established to closed; 0 for an event of another kind.
#[must_use]
pub fn lifetime(event: &Event) -> Duration {
    let record = &event.record;
    let began = match record.established_ns {
        _ if event.kind != EventKind::Closed as u8 => event.time_ns,
        0 => record.handed_over_ns,
        established_ns => established_ns,
    };
    Duration::from_nanos(event.time_ns.saturating_sub(began))
}

/// Turns times of the kernel programs into times of the wall clock. Answers and lines share one clock, so that
/// they give the same time of a flow as long as the wall clock is not set. A stepped clock is followed at once.
#[derive(Debug, Default)]
pub struct Clock {
    /// By how much the wall clock is ahead of `CLOCK_MONOTONIC`, as it was last used.
    offset_ns: AtomicI64,
}

impl Clock {
    /// The wall-clock time of a `CLOCK_MONOTONIC` time.
    #[must_use]
    pub fn time(&self, monotonic_ns: u64) -> Timestamp {
        let nanoseconds = i128::from(monotonic_ns) + i128::from(self.offset_ns());
        Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::MAX)
    }

    fn offset_ns(&self) -> i64 {
        /// Two readings of the same offset differ by less; clocks that run at different speeds take minutes for it.
        const SLACK_NS: u64 = 5_000_000;
        let used = self.offset_ns.load(Ordering::Relaxed);
        let read = read_offset_ns();
        if read.abs_diff(used) < SLACK_NS {
            return used;
        }
        self.offset_ns.store(read, Ordering::Relaxed);
        read
    }
}

fn read_offset_ns() -> i64 {
    /// Between two readings of one clock, if nothing else came in between.
    const SOON_NS: i64 = 100_000;
    let mut offset = 0;
    for _ in 0..10 {
        let before = read_ns(ClockId::CLOCK_MONOTONIC);
        offset = read_ns(ClockId::CLOCK_REALTIME) - before;
        if read_ns(ClockId::CLOCK_MONOTONIC) - before < SOON_NS {
            break;
        }
    }
    offset
}

fn read_ns(clock: ClockId) -> i64 {
    clock_gettime(clock).map_or(0, |now| now.tv_sec() * 1_000_000_000 + now.tv_nsec())
}

fn before(now: Timestamp, ago_ns: i128) -> Timestamp {
    let ago = i64::try_from(ago_ns).map_or(SignedDuration::ZERO, SignedDuration::from_nanos);
    now.checked_sub(ago).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowlog::flows::tests::event;

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
        let difference = Timestamp::now().duration_since(Clock::default().time(now_ns));
        assert!(difference.abs() < SignedDuration::from_secs(1), "{difference}");
    }

    #[test]
    fn a_time_is_the_same_each_time() {
        let event_ns = u64::try_from(read_ns(ClockId::CLOCK_MONOTONIC)).unwrap();
        let clock = Clock::default();
        let time = clock.time(event_ns);
        for _ in 0..1000 {
            assert_eq!(clock.time(event_ns), time);
        }
    }

    #[test]
    fn a_connection_lasts_from_established_to_closed() {
        let millis = |event: &Event| {
            let period = Period::of(event, &Clock::default());
            assert_eq!(
                period.end.duration_since(period.start).unsigned_abs(),
                lifetime(event),
                "{event:?}"
            );
            lifetime(event).as_millis()
        };
        let mut closed = event(EventKind::Closed, 0);
        assert_eq!(millis(&closed), 1000);
        closed.record.established_ns = 0;
        assert_eq!(millis(&closed), 1001, "from the hand-over, as it is all that is known");
        assert_eq!(millis(&event(EventKind::Refused, 0)), 0);
    }
}
