//! See `pilothouse_fuzz::workload`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pilothouse_fuzz::workload(bytes));
