//! Questions to the kernel by netlink, and its answers.

use std::io::{self, ErrorKind};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

/// How often something is read that changes meanwhile.
const TRIES: usize = 5;

/// A socket that asks about the namespace in which the calling thread is now.
///
/// # Errors
/// If the kernel has none for this protocol.
pub(crate) fn open(protocol: isize) -> io::Result<Socket> {
    let socket = Socket::new(protocol)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// What an answer lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gaps {
    /// Something has changed in the middle of a dump, which may lack it.
    pub(crate) interrupted: bool,
    /// How many messages the library cannot read.
    pub(crate) unread: usize,
}

/// What a dump has found.
#[derive(Debug)]
pub(crate) struct Dump<U> {
    pub(crate) found: Vec<U>,
    /// How many messages the library cannot read.
    pub(crate) unread: usize,
}

/// Asks for everything of a kind. What `kept` makes of the messages is returned.
///
/// # Errors
/// The kernel's, or if things change so fast that a dump never is whole.
pub(crate) fn dump<T, U>(
    socket: &Socket,
    request: &T,
    mut kept: impl FnMut(T) -> Option<U>,
) -> io::Result<Dump<U>>
where
    T: NetlinkSerializable + NetlinkDeserializable + Clone,
{
    for _ in 0..TRIES {
        let mut found = Vec::new();
        let asked = (request.clone(), NLM_F_REQUEST | NLM_F_DUMP);
        let gaps = ask(socket, asked, |message| found.extend(kept(message)))?;
        if !gaps.interrupted {
            return Ok(Dump { found, unread: gaps.unread });
        }
    }
    Err(io::Error::new(ErrorKind::Interrupted, "it changed each time while it was read"))
}

/// Calls `each` with each message that answers a request. Its flags have the kernel end the answer: those of a dump, or that of
/// an acknowledgement.
///
/// # Errors
/// The kernel's.
pub(crate) fn ask<T>(
    socket: &Socket,
    (request, flags): (T, u16),
    mut each: impl FnMut(T),
) -> io::Result<Gaps>
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
    let mut gaps = Gaps::default();
    loop {
        let (answer, _) = socket.recv_from_full()?;
        if read(&answer, &mut gaps, &mut each)? {
            return Ok(gaps);
        }
    }
}

/// Reads the messages of one datagram. Returns whether the answer has ended.
fn read<T: NetlinkDeserializable>(
    mut rest: &[u8],
    gaps: &mut Gaps,
    each: &mut impl FnMut(T),
) -> io::Result<bool> {
    while !rest.is_empty() {
        // It refuses a length that is shorter than a header.
        let buffer = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
        let length = (buffer.length() as usize).next_multiple_of(4);
        gaps.interrupted |= buffer.flags() & NLM_F_DUMP_INTR != 0;
        match NetlinkMessage::<T>::deserialize(rest).map(|message| message.payload) {
            Ok(NetlinkPayload::Error(error)) if error.code.is_some() => return Err(error.to_io()),
            Ok(NetlinkPayload::Done(done)) if done.code < 0 => {
                return Err(io::Error::from_raw_os_error(-done.code));
            }
            // An error without a code is the acknowledgement.
            Ok(NetlinkPayload::Done(_) | NetlinkPayload::Error(_)) => return Ok(true),
            Ok(NetlinkPayload::InnerMessage(message)) => each(message),
            Ok(_) => {}
            Err(error) => {
                gaps.unread += 1;
                tracing::debug!("a message of netlink cannot be read: {error}");
            }
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::RouteNetlinkMessage;

    use super::*;

    const NEW_LINK: u16 = libc::RTM_NEWLINK;
    const DONE: u16 = 3;

    /// A message whose payload begins with these bytes, of `struct ifinfomsg` at least.
    fn message((kind, flags): (u16, u16), payload: &[u8]) -> Vec<u8> {
        let mut payload = payload.to_vec();
        payload.resize(payload.len().max(16), 0);
        let length = u32::try_from(16 + payload.len()).unwrap();
        let header = [length.to_ne_bytes(), [0; 4], [0; 4], [0; 4]].concat();
        let mut message = [header, payload].concat();
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message[6..8].copy_from_slice(&flags.to_ne_bytes());
        message
    }

    /// The number of links, what is lacking, and whether the answer has ended.
    fn links(messages: &[Vec<u8>]) -> io::Result<(usize, Gaps, bool)> {
        let (mut gaps, mut count) = (Gaps::default(), 0);
        let ended = read(&messages.concat(), &mut gaps, &mut |_: RouteNetlinkMessage| count += 1)?;
        Ok((count, gaps, ended))
    }

    #[test]
    fn what_is_lacking_is_said() {
        let good = message((NEW_LINK, 0), &[]);
        // An attribute, IFLA_MTU, of two bytes where there should be four.
        let bad = message((NEW_LINK, 0), &[&[0; 16][..], &[6, 0, 4, 0, 1, 1, 0, 0]].concat());
        let interrupted = message((NEW_LINK, NLM_F_DUMP_INTR), &[]);
        let done = message((DONE, 0), &[]);
        let whole = Gaps::default();
        for (messages, expected) in [
            (vec![good.clone()], (1, whole, false)),
            (vec![good.clone(), done.clone(), good.clone()], (1, whole, true)),
            (vec![bad.clone(), good.clone()], (1, Gaps { unread: 1, ..whole }, false)),
            (vec![interrupted, done], (1, Gaps { interrupted: true, ..whole }, true)),
        ] {
            assert_eq!(links(&messages).unwrap(), expected);
        }
        let refused = message((DONE, 0), &(-libc::EPERM).to_ne_bytes());
        let error = links(&[good.clone(), refused]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        assert!(links(&[good, vec![4, 0, 0, 0]]).is_err(), "shorter than a header");
    }
}
