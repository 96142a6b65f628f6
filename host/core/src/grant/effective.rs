//! What an installation may do in the end, and what it still lacks.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::{Ceiling, Grants, HostRule, HostRuleError, LIMITS_DEFAULT, Limits, Network, NetworkError};
use crate::manifest::{Manifest, NamedRequest};
use crate::name::{ConnectionName, OutputName, TemplateName};

/// Why grants cannot take effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// A rule under `http` of the grants is wrong; the operator's mistake.
    #[error("the grants' `http` is invalid")]
    Http(#[source] HostRuleError),
    /// A network of the grants is wrong; the operator's mistake.
    #[error("the grants' `networks` are invalid")]
    Network(#[source] NetworkError),
    /// The `match` of a task is wrong; the operator's mistake.
    #[error("the grants' `tasks.{0}` is invalid: {1}")]
    Task(String, String),
    /// A rule of the manifest is wrong; the plugin author's mistake.
    #[error("the manifest's `http` is invalid")]
    ManifestHttp(#[source] HostRuleError),
    /// A limit of zero: nothing would ever run.
    #[error("the limit `{0}` is zero, so the plugin could never run; leave it out or raise it")]
    LimitZero(&'static str),
}

/// What one installation may do: manifest ∩ grants ∩ ceiling. The default is nothing, within the default limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EffectiveGrants {
    /// Hosts that it may call.
    pub http: Vec<HostRule>,
    /// Networks that those calls may reach although they are private, loopback or link-local.
    pub networks: Vec<Network>,
    /// Connections, from the plugin's name to the operator's.
    pub connections: BTreeMap<ConnectionName, ConnectionName>,
    /// Job templates, from the plugin's name to the operator's.
    pub jobs: BTreeMap<TemplateName, TemplateName>,
    /// Output directories, from the plugin's name to the operator's.
    pub outputs: BTreeMap<OutputName, OutputName>,
    /// Whether it may keep state between deliveries.
    pub keyvalue: bool,
    /// Whether it may read the files of the project in hand.
    pub resources: bool,
    /// Folders of that project, in the folder of any level, whose files it may write.
    pub resource_writes: Vec<String>,
    /// Whether it may read earlier events of the project in hand.
    pub event_log: bool,
    /// What its calls may use.
    pub limits: Limits,
}

impl EffectiveGrants {
    /// Intersects what is asked for with what is given, and returns notes on what of the grants has no effect.
    ///
    /// Limits are the grants', else the manifest's, else the host's default; never over the ceiling.
    ///
    /// # Errors
    /// A rule or a network cannot be read, or a limit is zero.
    pub fn new(manifest: &Manifest, grants: &Grants, ceiling: &Ceiling) -> Result<(Self, Vec<String>), GrantError> {
        let asked = asked_rules(manifest)?;
        let granted = granted_rules(grants)?;
        let networks: Vec<Network> = grants
            .networks
            .iter()
            .map(|it| Network::parse(it))
            .collect::<Result<_, _>>()
            .map_err(GrantError::Network)?;
        if let Some(name) = grants.limits.zero().or_else(|| manifest.limits.zero()) {
            return Err(GrantError::LimitZero(name));
        }
        let mut notes = Vec::new();
        let http = intersect(&asked, &granted, &mut notes);
        let connections = match &manifest.any_connection {
            Some(_) => grants.connections.clone(),
            None => asked_only("connections", &manifest.connections, &grants.connections, &mut notes),
        };
        let jobs = match &manifest.any_job {
            Some(_) => grants.jobs.clone(),
            None => asked_only("jobs", &manifest.jobs, &grants.jobs, &mut notes),
        };
        for (name, task) in &grants.tasks {
            if manifest.any_task.is_none() {
                notes.push(format!(
                    "`tasks.{name}` is granted but the plugin takes only its own tasks; it has no effect"
                ));
            }
            task.data_match.check().map_err(|error| GrantError::Task(name.to_string(), error.to_string()))?;
        }
        let outputs = asked_only("outputs", &manifest.outputs, &grants.outputs, &mut notes);
        if grants.keyvalue && manifest.keyvalue.is_none() {
            notes.push("`keyvalue` is granted but the plugin does not ask for it; it has no effect".to_owned());
        }
        if grants.resources && manifest.resources.is_none() {
            notes.push("`resources` is granted but the plugin does not ask for it; it has no effect".to_owned());
        }
        let folders = manifest.resources.as_ref().map(|request| request.write.as_slice()).unwrap_or_default();
        if grants.resources_write && folders.is_empty() {
            notes.push("`resources-write` is granted but the plugin does not ask for it; it has no effect".to_owned());
        }
        if grants.event_log && manifest.event_log.is_none() {
            notes.push("`event-log` is granted but the plugin does not ask for it; it has no effect".to_owned());
        }
        let wanted = grants.limits.over(&manifest.limits.over(&LIMITS_DEFAULT));
        let (limits, cuts) = wanted.under(&ceiling.0);
        notes.extend(cuts);
        let keyvalue = grants.keyvalue && manifest.keyvalue.is_some();
        let resources = grants.resources && manifest.resources.is_some();
        let resource_writes = if resources && grants.resources_write { folders.to_vec() } else { Vec::new() };
        let event_log = grants.event_log && manifest.event_log.is_some();
        let effective = Self {
            http,
            networks,
            connections,
            jobs,
            outputs,
            keyvalue,
            resources,
            resource_writes,
            event_log,
            limits,
        };
        Ok((effective, notes))
    }
}

fn asked_rules(manifest: &Manifest) -> Result<Vec<HostRule>, GrantError> {
    let texts = manifest.http.iter().flat_map(|request| &request.hosts);
    texts.map(|text| HostRule::parse(text)).collect::<Result<_, _>>().map_err(GrantError::ManifestHttp)
}

fn granted_rules(grants: &Grants) -> Result<Vec<HostRule>, GrantError> {
    grants.http.iter().map(|text| HostRule::parse(text)).collect::<Result<_, _>>().map_err(GrantError::Http)
}

fn intersect(asked: &[HostRule], granted: &[HostRule], notes: &mut Vec<String>) -> Vec<HostRule> {
    let mut rules: Vec<HostRule> = Vec::new();
    for rule in granted {
        if asked.iter().any(|it| it.covers(rule)) {
            rules.push(rule.clone());
            continue;
        }
        // Wider than what is asked for: only the asked part takes effect.
        let narrower: Vec<&HostRule> = asked.iter().filter(|it| rule.covers(it)).collect();
        notes.push(match narrower.as_slice() {
            [] => format!("`http` grants `{rule}`, which the plugin does not ask for; it has no effect"),
            some => {
                format!("`http` grants `{rule}`, but the plugin asks only for {}; no more takes effect", quoted(some))
            }
        });
        rules.extend(narrower.into_iter().cloned());
    }
    rules.sort();
    rules.dedup();
    rules
}

fn quoted(items: &[impl Display]) -> String {
    items.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")
}

fn asked_only<N: Ord + Clone + Display>(
    table: &str,
    asked: &[NamedRequest<N>],
    granted: &BTreeMap<N, N>,
    notes: &mut Vec<String>,
) -> BTreeMap<N, N> {
    let mut effective = BTreeMap::new();
    for (name, target) in granted {
        if asked.iter().any(|request| request.name == *name) {
            effective.insert(name.clone(), target.clone());
        } else {
            notes.push(format!("`{table}.{name}` is granted but the plugin does not ask for it; it has no effect"));
        }
    }
    effective
}

/// Says what the manifest asks for and the grants do not give: one text for each, with the plugin author's reason and
/// the line of TOML that would grant it. Empty when nothing is missing. Rules that cannot be read are skipped:
/// [`EffectiveGrants::new`] reports them.
pub fn missing_grants(manifest: &Manifest, grants: &Grants) -> Vec<String> {
    let mut missing = missing_http(manifest, grants);
    missing_named("connection", "connections", &manifest.connections, &grants.connections, &mut missing);
    if let Some(request) = manifest.any_task.as_ref().filter(|_| grants.tasks.is_empty()) {
        missing.push(format!("tasks to execute ({}); to grant one: tasks.NAME = {{}}", request.reason));
    }
    if let Some(request) = manifest.any_connection.as_ref().filter(|_| grants.connections.is_empty()) {
        missing.push(format!("connections ({}); to grant one: connections.NAME = \"NAME\"", request.reason));
    }
    if let Some(request) = manifest.any_job.as_ref().filter(|_| grants.jobs.is_empty()) {
        missing.push(format!("job templates ({}); to grant one: jobs.NAME = \"NAME\"", request.reason));
    }
    missing_named("job template", "jobs", &manifest.jobs, &grants.jobs, &mut missing);
    missing_named("output directory", "outputs", &manifest.outputs, &grants.outputs, &mut missing);
    if let Some(request) = manifest.keyvalue.as_ref().filter(|_| !grants.keyvalue) {
        missing.push(format!("key-value state ({}); to grant it: keyvalue = true", request.reason));
    }
    if let Some(request) = manifest.resources.as_ref().filter(|_| !grants.resources) {
        missing.push(format!("the files of projects ({}); to grant them: resources = true", request.reason));
    }
    if let Some(request) = manifest.resources.as_ref().filter(|it| !it.write.is_empty() && !grants.resources_write) {
        let folders = request.write.join(", ");
        missing.push(format!(
            "writing files of projects below {folders} ({}); to grant it: resources-write = true",
            request.reason
        ));
    }
    if let Some(request) = manifest.event_log.as_ref().filter(|_| !grants.event_log) {
        missing.push(format!("earlier events of projects ({}); to grant them: event-log = true", request.reason));
    }
    missing
}

fn missing_http(manifest: &Manifest, grants: &Grants) -> Vec<String> {
    let granted: Vec<HostRule> = grants.http.iter().filter_map(|text| HostRule::parse(text).ok()).collect();
    let is_missing = |text: &str| {
        // A grant for a part of what is asked for is the operator's choice, and not a gap.
        HostRule::parse(text).is_ok_and(|asked| !granted.iter().any(|it| it.covers(&asked) || asked.covers(it)))
    };
    let asked = manifest.http.iter().flat_map(|request| request.hosts.iter().map(move |host| (host, &request.reason)));
    let missing: Vec<(&String, &String)> = asked.filter(|(host, _)| is_missing(host)).collect();
    // A TOML key stands once, so the line repeats what is granted already and has all that is missing.
    let hosts = grants.http.iter().chain(missing.iter().map(|(host, _)| *host));
    let line = format!("http = [{}]", hosts.map(|host| format!("\"{host}\"")).collect::<Vec<_>>().join(", "));
    missing.iter().map(|(host, reason)| format!("calls to `{host}` ({reason}); to grant them: {line}")).collect()
}

fn missing_named<N: Ord + Display>(
    what: &str,
    table: &str,
    asked: &[NamedRequest<N>],
    granted: &BTreeMap<N, N>,
    missing: &mut Vec<String>,
) {
    for request in asked.iter().filter(|request| !granted.contains_key(&request.name)) {
        let name = &request.name;
        let optional = if request.optional { ", optional" } else { "" };
        // The right side is the operator's own name for it, which is often the same.
        missing
            .push(format!("{what} `{name}` ({}{optional}); to grant it: {table}.{name} = \"{name}\"", request.reason));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MANIFEST: &str = r#"
        name = "demo"
        version = "1.0.0"
        description = "Shows grants."
        http = [{ hosts = ["https://*.example.com", "https://api.other.io"], reason = "reads builds" }]
        connection = [{ name = "chat", reason = "sends messages" }]
        job = [{ name = "load", reason = "runs tests", optional = true }]
        outputs = [{ name = "rules", reason = "writes rules" }]
        keyvalue = { reason = "remembers" }
        resources = { reason = "reads files" }
        limits = { memory = "128MiB", cpu = "20s" }
    "#;

    fn effective(grants: &str) -> Result<(EffectiveGrants, Vec<String>), GrantError> {
        EffectiveGrants::new(&toml::from_str(MANIFEST).unwrap(), &toml::from_str(grants).unwrap(), &Ceiling::default())
    }

    #[test]
    fn no_grants_give_nothing_but_the_limits() {
        let (grants, notes) = effective("").unwrap();
        let limits = Limits { memory_bytes_max: 128 << 20, cpu: Duration::from_secs(10), ..LIMITS_DEFAULT };
        assert_eq!(grants, EffectiveGrants { limits, ..EffectiveGrants::default() });
        assert_eq!(notes, ["limit `cpu`: 20s is over the operator's ceiling; 10s is in force"]);
    }

    #[test]
    fn what_is_asked_for_and_granted_takes_effect_and_the_rest_is_noted() {
        let (grants, notes) = effective(
            r#"
            http = ["https://ci.example.com", "https://*.other.io", "https://evil.io", "http://ci.example.com"]
            networks = ["10.0.0.0/8"]
            connections = { chat = "team-chat", mail = "mail" }
            jobs = { load = "jmeter" }
            keyvalue = true
            limits = { memory = "32MiB", cpu = "1s" }
            "#,
        )
        .unwrap();
        assert_eq!(
            grants.http.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["https://api.other.io", "https://ci.example.com"]
        );
        assert_eq!(grants.networks, [Network::parse("10.0.0.0/8").unwrap()]);
        assert_eq!(grants.connections.len(), 1);
        assert_eq!(grants.jobs.values().next().unwrap().as_str(), "jmeter");
        assert!(grants.keyvalue && grants.outputs.is_empty());
        assert_eq!(grants.limits.memory_bytes_max, 32 << 20);
        assert_eq!(notes.len(), 4, "{notes:?}");
    }

    #[test]
    fn keyvalue_is_not_given_to_a_plugin_that_does_not_ask_for_it() {
        let mut manifest: Manifest = toml::from_str(MANIFEST).unwrap();
        manifest.keyvalue = None;
        let grants = Grants { keyvalue: true, ..Grants::default() };
        let (effective, notes) = EffectiveGrants::new(&manifest, &grants, &Ceiling::default()).unwrap();
        assert!(!effective.keyvalue && notes.iter().any(|note| note.contains("`keyvalue`")));
    }

    #[test]
    fn grants_that_cannot_be_read_are_refused() {
        for (grants, expected) in [
            ("http = [\"a.com\"]", "`http`"),
            ("networks = [\"10.0.0.1\"]", "`networks`"),
            ("limits = { concurrency = 0 }", "`concurrency`"),
        ] {
            assert!(effective(grants).unwrap_err().to_string().contains(expected), "{grants}");
        }
    }

    #[test]
    fn each_missing_grant_comes_with_the_line_that_gives_it() {
        let manifest: Manifest = toml::from_str(MANIFEST).unwrap();
        let mut file = String::new();
        for missing in missing_grants(&manifest, &Grants::default()) {
            let (_, line) = missing.rsplit_once(": ").unwrap();
            if !file.contains(line) {
                file.push_str(line);
                file.push('\n');
            }
        }
        assert_eq!(
            file,
            "http = [\"https://*.example.com\", \"https://api.other.io\"]\nconnections.chat = \"chat\"\njobs.load = \"load\"\n\
             outputs.rules = \"rules\"\nkeyvalue = true\nresources = true\n"
        );
        assert_eq!(missing_grants(&manifest, &toml::from_str(&file).unwrap()), Vec::<String>::new());
    }
}
