//! Reads Keptn's workload file (`jmeter.conf.yaml`) and fills in Keptn V1's defaults.
//!
//! Never here: where the file comes from (`request`), and what a result means against it (`verdict`).

use std::collections::BTreeMap;

use pilothouse_sdk::files::workload::{self, Workloads};
use serde::{Deserialize, Serialize};

/// Says why there is no workload for a test.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum WorkloadError {
    /// The text is not a workload file.
    #[error("the workload file has errors: {0}")]
    Unreadable(String),
    /// The file has no entry for a strategy that has no default either.
    #[error("no workload for test strategy `{strategy}`; the workload file has {known}")]
    Unknown {
        /// The strategy asked for.
        strategy: String,
        /// The strategies in the file, for people.
        known: String,
    },
}

/// What to run, and what is good enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// The test strategy in lower case.
    pub strategy: String,
    /// Number of concurrent users.
    pub users: u32,
    /// How often each user runs through the script.
    pub loops: u32,
    /// Pause between requests, in milliseconds.
    pub think_time_ms: u32,
    /// The script's name among the files.
    pub script: String,
    /// Largest share of requests that may fail, from 0 to 1.
    pub accepted_error_rate: f64,
    /// Largest mean response time in milliseconds; no limit when absent.
    pub mean_ms_max: Option<f64>,
    /// More JMeter properties.
    pub properties: BTreeMap<String, String>,
}

/// Returns Keptn V1's default for a strategy that it knew.
fn default(strategy: &str) -> Option<Workload> {
    let (users, loops, script, accepted_error_rate) = match strategy {
        "healthcheck" => (1, 1, "jmeter/basiccheck.jmx", 0.0),
        "performance" => (10, 500, "jmeter/load.jmx", 0.1),
        "functional" => (1, 1, "jmeter/load.jmx", 0.1),
        _ => return None,
    };
    Some(Workload {
        strategy: strategy.to_owned(),
        users,
        loops,
        think_time_ms: 250,
        script: script.to_owned(),
        accepted_error_rate,
        mean_ms_max: None,
        properties: BTreeMap::new(),
    })
}

/// Returns the workload for `strategy`: the file's entry, with the default's values where it says nothing, else the
/// default.
///
/// A value left out takes the default of the strategy; of a strategy that V1 did not know, those of `functional`.
/// (V1 took zero: no users, and a test that passed because nothing failed.) `avgrtvalidation: 0` means no limit.
///
/// # Errors
/// The file is not readable, has no entry for a strategy without default, or a value makes no sense.
pub fn select(file: Option<&str>, strategy: &str) -> Result<Workload, WorkloadError> {
    let strategy = strategy.to_lowercase();
    let file = match file.map(|text| workload::read(text.as_bytes())) {
        None => Workloads::default(),
        Some((Some(file), _)) => file,
        Some((None, problems)) => {
            let errors: Vec<String> = problems.iter().filter(|it| it.stops_a_run()).map(ToString::to_string).collect();
            return Err(WorkloadError::Unreadable(errors.join("; ")));
        }
    };
    let known: Vec<String> = file.workloads.iter().map(|entry| format!("`{}`", entry.strategy)).collect();
    let entry = file.workloads.into_iter().find(|entry| entry.strategy == strategy);
    let base = default(&strategy);
    let Some(entry) = entry else {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return base.ok_or(WorkloadError::Unknown { strategy, known });
    };
    let mut workload = match base.or_else(|| default("functional")) {
        Some(base) => Workload { strategy: strategy.clone(), ..base },
        None => return Err(WorkloadError::Unknown { strategy, known: known.join(", ") }),
    };
    workload.users = entry.users.unwrap_or(workload.users);
    workload.loops = entry.loops.unwrap_or(workload.loops);
    workload.think_time_ms = entry.think_time_ms.unwrap_or(workload.think_time_ms);
    workload.script = entry.script.unwrap_or(workload.script);
    workload.accepted_error_rate = entry.accepted_error_rate.unwrap_or(workload.accepted_error_rate);
    workload.mean_ms_max = entry.mean_ms_max.filter(|limit| *limit != 0.0);
    workload.properties = entry.properties;
    Ok(workload)
}

