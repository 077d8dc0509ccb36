//! Compressed payload, by libFuzzer. What must hold is in `laws/inflate.rs`.
#![no_main]

#[path = "../laws/inflate.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|input: &[u8]| law::check(input));
