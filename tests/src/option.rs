//! Socket options that no library here has a name for.

use std::io;
use std::os::fd::AsRawFd;

/// Sets an option. Its value is an int or a structure of C.
///
/// # Errors
/// Those of `setsockopt(2)`.
///
/// # Panics
/// When the value is larger than any option's.
pub fn set_option<T: Copy>(
    socket: &impl AsRawFd,
    level: libc::c_int,
    option: libc::c_int,
    value: T,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).expect("a value is small");
    // SAFETY: `value` has as many bytes as `length` says.
    let outcome = unsafe {
        let value = (&raw const value).cast();
        libc::setsockopt(socket.as_raw_fd(), level, option, value, length)
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many segments of the connection the kernel has sent again.
///
/// # Panics
/// When the kernel does not say.
#[must_use]
pub fn total_retransmissions(stream: &impl AsRawFd) -> u32 {
    // SAFETY: numbers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&info)).expect("a small structure");
    // SAFETY: `info` has as many bytes as `length` says.
    let outcome = unsafe {
        let value = (&raw mut info).cast();
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            value,
            &raw mut length,
        )
    };
    assert_eq!(outcome, 0, "TCP_INFO: {}", io::Error::last_os_error());
    info.tcpi_total_retrans
}
