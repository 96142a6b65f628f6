//! See `pilothouse_fuzz::filter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::filter(bytes));
