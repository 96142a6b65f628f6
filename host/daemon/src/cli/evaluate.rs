//! `pilothouse evaluate`: judges values by an SLO file, without a host.

mod render;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use pilothouse_files::evaluation::Evaluation;
use pilothouse_files::evaluation::input::{self, Unreadable};
use pilothouse_files::result::TaskResult;
use serde_json::Value;

use super::{CliError, Exit, Global, Output, Terminal};

/// Largest file read: an event of the largest size, with room.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What stands instead of a file's name for standard input.
const STDIN: &str = "-";

/// The exit codes of a verdict.
pub(super) const EXIT_HELP: &str = "Exit codes: 0 pass · 1 fail · 3 warning · 2 wrong usage or bad input";

/// Judges values by an SLO file, exactly as the quality gate does. Nothing is sent anywhere.
#[derive(Debug, Args)]
#[command(after_help = EXIT_HELP)]
pub(super) struct EvaluateCommand {
    /// The SLO file.
    #[arg(long, value_name = "FILE")]
    slo: PathBuf,
    /// The values: a JSON object `{"<sli>": number | null, …}`, or a `get-sli.finished` event; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    sli: PathBuf,
    /// An earlier `evaluation.finished` event, or the JSON that this command printed; give it once for each, the oldest
    /// first.
    #[arg(long, value_name = "FILE")]
    previous: Vec<PathBuf>,
}

impl EvaluateCommand {
    pub(super) fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let slo = read(&self.slo)?;
        let sli = json(&self.sli)?;
        let previous: Vec<Value> = self.previous.iter().map(|path| json(path)).collect::<Result<_, _>>()?;
        let (evaluation, warnings) = input::evaluate(&slo, &sli, &previous).map_err(|why| self.refused(why))?;
        for warning in warnings {
            terminal.note(&format!("{}:{}: warning: {}", self.slo.display(), warning.at, warning.message));
        }
        show(&evaluation, global.output, terminal)?;
        verdict(evaluation.result)
    }

    fn refused(&self, why: Unreadable) -> CliError {
        match why {
            Unreadable::Slo(problems) => {
                let error = CliError::new(Exit::Usage, format!("the SLO file {} has errors", self.slo.display()));
                let errors = problems.iter().filter(|problem| problem.stops_a_run());
                errors.fold(error, |error, problem| error.because(problem.to_string()))
            }
            Unreadable::Values(why) => unreadable(&self.sli, why),
            Unreadable::Earlier(index, why) => {
                unreadable(self.previous.get(index).map_or(Path::new("--previous"), PathBuf::as_path), why)
            }
        }
    }
}

pub(super) fn unreadable(path: &Path, why: impl Into<String>) -> CliError {
    CliError::new(Exit::Usage, format!("{} cannot be read", path.display())).because(why)
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let taken = match path.to_str() {
        Some(STDIN) => std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)),
    };
    let size = taken.map_err(|error| unreadable(path, error.to_string()))?;
    if u64::try_from(size).is_ok_and(|size| size > FILE_BYTES_MAX) {
        return Err(unreadable(path, format!("it is over {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn json(path: &Path) -> Result<Value, CliError> {
    serde_json::from_slice(&read(path)?).map_err(|error| unreadable(path, format!("it is not JSON: {error}")))
}

/// Writes an evaluation in the form that was asked for.
pub(super) fn show(evaluation: &Evaluation, output: Output, terminal: &mut Terminal) -> Result<(), CliError> {
    match output {
        Output::Json => terminal.json(evaluation),
        Output::Table => render::table(evaluation, terminal),
        Output::Junit => terminal.raw(render::junit(evaluation)?.as_bytes()),
        Output::Markdown => terminal.raw(render::markdown(evaluation).as_bytes()),
    }
}

/// Makes the exit code of a result.
pub(super) fn verdict(result: TaskResult) -> Result<(), CliError> {
    match result {
        TaskResult::Pass => Ok(()),
        TaskResult::Fail => Err(CliError::verdict(1)),
        TaskResult::Warning => Err(CliError::verdict(3)),
    }
}
