//! See `pilothouse_fuzz::shipyard`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::shipyard(bytes));
