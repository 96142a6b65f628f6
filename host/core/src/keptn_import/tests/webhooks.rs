//! `webhook/webhook.yaml`.

use proptest::prelude::*;

use super::*;

/// A file of curl commands: `(type, requests)`, each with the subscription `s1`, `s2`, …
fn curl(webhooks: &[(&str, &[&str])]) -> String {
    let mut text =
        "apiVersion: webhookconfig.keptn.sh/v1alpha1\nkind: WebhookConfig\nmetadata: {name: c}\nspec:\n  webhooks:\n"
            .to_owned();
    for (number, (ty, requests)) in (1..).zip(webhooks) {
        text.push_str(&format!(
            "  - type: {ty}\n    subscriptionID: s{number}\n    sendFinished: true\n    envFrom: [{{name: key, secretRef: {{name: my-secret, key: token}}}}]\n    requests:\n"
        ));
        for request in *requests {
            text.push_str(&format!("    - {}\n", serde_json::Value::from(*request)));
        }
    }
    text
}

const HEAD: &str = "apiVersion: pilothouse.dev/v1\nkind: Webhooks\n";
const RELEASE: &str = "sh.keptn.event.release.triggered";

#[test]
fn a_curl_command_of_a_task_becomes_a_request() {
    let command = r#"curl -X POST -H 'Content-Type: application/json' -H "X-Stage: {{.data.stage}}" -d '{"text": "{{.data.service}} is {{ .data.result }}", "score": {{.data.evaluation.score}}, "list": [1, true]}' 'https://hooks.example.com:8443/a b/{{.data.project}}?dry=no%20way&x={{index .data.list 0}}'"#;
    let imported = imported(&[("main", "webhook/webhook.yaml", &curl(&[(RELEASE, &[command])]))]);
    let expected = r#"tasks:
  release:
    connection: hooks-example-com-8443
    method: POST
    path: "/a b/{/project}"
    query:
      dry: "no way"
      x: "{/list/0}"
    headers:
      X-Stage: "{/stage}"
    body:
      list:
        - 1
        - true
      score:
        pointer: /evaluation/score
      text: "{/service} is {/result}"
"#;
    assert_eq!(text(&imported, "webhooks.yaml"), format!("{HEAD}{expected}"));
    let connection = toml_of(&note(&imported, "[connections.hooks-example-com-8443]").message);
    assert_eq!(
        connection,
        toml::from_str("[connections.hooks-example-com-8443]\nurl = \"https://hooks.example.com:8443\"").unwrap()
    );
    assert!(note(&imported, "may have been for some stages").path.ends_with("webhook.yaml"));
    assert!(!imported.files.contains_key("webhook/webhook.yaml"));
}

#[test]
fn a_request_in_parts_that_follows_an_event_becomes_one_of_events() {
    let file = r#"
apiVersion: webhookconfig.keptn.sh/v1beta1
kind: WebhookConfig
metadata: {name: webhook-configuration}
spec:
  webhooks:
  - type: sh.keptn.event.evaluation.finished
    subscriptionID: abc
    sendStarted: true
    envFrom: [{name: key, secretRef: {name: slack, key: path}}]
    requests:
    - url: https://hooks.slack.com/services/{{.env.key}}
      method: post
      headers: [{key: Content-type, value: application/json}]
      payload: '{"text":"{{.data.evaluation.result}}"}'
      options: "--max-time 10"
    - {url: "https://example.com/x", method: DELETE, headers: [{key: Authorization, value: "Bearer {{.env.key}}"}]}
  - {type: sh.keptn.>, subscriptionID: def, requests: [{url: "example.com", method: GET, headers: [{key: Authorization, value: "Basic {{.env.none}}"}]}]}
"#;
    let imported = imported(&[("dev", "webhook/webhook.yaml", file)]);
    let expected = r#"events:
  - type: sh.keptn.event.evaluation.finished
    request:
      connection: hooks-slack-com
      method: POST
      body:
        text: "{/evaluation/result}"
  - type: sh.keptn.event.evaluation.finished
    request:
      connection: example-com
      method: DELETE
      path: /x
  - type: "sh.keptn.*"
    request:
      connection: example-com-2
      method: GET
"#;
    assert_eq!(text(&imported, "stages/dev/webhooks.yaml"), format!("{HEAD}{expected}"));
    let secret = note(&imported, "[connections.hooks-slack-com]");
    assert!(secret.message.contains(
        "# The file holds https://hooks.slack.com/services/<key>; <key> is key `path` of the Kubernetes secret `slack`.\nurl-file = \"/etc/pilothouse/hooks-slack-com\"\n"
    ), "{}", secret.message);
    let bearer = &note(&imported, "[connections.example-com]").message;
    assert!(bearer.contains("auth = \"bearer\"\n# `pilothouse secret set slack-path` stores key `path`"), "{bearer}");
    assert!(bearer.ends_with("credential = { secret = \"slack-path\" }\n"));
    let header = &note(&imported, "[connections.example-com-2]").message;
    assert!(
        header.contains("url = \"http://example.com\"\nauth = \"header\"\nheader = \"Authorization\"\n"),
        "{header}"
    );
    assert!(header.contains("stores `Basic <none>`, where <none> is what no `envFrom` names"), "{header}");
    note(&imported, "curl's `--max-time 10` left out");
}

