//! Request heads, by libFuzzer. What must hold is in `laws/head.rs`.
#![no_main]

#[path = "../laws/head.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|input: &[u8]| law::check(input));
