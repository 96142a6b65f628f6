//! See `pilothouse_fuzz::grants`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::grants(bytes));