#[test]
fn a_webhook_that_has_no_counterpart_is_told_of_with_the_reason() {
    for (command, says) in [
        ("curl -u a:b https://e.example", "option `-u` has no counterpart"),
        ("curl -F a=b https://e.example", "option `-F` has no counterpart"),
        ("curl https://e.example -d 'a=b'", "not JSON"),
        ("curl https://e.example -d '{}' -d '{}'", "not JSON"),
        ("curl https://e.example -d '{\"a\": \"x{y\"}'", "has a brace"),
        ("curl https://e.example -d '{\"pointer\": \"x\"}'", "a member `pointer`"),
        ("curl https://e.example -d '{\"{{.data.a}}\": 1}'", "name of a member"),
        ("curl https://e.example -d '{\"a\": \"{{.env.key}}\"}'", "the secret `key`"),
        ("curl https://e.example -d '{\"a\": {{.env.key}}}'", "its body has a secret"),
        ("curl https://e.example -d '<a/>' -H 'Content-Type: text/xml'", "its body is `text/xml`"),
        ("curl https://{{.data.host}}/x", "its host comes from the event"),
        ("curl https://user:pw@e.example", "a user in it"),
        ("curl ftp://e.example", "`ftp` is neither"),
        ("curl -X HEAD https://e.example", "`HEAD` is none of"),
        ("curl https://e.example/{{.data.a}}?t={{.env.key}}", "its address has a secret and a value"),
        ("curl https://e.example -H 'A: {{.env.key}}' -H 'B: {{.env.key}}'", "two headers hold secrets"),
        ("curl https://e.example/{{.env.key}} -H 'A: {{.env.key}}'", "one in a header"),
        ("curl https://e.example -H 'A: {{.data.a}}{{.env.key}}'", "a secret and another value"),
        ("curl https://e.example?a=1&a=2", "stands twice"),
        ("curl https://e.example -H 'A: 1' -H 'a: 2'", "stands twice"),
        ("curl https://e.example/{{.shkeptncontext}}", "is more than a value of the event's data"),
        ("curl https://e.example/{{if .data.x}}a{{end}}", "is more than a value"),
        ("curl 'https://e.example", "a quote is not closed"),
        ("wget https://e.example", "does not begin with `curl`"),
        ("curl", "it has no address"),
    ] {
        let file = curl(&[(RELEASE, &[command])]);
        let imported = imported(&[("main", "webhook/webhook.yaml", &file)]);
        let found = note(&imported, "webhook of subscription `s1`, request 1: left out, ");
        assert!(found.message.contains(says), "{command}: {}", found.message);
        assert_eq!(text(&imported, "webhook/webhook.yaml"), file);
        assert!(!imported.files.contains_key("webhooks.yaml"));
    }
}

