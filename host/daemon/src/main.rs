//! The door: everything else is the library's.

fn main() -> std::process::ExitCode {
    pilothouse::cli::main()
}
