//! Everything that a person or CI repeats: `cargo xtask setup | guests | demo | record | test | crash | fuzz | bench | tidy |
//! dist`.
//!
//! This file is the command line only; each subcommand is a module. Nothing here may depend on a crate of the
//! workspace, because this program is what builds them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program talks to its terminal")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod crash;
mod demo;
mod digest;
mod dist;
mod fuzz;
mod guests;
mod record;
mod section;
mod setup;
mod shell;
mod test;
mod tidy;
mod workspace;

use setup::Purpose;
use workspace::Workspace;

/// Builds, tests and packs Pilothouse.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Installs what a purpose needs, or says exactly what to install; quick when all is there.
    Setup {
        /// What the machine is made ready for.
        #[arg(long = "for", value_enum, default_value_t = Purpose::Test)]
        purpose: Purpose,
    },
    /// Builds the bundled plugins and the guests that tests run into target/plugins and target/guests/out.
    Guests {
        /// Builds the bundled plugins only.
        #[arg(long)]
        plugins_only: bool,
    },
    /// Runs the demo: sets up, builds, then runs `pilothouse demo` with the arguments given.
    Demo {
        /// Arguments of `pilothouse demo`, such as `--keep`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Plays the demo and records it in docs/demo.cast, which README shows.
    Record,
    /// Runs everything that CI runs.
    #[command(visible_alias = "ci")]
    Test,
    /// Kills the host under load, many times, and checks that nothing acknowledged is lost.
    Crash {
        /// How many kills.
        #[arg(long, default_value_t = 50)]
        rounds: u32,
    },
    /// Fuzzes every parser of bytes from outside.
    Fuzz {
        /// Seconds per target.
        #[arg(long, default_value_t = 30)]
        seconds: u32,
        /// One target of tests/fuzz/targets; all when absent.
        #[arg(long)]
        target: Option<String>,
    },
    /// Measures what docs/performance.md records, in release; about twenty-five minutes after the build.
    Bench {
        /// Where the rows go; target/bench.json when absent.
        #[arg(long)]
        json: Option<std::path::PathBuf>,
        /// Sections to run, with commas between; all when absent.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Checks the rules of style that no compiler checks.
    Tidy,
    /// Makes the release archive in target/dist.
    Dist,
}

fn main() -> ExitCode {
    let result = Workspace::find().and_then(|workspace| match Arguments::parse().command {
        Command::Setup { purpose } => setup::run(&workspace, purpose),
        Command::Guests { plugins_only: true } => guests::build_plugins(&workspace),
        Command::Guests { plugins_only: false } => guests::build_all(&workspace),
        Command::Demo { arguments } => demo::run(&workspace, &arguments),
        Command::Record => record::run(&workspace),
        Command::Bench { json, only } => bench::run(&workspace, json.as_deref(), &only),
        Command::Fuzz { seconds, target } => fuzz::run(&workspace, seconds, target.as_deref()),
        Command::Crash { rounds } => crash::run(&workspace, rounds),
        Command::Test => test::run(&workspace),
        Command::Tidy => tidy::run(&workspace),
        Command::Dist => dist::run(&workspace),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  caused by: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}
