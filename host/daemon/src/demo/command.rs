//! The command line as a person uses it: `pilothouse …` in a process of its own, with what it prints shown in the demo.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::error::DemoError;
use super::stage::Stage;

/// A command that shows something as it happens.
pub(super) struct Watch {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    printing: JoinHandle<()>,
}

/// What a command came to.
pub(super) struct Ended {
    /// Its exit code.
    pub(super) code: i32,
    /// The lines that it printed.
    pub(super) lines: Vec<String>,
}

/// Returns the program's own path.
///
/// # Errors
/// The system does not say.
pub(super) fn program() -> Result<std::path::PathBuf, DemoError> {
    std::env::current_exe().map_err(DemoError::io("cannot find the path of this program"))
}

/// Takes from a command what a person has set for a host of their own.
pub(super) fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PILOTHOUSE_") {
            command.env_remove(name);
        }
    }
}

/// Runs a command with a token and shows it; returns what it printed.
///
/// # Errors
/// It failed; the error has its words.
pub(super) async fn run(stage: &Stage, token: &str, arguments: &[&str]) -> Result<String, DemoError> {
    let name = format!("pilothouse {}", shown(arguments));
    stage.printer.note(&format!("$ {name}"));
    let output = command(stage, token, arguments)?.output().await.map_err(DemoError::io(&name))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(DemoError::Wrong(format!("`{name}` failed: {}", said.trim())));
    }
    Ok(text)
}

/// Runs a command and shows what it prints too.
///
/// # Errors
/// It failed; the error has its words.
pub(super) async fn show(stage: &Stage, token: &str, arguments: &[&str]) -> Result<String, DemoError> {
    let text = run(stage, token, arguments).await?;
    for line in text.lines() {
        stage.printer.note(&format!("  │ {line}"));
    }
    Ok(text)
}

/// Starts a command whose lines are shown as they come.
///
/// # Errors
/// It cannot be started.
pub(super) fn watch(stage: &Stage, token: &str, arguments: &[&str]) -> Result<Watch, DemoError> {
    let name = format!("pilothouse {}", shown(arguments));
    stage.printer.note(&format!("$ {name}"));
    let mut command = command(stage, token, arguments)?;
    let mut child = command.stderr(Stdio::null()).spawn().map_err(DemoError::io(&name))?;
    let printer = Arc::clone(&stage.printer);
    let stdout = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
    let lines = Arc::new(Mutex::new(Vec::new()));
    let shown = Arc::clone(&lines);
    let printing = tokio::spawn(async move {
        let Some(mut stdout) = stdout else { return };
        while let Ok(Some(line)) = stdout.next_line().await {
            printer.note(&format!("  │ {}", clock(&line)));
            shown.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    Ok(Watch { name, child, lines, printing })
}

impl Watch {
    /// Tells whether it has printed a line with this text.
    pub(super) fn has_shown(&self, text: &str) -> bool {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|line| line.contains(text))
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// It was killed.
    pub(super) async fn ended(mut self) -> Result<Ended, DemoError> {
        let status = self.child.wait().await.map_err(DemoError::io(&self.name))?;
        let _ = self.printing.await;
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let killed = || DemoError::Wrong(format!("`{}` was killed", self.name));
        Ok(Ended { code: status.code().ok_or_else(killed)?, lines })
    }
}

fn command(stage: &Stage, token: &str, arguments: &[&str]) -> Result<Command, DemoError> {
    let mut command = Command::new(program()?);
    without_settings(&mut command);
    command.args(arguments).current_dir(stage.folder.join("project"));
    command.env("PILOTHOUSE_URL", stage.api()?.base()).env("PILOTHOUSE_TOKEN", token);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    Ok(command)
}

/// Writes arguments as a person types them.
fn shown(arguments: &[&str]) -> String {
    let quoted = |word: &&str| if word.contains(' ') { format!("\"{word}\"") } else { (*word).to_owned() };
    arguments.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Shortens the instant that a line of a timeline begins with to a clock's time.
fn clock(line: &str) -> &str {
    match (line.as_bytes().get(10), line.as_bytes().get(23), line.get(11..)) {
        (Some(b'T'), Some(b'Z'), Some(rest)) => rest,
        // A line without an instant stands below one with it.
        (Some(b' '), Some(b' '), Some(rest)) => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_is_typed_and_a_timeline_by_the_clock() {
        assert_eq!(
            shown(&["approval", "approve", "--comment", "looks good"]),
            "approval approve --comment \"looks good\""
        );
        assert_eq!(clock("2026-01-05T10:00:00.123Z    test triggered"), "10:00:00.123Z    test triggered");
        assert_eq!(clock("                            … people decide"), "                 … people decide");
        assert_eq!(clock("waits for a person"), "waits for a person");
    }
}
