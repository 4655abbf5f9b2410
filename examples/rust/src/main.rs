//! Tells each connection who its client is: `cargo run -p proxyip-example 0.0.0.0:8080`

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

const LEVEL: i32 = 0x5050;
const INFO: i32 = 1;

/// Answers the listener's connections.
pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (mut connection, _) = listener.accept()?;
        let answer = match client_and_destination(&connection) {
            Ok([client, destination]) => format!(
                "{} {} {} {}\n",
                client.ip(),
                client.port(),
                destination.ip(),
                destination.port()
            ),
            // ENOPROTOOPT or EOPNOTSUPP.
            Err(_) => "no header\n".into(),
        };
        // A client that has gone before it is told is no reason to end.
        connection.write_all(answer.as_bytes()).ok();
    }
}

fn client_and_destination(connection: &TcpStream) -> io::Result<[SocketAddr; 2]> {
    let mut info = [0u8; 64];
    let mut length = 64;
    // SAFETY: the buffer has as many bytes as `length` says.
    let answered = unsafe {
        let value = info.as_mut_ptr().cast();
        libc::getsockopt(connection.as_raw_fd(), LEVEL, INFO, value, &raw mut length)
    };
    if answered != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok([address(&info[8..36]), address(&info[36..])])
}

fn address(raw: &[u8]) -> SocketAddr {
    let port = u16::from_be_bytes([raw[2], raw[3]]);
    let family = i32::from(u16::from_ne_bytes([raw[0], raw[1]]));
    let bytes = <[u8; 16]>::try_from(&raw[8..24]).expect("16 bytes");
    match family {
        libc::AF_INET => (Ipv4Addr::new(raw[4], raw[5], raw[6], raw[7]), port).into(),
        _ => (Ipv6Addr::from(bytes), port).into(),
    }
}

fn main() -> io::Result<()> {
    let own = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:8080".into());
    serve(&TcpListener::bind(own)?)
}
