//! `pilothouse doctor`: looks at everything that usually goes wrong, and says what to do about each.

use clap::Args;
use serde_json::Value;

use super::api::Api;
use super::config::ConfigSource;
use super::terminal::{Format, cell};
use super::{CliError, Exit, Global, Terminal};

#[derive(Debug, Args)]
pub(super) struct DoctorCommand {
    #[command(flatten)]
    source: ConfigSource,
}

/// One thing that was looked at.
#[derive(Clone, Debug, serde::Serialize)]
struct Finding {
    what: String,
    ok: bool,
    detail: String,
}

impl Finding {
    fn ok(what: &str, detail: impl Into<String>) -> Self {
        Self { what: what.to_owned(), ok: true, detail: detail.into() }
    }

    fn bad(what: &str, detail: impl Into<String>) -> Self {
        Self { what: what.to_owned(), ok: false, detail: detail.into() }
    }
}

impl DoctorCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let mut findings = self.local();
        findings.extend(remote(&Api::new(global)?, global).await);
        if terminal.format == Format::Json {
            terminal.json(&findings)?;
        } else {
            for finding in &findings {
                let mark = if finding.ok { "ok     " } else { "PROBLEM" };
                terminal.line(&format!("{mark}  {}: {}", finding.what, finding.detail))?;
            }
        }
        match findings.iter().filter(|finding| !finding.ok).count() {
            0 => Ok(()),
            1 => Err(CliError::new(Exit::Failed, "there is 1 problem")),
            count => Err(CliError::new(Exit::Failed, format!("there are {count} problems"))),
        }
    }

    /// What can be seen without the host.
    fn local(&self) -> Vec<Finding> {
        let loaded = match self.source.read() {
            Ok(loaded) => loaded,
            Err(error) => return vec![Finding::bad("configuration", error.to_string())],
        };
        let mut findings = vec![Finding::ok("configuration", "valid")];
        findings.extend(loaded.warnings.iter().map(|warning| Finding::bad("configuration", warning)));
        let config = loaded.config;
        // What the host's own store holds is seen by the host alone.
        for (name, connection) in config.connections.iter().filter(|(_, it)| it.stored_secret().is_none()) {
            if let Err(reason) = connection.resolve(&Default::default()) {
                findings.push(Finding::bad(
                    &format!("connection {name}"),
                    format!("{reason} (as this user, in this environment)"),
                ));
            }
        }
        for (name, output) in &config.outputs {
            if !output.path.is_dir() {
                findings.push(Finding::bad(
                    &format!("output {name}"),
                    format!("`{}` is not a folder", output.path.display()),
                ));
            }
        }
        let folder = &config.data_dir;
        findings.push(match std::fs::metadata(folder) {
            Ok(metadata) if metadata.is_dir() => Finding::ok("data folder", folder.display().to_string()),
            Ok(_) => Finding::bad("data folder", format!("`{}` is not a folder", folder.display())),
            Err(_) => Finding::ok(
                "data folder",
                format!("`{}` does not exist yet; the first start makes it", folder.display()),
            ),
        });
        findings
    }
}

/// What the host says of itself.
async fn remote(api: &Api, global: &Global) -> Vec<Finding> {
    let health = match api.get("/healthz", &[]).await {
        Ok(health) => health,
        Err(error) => return vec![Finding::bad("host", error.to_string().replace('\n', ";"))],
    };
    let mut findings =
        vec![Finding::ok("host", format!("{} answers, version {}", global.url, cell(health.get("version"))))];
    findings.push(match api.get("/readyz", &[]).await {
        Ok(_) => Finding::ok("log", "takes events"),
        Err(_) => Finding::bad("log", "refuses events; /readyz says why"),
    });
    match api.get("/v1/installations", &[]).await {
        Ok(installations) => {
            findings.push(Finding::ok("token", "is valid"));
            findings.extend(installed(&installations));
        }
        Err(error) => {
            findings.push(Finding::bad("token", error.to_string().replace('\n', ";")));
            return findings;
        }
    }
    let dead =
        api.get("/v1/deliveries", &[("state", Some("dead".to_owned())), ("limit", Some("500".to_owned()))]).await;
    match dead.map(|dead| dead.get("items").and_then(Value::as_array).map_or(0, Vec::len)) {
        Ok(0) => findings.push(Finding::ok("dead letters", "none")),
        Ok(count) => findings.push(Finding::bad(
            "dead letters",
            format!("{count} or more; `pilothouse delivery list --state dead` shows them"),
        )),
        Err(error) => findings.push(Finding::bad("dead letters", error.to_string().replace('\n', ";"))),
    }
    if let Ok(connections) = api.get("/v1/connections", &[]).await {
        for connection in connections.get("items").and_then(Value::as_array).into_iter().flatten() {
            if let Some(problem) = connection.get("problem").and_then(Value::as_str) {
                findings.push(Finding::bad("connection of the host", problem));
            }
        }
    }
    findings
}

fn installed(installations: &Value) -> Vec<Finding> {
    let items = installations.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        return vec![Finding::bad(
            "plugins",
            "none is installed, so no event goes anywhere; `pilothouse plugin install FILE`",
        )];
    }
    let look = |installation: &Value| {
        let name = format!("plugin {}", cell(installation.get("name")));
        match installation.get("state").and_then(Value::as_str) {
            Some("failed") => Finding::bad(&name, cell(installation.get("reason"))),
            _ if installation.get("missing").and_then(Value::as_array).is_some_and(|missing| !missing.is_empty()) => {
                Finding::bad(&name, format!("was not given: {}", cell(installation.get("missing"))))
            }
            state => Finding::ok(&name, state.unwrap_or_default()),
        }
    };
    items.iter().map(look).collect()
}
