//! PROXY headers, by libFuzzer. What must hold is in `laws/proxy.rs`.
#![no_main]

#[path = "../laws/proxy.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|input: &[u8]| law::check(input));
