//! The settings of a listener, as the kernel programs read them.

use proxyip_common::settings::{Denied, ListenerSettings};

use crate::clock::nanoseconds;
use crate::config::{Headerless, Listener, Unknown};

/// The settings of a listener for the kernel programs, without its policy.
pub(crate) fn settings_of(listener: &Listener) -> ListenerSettings {
    let mut flags = 0;
    for (flag, set) in [
        (ListenerSettings::V1, listener.versions.v1),
        (ListenerSettings::V2, listener.versions.v2),
        (ListenerSettings::REFUSE_UNKNOWN, listener.unknown == Unknown::Reset),
        (ListenerSettings::UNKNOWN_IS_LOCAL, listener.unknown == Unknown::Local),
        (ListenerSettings::HEADERLESS_IS_LOCAL, listener.headerless == Headerless::Local),
        (ListenerSettings::MARKS, listener.denied == Denied::Mark),
    ] {
        if set {
            flags |= flag;
        }
    }
    ListenerSettings {
        flags,
        hand_off: listener.hand_off as u8,
        reserved: [0; 6],
        header_timeout_ns: nanoseconds(listener.header_timeout),
    }
}
