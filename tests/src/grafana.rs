//! A stand-in for Grafana, which is in no registry: it takes what Grafana's HTTP API documents for dashboards and annotations,
//! checks it as strictly as the published dashboard model says, and refuses the rest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use serde_json::{Value, json};

/// What it holds.
#[derive(Default)]
pub struct Held {
    /// Dashboards by uid, as Grafana gives them back.
    pub dashboards: BTreeMap<String, Value>,
    /// Messages of saved versions.
    pub messages: Vec<String>,
    /// Annotations.
    pub annotations: Vec<Value>,
    /// What was refused.
    pub refused: Vec<String>,
}

/// A running stand-in.
#[derive(Clone)]
pub struct Grafana {
    /// Its address.
    pub url: String,
    token: &'static str,
    held: Arc<Mutex<Held>>,
}

type Answer = (StatusCode, String);

impl Grafana {
    /// Starts one that takes this token.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(token: &'static str) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let this = Self { url, token, held: Arc::default() };
        let router = Router::new()
            .route("/api/dashboards/uid/{uid}", get(read).delete(remove))
            .route("/api/dashboards/db", post(save))
            .route("/api/annotations", get(find).post(annotate))
            .with_state(this.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(this)
    }

    /// Returns what it holds.
    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, status: StatusCode, message: String) -> Answer {
        self.held().refused.push(message.clone());
        (status, json!({ "message": message }).to_string())
    }

    fn authorized(&self, headers: &HeaderMap) -> Result<(), Answer> {
        let given = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if given == format!("Bearer {}", self.token) {
            return Ok(());
        }
        Err(self.refuse(StatusCode::UNAUTHORIZED, "Invalid API key".to_owned()))
    }
}

async fn read(State(grafana): State<Grafana>, headers: HeaderMap, Path(uid): Path<String>) -> Answer {
    if let Err(answer) = grafana.authorized(&headers) {
        return answer;
    }
    match grafana.held().dashboards.get(&uid) {
        Some(dashboard) => (StatusCode::OK, json!({ "dashboard": dashboard, "meta": { "folderUid": "" } }).to_string()),
        None => (StatusCode::NOT_FOUND, json!({ "message": "Dashboard not found" }).to_string()),
    }
}

async fn remove(State(grafana): State<Grafana>, headers: HeaderMap, Path(uid): Path<String>) -> Answer {
    if let Err(answer) = grafana.authorized(&headers) {
        return answer;
    }
    match grafana.held().dashboards.remove(&uid) {
        Some(_) => (StatusCode::OK, json!({ "message": "Dashboard deleted" }).to_string()),
        None => (StatusCode::NOT_FOUND, json!({ "message": "Dashboard not found" }).to_string()),
    }
}

async fn save(State(grafana): State<Grafana>, headers: HeaderMap, body: String) -> Answer {
    if let Err(answer) = grafana.authorized(&headers) {
        return answer;
    }
    let parsed = serde_json::from_str::<Value>(&body).map_err(anyhow::Error::from);
    let checked = parsed.and_then(|body| check(&body).map(|uid| (body, uid)));
    let (body, uid) = match checked {
        Ok(checked) => checked,
        Err(error) => return grafana.refuse(StatusCode::BAD_REQUEST, format!("{error:#}")),
    };
    let mut held = grafana.held();
    let overwrite = body.get("overwrite").and_then(Value::as_bool).unwrap_or_default();
    let version = held.dashboards.get(&uid).and_then(|it| it.get("version")?.as_u64()).unwrap_or_default() + 1;
    if version > 1 && !overwrite {
        let answer =
            json!({ "status": "version-mismatch", "message": "The dashboard has been changed by someone else" });
        return (StatusCode::PRECONDITION_FAILED, answer.to_string());
    }
    let mut dashboard = body.get("dashboard").cloned().unwrap_or_default();
    if let Some(members) = dashboard.as_object_mut() {
        members.insert("id".to_owned(), json!(held.dashboards.len() + 1));
        members.insert("version".to_owned(), json!(version));
    }
    held.messages.extend(body.get("message").and_then(Value::as_str).map(str::to_owned));
    held.dashboards.insert(uid.clone(), dashboard);
    let url = format!("/d/{uid}/x");
    (StatusCode::OK, json!({ "status": "success", "uid": uid, "version": version, "url": url }).to_string())
}

