//! How long headers take: the buckets of a histogram.

/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;

/// How many buckets have an upper bound: 1, 2, 4, … 524,288 ms. One more has none.
pub const BOUNDED: u32 = 20;
/// How many buckets there are.
pub const BUCKETS: u32 = BOUNDED + 1;

/// The upper bound of a bucket in milliseconds, itself included; `None` for the last.
#[must_use]
pub const fn bound_ms(bucket: u32) -> Option<u64> {
    if bucket < BOUNDED { Some(1 << bucket) } else { None }
}

/// The bucket of a time in nanoseconds.
#[inline(always)]
#[must_use]
pub const fn bucket(time_ns: u64) -> u32 {
    let bucket = match time_ns.div_ceil(MILLISECOND) {
        0 | 1 => 0,
        milliseconds => u64::BITS - (milliseconds - 1).leading_zeros(),
    };
    if bucket < BOUNDED { bucket } else { BOUNDED }
}

/// The nanoseconds between the clock of TCP timestamps and one that comes back as its echo, both in milliseconds; `None`
/// if they are more than `most_ns` apart, which no echo of ours is.
#[inline(always)]
#[must_use]
pub const fn since_echo(clock: u32, echo: u32, most_ns: u64) -> Option<u64> {
    let time_ns = clock.wrapping_sub(echo) as u64 * MILLISECOND;
    if time_ns <= most_ns { Some(time_ns) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_their_buckets() {
        for bucket_of in 0..BOUNDED {
            let bound_ns = bound_ms(bucket_of).unwrap() * MILLISECOND;
            assert_eq!(bucket(bound_ns), bucket_of);
            assert_eq!(bucket(bound_ns + 1), bucket_of + 1);
        }
        assert_eq!(bound_ms(BOUNDED - 1), Some(524_288));
        assert_eq!(bound_ms(BOUNDED), None);
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BOUNDED));
    }

    #[test]
    fn the_clock_may_wrap_and_echoes_may_be_wrong() {
        let most = 800_000 * MILLISECOND;
        assert_eq!(since_echo(1300, 1000, most), Some(300 * MILLISECOND));
        assert_eq!(since_echo(99, u32::MAX - 200, most), Some(300 * MILLISECOND));
        assert_eq!(since_echo(1000, 1001, most), None);
        assert_eq!(since_echo(0x8000_0000, 0, most), None);
    }
}
