//! See `pilothouse_fuzz::openslo`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::openslo(bytes));
