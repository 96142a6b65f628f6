//! Turns the trigger of a test and the settings into what the job needs: parameters and files.
//!
//! Never here: starting the job (`lib`), or judging what came of it (`verdict`).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::workload::{self, Workload, WorkloadError};

/// The job template, by this plugin's name for it.
pub const TEMPLATE: &str = "jmeter";
/// The input file with the test plan.
pub const PLAN_FILE: &str = "plan.jmx";
/// The input file with the workload's own properties, for `-q`.
pub const PROPERTIES_FILE: &str = "workload.properties";
/// The artifact that JMeter writes.
pub const RESULT_FILE: &str = "result.jtl";
/// Keptn's strategy for tests by people, which no executor of this plugin's kind answers.
const REAL_USER: &str = "real-user";
/// Keptn's strategy for the look that comes before any other test.
const HEALTH_CHECK: &str = "healthcheck";
/// Where a health check looks when the deployment's URI has no path (Keptn V1's value).
const CHECK_PATH_DEFAULT: &str = "/health";

/// The installation's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// JMX text for triggers that bring none.
    pub script: Option<String>,
    /// Text of `jmeter.conf.yaml` for triggers that bring none.
    pub workload: Option<String>,
    /// Files beside the script, name to text, for triggers that bring none.
    pub files: BTreeMap<String, String>,
    /// URL under test for triggers without a deployment URI.
    pub target: Option<String>,
    /// Longest time of a run in seconds; the template's limit when absent.
    pub timeout_seconds: Option<u64>,
    /// Time between progress events in seconds; 0 for none.
    pub progress_seconds: Option<u64>,
}

/// Says why no test was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The test is somebody else's.
    Declined(String),
    /// The test is ours and cannot be run as it was described.
    Errored(String),
}

/// What the job needs, and what is kept until it ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What to run and what is good enough.
    pub workload: Workload,
    /// Parameters of the job.
    pub parameters: Vec<(String, String)>,
    /// Files of the job.
    pub files: Vec<(String, Vec<u8>)>,
    /// What is run first: the health check, where there is a script for it and something else is asked for.
    pub health: Option<Box<Request>>,
}

/// Files of the project, for triggers that bring none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectFiles {
    /// Text of `jmeter/jmeter.conf.yaml`.
    pub workload: Option<String>,
    /// All files below `jmeter/`, by their path as a workload's `script` has it; of several levels the nearest.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// The part of the trigger's data that this plugin reads; everything may be missing or null.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    project: Option<String>,
    stage: Option<String>,
    service: Option<String>,
    test: Option<Test>,
    deployment: Value,
    jmeter: Option<Files>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Test {
    teststrategy: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Files {
    script: Option<String>,
    workload: Option<String>,
    files: BTreeMap<String, String>,
}

/// Reads the trigger's data.
///
/// # Errors
/// The test is not for JMeter, or something it needs is missing; V1 passed such tests silently.
pub fn read(data: &Value, settings: &Settings, project: &ProjectFiles) -> Result<Request, Refusal> {
    let data: Data = serde_json::from_value(data.clone())
        .map_err(|error| Refusal::Errored(format!("the trigger's data cannot be read: {error}")))?;
    let brought = data.jmeter.clone().unwrap_or_default();
    let strategy = data.test.as_ref().and_then(|test| test.teststrategy.clone()).unwrap_or_default();
    if strategy.is_empty() {
        return Err(Refusal::Errored(
            "the trigger has no `test.teststrategy`; write performance, functional, healthcheck, or one of the workload \
             file"
            .to_owned(),
        ));
    }
    if strategy.eq_ignore_ascii_case(REAL_USER) {
        return Err(Refusal::Declined("tests by real users are not run with JMeter".to_owned()));
    }
    let text = brought.workload.as_deref().or(project.workload.as_deref()).or(settings.workload.as_deref());
    let select = |strategy: &str| {
        workload::select(text, strategy).map_err(|error| match error {
            WorkloadError::Unknown { .. } => Refusal::Declined(error.to_string()),
            _ => Refusal::Errored(error.to_string()),
        })
    };
    let workload = select(&strategy)?;
    let sources = Sources { brought: &brought, project, settings };
    let mut request = sources.request(&data, workload)?;
    let health = select(HEALTH_CHECK)?;
    if request.workload.strategy != HEALTH_CHECK && sources.has(&health.script) {
        request.health = Some(Box::new(sources.request(&data, health)?));
    }
    Ok(request)
}

/// Where the files of a test come from: the event, else the project, else the settings.
struct Sources<'a> {
    brought: &'a Files,
    project: &'a ProjectFiles,
    settings: &'a Settings,
}

