//! The programs that the demo and the tests start, and where they come from.
//!
//! A program that is found is used, wherever it came from. Only what is missing is installed, and only as root on a
//! system with apt; otherwise it is named. Nothing is ever started or stopped here.

use std::path::Path;

use anyhow::{Result, bail};

use super::Purpose;
use crate::shell::{self, command};
use crate::workspace::Workspace;

/// What shows that a need is met.
#[derive(Clone, Copy, Debug)]
enum Proof {
    /// One of these programs is on `PATH`.
    Program(&'static [&'static str]),
    /// One of these files or folders exists.
    File(&'static [&'static str]),
    /// Python can import this module.
    PythonModule(&'static str),
}

/// A thing that has to be on the machine.
#[derive(Clone, Copy, Debug)]
struct Need {
    /// The first purpose that needs it; later ones include it.
    purpose: Purpose,
    proof: Proof,
    /// The Debian 12 package that brings it.
    package: &'static str,
    /// What it is for, for somebody who has to install it by hand.
    reason: &'static str,
}

const fn need(purpose: Purpose, proof: Proof, package: &'static str, reason: &'static str) -> Need {
    Need { purpose, proof, package, reason }
}

use Proof::{File, Program, PythonModule};
use Purpose::{Demo, Test};

/// Everything beyond the Rust toolchain, in the order in which people are told about it.
const NEEDS: [Need; 16] = [
    need(Demo, Program(&["prometheus"]), "prometheus", "the metrics server that the plugin `prometheus` drives"),
    need(Demo, Program(&["jmeter"]), "jmeter", "the load generator that the plugin `jmeter` runs"),
    // Debian packs JMeter's HTTP sampler apart from it; a JMeter from elsewhere has it inside.
    need(
        Demo,
        File(&["/usr/share/jmeter/lib/ext/ApacheJMeter_http.jar", "/opt/jmeter/lib/ext/ApacheJMeter_http.jar"]),
        "jmeter-http",
        "JMeter's HTTP sampler",
    ),
    // The compiler, because a one-file Java program mends Debian's JMeter 2.13 (see examples/jmeter).
    need(Demo, Program(&["javac"]), "default-jdk-headless", "the Java that JMeter runs on, with its compiler"),
    need(Demo, Program(&["ansible-playbook"]), "ansible-core", "deploys and rolls back, as a job of the plugin `job`"),
    need(
        Demo,
        Program(&["git"]),
        "git",
        "serves and clones the upstreams of projects, and lists the files that tidy reads",
    ),
    need(
        Demo,
        Program(&["prometheus-alertmanager", "alertmanager"]),
        "prometheus-alertmanager",
        "takes the alerts of generated rules",
    ),
    need(Test, Program(&["ssh-keygen"]), "openssh-client", "reaches the upstream of a project by SSH"),
    need(Test, Program(&["clang-19"]), "clang-19", "compiles the C guest"),
    need(Test, Program(&["wasm-ld-19"]), "lld-19", "links the C guest"),
    need(Test, File(&["/usr/lib/wasm32-wasi/libc.a"]), "wasi-libc", "the C guest's standard library"),
    need(
        Test,
        File(&["/usr/lib/llvm-19/lib/clang/19/lib/wasi", "/usr/lib/llvm-19/lib/clang/19/lib/wasm32-unknown-wasi"]),
        "libclang-rt-19-dev-wasm32",
        "the C guest's compiler runtime",
    ),
    need(Test, Program(&["node"]), "nodejs", "builds the JavaScript guest and runs the CloudEvents SDK"),
    need(Test, Program(&["npm"]), "npm", "fetches the JavaScript guest's toolchain"),
    need(Test, Program(&["python3"]), "python3", "builds the Python guest and runs the CloudEvents SDK"),
    need(Test, PythonModule("ensurepip"), "python3-venv", "makes a Python environment under target/"),
];

/// Installs the programs that `purpose` needs, with apt where this is root and apt is there.
///
/// # Errors
/// Something is missing: it may not be installed from here, or the installation did not bring it.
pub(super) fn install(workspace: &Workspace, purpose: Purpose) -> Result<()> {
    let missing = missing(workspace, purpose);
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if !may_install(workspace) {
        bail!("{}", explain(&missing));
    }
    println!("setup: installing {}", packages.join(" "));
    shell::run(apt(workspace).args(["update", "-qq"]))?;
    shell::run(apt(workspace).args(["install", "-y", "-qq", "--no-install-recommends"]).args(&packages))?;
    let still_missing = self::missing(workspace, purpose);
    if !still_missing.is_empty() {
        bail!("after the installation\n{}", explain(&still_missing));
    }
    Ok(())
}

/// Returns what `purpose` needs and this machine lacks.
fn missing(workspace: &Workspace, purpose: Purpose) -> Vec<Need> {
    NEEDS.into_iter().filter(|need| need.purpose <= purpose && !is_met(workspace, need.proof)).collect()
}

fn is_met(workspace: &Workspace, proof: Proof) -> bool {
    match proof {
        Program(names) => names.iter().any(|name| workspace.which(name).is_some()),
        File(paths) => paths.iter().any(|path| Path::new(path).exists()),
        PythonModule(module) => {
            shell::succeeds(command(workspace, "python3").arg("-c").arg(format!("import {module}")))
        }
    }
}

/// Tells whether packages may be installed without asking anybody: root, on a system with apt.
fn may_install(workspace: &Workspace) -> bool {
    let root = shell::output(command(workspace, "id").arg("-u")).is_ok_and(|id| id == "0");
    root && workspace.which("apt-get").is_some()
}

fn apt(workspace: &Workspace) -> std::process::Command {
    let mut apt = command(workspace, "apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

/// Returns what is missing, why it is needed, and the one command that brings all of it on Debian and its kin.
fn explain(missing: &[Need]) -> String {
    let mut text = String::from("these programs are missing:\n");
    for need in missing {
        text.push_str(&format!("  {:<26} {}\n", need.package, need.reason));
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    text.push_str("on Debian or Ubuntu, install them with\n  sudo apt-get install ");
    text.push_str(&packages.join(" "));
    text.push_str("\nelsewhere, install what the right column says and put it on PATH");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_at_once_with_the_command_that_brings_it() {
        let jmeter = need(Demo, Program(&["x"]), "jmeter", "runs load tests");
        let clang = need(Test, Program(&["y"]), "clang-19", "compiles C");
        let text = explain(&[jmeter, clang]);
        assert!(text.contains("runs load tests"));
        assert!(text.contains("sudo apt-get install jmeter clang-19"));
    }

    #[test]
    fn a_later_purpose_includes_an_earlier_one() {
        let workspace = Workspace::find().unwrap();
        assert!(missing(&workspace, Purpose::Build).is_empty());
        assert!(missing(&workspace, Demo).len() <= missing(&workspace, Test).len());
    }
}
