//! The memory that this process has from the kernel.

/// Gives back what is free. glibc keeps it otherwise: an agent that has loaded its programs, or read long lists, would have
/// several times the memory that it needs from then on. Takes some milliseconds.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: any thread may call it at any time (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
