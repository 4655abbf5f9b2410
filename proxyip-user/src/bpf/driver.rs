//! What a driver is called, and what it does to frames before a program at XDP sees them (`ethtool(8)`).

use std::io;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `SIOCETHTOOL`, `ETHTOOL_GDRVINFO`, `ETHTOOL_GFLAGS` and `ETH_FLAG_RXVLAN` (`include/uapi/linux/ethtool.h`).
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const GET_DRIVER: u32 = 0x03;
const GET_FLAGS: u32 = 0x25;
const RX_VLAN: u32 = 1 << 8;

/// What is known of an interface's driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Driver {
    /// Its name.
    pub(crate) name: String,
    /// It takes the tags of VLANs off, so that a program at XDP does not see them.
    pub(crate) takes_tags_off: bool,
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct Information {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq`, with what this call has of its union.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: *mut libc::c_void,
    rest: [u8; 16],
}

impl Driver {
    /// That of an interface of the calling thread's network namespace.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub(crate) fn of(interface: &str) -> Result<Self> {
        let context = || format!("the driver of {interface} is not known");
        let mut information = Information { command: GET_DRIVER, driver: [0; 32], rest: [0; 160] };
        ask(interface, &mut information).with_context(context)?;
        let mut flags = Value { command: GET_FLAGS, data: 0 };
        ask(interface, &mut flags).with_context(context)?;
        let name = information.driver.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        Ok(Self { name, takes_tags_off: flags.data & RX_VLAN != 0 })
    }
}

/// `T` is a structure of `ethtool(8)`, which begins with a command that fills it in.
fn ask<T>(interface: &str, structure: &mut T) -> io::Result<()> {
    let mut name = [0; libc::IFNAMSIZ];
    let bytes = interface.as_bytes();
    let room = name.get_mut(..bytes.len()).filter(|room| room.len() < libc::IFNAMSIZ);
    room.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(bytes);
    let data = (&raw mut *structure).cast();
    let mut request = Request { name, data, rest: [0; 16] };
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the request has the size of the kernel's, and its command's structure outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_laid_out_as_in_the_kernel() {
        assert_eq!((size_of::<Information>(), size_of::<Value>()), (196, 8));
        assert_eq!(size_of::<Request>(), 40);
    }

    #[test]
    fn the_kernel_is_asked() {
        // The loopback interface has no driver, and is there.
        let error = Driver::of("lo").map(|driver| driver.name);
        assert!(error.is_err() || error.is_ok_and(|name| name.is_empty()));
        let error = format!("{:#}", Driver::of("nobody0").unwrap_err());
        assert!(error.starts_with("the driver of nobody0 is not known"), "{error}");
        assert!(Driver::of("a-name-that-is-far-too-long").is_err());
    }
}
