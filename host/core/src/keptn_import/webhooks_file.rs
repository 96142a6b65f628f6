//! Reads `webhook/webhook.yaml` of Keptn's webhook-service, in both of its versions.

use super::items;
use crate::yaml::fields::Fields;
use crate::yaml::{Node, Problem, Value, parse};

/// A subscription's webhook.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Webhook {
    /// The type of event; Keptn wrote it down, and went by the subscription.
    pub(super) ty: Option<String>,
    pub(super) subscription: String,
    pub(super) send_finished: bool,
    /// Secrets by the name that templates have for them.
    pub(super) secrets: Vec<Secret>,
    pub(super) requests: Vec<V1Request>,
}

/// A secret of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Secret {
    /// Its name in templates.
    pub(super) name: String,
    pub(super) secret: String,
    pub(super) key: String,
}

/// A request of a webhook.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum V1Request {
    /// A command line.
    Curl(String),
    /// Its parts.
    Parts {
        url: String,
        method: String,
        headers: Vec<(String, String)>,
        payload: Option<String>,
        options: Option<String>,
    },
}

/// Reads the file; also returns what is odd about it.
///
/// # Errors
/// Everything that makes it unreadable.
pub(super) fn read(bytes: &[u8]) -> Result<(Vec<Webhook>, Vec<Problem>), Vec<Problem>> {
    let node = parse(bytes).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let webhooks = file(&node, &mut problems);
    if problems.iter().any(Problem::stops_a_run) { Err(problems) } else { Ok((webhooks.unwrap_or_default(), problems)) }
}

fn file(node: &Node, problems: &mut Vec<Problem>) -> Option<Vec<Webhook>> {
    let mut fields = Fields::of(node, "the file", problems)?;
    let version = fields.required_text("apiVersion")?;
    if !["webhookconfig.keptn.sh/v1alpha1", "webhookconfig.keptn.sh/v1beta1"].contains(&version.as_str()) {
        let message =
            format!("`apiVersion` is `{version}`, only `webhookconfig.keptn.sh/v1alpha1` and `v1beta1` are known");
        fields.problems().push(Problem::error(node.at, message));
    }
    fields.text("kind");
    fields.get("metadata");
    let spec = fields.required("spec");
    fields.finish();
    let mut spec = Fields::of(spec?, "`spec`", problems)?;
    spec.required("webhooks");
    let items = items(&mut spec, "webhooks");
    spec.finish();
    Some(items.iter().filter_map(|item| webhook(item, problems)).collect())
}

fn webhook(node: &Node, problems: &mut Vec<Problem>) -> Option<Webhook> {
    let mut fields = Fields::of(node, "a webhook", problems)?;
    let subscription = fields.text("subscriptionID").unwrap_or_default();
    fields.rename(format!("webhook `{subscription}`"));
    let ty = fields.text("type").filter(|ty| !ty.is_empty());
    // The host tells of the start of every task.
    fields.bool("sendStarted");
    let send_finished = fields.bool("sendFinished").unwrap_or_default();
    let secrets = items(&mut fields, "envFrom");
    let requests = items(&mut fields, "requests");
    fields.finish();
    let secrets = secrets.iter().filter_map(|item| secret(item, problems)).collect();
    let requests = requests.iter().filter_map(|item| request(item, problems)).collect();
    Some(Webhook { ty, subscription, send_finished, secrets, requests })
}

fn secret(node: &Node, problems: &mut Vec<Problem>) -> Option<Secret> {
    let mut fields = Fields::of(node, "an item of `envFrom`", problems)?;
    let name = fields.required_text("name");
    let reference = fields.required("secretRef");
    fields.finish();
    let mut fields = Fields::of(reference?, "`secretRef`", problems)?;
    let (secret, key) = (fields.required_text("name"), fields.required_text("key"));
    fields.finish();
    Some(Secret { name: name?, secret: secret?, key: key? })
}

fn request(node: &Node, problems: &mut Vec<Problem>) -> Option<V1Request> {
    if let Value::Scalar(scalar) = &node.value {
        return Some(V1Request::Curl(scalar.text.clone()));
    }
    let mut fields = Fields::of(node, "a request", problems)?;
    let url = fields.required_text("url");
    let method = fields.text("method").unwrap_or_else(|| "POST".to_owned());
    let payload = fields.text("payload");
    let options = fields.text("options");
    let headers = items(&mut fields, "headers");
    fields.finish();
    let headers = headers.iter().filter_map(|item| {
        let mut fields = Fields::of(item, "a header", problems)?;
        let header = (fields.required_text("key"), fields.text("value").unwrap_or_default());
        fields.finish();
        Some((header.0?, header.1))
    });
    let headers = headers.collect();
    Some(V1Request::Parts { url: url?, method, headers, payload, options })
}
