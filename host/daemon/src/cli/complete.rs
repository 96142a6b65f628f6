//! `pilothouse completions`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, CliError, Terminal};

#[derive(Debug, Args)]
pub(super) struct CompletionsCommand {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsCommand {
    pub(super) fn run(self, terminal: &mut Terminal) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "pilothouse", &mut script);
        terminal.raw(&script)
    }
}
