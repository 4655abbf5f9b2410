//! The interfaces of the calling thread's network namespace.

use std::io;

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::LinkLayerType;
use rtnetlink::{Error, new_connection};

use crate::config::Netns;

/// Only devices with an Ethernet header can be served. The calling thread is in `netns`. Not to be called on a thread of a
/// runtime.
pub(crate) fn check_interface(interface: &str, netns: &Netns) -> Result<()> {
    match kind(interface, netns)? {
        LinkLayerType::Ether | LinkLayerType::Loopback => Ok(()),
        other => bail!(
            "interface {interface} has no Ethernet header (hardware type {})",
            u16::from(other)
        ),
    }
}

fn kind(interface: &str, netns: &Netns) -> Result<LinkLayerType> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let kind = runtime.context("the runtime cannot be started")?.block_on(ask(interface))?;
    kind.with_context(|| format!("interface {interface} does not exist in {netns}"))
}

/// The inner error is the kernel's answer.
async fn ask(interface: &str) -> Result<io::Result<LinkLayerType>> {
    let (connection, handle, _) = new_connection().context("no netlink socket")?;
    tokio::spawn(connection);
    // The kernel looks for alternative names, too.
    let mut links = handle.link().get().match_name(interface).execute();
    match links.try_next().await {
        Ok(Some(link)) => Ok(Ok(link.header.link_layer_type)),
        Ok(None) => Ok(Err(io::Error::from_raw_os_error(libc::ENODEV))),
        Err(Error::NetlinkError(refusal)) => Ok(Err(refusal.to_io())),
        Err(error) => Err(error).context("the interfaces cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
