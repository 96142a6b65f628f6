//! `pilothouse report …`: what came of a test or an evaluation, for people.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::api::{Api, encode};
use super::terminal::{Format, cell};
use super::{CliError, Exit, Global, Terminal};

#[derive(Debug, Subcommand)]
pub(super) enum ReportCommand {
    /// Show the report on a finished test or evaluation.
    Get {
        /// The id of the test or evaluation.
        id: String,
        /// Write the page to this file instead; `-` for standard output.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Open a report in the browser, by a link that needs no token until it expires.
    Open {
        /// The id of the test or evaluation.
        id: String,
        /// Only print the link.
        #[arg(long)]
        print: bool,
    },
}

impl ReportCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let api = Api::new(global)?;
        match self {
            Self::Get { id, html: None } => {
                let report = api.get(&path(&id, ""), &[]).await?;
                if terminal.format == Format::Json { terminal.json(&report) } else { show(report, terminal) }
            }
            Self::Get { id, html: Some(file) } => {
                let page = api.text(&path(&id, "/page")).await?;
                if file.as_os_str() == "-" {
                    return terminal.raw(page.as_bytes());
                }
                std::fs::write(&file, page).map_err(|error| {
                    CliError::new(Exit::Failed, format!("cannot write {}", file.display())).caused_by(&error)
                })?;
                terminal.note(&format!("the report is in {}", file.display()));
                Ok(())
            }
            Self::Open { id, print } => {
                let link = api.post(&path(&id, "/link"), &json!({})).await?;
                let url = cell(link.get("url"));
                if terminal.format == Format::Json {
                    return terminal.json(&link);
                }
                terminal.line(&url)?;
                if !print && let Err(error) = webbrowser::open(&url) {
                    terminal.note(&format!("no browser could be opened ({error}); open the link yourself"));
                }
                Ok(())
            }
        }
    }
}

fn path(id: &str, rest: &str) -> String {
    format!("/v1/reports/{}{rest}", encode(id))
}

/// Shows a report as text: what it is about, the verdict, and one line for each indicator.
fn show(mut report: Value, terminal: &mut Terminal) -> Result<(), CliError> {
    let indicators = report.get("indicators").cloned().unwrap_or_default();
    if let Some(members) = report.as_object_mut() {
        members.remove("indicators");
        for name in ["verdict", "test"] {
            if let Some(Value::Object(part)) = members.remove(name) {
                let told =
                    ["result", "score", "message"].into_iter().filter_map(|it| Some((it, part.get(it)?.clone())));
                let told: serde_json::Map<String, Value> = told.map(|(it, value)| (it.to_owned(), value)).collect();
                members.insert(name.to_owned(), Value::Object(told));
            }
        }
        if let Some(Value::Object(before)) = members.get_mut("before") {
            before.remove("test");
        }
    }
    terminal.members(&report)?;
    let columns = [
        ("INDICATOR", "/metric"),
        ("RESULT", "/status"),
        ("VALUE", "/value"),
        ("UNIT", "/unit"),
        ("BEFORE", "/before"),
        ("EXPLANATION", "/explanation"),
    ];
    terminal.rows(&json!({ "items": indicators }), &columns)
}
