//! Acknowledgments in the name of a socket that does not exist yet.

use crate::{
    decision::Acknowledgment,
    frame::{
        options::{self, NO_OPERATION},
        reply::{Reply, put_timestamps},
        segment::Segment,
        tcp::flags,
    },
    kernel::programs::TcContext,
    state::{memory::Memory, namespace::settings},
};

/// The longest shift count (RFC 7323 §2.3), as a mask.
const SHIFT: u8 = 15;

/// The bare ACK; `None` if it cannot be made.
///
/// The timestamp stands still: it is the one that the peer echoes. A newer one would come back in the segment that
/// establishes the connection. For translate, that segment must echo the timestamp of the kernel's SYN-ACK, because
/// `tcp_check_req()` waits for it (<https://elixir.bootlin.com/linux/v6.14/source/net/ipv4/tcp_minisocks.c>).
#[inline(always)]
pub fn bare_ack(
    ctx: &TcContext,
    segment: &Segment,
    memory: &Memory,
    acknowledgment: Acknowledgment,
) -> Option<Reply> {
    let settings = settings()?;
    if !options::read(ctx, segment, &memory.options) {
        return None;
    }
    let mut reply = Reply::bare(segment.acknowledgment, acknowledgment.upto, flags::ACK);
    let scale = if acknowledgment.unscaled { 0 } else { settings.window_scale & SHIFT };
    reply.window = settings.window >> scale;
    if let Some(received) = memory.options.received.timestamps.get() {
        put_timestamps(&memory.reply, 0, [NO_OPERATION; 2], (received.echo, received.value));
        reply.options_length = 12;
    }
    Some(reply)
}
