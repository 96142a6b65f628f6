//! Generated configuration that goes to no folder: the ruler of Mimir or Cortex, and the Prometheus operator in Kubernetes.
//!
//! Neither can be installed here: stand-ins take what the published APIs and schemas take, and refuse the rest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use pilothouse_core::event::EventBuilder;
use pilothouse_core::name::ProjectName;
use pilothouse_core::resource::{FilePath, Folder};
use pilothouse_tests::{Host, Options, data, plugins};
use serde_json::{Value, json};

const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.3\nkind: Shipyard\nmetadata: {name: s}\nspec:\n  stages:\n  - name: dev\n    sequences: [{name: delivery, tasks: [{name: test}]}]\n";

fn slo(limit: u32) -> String {
    format!(
        "spec_version: '1.0'\nobjectives:\n- {{sli: throughput, pass: [{{criteria: ['>{limit}']}}]}}\n\
         - {{sli: error_rate, errorBudget: {{target: 99.9%}}}}\ntotal_score: {{pass: 90%}}\n"
    )
}

/// What the stand-ins hold: rule groups by namespace and name, and resources by path.
#[derive(Clone, Default)]
struct Cloud {
    groups: Arc<Mutex<BTreeMap<String, BTreeMap<String, Value>>>>,
    resources: Arc<Mutex<BTreeMap<String, Value>>>,
    /// What was refused.
    refused: Arc<Mutex<Vec<String>>>,
}

impl Cloud {
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let kinds = "/apis/monitoring.coreos.com/{version}/namespaces/{namespace}/{kind}";
        let router = Router::new()
            .route("/api/v1/query", post(async || json!({ "status": "success", "data": {} }).to_string()))
            .route("/api/v1/targets", get(targets))
            .route("/api/v1/rules", get(rules))
            .route("/config/v1/rules", get(namespaces))
            .route("/config/v1/rules/{namespace}", get(namespace).post(set_group).delete(drop_namespace))
            .route("/config/v1/rules/{namespace}/{group}", axum::routing::delete(drop_group))
            .route(kinds, get(resources))
            .route(&format!("{kinds}/{{name}}"), get(resource).patch(apply).delete(drop_resource))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    fn refuse(&self, why: String) -> (StatusCode, String) {
        self.refused.lock().unwrap().push(why.clone());
        (StatusCode::UNPROCESSABLE_ENTITY, why)
    }

    /// All groups, wherever they are.
    fn all(&self) -> Vec<Value> {
        let of_ruler = self.groups.lock().unwrap().values().flat_map(|it| it.values().cloned()).collect::<Vec<_>>();
        let resources = self.resources.lock().unwrap();
        let of_operator = resources.values().filter_map(|it| it["spec"]["groups"].as_array().cloned()).flatten();
        of_ruler.into_iter().chain(of_operator).collect()
    }
}

/// Prometheus' view of the rules that are loaded.
async fn rules(State(cloud): State<Cloud>) -> String {
    let alerts = |group: &Value| -> Vec<Value> {
        let rules = group["rules"].as_array().unwrap().iter().filter(|rule| rule.get("alert").is_some());
        rules.map(|rule| json!({ "name": rule["alert"] })).collect()
    };
    let groups: Vec<Value> =
        cloud.all().iter().map(|it| json!({ "name": it["name"], "file": "x", "rules": alerts(it) })).collect();
    json!({ "status": "success", "data": { "groups": groups } }).to_string()
}

/// Prometheus' view of what is scraped: what the operator makes of scrape configurations.
async fn targets(State(cloud): State<Cloud>) -> String {
    let resources = cloud.resources.lock().unwrap();
    let configs = resources.values().filter_map(|it| it["spec"]["staticConfigs"].as_array());
    let active: Vec<Value> = configs
        .flatten()
        .flat_map(|it| {
            let targets = it["targets"].as_array().unwrap().iter();
            targets.map(|target| json!({ "labels": it["labels"], "discoveredLabels": { "__address__": target } }))
        })
        .collect();
    json!({ "status": "success", "data": { "activeTargets": active } }).to_string()
}

