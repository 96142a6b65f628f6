//! The folder in which the demo plays: the host's configuration, Prometheus' configuration, and what they read.
//!
//! The job template and the events are those of `examples/`, with this machine's addresses filled in.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use toml::Table;

use super::error::DemoError;
use super::peers::JMeter;

/// The configuration that operators start from.
const EXAMPLE_CONFIG: &str = include_str!("../../../../examples/config/pilothouse.toml");
/// The starter that Debian's JMeter needs.
const JMETER_STARTER: &str = include_str!("../../../../examples/jmeter/JmeterStarter.java");
/// The test plan of the sample service.
pub(super) const SCRIPT: &str = include_str!("../../../../examples/projects/shop/services/carts/jmeter/load.jmx");
/// How much load there is.
pub(super) const WORKLOAD: &str =
    include_str!("../../../../examples/projects/shop/services/carts/jmeter/jmeter.conf.yaml");
/// The example project's files, but for those of its service.
pub(super) const PROJECT: [(&str, &str); 6] = [
    ("shipyard.yaml", include_str!("../../../../examples/projects/shop/shipyard.yaml")),
    ("jobs.yaml", include_str!("../../../../examples/projects/shop/jobs.yaml")),
    ("inventory.yaml", include_str!("../../../../examples/projects/shop/inventory.yaml")),
    ("deploy.yaml", include_str!("../../../../examples/projects/shop/deploy.yaml")),
    ("rollback.yaml", include_str!("../../../../examples/projects/shop/rollback.yaml")),
    ("heal.yaml", include_str!("../../../../examples/projects/shop/heal.yaml")),
];
/// Where the indicators of the sample service come from.
pub(super) const SLI: &str = include_str!("../../../../examples/projects/shop/services/carts/prometheus/sli.yaml");
/// What is good enough for it.
pub(super) const SLO: &str = include_str!("../../../../examples/projects/shop/services/carts/slo.yaml");
/// What is done about its problems.
pub(super) const REMEDIATION: &str = include_str!("../../../../examples/projects/shop/services/carts/remediation.yaml");
/// What `quality-gate` is granted.
pub(super) const QUALITY_GATE_GRANTS: &str = include_str!("../../../../examples/grants/quality-gate.toml");
/// What `grafana` is granted.
pub(super) const GRAFANA_GRANTS: &str = include_str!("../../../../examples/grants/grafana.toml");
/// What `remediation` is granted.
pub(super) const REMEDIATION_GRANTS: &str = include_str!("../../../../examples/grants/remediation.toml");
/// What `jmeter` is granted.
pub(super) const JMETER_GRANTS: &str = include_str!("../../../../examples/grants/jmeter.toml");
/// What `prometheus` is granted.
pub(super) const PROMETHEUS_GRANTS: &str = include_str!("../../../../examples/grants/prometheus.toml");
/// What `job` is granted.
pub(super) const JOB_GRANTS: &str = include_str!("../../../../examples/grants/job.toml");
/// What `approval` is granted.
pub(super) const APPROVAL_GRANTS: &str = include_str!("../../../../examples/grants/approval.toml");
/// What `slack` is granted.
pub(super) const SLACK_GRANTS: &str = include_str!("../../../../examples/grants/slack.toml");

/// The heap of a load generator with five users; a JVM takes a share of the whole machine unless told otherwise.
const JMETER_HEAP: &str = "-Xmx256m";

