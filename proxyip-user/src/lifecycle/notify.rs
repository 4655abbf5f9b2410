//! Reports the agent's state to systemd:
//! [`sd_notify(3)`](https://www.freedesktop.org/software/systemd/man/sd_notify.html).
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is sent. sd-notify does this and nothing else. libsystemd also
//! writes to the journal, but would bring a dozen crates of cryptography and parsers for machine identifiers.

use sd_notify::NotifyState;

/// The agent guards, and answers on its sockets.
pub(crate) fn ready() {
    send(&[NotifyState::Ready, NotifyState::Status("the configuration is in force")]);
}

/// The agent has begun to read its configuration again. [`ready`] or [`kept`] ends it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // In one message: systemd 253 and later relate the two.
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("cannot notify systemd of the reload: {error}"),
    }
}

/// The agent goes on with the configuration that it had.
///
/// The reason is in the log only: each of its lines would be a separate notification.
pub(crate) fn kept() {
    let status = "the last reload failed: the old configuration stays in force";
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The agent ends.
pub(crate) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Tells systemd that the agent goes on, if the unit has `WatchdogSec`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watchdog {
    is_wanted: bool,
}

impl Watchdog {
    pub(crate) fn new() -> Self {
        Self { is_wanted: sd_notify::watchdog_enabled().is_some() }
    }

    /// To be called each second by the thread that reads the kernel's events.
    pub(crate) fn goes_on(self) {
        if self.is_wanted {
            send(&[NotifyState::Watchdog]);
        }
    }
}

fn send(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("systemd cannot be told how far the agent is: {error}");
    }
}
