//! An outside executor: a program without a plugin, that fetches the tasks `release` over HTTP and answers them by events.
//! What it knows is in docs/executors.md.

use std::time::Duration;

use serde_json::{Value, json};

use super::api::Api;
use super::error::DemoError;

/// Its name, and that of its token.
pub(super) const NAME: &str = "release-bot";
/// Time between two attempts to reach a host that is away.
const RETRY: Duration = Duration::from_millis(300);

/// Fetches and answers tasks for ever.
pub(super) async fn run(api: Api) {
    loop {
        // A host that is away is part of the demo.
        if fetch(&api).await.is_err() {
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn fetch(api: &Api) -> Result<(), DemoError> {
    let leased = api.post(&format!("/v1/executors/{NAME}/lease"), &json!({ "lease": "60s", "wait": "10s" })).await?;
    for item in leased.get("items").and_then(Value::as_array).into_iter().flatten() {
        if let Some(event) = item.get("event") {
            answer(api, event).await?;
        }
    }
    Ok(())
}

/// Releases, which here is to say so.
async fn answer(api: &Api, task: &Value) -> Result<(), DemoError> {
    let text = |pointer: &str| task.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (stage, service) = (text("/data/stage"), text("/data/service"));
    let image = text("/data/configurationChange/values/image");
    let output = json!({ "message": format!("{image} is released in {stage}"), "release": { "image": image } });
    for (status, more) in [("started", json!({})), ("finished", output)] {
        let mut data = json!({ "project": text("/data/project"), "stage": stage, "service": service });
        if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
            data.extend(more);
        }
        let event = json!({
            "specversion": "1.0",
            "id": format!("{}-{status}", text("/id")),
            "source": format!("/{NAME}"),
            "type": format!("sh.keptn.event.release.{status}"),
            "datacontenttype": "application/json",
            "shkeptncontext": text("/shkeptncontext"),
            "triggeredid": text("/id"),
            "data": data,
        });
        api.send(&event).await?;
    }
    Ok(())
}
