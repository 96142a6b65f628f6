//! Makes alert rules from an SLO, and writes and reads the rules file.
//!
//! Never here: asking Prometheus whether it takes them (`configure`).

use std::collections::BTreeMap;

use pilothouse_sdk::files::criterion::Criterion;
use serde::{Deserialize, Serialize};

use crate::budget;
use crate::slo::{Objective, Queries, Slo, violated};
use pilothouse_sdk::files::place::Place;
use pilothouse_sdk::files::query::{self, Scope};

/// The window of a query in an alert, in seconds (V1's value).
pub const WINDOW_SECONDS_DEFAULT: u64 = 180;
/// How long a limit must be broken before the alert fires (V1's value).
pub const FOR_DEFAULT: &str = "10m";

/// A rules file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesFile {
    /// One group per stage.
    #[serde(default)]
    pub groups: Vec<Group>,
}

/// The rules of one stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RawGroup")]
pub struct Group {
    /// Unique within the file.
    pub name: String,
    /// What is recorded, for the alerts.
    pub recordings: Vec<Recording>,
    /// The alerts.
    pub rules: Vec<Alert>,
}

/// A series that Prometheus computes and keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// What it is called.
    pub record: String,
    /// PromQL.
    pub expr: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A group as the file has it: recordings and alerts in one list.
#[derive(Deserialize)]
struct RawGroup {
    name: String,
    #[serde(default)]
    rules: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawRule {
    Recording(Recording),
    Alert(Alert),
}

impl Group {
    /// Returns the group as Prometheus' formats have it: recordings and alerts in one list.
    pub fn raw(&self) -> serde_json::Value {
        let recordings = self.recordings.iter().map(|it| serde_json::json!(it));
        let rules: Vec<serde_json::Value> =
            recordings.chain(self.rules.iter().map(|it| serde_json::json!(it))).collect();
        serde_json::json!({ "name": self.name, "rules": rules })
    }
}

impl From<RawGroup> for Group {
    fn from(raw: RawGroup) -> Self {
        let mut group = Self { name: raw.name, ..Self::default() };
        for rule in raw.rules {
            match rule {
                RawRule::Recording(recording) => group.recordings.push(recording),
                RawRule::Alert(alert) => group.rules.push(alert),
            }
        }
        group
    }
}

/// One alert rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Its name: the indicator's.
    pub alert: String,
    /// PromQL.
    pub expr: String,
    /// How long it must hold.
    #[serde(rename = "for", default = "at_once")]
    pub hold: String,
    /// Labels of the alert.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Texts for people; Prometheus fills in `{{ … }}`.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// What an alert without `for` means.
fn at_once() -> String {
    "0s".to_owned()
}

/// Something in the SLO that is no alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The indicator.
    pub sli: String,
    /// The criterion; absent when the whole objective is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub criterion: Option<String>,
    /// Why.
    pub reason: String,
}

