//! `getsockopt(fd, 0x5050, 1, …)`.

mod examples;
mod header_file;
mod other_options;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use nix::sys::signal::Signal;
use proxyip_common::flow::{HandOff as Given, Origin};
use proxyip_common::socket_option::{INFO, LEVEL, SocketAddress, SocketInfo};
use proxyip_tests::header::{aws_health_check, v1};
use proxyip_tests::{Agent, Dial, Guard, HandOff, Site, address, eventually};
use socket2::{Domain, Protocol, Socket, Type};
use zerocopy::FromBytes as _;

use crate::common::{
    CLIENT, CLIENT6, DESTINATION, DESTINATION6, auto_and_translate, header_of_client,
    header_of_client6, open_and_send, socket_address, trusted_dial, trusted_dial6,
};

auto_and_translate!(clients_of_both_families_on_sockets_of_both_families);

const BYTES: usize = size_of::<SocketInfo>();

pub(crate) fn guard(hand_off: HandOff) -> Guard {
    Guard::ports(&[80]).hand_off(hand_off).api_setting("getsockopt = true")
}

/// A socket of the server's that listens.
pub(crate) fn listen(site: &Site, address: &str) -> TcpListener {
    let own = SocketAddr::new(address.parse().expect("an address"), 80);
    site.net.server.enter(|| TcpListener::bind(own)).expect("a listener")
}

/// What `getsockopt()` wrote into a buffer of `room` bytes that were all `0xaa`, and which length.
fn option_of(
    socket: &impl AsRawFd,
    (level, name): (i32, i32),
    room: usize,
) -> (io::Result<usize>, Vec<u8>) {
    let mut value = vec![0xaa; room];
    let mut length = libc::socklen_t::try_from(room).expect("it is small");
    // SAFETY: the buffer has as many bytes as `length` says.
    let outcome = unsafe {
        let value = value.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), level, name, value, &raw mut length)
    };
    if outcome != 0 {
        return (Err(io::Error::last_os_error()), value);
    }
    (Ok(length.try_into().expect("it is small")), value)
}

/// What the socket is told, if anything.
pub(crate) fn info_of(socket: &impl AsRawFd) -> io::Result<SocketInfo> {
    let (length, value) = option_of(socket, (LEVEL, INFO), BYTES);
    assert_eq!(length?, BYTES);
    Ok(SocketInfo::read_from_bytes(&value).expect("as many bytes"))
}

fn address_of(text: &str) -> SocketAddress {
    SocketAddress::of(&socket_address(text).into())
}

fn given(hand_off: HandOff) -> u8 {
    let all = [Given::Accept, Given::Translate, Given::Observe];
    all.into_iter().find(|one| one.label() == hand_off.label()).expect("a hand-off") as u8
}

/// What the option reports about a connection with a version 2 header.
pub(crate) fn info(hand_off: HandOff, client: &str, destination: &str) -> SocketInfo {
    SocketInfo {
        abi: 1,
        header_version: 2,
        origin: Origin::Proxied as u8,
        hand_off: given(hand_off),
        flags: 0,
        reserved: 0,
        client: address_of(client),
        destination: address_of(destination),
    }
}

/// Asserts that the kernel's own answer stands, which for IPv4 sockets is this one.
fn assert_no_answer(socket: &impl AsRawFd) {
    let error = info_of(socket).expect_err("no answer");
    assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{error}");
}

/// A connection of the load balancer's that sends these bytes: its end and the server's.
fn connect(
    site: &Site,
    listener: &TcpListener,
    dial: &Dial,
    bytes: &[u8],
) -> (TcpStream, TcpStream) {
    let stream = open_and_send(site, dial, bytes);
    (stream, listener.accept().expect("a connection").0)
}

