//! The bench: measures what docs/performance.md records, and writes it as JSON. Run it with `cargo xtask bench`, which
//! builds the guests first; `bench --only ingest,sandbox` runs some of the sections.
//!
//! Never here: a measurement. Each section is a module.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command-line program talks to its terminal")]
#![expect(clippy::indexing_slicing, reason = "an index into JSON gives null where nothing is")]

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};

#[path = "../bench/bare.rs"]
mod bare;
#[path = "../bench/deliver.rs"]
mod deliver;
#[path = "../bench/disk.rs"]
mod disk;
#[path = "../bench/gate.rs"]
mod gate;
#[path = "../bench/hostile.rs"]
mod hostile;
#[path = "../bench/ingest.rs"]
mod ingest;
#[path = "../bench/large.rs"]
mod large;
#[path = "../bench/load.rs"]
mod load;
#[path = "../bench/paced.rs"]
mod paced;
#[path = "../bench/program.rs"]
mod program;
#[path = "../bench/report.rs"]
mod report;
#[path = "../bench/sandbox.rs"]
mod sandbox;
#[path = "../bench/scale.rs"]
mod scale;
#[path = "../bench/sequence.rs"]
mod sequence;
#[path = "../bench/stats.rs"]
mod stats;
#[path = "../bench/story.rs"]
mod story;

/// The sections, in the order in which they run.
const SECTIONS: [&str; 11] = [
    "sandbox",
    "ingest",
    "delivery",
    "scale",
    "large",
    "backlog",
    "hostile",
    "sequence",
    "sequence-latency",
    "gate",
    "story",
];

/// What was asked for.
struct Arguments {
    json: PathBuf,
    only: Vec<String>,
}

fn arguments() -> Result<Arguments> {
    let mut parsed = Arguments { json: pilothouse_tests::root().join("target/bench.json"), only: Vec::new() };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given.next().with_context(|| format!("`{name}` needs a value"))?;
        match name.as_str() {
            "--json" => parsed.json = value.into(),
            "--only" => parsed.only = value.split(',').map(str::to_owned).collect(),
            _ => bail!("unknown argument `{name}`; there are --json FILE and --only {}", SECTIONS.join(",")),
        }
    }
    if let Some(unknown) = parsed.only.iter().find(|only| !SECTIONS.contains(&only.as_str())) {
        bail!("there is no section `{unknown}`; there are {}", SECTIONS.join(", "));
    }
    Ok(parsed)
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    match run().await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            println!("error: {}", causes.join("\n  caused by: "));
            std::process::ExitCode::FAILURE
        }
    }
}

/// Runs the sections that were asked for; all of them, in their order, unless told otherwise.
async fn run() -> Result<()> {
    let arguments = arguments()?;
    // A second installation of the same provider changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if cfg!(debug_assertions) {
        println!("warning: this is not a release build; its figures mean nothing");
    }
    // On the disk of the repository, and not in /tmp, which is memory on many machines.
    let target = pilothouse_tests::root().join("target");
    std::fs::create_dir_all(&target)?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(target)?;
    let work = folder.path();
    let begun = Instant::now();
    let mut report = report::Report::new(work);
    for section in SECTIONS {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|only| only == section) {
            continue;
        }
        match section {
            "sandbox" => sandbox::run(&mut report).await,
            "ingest" => ingest::run(&mut report, work).await,
            "delivery" => deliver::run(&mut report, work).await,
            "scale" => scale::run(&mut report, work).await,
            "large" => large::store(&mut report, work).await,
            "backlog" => large::backlog(&mut report, work).await,
            "sequence" => sequence::run(&mut report, work).await,
            "sequence-latency" => sequence::latency(&mut report, work).await,
            "gate" => gate::run(&mut report, work).await,
            "story" => story::run(&mut report, work).await,
            _ => hostile::run(&mut report, work).await,
        }
        .with_context(|| format!("section `{section}`"))?;
    }
    report.write(&arguments.json)?;
    println!("{:.1} min", begun.elapsed().as_secs_f64() / 60.0);
    Ok(())
}
