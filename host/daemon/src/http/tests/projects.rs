//! Projects through the API: each new head is one event, bad input changes nothing, and what a crash left is made good.

use http::{Method, StatusCode};
use pilothouse_core::name::ProjectName;
use pilothouse_core::resource::FilePath;
use pilothouse_core::right::Right;
use serde_json::{Value, json};

use super::{Harness, request_as};
use crate::git::{Change, Signed};

const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.2
kind: Shipyard
metadata: {name: podtato}
spec:
  stages:
    - name: dev
      sequences: [{name: delivery, tasks: [{name: deployment}, {name: test}]}]
    - name: production
      sequences:
        - name: delivery
          triggeredOn: [{event: dev.delivery.finished}]
          tasks: [{name: deployment}]
";

impl Harness {
    async fn create(&self, name: &str) {
        let answer = self.json(Method::POST, "/v1/projects", &json!({"name": name, "shipyard": SHIPYARD})).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    }

    async fn put(&self, path: &str, content: &str) -> Value {
        let answer = self.request(Method::PUT, path, &[], content.to_owned()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()
    }

    /// The data of all events of a type, oldest first.
    async fn told(&self, ty: &str) -> Vec<Value> {
        let page = self.get(&format!("/v1/events?type={ty}&data=true")).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        page.json()["items"].as_array().unwrap().iter().rev().map(|item| item["event"]["data"].clone()).collect()
    }

    async fn commits(&self) -> Vec<Value> {
        self.told("dev.pilothouse.project.committed.v1").await
    }
}

#[tokio::test]
async fn each_new_head_is_one_event_with_its_files_author_and_reason() {
    let harness = Harness::new().await;
    harness.create("podtato").await;
    let first =
        harness.put("/v1/projects/podtato/resources/limits.yaml?service=hello&message=Promise%20less", "a: 1\n").await;
    let same = harness.put("/v1/projects/podtato/resources/limits.yaml?service=hello", "a: 1\n").await;
    assert_eq!((&same["changed"], &same["commit"]), (&json!(false), &first["commit"]), "nothing changed, no commit");

    let commits = harness.commits().await;
    assert_eq!(commits.len(), 2, "{commits:#?}");
    assert_eq!(commits[0]["paths"], json!([{"path": "shipyard.yaml", "change": "added"}]));
    assert_eq!(commits[0].get("before"), None);
    assert_eq!(commits[1]["paths"], json!([{"path": "services/hello/limits.yaml", "change": "added"}]));
    assert_eq!(commits[1]["before"], commits[0]["commit"]);
    assert_eq!(commits[1]["commit"], first["commit"]);
    assert_eq!(commits[1]["message"], "Promise less");
    assert_eq!(commits[1]["author"], "token:admin");
    let history = harness.get("/v1/projects/podtato/commits").await.json();
    assert_eq!(history["items"][0]["commit"], first["commit"]);
    let project = harness.get("/v1/projects/podtato").await.json();
    assert_eq!((&project["stages"], &project["services"]), (&json!(["dev", "production"]), &json!(["hello"])));
    assert_eq!(harness.told("sh.keptn.event.project.create.finished").await[0]["project"], "podtato");
}

#[tokio::test]
async fn a_file_is_found_in_the_service_then_the_stage_then_the_project() {
    let harness = Harness::new().await;
    harness.create("podtato").await;
    let base = "/v1/projects/podtato/resources/limits.yaml";
    let whose = ["", "?stage=dev", "?service=hello", "?stage=dev&service=hello"];
    for (query, path) in whose.iter().zip([
        "limits.yaml",
        "stages/dev/limits.yaml",
        "services/hello/limits.yaml",
        "stages/dev/services/hello/limits.yaml",
    ]) {
        harness.put(&format!("{base}{query}"), path).await;
        let found = harness.get(&format!("{base}?stage=dev&service=hello")).await;
        let nearest = if *query == "?stage=dev" { "stages/dev/limits.yaml" } else { path };
        assert_eq!((found.text().as_str(), found.headers["pilothouse-path"].to_str().unwrap()), (nearest, nearest));
    }
    let own = harness.get(&format!("{base}?stage=production&inherit=false")).await;
    assert_eq!(own.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_change_of_what_somebody_else_changed_is_refused_with_the_present_revision() {
    let harness = Harness::new().await;
    harness.create("podtato").await;
    let first = harness.put("/v1/projects/podtato/resources/a.yaml", "1").await;
    let second = harness.put("/v1/projects/podtato/resources/a.yaml", "2").await;
    let seen = format!("\"{}\"", first["commit"].as_str().unwrap());
    let write = |path: &'static str| {
        let path = format!("/v1/projects/podtato/resources/{path}");
        let seen = seen.clone();
        let harness = &harness;
        async move { harness.request(Method::PUT, &path, &[("if-match", &seen)], "3").await }
    };
    let refused = write("a.yaml").await;
    assert_eq!((refused.status, &refused.json()["code"]), (StatusCode::CONFLICT, &json!("revision-conflict")));
    assert!(refused.text().contains(second["commit"].as_str().unwrap()), "{}", refused.text());
    assert_eq!(write("b.yaml").await.status, StatusCode::OK, "another file is no conflict");
    assert_eq!(harness.get("/v1/projects/podtato/resources/a.yaml").await.text(), "2");
}

#[tokio::test]
async fn several_files_are_one_commit_and_a_bad_one_among_them_stops_all() {
    let harness = Harness::new().await;
    harness.create("podtato").await;
    let changes = |last: Value| json!({"message": "Two files", "changes": [{"path": "a", "content": "1"}, last]});
    let path = "/v1/projects/podtato/commits";
    for (bad, code) in [
        (json!({"path": "../b", "content": "2"}), "path-invalid"),
        (json!({"path": "shipyard.yaml", "content": "kind: Shipyard\n"}), "file-invalid"),
        (json!({"path": "prometheus/sli.yaml", "service": "hello", "content": "indicatos: {}\n"}), "file-invalid"),
        (json!({"path": "shipyard.yaml", "remove": true}), "change-invalid"),
        (json!({"path": "b", "content": "2", "remove": true}), "change-invalid"),
        (json!({"path": "b", "content-base64": "!"}), "change-invalid"),
        (json!({"path": "a/b", "content": "2"}), "path-invalid"),
        (json!({"path": "a", "content": "2"}), "path-invalid"),
    ] {
        let answer = harness.json(Method::POST, path, &changes(bad.clone())).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}: {}", answer.text());
        assert_eq!(answer.json()["code"], code, "{bad}: {}", answer.text());
    }
    assert_eq!(harness.commits().await.len(), 1, "nothing was changed");
    let written = harness.json(Method::POST, path, &changes(json!({"path": "b", "content-base64": "AP8="}))).await;
    assert_eq!(written.status, StatusCode::OK, "{}", written.text());
    assert_eq!(harness.get("/v1/projects/podtato/resources/b").await.body.as_ref(), [0, 255]);
    assert_eq!(harness.commits().await.len(), 2);
}

#[tokio::test]
async fn what_does_not_fit_together_is_told_on_the_write_and_when_asked() {
    let harness = Harness::new().await;
    harness.create("podtato").await;
    let jobs = "apiVersion: pilothouse.dev/v1\nkind: Jobs\ntasks:\n  tests: {job: k6}\n";
    let written = harness.put("/v1/projects/podtato/resources/jobs.yaml", jobs).await;
    let warnings = written["warnings"].as_array().unwrap();
    let [warning] = warnings.as_slice() else { panic!("{written}") };
    let warning = warning.as_str().unwrap();
    assert!(warning.starts_with("jobs.yaml:4:3: warning: ") && warning.contains("did you mean `test`?"), "{warning}");
    let found = harness.get("/v1/projects/podtato/problems").await.json();
    assert_eq!(found["checked"], 2);
    let items = found["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item["severity"] == "warning"), "{found}");
    let told = |item: &Value| format!("{}:{} {}", item["path"], item["line"], item["message"]);
    let told: Vec<String> = items.iter().map(told).collect();
    assert_eq!(told.len(), 4, "one of the jobs, three of tasks that nothing does: {told:#?}");
    assert!(told[1].contains("nothing does the task `deployment` in stage `dev`"), "{told:#?}");
}

#[tokio::test]
async fn a_path_that_leaves_the_project_is_refused_on_every_way_in() {
    let harness = Harness::new().await;
    harness.create("podtato").await;
    for path in ["..%2fx", "a%2f..%2f..%2fx", "%2fetc%2fpasswd", ".git%2fconfig", "a%2f.GIT%2fhooks", "a%00b", "a%5cb"]
    {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let answer =
                harness.request(method.clone(), &format!("/v1/projects/podtato/resources/{path}"), &[], "x").await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{method} {path}: {}", answer.text());
        }
    }
    let stage = harness.request(Method::PUT, "/v1/projects/podtato/resources/x?stage=..", &[], "x").await;
    assert_eq!(stage.json()["code"], "name-invalid");
    let large = harness.request(Method::PUT, "/v1/projects/podtato/resources/x", &[], vec![b'x'; 9 << 20]).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(harness.commits().await.len(), 1, "nothing was changed");
}

#[tokio::test]
async fn a_bad_shipyard_or_name_creates_nothing_and_says_what_is_wrong() {
    let harness = Harness::new().await;
    for (name, shipyard, status, contains) in [
        ("Podtato", SHIPYARD, StatusCode::UNPROCESSABLE_ENTITY, "Podtato"),
        ("a", "spec: [", StatusCode::UNPROCESSABLE_ENTITY, "shipyard.yaml:1:7: this is not valid YAML"),
        ("a", "", StatusCode::UNPROCESSABLE_ENTITY, "shipyard.yaml:1:1"),
    ] {
        let answer = harness.json(Method::POST, "/v1/projects", &json!({"name": name, "shipyard": shipyard})).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.text().contains(contains), "{}", answer.text());
    }
    assert_eq!(harness.get("/v1/projects").await.json()["items"], json!([]));
    harness.create("a").await;
    let again = harness.json(Method::POST, "/v1/projects", &json!({"name": "a", "shipyard": SHIPYARD})).await;
    assert_eq!((again.status, &again.json()["code"]), (StatusCode::CONFLICT, &json!("project-exists")));
}