/// The demo's folder. A temporary one is removed when this is dropped; one that was asked for stays.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl Folder {
    /// Makes the folder: at `path`, where there must be nothing yet, or else a temporary one.
    ///
    /// # Errors
    /// It cannot be made, or `path` is not empty.
    pub(super) fn create(path: Option<&Path>) -> Result<Self, DemoError> {
        let folder = match path {
            None => {
                let temporary = tempfile::Builder::new().prefix("pilothouse-demo-").tempdir();
                let temporary = temporary.map_err(DemoError::io("cannot make a temporary folder"))?;
                Self { path: temporary.path().to_owned(), temporary: Some(temporary) }
            }
            Some(path) => {
                let shown = path.display();
                if std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
                    return Err(DemoError::Wrong(format!(
                        "the folder `{shown}` is not empty; name a new one with --dir"
                    )));
                }
                make_folder(path)?;
                let path = path.canonicalize().map_err(DemoError::io(format!("cannot use `{shown}`")))?;
                Self { path, temporary: None }
            }
        };
        for name in ["targets", "rules", "prometheus", "alertmanager", "units", "git", "project"] {
            make_folder(&folder.path.join(name))?;
        }
        Ok(folder)
    }

    /// Returns the path of something in the folder.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Returns the path of the folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes a temporary folder; one that was asked for stays.
    ///
    /// # Errors
    /// Something in it cannot be removed.
    pub(super) fn close(self) -> Result<(), DemoError> {
        match self.temporary {
            Some(temporary) => temporary.close().map_err(DemoError::io("cannot remove the temporary folder")),
            None => Ok(()),
        }
    }
}

fn make_folder(path: &Path) -> Result<(), DemoError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(DemoError::io(format!("cannot make the folder `{}`", path.display())))
}

/// Writes a file that only its owner can read.
///
/// # Errors
/// It cannot be written.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), DemoError> {
    let file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(DemoError::io(format!("cannot write `{}`", path.display())))
}

/// Writes the configuration of Prometheus: it scrapes each second, and takes targets and rules from the folders that
/// the plugin writes to.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write_prometheus_config(folder: &Folder, alertmanager: Option<SocketAddr>) -> Result<PathBuf, DemoError> {
    let quoted = |name: &str| Value::from(folder.join(name).display().to_string()).to_string();
    let alertmanager = alertmanager.map(|address| format!("'{address}'")).unwrap_or_default();
    let text = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
         alerting: {{ alertmanagers: [{{ static_configs: [{{ targets: [{alertmanager}] }}] }}] }}\n\
         rule_files: [{}]\n\
         scrape_configs:\n\
         - job_name: pilothouse\n  \
           file_sd_configs: [{{ files: [{}], refresh_interval: 1s }}]\n",
        quoted("rules/*.yml"),
        quoted("targets/*.json"),
    );
    let path = folder.join("prometheus.yml");
    write_private(&path, &text)?;
    Ok(path)
}

/// Where the host finds its peers.
pub(super) struct Peers<'a> {
    /// Where the host listens.
    pub(super) listen: SocketAddr,
    /// Address of Prometheus.
    pub(super) prometheus: &'a str,
    /// Address of Grafana.
    pub(super) grafana: &'a str,
    /// Address of Slack's webhook: a secret.
    pub(super) slack: &'a str,
    /// How JMeter is started.
    pub(super) jmeter: &'a JMeter,
    /// Address of the machine's service manager.
    pub(super) manager: &'a str,
    /// Address of the service in each stage.
    pub(super) services: &'a BTreeMap<String, String>,
}

/// Writes the host's configuration, and returns its path.
///
/// # Errors
/// A file cannot be written.
pub(super) fn write_host_config(folder: &Folder, peers: &Peers<'_>) -> Result<PathBuf, DemoError> {
    let token = folder.join("grafana-token");
    write_private(&token, super::grafana_stand_in::TOKEN)?;
    let webhook = folder.join("slack-webhook");
    write_private(&webhook, peers.slack)?;
    let starter = folder.join("JmeterStarter.java");
    write_private(&starter, JMETER_STARTER)?;
    let text = |path: &Path| toml::Value::from(path.display().to_string());

    let mut config = Table::new();
    config.insert("listen".to_owned(), peers.listen.to_string().into());
    config.insert("data-dir".to_owned(), text(&folder.join("data")));
    config.insert("drain-timeout".to_owned(), "5s".into());
    let connection = |key: &str, value: toml::Value| table([(key, value), ("auth", "none".into())]);
    config.insert(
        "connections".to_owned(),
        table([
            ("prometheus", connection("url", peers.prometheus.into())),
            ("slack-releases", connection("url-file", text(&webhook))),
            (
                "grafana",
                table([
                    ("url", peers.grafana.into()),
                    ("auth", "bearer".into()),
                    ("credential", table([("file", text(&token))])),
                ]),
            ),
        ]),
    );
    config.insert(
        "outputs".to_owned(),
        table([
            ("prometheus-targets", table([("path", text(&folder.join("targets")))])),
            ("prometheus-rules", table([("path", text(&folder.join("rules")))])),
        ]),
    );
    let templates = [("jmeter", job_template(peers.jmeter, &starter)?), ("ansible", ansible_template(folder, peers))];
    config.insert("jobs".to_owned(), table(templates));
    let path = folder.join("pilothouse.toml");
    write_private(&path, &config.to_string())?;
    Ok(path)
}

