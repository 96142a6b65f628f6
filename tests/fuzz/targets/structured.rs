//! See `pilothouse_fuzz::structured`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::structured(bytes));
