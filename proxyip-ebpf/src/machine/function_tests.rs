//! Single functions of the programs, on frames in the simulated kernel.

use proxyip_common::settings::{ListenerSettings, NamespaceSettings};

use super::{Machine, endpoint};
use crate::host::{
    frame::{Checksum, Frame},
    programs::TcContext,
    wire,
};
use crate::{
    act::{answer, rewrite},
    frame::{
        options, parse,
        reply::Reply,
        segment::{Segment, Shape, fill_incoming},
        tcp::{Seq, flags},
    },
    state::memory::memory,
};

/// A host on which port 443 is guarded.
fn machine() -> Machine {
    let settings = NamespaceSettings {
        cookie: 0,
        epoch_ns: 1,
        nat_since_ns: 0,
        timestamp_offset: 0,
        window: 0,
        window_scale: 0,
        flags: 0,
    };
    let mut machine = Machine::new(settings);
    machine.guard(443, 3, ListenerSettings::default());
    machine
}

fn segment(ipv6: bool) -> wire::Segment {
    let (peer, local) = if ipv6 {
        ("[2001:db8::2]:40000", "[2001:db8::1]:443")
    } else {
        ("10.0.0.2:40000", "10.0.1.2:443")
    };
    let mut segment = wire::Segment::bare(endpoint(peer), endpoint(local), 7, 9, flags::ACK);
    segment.payload = b"payload".to_vec();
    segment
}

fn is_read(ctx: &TcContext, segment: &mut Segment) -> bool {
    parse::incoming(ctx, segment) == parse::Parsed::Segment
}

/// Whether the frame is read as a segment for a guarded port, and its shape.
fn shape(bytes: &[u8], change: impl FnOnce(&mut Frame)) -> Option<Shape> {
    let segment = fill_incoming().unwrap();
    let mut frame = Frame::new(bytes.to_vec(), bytes.len(), Checksum::None);
    change(&mut frame);
    let found = parse::incoming(&TcContext::new(&mut frame), segment);
    (found == parse::Parsed::Segment).then_some(segment.shape)
}

#[test]
fn segments_for_guarded_ports_are_read() {
    let _machine = machine();
    for ipv6 in [false, true] {
        let sent = segment(ipv6);
        for linear in [0, 14, 40, 60, 200] {
            let mut frame = Frame::new(sent.frame(), linear, Checksum::None);
            let read = fill_incoming().unwrap();
            assert!(is_read(&TcContext::new(&mut frame), read), "{linear} bytes at hand");
            assert_eq!((read.peer.0, read.local.0), (sent.source, sent.destination));
            assert_eq!((read.sequence, read.acknowledgment), (Seq(7), Seq(9)));
            assert_eq!(read.flags, flags::ACK);
            assert_eq!((read.listener, read.header, read.payload, read.ipv6), (3, 20, 7, ipv6));
        }
    }
}

#[test]
fn other_frames_are_none_of_ours() {
    let _machine = machine();
    let frame = segment(false).frame();
    assert!(shape(&frame, |_| {}).is_some());
    assert!(shape(&frame, |frame| frame.fields().vlan_tci = 5).is_none());
    assert!(shape(&frame, |frame| frame.fields().vlan_tci = 1 << 13).is_some(), "a priority alone");
    assert!(shape(&frame, |frame| frame.fields().pkt_type = 3).is_none(), "another host's");
    let changed = |at: usize, value: u8| {
        let mut frame = frame.clone();
        frame[at] = value;
        shape(&frame, |_| {})
    };
    assert!(changed(37, 80).is_none(), "another port");
    assert!(changed(23, 17).is_none(), "UDP");
    assert!(changed(21, 1).is_none(), "a later fragment");
    assert!(changed(20, 0x20) == Some(Shape::Fragment));
    assert!(changed(46, 0x40).is_none(), "a TCP header of 16 bytes");
    assert!(changed(46, 0xf0).is_none(), "a TCP header longer than the packet");
    assert!(changed(14, 0x44).is_none(), "an IP header of 16 bytes");
    for length in 14..54 {
        assert!(shape(&frame[..length], |_| {}).is_none(), "{length} bytes");
    }
}

/// The options of a SYN, read; and the frame.
fn read_options(bytes: &[u8]) -> (&'static options::Received, Box<Frame>) {
    let mut sent = segment(false);
    sent.options = bytes.to_vec();
    let mut frame = Frame::new(sent.frame(), 54, Checksum::None);
    let (segment, memory) = (fill_incoming().unwrap(), memory().unwrap());
    let ctx = TcContext::new(&mut frame);
    assert!(is_read(&ctx, segment) && options::read(&ctx, segment, &memory.options));
    let read = &memory.options.received;
    assert!(rewrite::blank(&ctx, segment, memory));
    (read, frame)
}

#[test]
fn options_are_read_up_to_the_first_that_is_broken() {
    let _machine = machine();
    let linux = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 15];
    let (read, _) = read_options(&linux);
    assert_eq!(
        (read.mss.get(), read.window_scale.get(), read.sack_permitted.get()),
        (Some(1460), Some(14), true)
    );
    assert_eq!(read.timestamps.get().map(|it| (it.value, it.echo)), Some((1, 2)));
    assert!(!read.signed.get() && read.unwanted.get() == 0);
    let (read, _) = read_options(&[4, 2, 2, 60, 3, 3, 7, 1]);
    assert_eq!(
        (read.mss.get(), read.window_scale.get(), read.sack_permitted.get()),
        (None, None, true)
    );
    let (read, _) = read_options(&[4, 2, 0, 3, 3, 7, 1, 1]);
    assert_eq!(
        (read.window_scale.get(), read.sack_permitted.get()),
        (None, true),
        "behind the end"
    );
    assert!(read_options(&[29, 4, 0, 0]).0.signed.get());
}

#[test]
fn unwanted_options_are_blanked_and_the_checksum_adapted() {
    let _machine = machine();
    // MPTCP behind an odd number of bytes, then TCP Fast Open.
    let (_, frame) = read_options(&[1, 30, 4, 1, 2, 34, 4, 7, 8, 4, 2, 0]);
    let read = wire::Segment::read(frame.bytes(), true).expect("a right checksum");
    assert_eq!(read.options, [1, 1, 1, 1, 1, 1, 1, 1, 1, 4, 2, 0]);
}

#[test]
fn answers_have_right_checksums_whatever_the_kernel_knows_of_them() {
    use Checksum::{Complete, None, Partial, Unnecessary};
    let _machine = machine();
    for (ipv6, checksum) in [None, Unnecessary, Complete, Partial]
        .into_iter()
        .flat_map(|checksum| [(false, checksum), (true, checksum)])
    {
        let sent = segment(ipv6);
        let mut frame = Frame::new(sent.frame(), 54, checksum);
        let (segment, memory) = (fill_incoming().unwrap(), memory().unwrap());
        let ctx = TcContext::new(&mut frame);
        assert!(is_read(&ctx, segment));
        let written = answer::write(&Reply::reset(segment), &ctx, segment, &memory.reply);
        assert_eq!(written, Ok(()));
        let answer = wire::Segment::read(&frame.on_the_wire(), true).expect("right checksums");
        assert_eq!((answer.source, answer.destination), (sent.destination, sent.source));
        assert_eq!((answer.flags, answer.sequence), (flags::RST, 9));
        assert_eq!(frame.bytes()[..6], sent.frame()[6..12], "goes to where it came from");
    }
}