/// Writes properties in Java's format, for JMeter's `-q FILE`.
pub fn properties_file(properties: &BTreeMap<String, String>) -> String {
    let mut text = String::from("# Properties of the workload file.\n");
    for (name, value) in properties {
        text.push_str(name);
        text.push('=');
        // Java drops blanks before a value, so the first one is escaped like the rest.
        for (index, c) in value.chars().enumerate() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                ' ' if index == 0 => text.push_str("\\ "),
                ' '..='~' => text.push(c),
                // Java reads the file as ISO 8859-1; everything else is written in UTF-16 units.
                _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}"))),
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_file_the_strategies_have_keptns_defaults() {
        let read = |strategy| {
            let it = select(None, strategy).unwrap();
            (it.users, it.loops, it.think_time_ms, it.script, it.accepted_error_rate, it.mean_ms_max)
        };
        assert_eq!(read("healthcheck"), (1, 1, 250, "jmeter/basiccheck.jmx".to_owned(), 0.0, None));
        assert_eq!(read("Performance"), (10, 500, 250, "jmeter/load.jmx".to_owned(), 0.1, None));
        assert_eq!(read("functional"), (1, 1, 250, "jmeter/load.jmx".to_owned(), 0.1, None));
    }

    #[test]
    fn an_entry_wins_over_the_default_and_may_leave_values_out() {
        let file = "spec_version: '0.1.0'\nworkloads:\n\
            - teststrategy: performance\n  vuser: 100\n  avgrtvalidation: 300\n  properties: {ramp: 5, warm: true, name: x y}\n\
            - teststrategy: performance_light\n  script: jmeter/light.jmx\n  acceptederrorrate: 0.02\n";
        let heavy = select(Some(file), "performance").unwrap();
        assert_eq!((heavy.users, heavy.loops, heavy.mean_ms_max), (100, 500, Some(300.0)));
        let properties: Vec<_> = heavy.properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(properties, ["name=x y", "ramp=5", "warm=true"]);
        let light = select(Some(file), "PERFORMANCE_light").unwrap();
        assert_eq!((light.users, light.script.as_str(), light.accepted_error_rate), (1, "jmeter/light.jmx", 0.02));
        assert_eq!(light.strategy, "performance_light");
        assert_eq!(select(Some(file), "healthcheck").unwrap().users, 1);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let entry = |line: &str| format!("workloads:\n- teststrategy: performance\n  {line}\n");
        let cases = [
            ("not yaml", "workloads: [".to_owned(), "not valid YAML"),
            ("no strategy", "workloads:\n- vuser: 1\n".to_owned(), "teststrategy"),
            ("word for a number", entry("vuser: many"), "`many`"),
            ("no users", entry("vuser: 0"), "3:10: "),
            ("no loops", entry("loopcount: 0"), "`loopcount`"),
            ("percent", entry("acceptederrorrate: 10"), "a share of the requests from 0 to 1"),
            ("not a number", entry("acceptederrorrate: .nan"), "`acceptederrorrate`"),
            ("negative mean", entry("avgrtvalidation: -1"), "`avgrtvalidation`"),
            ("property name", entry("properties: {'a=b': 1}"), "`a=b` is not a property name"),
        ];
        for (name, file, expected) in cases {
            let error = select(Some(&file), "performance").unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }

    #[test]
    fn a_strategy_that_nobody_described_is_refused_with_those_that_are() {
        let error = select(Some("workloads:\n- teststrategy: soak\n"), "stress").unwrap_err();
        assert_eq!(error.to_string(), "no workload for test strategy `stress`; the workload file has `soak`");
        let error = select(None, "stress").unwrap_err();
        assert_eq!(error.to_string(), "no workload for test strategy `stress`; the workload file has none");
    }

    #[test]
    fn properties_are_escaped_as_java_reads_them() {
        let properties = [("plain", "a b=c"), ("blank", " x"), ("path", "C:\\t\nü€😀")];
        let properties = properties.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!(
            properties_file(&properties),
            "# Properties of the workload file.\nblank=\\ x\npath=C:\\\\t\\n\\u00fc\\u20ac\\ud83d\\ude00\nplain=a b=c\n"
        );
    }
}
