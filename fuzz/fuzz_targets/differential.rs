//! The grammar against other parsers; see `proxyip_fuzz::differential`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| proxyip_fuzz::differential::check(
    &proxyip_fuzz::sample::bytes(input)
));