/// Makes the group of one stage; `hold` is how long a limit must be broken, `more_labels` go on each alert.
///
/// An alert fires when none of the objective's alternatives is met: each of them must have a broken criterion. A relative
/// criterion compares with earlier evaluations, which Prometheus does not know, so it is skipped and reported: the alert
/// then fires less often than the objective is missed, never more often. An objective with an alternative that has no other
/// criteria, or without a query, makes no alert.
pub fn group(
    slo: &Slo,
    queries: &Queries,
    place: &Place,
    seconds: u64,
    hold: &str,
    more_labels: &BTreeMap<String, String>,
) -> (Group, Vec<Skipped>) {
    let labels = BTreeMap::new();
    let filters: Vec<(String, String)> = slo.filter.clone().into_iter().collect();
    let window = format!("{seconds}s");
    let scope = Scope { place, deployment: "primary", labels: &labels, filters: &filters, window: &window };
    let mut group = Group { name: place.group(), ..Group::default() };
    let mut skipped = Vec::new();
    for objective in &slo.objectives {
        let Some(budget) = &objective.error_budget else { continue };
        match budget::rules(objective, budget, queries, place, &filters, more_labels) {
            Ok((recordings, alerts)) => {
                group.recordings.extend(recordings);
                group.rules.extend(alerts);
            }
            Err(reason) => {
                skipped.push(Skipped { sli: objective.sli.clone(), criterion: Some("errorBudget".to_owned()), reason })
            }
        }
    }
    for objective in slo.objectives.iter().filter(|objective| !objective.pass.is_empty()) {
        let skip = |criterion: Option<&Criterion>, reason: String| Skipped {
            sli: objective.sli.clone(),
            criterion: criterion.map(|criterion| criterion.text.clone()),
            reason,
        };
        let relative = objective.pass.iter().flatten().filter(|criterion| criterion.relative);
        skipped.extend(relative.map(|it| skip(Some(it), "compares with earlier evaluations".to_owned())));
        if objective.pass.iter().any(|all| all.iter().all(|criterion| criterion.relative)) {
            let reason =
                "an alternative compares only with earlier evaluations, so no threshold says when it is broken";
            skipped.push(skip(None, reason.to_owned()));
            continue;
        }
        match query::of(&objective.sli, queries, &scope) {
            Err(reason) => skipped.push(skip(None, reason)),
            Ok(query) => group.rules.extend(alert(objective, &query, place, hold, more_labels)),
        }
    }
    (group, skipped)
}

/// Makes the alert of an objective, if it has an absolute criterion.
fn alert(
    objective: &Objective,
    query: &str,
    place: &Place,
    hold: &str,
    more_labels: &BTreeMap<String, String>,
) -> Option<Alert> {
    let alternatives: Vec<Vec<&Criterion>> =
        objective.pass.iter().map(|all| all.iter().filter(|criterion| !criterion.relative).collect()).collect();
    let broken = |all: &Vec<&Criterion>| {
        let each: Vec<String> =
            all.iter().map(|it| format!("({query}) {} {}", violated(it.operator), it.value)).collect();
        each.join(" or ")
    };
    let expr = match alternatives.as_slice() {
        [] => return None,
        [one] => broken(one),
        several => several.iter().map(|all| format!("({})", broken(all))).collect::<Vec<_>>().join(" and "),
    };
    let wanted: Vec<String> = alternatives
        .iter()
        .map(|all| all.iter().map(|it| it.text.as_str()).collect::<Vec<_>>().join(" and "))
        .collect();
    let labels = [
        ("severity", "webhook"),
        ("project", &place.project),
        ("stage", &place.stage),
        ("service", &place.service),
        ("deployment", "primary"),
    ];
    let name = objective.display_name.as_ref().filter(|name| !name.is_empty()).unwrap_or(&objective.sli);
    let description = format!(
        "{} of {} in {}/{} is {{{{ $value }}}}; wanted is {}",
        untemplated(&objective.sli),
        place.service,
        place.project,
        place.stage,
        wanted.join(", or ")
    );
    let annotations = [("summary", untemplated(name)), ("description", description)];
    let owned = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    Some(Alert {
        alert: objective.sli.clone(),
        expr,
        hold: hold.to_owned(),
        labels: owned(&labels).into_iter().chain(more_labels.clone()).collect(),
        annotations: annotations.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    })
}

/// Keeps text out of Prometheus' templates.
fn untemplated(text: &str) -> String {
    text.replace("{{", "{ {").replace("}}", "} }")
}

