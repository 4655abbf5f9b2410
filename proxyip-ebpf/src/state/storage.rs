//! What sockets keep; the kernel frees it with the socket.

use core::{ffi::c_void, ptr::NonNull};

use proxyip_common::flow::{FlowRecord, TranslatedSocket};

use crate::kernel::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    btf_maps::SkStorage,
    helpers::{bpf_sk_fullsock, bpf_sk_storage_delete, bpf_sk_storage_get},
    macros::btf_map,
};

/// The record of each established socket.
#[btf_map]
pub static SOCKETS: SkStorage<FlowRecord> = SkStorage::new();

/// What each established socket needs whose connection is translated and whose packets are not marked. A connection whose
/// socket has nothing here is found in [`TRANSLATIONS`](crate::state::translations::TRANSLATIONS).
#[btf_map]
pub static TRANSLATED_SOCKETS: SkStorage<TranslatedSocket> = SkStorage::new();

/// The socket, if it is a full one.
///
/// # Safety
/// The socket is not null, and held.
#[inline(always)]
pub unsafe fn full(socket: *mut bpf_sock) -> Option<*mut bpf_sock> {
    // SAFETY: the caller's promise.
    let full = unsafe { bpf_sk_fullsock(socket) };
    if full.is_null() { None } else { Some(full) }
}

/// How far the numbers of a full socket's peer are ahead, if its segments are translated in this namespace.
///
/// # Safety
/// The socket is a full one, and held.
#[inline(always)]
pub unsafe fn ahead_of(socket: *mut bpf_sock, namespace: u64) -> Option<u32> {
    // SAFETY: the caller's promise; what is stored is written before it is there, and never again.
    let translated = unsafe { stored(&TRANSLATED_SOCKETS, socket)?.as_ref() };
    (translated.namespace == namespace).then_some(translated.ahead)
}

/// What is in the storage of a socket; `None` if it is null, or has nothing there.
///
/// # Safety
/// The socket is a full one, or null, and held.
#[inline(always)]
pub unsafe fn stored<T>(map: &'static SkStorage<T>, socket: *mut bpf_sock) -> Option<NonNull<T>> {
    // SAFETY: the caller's promise.
    unsafe { get(map, socket, core::ptr::null_mut(), 0) }
}

/// Puts a value in the storage of a socket, unless there is one. `None` if that failed, or the socket is null.
///
/// # Safety
/// The socket is a full one, or null, and held.
#[inline(always)]
pub unsafe fn store<T>(
    map: &'static SkStorage<T>,
    socket: *mut bpf_sock,
    value: &mut T,
) -> Option<NonNull<T>> {
    // SAFETY: the caller's promise, and a value of the map's type.
    unsafe { get(map, socket, value, BPF_SK_STORAGE_GET_F_CREATE.into()) }
}

/// Takes a value out of the storage of a socket.
///
/// # Safety
/// The socket is a full one, or null, and held.
#[inline(always)]
pub unsafe fn forget<T>(map: &'static SkStorage<T>, socket: *mut bpf_sock) {
    if socket.is_null() {
        return;
    }
    let map: *mut c_void = core::ptr::from_ref(map).cast_mut().cast();
    // SAFETY: the caller's promise. It fails if there is no value.
    let _ = unsafe { bpf_sk_storage_delete(map, socket.cast()) };
}

/// # Safety
/// The socket is a full one, or null, and held. The value is null without a flag, else one of the map's type.
#[inline(always)]
unsafe fn get<T>(
    map: &'static SkStorage<T>,
    socket: *mut bpf_sock,
    value: *mut T,
    flags: u64,
) -> Option<NonNull<T>> {
    if socket.is_null() {
        return None;
    }
    let map: *mut c_void = core::ptr::from_ref(map).cast_mut().cast();
    // SAFETY: the caller's promise.
    NonNull::new(unsafe { bpf_sk_storage_get(map, socket.cast(), value.cast(), flags) }.cast())
}
