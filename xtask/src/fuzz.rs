//! Fuzzing: every parser of outside bytes, for some time each, over seeds that are kept in the repository.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::shell::{self, cargo};
use crate::workspace::Workspace;

/// Longest time that one input may take; what is slower is reported like a crash.
const INPUT_SECONDS_MAX: u32 = 10;
/// Largest input, in bytes: beyond the event's own limit the length decides, and shorter inputs find more.
const INPUT_BYTES_MAX: u32 = 65_536;

/// Runs `only`, or every target, for `seconds` each.
///
/// # Errors
/// `cargo-fuzz` is missing and cannot be installed, there is no such target, or a target found something.
pub(crate) fn run(workspace: &Workspace, seconds: u32, only: Option<&str>) -> Result<()> {
    install(workspace)?;
    let folder = workspace.root().join("tests/fuzz");
    let mut targets = targets(&folder.join("targets"))?;
    if let Some(only) = only {
        targets.retain(|target| target == only);
        if targets.is_empty() {
            bail!("there is no target `{only}` in tests/fuzz/targets");
        }
    }
    let mut found = Vec::new();
    for target in &targets {
        // What fuzzing adds is a matter of the machine; the seeds of the repository stay as they are.
        let corpus = workspace.target().join("fuzz-corpus").join(target);
        fs::create_dir_all(&corpus).with_context(|| format!("failed to make `{}`", corpus.display()))?;
        let (corpus, seeds) = (corpus.display().to_string(), format!("tests/fuzz/seeds/{target}"));
        let begun = Instant::now();
        let mut fuzz = cargo(workspace);
        // The sanitizers need a nightly compiler, and there is no unsafe code for them to watch.
        fuzz.args(["fuzz", "run", "--fuzz-dir", "tests/fuzz", "--sanitizer", "none", target, &corpus, &seeds, "--"]);
        fuzz.arg(format!("-max_total_time={seconds}"));
        fuzz.args([format!("-timeout={INPUT_SECONDS_MAX}"), format!("-max_len={INPUT_BYTES_MAX}")]);
        fuzz.args(["-print_final_stats=1", "-verbosity=0"]);
        // The option of coverage needs this on a stable compiler.
        fuzz.env("RUSTC_BOOTSTRAP", "1");
        let mut executed = None;
        let ran = shell::run_and_watch(&mut fuzz, |line| executed = executions(line).or(executed));
        let took = begun.elapsed();
        match (ran, executed) {
            (Ok(()), Some(executed)) => println!("fuzz: {target}: {executed} inputs, {}", minutes(took)),
            (Ok(()), None) => bail!("`{target}` printed no statistics"),
            (Err(error), _) => {
                println!("fuzz: {target}: {error}; its input is in tests/fuzz/artifacts/{target}");
                found.push(target.clone());
            }
        }
    }
    if let Some(first) = found.first() {
        let again =
            format!("cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none {first} tests/fuzz/artifacts/{first}/…");
        bail!("{} found something; again: RUSTC_BOOTSTRAP=1 {again}", found.join(", "));
    }
    println!("fuzz: {} targets found nothing", targets.len());
    Ok(())
}

fn install(workspace: &Workspace) -> Result<()> {
    if shell::succeeds(cargo(workspace).args(["fuzz", "--version"])) {
        return Ok(());
    }
    println!("fuzz: cargo-fuzz is missing and is installed now");
    shell::run(cargo(workspace).args(["install", "--locked", "cargo-fuzz"]))
        .context("cargo-fuzz could not be installed; with a network, `cargo install --locked cargo-fuzz` does it")
}

/// Returns the names of the targets, sorted.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("failed to list `{}`", folder.display()))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Reads libFuzzer's `stat::number_of_executed_units: 1234`.
fn executions(line: &str) -> Option<u64> {
    line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok()
}

fn minutes(time: Duration) -> String {
    format!("{:.1} min", time.as_secs_f64() / 60.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_seeds_and_a_function_of_its_name() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("tests/fuzz");
        let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let targets = targets(&root.join("targets")).unwrap();
        assert!(targets.len() > 10, "{targets:?}");
        for target in targets {
            let text = fs::read_to_string(root.join(format!("targets/{target}.rs"))).unwrap();
            assert!(text.contains(&format!("pilothouse_fuzz::{target}(bytes)")), "{target}");
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
            assert!(fs::read_dir(root.join("seeds").join(&target)).unwrap().count() > 0, "{target} has no seeds");
        }
    }

    #[test]
    fn the_number_of_inputs_is_read_from_the_statistics() {
        assert_eq!(executions("stat::number_of_executed_units: 1234"), Some(1_234));
        assert_eq!(executions("INFO: Seed: 12"), None);
    }
}