impl Sources<'_> {
    /// Tells whether a script is among the files.
    fn has(&self, script: &str) -> bool {
        self.brought.files.contains_key(script)
            || self.project.files.contains_key(script)
            || self.settings.files.contains_key(script)
    }

    fn request(&self, data: &Data, workload: Workload) -> Result<Request, Refusal> {
        let target = target(&data.deployment, self.settings)?;
        let mut files = vec![
            (PLAN_FILE.to_owned(), self.script(&workload)?),
            (PROPERTIES_FILE.to_owned(), workload::properties_file(&workload.properties).into_bytes()),
        ];
        files.extend(self.companions(&workload)?);
        let parameters = parameters(data, &workload, target);
        Ok(Request { workload, parameters, files, health: None })
    }

    /// Finds the test plan: in the event, first as such, then among its files; then in the project; then in the settings.
    /// The event's and the settings' own texts are for the test that is asked for, and not for the health check.
    fn script(&self, workload: &Workload) -> Result<Vec<u8>, Refusal> {
        let base = workload.script.rsplit('/').next().unwrap_or_default();
        let asked = workload.strategy != HEALTH_CHECK || !self.has(&workload.script);
        let text = |text: &Option<String>| text.clone().filter(|_| asked).map(String::into_bytes);
        let among = |files: &BTreeMap<String, String>| {
            files.get(&workload.script).or_else(|| files.get(base)).cloned().map(String::into_bytes)
        };
        let found = text(&self.brought.script)
            .or_else(|| among(&self.brought.files))
            .or_else(|| self.project.files.get(&workload.script).cloned())
            .or_else(|| text(&self.settings.script))
            .or_else(|| among(&self.settings.files))
            .filter(|content| !content.trim_ascii().is_empty());
        found.ok_or_else(|| {
            Refusal::Errored(format!(
                "there is no test plan: add a file `{}` to the service, the stage or the project, put the JMX text in \
                 `data.jmeter.script`, or set the setting `script`",
                workload.script
            ))
        })
    }

    /// Returns the files beside the script. Those in the script's own folder are put next to it.
    fn companions(&self, workload: &Workload) -> Result<Vec<(String, Vec<u8>)>, Refusal> {
        let texts = |files: &BTreeMap<String, String>| -> BTreeMap<String, Vec<u8>> {
            files.iter().map(|(path, text)| (path.clone(), text.clone().into_bytes())).collect()
        };
        let files = match (self.brought.files.is_empty(), self.project.files.is_empty()) {
            (false, _) => texts(&self.brought.files),
            (true, false) => self.project.files.clone(),
            (true, true) => texts(&self.settings.files),
        };
        let folder = workload.script.rfind('/').and_then(|end| workload.script.get(..=end)).unwrap_or_default();
        let mut found = Vec::new();
        for (path, content) in files.into_iter().filter(|(path, _)| *path != workload.script) {
            let name = path.strip_prefix(folder).unwrap_or(&path);
            if [PLAN_FILE, PROPERTIES_FILE, RESULT_FILE].contains(&name) {
                return Err(Refusal::Errored(format!(
                    "a file may not be called `{name}`: the run has one of that name"
                )));
            }
            found.push((name.to_owned(), content));
        }
        Ok(found)
    }
}

