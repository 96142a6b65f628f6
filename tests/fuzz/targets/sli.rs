//! See `pilothouse_fuzz::sli`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::sli(bytes));
