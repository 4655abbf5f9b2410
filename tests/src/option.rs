//! Socket options that no library here has a name for.

use std::io;
use std::os::fd::AsRawFd;

/// Sets an option whose value is an int.
///
/// # Errors
/// Those of `setsockopt(2)`.
pub(crate) fn set_option(
    socket: &impl AsRawFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&value)).expect("an int is small");
    // SAFETY: `value` is an int and `length` its size.
    let outcome = unsafe {
        let value = (&raw const value).cast();
        libc::setsockopt(socket.as_raw_fd(), level, option, value, length)
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
