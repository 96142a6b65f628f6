//! `job/config.yaml`.

use proptest::prelude::*;

use super::*;

const LOCUST: &str = r#"
apiVersion: v2
actions:
- name: "Run locust"
  events:
  - name: "sh.keptn.event.test.triggered"
    jsonpath: {property: "$.data.test.teststrategy", match: locust}
  tasks:
  - name: "Run locust tests"
    files: [locust/basic.py, /helm, missing.txt, ../x]
    image: "locustio/locust:2"
    imagePullPolicy: Always
    workingDir: /bin
    cmd: [locust]
    args: ["--config", /keptn/locust/basic.py, "--host", "$(HOST)", "-x", "{$(OTHER)}"]
    env:
    - {name: HOST, value: "$.data.deployment.deploymentURIsLocal[0]", valueFrom: event}
    - {name: DATA_DIR, valueFrom: string, value: "/tmp/my data"}
    - {name: EVENT, value: "$", valueFrom: event, as: json}
    - {name: locust-secret, valueFrom: secret}
    - {name: ID, value: "$.id", valueFrom: event}
    maxPollDuration: 1200
    resources: {limits: {cpu: 1, memory: 512Mi}}
"#;

#[test]
fn a_job_of_a_task_becomes_an_entry_and_the_rest_is_told_of() {
    let imported = imported(&[
        ("dev", "carts/metadata.yaml", ""),
        ("dev", "carts/job/config.yaml", LOCUST),
        ("dev", "carts/locust/basic.py", "pass"),
        ("dev", "helm/x/chart.yaml", ""),
    ]);
    let expected = "apiVersion: pilothouse.dev/v1
kind: Jobs
tasks:
  test:
    job: run-locust-tests
    parameters:
      DATA_DIR: \"/tmp/my data\"
      HOST:
        pointer: /deployment/deploymentURIsLocal/0
      KEPTN_PROJECT:
        pointer: /project
      KEPTN_SERVICE:
        pointer: /service
      KEPTN_STAGE:
        pointer: /stage
    files:
      - locust/basic.py
      - helm/
      - missing.txt
    event: event.json
    timeoutSeconds: 1200
";
    assert_eq!(text(&imported, "stages/dev/services/carts/jobs.yaml"), expected);
    assert!(!imported.files.contains_key("stages/dev/services/carts/job/config.yaml"));
    for says in [
        "`match = { \"/test/teststrategy\" = [\"locust\"] }` below `[tasks.test]`",
        "variable `EVENT`: a parameter is one text",
        "variable `locust-secret`: secrets are not given to jobs",
        "variable `ID`: `$.id` is no part of the event's data",
        "file `missing.txt`: the repository has no such file",
        "file `../x`: `../x` is not a path",
        "for Kubernetes only: imagePullPolicy",
        "`workingDir: /bin`",
        "`{{$(OTHER)}}` has a variable that is no parameter",
    ] {
        assert_eq!(note(&imported, says).path, "dev:carts/job/config.yaml");
    }
}

#[test]
fn what_a_container_ran_is_suggested_as_a_template() {
    let imported = imported(&[("main", "job/config.yaml", LOCUST), ("main", "locust/basic.py", "pass")]);
    let template = note(&imported, "[jobs.run-locust-tests]");
    assert_eq!(template.severity, NoteSeverity::NotTranslated);
    let expected: toml::Table = toml::from_str(
        r#"
        [jobs.run-locust-tests]
        program = "locust"
        arguments = ["--config", "{file:locust/basic.py}", "--host", "{HOST}", "-x", "{{$(OTHER)}}"]
        [jobs.run-locust-tests.environment]
        DATA_DIR = "{DATA_DIR}"
        HOST = "{HOST}"
        KEPTN_PROJECT = "{KEPTN_PROJECT}"
        KEPTN_SERVICE = "{KEPTN_SERVICE}"
        KEPTN_STAGE = "{KEPTN_STAGE}"
        [jobs.run-locust-tests.parameters]
        DATA_DIR = { pattern = '/tmp/my data', required = true }
        HOST = { pattern = '[A-Za-z0-9._:/@+=,\-]{0,1024}', default = "" }
        KEPTN_PROJECT = { pattern = '[A-Za-z0-9._:/@+=,\-]{0,1024}', default = "" }
        KEPTN_SERVICE = { pattern = '[A-Za-z0-9._:/@+=,\-]{0,1024}', default = "" }
        KEPTN_STAGE = { pattern = '[A-Za-z0-9._:/@+=,\-]{0,1024}', default = "" }
        [jobs.run-locust-tests.files]
        pattern = '[A-Za-z0-9._/\-]{1,200}'
        count-max = 256
        [jobs.run-locust-tests.limits]
        timeout = "20m"
        memory = "512MiB"
        "#,
    )
    .unwrap();
    assert_eq!(toml_of(&template.message), expected);
}

/// One action with one container, for the given event.
fn action(event: &str, task: &str) -> String {
    format!("- name: a\n  events: [{{name: '{event}'}}]\n  tasks: [{task}]\n")
}

fn config(actions: &[String]) -> String {
    format!("apiVersion: v2\nactions:\n{}", actions.concat())
}

