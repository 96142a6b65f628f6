//! The rules of a manifest that its types do not hold.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use super::Manifest;
use super::read::{Report, Step};
use crate::grant::HostRule;
use crate::host_event::{HOST_TYPE_PREFIX, is_host_type};
use crate::keptn::{TaskEventKind, parse_task_event};

/// Longest description or reason, in characters: it has to fit on the operator's screen.
const SENTENCE_LENGTH_MAX: usize = 400;

impl Manifest {
    /// Tells whether the plugin may send events of this type: `emits` lists it, and it is neither one of the host's
    /// nor a task's `.started` or `.finished`, which only the host makes.
    pub fn may_emit(&self, ty: &str) -> bool {
        let listed = self.emits.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => ty.starts_with(prefix),
            None => is_listed(pattern, ty),
        });
        listed && !is_host_type(ty) && !is_made_by_host(ty)
    }

    /// Reports every rule that the manifest breaks.
    pub(super) fn check(&self, report: &mut Report<'_>) {
        if !is_semver(&self.version) {
            report.add(&[Step::Key("version")], "is not a version such as `1.4.0` or `1.4.0-rc.1` (semver 2.0)");
        }
        check_sentence(report, &[Step::Key("description")], &self.description);
        if let Some(licence) = &self.licence {
            check_sentence(report, &[Step::Key("licence")], licence);
        }
        self.check_emits(report);
        self.check_consumed(report);
        if self.settings.as_ref().is_some_and(|settings| !settings.schema.is_object()) {
            report.add(&[Step::Key("settings"), Step::Key("schema")], "must be a table: a JSON Schema of the settings");
        }
        self.check_http(report);
        check_named(report, "connection", self.connections.iter().map(|it| (&it.name, &it.reason)));
        check_named(report, "job", self.jobs.iter().map(|it| (&it.name, &it.reason)));
        check_named(report, "outputs", self.outputs.iter().map(|it| (&it.name, &it.reason)));
        let reasons = [
            ("any-task", &self.any_task),
            ("any-connection", &self.any_connection),
            ("any-job", &self.any_job),
            ("keyvalue", &self.keyvalue),
            ("event-log", &self.event_log),
            ("inbound", &self.inbound),
        ];
        for (table, request) in reasons {
            if let Some(request) = request {
                check_sentence(report, &[Step::Key(table), Step::Key("reason")], &request.reason);
            }
        }
        if let Some(resources) = &self.resources {
            check_sentence(report, &[Step::Key("resources"), Step::Key("reason")], &resources.reason);
            for (index, folder) in resources.write.iter().enumerate() {
                if folder.strip_suffix('/').is_none_or(|path| crate::resource::FilePath::new(path).is_err()) {
                    let path = [Step::Key("resources"), Step::Key("write"), Step::Index(index)];
                    report.add(&path, "must be a folder such as `grafana/`, with a slash at its end");
                }
            }
        }
        if let Some(name) = self.limits.zero() {
            report.add(&[Step::Key("limits"), Step::Key(name)], "is zero, so the plugin could never run");
        }
    }

    fn check_emits(&self, report: &mut Report<'_>) {
        let mut seen = BTreeSet::new();
        for (index, pattern) in self.emits.iter().enumerate() {
            let path = [Step::Key("emits"), Step::Index(index)];
            if let Some(problem) = emits_problem(pattern) {
                report.add(&path, problem);
            }
            if !seen.insert(pattern) {
                report.add(&path, "stands twice");
            }
        }
    }

    fn check_consumed(&self, report: &mut Report<'_>) {
        for (index, task) in self.tasks.iter().enumerate() {
            let path = [Step::Key("task"), Step::Index(index)];
            if let Err(error) = task.data_match.check() {
                report.add(&[path[0], path[1], Step::Key("match")], error.to_string());
            }
            if task.finish_timeout.is_some_and(|span| span.0 == Duration::ZERO) {
                report.add(&[path[0], path[1], Step::Key("finish-timeout")], "is zero, so every task would time out");
            }
            if self.tasks.iter().take(index).any(|it| it.name == task.name && it.data_match == task.data_match) {
                report.add(&path, "the same task with the same `match` stands twice");
            }
        }
        for (index, subscription) in self.subscriptions.iter().enumerate() {
            let path = [Step::Key("subscribe"), Step::Index(index)];
            if let Err(error) = subscription.filter.check() {
                report.add(&[path[0], path[1], Step::Key("filter")], error.to_string());
            }
            if let Err(error) = subscription.data_match.check() {
                report.add(&[path[0], path[1], Step::Key("match")], error.to_string());
            }
            if self.subscriptions.iter().take(index).any(|it| it == subscription) {
                report.add(&path, "the same subscription stands twice");
            }
        }
    }

    fn check_http(&self, report: &mut Report<'_>) {
        let mut seen = BTreeSet::new();
        for (index, request) in self.http.iter().enumerate() {
            let (http, index) = (Step::Key("http"), Step::Index(index));
            check_sentence(report, &[http, index, Step::Key("reason")], &request.reason);
            if request.hosts.is_empty() {
                report.add(&[http, index, Step::Key("hosts")], "is empty; name at least one host");
            }
            for (position, host) in request.hosts.iter().enumerate() {
                let path = [http, index, Step::Key("hosts"), Step::Index(position)];
                match HostRule::parse(host) {
                    Err(error) => report.add(&path, error.to_string()),
                    Ok(rule) if seen.contains(&rule) => report.add(&path, "the same host stands twice"),
                    Ok(rule) => {
                        seen.insert(rule);
                    }
                }
            }
        }
    }
}

