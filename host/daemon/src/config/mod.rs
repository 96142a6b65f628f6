//! The configuration: one TOML file, environment variables `PILOTHOUSE_*` and flags, which win in this order.
//!
//! A key has one name in three spellings: `drain-timeout`, `PILOTHOUSE_DRAIN_TIMEOUT`, `--drain-timeout`; inside a
//! section `[retention] age`, `PILOTHOUSE_RETENTION_AGE`, `--retention-age`. The doc comments of the types below are the text of
//! `--help` and of the JSON Schema in `docs/schemas/config.json`, which a test keeps the same.
//!
//! Never here: secrets. An entry names the environment variable or the file that holds one.

mod connection;
mod lines;
mod load;
mod overlay;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use pilothouse_core::name::{ConnectionName, OutputName, TemplateName};
use pilothouse_core::quantity::{ByteSize, Span};
use pilothouse_runtime::job::JobTemplate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use connection::{
    AuthKind, ConnectionConfig, ConnectionError, Connections, Credential, ResolvedConnection, SecretTexts,
};
pub use load::{ConfigErrors, Loaded, Origin, Problem, Sources, load};
pub use overlay::Overrides;
pub use schema::json_schema;

/// Port on which the host listens unless told otherwise; not the port of any common tool.
pub const PORT_DEFAULT: u16 = 7425;

const fn seconds(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds))
}

const fn days(days: u64) -> Span {
    seconds(days * 86_400)
}

const fn mebibytes(count: u64) -> ByteSize {
    ByteSize(count << 20)
}

/// Everything that an operator can set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Address and port to listen on. Anything but loopback is reachable by others, who still need a token.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Folder of the database, installed plugins, jobs and the code cache; relative to the working folder. Created with access for the owner only.
    pub data_dir: PathBuf,
    /// Longest time that requests and deliveries in flight get to end when the host is told to stop.
    #[schemars(with = "String")]
    pub drain_timeout: Span,
    /// File that holds the key of stored secrets, as Base64 of 32 bytes; `secrets.key` in the data folder when absent, made at the first use. The environment variable `PILOTHOUSE_SECRETS_KEY` goes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets_key_file: Option<PathBuf>,
    /// Address at which people reach this host, such as `https://pilothouse.example.org`, for links to reports; `http://` and the address that it listens on when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// How long a link to a report opens it without a token.
    #[schemars(with = "String")]
    pub report_link_age: Span,
    /// How often the tools are compared with the files of all projects, so that hand edits are put back or reported without a commit; 0s means never.
    #[schemars(with = "String")]
    pub tools_check: Span,
    /// Form of the log on standard error: `text` for people, `json` for machines.
    pub log_format: LogFormat,
    /// Bounds of what clients may send.
    pub limits: Limits,
    /// How long events are kept. What is still owed to a delivery, a task or a run is never removed.
    pub retention: Retention,
    /// Where and how many plugins run at once.
    pub runtime: RuntimeSection,
    /// Highest limits that any installation gets, whatever its manifest asks for and its grants say.
    pub ceiling: Ceiling,
    /// What the host tells of itself beside `/metrics`.
    pub telemetry: TelemetrySection,
    /// Outside endpoints that plugins may be granted, by name.
    #[schemars(with = "BTreeMap<String, ConnectionConfig>")]
    pub connections: BTreeMap<ConnectionName, ConnectionConfig>,
    /// Programs that plugins may be granted to run, by name; see `docs/jobs.md`.
    #[schemars(with = "BTreeMap<String, serde_json::Map<String, serde_json::Value>>")]
    pub jobs: BTreeMap<TemplateName, JobTemplate>,
    /// Folders that plugins may be granted to write files to, by name.
    #[schemars(with = "BTreeMap<String, OutputConfig>")]
    pub outputs: BTreeMap<OutputName, OutputConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT_DEFAULT)),
            data_dir: PathBuf::from("pilothouse-data"),
            drain_timeout: seconds(30),
            secrets_key_file: None,
            public_url: None,
            report_link_age: days(30),
            tools_check: seconds(3_600),
            log_format: LogFormat::default(),
            limits: Limits::default(),
            retention: Retention::default(),
            runtime: RuntimeSection::default(),
            ceiling: Ceiling::default(),
            telemetry: TelemetrySection::default(),
            connections: BTreeMap::new(),
            jobs: BTreeMap::new(),
            outputs: BTreeMap::new(),
        }
    }
}

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One line per log event, for people.
    #[default]
    Text,
    /// One JSON object per line, for machines.
    Json,
}