#[tokio::test]
async fn a_token_of_one_project_neither_sees_nor_changes_another() {
    let harness = Harness::new().await;
    harness.create("mine").await;
    harness.create("theirs").await;
    let token = harness.token("narrow", &[Right::Operate, Right::Read], Some(&["mine"])).await;
    let call = |method, path: &'static str| harness.call(request_as(&token, method, path, &[], "x"));
    let listed = call(Method::GET, "/v1/projects").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(call(Method::PUT, "/v1/projects/mine/resources/a").await.status, StatusCode::OK);
    for (method, path) in [
        (Method::GET, "/v1/projects/theirs"),
        (Method::PUT, "/v1/projects/theirs/resources/a"),
        (Method::DELETE, "/v1/projects/theirs"),
        (Method::GET, "/v1/projects/theirs/commits"),
        (Method::GET, "/v1/projects/theirs/upstream"),
    ] {
        assert_eq!(call(method.clone(), path).await.status, StatusCode::NOT_FOUND, "{method} {path}");
    }
}

#[tokio::test]
async fn a_service_is_told_of_in_every_stage_when_it_comes_and_when_it_goes() {
    let harness = Harness::new().await;
    harness.create("podtato").await;
    let path = "/v1/projects/podtato/services";
    assert_eq!(harness.json(Method::POST, path, &json!({"name": "hello"})).await.status, StatusCode::CREATED);
    assert_eq!(harness.json(Method::POST, path, &json!({"name": "hello"})).await.json()["code"], "service-exists");
    harness.put("/v1/projects/podtato/resources/limits.yaml?stage=dev&service=hello", "x").await;
    let missing = harness.request(Method::DELETE, &format!("{path}/helo"), &[], "").await;
    assert!(missing.text().contains("did you mean `hello`?"), "{}", missing.text());
    assert_eq!(harness.request(Method::DELETE, &format!("{path}/hello"), &[], "").await.status, StatusCode::OK);
    for (what, count) in [("create", 2), ("delete", 2)] {
        let told = harness.told(&format!("sh.keptn.event.service.{what}.finished")).await;
        let stages: Vec<_> = told.iter().map(|data| data["stage"].as_str().unwrap()).collect();
        assert_eq!((stages, told.len()), (vec!["dev", "production"], count), "{what}");
    }
    assert_eq!(harness.get(path).await.json()["items"], json!([]));
    let files = harness.get("/v1/projects/podtato/resources").await.json();
    assert_eq!(files["items"].as_array().unwrap().len(), 1, "{files}");
}

