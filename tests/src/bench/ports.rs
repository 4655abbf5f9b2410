//! What is guarded on a bench, and how the programs are set.

use proxyip_common::cookie::EPOCH_NS;
use proxyip_common::settings::{Denied, HandOffChoice, NamespaceSettings, Untrusted};

/// The listeners, by index: port, hand-off, and treatment of untrusted sources.
pub const LISTENERS: [(u16, HandOffChoice, Untrusted); 10] = [
    (AUTO, HandOffChoice::Auto, Untrusted::Bypass),
    (TRANSLATE, HandOffChoice::Translate, Untrusted::Bypass),
    (OBSERVE, HandOffChoice::Observe, Untrusted::Bypass),
    (ACCEPT, HandOffChoice::Accept, Untrusted::Bypass),
    (RESETTING, HandOffChoice::Auto, Untrusted::Reset),
    (DROPPING, HandOffChoice::Auto, Untrusted::Drop),
    (SILENT, HandOffChoice::Auto, Untrusted::Bypass),
    (MULTIPATH, HandOffChoice::Auto, Untrusted::Bypass),
    (REFUSING, HandOffChoice::Auto, Untrusted::Bypass),
    (MUTE, HandOffChoice::Auto, Untrusted::Bypass),
];
/// The listeners that deny the clients of [`Family::client`](super::Family::client), and how they treat these.
pub const DENYING: [(u16, Denied); 2] = [(REFUSING, Denied::Reset), (MUTE, Denied::Drop)];
/// The hand-off is chosen for each connection.
pub const AUTO: u16 = 80;
/// Translated.
pub const TRANSLATE: u16 = 81;
/// Observed.
pub const OBSERVE: u16 = 82;
/// Accepted, or left to the kernel.
pub const ACCEPT: u16 = 83;
/// Resets who is not trusted.
pub const RESETTING: u16 = 84;
/// Drops what comes from who is not trusted.
pub const DROPPING: u16 = 85;
/// Guarded, but nothing listens.
pub const SILENT: u16 = 86;
/// An MPTCP socket listens.
pub const MULTIPATH: u16 = 87;
/// Resets clients that are denied.
pub const REFUSING: u16 = 90;
/// Drops their segments.
pub const MUTE: u16 = 91;
/// Guarded no longer.
pub const OVER: u16 = 88;
/// Not guarded.
pub const OPEN: u16 = 89;

/// The interface of the namespace.
pub const INTERFACE: &str = "eth0";
/// The namespace's cookie, as the programs' settings have it.
pub const COOKIE: u64 = 0x5eed;
/// The MTU of the interface.
pub const MTU: u16 = 1500;

/// The settings of the namespace.
pub const SETTINGS: NamespaceSettings = NamespaceSettings {
    cookie: COOKIE,
    epoch_ns: EPOCH_NS,
    nat_since_ns: 0,
    timestamp_offset: 0x0102_0304,
    window: 64_000,
    window_scale: 7,
    flags: NamespaceSettings::SYNCOOKIES
        | NamespaceSettings::TIMESTAMPS
        | NamespaceSettings::SACK
        | NamespaceSettings::WINDOW_SCALING
        | NamespaceSettings::CONNTRACK_LOOSE
        | NamespaceSettings::ECN,
};
