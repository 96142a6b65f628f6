//! The programs that the demo needs and does not bring: Prometheus, Alertmanager, JMeter, Ansible and Git. Finds them, says what is
//! missing, and starts the first two.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::error::DemoError;
use super::process::Process;
use super::setup::{Folder, write_prometheus_config};

/// Where Debian's JMeter lies.
const DEBIAN_HOME: &str = "/usr/share/jmeter";

/// A JMeter on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JMeter {
    /// Debian's 2.13, which only starts with help: see `examples/jmeter/JmeterStarter.java`.
    Debian {
        /// The Java that runs it.
        java: PathBuf,
        /// Its folder.
        home: String,
    },
    /// A JMeter that starts by itself.
    Own {
        /// Its start script.
        program: PathBuf,
    },
}

impl JMeter {
    /// Returns the program that is started.
    pub(super) fn program(&self) -> &Path {
        match self {
            Self::Debian { java, .. } => java,
            Self::Own { program } => program,
        }
    }
}

/// What the demo found.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    /// Prometheus.
    pub(super) prometheus: PathBuf,
    /// Alertmanager.
    pub(super) alertmanager: PathBuf,
    /// JMeter.
    pub(super) jmeter: JMeter,
}

/// Finds the programs.
///
/// # Errors
/// [`DemoError::Missing`] with all that is missing and the command that installs it.
pub(super) fn find() -> Result<Programs, DemoError> {
    find_with(&on_path, &|path| Path::new(path).exists())
}

fn find_with(which: &dyn Fn(&str) -> Option<PathBuf>, exists: &dyn Fn(&str) -> bool) -> Result<Programs, DemoError> {
    let mut missing: Vec<(&str, &str)> = Vec::new();
    let prometheus = which("prometheus");
    if prometheus.is_none() {
        missing.push(("prometheus", "the metrics server that the plugin `prometheus` drives"));
    }
    let alertmanager = which("prometheus-alertmanager").or_else(|| which("alertmanager"));
    if alertmanager.is_none() {
        missing
            .push(("prometheus-alertmanager", "sends the alerts that the plugin `prometheus` turns into remediations"));
    }
    for (program, package, reason) in [
        ("ansible-playbook", "ansible-core", "deploys and rolls back, as a job of the plugin `job`"),
        ("git", "git", "serves the upstream of the project, and talks to it"),
    ] {
        if which(program).is_none() {
            missing.push((package, reason));
        }
    }
    let java = which("java");
    let script = which("jmeter");
    let is_debian = |script: &Path| script.canonicalize().is_ok_and(|script| script.starts_with(DEBIAN_HOME));
    let own = script.clone().filter(|script| !is_debian(script));
    if own.is_none() {
        if !exists(&format!("{DEBIAN_HOME}/bin/ApacheJMeter.jar")) {
            missing.push(("jmeter", "the load generator that the plugin `jmeter` runs (or JMeter 5 on PATH)"));
        }
        if !exists(&format!("{DEBIAN_HOME}/lib/ext/ApacheJMeter_http.jar")) {
            missing.push(("jmeter-http", "the HTTP sampler of Debian's JMeter"));
        }
        if which("javac").is_none() {
            missing.push(("default-jdk-headless", "the Java that JMeter runs on, with its compiler"));
        }
    }
    if java.is_none() && !missing.iter().any(|(package, _)| *package == "default-jdk-headless") {
        missing.push(("default-jdk-headless", "the Java that JMeter runs on"));
    }
    let jmeter = match (own, java) {
        (Some(program), Some(_)) => Some(JMeter::Own { program }),
        (None, Some(java)) => Some(JMeter::Debian { java, home: DEBIAN_HOME.to_owned() }),
        (_, None) => None,
    };
    match (prometheus, alertmanager, jmeter) {
        (Some(prometheus), Some(alertmanager), Some(jmeter)) if missing.is_empty() => {
            Ok(Programs { prometheus, alertmanager, jmeter })
        }
        _ => Err(DemoError::Missing(explain(&missing))),
    }
}