async fn namespaces(State(cloud): State<Cloud>) -> (StatusCode, String) {
    let groups = cloud.groups.lock().unwrap();
    if groups.is_empty() {
        return (StatusCode::NOT_FOUND, "no rule groups found".to_owned());
    }
    let all: BTreeMap<&String, Vec<&Value>> = groups.iter().map(|(name, it)| (name, it.values().collect())).collect();
    (StatusCode::OK, json!(all).to_string())
}

async fn namespace(State(cloud): State<Cloud>, Path(name): Path<String>) -> (StatusCode, String) {
    match cloud.groups.lock().unwrap().get(&name) {
        None => (StatusCode::NOT_FOUND, "no rule groups found".to_owned()),
        Some(groups) => (StatusCode::OK, json!({ name: groups.values().collect::<Vec<_>>() }).to_string()),
    }
}

async fn set_group(
    State(cloud): State<Cloud>,
    Path(namespace): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    if headers.get("content-type").is_none_or(|it| it != "application/yaml") {
        return cloud.refuse("the body is no YAML".to_owned());
    }
    let Ok(group) = serde_saphyr::from_slice::<Value>(&body) else { return cloud.refuse("no YAML".to_owned()) };
    if let Err(why) = check_group(&group) {
        return cloud.refuse(why);
    }
    let name = group["name"].as_str().unwrap().to_owned();
    cloud.groups.lock().unwrap().entry(namespace).or_default().insert(name, group);
    (StatusCode::ACCEPTED, json!({ "status": "success" }).to_string())
}

async fn drop_group(State(cloud): State<Cloud>, Path((namespace, name)): Path<(String, String)>) -> StatusCode {
    match cloud.groups.lock().unwrap().get_mut(&namespace).and_then(|it| it.remove(&name)) {
        Some(_) => StatusCode::ACCEPTED,
        None => StatusCode::NOT_FOUND,
    }
}

async fn drop_namespace(State(cloud): State<Cloud>, Path(namespace): Path<String>) -> StatusCode {
    match cloud.groups.lock().unwrap().remove(&namespace) {
        Some(_) => StatusCode::ACCEPTED,
        None => StatusCode::NOT_FOUND,
    }
}

/// Holds a group against the published schema of PrometheusRule's groups (monitoring.coreos.com/v1), which are the ruler's too.
fn check_group(group: &Value) -> Result<(), String> {
    only(group, &["name", "interval", "limit", "partial_response_strategy", "query_offset", "labels", "rules"])?;
    group["name"].as_str().filter(|name| !name.is_empty()).ok_or("a group needs a name")?;
    for rule in group["rules"].as_array().ok_or("`rules` is no list")? {
        only(rule, &["alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations"])?;
        if rule.get("alert").is_some() == rule.get("record").is_some() {
            return Err(format!("a rule is an alert or a recording: {rule}"));
        }
        rule["expr"].as_str().filter(|expr| !expr.is_empty()).ok_or("a rule needs `expr`")?;
        if rule.get("record").is_some() && (rule.get("for").is_some() || rule.get("annotations").is_some()) {
            return Err(format!("a recording has neither `for` nor annotations: {rule}"));
        }
        let duration = |text: &str| text == "0" || pilothouse_files::monitoring::is_duration(text);
        if rule.get("for").is_some_and(|it| !it.as_str().is_some_and(duration)) {
            return Err(format!("`for` is no duration: {rule}"));
        }
        for name in ["labels", "annotations"] {
            if rule.get(name).is_some_and(|it| !it.as_object().unwrap().values().all(Value::is_string)) {
                return Err(format!("`{name}` are texts: {rule}"));
            }
        }
    }
    Ok(())
}

fn only(value: &Value, names: &[&str]) -> Result<(), String> {
    let members = value.as_object().ok_or_else(|| format!("no object: {value}"))?;
    match members.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(format!("unknown field `{name}`")),
        None => Ok(()),
    }
}

