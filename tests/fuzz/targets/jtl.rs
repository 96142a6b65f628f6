//! See `pilothouse_fuzz::jtl`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::jtl(bytes));
