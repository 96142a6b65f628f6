//! The monitoring file: what is scraped and alerted on, beyond what SLIs and SLOs say.

use std::collections::BTreeMap;

use crate::member::{is_not, meant, place, read as read_file, scalar, shown, spec_version, texts, too_many};
use crate::yaml::fields::Fields;
use crate::yaml::{Node, Problem};

/// Most targets of a file; real ones have one to a dozen.
pub const TARGETS_MAX: usize = 1_000;
/// Most labels, each of which is put on every sample and every alert.
pub const LABELS_MAX: usize = 50;

/// What becomes of a generated file that somebody changed by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandEdits {
    /// It is written anew.
    #[default]
    Restore,
    /// It stays, and is reported.
    Report,
}

/// What a project says about its monitoring. What is `None` the installation's settings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Monitoring {
    /// Scrape targets, `host:port`; placeholders as in queries.
    pub targets: Option<Vec<String>>,
    /// Labels of all samples and alerts.
    pub labels: BTreeMap<String, String>,
    /// How long a limit must be broken before an alert fires, as Prometheus writes it.
    pub alert_for: Option<String>,
    /// The window of the queries in alerts, as Prometheus writes it.
    pub alert_window: Option<String>,
    /// What becomes of hand edits.
    pub hand_edits: Option<HandEdits>,
}

impl Monitoring {
    /// Lets a nearer file win, member by member.
    #[must_use]
    pub fn under(mut self, nearer: Self) -> Self {
        self.labels.extend(nearer.labels);
        Self {
            targets: nearer.targets.or(self.targets),
            labels: self.labels,
            alert_for: nearer.alert_for.or(self.alert_for),
            alert_window: nearer.alert_window.or(self.alert_window),
            hand_edits: nearer.hand_edits.or(self.hand_edits),
        }
    }
}

/// Reads a monitoring file. The first part is `None` if there is an error that stops a run.
pub fn read(bytes: &[u8]) -> (Option<Monitoring>, Vec<Problem>) {
    read_file(bytes, Problem::stops_a_run, file)
}

fn file(node: &Node, problems: &mut Vec<Problem>) -> Option<Monitoring> {
    let what = "the monitoring file";
    let mut fields = Fields::of(node, what, problems)?;
    spec_version(&mut fields, node.at, "1.0");
    let targets = fields.list("targets");
    let targets_at = place(&mut fields, "targets", node.at);
    let labels = fields.get("labels");
    let mut time = |name: &'static str| {
        let text = fields.text(name)?;
        if is_duration(&text) {
            return Some(text);
        }
        let node = fields.get(name)?;
        fields.problems().push(is_not(name, what, node, "a time of Prometheus', such as `10m`"));
        None
    };
    let (alert_for, alert_window) = (time("alertFor"), time("alertWindow"));
    let hand_edits = match fields.text("handEdits").as_deref() {
        None => None,
        Some("restore") => Some(HandEdits::Restore),
        Some("report") => Some(HandEdits::Report),
        Some(other) => {
            let at = place(&mut fields, "handEdits", node.at);
            let hint = meant(other, &["restore", "report"]);
            fields.problems().push(Problem::error(at, format!("`handEdits` cannot be `{}`; {hint}", shown(other))));
            None
        }
    };
    fields.finish();
    let labels = labels.map(|node| self::labels(node, problems)).unwrap_or_default();
    let targets = targets.map(|items| {
        if items.len() > TARGETS_MAX {
            problems.push(too_many(targets_at, "`targets`", items.len(), TARGETS_MAX));
        }
        let text = |item: &Node| {
            let text = scalar(item).map(str::to_owned);
            if text.is_none() {
                let message = format!("a target must be a text such as `cart:8080`, this is {}", item.kind());
                problems.push(Problem::error(item.at, message));
            }
            text
        };
        items.iter().take(TARGETS_MAX).filter_map(text).collect()
    });
    Some(Monitoring { targets, labels, alert_for, alert_window, hand_edits })
}

fn labels(node: &Node, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let found = texts(node, "`labels`", LABELS_MAX, problems);
    for name in found.keys() {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !name.starts_with(|first: char| first.is_ascii_digit());
        if !plain || name.starts_with("__") || ["job", "project", "stage", "service"].contains(&name.as_str()) {
            let message = format!(
                "`{}` cannot be a label here: Prometheus' names have letters, digits and `_`, and `job`, `project`, `stage` \
                 and `service` are set by Pilothouse",
                shown(name)
            );
            problems.push(Problem::error(node.at, message));
        }
    }
    found
}

/// Tells whether Prometheus reads `text` as a duration: `10m`, `1h30m`.
pub fn is_duration(text: &str) -> bool {
    seconds(text).is_some()
}

/// Reads a duration of Prometheus' as whole seconds, rounded down.
pub fn seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut milliseconds: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at(digits);
        let units = [
            ("ms", 1),
            ("s", 1_000),
            ("m", 60_000),
            ("h", 3_600_000),
            ("d", 86_400_000),
            ("w", 604_800_000),
            ("y", 31_536_000_000),
        ];
        let (name, factor) = units.into_iter().find(|(name, _)| digits > 0 && unit.starts_with(name))?;
        milliseconds = number.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(milliseconds)?;
        rest = rest.get(digits + name.len()..).unwrap_or_default();
    }
    (!text.is_empty()).then_some(milliseconds / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nearer_file_wins_member_by_member() {
        let read = |text: &str| read(format!("spec_version: '1.0'\n{text}").as_bytes()).0.unwrap();
        let far = read("targets: ['$SERVICE:80']\nlabels: {team: a, tier: x}\nalertFor: 1m\nhandEdits: report\n");
        let near = read("targets: [cart:81]\nlabels: {team: b}\n");
        let both = far.under(near);
        assert_eq!(both.targets, Some(vec!["cart:81".to_owned()]));
        assert_eq!(both.labels, BTreeMap::from([("team".into(), "b".into()), ("tier".into(), "x".into())]));
        assert_eq!((both.alert_for.as_deref(), both.hand_edits), (Some("1m"), Some(HandEdits::Report)));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("target: [x]", "did you mean `targets`"),
            ("targets: [{a: b}]", "a target must be a text"),
            ("labels: {job: x}", "`job` cannot be a label"),
            ("labels: {a-b: x}", "`a-b` cannot be a label"),
            ("alertFor: soon", "alertFor"),
            ("handEdits: keep", "`handEdits` cannot be `keep`"),
        ] {
            let (_, problems) = read(format!("spec_version: '1.0'\n{text}\n").as_bytes());
            assert!(problems.iter().any(|it| it.message.contains(expected)), "{text}: {problems:?}");
        }
    }

    #[test]
    fn durations_are_prometheus_own() {
        for (text, expected) in [
            ("10m", Some(600)),
            ("1h30m", Some(5_400)),
            ("500ms", Some(0)),
            ("0s", Some(0)),
            ("", None),
            ("10", None),
            ("1.5h", None),
            ("10 m", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