#[test]
fn a_webhook_whose_place_is_not_known_is_told_of_with_its_translation() {
    let request: &[&str] = &["curl https://e.example/x"];
    let file = curl(&[
        ("sh.keptn.event.test.triggered", request),
        ("''", request),
        ("dev.example.x", request),
        ("sh.keptn.*.finished", request),
        ("sh.keptn.event.test.triggered", request),
        (RELEASE, &["curl https://e.example/1", "curl https://e.example/2"]),
        ("sh.keptn.event.deployment.triggered", &[]),
    ]);
    let manual =
        "  - {type: sh.keptn.event.approval.triggered, subscriptionID: s8, requests: ['curl https://e.example/x']}\n";
    let imported = imported(&[(
        "main",
        "webhook/webhook.yaml",
        &format!("{file}{manual}").replace("requests:\n  -", "requests: []\n  -"),
    )]);
    let yaml = text(&imported, "webhooks.yaml");
    assert_eq!(yaml, format!("{HEAD}tasks:\n  test:\n    connection: e-example\n    method: GET\n    path: /x\n"));
    let snippet = "translated it is:\nrequests:\n  - connection: e-example\n    method: GET\n    path: /";
    for (number, says) in [
        (2, "only Keptn's subscription knew the event"),
        (3, "`dev.example.x` is no type"),
        (4, "`sh.keptn.*.finished` is no type"),
        (5, "the task `test` has a request already"),
        (6, "it has 2 requests for the task `release`"),
        (8, "without `sendFinished: true` the called system itself ends the task `approval`"),
    ] {
        let found = &note(&imported, &format!("webhook of subscription `s{number}`: left out, ")).message;
        assert!(found.contains(says) && found.contains(snippet), "{found}");
    }
    note(&imported, "webhook of subscription `s7`: it has no request");
}

#[test]
fn a_nearer_file_has_what_keptn_would_have_found_farther_away() {
    let all = curl(&[
        (RELEASE, &["curl https://e.example/project"]),
        ("sh.keptn.event.test.finished", &["curl https://f.example"]),
    ]);
    let near = curl(&[(RELEASE, &["curl https://e.example/service"])]);
    let imported = imported(&[
        ("main", "webhook/webhook.yaml", &all),
        ("dev", "webhook/webhook.yaml", &all),
        ("dev", "carts/metadata.yaml", ""),
        ("dev", "carts/webhook/webhook.yaml", &near),
    ]);
    assert!(!imported.files.contains_key("stages/dev/webhooks.yaml"), "the same as the project's");
    let yaml = text(&imported, "stages/dev/services/carts/webhooks.yaml");
    assert!(yaml.contains("path: /service\n") && !yaml.contains("/project"), "{yaml}");
    assert!(yaml.contains("connection: f-example\n"), "{yaml}");
    assert_eq!(note(&imported, "that it does not replace were added").path, "dev:carts/webhook/webhook.yaml");
    note(&imported, "[connections.f-example]");
}

#[test]
fn webhooks_that_cannot_be_read_are_copied_under_their_old_path() {
    for bad in ["{", "a: 1", "apiVersion: webhookconfig.keptn.sh/v2\nspec: {webhooks: []}"] {
        let imported = imported(&[("main", "webhook/webhook.yaml", bad)]);
        assert_eq!(text(&imported, "webhook/webhook.yaml"), bad);
        note(&imported, "copied as it is, because it cannot be read: ");
    }
}

proptest! {
    #[test]
    fn any_command_makes_a_file_that_can_be_read_or_a_note(
        address in "https://e\\.example(/[a-z{}.%&=?#]{0,8}){0,2}",
        body in "(\\{\"[ -~]{0,10}\":(\"[ -~]{0,10}\"|\\{\\{\\.data\\.a\\}\\})\\}|[ -~]{0,12})",
        header in "[ -~]{0,16}",
    ) {
        let quoted = |text: &str| shlex::try_quote(text).unwrap().into_owned();
        let command = format!("curl {} -d {} -H {}", quoted(&address), quoted(&body), quoted(&header));
        let imported = imported(&[("main", "webhook/webhook.yaml", &curl(&[(RELEASE, &[&command])]))]);
        match imported.files.get("webhooks.yaml") {
            Some(bytes) => {
                let read = crate::yaml::parse(bytes).unwrap().to_json();
                prop_assert_eq!(&read["tasks"]["release"]["connection"], "e-example");
            }
            None => prop_assert!(imported.notes.iter().any(|note| note.message.contains("left out, "))),
        }
    }
}
