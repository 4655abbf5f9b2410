//! Questions to the kernel by netlink, and its answers.

use std::io;

use netlink_packet_core::{
    NLM_F_DUMP_INTR, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
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
/// an acknowledgement. A message that the library cannot read is passed over. Returns false if something has changed in the
/// middle of a dump, which may lack it.
///
/// # Errors
/// The kernel's.
pub(crate) fn ask<T>(
    socket: &Socket,
    (request, flags): (T, u16),
    mut each: impl FnMut(T),
) -> io::Result<bool>
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
    let mut is_whole = true;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = &answer[..];
        while !rest.is_empty() {
            // It refuses a length that is shorter than a header.
            let buffer = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
            let length = (buffer.length() as usize).next_multiple_of(4);
            is_whole &= buffer.flags() & NLM_F_DUMP_INTR == 0;
            match NetlinkMessage::<T>::deserialize(rest).map(|message| message.payload) {
                Ok(NetlinkPayload::Error(error)) if error.code.is_some() => {
                    return Err(error.to_io());
                }
                Ok(NetlinkPayload::Done(done)) if done.code < 0 => {
                    return Err(io::Error::from_raw_os_error(-done.code));
                }
                // An error without a code is the acknowledgement.
                Ok(NetlinkPayload::Done(_) | NetlinkPayload::Error(_)) => return Ok(is_whole),
                Ok(NetlinkPayload::InnerMessage(message)) => each(message),
                Ok(_) => {}
                Err(error) => tracing::debug!("a message of netlink cannot be read: {error}"),
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}
