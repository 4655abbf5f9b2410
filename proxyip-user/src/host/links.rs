//! The interfaces of the calling thread's network namespace.

use std::io;

use anyhow::{Context, Result, bail};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoPortKind, LinkAttribute, LinkExtentMask, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::netlink::{self, Dump};
use crate::config::{Names, Netns};

/// Only devices with an Ethernet header can be served. The calling thread is in `netns`.
pub(crate) fn check_interface(interface: &str, netns: &Netns) -> Result<()> {
    match kind(interface, netns)? {
        LinkLayerType::Ether | LinkLayerType::Loopback => Ok(()),
        other => bail!(
            "interface {interface} has no Ethernet header (hardware type {})",
            u16::from(other)
        ),
    }
}

/// An interface that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// What attaching to an interface would mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its frames are for this namespace, and have an Ethernet header.
    Ethernet,
    /// The loopback interface.
    Loopback,
    /// A bridge, a bond or a team takes its frames, which are served there.
    Port,
    /// Without an Ethernet header.
    Other,
}

impl Link {
    /// Whether entries that require nothing mean this interface. Only a name means the loopback interface, or a member of
    /// another one.
    pub(crate) fn is_found_by<'a>(&self, entries: impl IntoIterator<Item = &'a Names>) -> bool {
        entries.into_iter().any(|names| match names {
            Names::One(name) => *name == self.name && self.kind != Kind::Other,
            Names::Like(_) => names.contains(&self.name) && self.kind == Kind::Ethernet,
        })
    }
}

/// The interfaces of the calling thread's namespace, and how many others there are that cannot be read.
///
/// # Errors
/// If they cannot be read, or change all the while.
pub(crate) fn all() -> Result<Dump<Link>> {
    let all = netlink::open(NETLINK_ROUTE)
        .and_then(|socket| netlink::dump(&socket, &request(0, Vec::new()), new_link));
    let Dump { found, unread } = all.context("the interfaces cannot be read")?;
    Ok(Dump { found: found.into_iter().filter_map(link).collect(), unread })
}

fn link(message: LinkMessage) -> Option<Link> {
    let (index, layer) = (message.header.index, message.header.link_layer_type);
    let (mut name, mut is_port) = (None, false);
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(its) => name = Some(its),
            LinkAttribute::LinkInfo(infos) => is_port |= infos.iter().any(gives_frames_away),
            _ => {}
        }
    }
    let kind = match layer {
        LinkLayerType::Loopback => Kind::Loopback,
        LinkLayerType::Ether if is_port => Kind::Port,
        LinkLayerType::Ether => Kind::Ethernet,
        _ => Kind::Other,
    };
    Some(Link { index, name: name?, kind })
}

/// A VRF leaves the frames to its members.
const fn gives_frames_away(info: &LinkInfo) -> bool {
    let LinkInfo::PortKind(kind) = info else { return false };
    matches!(kind, InfoPortKind::Bond | InfoPortKind::Bridge | InfoPortKind::Team)
}

fn kind(interface: &str, netns: &Netns) -> Result<LinkLayerType> {
    // The kernel looks for alternative names, too.
    let named = vec![LinkAttribute::IfName(interface.into())];
    let found = ask(0, named);
    let found =
        found.with_context(|| format!("interface {interface} does not exist in {netns}"))?;
    Ok(found.context("the kernel names no interface")?.header.link_layer_type)
}

/// The ids of the programs at XDP of the interface with this index, in the calling thread's namespace.
///
/// # Errors
/// If there is no interface with it, or the kernel does not answer.
pub(crate) fn at_xdp(index: u32) -> io::Result<Vec<u32>> {
    let found = ask(index, Vec::new())?;
    let attributes = found.iter().flat_map(|link| &link.attributes);
    let at_xdp = attributes.filter_map(|attribute| match attribute {
        LinkAttribute::Xdp(at_xdp) => Some(at_xdp),
        _ => None,
    });
    let id = |one: &LinkXdp| match one {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) => Some(*id),
        _ => None,
    };
    Ok(at_xdp.flatten().filter_map(id).collect())
}

/// The interface that has this index, unless it is 0, and these attributes.
fn ask(index: u32, attributes: Vec<LinkAttribute>) -> io::Result<Option<LinkMessage>> {
    let socket = netlink::open(NETLINK_ROUTE)?;
    let mut found = None;
    let asked = (request(index, attributes), NLM_F_REQUEST | NLM_F_ACK);
    netlink::ask(&socket, asked, |answer| found = new_link(answer))?;
    Ok(found)
}

fn request(index: u32, mut attributes: Vec<LinkAttribute>) -> RouteNetlinkMessage {
    // They would be most of the answer.
    attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let mut request = LinkMessage::default();
    request.header.index = index;
    request.attributes = attributes;
    RouteNetlinkMessage::GetLink(request)
}

fn new_link(message: RouteNetlinkMessage) -> Option<LinkMessage> {
    match message {
        RouteNetlinkMessage::NewLink(link) => Some(link),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_finds_neither_loopback_nor_members_nor_tunnels() {
        let all = Names::Like(glob::Pattern::new("*").unwrap());
        for (names, name, kind, expected) in [
            (&all, "eth0", Kind::Ethernet, true),
            (&all, "lo", Kind::Loopback, false),
            (&all, "eth1", Kind::Port, false),
            (&all, "wg0", Kind::Other, false),
            (&Names::One("lo".into()), "lo", Kind::Loopback, true),
            (&Names::One("eth1".into()), "eth1", Kind::Port, true),
            (&Names::One("wg0".into()), "wg0", Kind::Other, false),
            (&Names::One("eth1".into()), "eth0", Kind::Ethernet, false),
        ] {
            let link = Link { index: 1, name: name.into(), kind };
            assert_eq!(link.is_found_by([names]), expected, "{names} {name}");
        }
    }

    #[test]
    fn the_loopback_interface_is_among_all() {
        let lo = Link { index: 1, name: "lo".into(), kind: Kind::Loopback };
        let Dump { found, unread } = all().unwrap();
        assert!(found.contains(&lo) && unread == 0);
    }

    #[test]
    fn an_interface_is_found_by_its_name() {
        check_interface("lo", &Netns::Host).unwrap();
        for (netns, place) in [
            (Netns::Host, "the agent's network namespace"),
            (Netns::Path("/run/netns/blue".into()), "network namespace /run/netns/blue"),
        ] {
            let error = format!("{:#}", check_interface("nowhere0", &netns).unwrap_err());
            let expected = format!("nowhere0 does not exist in {place}: No such device");
            assert!(error.contains(&expected), "{error}");
        }
    }
}