#[test]
fn the_same_job_of_two_stages_is_one_template_and_another_one_is_a_second() {
    let file = |image: &str| {
        config(&[action("^sh\\.keptn\\.event\\.deployment\\.triggered$", &format!("{{name: deploy, image: {image}}}"))])
    };
    let (one, other) = (file("registry:5000/acme/helm:3@sha256"), file("other"));
    let imported = imported(&[
        ("main", "job/config.yaml", &one),
        ("dev", "carts/job/config.yaml", &one),
        ("prod", "carts/job/config.yaml", &other),
        ("prod", "carts/metadata.yaml", ""),
    ]);
    assert!(text(&imported, "jobs.yaml").contains("  deployment:\n    job: deploy\n"));
    assert!(text(&imported, "stages/dev/services/carts/jobs.yaml").contains("job: deploy\n"));
    assert!(text(&imported, "stages/prod/services/carts/jobs.yaml").contains("job: deploy-2\n"));
    assert!(note(&imported, "[jobs.deploy]").message.contains("program = \"helm\" # what the image starts"));
    toml_of(&note(&imported, "[jobs.deploy-2]").message);
}

#[test]
fn what_follows_anything_but_one_tasks_trigger_is_told_of_and_the_file_is_kept() {
    let events = [
        "sh.keptn.event.test.finished",
        "sh.keptn.event.*.triggered",
        "sh.keptn.event.dev.delivery.triggered",
        "dev.example.x",
    ];
    let file = config(&events.map(|event| action(event, "{name: x, image: i}")));
    let imported = imported(&[("main", "job/config.yaml", &file)]);
    assert_eq!(text(&imported, "job/config.yaml"), file);
    assert!(!imported.files.contains_key("jobs.yaml"));
    for event in events {
        note(&imported, &format!("event `{event}`: `jobs.yaml` names tasks"));
    }
    note(&imported, "nothing of it became a task's job");
}

#[test]
fn an_action_of_several_tasks_is_told_of_with_an_entry_for_each() {
    let file = config(&[
        action("sh.keptn.event.test.triggered", "{name: one, image: i, cmd: sh -c 'a b'}, {name: one, image: j}"),
        action("sh.keptn.event.deployment.triggered", "{name: d, image: k}"),
        action("sh.keptn.event.deployment.triggered", "{name: e, image: l}"),
    ]);
    let imported = imported(&[("main", "job/config.yaml", &file)]);
    let several = &note(&imported, "has 2 tasks, and a task of Pilothouse has one job").message;
    assert!(several.contains("  one:\n    job: one\n") && several.contains("  one-2:\n    job: one-2\n"), "{several}");
    assert!(note(&imported, "[jobs.one]").message.contains("program = \"sh\"\narguments = [\"-c\", \"a b\"]"));
    let yaml = text(&imported, "jobs.yaml");
    assert!(yaml.contains("  deployment:\n    job: d\n") && !yaml.contains("  test:"), "{yaml}");
    assert!(note(&imported, "has a job already").message.contains("job: e\n"));
}

#[test]
fn settings_that_cannot_be_read_are_copied_under_their_old_path() {
    for bad in
        ["{", "- a", "apiVersion: v3\nactions: []", "apiVersion: v2", "actions: [{tasks: [{files: [[a]]}]}]", "\u{0}"]
    {
        let imported = imported(&[("dev", "job/config.yaml", bad), ("prod", "job/x", "")]);
        assert_eq!(text(&imported, "stages/dev/job/config.yaml"), bad);
        let note = note(&imported, "copied as it is, because it cannot be read: ");
        assert_eq!((note.path.as_str(), note.severity), ("dev:job/config.yaml", NoteSeverity::NotTranslated));
    }
}

#[test]
fn a_file_that_has_the_new_name_already_is_not_overwritten() {
    let file = config(&[action("sh.keptn.event.test.triggered", "{name: x, image: i}")]);
    let mine = "apiVersion: pilothouse.dev/v1\nkind: Jobs\ntasks: {test: {job: mine}}\n";
    let imported = imported(&[("main", "job/config.yaml", &file), ("main", "jobs.yaml", mine)]);
    assert_eq!(text(&imported, "jobs.yaml"), mine);
    assert!(note(&imported, "has `jobs.yaml` already").message.contains("kind: Jobs\n"));
}

#[test]
fn an_unknown_field_is_told_of_and_the_rest_is_translated() {
    let file = config(&[action("sh.keptn.event.test.triggered", "{name: x, image: i, colour: red}")]);
    let imported = imported(&[("main", "job/config.yaml", &file)]);
    note(&imported, "left out: 5:31: task `x` has no field `colour`");
    assert!(imported.files.contains_key("jobs.yaml"));
}

proptest! {
    #[test]
    fn any_words_make_a_file_and_a_template_that_can_be_read(
        words in prop::collection::vec("[ -~\\n\u{80}\u{2028}]{0,12}", 0..4),
        value in "[ -~\\nä]{0,12}",
        path in "[a-z/{}. \"']{0,12}",
    ) {
        let quote = |text: &String| emit::write(&text.as_str().into()).trim_end().to_owned();
        let args: Vec<String> = words.iter().map(quote).collect();
        let task = format!(
            "{{name: x, image: {}, args: [{}], files: [{}], env: [{{name: A, value: {}}}]}}",
            quote(&value), args.join(","), quote(&path), quote(&value),
        );
        let imported = imported(&[("main", "job/config.yaml", &config(&[action("sh.keptn.event.test.triggered", &task)]))]);
        let read = crate::yaml::parse(&imported.files["jobs.yaml"]).unwrap().to_json();
        prop_assert_eq!(&read["tasks"]["test"]["parameters"]["A"], &serde_json::Value::from(value.as_str()));
        let template = imported.notes.iter().find(|note| note.message.contains("\n[jobs.x]")).unwrap();
        let at = template.message.find("\n[jobs.x]\n").unwrap();
        let table: Result<toml::Table, _> = toml::from_str(&template.message[at..]);
        prop_assert!(table.is_ok(), "{:?}\n{}", table, template.message);
    }
}
