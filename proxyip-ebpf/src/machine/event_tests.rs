//! Which events of connections the programs send, and which they need not.

use core::ptr;

use proxyip_common::{
    event::{Event, EventKind, muted},
    flow::HandOff,
};

use super::{
    conversation::{ACCEPT, BASIC, Conversation, LINUX, OBSERVE, TRANSLATE, Way, ends4},
    endpoint, headers,
};
use crate::state::events::MUTED;

/// Every way to the application.
const WAYS: [Way; 4] = [ACCEPT, TRANSLATE, BASIC, OBSERVE];

/// The events since the last call.
fn events(peer: &mut Conversation) -> Vec<Event> {
    let read = |bytes: Vec<u8>| {
        assert!(bytes.len() >= size_of::<Event>());
        // SAFETY: as many bytes; any bytes are an event.
        unsafe { ptr::read_unaligned(bytes.as_ptr().cast::<Event>()) }
    };
    peer.machine.adjust(|state| core::mem::take(&mut state.events)).into_iter().map(read).collect()
}

fn kinds(peer: &mut Conversation) -> Vec<EventKind> {
    events(peer).iter().map(|event| EventKind::from_u8(event.kind).expect("a kind")).collect()
}

fn mute(muted: u32) {
    let word = MUTED.get_ptr_mut(0).expect("the word");
    // SAFETY: an element of the map.
    unsafe { *word = muted };
}

/// A connection to the application, with this header.
fn open(peer: &mut Conversation, header: &[u8]) {
    peer.open(LINUX);
    peer.send_range(header, 0..header.len());
    assert!(peer.received().is_some(), "{}", peer.way.name);
}

fn close(peer: &mut Conversation) {
    let (source, local) = peer.ends;
    peer.machine.forget(source, local);
}

#[test]
fn an_agent_that_has_not_said_what_it_wants_gets_everything() {
    use EventKind::{Closed, Established, Header};
    for way in WAYS {
        for (header, first) in
            [(headers::v2(), &[][..]), (headers::v2_with_checksum(), &[Header][..])]
        {
            let mut peer = Conversation::new(way, ends4());
            open(&mut peer, &header);
            assert_eq!(kinds(&mut peer), [first, &[Established]].concat(), "{}", way.name);
            close(&mut peer);
            assert_eq!(kinds(&mut peer), [Closed], "{}", way.name);
        }
    }
}

/// Without a flow log. Whether connections by the accept hand-off are established is watched, and TLVs are kept until the
/// connection ends.
#[test]
fn what_nobody_wants_is_not_sent() {
    use EventKind::{Closed, Established, Header};
    for way in WAYS {
        let established = if way.hand_off == HandOff::Accept { &[Established][..] } else { &[] };
        for (header, first, last) in [
            (headers::v2(), &[][..], &[][..]),
            (headers::v2_with_checksum(), &[Header][..], &[Closed][..]),
        ] {
            let mut peer = Conversation::new(way, ends4());
            mute(muted::ESTABLISHED | muted::CLOSED);
            open(&mut peer, &header);
            assert_eq!(kinds(&mut peer), [first, established].concat(), "{}", way.name);
            close(&mut peer);
            assert_eq!(kinds(&mut peer), last, "{}", way.name);
        }
    }
}

/// A flow log that is switched on while connections live has all of how they end.
#[test]
fn whoever_listens_later_hears_of_the_end_of_what_was_there_before() {
    for way in WAYS {
        let mut peer = Conversation::new(way, ends4());
        mute(muted::ESTABLISHED | muted::CLOSED);
        open(&mut peer, &headers::v2());
        let record = peer.machine.record(peer.ends.0, peer.ends.1).expect("a record");
        events(&mut peer);
        mute(0);
        close(&mut peer);
        let [event] = &events(&mut peer)[..] else { panic!("{}: one event", way.name) };
        assert_eq!(event.kind, EventKind::Closed as u8, "{}", way.name);
        assert_eq!(event.record, record, "{}", way.name);
        assert_ne!(event.record.established_ns, 0, "{}", way.name);
        assert_eq!(event.record.client.0, endpoint(headers::CLIENT), "{}", way.name);
    }
}
