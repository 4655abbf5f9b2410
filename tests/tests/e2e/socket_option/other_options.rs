//! What other options answer, with the program and without.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread;

use proxyip_common::socket_option::{INFO, LEVEL};
use proxyip_tests::{Agent, Guard, HandOff, Site, address, eventually, set_option};
use socket2::{Domain, Socket, Type};

use super::{connect, guard, info_of, listen, option_of};
use crate::common::{header_of_client, trusted_dial};

const UNKNOWN: i32 = 9999;

/// Options and buffers, in bytes. Some are refused; some are longer than programs can see.
const OPTIONS: &[((i32, i32), usize)] = &[
    ((libc::SOL_SOCKET, libc::SO_ERROR), 4),
    ((libc::SOL_SOCKET, libc::SO_ERROR), 2),
    ((libc::SOL_SOCKET, libc::SO_ERROR), 10_000),
    ((libc::SOL_SOCKET, libc::SO_RCVBUF), 4),
    ((libc::SOL_SOCKET, libc::SO_LINGER), 8),
    ((libc::SOL_SOCKET, libc::SO_PEERCRED), 12),
    ((libc::SOL_SOCKET, UNKNOWN), 4),
    ((libc::SOL_SOCKET, UNKNOWN), 10_000),
    ((libc::IPPROTO_TCP, libc::TCP_MAXSEG), 4),
    ((libc::IPPROTO_TCP, libc::TCP_CONGESTION), 16),
    ((libc::IPPROTO_TCP, UNKNOWN), 64),
    ((libc::IPPROTO_TCP, UNKNOWN), 10_000),
    ((libc::IPPROTO_TCP, UNKNOWN), 0),
    ((libc::IPPROTO_IP, libc::IP_TTL), 4),
    ((LEVEL, INFO + 1), 64),
    ((LEVEL, 0), 64),
    ((LEVEL + 1, INFO), 64),
];

/// An answer, or the error's number; and all of the buffer.
type Answer = (Result<usize, Option<i32>>, Vec<u8>);

fn answers(socket: &impl AsRawFd) -> Vec<Answer> {
    let answer = |((level, name), room): &((i32, i32), usize)| {
        let (length, value) = option_of(socket, (*level, *name), *room);
        (length.map_err(|error: io::Error| error.raw_os_error()), value)
    };
    OPTIONS.iter().map(answer).collect()
}

/// Everything but times and what counts them.
fn tcp_info(socket: &impl AsRawFd) -> (usize, libc::tcp_info) {
    const SIZE: usize = size_of::<libc::tcp_info>();
    let (length, value) = option_of(socket, (libc::IPPROTO_TCP, libc::TCP_INFO), SIZE);
    let value: [u8; SIZE] = value.try_into().expect("as many bytes");
    // SAFETY: made of integers, for which every bit pattern is a value.
    (length.expect("TCP_INFO"), unsafe { std::mem::transmute::<[u8; SIZE], libc::tcp_info>(value) })
}

#[test]
fn are_what_they_were() {
    let site = Site::without_captures();
    let listener = listen(&site, address::SERVER);
    let mut agent = Agent::start(&site, &guard(HandOff::Auto));
    let (_peer, socket) = connect(&site, &listener, &trusted_dial(80), &header_of_client());
    let (unix, _other) = UnixStream::pair().expect("a pair of sockets");
    assert!(info_of(&socket).is_ok());
    let with = [answers(&socket), answers(&listener), answers(&unix)];
    let (length_with, info_with) = tcp_info(&socket);
    agent.kill();
    agent.configure(&Guard::ports(&[80]));
    agent.start_again();
    eventually("the program to be gone", || info_of(&socket).err());
    let without = [answers(&socket), answers(&listener), answers(&unix)];
    for (with, without) in with.iter().zip(&without) {
        for ((with, without), option) in with.iter().zip(without).zip(OPTIONS) {
            assert_eq!(with.0, without.0, "{option:?}");
            assert!(with.1 == without.1, "{option:?}: {:?}", &with.1[..with.1.len().min(64)]);
        }
    }
    let (length, info) = tcp_info(&socket);
    let fixed = |info: &libc::tcp_info| {
        (info.tcpi_state, info.tcpi_options, info.tcpi_snd_mss, info.tcpi_advmss, info.tcpi_pmtu)
    };
    assert_eq!((length_with, fixed(&info_with)), (length, fixed(&info)));
    assert_ne!((info.tcpi_state, info.tcpi_snd_mss), (0, 0));
}

/// A program may first ask for the length of some options, with a buffer that is too small, or with none.
#[test]
fn may_be_longer_than_the_buffer() {
    /// `RTNLGRP_LINK`.
    const LINKS: i32 = 1;
    let site = Site::without_captures();
    let listener = listen(&site, address::SERVER);
    let _agent = Agent::start(&site, &guard(HandOff::Auto));
    let (_peer, socket) = connect(&site, &listener, &trusted_dial(80), &header_of_client());
    assert!(info_of(&socket).is_ok(), "the program runs");

    // Three instructions that let everything pass.
    let pass = libc::sock_filter { code: 6, jt: 0, jf: 0, k: u32::MAX };
    let mut filter = [pass; 3];
    let program = libc::sock_fprog { len: 3, filter: filter.as_mut_ptr() };
    set_option(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, program).expect("a filter");
    let (length, _) = option_of(&socket, (libc::SOL_SOCKET, libc::SO_GET_FILTER), 0);
    assert_eq!(length.expect("the number of instructions"), filter.len());

    let netlink = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, None).expect("netlink");
    set_option(&netlink, libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, LINKS).expect("a group");
    let memberships = (libc::SOL_NETLINK, libc::NETLINK_LIST_MEMBERSHIPS);
    let (needed, _) = option_of(&netlink, memberships, 0);
    let needed = needed.expect("the length");
    assert!(needed >= 4, "{needed}");
    let (length, value) = option_of(&netlink, memberships, 4);
    assert_eq!((length.expect("some groups"), value), (needed, vec![1, 0, 0, 0]));
}

/// The kernel itself has written the value, and programs cannot see all of it.
#[test]
fn may_be_longer_than_a_page() {
    const GROUPS: u32 = 3000;
    let site = Site::without_captures();
    let _agent = Agent::start(&site, &guard(HandOff::Auto));
    let value = thread::spawn(|| {
        let groups: Vec<libc::gid_t> = (0..GROUPS).collect();
        // SAFETY: the length is that of the list. The library's function would change all threads; the system call
        // changes the calling thread alone.
        let set = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
        let (unix, _other) = UnixStream::pair().expect("a pair of sockets");
        let room = size_of_val(&*groups);
        let (length, value) = option_of(&unix, (libc::SOL_SOCKET, libc::SO_PEERGROUPS), room);
        assert_eq!(length.expect("the groups"), room);
        value
    });
    let expected: Vec<u8> = (0..GROUPS).flat_map(u32::to_ne_bytes).collect();
    assert!(value.join().expect("the groups") == expected);
}