/// Bounds of what clients may send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Limits {
    /// Largest single event, attributes and data together; from 64KiB, which CloudEvents demands, to 1MiB, which the log takes.
    #[schemars(with = "String")]
    pub event_size_max: ByteSize,
    /// Largest body of a batch, after decompression.
    #[schemars(with = "String")]
    pub batch_size_max: ByteSize,
    /// Most events in one batch; at most 1000.
    pub batch_events_max: u32,
    /// Largest component that can be uploaded; the sandbox takes at most 32MiB.
    #[schemars(with = "String")]
    pub plugin_size_max: ByteSize,
    /// Connections open at once; more wait to be accepted.
    pub connections_max: u32,
    /// Longest time for the headers of a request to arrive, and longest silence inside its body.
    #[schemars(with = "String")]
    pub header_timeout: Span,
    /// Longest time for the whole body of a request to arrive.
    #[schemars(with = "String")]
    pub body_timeout: Span,
    /// Requests per second that one token may send, averaged; bursts of twice as many pass. 0 means no limit.
    pub requests_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_size_max: mebibytes(1),
            batch_size_max: mebibytes(16),
            batch_events_max: 1_000,
            plugin_size_max: mebibytes(32),
            connections_max: 1_024,
            header_timeout: seconds(10),
            body_timeout: seconds(60),
            requests_per_second: 0,
        }
    }
}

/// Types that are kept longer: evaluations, which later ones are compared with, and what their reports are made of.
const LONG_KEPT: [&str; 4] = [
    "io.prometheus.test.reported.",
    "sh.keptn.event.evaluation.",
    "sh.keptn.event.get-sli.finished",
    "sh.keptn.event.test.finished",
];

/// How long events are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Retention {
    /// Age beyond which an event may go; at least 7d, for so long a repeat is recognized.
    #[schemars(with = "String")]
    pub age: Span,
    /// Age beyond which a dead letter may go, with its event.
    #[schemars(with = "String")]
    pub dead_letters: Span,
    /// Size of the database beyond which the oldest events go that nothing needs any more.
    #[schemars(with = "String")]
    pub size_max: ByteSize,
    /// Ages for events whose type begins with the key; the longest key that matches wins.
    #[schemars(with = "BTreeMap<String, String>")]
    pub types: BTreeMap<String, Span>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            age: days(90),
            dead_letters: days(90),
            size_max: mebibytes(10 * 1024),
            types: LONG_KEPT.map(|prefix| (prefix.to_owned(), days(400))).into(),
        }
    }
}

impl Retention {
    /// Returns the policy in the store's terms.
    pub fn policy(&self) -> pilothouse_store::RetentionPolicy {
        pilothouse_store::RetentionPolicy {
            age: self.age.0,
            by_type: self.types.iter().map(|(prefix, age)| (prefix.clone(), age.0)).collect(),
            dead_letters: self.dead_letters.0,
            size_bytes_max: self.size_max.0,
        }
    }
}

/// Where and how many plugins run at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RuntimeSection {
    /// Plugin instances at once, over all installations.
    pub instances: u32,
    /// Operating system threads that run plugins, apart from those of HTTP and of the store. 0 means one per processor.
    pub guest_threads: u32,
}

impl Default for RuntimeSection {
    fn default() -> Self {
        Self { instances: 256, guest_threads: 0 }
    }
}

/// Highest limits that any installation gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Ceiling {
    /// Linear memory of one instance, summed over its memories.
    #[schemars(with = "String")]
    pub memory: ByteSize,
    /// CPU time of one call.
    #[schemars(with = "String")]
    pub cpu: Span,
    /// Wall-clock time of one call, waits included.
    #[schemars(with = "String")]
    pub timeout: Span,
    /// Deliveries to one installation that are handled at once.
    pub concurrency: u32,
    /// Attempts of one delivery, the first included.
    pub attempts: u32,
    /// Log text kept of one call.
    #[schemars(with = "String")]
    pub log: ByteSize,
}

impl Default for Ceiling {
    fn default() -> Self {
        Self {
            memory: mebibytes(256),
            cpu: seconds(30),
            timeout: seconds(300),
            concurrency: 64,
            attempts: 20,
            log: mebibytes(1),
        }
    }
}

impl Ceiling {
    /// Returns the ceiling in the terms of grants.
    pub fn limits(&self) -> pilothouse_core::grant::Ceiling {
        pilothouse_core::grant::Ceiling::from_request(&pilothouse_core::manifest::LimitsRequest {
            memory: Some(self.memory),
            cpu: Some(self.cpu),
            timeout: Some(self.timeout),
            concurrency: Some(self.concurrency),
            attempts: Some(self.attempts),
            log: Some(self.log),
        })
    }
}

/// What the host tells of itself beside `/metrics`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TelemetrySection {
    /// Connection to an OpenTelemetry collector, whose `url` is the base of OTLP over HTTP, such as `http://127.0.0.1:4318`. No traces without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub traces_connection: Option<ConnectionName>,
    /// Of 100 traces that begin in this host, how many are sent. A trace that began elsewhere is sent if it is recorded there.
    pub sample_percent: u8,
    /// Name of this host in traces (`service.name`).
    pub service_name: String,
}

impl Default for TelemetrySection {
    fn default() -> Self {
        Self { traces_connection: None, sample_percent: 100, service_name: "pilothouse".to_owned() }
    }
}

/// A folder that plugins may be granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OutputConfig {
    /// The folder, an absolute path; it must exist.
    pub path: PathBuf,
}
