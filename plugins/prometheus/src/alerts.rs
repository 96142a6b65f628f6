//! Alertmanager's notifications (webhook, version 4): each firing alert becomes the trigger of a remediation, each resolved
//! one the end of its problem.
//!
//! An alert is the same problem as long as its fingerprint and its start are the same, so that a notification which comes
//! again has no effect.

use std::collections::BTreeMap;

use pilothouse_sdk::{Event, Received, Request};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use pilothouse_sdk::files::place::is_name;

/// What a resolved alert becomes.
pub const RESOLVED: &str = "io.prometheus.alert.resolved.v1";
/// Most alerts of one notification: what the host takes at once. One that has more is refused with the way out.
const ALERTS_MAX: usize = 2_000;
/// Longest text that is taken from an annotation, in characters.
const TEXT_CHARS_MAX: usize = 2_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    alerts: Vec<Alert>,
    #[serde(default)]
    truncated_alerts: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    starts_at: String,
    #[serde(default)]
    ends_at: String,
    #[serde(default, rename = "generatorURL")]
    generator_url: String,
    #[serde(default)]
    fingerprint: String,
}

/// Makes the events of a notification.
///
/// # Errors
/// It is none of Alertmanager's, or has too many alerts; the text is for who sent it.
pub fn receive(request: &Request) -> Result<Received, String> {
    let notification: Notification = request.json()?;
    let count = notification.alerts.len();
    if count > ALERTS_MAX {
        return Err(format!(
            "the notification has {count} alerts, at most {ALERTS_MAX} are taken at once; group them by project, stage and \
             service (`group_by`), or set `max_alerts` of the receiver"
        ));
    }
    let (mut received, mut taken, mut left_out) = (Received::none(), 0_u32, Vec::new());
    for alert in &notification.alerts {
        match event(alert) {
            Ok(event) => {
                received = received.event(event);
                taken += 1;
            }
            Err(why) => left_out.push(why),
        }
    }
    let answer = json!({ "accepted": taken, "leftOut": left_out, "truncatedAlerts": notification.truncated_alerts });
    Ok(received.response(202, "application/json", answer.to_string()))
}

/// Makes the event of an alert; says why there is none.
fn event(alert: &Alert) -> Result<Event, String> {
    let label = |name: &str| alert.labels.get(name).map(String::as_str).unwrap_or_default();
    let title = label("alertname");
    let [project, stage, service] = ["project", "stage", "service"].map(label);
    if let Some((name, _)) =
        [("project", project), ("stage", stage), ("service", service)].into_iter().find(|(_, value)| !is_name(value))
    {
        return Err(format!("alert `{}`: its label `{name}` is no name", cut(title)));
    }
    if alert.fingerprint.is_empty() || alert.starts_at.is_empty() {
        return Err(format!("alert `{}`: it has no `fingerprint` or no `startsAt`", cut(title)));
    }
    let annotation =
        |name: &str| alert.annotations.get(name).map(|text| cut_to(text, TEXT_CHARS_MAX)).unwrap_or_default();
    let summary = Some(annotation("summary")).filter(|text| !text.is_empty()).unwrap_or_else(|| title.to_owned());
    let run = run(alert);
    let place = json!({ "project": project, "stage": stage, "service": service });
    let mut problem = json!({
        "problemID": alert.fingerprint, "problemTitle": summary, "rootCause": title,
        "problemDetails": { "problemDetails": annotation("description") }, "problemURL": alert.generator_url,
        "impactedEntity": service, "project": project, "stage": stage, "service": service,
    });
    let (id, ty, state) = match alert.status.as_str() {
        "firing" => (run.clone(), format!("sh.keptn.event.{stage}.remediation.triggered"), "OPEN"),
        "resolved" => (format!("{run} resolved"), RESOLVED.to_owned(), "RESOLVED"),
        other => return Err(format!("alert `{}`: its status `{}` is unknown", cut(title), cut(other))),
    };
    if let Some(members) = problem.as_object_mut() {
        members.insert("state".to_owned(), state.into());
        members.insert("startsAt".to_owned(), alert.starts_at.clone().into());
        if state == "RESOLVED" {
            members.insert("endsAt".to_owned(), alert.ends_at.clone().into());
        }
    }
    let mut data = place;
    if let Some(members) = data.as_object_mut() {
        let mut labels = BTreeMap::from([("alert", title), ("Problem URL", alert.generator_url.as_str())]);
        labels.extend(
            ["severity", "version"].map(|name| (name, label(name))).into_iter().filter(|(_, value)| !value.is_empty()),
        );
        labels.retain(|_, value| !value.is_empty());
        members.insert("labels".to_owned(), json!(labels));
        members.insert("problem".to_owned(), problem);
        let deployment = Some(label("deployment")).filter(|name| !name.is_empty()).unwrap_or("primary");
        members.insert("deployment".to_owned(), json!({ "deploymentNames": [deployment] }));
    }
    let event = Event::builder(ty).id(id).subject(service).extension_str("shkeptncontext", run);
    event
        .json(&data)
        .map(pilothouse_sdk::EventBuilder::build)
        .map_err(|error| format!("alert `{}`: {error:?}", cut(title)))
}

