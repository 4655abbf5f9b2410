//! The interfaces of the calling thread's network namespace.

use std::io;

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::LinkLayerType;
use rtnetlink::{Error, new_connection};

/// Only devices with an Ethernet header can be served. Not to be called on a thread of a runtime.
pub(crate) fn check_interface(interface: &str) -> Result<()> {
    match kind(interface)? {
        LinkLayerType::Ether | LinkLayerType::Loopback => Ok(()),
        other => bail!(
            "interface {interface} has no Ethernet header (hardware type {})",
            u16::from(other)
        ),
    }
}

fn kind(interface: &str) -> Result<LinkLayerType> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let kind = runtime.context("the runtime cannot be started")?.block_on(ask(interface))?;
    kind.with_context(|| format!("interface {interface} does not exist in this network namespace"))
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
        check_interface("lo").unwrap();
        let error = format!("{:#}", check_interface("nowhere0").unwrap_err());
        assert_eq!(
            error,
            "interface nowhere0 does not exist in this network namespace: No such device (os error 19)"
        );
    }
}
