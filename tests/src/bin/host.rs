//! The program under test: the same as `pilothouse`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    pilothouse::cli::main()
}
