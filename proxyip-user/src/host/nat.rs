//! Whether rules of the calling thread's network namespace may give connections to another port or address (NAT).
//!
//! Which ones they give is not read: rules may ask for anything. The kernel programs see it by the answers.

use std::{fs, io};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NlasIterator};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

/// `NFNL_SUBSYS_NFTABLES` (`linux/netfilter/nfnetlink.h`), in the upper byte of a message's type.
const NF_TABLES: u16 = 10 << 8;
/// Messages of `linux/netfilter/nf_tables.h`.
const NEW_CHAIN: u16 = NF_TABLES | 3;
const GET_CHAIN: u16 = NF_TABLES | 4;
const NEW_GENERATION: u16 = NF_TABLES | 15;
const GET_GENERATION: u16 = NF_TABLES | 16;
/// Bytes of `struct nlmsghdr` and `struct nfgenmsg`.
const NETLINK_HEADER: usize = 16;
const HEADER: usize = NETLINK_HEADER + 4;

/// The rules, as they were seen last.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// A number that changes with each change of the rules of nftables; `None` without nftables.
    generation: Option<Vec<u8>>,
    /// There is a chain of NAT.
    nat: bool,
    /// The same of iptables' own tables, which do not say when they change.
    own_tables: bool,
}

/// Watches the rules.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    seen: Seen,
    since_ns: u64,
    /// That they cannot be read has been said.
    is_told: bool,
}

impl Rules {
    /// Whether the namespace was found to have nftables.
    pub(crate) const fn has_nftables(&self) -> bool {
        self.seen.generation.is_some()
    }

    /// When the rules changed that may redirect connections, by the clock whose time is `now_ns`; 0 if there are none.
    /// To be called where connections are tracked: NAT needs that, and without it nobody need make the kernel load nftables.
    pub(crate) fn since_ns(&mut self, now_ns: u64) -> u64 {
        let seen = match look(&self.seen) {
            Ok(seen) => seen,
            // Then they may.
            Err(error) => {
                if !self.is_told {
                    tracing::warn!("the rules of nftables cannot be read: {error}");
                }
                self.is_told = true;
                Seen { nat: true, ..Seen::default() }
            }
        };
        if seen != self.seen {
            let redirects = seen.nat || seen.own_tables;
            self.since_ns = if redirects { now_ns } else { 0 };
            self.seen = seen;
        }
        self.since_ns
    }

    /// The same where connections are not tracked.
    pub(crate) fn none(&mut self) -> u64 {
        *self = Self { is_told: self.is_told, ..Self::default() };
        0
    }
}

fn look(last: &Seen) -> io::Result<Seen> {
    let names = ["ip_tables_names", "ip6_tables_names"].map(|name| {
        fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default()
    });
    let own_tables = names.iter().any(|names| names.lines().any(|name| name == "nat"));
    let Some(generation) = generation()? else {
        return Ok(Seen { own_tables, ..Seen::default() });
    };
    let same = last.generation.as_ref() == Some(&generation);
    let nat = if same { last.nat } else { has_nat()? };
    Ok(Seen { generation: Some(generation), nat, own_tables })
}

/// The number of the rules' last change; `None` if the kernel has no nftables.
fn generation() -> io::Result<Option<Vec<u8>>> {
    const ID: u16 = 1;
    let answers = match ask(GET_GENERATION, NLM_F_REQUEST) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(None),
        answers => answers?,
    };
    let answer = answers.iter().find(|(kind, _)| *kind == NEW_GENERATION);
    Ok(answer.and_then(|(_, attributes)| attribute(attributes, ID)))
}

/// Whether there is a chain of NAT, at whatever hook: the kernel does it at all hooks then.
fn has_nat() -> io::Result<bool> {
    Ok(ask(GET_CHAIN, NLM_F_REQUEST | NLM_F_DUMP)?
        .iter()
        .any(|(kind, attributes)| *kind == NEW_CHAIN && is_nat(attributes)))
}

fn is_nat(chain: &[u8]) -> bool {
    const TYPE: u16 = 7;
    attribute(chain, TYPE).is_some_and(|kind| kind.starts_with(b"nat"))
}

fn attribute(attributes: &[u8], kind: u16) -> Option<Vec<u8>> {
    let mut attributes = NlasIterator::new(attributes).filter_map(Result::ok);
    attributes.find(|attribute| attribute.kind() == kind).map(|found| found.value().to_vec())
}

/// Asks for all families; returns the kinds of messages that answer, and their attributes.
fn ask(kind: u16, flags: u16) -> io::Result<Vec<(u16, Vec<u8>)>> {
    let socket = Socket::new(NETLINK_NETFILTER)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let length = u32::try_from(HEADER).expect("a short header");
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    // No sequence number, no port; any family, version 0.
    request.resize(HEADER, 0);
    socket.send(&request, 0)?;
    let mut answers = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        if take(&bytes, &mut answers)? || flags & NLM_F_DUMP != NLM_F_DUMP {
            return Ok(answers);
        }
    }
}

/// Takes the messages of one answer; true if there is no other.
fn take(mut bytes: &[u8], answers: &mut Vec<(u16, Vec<u8>)>) -> io::Result<bool> {
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    while let Some((header, _)) = bytes.split_first_chunk::<NETLINK_HEADER>() {
        let [a, b, c, d, kind @ .., _, _, _, _, _, _, _, _, _, _] = *header;
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        let cut = || io::Error::other("a message of netlink that ends in the middle");
        let message = bytes.get(NETLINK_HEADER..length).ok_or_else(cut)?;
        match u16::from_ne_bytes(kind) {
            ERROR => {
                let number = message.first_chunk().ok_or_else(cut)?;
                return match i32::from_ne_bytes(*number) {
                    0 => Ok(true),
                    number => Err(io::Error::from_raw_os_error(-number)),
                };
            }
            DONE => return Ok(true),
            kind => answers.push((kind, message.get(4..).ok_or_else(cut)?.to_vec())),
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute_of(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, rest: &[u8]) -> Vec<u8> {
        let length = u32::try_from(NETLINK_HEADER + rest.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(NETLINK_HEADER, 0);
        [bytes, rest.to_vec()].concat()
    }

    #[test]
    fn a_chain_of_nat_is_known_by_its_type() {
        assert!(is_nat(&[attribute_of(4, &[0; 8]), attribute_of(7, b"nat\0")].concat()));
        assert!(!is_nat(&attribute_of(7, b"filter\0")));
        assert!(!is_nat(&attribute_of(3, b"not at a hook\0")));
    }

    #[test]
    fn an_answer_may_have_many_messages_or_an_error() {
        let chains = [
            message(NEW_CHAIN, &[0; 4]),
            message(NEW_CHAIN, &[0, 0, 0, 0, 8, 0, 1, 0, 1, 2, 3, 4]),
        ];
        let mut answers = Vec::new();
        assert!(!take(&chains.concat(), &mut answers).unwrap());
        assert_eq!(answers.len(), 2);
        assert_eq!(attribute(&answers[1].1, 1), Some(vec![1, 2, 3, 4]));
        assert!(take(&message(3, &[0; 4]), &mut answers).unwrap());
        let error = take(&message(2, &(-libc::EINVAL).to_ne_bytes()), &mut answers).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        assert!(take(&message(NEW_CHAIN, &[0; 8])[..20], &mut answers).is_err());
    }
}