fn table<const N: usize>(entries: [(&str, toml::Value); N]) -> toml::Value {
    toml::Value::Table(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Takes the job template of the examples, narrows it to this machine, and names the JMeter that is here.
fn job_template(jmeter: &JMeter, starter: &Path) -> Result<toml::Value, DemoError> {
    let wrong = |_| DemoError::Wrong("examples/config/pilothouse.toml is not TOML".to_owned());
    let mut example: Table = EXAMPLE_CONFIG.parse().map_err(wrong)?;
    let template = example.get_mut("jobs").and_then(|jobs| jobs.get_mut("jmeter")).and_then(toml::Value::as_table_mut);
    let missing = || DemoError::Wrong("examples/config/pilothouse.toml has no [jobs.jmeter]".to_owned());
    let template = template.ok_or_else(missing)?;
    if let Some(server) = template.get_mut("parameters").and_then(|it| it.get_mut("SERVER_URL")?.as_table_mut()) {
        server.insert("pattern".to_owned(), r"127\.0\.0\.1".into());
    }
    let program = jmeter.program().display().to_string();
    let mut environment = Table::new();
    match jmeter {
        JMeter::Debian { home, .. } => {
            let mut arguments: Vec<toml::Value> = [
                JMETER_HEAP.to_owned(),
                format!("-Djmeter.home={home}"),
                "-cp".to_owned(),
                format!("{home}/lib/*:{home}/lib/ext/*:{home}/bin/ApacheJMeter.jar"),
                starter.display().to_string(),
            ]
            .map(toml::Value::from)
            .into();
            arguments.extend(template.get("arguments").and_then(toml::Value::as_array).into_iter().flatten().cloned());
            template.insert("arguments".to_owned(), arguments.into());
        }
        JMeter::Own { .. } => {
            // Its start script looks for Java itself, where this shell finds it.
            environment.insert("HEAP".to_owned(), JMETER_HEAP.into());
            for name in ["PATH", "JAVA_HOME"] {
                if let Some(value) = std::env::var(name).ok().filter(|value| !value.contains(['{', '}'])) {
                    environment.insert(name.to_owned(), value.into());
                }
            }
        }
    }
    template.insert("program".to_owned(), program.into());
    template.insert("environment".to_owned(), toml::Value::Table(environment));
    Ok(toml::Value::Table(template.clone()))
}

/// Makes the template with which playbooks run: the operator names the inventory, and where the units and their manager are.
fn ansible_template(folder: &Folder, peers: &Peers<'_>) -> toml::Value {
    // Braces would be a parameter's name.
    let plain = |text: &str| toml::Value::from(text.replace('{', "{{").replace('}', "}}"));
    let mut environment = Table::from_iter([
        ("ANSIBLE_HOME".to_owned(), "{scratch}/ansible".into()),
        ("ANSIBLE_LOCAL_TEMP".to_owned(), "{scratch}/tmp".into()),
        ("ANSIBLE_REMOTE_TEMP".to_owned(), "{scratch}/tmp".into()),
        ("ANSIBLE_NOCOLOR".to_owned(), "1".into()),
        ("UNITS".to_owned(), plain(&folder.join("units").display().to_string())),
        ("SERVICE_MANAGER".to_owned(), plain(peers.manager)),
    ]);
    for (stage, url) in peers.services {
        environment.insert(format!("{}_URL", stage.to_uppercase()), plain(url));
    }
    let arguments = ["--inventory", "inventory.yaml", "--extra-vars", "image={image}", "{playbook}"];
    let parameter = |pattern: &str, default: &str| table([("pattern", pattern.into()), ("default", default.into())]);
    table([
        ("program", "ansible-playbook".into()),
        ("arguments", arguments.map(toml::Value::from).to_vec().into()),
        ("artifacts", vec![toml::Value::from("result.json")].into()),
        ("environment", toml::Value::Table(environment)),
        (
            "parameters",
            table([
                ("image", parameter("[a-z0-9.:/-]{0,200}", "")),
                ("playbook", parameter(r"(deploy|rollback|heal)\.yaml", "deploy.yaml")),
            ]),
        ),
        ("files", table([("pattern", r"[a-z]+\.(yaml|json)".into())])),
        ("limits", table([("timeout", "3m".into())])),
    ])
}

/// Reads grants of the examples as the API takes them.
///
/// # Errors
/// They are not TOML, which a test rules out.
pub(super) fn example_grants(text: &str) -> Result<Value, DemoError> {
    toml::from_str(text).map_err(|_| DemoError::Wrong("example grants are not TOML".to_owned()))
}

#[cfg(test)]
mod tests {
    use crate::config::{Sources, load};

    use super::*;

    fn config(jmeter: &JMeter) -> crate::config::Config {
        let folder = Folder::create(None).unwrap();
        let peers = Peers {
            listen: ([127, 0, 0, 1], 1).into(),
            prometheus: "http://127.0.0.1:2",
            grafana: "http://127.0.0.1:6",
            slack: "http://127.0.0.1:3",
            jmeter,
            manager: "http://127.0.0.1:4",
            services: &BTreeMap::from([("hardening".to_owned(), "http://127.0.0.1:5".to_owned())]),
        };
        let path = write_host_config(&folder, &peers).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        load(&Sources { file: Some((path, text)), ..Sources::default() }).unwrap().config
    }

    #[test]
    fn the_configuration_is_one_that_the_host_takes() {
        let debian = JMeter::Debian { java: "/usr/bin/java".into(), home: "/usr/share/jmeter".to_owned() };
        let template = config(&debian).jobs.into_values().nth(1).unwrap();
        assert_eq!(template.program, "/usr/bin/java");
        assert!(template.arguments.iter().any(|it| it.ends_with("JmeterStarter.java")), "{:?}", template.arguments);
        let own = JMeter::Own { program: "/opt/jmeter/bin/jmeter".into() };
        assert_eq!(config(&own).jobs.into_values().nth(1).unwrap().environment["HEAP"], "-Xmx256m");
    }

    #[test]
    fn the_examples_can_be_read() {
        let more = [QUALITY_GATE_GRANTS, GRAFANA_GRANTS, REMEDIATION_GRANTS];
        for grants in
            [JMETER_GRANTS, PROMETHEUS_GRANTS, SLACK_GRANTS, JOB_GRANTS, APPROVAL_GRANTS].into_iter().chain(more)
        {
            let grants = example_grants(grants).unwrap();
            serde_json::from_value::<pilothouse_core::grant::Grants>(grants).unwrap();
        }
    }

    #[test]
    fn a_temporary_folder_leaves_nothing_and_a_named_one_stays() {
        let temporary = Folder::create(None).unwrap();
        let path = temporary.path().to_owned();
        temporary.close().unwrap();
        assert!(!path.exists());

        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("demo");
        Folder::create(Some(&path)).unwrap().close().unwrap();
        assert!(path.join("rules").is_dir());
        assert!(Folder::create(Some(&path)).unwrap_err().to_string().contains("not empty"));
    }
}
