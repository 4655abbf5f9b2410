//! Acknowledgments in the name of a socket that does not exist yet.

use proxyip_common::counter::Counter;

use crate::{
    decision::Verdict,
    frame::{
        options,
        reply::{Reply, put_timestamps},
        segment::Segment,
        tcp::flags,
    },
    kernel::programs::TcContext,
    memory::Scratch,
    state::namespace::settings,
};

/// Acknowledges the first `length` bytes of the stream that begins behind `scratch.isn`.
///
/// The timestamp stands still: it is the one that the peer echoes. A newer one would come back in the segment that
/// establishes the connection, and for translate that must be the one of the kernel's SYN-ACK, for which
/// `tcp_check_req()` waits (<https://elixir.bootlin.com/linux/v6.14/source/net/ipv4/tcp_minisocks.c>).
#[inline(never)]
pub fn acknowledge(
    ctx: &TcContext,
    segment: &Segment,
    scratch: &mut Scratch,
    counter: Counter,
) -> Verdict {
    let Some(settings) = settings() else { return Verdict::Hold(counter) };
    if !options::read(ctx, segment, scratch) {
        return Verdict::Hold(counter);
    }
    let acknowledgment = scratch.isn.wrapping_add(1).wrapping_add(scratch.acknowledged);
    let mut reply = Reply::bare(segment.acknowledgment, acknowledgment, flags::ACK);
    let scale = if scratch.unscaled { 0 } else { settings.window_scale & 15 };
    reply.window = settings.window >> scale;
    if let Some(received) = scratch.received.timestamps {
        put_timestamps(&mut scratch.frame, 0, [1, 1], (received.echo, received.value));
        reply.options_length = 12;
    }
    Verdict::Answer(counter, reply)
}
