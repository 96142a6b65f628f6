//! See `pilothouse_fuzz::alertmanager`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::alertmanager(bytes));