fn clients_of_both_families_on_sockets_of_both_families(hand_off: HandOff) {
    let site = Site::without_captures();
    let (over4, over6) = (listen(&site, address::SERVER), listen(&site, address::SERVER6));
    let mut agent = Agent::start(&site, &guard(hand_off));
    for (listener, dial) in [(&over4, trusted_dial(80)), (&over6, trusted_dial6(80))] {
        let (_peer, socket) = connect(&site, listener, &dial, &header_of_client());
        assert_eq!(info_of(&socket).expect("it"), info(hand_off, CLIENT, DESTINATION));
        // One of these getpeername() cannot express.
        let (_peer, socket) = connect(&site, listener, &dial, &header_of_client6());
        assert_eq!(info_of(&socket).expect("it"), info(hand_off, CLIENT6, DESTINATION6));
    }
    let version_1 = v1(socket_address(CLIENT), socket_address(DESTINATION));
    let (_peer, socket) = connect(&site, &over4, &trusted_dial(80), &version_1);
    let expected = SocketInfo { header_version: 1, ..info(hand_off, CLIENT, DESTINATION) };
    assert_eq!(info_of(&socket).expect("it"), expected);
    site.finish(&mut agent, &[]);
}

#[test]
fn who_comes_without_a_client_is_told_so() {
    let site = Site::without_captures();
    let listener = listen(&site, address::SERVER);
    let mut agent = Agent::start(&site, &guard(HandOff::Auto));
    for (header, origin, version) in [
        (aws_health_check(), Origin::Local, 2),
        (b"PROXY UNKNOWN\r\n".to_vec(), Origin::Unknown, 1),
    ] {
        let (peer, socket) = connect(&site, &listener, &trusted_dial(80), &header);
        let own = peer.local_addr().expect("a bound socket").to_string();
        let expected = SocketInfo {
            origin: origin as u8,
            header_version: version,
            ..info(HandOff::Auto, &own, "10.77.1.1:80")
        };
        assert_eq!(info_of(&socket).expect("it"), expected);
    }
    // Without a header.
    let stranger = Dial::to(address::SERVER, 80).from(address::STRANGER, 0);
    let (_peer, socket) = connect(&site, &listener, &stranger, b"hello");
    assert_no_answer(&socket);
    assert_no_answer(&listener);
    let over6 = listen(&site, address::SERVER6);
    let error = info_of(&over6).expect_err("no answer").raw_os_error();
    assert_eq!(error, Some(libc::ENOPROTOOPT));
    site.finish(&mut agent, &[]);
}

#[test]
fn a_marked_client_is_said_to_be_denied() {
    let site = Site::without_captures();
    let listener = listen(&site, address::SERVER);
    let guard = guard(HandOff::Translate).deny("198.51.100.7/32").denied("mark");
    let mut agent = Agent::start(&site, &guard);
    let (_peer, socket) = connect(&site, &listener, &trusted_dial(80), &header_of_client());
    let expected =
        SocketInfo { flags: SocketInfo::DENIED, ..info(HandOff::Translate, CLIENT, DESTINATION) };
    assert_eq!(info_of(&socket).expect("it"), expected);
    site.finish(&mut agent, &[]);
}

#[test]
fn a_buffer_may_be_longer_but_not_shorter() {
    let site = Site::without_captures();
    let listener = listen(&site, address::SERVER);
    let mut agent = Agent::start(&site, &guard(HandOff::Auto));
    let (_peer, socket) = connect(&site, &listener, &trusted_dial(80), &header_of_client());
    for room in [0, 1, BYTES - 1] {
        let (length, value) = option_of(&socket, (LEVEL, INFO), room);
        let error = length.expect_err("no room").raw_os_error();
        assert_eq!(error, Some(libc::EOPNOTSUPP), "{room} bytes");
        assert_eq!(value, vec![0xaa; room]);
    }
    let (_, exact) = option_of(&socket, (LEVEL, INFO), BYTES);
    for room in [BYTES + 1, 256, 4096, 10_000] {
        let (length, value) = option_of(&socket, (LEVEL, INFO), room);
        assert_eq!(length.expect("room"), BYTES, "{room} bytes");
        assert_eq!(value[..BYTES], exact);
        assert!(value[BYTES..].iter().all(|byte| *byte == 0xaa), "{room} bytes");
    }
    site.finish(&mut agent, &[]);
}

