//! Frames, by libFuzzer. What must hold is in `laws/frames.rs`.
#![no_main]

#[path = "../laws/frames.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|input: &[u8]| law::check(input));
