//! Acknowledgments in the name of a socket that does not exist yet.

use proxyip_common::counter::Counter;

use crate::{
    decision::Decision,
    frame::{
        options,
        reply::{Reply, put_timestamps},
        segment::Segment,
        tcp::flags,
    },
    kernel::programs::TcContext,
    state::{memory::Memory, namespace::settings},
};

/// Acknowledges the first `length` bytes of the stream that begins behind `memory.isn`.
///
/// The timestamp stands still: it is the one that the peer echoes. A newer one would come back in the segment that
/// establishes the connection. For translate, that segment must echo the timestamp of the kernel's SYN-ACK, because
/// `tcp_check_req()` waits for it (<https://elixir.bootlin.com/linux/v6.14/source/net/ipv4/tcp_minisocks.c>).
#[inline(never)]
pub fn acknowledge(
    ctx: &TcContext,
    segment: &Segment,
    memory: &Memory,
    counter: Counter,
) -> Decision {
    let Some(settings) = settings() else { return Decision::Hold(counter) };
    if !options::read(ctx, segment, &memory.options) {
        return Decision::Hold(counter);
    }
    let acknowledgment = memory.isn.get().wrapping_add(1).wrapping_add(memory.acknowledged.get());
    let mut reply = Reply::bare(segment.acknowledgment, acknowledgment, flags::ACK);
    let scale = if memory.unscaled.get() { 0 } else { settings.window_scale & 15 };
    reply.window = settings.window >> scale;
    if let Some(received) = memory.options.received.timestamps.get() {
        put_timestamps(&memory.reply, 0, [1, 1], (received.echo, received.value));
        reply.options_length = 12;
    }
    Decision::Answer(counter, reply)
}