#[test]
fn an_application_that_reads_the_header_itself_is_told_once_it_has_come() {
    let site = Site::without_captures();
    let listener = listen(&site, address::SERVER);
    let mut agent = Agent::start(&site, &guard(HandOff::Observe));
    let mut peer = trusted_dial(80).open(&site.net.balancer);
    let (socket, named) = listener.accept().expect("a connection");
    assert_no_answer(&socket);
    peer.write_all(&header_of_client()).expect("cannot send");
    let told = eventually("an answer", || info_of(&socket).ok());
    assert_eq!(told, info(HandOff::Observe, CLIENT, DESTINATION));
    // The socket's peer is the load balancer still.
    assert_eq!((socket.peer_addr().ok(), Some(named)), (Some(named), peer.local_addr().ok()));
    site.finish(&mut agent, &[]);
}

/// The kernel makes ordinary sockets of connections that are not MPTCP.
#[test]
fn a_server_that_listens_with_mptcp_is_told() {
    let site = Site::without_captures();
    let listener = site.net.server.enter(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP))?;
        socket.bind(&socket_address("10.77.1.1:80").into())?;
        socket.listen(16)?;
        Ok::<_, io::Error>(TcpListener::from(socket))
    });
    let listener = listener.expect("a listener");
    let mut agent = Agent::start(&site, &guard(HandOff::Auto));
    let (_peer, socket) = connect(&site, &listener, &trusted_dial(80), &header_of_client());
    let expected = info(HandOff::Multipath, CLIENT, DESTINATION);
    assert_eq!(info_of(&socket).expect("it"), expected);
    assert_no_answer(&listener);
    site.finish(&mut agent, &[]);
}

/// Unless it is wanted, no program is attached.
#[test]
fn nobody_answers_by_default() {
    let site = Site::without_captures();
    let listener = listen(&site, address::SERVER);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let (_peer, socket) = connect(&site, &listener, &trusted_dial(80), &header_of_client());
    assert_no_answer(&socket);
    assert!(!site.scratch.pin_path().join("links/getsockopt").exists());
    site.finish(&mut agent, &[]);
}

#[test]
fn it_is_turned_off_by_a_reload_or_a_restart_and_removed_by_detach() {
    let site = Site::new();
    let listener = listen(&site, address::SERVER);
    let (on, off) = (guard(HandOff::Auto), Guard::ports(&[80]));
    let pin = site.scratch.pin_path().join("links/getsockopt");
    let mut agent = Agent::start(&site, &on);
    let (_peer, socket) = connect(&site, &listener, &trusted_dial(80), &header_of_client());
    let expected = info(HandOff::Auto, CLIENT, DESTINATION);
    assert_eq!(info_of(&socket).expect("it"), expected);

    // The kernel lets go of a program a moment after its pin is removed.
    let falls_silent = || eventually("no answer", || info_of(&socket).err());
    for _ in 0..2 {
        let said = agent.reload(&off);
        assert!(
            said.contains("is in force as it is now") && !said.contains("not guarded"),
            "{said}"
        );
        assert!(!pin.exists());
        falls_silent();
        assert_no_answer(&socket);
        agent.assert_healthy(&[]);
        let said = agent.reload(&on);
        assert!(
            said.contains("is in force as it is now") && !said.contains("not guarded"),
            "{said}"
        );
        assert_eq!(info_of(&socket).expect("it"), expected);
        assert!(!said.contains("not attached any more"), "{said}");
    }
    let mut restart = |guard: &Guard| {
        agent.configure(guard);
        agent.kill();
        agent.start_again();
    };
    restart(&off);
    assert!(!pin.exists());
    falls_silent();
    assert_no_answer(&socket);
    // And on again: connections of before are known.
    restart(&on);
    assert_eq!(info_of(&socket).expect("it"), expected);
    restart(&on);
    assert_eq!(info_of(&socket).expect("it"), expected);

    agent.process().signal(Signal::SIGTERM);
    agent.process().wait();
    assert_eq!(info_of(&socket).expect("it"), expected);
    let pin_path = site.scratch.pin_path().display().to_string();
    let detached = agent.ask(&["detach", "--drain", "0", "--pin-path", &pin_path]);
    assert_eq!(detached.code, 0, "{}", detached.stderr);
    falls_silent();
    assert_no_answer(&socket);
    site.assert_clean();
}