fn parameters(data: &Data, workload: &Workload, target: Target) -> Vec<(String, String)> {
    let parameters = [
        ("PROTOCOL", target.scheme.clone()),
        ("SERVER_PROTOCOL", target.scheme),
        ("SERVER_URL", target.host),
        ("SERVER_PORT", target.port.to_string()),
        ("CHECK_PATH", target.path),
        ("VUCount", workload.users.to_string()),
        ("LoopCount", workload.loops.to_string()),
        ("ThinkTime", workload.think_time_ms.to_string()),
        ("KEPTN_PROJECT", data.project.clone().unwrap_or_default()),
        ("KEPTN_STAGE", data.stage.clone().unwrap_or_default()),
        ("KEPTN_SERVICE", data.service.clone().unwrap_or_default()),
        ("KEPTN_TESTSTRATEGY", workload.strategy.clone()),
    ];
    parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What is under test.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    scheme: String,
    host: String,
    port: u16,
    path: String,
}

/// Takes the first local URI of the deployment, else the first public one, else the settings' target.
fn target(deployment: &Value, settings: &Settings) -> Result<Target, Refusal> {
    let first = |name: &str| deployment.get(name)?.get(0)?.as_str().filter(|uri| !uri.is_empty());
    let uri = first("deploymentURIsLocal").or_else(|| first("deploymentURIsPublic")).or(settings.target.as_deref());
    let uri = uri.ok_or_else(|| {
        Refusal::Errored(
            "nothing to test: the trigger has no deployment URI (`deployment.deploymentURIsLocal` or \
             `deploymentURIsPublic`), and the setting `target` is not set"
                .to_owned(),
        )
    })?;
    parse_target(uri).ok_or_else(|| {
        Refusal::Errored("the deployment URI is not of the form http(s)://host[:port][/path]".to_owned())
    })
}

/// Splits `http(s)://host[:port][/path]`; V1's ports and health path where the URI says nothing.
fn parse_target(uri: &str) -> Option<Target> {
    let (scheme, rest) = uri.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let port_default = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let rest = rest.split('#').next()?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // An IPv6 address keeps its brackets, and its colons are not the port's.
    let address_end = authority.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match authority.get(address_end..)?.rfind(':') {
        Some(colon) => {
            let (host, port) = authority.split_at(address_end + colon);
            (host, port.trim_start_matches(':').parse().ok()?)
        }
        None => (authority, port_default),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    if host.is_empty() || !host.chars().all(plain) || path.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return None;
    }
    let path = match path {
        "" | "/" => CHECK_PATH_DEFAULT.to_owned(),
        path => path.to_owned(),
    };
    Some(Target { scheme, host: host.to_owned(), port, path })
}