impl RulesFile {
    /// Reads a file that this plugin wrote.
    ///
    /// # Errors
    /// Somebody changed it into something that is not a rules file.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())
    }

    /// Puts groups in place of those of the same name, and leaves the others, so that one stage can be configured alone.
    pub fn merge(&mut self, groups: Vec<Group>) {
        for group in groups {
            match self.groups.iter_mut().find(|it| it.name == group.name) {
                Some(old) => *old = group,
                None => self.groups.push(group),
            }
        }
    }

    /// Drops groups without alerts, which Prometheus would list as empty.
    #[must_use]
    pub fn without_empty_groups(mut self) -> Self {
        self.groups.retain(|group| !group.rules.is_empty() || !group.recordings.is_empty());
        self
    }

    /// Writes the file as YAML.
    ///
    /// Scalars are quoted the way JSON does it, which YAML reads as the same text.
    pub fn to_yaml(&self, place: &Place, commit: Option<&str>) -> String {
        let mut out = format!(
            "# Alert rules of service {} in project {}, generated by Pilothouse from its SLO. Changes here are overwritten.\n",
            place.service, place.project
        );
        if let Some(commit) = commit.filter(|commit| commit.chars().all(|c| c.is_ascii_alphanumeric())) {
            out.push_str(&format!("# Commit {commit}.\n"));
        }
        out.push_str("groups:\n");
        for group in &self.groups {
            out.push_str(&format!("- name: {}\n  rules:\n", quoted(&group.name)));
            for recording in &group.recordings {
                out.push_str(&format!("  - record: {}\n", quoted(&recording.record)));
                out.push_str(&format!("    expr: {}\n    labels:\n", quoted(&recording.expr)));
                for (key, value) in &recording.labels {
                    out.push_str(&format!("      {}: {}\n", quoted(key), quoted(value)));
                }
            }
            for rule in &group.rules {
                out.push_str(&format!("  - alert: {}\n", quoted(&rule.alert)));
                out.push_str(&format!("    expr: {}\n    for: {}\n", quoted(&rule.expr), quoted(&rule.hold)));
                for (name, map) in [("labels", &rule.labels), ("annotations", &rule.annotations)] {
                    out.push_str(&format!("    {name}:\n"));
                    for (key, value) in map {
                        out.push_str(&format!("      {}: {}\n", quoted(key), quoted(value)));
                    }
                }
            }
        }
        out
    }
}

