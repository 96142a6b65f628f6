//! See `pilothouse_fuzz::evaluation`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::evaluation(bytes));
