//! The interfaces of the calling thread's network namespace.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, bail};

/// Only devices with an Ethernet header can be served.
pub(crate) fn check_interface(interface: &str) -> Result<()> {
    const ETHERNET: u16 = 1;
    const LOOPBACK: u16 = 772;
    match hardware_type(interface)? {
        ETHERNET | LOOPBACK => Ok(()),
        other => bail!("interface {interface} has no Ethernet header (hardware type {other})"),
    }
}

/// The hardware type (`ARPHRD_*`) of an interface of the calling thread's namespace.
fn hardware_type(interface: &str) -> Result<u16> {
    let missing = || format!("interface {interface} does not exist in this network namespace");
    // SAFETY: a request of zeros is one without a name; a new descriptor, closed with its owner; and a
    // request of the type that SIOCGIFHWADDR takes.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        let room = request.ifr_name.len() - 1;
        for (to, from) in request.ifr_name.iter_mut().take(room).zip(interface.bytes()) {
            *to = from.cast_signed();
        }
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error()).context("no socket");
        }
        let socket = OwnedFd::from_raw_fd(socket);
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) != 0 {
            return Err(io::Error::last_os_error()).with_context(missing);
        }
        Ok(request.ifr_ifru.ifru_hwaddr.sa_family)
    }
}
