//! The command line: one file per noun. Everything but the commands that work on files goes through the documented API,
//! as any other client does.
//!
//! Errors are printed once, by [`main`]: what failed, what caused it, and what to do next.

mod api;
mod approval;
mod backup;
mod complete;
mod config;
mod connection;
mod delivery;
mod doctor;
mod error;
mod evaluate;
mod evaluation;
mod event;
mod executor;
mod inbound;
mod monitoring;
mod plugin;
mod problem;
mod project;
mod report;
mod resource;
mod secret;
mod send;
mod sequence;
mod serve;
mod slo;
mod tail;
mod task;
mod terminal;
#[cfg(test)]
mod tests;
mod token;
mod upstream;
mod validate;
mod why;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use error::{CliError, Exit};
pub use terminal::{Format, Output, Terminal};

/// Address of the host that the commands talk to, unless told otherwise: the default of `serve`.
pub const URL_DEFAULT: &str = "http://127.0.0.1:7425";

/// Control plane for continuous delivery and automated operations: events in, sandboxed plugins, results out.
#[derive(Debug, Parser)]
#[command(name = "pilothouse", version, max_term_width = 100, after_help = EXIT_HELP)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_HELP: &str = "Exit codes: 0 done · 1 failed · 2 wrong usage · 3 wrong configuration · 4 host not reached · \
5 refused by the host · 6 the host failed · 7 data folder not usable · 8 address not usable · \
9 a program is missing · 130 interrupted";

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Address of the host.
    #[arg(long, global = true, env = "PILOTHOUSE_URL", default_value = URL_DEFAULT, value_name = "URL")]
    url: String,
    /// Token to sign in with. Better in the environment, where other users do not see it.
    #[arg(long, global = true, env = "PILOTHOUSE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// Form of the output: `table` for people, `json` for programs; for evaluations `junit` and `markdown` too.
    #[arg(long, global = true, value_enum, default_value_t = Output::Table, value_name = "FORM")]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the host.
    Serve(serve::ServeCommand),
    /// See all of it at work: a version delivered by real tools, and what happens when something goes wrong.
    Demo(crate::demo::DemoCommand),
    /// Send events, and see what became of them.
    #[command(subcommand)]
    Event(event::EventCommand),
    /// See what is owed to plugins, and redrive dead letters.
    #[command(subcommand)]
    Delivery(delivery::DeliveryCommand),
    /// See who was asked to do what, and who answered.
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Create, see and delete projects.
    #[command(subcommand)]
    Project(project::ProjectCommand),
    /// See the stages of a project.
    #[command(subcommand)]
    Stage(project::StageCommand),
    /// Create, see and delete the services of a project.
    #[command(subcommand)]
    Service(project::ServiceCommand),
    /// Add, print, list and remove the files of a project.
    #[command(subcommand)]
    Resource(resource::ResourceCommand),
    /// Trigger sequences, see what they wait for, pause, resume, abort and run them once more.
    #[command(subcommand)]
    Sequence(sequence::SequenceCommand),
    /// Judge values by an SLO file, without a host.
    Evaluate(evaluate::EvaluateCommand),
    /// Trigger evaluations, see what they came to, and declare one invalid.
    #[command(subcommand)]
    Evaluation(evaluation::EvaluationCommand),
    /// Take over SLOs of other formats.
    #[command(subcommand)]
    Slo(slo::SloCommand),
    /// See the problems that monitoring found, and what was done about them.
    #[command(subcommand)]
    Problem(problem::ProblemCommand),
    /// See what came of a test or an evaluation: figures, curves, verdict, and the time before.
    #[command(subcommand)]
    Report(report::ReportCommand),
    /// See whether the tools have what a project's files say, and bring them in step.
    #[command(subcommand)]
    Monitoring(monitoring::MonitoringCommand),
    /// See what waits for people, approve and decline.
    #[command(subcommand)]
    Approval(approval::ApprovalCommand),
    /// See who executes which task, and register outside executors.
    #[command(subcommand)]
    Executor(executor::ExecutorCommand),
    /// Take requests of tools that speak no CloudEvents.
    #[command(subcommand)]
    Inbound(inbound::InboundCommand),
    /// Store and remove the texts that connections and upstreams sign in with.
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    /// Inspect, install, run and write plugins.
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// See and test the outside endpoints of the configuration.
    #[command(subcommand)]
    Connection(connection::ConnectionCommand),
    /// Make and revoke tokens.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Copy everything that the host keeps, while it works.
    Backup(backup::BackupCommand),
    /// Put a backup into a new data folder; the host must not run.
    Restore(backup::RestoreCommand),
    /// Check the files of projects and of inbound routes, without a host or those that it has.
    Validate(validate::ValidateCommand),
    /// Check the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Look for what is wrong with this machine, the configuration and the host.
    Doctor(doctor::DoctorCommand),
    /// Print a completion script for a shell.
    Completions(complete::CompletionsCommand),
    /// The service that the demo deploys.
    #[command(hide = true)]
    DemoService(crate::demo::ServiceCommand),
    /// Supervise one job; the host starts this by itself.
    #[command(hide = true)]
    Supervise {
        /// The specification of the job.
        spec: std::path::PathBuf,
    },
}