fn check_named<'a, N: Ord + Display + 'a>(
    report: &mut Report<'_>,
    table: &str,
    requests: impl Iterator<Item = (&'a N, &'a String)>,
) {
    let mut seen = BTreeSet::new();
    for (index, (name, reason)) in requests.enumerate() {
        check_sentence(report, &[Step::Key(table), Step::Index(index), Step::Key("reason")], reason);
        if !seen.insert(name) {
            report.add(&[Step::Key(table), Step::Index(index), Step::Key("name")], format!("`{name}` stands twice"));
        }
    }
}

/// The text is shown to the operator who decides on it, in a terminal.
fn check_sentence(report: &mut Report<'_>, path: &[Step<'_>], text: &str) {
    if text.trim().is_empty() {
        report.add(path, "is empty; the operator reads it and decides by it");
    } else if text.chars().any(char::is_control) {
        report.add(path, "has control characters or more than one line; write one sentence");
    } else if text.chars().count() > SENTENCE_LENGTH_MAX {
        report.add(path, format!("is longer than {SENTENCE_LENGTH_MAX} characters; write one sentence"));
    }
}

fn is_made_by_host(ty: &str) -> bool {
    matches!(parse_task_event(ty), Some((_, TaskEventKind::Started | TaskEventKind::Finished)))
}

/// Compares part by part; a `*` stands for one part.
fn is_listed(pattern: &str, ty: &str) -> bool {
    let (mut wanted, mut found) = (pattern.split('.'), ty.split('.'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some("*"), Some(part)) if !part.is_empty() => {}
            (Some(wanted), Some(part)) if wanted == part => {}
            _ => return false,
        }
    }
}

fn emits_problem(pattern: &str) -> Option<String> {
    let prefix = pattern.strip_suffix('*').unwrap_or(pattern);
    if prefix.is_empty() {
        return Some("allows every type; list the types that the plugin sends".to_owned());
    }
    // At the end of a pattern, `*` is any rest; before, it is one whole part.
    let loose = prefix.split('.').any(|part| part.contains('*') && part != "*");
    if prefix.starts_with('*') || loose || (prefix.contains('*') && pattern.ends_with('*')) {
        return Some("has a `*` that is neither at the end nor one whole part between dots".to_owned());
    }
    if prefix.chars().any(|it| it.is_control() || it.is_whitespace()) {
        return Some("has white space or control characters".to_owned());
    }
    if is_host_type(prefix) {
        return Some(format!("begins with `{HOST_TYPE_PREFIX}`; only the host sends such events"));
    }
    if is_made_by_host(prefix) {
        return Some(
            "only the host sends a task's `.started` and `.finished`; return the task's answer instead".to_owned(),
        );
    }
    None
}

