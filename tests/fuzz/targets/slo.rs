//! See `pilothouse_fuzz::slo`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::slo(bytes));