/// Checks the settings as far as that is possible without a trigger: JSON Pointer and problem.
pub fn check_settings(settings: &Settings) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    if let Some(text) = &settings.workload
        && let Err(error @ WorkloadError::Unreadable(_)) = workload::select(Some(text), "performance")
    {
        problems.push(("/workload", error.to_string()));
    }
    if let Some(target) = &settings.target
        && parse_target(target).is_none()
    {
        problems.push(("/target", "write http(s)://host[:port][/path]".to_owned()));
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn data(change: Value) -> Value {
        let mut data = json!({
            "project": "shop", "stage": "dev", "service": "cart",
            "test": { "teststrategy": "performance" },
            "deployment": { "deploymentURIsLocal": ["http://cart.dev:8080/api?x=1"] },
            "jmeter": { "script": "<jmeterTestPlan/>", "workload": "workloads:\n- {teststrategy: performance, vuser: 3, loopcount: 4, thinktime: 5, properties: {ramp: 2}}" },
        });
        for (name, value) in change.as_object().unwrap() {
            data[name] = value.clone();
        }
        data
    }

    fn parameter<'a>(request: &'a Request, name: &str) -> &'a str {
        &request.parameters.iter().find(|(it, _)| it == name).unwrap().1
    }

    #[test]
    fn a_trigger_becomes_parameters_and_files() {
        let request = read(&data(json!({})), &Settings::default(), &ProjectFiles::default()).unwrap();
        let parameters: Vec<String> =
            request.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            parameters,
            [
                "PROTOCOL=http",
                "SERVER_PROTOCOL=http",
                "SERVER_URL=cart.dev",
                "SERVER_PORT=8080",
                "CHECK_PATH=/api?x=1",
                "VUCount=3",
                "LoopCount=4",
                "ThinkTime=5",
                "KEPTN_PROJECT=shop",
                "KEPTN_STAGE=dev",
                "KEPTN_SERVICE=cart",
                "KEPTN_TESTSTRATEGY=performance"
            ]
        );
        assert_eq!(request.files[0], ("plan.jmx".to_owned(), b"<jmeterTestPlan/>".to_vec()));
        assert_eq!(request.files[1].0, "workload.properties");
        assert!(request.files[1].1.ends_with(b"\nramp=2\n"), "{:?}", request.files[1].1);
    }

    #[test]
    fn an_uri_is_split_with_keptns_defaults() {
        let cases = [
            ("http://a", Some(("http", "a", 80, "/health"))),
            ("HTTPS://a/", Some(("https", "a", 443, "/health"))),
            ("http://a:8080/x/y#z", Some(("http", "a", 8080, "/x/y"))),
            ("http://[::1]:90", Some(("http", "[::1]", 90, "/health"))),
            ("http://[::1]/x", Some(("http", "[::1]", 80, "/x"))),
            ("a:8080", None),
            ("ftp://a", None),
            ("http://", None),
            ("http://a:port", None),
            ("http://user@a", None),
            ("http://a b", None),
            ("http://a/x y", None),
            ("http://-Jx=1;a", None),
        ];
        for (uri, expected) in cases {
            let got = parse_target(uri);
            let got = got.as_ref().map(|it| (it.scheme.as_str(), it.host.as_str(), it.port, it.path.as_str()));
            assert_eq!(got, expected, "{uri}");
        }
    }

    #[test]
    fn the_local_uri_wins_over_the_public_one_and_both_over_the_settings() {
        let settings = Settings { target: Some("http://settings".to_owned()), ..Settings::default() };
        let host = |deployment: Value| {
            let request =
                read(&data(json!({ "deployment": deployment })), &settings, &ProjectFiles::default()).unwrap();
            parameter(&request, "SERVER_URL").to_owned()
        };
        let both = json!({ "deploymentURIsLocal": ["http://local"], "deploymentURIsPublic": ["http://public"] });
        assert_eq!(host(both), "local");
        assert_eq!(host(json!({ "deploymentURIsLocal": [], "deploymentURIsPublic": ["http://public"] })), "public");
        assert_eq!(host(json!({})), "settings");
        assert_eq!(host(Value::Null), "settings");
    }

    #[test]
    fn what_v1_passed_silently_is_an_error_that_says_what_to_do() {
        let cases = [
            ("no script", json!({ "jmeter": {} }), "add a file `jmeter/load.jmx` to the service"),
            ("empty script", json!({ "jmeter": { "script": " " } }), "there is no test plan"),
            ("no deployment URI", json!({ "deployment": {} }), "nothing to test"),
            ("bad deployment URI", json!({ "deployment": { "deploymentURIsLocal": ["cart"] } }), "not of the form"),
            ("no strategy", json!({ "test": {} }), "no `test.teststrategy`"),
            ("no test", json!({ "test": null }), "no `test.teststrategy`"),
            (
                "bad workload",
                json!({ "jmeter": { "script": "x", "workload": "workloads: 1" } }),
                "`workloads` of the workload file must be a list",
            ),
            ("reserved name", json!({ "jmeter": { "script": "x", "files": { "jmeter/plan.jmx": "" } } }), "`plan.jmx`"),
        ];
        for (name, change, expected) in cases {
            match read(&data(change), &Settings::default(), &ProjectFiles::default()) {
                Err(Refusal::Errored(message)) => assert!(message.contains(expected), "{name}: {message}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn tests_of_others_are_declined() {
        for strategy in ["real-user", "Real-User", "stress"] {
            let got = read(
                &data(json!({ "test": { "teststrategy": strategy } })),
                &Settings::default(),
                &ProjectFiles::default(),
            );
            assert!(matches!(got, Err(Refusal::Declined(_))), "{strategy}: {got:?}");
        }
    }

    #[test]
    fn the_script_is_found_among_the_files_and_its_neighbors_stay_beside_it() {
        let files = json!({ "jmeter/load.jmx": "PLAN", "jmeter/users.csv": "a,b", "jmeter/lib/x.txt": "x", "other/y.txt": "y" });
        let request =
            read(&data(json!({ "jmeter": { "files": files } })), &Settings::default(), &ProjectFiles::default())
                .unwrap();
        let names: Vec<&str> = request.files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["plan.jmx", "workload.properties", "lib/x.txt", "users.csv", "other/y.txt"]);
        assert_eq!(request.files[0].1, b"PLAN");
    }

    #[test]
    fn settings_fill_in_what_the_trigger_does_not_bring() {
        let settings = Settings {
            script: Some("SETTINGS".to_owned()),
            workload: Some("workloads: [{teststrategy: performance, vuser: 9}]".to_owned()),
            files: BTreeMap::from([("users.csv".to_owned(), "a".to_owned())]),
            ..Settings::default()
        };
        let request = read(&data(json!({ "jmeter": null })), &settings, &ProjectFiles::default()).unwrap();
        assert_eq!(parameter(&request, "VUCount"), "9");
        assert_eq!(request.files[0].1, b"SETTINGS");
        assert_eq!(request.files[2].0, "users.csv");
        let request = read(&data(json!({})), &settings, &ProjectFiles::default()).unwrap();
        assert_eq!(
            (parameter(&request, "VUCount"), String::from_utf8_lossy(&request.files[0].1)),
            ("3", "<jmeterTestPlan/>".into())
        );
    }

    #[test]
    fn settings_are_checked_when_they_are_written() {
        assert!(check_settings(&Settings::default()).is_empty());
        let bad = Settings {
            workload: Some("workloads: 1".to_owned()),
            target: Some("cart".to_owned()),
            ..Settings::default()
        };
        let paths: Vec<&str> = check_settings(&bad).into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["/workload", "/target"]);
    }

    #[test]
    fn a_project_brings_script_workload_and_the_files_beside_them_and_a_health_check_comes_first() {
        let file = |path: &str, content: &[u8]| (path.to_owned(), content.to_vec());
        let project = ProjectFiles {
            workload: Some("workloads: [{teststrategy: performance, vuser: 7}]".to_owned()),
            files: [
                file("jmeter/load.jmx", b"LOAD"),
                file("jmeter/basiccheck.jmx", b"CHECK"),
                file("jmeter/lib/x.jar", &[0, 159, 146]),
            ]
            .into(),
        };
        let mut of_event = data(json!({ "jmeter": null }));
        let settings = Settings { script: Some("SETTINGS".to_owned()), ..Settings::default() };
        let request = read(&of_event, &settings, &project).unwrap();
        assert_eq!((request.files[0].1.as_slice(), parameter(&request, "VUCount")), (&b"LOAD"[..], "7"));
        assert!(request.files.contains(&file("lib/x.jar", &[0, 159, 146])), "binary files too");
        let health = request.health.unwrap();
        assert_eq!((health.files[0].1.as_slice(), parameter(&health, "VUCount")), (&b"CHECK"[..], "1"));
        of_event["test"]["teststrategy"] = json!("healthcheck");
        let only = read(&of_event, &settings, &project).unwrap();
        assert!(only.health.is_none() && only.files[0].1 == b"CHECK");
        let missing = ProjectFiles { files: BTreeMap::new(), ..project };
        let error = read(&data(json!({ "jmeter": null })), &Settings::default(), &missing).unwrap_err();
        assert!(matches!(&error, Refusal::Errored(text) if text.contains("add a file `jmeter/load.jmx`")), "{error:?}");
    }
}
