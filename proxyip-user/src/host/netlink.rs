//! Questions to the kernel by netlink, and its answers.

use std::io;

use netlink_packet_core::{
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

/// A socket that asks about the namespace in which the calling thread is now.
///
/// # Errors
/// If the kernel has none for this protocol.
pub(crate) fn open(protocol: isize) -> io::Result<Socket> {
    let socket = Socket::new(protocol)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// Calls `each` with each message that answers a request. Its flags have the kernel end the answer: those of a dump, or that of
/// an acknowledgement.
///
/// # Errors
/// The kernel's, or if an answer cannot be read.
pub(crate) fn ask<T>(
    socket: &Socket,
    (request, flags): (T, u16),
    mut each: impl FnMut(T),
) -> io::Result<()>
where
    T: NetlinkSerializable + NetlinkDeserializable,
{
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = &answer[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<T>::deserialize(rest).map_err(io::Error::other)?;
            // Deserializing has refused a length that is shorter than a header.
            let length = (message.header.length as usize).next_multiple_of(4);
            match message.payload {
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                // An error without a code is the acknowledgement.
                NetlinkPayload::Done(_) | NetlinkPayload::Error(_) => return Ok(()),
                NetlinkPayload::InnerMessage(message) => each(message),
                _ => {}
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}
