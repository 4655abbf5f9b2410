//! What `getsockopt()` answers.

use core::{mem::MaybeUninit, net::SocketAddr};

use proxyip_common::{
    address::{Client, Endpoint},
    flow::{FlowRecord, HandOff, Origin},
    socket_option::{INFO, LEVEL, SocketAddress, SocketInfo},
};

use crate::host::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sockopt},
    programs::SockoptContext,
    sockets::{Kind, Socket, bpf_sk_storage_get},
    state,
};
use crate::{hooks::sockopt, state::storage::SOCKETS};

const ENOPROTOOPT: i32 = -92;
const BYTES: usize = size_of::<SocketInfo>();

/// A socket with this record.
fn socket(record: Option<FlowRecord>) -> Box<Socket> {
    state::reset();
    let mut socket = Socket::new(Kind::Connected);
    if let Some(mut record) = record {
        let map = (&raw const SOCKETS).cast_mut().cast();
        let (value, flags) = ((&raw mut record).cast(), BPF_SK_STORAGE_GET_F_CREATE.into());
        // SAFETY: a socket, and a value of the map's type.
        unsafe { bpf_sk_storage_get(map, socket.as_sock().cast(), value, flags) };
    }
    socket
}

fn record() -> FlowRecord {
    let client: SocketAddr = "203.0.113.9:51234".parse().unwrap();
    FlowRecord {
        client: Client::from(client),
        version: 1,
        origin: Origin::Proxied as u8,
        hand_off: HandOff::Accept as u8,
        ..FlowRecord::EMPTY
    }
}

/// Asks for an option, to which the kernel's own answer is `retval` and a length; returns what they are then, and the
/// value, which was all ones.
fn ask(
    socket: &mut Socket,
    option: (i32, i32),
    (retval, length): (i32, i32),
    room: usize,
) -> ((i32, i32), Vec<u8>) {
    // Aligned, as the program writes words.
    let mut value = vec![u64::MAX; room.div_ceil(8)];
    // SAFETY: numbers and pointers, for which zero is a value.
    let mut question: bpf_sockopt = unsafe { MaybeUninit::zeroed().assume_init() };
    let begin = value.as_mut_ptr().cast::<u8>();
    question.__bindgen_anon_1.sk = socket.as_sock();
    question.__bindgen_anon_2.optval = begin.cast();
    question.__bindgen_anon_3.optval_end = begin.wrapping_add(room).cast();
    (question.level, question.optname) = option;
    (question.retval, question.optlen) = (retval, length);
    sockopt::run(&SockoptContext { sockopt: &raw mut question });
    let bytes = value.iter().flat_map(|word| word.to_ne_bytes()).take(room).collect();
    ((question.retval, question.optlen), bytes)
}

#[test]
fn the_client_is_told() {
    let mut socket = socket(Some(record()));
    for room in [BYTES, BYTES + 1, 4096] {
        let length = i32::try_from(room).unwrap();
        let (answer, value) = ask(&mut socket, (LEVEL, INFO), (ENOPROTOOPT, length), room);
        assert_eq!(answer, (0, 64));
        // SAFETY: as many bytes, of integers.
        let info = unsafe { value.as_ptr().cast::<SocketInfo>().read_unaligned() };
        assert_eq!(info, SocketInfo::of(&record()).unwrap());
        let client: Endpoint = "203.0.113.9:51234".parse::<SocketAddr>().unwrap().into();
        assert_eq!(info.client, SocketAddress::of(&client));
        assert!(value[BYTES..].iter().all(|byte| *byte == 0xff));
    }
}

#[test]
fn the_kernels_own_answer_stands_where_there_is_none() {
    let awaits_header = FlowRecord { hand_off: HandOff::Observe as u8, ..FlowRecord::EMPTY };
    for (record, option, room) in [
        (None, (LEVEL, INFO), BYTES),
        (Some(awaits_header), (LEVEL, INFO), BYTES),
        (Some(record()), (LEVEL, INFO), BYTES - 1),
        (Some(record()), (LEVEL, INFO), 0),
        (Some(record()), (LEVEL, INFO + 1), BYTES),
        (Some(record()), (LEVEL + 1, INFO), BYTES),
        (Some(record()), (1, INFO), BYTES),
    ] {
        let mut socket = socket(record);
        let length = i32::try_from(room).unwrap();
        let (answer, value) = ask(&mut socket, option, (ENOPROTOOPT, length), room);
        // A length of zero: nothing is copied over what the caller has.
        assert_eq!((answer, value), ((ENOPROTOOPT, 0), vec![0xff; room]), "{option:?} {room}");
    }
}

#[test]
fn other_options_keep_their_values() {
    let mut socket = socket(Some(record()));
    // Longer ones than programs can see, and lengths that were asked for without room.
    for (length, room, left) in [
        (4, 64, 4),
        (0, 64, 0),
        (64, 64, 64),
        (65, 64, 0),
        (4096, 4096, 4096),
        (4097, 4096, 0),
        (8, 0, 0),
    ] {
        let (answer, value) = ask(&mut socket, (6, 11), (0, length), room);
        assert_eq!((answer, value), ((0, left), vec![0xff; room]), "{length} bytes in {room}");
    }
}
