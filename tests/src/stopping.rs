//! What a program of the fixtures does when a signal ends it.

use std::panic;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use crate::scratch::remove_everything;

/// On Ctrl-C nothing is dropped: the names of what was made are known. `program` is named in the last line.
///
/// # Panics
/// When signals cannot be blocked.
pub fn remove_everything_on_signals(program: &'static str) {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    // Threads started from now on inherit this. A `Process` does not.
    signals.thread_block().expect("cannot block signals");
    thread::spawn(move || {
        let signal = signals.wait().expect("cannot wait for signals");
        // What the main thread is just doing will fail now, and may do so quietly.
        panic::set_hook(Box::new(|_| {}));
        remove_everything();
        eprintln!("\nstopped; all that {program} made is removed");
        std::process::exit(128 + signal as i32);
    });
}
