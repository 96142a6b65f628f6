//! Where a command writes and what it asks; tests give it buffers instead of a terminal.

use std::io::{BufRead, IsTerminal as _, Write};

use clap::ValueEnum;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;
use serde_json::Value;

use super::{CliError, Exit};

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: what the API answered.
    Json,
}

/// Form of the output, as the command line has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs: what the API answered.
    Json,
    /// Of evaluations, for build servers: JUnit's XML.
    Junit,
    /// Of evaluations, for comments on a change.
    Markdown,
}

impl Output {
    /// Returns the form in which everything but evaluations is written.
    pub fn format(self) -> Format {
        match self {
            Self::Json => Format::Json,
            Self::Table | Self::Junit | Self::Markdown => Format::Table,
        }
    }
}

/// Where a command writes and what it asks.
pub struct Terminal {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    input: Box<dyn BufRead + Send>,
    /// Whether a person can be asked.
    pub(super) interactive: bool,
    /// Form of the output.
    pub(super) format: Format,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Terminal {
    /// The terminal of this process.
    pub fn of_process(format: Format) -> Self {
        let interactive = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        let input = Box::new(std::io::BufReader::new(std::io::stdin()));
        Self { out: Box::new(std::io::stdout()), err: Box::new(std::io::stderr()), input, interactive, format }
    }

    /// A terminal of buffers.
    pub fn new(
        out: impl Write + Send + 'static,
        err: impl Write + Send + 'static,
        input: impl BufRead + Send + 'static,
        interactive: bool,
        format: Format,
    ) -> Self {
        Self { out: Box::new(out), err: Box::new(err), input: Box::new(input), interactive, format }
    }

    /// Writes a line of the result.
    pub(super) fn line(&mut self, text: &str) -> Result<(), CliError> {
        writeln!(self.out, "{}", printable(text)).and_then(|()| self.out.flush()).map_err(|error| output_error(&error))
    }

    /// Writes bytes of the result as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.out.write_all(bytes).and_then(|()| self.out.flush()).map_err(|error| output_error(&error))
    }

    /// Writes a remark, which is not part of the result.
    pub(super) fn note(&mut self, text: &str) {
        // Nowhere is left to tell that standard error is gone.
        let _ = writeln!(self.err, "{}", printable(text));
    }

    /// Writes an error.
    pub(super) fn error(&mut self, text: &str) {
        self.note(text);
    }

    /// Writes a value as JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        writeln!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(|error| output_error(&error))
    }

    /// Writes rows of an API answer, or the answer itself where programs read it.
    ///
    /// Each column is a heading and a JSON pointer into a row.
    pub(super) fn rows(&mut self, answer: &Value, columns: &[(&str, &str)]) -> Result<(), CliError> {
        if self.format == Format::Json {
            return self.json(answer);
        }
        let rows = answer.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if rows.is_empty() {
            self.note("nothing found");
        } else {
            let mut table = Table::new();
            table.load_style(NOTHING).set_header(columns.iter().map(|(heading, _)| *heading));
            for row in rows {
                table.add_row(columns.iter().map(|(_, pointer)| printable(&cell(row.pointer(pointer)))));
            }
            for text in table.lines() {
                self.line(text.trim_end())?;
            }
        }
        match answer.get("next").filter(|next| !next.is_null()) {
            Some(next) => {
                self.note(&format!("there is more: --after {}", cell(Some(next))));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Writes one thing of an API answer, a member per line.
    pub(super) fn members(&mut self, answer: &Value) -> Result<(), CliError> {
        if self.format == Format::Json {
            return self.json(answer);
        }
        let Some(members) = answer.as_object() else { return self.json(answer) };
        let width = members.keys().map(String::len).max().unwrap_or(0);
        for (name, value) in members {
            self.line(&format!("{name:width$}  {}", cell(Some(value))))?;
        }
        Ok(())
    }

    /// Asks a question that is answered with yes or no; no when there is nobody to ask.
    pub(super) fn confirm(&mut self, question: &str) -> Result<bool, CliError> {
        if !self.interactive {
            return Ok(false);
        }
        write!(self.err, "{question} [y/N] ").and_then(|()| self.err.flush()).map_err(|error| output_error(&error))?;
        let mut answer = String::new();
        self.input.read_line(&mut answer).map_err(|error| output_error(&error))?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    /// Reads standard input to its end.
    pub(super) fn read_input(&mut self) -> Result<Vec<u8>, CliError> {
        let mut bytes = Vec::new();
        let read = std::io::Read::read_to_end(&mut self.input, &mut bytes);
        read.map(|_| bytes).map_err(|error| CliError::new(Exit::Usage, "cannot read standard input").caused_by(&error))
    }
}

fn output_error(error: &std::io::Error) -> CliError {
    // Whoever reads the output has enough of it, as `head` has; that is no failure to be told about.
    let exit = if error.kind() == std::io::ErrorKind::BrokenPipe { Exit::OutputClosed } else { Exit::Failed };
    CliError::new(exit, "cannot write the output").caused_by(error)
}

/// Shows a JSON value in one line.
pub(super) fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    }
}

/// Escapes control characters: what is shown comes from events and plugins, and must not steer the terminal.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\n' && character != '\t' {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}
