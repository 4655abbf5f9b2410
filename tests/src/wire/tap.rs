//! An Ethernet interface with a program at its other end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::namespace::Namespace;

/// `TUNSETIFF` of `linux/if_tun.h`.
const SET_INTERFACE: libc::Ioctl = 0x4004_54ca;

/// Reads what the kernel sends out of the interface; the kernel receives what is written here. Each call carries one
/// frame, with complete checksums, never longer than the MTU allows.
#[derive(Debug)]
pub struct Tap {
    file: File,
}

impl Tap {
    /// Makes an interface; it is gone when this is dropped.
    ///
    /// # Panics
    /// When that is not permitted.
    pub fn new(namespace: &Namespace, interface: &str) -> Self {
        let file = namespace.enter(|| {
            let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
            name_interface(&file, interface)?;
            Ok::<_, io::Error>(file)
        });
        let file = file.unwrap_or_else(|error| panic!("TAP interface {interface}: {error}"));
        // Frames that wait here are as many as fill any window.
        namespace.ip(&format!("link set {interface} txqueuelen 20000 up"));
        Self { file }
    }

    /// Waits for a frame and reads it; its length, or none after `limit`.
    pub fn read(&self, buffer: &mut [u8], limit: Duration) -> Option<usize> {
        let milliseconds = limit.as_millis().try_into().expect("a short time");
        let mut descriptor =
            libc::pollfd { fd: self.file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one `pollfd` is pointed to, and one is said to be there.
        let ready = unsafe { libc::poll(&raw mut descriptor, 1, milliseconds) };
        (ready > 0).then(|| (&self.file).read(buffer).ok()).flatten()
    }

    /// Lets the interface receive a frame. It receives none while it is down.
    pub fn write(&self, frame: &[u8]) {
        let _ = (&self.file).write(frame);
    }
}

fn name_interface(file: &File, interface: &str) -> io::Result<()> {
    // SAFETY: an `ifreq` is plain data, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    assert!(interface.len() < request.ifr_name.len(), "a name of 15 bytes at most");
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = flags.try_into().expect("flags of 16 bits");
    // SAFETY: the request takes a pointer to an `ifreq`.
    let outcome = unsafe { libc::ioctl(file.as_raw_fd(), SET_INTERFACE, &raw mut request) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