#[tokio::test]
async fn a_commit_that_a_crash_kept_from_being_told_is_told_of_at_the_next_start() {
    let harness = Harness::new().await;
    harness.create("podtato").await;
    let name = ProjectName::new("podtato").unwrap();
    let signed = Signed {
        actor: "token:ci".to_owned(),
        message: "Before the crash".to_owned(),
        now: harness.app.engine().now(),
    };
    for file in ["a", "b"] {
        let changes = vec![Change { path: FilePath::new(file).unwrap(), content: Some(b"1".to_vec()) }];
        let signed = signed.clone();
        let repositories = harness.app.projects().repositories().clone();
        repositories.write(&name, move |git| git.commit(&changes, None, &signed)).await.unwrap();
    }
    assert_eq!(harness.commits().await.len(), 1, "the crash came before the event");
    harness.app.projects().announce_all().await;
    harness.app.projects().announce_all().await;
    let commits = harness.commits().await;
    assert_eq!(commits.len(), 2, "{commits:#?}");
    assert_eq!(commits[1]["origin"], "recovery");
    assert_eq!(commits[1]["before"], commits[0]["commit"], "the gap is told of as a whole");
    assert_eq!(commits[1]["paths"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_repository_that_a_crash_left_without_its_project_is_no_hindrance() {
    let harness = Harness::new().await;
    let left = harness.app.projects().repositories().path(&ProjectName::new("podtato").unwrap());
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("HEAD"), "half").unwrap();
    harness.create("podtato").await;
    assert_eq!(harness.commits().await.len(), 1);
}

#[tokio::test]
async fn a_broken_repository_is_named_and_the_other_projects_work_on() {
    let harness = Harness::new().await;
    harness.create("broken").await;
    harness.create("fine").await;
    let path = harness.app.projects().repositories().path(&ProjectName::new("broken").unwrap());
    std::fs::remove_dir_all(path.join("objects")).unwrap();
    let listed = harness.get("/v1/projects").await.json();
    assert!(listed["items"][0]["problem"].is_string(), "{listed}");
    assert_eq!(listed["items"][1].get("problem"), None);
    let written = harness.request(Method::PUT, "/v1/projects/broken/resources/a", &[], "x").await;
    assert_eq!(written.status, StatusCode::INTERNAL_SERVER_ERROR, "{}", written.text());
    harness.put("/v1/projects/fine/resources/a", "x").await;
}

#[tokio::test]
async fn a_deleted_project_is_gone_with_its_repository_and_its_name_is_free() {
    let harness = Harness::new().await;
    harness.create("podtato").await;
    let path = harness.app.projects().repositories().path(&ProjectName::new("podtato").unwrap());
    assert!(path.is_dir());
    assert_eq!(harness.request(Method::DELETE, "/v1/projects/podtato", &[], "").await.status, StatusCode::NO_CONTENT);
    assert!(!path.exists());
    let told = harness.told("dev.pilothouse.project.deleted.v1").await;
    assert_eq!(told, [json!({"project": "podtato", "actor": "token:admin"})]);
    assert_eq!(harness.get("/v1/projects/podtato").await.status, StatusCode::NOT_FOUND);
    harness.create("podtato").await;
    assert_eq!(harness.commits().await.len(), 2, "the later project tells of its own first commit");
}

#[tokio::test]
async fn a_description_and_a_shipyard_can_be_changed_and_bad_ones_change_nothing() {
    let harness = Harness::new().await;
    harness.create("podtato").await;
    let path = "/v1/projects/podtato";
    let changed = harness.json(Method::PATCH, path, &json!({ "description": "Our shop" })).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
    assert_eq!((&changed.json()["description"], harness.commits().await.len()), (&json!("Our shop"), 1));
    let shorter = SHIPYARD.split("    - name: production").next().unwrap();
    let body = json!({ "shipyard": shorter, "message": "No production" });
    let changed = harness.json(Method::PATCH, path, &body).await.json();
    assert_eq!((&changed["stages"], &changed["description"]), (&json!(["dev"]), &json!("Our shop")));
    assert_eq!(harness.commits().await[1]["message"], "No production");
    let bad = json!({ "shipyard": "stages: 1", "description": "Lost" });
    assert_eq!(harness.json(Method::PATCH, path, &bad).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(harness.get(path).await.json()["description"], "Our shop");
    let other = harness.json(Method::PATCH, "/v1/projects/other", &json!({ "description": "x" })).await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
}
