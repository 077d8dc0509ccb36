//! A whole server connection, by libFuzzer. What must hold is in `laws/connection.rs`.
#![no_main]

#[path = "../laws/connection.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|input: &[u8]| law::check(input));