/// Returns the run of an alert: a UUID that follows from its fingerprint and start, as in Keptn.
fn run(alert: &Alert) -> String {
    let digest = Sha256::digest(format!("{}{}", alert.fingerprint, alert.starts_at).as_bytes());
    let mut bytes: Vec<u8> = digest.iter().copied().take(16).collect();
    // The version and the variant of RFC 9562 §5.8.
    if let Some(byte) = bytes.get_mut(6) {
        *byte = *byte & 0x0f | 0x80;
    }
    if let Some(byte) = bytes.get_mut(8) {
        *byte = *byte & 0x3f | 0x80;
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut id = String::with_capacity(36);
    for (index, digit) in hex.chars().enumerate() {
        if [8, 12, 16, 20].contains(&index) {
            id.push('-');
        }
        id.push(digit);
    }
    id
}

fn cut(text: &str) -> String {
    cut_to(text, 80)
}

fn cut_to(text: &str, most: usize) -> String {
    text.chars().filter(|it| !it.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn alert(status: &str, fingerprint: &str, labels: Value) -> Value {
        json!({
            "status": status, "labels": labels, "fingerprint": fingerprint, "startsAt": "2026-01-02T15:04:05.000Z",
            "endsAt": "2026-01-02T16:00:00Z", "generatorURL": "http://p/graph",
            "annotations": { "summary": "Response time P95", "description": "p95 is 700" },
        })
    }

    fn received(alerts: &[Value]) -> Result<Received, String> {
        let body = json!({ "version": "4", "status": "firing", "alerts": alerts }).to_string().into_bytes();
        receive(&Request { body, ..Request::default() })
    }

    fn of(alert: Value) -> Result<Event, String> {
        event(&serde_json::from_value(alert).unwrap())
    }

    fn place() -> Value {
        json!({ "alertname": "p95", "project": "shop", "stage": "prod", "service": "cart", "severity": "webhook" })
    }

    #[test]
    fn a_firing_alert_triggers_the_remediation_of_its_stage_as_keptns_did() {
        let event = of(alert("firing", "f1", place())).unwrap();
        assert_eq!(event.ty, "sh.keptn.event.prod.remediation.triggered");
        let data = event.data_json().unwrap();
        assert_eq!(data["problem"]["state"], "OPEN");
        assert_eq!(
            (&data["problem"]["problemTitle"], &data["problem"]["rootCause"]),
            (&json!("Response time P95"), &json!("p95"))
        );
        assert_eq!(data["labels"]["Problem URL"], "http://p/graph");
        assert_eq!(data["deployment"]["deploymentNames"], json!(["primary"]));
        assert_eq!(event.extension_str("shkeptncontext"), Some(event.id.as_str()));
    }

    #[test]
    fn the_same_alert_is_the_same_problem_and_its_end_belongs_to_the_same_run() {
        let first = of(alert("firing", "f1", place())).unwrap();
        let again = of(alert("firing", "f1", place())).unwrap();
        let other = of(alert("firing", "f2", place())).unwrap();
        let end = of(alert("resolved", "f1", place())).unwrap();
        assert_eq!(first.id, again.id);
        assert_ne!(first.id, other.id);
        assert_eq!(end.ty, RESOLVED);
        assert_eq!(end.extension_str("shkeptncontext"), first.extension_str("shkeptncontext"));
        assert_ne!(end.id, first.id);
        assert_eq!(end.data_json().unwrap()["problem"]["state"], "RESOLVED");
    }

    #[test]
    fn what_is_no_alert_of_a_service_is_left_out_with_its_reason() {
        for (alert, expected) in [
            (alert("firing", "f", json!({ "alertname": "Watchdog" })), "`project` is no name"),
            (alert("firing", "f", json!({ "project": "shop", "stage": "a.b", "service": "c" })), "`stage` is no name"),
            (alert("firing", "", place()), "no `fingerprint`"),
            (alert("pending", "f", place()), "status `pending`"),
        ] {
            assert!(of(alert.clone()).unwrap_err().contains(expected), "{alert}");
        }
        assert!(received(&[alert("firing", "f", json!({})), alert("firing", "f", place())]).is_ok());
        assert!(receive(&Request { body: b"[]".to_vec(), ..Request::default() }).is_err());
        let many: Vec<Value> = (0..=ALERTS_MAX).map(|number| alert("firing", &number.to_string(), place())).collect();
        assert!(received(&many).unwrap_err().contains("group_by"));
    }
}
