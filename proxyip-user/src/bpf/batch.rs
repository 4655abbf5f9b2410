//! Reads whole buckets of a hash table in one system call (`BPF_MAP_LOOKUP_BATCH`, Linux 5.6).

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd};

use aya_obj::generated::{bpf_attr, bpf_attr__bindgen_ty_3, bpf_cmd};

/// Where to go on in a table: the number of a bucket; 0 is the beginning.
pub type Cursor = u32;

/// Where the kernel writes what it reads.
pub(super) struct Buffers {
    pub(super) keys: *mut u8,
    pub(super) values: *mut u8,
    /// For how many entries there is room.
    pub(super) room: u32,
}

/// Entries that the kernel has written.
pub(super) struct Written {
    pub(super) count: u32,
    /// Where to go on; `None` at the table's end.
    pub(super) next: Option<Cursor>,
}

/// Reads the entries of as many whole buckets from `from` on as there is room for.
///
/// # Errors
/// `ENOSPC` if the first bucket alone has more entries than there is room for.
///
/// # Safety
/// `buffers` must have room for as many keys and values as they say, in the sizes of the map's.
pub(super) unsafe fn read(
    map: BorrowedFd<'_>,
    from: Cursor,
    buffers: &Buffers,
) -> io::Result<Written> {
    let mut next: Cursor = 0;
    // SAFETY: all zero is a value of this union of integers.
    let mut attributes: bpf_attr = unsafe { zeroed() };
    attributes.batch = bpf_attr__bindgen_ty_3 {
        in_batch: (&raw const from) as u64,
        out_batch: (&raw mut next) as u64,
        keys: buffers.keys as u64,
        values: buffers.values as u64,
        count: buffers.room,
        map_fd: map.as_raw_fd().cast_unsigned(),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel writes a cursor of four bytes, and at most `count` keys and values of the map's sizes. The
    // caller says that there is room for these.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            bpf_cmd::BPF_MAP_LOOKUP_BATCH,
            &raw mut attributes,
            size_of::<bpf_attr>(),
        )
    };
    let error = io::Error::last_os_error();
    let at_end = result < 0 && error.raw_os_error() == Some(libc::ENOENT);
    if result < 0 && !at_end {
        return Err(error);
    }
    // SAFETY: the call used this variant of the union, and has written into it how many entries it has written.
    let count = unsafe { attributes.batch.count };
    Ok(Written { count, next: (!at_end).then_some(next) })
}
