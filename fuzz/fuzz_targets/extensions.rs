//! The extension header, by libFuzzer. What must hold is in `laws/extensions.rs`.
#![no_main]

#[path = "../laws/extensions.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|input: &[u8]| law::check(input));
