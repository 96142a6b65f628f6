//! See `pilothouse_fuzz::executor_files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::executor_files(bytes));
