//! See `pilothouse_fuzz::project_files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::project_files(bytes));