fn explain(missing: &[(&str, &str)]) -> String {
    let mut text = String::from("the demo drives real tools, and these are missing:\n");
    for (package, reason) in missing {
        text.push_str(&format!("  {package:<22} {reason}\n"));
    }
    let packages: Vec<&str> = missing.iter().map(|(package, _)| *package).collect();
    text.push_str("on Debian or Ubuntu, install them with\n  sudo apt-get install --no-install-recommends ");
    text.push_str(&packages.join(" "));
    text.push_str("\nelsewhere, install what the right column says and put it on PATH");
    text
}

/// Looks a program up on `PATH`.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// Returns an address on loopback that nobody uses now. A program that takes none of the kernel's choice needs it.
///
/// # Errors
/// There is none.
pub(super) fn free_address() -> Result<SocketAddr, DemoError> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(DemoError::io("no free port"))?;
    listener.local_addr().map_err(DemoError::io("no address"))
}

/// Starts Prometheus in the demo's folder.
///
/// # Errors
/// It cannot be started.
pub(super) fn start_prometheus(
    program: &Path,
    folder: &Folder,
    listen: SocketAddr,
    alertmanager: Option<SocketAddr>,
) -> Result<Process, DemoError> {
    let config = write_prometheus_config(folder, alertmanager)?;
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()));
    command.arg(format!("--web.listen-address={listen}"));
    // Without it, links have the name of the machine.
    command.arg(format!("--web.external-url=http://{listen}"));
    command.arg("--web.enable-lifecycle");
    Process::start("Prometheus", &mut command, &folder.join("prometheus.log"))
}

/// Starts Alertmanager with the configuration in the project's folder; `cluster` is where it would talk to others like it.
///
/// # Errors
/// It cannot be started.
pub(super) fn start_alertmanager(
    program: &Path,
    folder: &Folder,
    listen: Option<SocketAddr>,
    cluster: SocketAddr,
) -> Result<Process, DemoError> {
    let listen = listen.ok_or_else(|| DemoError::Wrong("Alertmanager has no address".to_owned()))?;
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", folder.join("project").join("alertmanager.yml").display()));
    command.arg(format!("--storage.path={}", folder.join("alertmanager").display()));
    command.arg(format!("--web.listen-address={listen}"));
    command.arg(format!("--cluster.listen-address={cluster}"));
    Process::start("Alertmanager", &mut command, &folder.join("alertmanager.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn which(here: &'static [&'static str]) -> impl Fn(&str) -> Option<PathBuf> {
        move |name| here.contains(&name).then(|| PathBuf::from("/nowhere").join(name))
    }

    #[test]
    fn all_that_is_missing_is_named_at_once_with_the_command_that_brings_it() {
        let error = find_with(&which(&[]), &|_| false).unwrap_err();
        let text = error.to_string();
        let command = "sudo apt-get install --no-install-recommends prometheus prometheus-alertmanager ansible-core git jmeter jmeter-http default-jdk-headless";
        assert!(text.contains(command), "{text}");
        assert_eq!(error.exit(), crate::cli::Exit::Missing);
    }

    #[test]
    fn a_jmeter_on_path_is_used_and_debians_only_without_one() {
        let own =
            find_with(&which(&["prometheus", "alertmanager", "java", "jmeter", "git", "ansible-playbook"]), &|_| true)
                .unwrap();
        assert_eq!(own.jmeter, JMeter::Own { program: "/nowhere/jmeter".into() });
        let debian = find_with(
            &which(&["prometheus", "prometheus-alertmanager", "java", "javac", "git", "ansible-playbook"]),
            &|_| true,
        )
        .unwrap();
        assert_eq!(debian.jmeter.program(), Path::new("/nowhere/java"));
    }
}
