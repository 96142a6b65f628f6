//! See `pilothouse_fuzz::mapping`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::mapping(bytes));
