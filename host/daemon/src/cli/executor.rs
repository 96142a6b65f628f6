//! `pilothouse executor …`: who executes which task, and outside executors.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use pilothouse_core::filter::DataMatch;
use pilothouse_core::grant::TaskGrant;
use pilothouse_core::name::TaskName;
use pilothouse_core::quantity::Span;
use pilothouse_core::scope::Scope;
use serde_json::Value;

use super::api::{Api, encode};
use super::project::confirm;
use super::terminal::{Format, cell};
use super::{CliError, Global, Terminal};
use crate::http::executors::ExecutorBody;

#[derive(Debug, Subcommand)]
pub(super) enum ExecutorCommand {
    /// List the executors: plugins and outside clients, what they execute, and how they are.
    List,
    /// Register an outside executor: a client of the API that does a task's work, without a plugin.
    Register(RegisterCommand),
    /// Remove an outside executor. What it has not answered is errored.
    Remove {
        /// The executor's name.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct RegisterCommand {
    /// The executor's name.
    name: String,
    /// A task that it executes. May be repeated.
    #[arg(long = "task", required = true, value_name = "TASK")]
    tasks: Vec<TaskName>,
    /// Only triggers whose data has this value there, such as `/action/action=scale`. May be repeated.
    #[arg(long = "match", value_name = "POINTER=VALUE", value_parser = pointer)]
    matches: Vec<(String, String)>,
    /// Longest time from the trigger to the answer, such as 30m.
    #[arg(long, value_name = "TIME")]
    finish_timeout: Option<Span>,
    /// Only for this project. May be repeated.
    #[arg(long = "project", value_name = "PROJECT")]
    projects: Vec<String>,
    /// Only for this stage. May be repeated.
    #[arg(long = "stage", value_name = "STAGE")]
    stages: Vec<String>,
    /// Only for this service. May be repeated.
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<String>,
    /// The connection that its tasks are sent to, as CloudEvents; it fetches them itself unless said otherwise.
    #[arg(long, value_name = "CONNECTION")]
    push: Option<String>,
    /// Name of the token that it signs in with; the present one unless said otherwise.
    #[arg(long = "for-token", value_name = "NAME")]
    for_token: Option<String>,
}

fn pointer(text: &str) -> Result<(String, String), String> {
    let (pointer, value) = text.split_once('=').ok_or("write POINTER=VALUE, such as /action/action=scale")?;
    Ok((pointer.to_owned(), value.to_owned()))
}

impl ExecutorCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let api = Api::new(global)?;
        match self {
            Self::List => {
                let mut answer = api.get("/v1/executors", &[]).await?;
                if terminal.format == Format::Table {
                    for_people(&mut answer);
                }
                let columns = [
                    ("NAME", "/name"),
                    ("KIND", "/kind"),
                    ("TASKS", "/tasks"),
                    ("LAST SEEN", "/last-seen"),
                    ("WAITING", "/waiting"),
                    ("OPEN", "/open"),
                    ("LAST ERROR", "/last-error"),
                ];
                terminal.rows(&answer, &columns)
            }
            Self::Register(command) => {
                let path = format!("/v1/executors/{}", encode(&command.name));
                let (name, push) = (command.name.clone(), command.push.clone());
                api.put(&path, &command.body()).await?;
                terminal.note(&match &push {
                    Some(connection) => {
                        format!("`{name}` is sent its tasks through the connection `{connection}` from now on")
                    }
                    None => format!("`{name}` is handed its tasks from now on: POST {path}/lease"),
                });
                Ok(())
            }
            Self::Remove { name, yes } => {
                confirm(terminal, yes, &format!("Remove the outside executor `{name}`?"))?;
                api.delete(&format!("/v1/executors/{}", encode(&name)), &[]).await?;
                terminal.note(&format!("`{name}` is gone"));
                Ok(())
            }
        }
    }
}

impl RegisterCommand {
    fn body(self) -> ExecutorBody {
        let mut data_match = DataMatch::default();
        for (pointer, value) in self.matches {
            data_match.0.entry(pointer).or_default().push(Value::String(value));
        }
        let grant = TaskGrant { data_match, finish_timeout: self.finish_timeout };
        let tasks: BTreeMap<TaskName, TaskGrant> = self.tasks.into_iter().map(|task| (task, grant.clone())).collect();
        let scope = Scope { projects: self.projects, stages: self.stages, services: self.services };
        ExecutorBody { tasks, scope, token: self.for_token, push: self.push }
    }
}

/// Writes the tasks of each executor as one text, and names who was never heard of.
fn for_people(answer: &mut Value) {
    for item in answer.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        let outside = item.get("kind").and_then(Value::as_str) == Some("outside");
        if outside && let Some(members) = item.as_object_mut() {
            members.entry("last-seen").or_insert_with(|| "never since the start".into());
        }
        let Some(tasks) = item.get_mut("tasks") else { continue };
        let text = |task: &Value| match task.get("match").map(|matches| cell(Some(matches))) {
            Some(matches) => format!("{} {matches}", cell(task.get("task"))),
            None => cell(task.get("task")),
        };
        let texts: Vec<String> = tasks.as_array().into_iter().flatten().map(text).collect();
        *tasks = texts.join(", ").into();
    }
}