/// Quotes a text the way JSON does it, which YAML and PromQL read as the same text.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::read_slo;

    const HEAD: &str = "spec_version: '1.0'\ntotal_score: {pass: 90%}\n";

    fn place() -> Place {
        Place { project: "shop".to_owned(), stage: "dev".to_owned(), service: "cart".to_owned() }
    }

    /// Makes the group of an SLO with one objective `x`, whose query is `q`.
    fn of(pass: &str) -> (Group, Vec<Skipped>) {
        let slo = read_slo(&format!("{HEAD}objectives:\n- sli: x\n  pass: {pass}\n")).unwrap();
        let queries = BTreeMap::from([("x".to_owned(), "q".to_owned())]);
        group(&slo, &queries, &place(), 180, "10m", &BTreeMap::new())
    }

    #[test]
    fn an_alert_fires_when_no_alternative_is_met() {
        let cases = [
            ("one criterion", "[{criteria: ['<600']}]", "(q) >= 600"),
            ("an inclusive limit", "[{criteria: ['<=600']}]", "(q) > 600"),
            ("equal", "[{criteria: ['=0']}]", "(q) != 0"),
            ("and: one broken is enough", "[{criteria: ['<600', '>=10']}]", "(q) >= 600 or (q) < 10"),
            (
                "or: all must be broken",
                "[{criteria: ['<600']}, {criteria: ['>1000']}]",
                "((q) >= 600) and ((q) <= 1000)",
            ),
            (
                "or of ands",
                "[{criteria: ['<600', '>10']}, {criteria: ['=0']}]",
                "((q) >= 600 or (q) <= 10) and ((q) != 0)",
            ),
            ("relative beside absolute", "[{criteria: ['<=+10%', '<600']}]", "(q) >= 600"),
            ("a fraction", "[{criteria: ['<0.05']}]", "(q) >= 0.05"),
        ];
        for (name, pass, expected) in cases {
            let (group, _) = of(pass);
            assert_eq!(group.rules.len(), 1, "{name}");
            assert_eq!(group.rules[0].expr, expected, "{name}");
        }
    }

    #[test]
    fn an_alternative_of_relative_criteria_alone_may_be_met_so_no_threshold_tells() {
        let (group, skipped) = of("[{criteria: ['<=+10%']}, {criteria: ['<600']}]");
        assert!(group.rules.is_empty());
        assert!(skipped.iter().any(|it| it.sli == "x" && it.criterion.is_none()), "{skipped:?}");
    }

    #[test]
    fn relative_criteria_are_reported_and_alone_make_no_alert() {
        let (group, skipped) = of("[{criteria: ['<=+10%', '<+5']}, {criteria: ['>-3']}]");
        assert!(group.rules.is_empty());
        let texts: Vec<&str> = skipped.iter().filter_map(|it| it.criterion.as_deref()).collect();
        assert_eq!(texts, ["<=+10%", "<+5", ">-3"]);
    }

    #[test]
    fn an_objective_without_a_query_is_reported_and_an_informational_one_is_not() {
        let slo = read_slo(&format!("{HEAD}objectives:\n- sli: memory\n  pass: [{{criteria: ['<1']}}]\n- sli: info\n"))
            .unwrap();
        let (group, skipped) = group(&slo, &BTreeMap::new(), &place(), 180, "10m", &BTreeMap::new());
        assert!(group.rules.is_empty());
        assert_eq!(skipped.len(), 1);
        assert!(skipped[0].reason.starts_with("unsupported SLI: `memory`"));
    }

    #[test]
    fn a_rule_carries_what_remediation_needs() {
        let slo = read_slo(
            "spec_version: '1.0'\ntotal_score: {pass: 90%}\nfilter: {handler: Items}\nobjectives:\n- sli: response_time_p95\n  displayName: 'P95 {{ bad }}'\n  pass: [{criteria: ['<600']}]\n",
        )
        .unwrap();
        let (group, _) = group(&slo, &BTreeMap::new(), &place(), 120, "30s", &BTreeMap::new());
        let yaml = RulesFile { groups: vec![group] }.to_yaml(&place(), Some("abc123"));
        assert_eq!(
            yaml,
            r#"# Alert rules of service cart in project shop, generated by Pilothouse from its SLO. Changes here are overwritten.
# Commit abc123.
groups:
- name: "cart shop-dev alerts"
  rules:
  - alert: "response_time_p95"
    expr: "(histogram_quantile(0.95,sum(rate(http_response_time_milliseconds_bucket{job='cart-shop-dev',handler='Items'}[120s]))by(le))) >= 600"
    for: "30s"
    labels:
      "deployment": "primary"
      "project": "shop"
      "service": "cart"
      "severity": "webhook"
      "stage": "dev"
    annotations:
      "description": "response_time_p95 of cart in shop/dev is {{ $value }}; wanted is <600"
      "summary": "P95 { { bad } }"
"#
        );
    }

    #[test]
    fn a_file_is_read_back_as_it_was_written() {
        let (group, _) = of("[{criteria: ['<600']}]");
        let file = RulesFile { groups: vec![group] };
        assert_eq!(RulesFile::parse(&file.to_yaml(&place(), None)).unwrap(), file);
        assert!(RulesFile::parse("groups: 1").is_err());
    }

    #[test]
    fn one_stage_is_replaced_and_the_others_stay() {
        let group = |name: &str, sli: &str| {
            let (mut group, _) = of("[{criteria: ['<1']}]");
            group.name = name.to_owned();
            group.rules[0].alert = sli.to_owned();
            group
        };
        let mut file = RulesFile { groups: vec![group("dev", "old"), group("prod", "kept")] };
        file.merge(vec![group("dev", "new"), group("test", "added")]);
        let alerts: Vec<&str> = file.groups.iter().map(|it| it.rules[0].alert.as_str()).collect();
        assert_eq!(alerts, ["new", "kept", "added"]);
    }

    #[test]
    fn a_stage_without_alerts_has_no_group() {
        let file = RulesFile { groups: vec![Group { name: "x".to_owned(), ..Group::default() }] };
        assert!(file.without_empty_groups().groups.is_empty());
    }
}