impl Command {
    /// Tells whether a command's result is an evaluation, which has more forms.
    fn gives_evaluations(&self) -> bool {
        match self {
            Self::Evaluate(_) => true,
            Self::Evaluation(command) => command.gives_evaluations(),
            _ => false,
        }
    }
}

/// Runs the program: parses its arguments, does what they say, prints an error once.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Supervise { spec } = &cli.command {
        // Before any thread is started: a supervisor sets limits and a session for the whole process.
        return pilothouse_runtime::job::supervise(spec);
    }
    let mut terminal = Terminal::of_process(cli.global.output.format());
    let result = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(cli, &mut terminal)),
        Err(error) => Err(CliError::new(Exit::Failed, "cannot start threads").caused_by(&error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(code) = error.of_verdict() {
                return code.into();
            }
            if error.exit() != Exit::OutputClosed {
                terminal.error(&error.to_string());
            }
            error.exit().into()
        }
    }
}

/// Runs one command.
///
/// # Errors
/// What failed, why, and what to do next.
pub async fn run(cli: Cli, terminal: &mut Terminal) -> Result<(), CliError> {
    let Cli { global, command } = cli;
    if matches!(global.output, Output::Junit | Output::Markdown) && !command.gives_evaluations() {
        let message =
            "`--output junit` and `--output markdown` are for evaluations; this command has `table` and `json`";
        return Err(CliError::new(Exit::Usage, message));
    }
    match command {
        Command::Serve(command) => command.run(terminal).await,
        Command::Demo(command) => command.run().await,
        Command::Event(command) => command.run(&global, terminal).await,
        Command::Delivery(command) => command.run(&global, terminal).await,
        Command::Task(command) => command.run(&global, terminal).await,
        Command::Project(command) => command.run(&global, terminal).await,
        Command::Stage(command) => command.run(&global, terminal).await,
        Command::Service(command) => command.run(&global, terminal).await,
        Command::Resource(command) => command.run(&global, terminal).await,
        Command::Sequence(command) => command.run(&global, terminal).await,
        Command::Evaluate(command) => command.run(&global, terminal),
        Command::Evaluation(command) => command.run(&global, terminal).await,
        Command::Slo(command) => command.run(terminal),
        Command::Problem(command) => command.run(&global, terminal).await,
        Command::Report(command) => command.run(&global, terminal).await,
        Command::Monitoring(command) => command.run(&global, terminal).await,
        Command::Approval(command) => command.run(&global, terminal).await,
        Command::Executor(command) => command.run(&global, terminal).await,
        Command::Inbound(command) => command.run(&global, terminal).await,
        Command::Secret(command) => command.run(&global, terminal).await,
        Command::Plugin(command) => command.run(&global, terminal).await,
        Command::Connection(command) => command.run(&global, terminal).await,
        Command::Token(command) => command.run(&global, terminal).await,
        Command::Backup(command) => command.run(&global, terminal).await,
        Command::Restore(command) => command.run(terminal),
        Command::Validate(command) => command.run(&global, terminal).await,
        Command::Config(command) => command.run(terminal),
        Command::Doctor(command) => command.run(&global, terminal).await,
        Command::Completions(command) => command.run(terminal),
        Command::DemoService(command) => command.run().await,
        Command::Supervise { .. } => Err(CliError::new(Exit::Usage, "`supervise` is started by the host only")),
    }
}
