//! `pilothouse demo` as a person runs it: a process of its own, real Prometheus, real JMeter, six acts.
//!
//! What the acts show is read from `--report`; that they are shown, from standard output. The guest `fragile` is the
//! plugin with a mistake of the fourth act.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Starts the demo with a folder for temporary files of its own.
fn demo(temporary: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pilothouse-host"));
    command.arg("demo").args(arguments).env("TMPDIR", temporary.path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Lists what is left of a demo: files in its folder for temporary files, and processes that name it.
fn left_behind(temporary: &Path) -> Vec<String> {
    let files = fs::read_dir(temporary).unwrap().map(|entry| entry.unwrap().path().display().to_string());
    let name = temporary.display().to_string();
    let names_it = |id: &String| {
        let read = |file: &str| fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
        let told = [read("cmdline"), read("environ")].concat();
        String::from_utf8_lossy(&told).contains(&name)
    };
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let processes = processes.filter(|id| id.bytes().all(|byte| byte.is_ascii_digit())).filter(names_it);
    files.chain(processes.map(|id| format!("process {id}"))).collect()
}

fn act<'a>(report: &'a Value, name: &str) -> &'a Value {
    let acts = report["acts"].as_array().unwrap();
    &acts.iter().find(|act| act["name"] == name).unwrap_or_else(|| panic!("no act {name} in {report:#}"))["facts"]
}

#[test]
fn the_demo_shows_every_act_and_leaves_nothing_behind() {
    let (temporary, reports) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = reports.path().join("report.json");
    let output = demo(&temporary, &["--report", file.to_str().unwrap()]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{shown}\n{errors}", output.status);
    let report: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(report["done"], true);

    let installed = &act(&report, "start")["installed"];
    assert_eq!(installed["prometheus"]["connections"]["prometheus"], "prometheus", "{installed}");
    assert!(shown.contains("is granted job template jmeter, state between deliveries"), "{shown}");

    let monitoring = act(&report, "configure");
    assert!(monitoring["rules"].as_array().unwrap().iter().any(|rule| rule == "response_time_p95"), "{monitoring}");
    assert_eq!(monitoring["targets"].as_array().unwrap().len(), 1, "{monitoring}");

    let test = act(&report, "test");
    assert_eq!(test["result"], "pass", "{test}");
    assert_eq!(test["requests"], 400, "five users, forty loops, two requests each: {test}");
    assert_eq!((&test["reports"], &test["finished"]), (&1.into(), &1.into()));
    assert!(test["indicators"].as_array().unwrap().iter().all(|it| it["success"] == true), "{test}");
    assert!(test["slack"].as_str().unwrap().contains("carts in shop/dev"), "{test}");
    assert!(shown.contains("│ ✅ Test passed: carts in shop/dev"), "{shown}");
    assert!(shown.contains("because of #"), "{shown}");

    let dead_letter = act(&report, "dead-letter");
    assert_eq!((&dead_letter["attempts"], &dead_letter["confirmed"]), (&2.into(), &1.into()), "{dead_letter}");
    assert_eq!(dead_letter["kind"], "trap", "{dead_letter}");

    let duplicate = act(&report, "duplicate");
    assert_eq!(duplicate["duplicate"], true);
    assert_eq!(duplicate["events-before"], duplicate["events-after"]);

    let crash = act(&report, "crash");
    assert_eq!((&crash["finished"], &crash["jobs-finished"], &crash["reports"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!((&crash["result"], &crash["requests"]), (&"pass".into(), &400.into()), "{crash}");
    assert!(crash["requests-without-host"].as_u64().unwrap() > 0, "{crash}");

    assert!(shown.trim_end().ends_with(" s") && shown.contains("\ndone in "), "{shown}");
    assert_eq!(left_behind(temporary.path()), Vec::<String>::new());
}

/// Reads what the demo shows until a line has `text`.
fn read_until(child: &mut Child, text: &str) -> String {
    let mut shown = String::new();
    for line in BufReader::new(child.stdout.as_mut().unwrap()).lines() {
        let line = line.unwrap();
        shown.push_str(&line);
        shown.push('\n');
        if line.contains(text) {
            return shown;
        }
    }
    panic!("the demo ended before it showed `{text}`:\n{shown}");
}

#[test]
fn a_demo_that_is_interrupted_in_the_middle_of_a_test_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = demo(&temporary, &[]).spawn().unwrap();
    read_until(&mut child, "test.started");
    assert_ne!(left_behind(temporary.path()), Vec::<String>::new());
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(left_behind(temporary.path()), Vec::<String>::new());
}

#[test]
fn a_demo_without_its_programs_says_what_to_install() {
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(&temporary, &[]).env("PATH", temporary.path()).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(9), "{errors}");
    assert!(errors.contains("apt-get install") && errors.contains("prometheus"), "{errors}");
    assert_eq!(left_behind(temporary.path()), Vec::<String>::new());
}
