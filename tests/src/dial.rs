//! Connections opened by the test itself, where curl or a load balancer would not send the bytes that
//! are wanted.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::namespace::Namespace;
use crate::option::set_option;

const TIMEOUT: Duration = Duration::from_secs(20);

/// How to connect.
#[derive(Clone, Debug)]
pub struct Dial {
    target: SocketAddr,
    source: Option<SocketAddr>,
    keep_alive: Option<Duration>,
    protocol: Protocol,
    fast_open: bool,
}

impl Dial {
    /// To this address and port.
    ///
    /// # Panics
    /// When `address` is none.
    #[must_use]
    pub fn to(address: &str, port: u16) -> Self {
        let address = address.parse().expect("an IP address");
        let target = SocketAddr::new(address, port);
        Self { target, source: None, keep_alive: None, protocol: Protocol::TCP, fast_open: false }
    }

    /// From this address; port 0 lets the kernel choose.
    ///
    /// # Panics
    /// When `address` is none.
    #[must_use]
    pub fn from(mut self, address: &str, port: u16) -> Self {
        self.source = Some(SocketAddr::new(address.parse().expect("an IP address"), port));
        self
    }

    /// From this port of the same address.
    ///
    /// # Panics
    /// When there is no address to come from.
    #[must_use]
    pub fn from_port(mut self, port: u16) -> Self {
        self.source.as_mut().expect("a source").set_port(port);
        self
    }

    /// Sends a keep-alive probe after each silence of this length, and gives the connection up after three unanswered
    /// probes.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive = Some(interval);
        self
    }

    /// With MPTCP, if the server agrees.
    #[must_use]
    pub fn multipath(mut self) -> Self {
        self.protocol = Protocol::MPTCP;
        self
    }

    /// With TCP Fast Open: what is written first leaves with the SYN, if the server has agreed to that
    /// before. The connection is not opened before something is written.
    #[must_use]
    pub fn fast_open(mut self) -> Self {
        self.fast_open = true;
        self
    }

    /// Opens the connection from `namespace`. Reads time out after 20 seconds.
    ///
    /// # Panics
    /// When the connection cannot be opened.
    #[must_use]
    pub fn open(&self, namespace: &Namespace) -> TcpStream {
        self.attempt(namespace).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    /// Tries to open the connection from `namespace`.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    ///
    /// # Panics
    /// When the socket's options cannot be set.
    pub fn attempt(&self, namespace: &Namespace) -> io::Result<TcpStream> {
        namespace.enter(|| self.attempt_here())
    }

    /// Tries to open the connection from the calling thread's namespace.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    ///
    /// # Panics
    /// When the socket's options cannot be set.
    pub fn attempt_here(&self) -> io::Result<TcpStream> {
        let socket =
            Socket::new(Domain::for_address(self.target), Type::STREAM, Some(self.protocol))?;
        if let Some(source) = self.source {
            // A given port may still be in TIME_WAIT. A port that the kernel chooses should not be.
            socket.set_reuse_address(source.port() != 0).expect("SO_REUSEADDR");
            socket.bind(&source.into())?;
        }
        if let Some(interval) = self.keep_alive {
            let keep_alive = TcpKeepalive::new().with_time(interval).with_interval(interval);
            socket.set_tcp_keepalive(&keep_alive.with_retries(3)).expect("SO_KEEPALIVE");
        }
        if self.fast_open {
            set_option(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1)?;
        }
        // What one test writes in one call must leave in one segment, if it fits.
        socket.set_tcp_nodelay(true).expect("TCP_NODELAY");
        socket.connect_timeout(&self.target.into(), TIMEOUT)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(TIMEOUT)).expect("SO_RCVTIMEO");
        Ok(stream)
    }
}

/// The next line, without its end.
///
/// # Panics
/// When none comes.
pub fn read_line(mut stream: &TcpStream) -> String {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) if byte[0] == b'\n' => return String::from_utf8_lossy(&line).into_owned(),
            Ok(1) => line.push(byte[0]),
            other => panic!("no line: {other:?} after {:?}", String::from_utf8_lossy(&line)),
        }
    }
}

/// The next line, without its end; an error if none comes.
///
/// # Errors
/// Those of `recv(2)`; an orderly end of the stream is an error, too.
pub fn read_line_or_error(mut stream: &TcpStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            return Ok(String::from_utf8_lossy(&line).into_owned());
        }
        line.push(byte[0]);
    }
}

/// Everything up to the peer's end of the stream.
///
/// # Panics
/// When the stream does not end in order.
pub fn read_rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        panic!("{error} after {:?}", String::from_utf8_lossy(&bytes));
    }
    bytes
}

/// Waits, and returns whether the peer has reset the connection. A received byte or an orderly end of the stream
/// means no.
///
/// # Panics
/// When nothing happens.
pub fn is_reset(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(_) => false,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => true,
        Err(error) => panic!("neither reset nor answered: {error}"),
    }
}

/// Resets the connection at once. Closing the stream might do that later: a program that another
/// thread is just starting holds every descriptor for a moment.
///
/// # Panics
/// When the kernel refuses.
pub fn reset(stream: TcpStream) {
    // Since 4.4BSD, connecting to no address dissolves a connection.
    // SAFETY: a `sockaddr` is plain data, for which zero is a value.
    let mut nobody: libc::sockaddr = unsafe { std::mem::zeroed() };
    nobody.sa_family = libc::AF_UNSPEC.cast_unsigned().try_into().expect("a small number");
    let length = libc::socklen_t::try_from(size_of_val(&nobody)).expect("it is small");
    // SAFETY: `nobody` is a `sockaddr` of that length.
    let outcome = unsafe { libc::connect(stream.as_raw_fd(), &raw const nobody, length) };
    assert_eq!(outcome, 0, "cannot reset: {}", io::Error::last_os_error());
    drop(stream);
}

/// Forgets the connection without telling the other end, as a machine does that lost its power.
///
/// # Panics
/// When the kernel refuses.
pub fn forget(stream: TcpStream) {
    // Made for checkpoints: nothing is sent.
    set_option(&stream, libc::IPPROTO_TCP, libc::TCP_REPAIR, 1).expect("TCP_REPAIR");
    reset(stream);
}
