//! The recording of the demo that README shows: plays it, and writes what it prints with its times to `docs/demo.cast`
//! (asciicast v2, <https://docs.asciinema.org/manual/asciicast/v2/>).

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::guests;
use crate::setup::{self, Purpose};
use crate::shell::{self, cargo, command};
use crate::workspace::Workspace;

/// Where the recording lies.
const FILE: &str = "docs/demo.cast";
/// Size of the terminal, in characters.
const SIZE: (u32, u32) = (150, 45);
/// Longest pause when it is played, in seconds.
const PAUSE_MAX: u32 = 2;

/// Plays the demo and records it.
///
/// # Errors
/// A tool is missing, the build fails, or the demo fails.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, Purpose::Demo)?;
    guests::build_plugins(workspace)?;
    shell::run(cargo(workspace).args(["build", "--workspace", "--bin", "pilothouse"]))?;
    let mut demo = command(workspace, workspace.target().join("debug/pilothouse"));
    demo.args(["demo", "--plain"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let begun = Instant::now();
    let mut playing = demo.spawn().context("failed to start `pilothouse demo`")?;
    let output = playing.stdout.take().context("the demo has no output")?;
    let (width, height) = SIZE;
    let mut cast = format!(
        "{{\"version\":2,\"width\":{width},\"height\":{height},\"idle_time_limit\":{PAUSE_MAX},\"title\":\"pilothouse demo\"}}\n"
    );
    for line in BufReader::new(output).lines() {
        let line = line.context("the demo's output breaks off")?;
        println!("{line}");
        let seconds = begun.elapsed().as_secs_f64();
        // Writing to a string does not fail.
        let _ = writeln!(cast, "[{seconds:.3},\"o\",{}]", quoted(&format!("{line}\r\n")));
    }
    ensure!(playing.wait()?.success(), "the demo failed; nothing was recorded");
    let file = workspace.root().join(FILE);
    fs::write(&file, cast).with_context(|| format!("failed to write `{}`", file.display()))?;
    println!("record: {FILE}; play it with `asciinema play {FILE}`");
    Ok(())
}

/// Writes a text as a JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\r' => out.push_str("\\r"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_as_json() {
        assert_eq!(quoted("a \"b\" \\ \u{1b}[1m✓\r\n"), r#""a \"b\" \\ \u001b[1m✓\r\n""#);
    }
}