/// The parts of a resource's path.
type Place = (String, String, String, String);

async fn resources(
    State(cloud): State<Cloud>,
    Path((version, namespace, kind)): Path<(String, String, String)>,
) -> String {
    let prefix = format!("{version}/{namespace}/{kind}/");
    let resources = cloud.resources.lock().unwrap();
    let items: Vec<&Value> = resources.iter().filter(|(path, _)| path.starts_with(&prefix)).map(|(_, it)| it).collect();
    json!({ "items": items }).to_string()
}

fn path((version, namespace, kind, name): &Place) -> String {
    format!("{version}/{namespace}/{kind}/{name}")
}

async fn resource(State(cloud): State<Cloud>, Path(place): Path<Place>) -> (StatusCode, String) {
    match cloud.resources.lock().unwrap().get(&path(&place)) {
        Some(found) => (StatusCode::OK, found.to_string()),
        None => (StatusCode::NOT_FOUND, json!({ "kind": "Status", "code": 404 }).to_string()),
    }
}

async fn drop_resource(State(cloud): State<Cloud>, Path(place): Path<Place>) -> StatusCode {
    match cloud.resources.lock().unwrap().remove(&path(&place)) {
        Some(_) => StatusCode::OK,
        None => StatusCode::NOT_FOUND,
    }
}

async fn apply(
    State(cloud): State<Cloud>,
    Path(place): Path<Place>,
    axum::extract::RawQuery(query): axum::extract::RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let wanted = "fieldManager=pilothouse&force=true";
    if headers.get("content-type").is_none_or(|it| it != "application/apply-patch+yaml")
        || query.as_deref() != Some(wanted)
    {
        return cloud.refuse(format!("no server-side apply: {query:?}"));
    }
    let Ok(resource) = serde_json::from_slice::<Value>(&body) else { return cloud.refuse("no JSON".to_owned()) };
    match check_resource(&place, &resource) {
        Err(why) => cloud.refuse(why),
        Ok(()) => {
            cloud.resources.lock().unwrap().insert(path(&place), resource.clone());
            (StatusCode::OK, resource.to_string())
        }
    }
}

/// Holds a resource against what the operator's published definitions require.
fn check_resource(place: &Place, resource: &Value) -> Result<(), String> {
    let (version, namespace, kind, name) = place;
    only(resource, &["apiVersion", "kind", "metadata", "spec"])?;
    let meta = &resource["metadata"];
    only(meta, &["name", "namespace", "labels", "annotations"])?;
    if meta["name"] != json!(name) || meta["namespace"] != json!(namespace) {
        return Err("the name is another one".to_owned());
    }
    match (kind.as_str(), version.as_str()) {
        ("prometheusrules", "v1") => {
            let same = resource["kind"] == "PrometheusRule" && resource["apiVersion"] == "monitoring.coreos.com/v1";
            same.then_some(()).ok_or("the kind is another one")?;
            only(&resource["spec"], &["groups"])?;
            resource["spec"]["groups"].as_array().ok_or("no groups")?.iter().try_for_each(check_group)
        }
        ("scrapeconfigs", "v1alpha1") => {
            let same = resource["kind"] == "ScrapeConfig" && resource["apiVersion"] == "monitoring.coreos.com/v1alpha1";
            same.then_some(()).ok_or("the kind is another one")?;
            only(&resource["spec"], &["staticConfigs"])?;
            resource["spec"]["staticConfigs"].as_array().ok_or("no configs")?.iter().try_for_each(|config| {
                only(config, &["targets", "labels"])?;
                config["targets"]
                    .as_array()
                    .filter(|it| !it.is_empty())
                    .map(|_| ())
                    .ok_or_else(|| "no targets".to_owned())
            })
        }
        _ => Err(format!("there is no kind `{kind}` in {version}")),
    }
}

