//! See `pilothouse_fuzz::binary`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::binary(bytes));
