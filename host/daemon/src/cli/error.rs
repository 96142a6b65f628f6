//! What a command's failure looks like, and the exit code that goes with it.

use std::fmt;
use std::process::ExitCode;

/// Exit codes, so that scripts can tell what to do. `pilothouse --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was tried and did not work.
    Failed = 1,
    /// The arguments or input files are wrong.
    Usage = 2,
    /// The configuration is wrong.
    Config = 3,
    /// The host could not be reached.
    Unreachable = 4,
    /// The host refused: a wrong request, or a missing right.
    Refused = 5,
    /// The host failed, or takes nothing now.
    Host = 6,
    /// The data folder or the store in it cannot be used.
    Data = 7,
    /// The address to listen on cannot be had.
    Address = 8,
    /// A program that is needed is not on this machine.
    Missing = 9,
    /// Somebody interrupted it; the number is the shell's for Ctrl-C.
    Interrupted = 130,
    /// Nobody reads the output any more; nothing is said about it. The number is the shell's for a broken pipe.
    OutputClosed = 141,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        // Each value is a small constant.
        Self::from(exit as u8)
    }
}

/// A failure: what failed, what caused it, what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    exit: Exit,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    verdict: Option<u8>,
}

impl CliError {
    /// Makes a failure.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), causes: Vec::new(), hint: None, verdict: None }
    }

    /// Makes a failure of an error with all that caused it.
    pub fn of(exit: Exit, error: &dyn std::error::Error) -> Self {
        let mut this = Self::new(exit, error.to_string());
        if let Some(source) = error.source() {
            this = this.caused_by(source);
        }
        this
    }

    /// Adds an error and all that caused it.
    #[must_use]
    pub fn caused_by(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // Some errors repeat their cause in their own text.
            if !self.causes.contains(&text) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds a cause in words.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Takes a refusal of the host for wrong arguments, where the exit code has another meaning beside it.
    #[must_use]
    pub fn refused_as_usage(mut self, when: bool) -> Self {
        if when && self.exit == Exit::Refused {
            self.exit = Exit::Usage;
        }
        self
    }

    /// Says that the command worked, and that what it came to has an exit code of its own; nothing is printed then.
    pub fn verdict(code: u8) -> Self {
        Self { verdict: Some(code), ..Self::new(Exit::Failed, format!("ended with exit code {code}")) }
    }

    /// Returns the exit code where it is what the command came to, and no failure.
    pub fn of_verdict(&self) -> Option<u8> {
        self.verdict
    }

    /// Returns the exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        for cause in &self.causes {
            write!(f, "\n  caused by: {cause}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CliError {}
