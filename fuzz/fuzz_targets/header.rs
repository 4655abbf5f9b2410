//! The grammar of PROXY headers; see `proxyip_fuzz::grammar`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| proxyip_fuzz::grammar::check(
    &proxyip_fuzz::sample::bytes(input)
));
