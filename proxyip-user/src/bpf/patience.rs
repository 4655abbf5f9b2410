//! Patience with the kernel's memory for entries.
//!
//! Entries of tries, and of hash tables that are not allocated at once, come from a small cache of each CPU. The kernel
//! fills it behind those who take them, and who takes many at once may find it empty
//! (<https://git.kernel.org/torvalds/c/3d8dc43eb2a3>, <https://git.kernel.org/torvalds/c/fba1a1c6c912>).

use std::io;
use std::thread;
use std::time::Duration;

use aya::maps::MapError;

/// How often to try again.
const TRIES: u32 = 100;
/// How long to wait for more memory.
const PAUSE: Duration = Duration::from_millis(5);

/// An error that may say that there is no memory for an entry at the moment.
pub(crate) trait MayPass {
    fn may_pass(&self) -> bool;
}

impl MayPass for io::Error {
    fn may_pass(&self) -> bool {
        self.raw_os_error() == Some(libc::ENOMEM)
    }
}

impl MayPass for MapError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::SyscallError(error) if error.io_error.may_pass())
    }
}

/// Writes an entry. Tries again for half a second where the kernel has no memory for it at the moment.
///
/// # Errors
/// The last one.
pub(crate) fn patiently<E: MayPass>(mut write: impl FnMut() -> Result<(), E>) -> Result<(), E> {
    for _ in 0..TRIES {
        match write() {
            Err(error) if error.may_pass() => thread::sleep(PAUSE),
            result => return result,
        }
    }
    write()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_comes_is_waited_for_and_nothing_else() {
        for (code, fails, tries) in
            [(libc::ENOMEM, 3, 4), (libc::ENOMEM, u32::MAX, TRIES + 1), (libc::ENOSPC, 1, 1)]
        {
            let mut tried = 0;
            let result = patiently(|| {
                tried += 1;
                if tried <= fails { Err(io::Error::from_raw_os_error(code)) } else { Ok(()) }
            });
            assert_eq!((tried, result.is_ok()), (tries, tries > fails), "{code}, {fails} times");
        }
    }
}
