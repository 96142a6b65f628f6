//! See `pilothouse_fuzz::keptn_import`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::keptn_import(bytes));
