//! The kernel programs, in a simulated kernel; see `proxyip_fuzz::packet`.
#![no_main]

use proxyip_fuzz::packet::{check, input::Input};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    check(&Input::read(input));
});