/// Checks a dashboard against the published model (`schemaVersion` 39), as far as a generator can get it wrong; returns its uid.
fn check(body: &Value) -> Result<String> {
    let dashboard = body.get("dashboard").context("there is no `dashboard`")?;
    let text = |at: &Value, name: &str| -> Result<String> {
        let text = at.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        Ok(text.with_context(|| format!("`{name}` is missing in {at}"))?.to_owned())
    };
    let list = |pointer: &str| -> Result<Vec<Value>> {
        let list = dashboard.pointer(pointer).and_then(Value::as_array);
        Ok(list.with_context(|| format!("`{pointer}` is no list"))?.clone())
    };
    let uid = text(dashboard, "uid")?;
    let plain = uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    ensure!(uid.len() <= 40 && plain, "the uid `{uid}` is not valid");
    ensure!(text(dashboard, "title")?.len() <= 5_000, "the title is too long");
    ensure!(dashboard.get("schemaVersion").and_then(Value::as_u64) == Some(39), "another schema version");
    let (mut ids, mut names) = (Vec::new(), Vec::new());
    for variable in list("/templating/list")? {
        let kind = text(&variable, "type")?;
        ensure!(
            ["datasource", "textbox", "custom", "query", "constant", "interval"].contains(&kind.as_str()),
            "{kind}"
        );
        names.push(text(&variable, "name")?);
    }
    for layer in list("/annotations/list")? {
        text(&layer, "name")?;
        ensure!(layer.pointer("/target/type").and_then(Value::as_str) == Some("tags"), "an annotation without tags");
    }
    for panel in list("/panels")? {
        let id = panel.get("id").and_then(Value::as_u64).context("a panel without id")?;
        ensure!(!ids.contains(&id), "the id {id} is there twice");
        ids.push(id);
        let number = |name: &str| panel.pointer(&format!("/gridPos/{name}")).and_then(Value::as_u64).context("gridPos");
        ensure!(
            number("x")? + number("w")? <= 24 && number("h")? > 0 && number("w")? > 0,
            "outside of the grid: {panel}"
        );
        number("y")?;
        match text(&panel, "type")?.as_str() {
            "row" => continue,
            "timeseries" => {}
            other => anyhow::bail!("an unknown panel `{other}`"),
        }
        let steps =
            panel.pointer("/fieldConfig/defaults/thresholds/steps").and_then(Value::as_array).context("steps")?;
        ensure!(
            steps.first().is_some_and(|step| step.get("value") == Some(&Value::Null)),
            "the first step has a value"
        );
        let values: Vec<f64> = steps.iter().skip(1).filter_map(|step| step.get("value")?.as_f64()).collect();
        ensure!(values.len() + 1 == steps.len() && values.is_sorted(), "the steps are not in order: {panel}");
        let targets = panel.get("targets").and_then(Value::as_array).filter(|it| !it.is_empty()).context("targets")?;
        for target in targets {
            text(target, "refId")?;
            text(target, "expr")?;
            let source = target.pointer("/datasource/uid").and_then(Value::as_str).unwrap_or_default();
            let variable = source.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            ensure!(variable.is_some_and(|name| names.iter().any(|it| it == name)), "no data source `{source}`");
        }
    }
    Ok(uid)
}

/// Tags of a query, percent-decoded.
fn tags(query: Option<String>) -> Vec<String> {
    let query = query.unwrap_or_default();
    let url = reqwest::Url::parse(&format!("http://x/?{query}"));
    let pairs = url.iter().flat_map(|url| url.query_pairs());
    pairs.filter(|(name, _)| name == "tags").map(|(_, value)| value.into_owned()).collect()
}

async fn find(State(grafana): State<Grafana>, headers: HeaderMap, RawQuery(query): RawQuery) -> Answer {
    if let Err(answer) = grafana.authorized(&headers) {
        return answer;
    }
    let wanted = tags(query);
    let has = |annotation: &&Value| {
        let of: Vec<&str> =
            annotation.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        wanted.iter().all(|tag| of.contains(&tag.as_str()))
    };
    let held = grafana.held();
    let found: Vec<&Value> = held.annotations.iter().filter(has).collect();
    (StatusCode::OK, json!(found).to_string())
}

async fn annotate(State(grafana): State<Grafana>, headers: HeaderMap, body: String) -> Answer {
    if let Err(answer) = grafana.authorized(&headers) {
        return answer;
    }
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let number = |name: &str| body.get(name).and_then(Value::as_i64);
    let text = body.get("text").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    let known = ["time", "timeEnd", "tags", "text", "dashboardUID", "panelId"];
    let foreign = body.as_object().is_none_or(|members| members.keys().any(|name| !known.contains(&name.as_str())));
    let in_order = number("time").zip(number("timeEnd")).is_some_and(|(start, end)| start <= end);
    if !text || foreign || !in_order {
        return grafana.refuse(StatusCode::BAD_REQUEST, format!("bad annotation: {body}"));
    }
    let mut held = grafana.held();
    held.annotations.push(body);
    (StatusCode::OK, json!({ "message": "Annotation added", "id": held.annotations.len() }).to_string())
}