/// A project whose configuration goes to a stand-in.
async fn project(cloud: &Cloud, output: &str, connection: &str) -> Host {
    let url = cloud.serve().await;
    let connections: BTreeMap<_, _> =
        ["prometheus", connection].into_iter().map(|name| (name.to_owned(), (url.clone(), Vec::new()))).collect();
    let host = Host::start(Options { connections, ..Options::default() }).await.unwrap();
    let grants = format!(
        "keyvalue = true\nresources = true\nresources-write = true\n[connections]\nprometheus = \"prometheus\"\n{connection} = \"{connection}\"\n"
    );
    let settings = json!({ "output": output, "targets": ["$SERVICE.$STAGE:80"] });
    host.install_file(&plugins().join("prometheus.wasm"), "prometheus", &grants, settings).await.unwrap();
    host.create_project("shop", SHIPYARD).await.unwrap();
    host
}

/// Writes a file of the project, and waits until the plugin has followed the commit.
async fn commit(host: &Host, path: &str, content: &str) {
    let written = host.write("shop", path, content).await.unwrap();
    let follows = |row: &pilothouse_store::EventRow| data(row)["commit"] == json!(written);
    host.wait_for("io.prometheus.monitoring.synced.v1", follows).await.unwrap();
}

/// Asks how the tools stand to the project.
async fn states(host: &Host, id: &str, mode: &str) -> Vec<(String, String)> {
    let trigger = EventBuilder::new(id, "/test", "sh.keptn.event.sync-monitoring.triggered")
        .json(&json!({ "project": "shop", "sync-monitoring": { "mode": mode } }))
        .build()
        .unwrap();
    host.send(trigger).await.unwrap();
    let its_own = |row: &_| pilothouse_tests::extension(row, "triggeredid").as_deref() == Some(id);
    let finished = host.wait_for("sh.keptn.event.sync-monitoring.finished", its_own).await.unwrap();
    let finished = data(&finished);
    let items = finished["sync-monitoring"]["items"].as_array().cloned().unwrap_or_else(|| panic!("{finished}"));
    let text = |item: &Value, name: &str| item[name].as_str().unwrap().to_owned();
    items.iter().map(|item| (text(item, "state"), text(item, "reason"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ruler_has_the_rules_that_the_files_say_and_other_namespaces_stay() {
    let cloud = Cloud::default();
    let foreign = json!({ "name": "mine", "rules": [] });
    cloud.groups.lock().unwrap().entry("by-hand".to_owned()).or_default().insert("mine".to_owned(), foreign);
    let host = project(&cloud, "ruler", "ruler").await;
    commit(&host, "services/cart/slo.yaml", &slo(1)).await;
    let expr = |cloud: &Cloud| cloud.groups.lock().unwrap()["shop.cart"]["cart shop-dev alerts"].to_string();
    assert!(
        expr(&cloud).contains("<= 1") && expr(&cloud).contains("pilothouse:sli_error:ratio_rate5m"),
        "{}",
        expr(&cloud)
    );
    assert_eq!(states(&host, "s1", "check").await, [("in-step".to_owned(), String::new())]);
    commit(&host, "services/cart/slo.yaml", &slo(2)).await;
    assert!(expr(&cloud).contains("<= 2") && !expr(&cloud).contains("<= 1\""));
    // Somebody changes a rule there.
    let changed = expr(&cloud).replace("<= 2", "<= 9000");
    let changed: Value = serde_json::from_str(&changed).unwrap();
    cloud.groups.lock().unwrap().get_mut("shop.cart").unwrap().insert("cart shop-dev alerts".to_owned(), changed);
    assert_eq!(states(&host, "s2", "check").await[0].0, "drifted");
    assert_eq!(states(&host, "s3", "sync").await[0].0, "in-step");
    assert!(expr(&cloud).contains("<= 2") && !expr(&cloud).contains("9000"));
    commit(
        &host,
        "services/cart/slo.yaml",
        "spec_version: '1.0'\nobjectives: [{sli: throughput}]\ntotal_score: {pass: 90%}\n",
    )
    .await;
    let left: Vec<String> = cloud.groups.lock().unwrap().keys().cloned().collect();
    assert_eq!(left, ["by-hand"]);
    assert_eq!(*cloud.refused.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prometheus_operator_has_resources_that_name_their_commit() {
    let cloud = Cloud::default();
    let host = project(&cloud, "kubernetes", "kubernetes").await;
    commit(&host, "services/cart/slo.yaml", &slo(1)).await;
    let names: Vec<String> = cloud.resources.lock().unwrap().keys().cloned().collect();
    assert_eq!(names, ["v1/monitoring/prometheusrules/shop.cart", "v1alpha1/monitoring/scrapeconfigs/shop.dev.cart"]);
    for resource in cloud.resources.lock().unwrap().values() {
        let commit = resource["metadata"]["annotations"]["pilothouse.dev/commit"].as_str().unwrap();
        assert_eq!(commit.len(), 40, "{resource}");
        assert_eq!(resource["metadata"]["labels"]["app.kubernetes.io/managed-by"], "pilothouse");
    }
    assert_eq!(states(&host, "s1", "check").await, [("in-step".to_owned(), String::new())]);
    cloud.resources.lock().unwrap().remove("v1alpha1/monitoring/scrapeconfigs/shop.dev.cart");
    assert_eq!(states(&host, "s2", "check").await[0].0, "drifted");
    assert_eq!(states(&host, "s3", "sync").await[0].0, "in-step");
    assert_eq!(cloud.resources.lock().unwrap().len(), 2);
    assert_eq!(*cloud.refused.lock().unwrap(), Vec::<String>::new());
}

/// Reads a file of the project's newest commit.
async fn in_git(host: &Host, path: &str) -> Option<String> {
    let (name, path) = (ProjectName::new("shop").unwrap(), FilePath::new(path).unwrap());
    let found = host.projects.find(&name, None, Folder::default(), path, false).await.unwrap();
    found.map(|found| String::from_utf8(found.content).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projects_own_git_has_what_its_files_say_and_a_generated_commit_makes_no_other() {
    const RULES: &str = "prometheus/generated/rules/shop.cart.rules.yml";
    let cloud = Cloud::default();
    let host = project(&cloud, "git", "ruler").await;
    commit(&host, "services/cart/slo.yaml", &slo(1)).await;
    let rules = in_git(&host, RULES).await.unwrap();
    assert!(rules.contains("<= 1") && rules.contains("# Commit "), "{rules}");
    assert!(in_git(&host, "prometheus/generated/targets/shop.dev.cart.json").await.unwrap().contains("cart.dev:80"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), &rules).unwrap();
    let checked = std::process::Command::new("promtool")
        .args(["check", "rules", "rules.yml"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
    // Nobody has carried them to Prometheus yet.
    assert_eq!(
        states(&host, "s1", "check").await[0],
        ("behind".to_owned(), "Prometheus has not loaded the alert rules".to_owned())
    );
    commit(&host, "services/cart/slo.yaml", &slo(2)).await;
    assert!(in_git(&host, RULES).await.unwrap().contains("<= 2"));
    // A hand edit is a commit as well, and is put back by another one.
    let edited = rules.replace("<= 1", "<= 9000");
    host.write("shop", RULES, &edited).await.unwrap();
    let is_back =
        async || in_git(&host, RULES).await.is_some_and(|text| text.contains("<= 2") && !text.contains("9000"));
    let begun = std::time::Instant::now();
    while !is_back().await {
        assert!(begun.elapsed() < pilothouse_tests::PATIENCE, "{:?}", in_git(&host, RULES).await);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // Each generated commit was followed as well, and led to no other one: by its author, one for each change of a person.
    let _ = states(&host, "s2", "check").await;
    let name = ProjectName::new("shop").unwrap();
    let history = host.projects.history(&name, None, None, 100).await.unwrap();
    let generated =
        history.iter().filter(|commit| commit.message.starts_with("Prometheus configuration generated")).count();
    assert_eq!(generated, 3, "{history:?}");
}
