//! See `pilothouse_fuzz::traceparent`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::traceparent(bytes));
