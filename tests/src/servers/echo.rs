//! A server of the tests' own, for what no packaged program does: MPTCP, a choice of the system calls that ask for
//! the peer, and payload sent back.

use std::fmt;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use io_uring::{IoUring, opcode, types};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use crate::dial::read_line_or_error;
use crate::namespace::Namespace;
use crate::option::set_option;

/// How a server takes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptCall {
    /// `accept(2)`.
    Accept,
    /// `accept4(2)`.
    Accept4,
    /// `IORING_OP_ACCEPT`.
    IoUring,
}

/// What the server learned about the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerNames {
    /// By the call that took the connection.
    pub accepted: SocketAddr,
    /// By `getpeername(2)`.
    pub named: SocketAddr,
}

impl fmt::Display for PeerNames {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{} {}", self.accepted, self.named)
    }
}

/// Answers the first line of each connection with a line `ACCEPTED NAMED "LINE"`. Then it sends back the rest, until
/// the client has sent its last byte.
#[derive(Debug)]
pub struct EchoServer {
    listener: Arc<Socket>,
    accepting: Option<JoinHandle<()>>,
}

impl EchoServer {
    /// Listens on `address`; an IPv6 one takes IPv4 connections too.
    #[must_use]
    pub fn start(namespace: &Namespace, address: &str, port: u16) -> Self {
        Self::with(namespace, address, port, AcceptCall::Accept4, Protocol::TCP)
    }

    /// Listens on an MPTCP socket.
    #[must_use]
    pub fn multipath(namespace: &Namespace, address: &str, port: u16) -> Self {
        Self::with(namespace, address, port, AcceptCall::Accept4, Protocol::MPTCP)
    }

    /// Listens with TCP Fast Open.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[must_use]
    pub fn fast_open(namespace: &Namespace, address: &str, port: u16) -> Self {
        let server = Self::start(namespace, address, port);
        let waiting = 16;
        set_option(&*server.listener, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, waiting)
            .expect("TCP_FASTOPEN");
        server
    }

    /// Takes connections with this call.
    #[must_use]
    pub fn accepting(namespace: &Namespace, address: &str, port: u16, call: AcceptCall) -> Self {
        Self::with(namespace, address, port, call, Protocol::TCP)
    }

    fn with(
        namespace: &Namespace,
        address: &str,
        port: u16,
        call: AcceptCall,
        protocol: Protocol,
    ) -> Self {
        let address = SocketAddr::new(address.parse().expect("an IP address"), port);
        let listener = namespace.enter(|| listen(address, protocol));
        let listener = Arc::new(listener.unwrap_or_else(|error| panic!("{address}: {error}")));
        let accepted_from = Arc::clone(&listener);
        let accepting = thread::spawn(move || accept_all(&accepted_from, call));
        Self { listener, accepting: Some(accepting) }
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        // This makes the pending accept fail.
        let _ = self.listener.shutdown(Shutdown::Both);
        let outcome = self.accepting.take().map(JoinHandle::join);
        assert!(
            !matches!(outcome, Some(Err(_))) || thread::panicking(),
            "the echo server panicked"
        );
    }
}

fn listen(address: SocketAddr, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(protocol))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket)
}

fn accept_all(listener: &Socket, call: AcceptCall) {
    let mut ring = (call == AcceptCall::IoUring).then(|| IoUring::new(4).expect("io_uring"));
    loop {
        let accepted = match (call, &mut ring) {
            (_, Some(ring)) => accept_by_ring(listener, ring),
            (AcceptCall::Accept, _) => accept(listener),
            (_, None) => listener.accept().map(|(socket, peer)| (socket.into(), peer)),
        };
        let Ok((connection, peer)) = accepted else { return };
        thread::spawn(move || serve(&connection, &peer));
    }
}

/// `accept(2)`; the library's own uses `accept4(2)`.
fn accept(listener: &Socket) -> io::Result<(TcpStream, SockAddr)> {
    let descriptor = listener.as_raw_fd();
    // SAFETY: `try_init` hands out storage of `SockAddrStorage` and its length; accept(2) writes no
    // more than that length and sets it to what the address has.
    unsafe {
        SockAddr::try_init(|address, length| {
            stream_of(libc::accept(descriptor, address.cast(), length))
        })
    }
}

/// `IORING_OP_ACCEPT`.
fn accept_by_ring(listener: &Socket, ring: &mut IoUring) -> io::Result<(TcpStream, SockAddr)> {
    let mut address = MaybeUninit::<SockAddrStorage>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<SockAddrStorage>()).expect("it is small");
    let descriptor = types::Fd(listener.as_raw_fd());
    let entry = opcode::Accept::new(descriptor, address.as_mut_ptr().cast(), &raw mut length);
    // SAFETY: `address` and `length` outlive the operation: it completes before this function ends.
    unsafe { ring.submission().push(&entry.build()) }.expect("the ring is empty");
    ring.submit_and_wait(1)?;
    let result = ring.completion().next().expect("one completion was waited for").result();
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    let stream = stream_of(result)?;
    // SAFETY: the kernel has written `length` bytes of an address; the rest is zero.
    let peer = unsafe { SockAddr::new(address.assume_init(), length) };
    Ok((stream, peer))
}

fn stream_of(descriptor: RawFd) -> io::Result<TcpStream> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: accept returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }.into())
}

/// One connection. A client that goes away early is no failure of the server's.
fn serve(connection: &TcpStream, accepted: &SockAddr) {
    let Some(accepted) = accepted.as_socket() else { return };
    let Ok(named) = connection.peer_addr() else { return };
    let Some(line) = first_line(connection) else { return };
    let answer = format!("{} {line:?}\n", PeerNames { accepted, named });
    let mut stream = connection;
    if stream.write_all(answer.as_bytes()).is_ok() {
        let _ = io::copy(&mut stream, &mut { connection });
        let _ = connection.shutdown(Shutdown::Write);
    }
}

/// The first line without its end, bytes that are no UTF-8 replaced.
fn first_line(mut connection: &TcpStream) -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while connection.read(&mut byte).ok()? == 1 {
        if byte[0] == b'\n' {
            return Some(String::from_utf8_lossy(&line).into_owned());
        }
        line.push(byte[0]);
    }
    None
}

impl PeerNames {
    /// Reads an [`EchoServer`]'s answer: the names, and the first line in quotes.
    ///
    /// # Panics
    /// When something else comes.
    #[must_use]
    pub fn read(stream: &TcpStream) -> (Self, String) {
        Self::read_or_error(stream).unwrap_or_else(|error| panic!("an answer: {error}"))
    }

    /// The same.
    ///
    /// # Errors
    /// Those of `recv(2)`, and when something else comes.
    pub fn read_or_error(stream: &TcpStream) -> io::Result<(Self, String)> {
        let answer = read_line_or_error(stream)?;
        let parse = || {
            let mut parts = answer.splitn(3, ' ');
            let names =
                Self { accepted: parts.next()?.parse().ok()?, named: parts.next()?.parse().ok()? };
            Some((names, parts.next()?.to_owned()))
        };
        parse().ok_or_else(|| io::Error::other(format!("{answer:?} came")))
    }
}