/// Semver 2.0 without its library: a version is compared for equality only.
fn is_semver(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
    let number = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    let identifier = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(|part| identifier(part) && (!digits(part) || number(part))))
        && build.is_none_or(|build| build.split('.').all(identifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "demo"
version = "1.2.3-rc.1+build.5"
description = "Shows every key."
licence = "Apache-2.0"
emits = ["com.example.done.v1", "com.example.report.*", "sh.keptn.event.get-sli.triggered"]
order = "key"
http = [{ hosts = ["https://api.example.com"], reason = "Reads builds." }]
outputs = [{ name = "rules", reason = "Writes rules." }]
keyvalue = { reason = "Remembers builds." }

[[task]]
name = "test"
match = { "/test/teststrategy" = ["performance"] }
finish-timeout = "2h"

[[task]]
name = "test"

[[subscribe]]
filter = { exact = { type = "com.example.built.v1" } }
own-events = true

[settings.schema]
type = "object"

[[connection]]
name = "chat"
reason = "Sends messages."
optional = true

[[job]]
name = "load"
reason = "Runs tests."

[limits]
memory = "128MiB"
log = "0B"
"#;

    #[test]
    fn a_manifest_with_every_key_is_read_and_written() {
        let manifest = Manifest::parse(GOOD).unwrap();
        assert_eq!(Manifest::parse(&toml::to_string(&manifest).unwrap()).unwrap(), manifest);
        let json = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
    }

    #[test]
    fn every_broken_rule_is_reported_at_once_with_its_line() {
        let bad = r#"
name = "demo"
version = "1.2"
description = " "
emits = ["dev.pilothouse.x", "*", "a*b", "sh.keptn.event.test.finished", "ok", "ok"]
http = [{ hosts = ["api.example.com"], reason = "x" }, { hosts = [], reason = "" }]

[[task]]
name = "test"
match = { "test" = ["x"] }
finish-timeout = "0s"

[[subscribe]]
filter = { all = [] }

[settings]
schema = "x"

[[connection]]
name = "chat"
reason = "x"

[[connection]]
name = "chat"
reason = "a\u001b[2Jb"

[limits]
concurrency = 0
"#;
        let problems = Manifest::parse(bad).unwrap_err().problems;
        let told: Vec<(usize, &str)> = problems.iter().map(|it| (it.line.unwrap(), it.at.as_str())).collect();
        assert_eq!(
            told,
            [
                (3, "version"),
                (4, "description"),
                (5, "emits[0]"),
                (5, "emits[1]"),
                (5, "emits[2]"),
                (5, "emits[3]"),
                (5, "emits[5]"),
                (6, "http[0].hosts[0]"),
                (6, "http[1].hosts"),
                (6, "http[1].reason"),
                (10, "task[0].match"),
                (11, "task[0].finish-timeout"),
                (14, "subscribe[0].filter"),
                (17, "settings.schema"),
                (24, "connection[1].name"),
                (25, "connection[1].reason"),
                (28, "limits.concurrency"),
            ]
        );
    }

    #[test]
    fn the_same_thing_does_not_stand_twice() {
        let twice = GOOD.replace("[settings.schema]", "[[subscribe]]\nfilter = { exact = { type = \"com.example.built.v1\" } }\nown-events = true\n\n[[task]]\nname = \"test\"\n\n[settings.schema]");
        let problems = Manifest::parse(&twice).unwrap_err().problems;
        assert_eq!(problems.iter().map(|it| it.at.as_str()).collect::<Vec<_>>(), ["subscribe[1]", "task[2]"]);
    }

    #[test]
    fn a_plugin_sends_what_it_lists_and_never_what_only_the_host_sends() {
        let mut manifest = Manifest::parse(GOOD).unwrap();
        for (ty, expected) in [
            ("com.example.done.v1", true),
            ("com.example.done.v12", false),
            ("com.example.report.daily", true),
            ("com.example.report", false),
            ("sh.keptn.event.get-sli.triggered", true),
            ("sh.keptn.event.get-sli.finished", false),
        ] {
            assert_eq!(manifest.may_emit(ty), expected, "{ty}");
        }
        manifest.emits = vec!["sh.keptn.*".into(), "dev.*".into()];
        for (ty, expected) in [
            ("sh.keptn.event.test.started", false),
            ("sh.keptn.event.test.finished", false),
            ("sh.keptn.event.test.status.changed", true),
            ("dev.pilothouse.job.finished.v1", false),
            ("dev.other", true),
        ] {
            assert_eq!(manifest.may_emit(ty), expected, "{ty}");
        }
        manifest.emits = vec!["sh.keptn.event.*.remediation.triggered".into()];
        for (ty, expected) in [
            ("sh.keptn.event.prod.remediation.triggered", true),
            ("sh.keptn.event.remediation.triggered", false),
            ("sh.keptn.event..remediation.triggered", false),
            ("sh.keptn.event.a.b.remediation.triggered", false),
            ("sh.keptn.event.prod.remediation.finished", false),
        ] {
            assert_eq!(manifest.may_emit(ty), expected, "{ty}");
        }
        assert_eq!(emits_problem("sh.keptn.event.*.remediation.triggered"), None);
        for bad in ["*.x", "a.b*.c", "a.*.b*", "*"] {
            assert!(emits_problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn versions_are_semver() {
        for good in ["0.0.0", "1.2.3", "1.0.0-alpha.1", "1.0.0--", "1.0.0+001", "1.0.0-0a"] {
            assert!(is_semver(good), "{good}");
        }
        for bad in ["", "1", "1.2", "1.2.3.4", "v1.2.3", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "1.2.x", "1.2.3-é"]
        {
            assert!(!is_semver(bad), "{bad}");
        }
    }
}
