//! Each format read by its checker and by its published JSON Schema: both must take the same files.

use super::*;
use crate::yaml::parse;

const SLO: &str = "spec_version: \"1.0\"
filter: {handler: ItemsController}
comparison:
  compare_with: several_results
  include_result_with_score: pass_or_warn
  number_of_comparison_results: 3
  aggregate_function: p90
objectives:
  - sli: response_time_p95
    displayName: p95
    unit: ms
    key_sli: false
    absolute: false
    errorBudget: {target: \"99.9%\", window: 30d, ratioOf: good}
    pass:
      - criteria: [\"<=+10%\", \"<600\"]
    warning:
      - criteria: [\"<=800\"]
    weight: 2
total_score: {pass: \"90%\", warning: \"75%\"}
";
const SLI: &str = "spec_version: \"1.0\"
indicators:
  throughput: sum(rate(http_requests_total{job=\"$SERVICE\"}[$DURATION_SECONDS]))
";
const REMEDIATION: &str = "apiVersion: spec.keptn.sh/0.1.4
kind: Remediation
metadata: {name: cart}
spec:
  remediations:
    - problemType: Response time degradation
      actionsOnOpen:
        - {action: scaling, name: Scale, description: One more, value: {replicas: 1}}
";
const WORKLOAD: &str = "spec_version: \"0.1.0\"
workloads:
  - teststrategy: performance
    vuser: 10
    loopcount: 5
    thinktime: 250
    script: jmeter/load.jmx
    acceptederrorrate: 0.05
    avgrtvalidation: 300
    properties: {ramp: 10}
";
const JOBS: &str = "apiVersion: pilothouse.dev/v1
kind: Jobs
tasks:
  deployment:
    job: ansible
    parameters: {version: {pointer: /image, default: latest}, forks: 5}
    files: [playbook.yaml, roles/]
    event: event.json
    timeoutSeconds: 600
    result: result.json
    artifacts: [changes.txt]
    failure: fail
";
const WEBHOOKS: &str = "apiVersion: pilothouse.dev/v1
kind: Webhooks
tasks:
  release:
    connection: jenkins
    method: POST
    path: /job/{/service}/build
    query: {token: '{/labels/token}'}
    headers: {x-run: '{/run}'}
    body: {version: {pointer: /image, default: none}, by: pilothouse}
    expect: [201]
    output: /queue
events:
  - type: sh.keptn.event.*
    when: {/result: [fail]}
    request: {connection: jira, path: /issue}
";
const GATE: &str = "spec_version: '1.0'
sliProvider: prometheus
withoutSlo: pass
";
const MONITORING: &str = "spec_version: '1.0'
targets: ['$SERVICE.$STAGE:80', 'cart:81']
labels: {team: shop}
alertFor: 10m
alertWindow: 1h30m
handEdits: report
";
const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.3
kind: Shipyard
metadata: {name: shop}
spec:
  stages:
    - name: dev
      sequences:
        - name: delivery
          concurrency: queue
          triggeredOn: [{event: dev.artifact.finished, selector: {match: {result: pass}}}]
          tasks:
            - {name: deployment, triggeredAfter: 2m, timeout: {start: 2m, finish: 1h}, retries: 2, retryAfter: 30s, properties: {a: b}}
            - parallel: [{name: test}, {name: scan}]
        - {name: artifact, tasks: [{name: build}]}
";
const MAPPING: &str = "apiVersion: pilothouse.dev/v1
kind: InboundMapping
events:
  - forEach: /alerts
    when: {/status: [firing], 'root:/version': '4', 'header:x-kind': alert}
    type: com.example.alert
    source: /alertmanager/{/labels/cluster}
    id: '{/fingerprint}'
    subject: '{/labels/alertname}'
    run: '{/fingerprint}'
    data: {state: {from: /status, default: none}, text: 'is {/status}'}
";

const GOOD: [(FileKind, &str); 10] = [
    (FileKind::Monitoring, MONITORING),
    (FileKind::Slo, SLO),
    (FileKind::Gate, GATE),
    (FileKind::Sli, SLI),
    (FileKind::Remediation, REMEDIATION),
    (FileKind::Workload, WORKLOAD),
    (FileKind::Jobs, JOBS),
    (FileKind::Webhooks, WEBHOOKS),
    (FileKind::Shipyard, SHIPYARD),
    (FileKind::InboundMapping, MAPPING),
];

/// What is changed in the good file of a format, and where and how the mistake is named.
const BAD: [(FileKind, &str, &str, &str); 50] = [
    (FileKind::Slo, "target: \"99.9%\"", "target: \"all\"", "14:27: "),
    (FileKind::Slo, "window: 30d", "window: often", "14:44: "),
    (FileKind::Slo, "ratioOf: good", "ratioOf: fine", "cannot be `fine`"),
    (FileKind::Monitoring, "'1.0'", "'2.0'", "1:15: "),
    (FileKind::Monitoring, "targets", "target", "did you mean `targets`"),
    (FileKind::Monitoring, "team: shop", "job: shop", "3:9: "),
    (FileKind::Monitoring, "alertFor: 10m", "alertFor: soon", "4:11: "),
    (FileKind::Monitoring, "alertWindow: 1h30m", "alertWindow: 1.5h", "5:14: "),
    (FileKind::Monitoring, "handEdits: report", "handEdits: keep", "6:12: "),
    (FileKind::Gate, "'1.0'", "'2.0'", "1:15: "),
    (FileKind::Gate, "sliProvider", "provider", "2:1: "),
    (FileKind::Gate, "withoutSlo: pass", "withoutSlo: fail", "3:13: "),
    (FileKind::Slo, "spec_version: \"1.0\"", "spec_version: \"2.0\"", "1:15: "),
    (FileKind::Slo, "objectives:", "objectivs:", "did you mean `objectives`"),
    (FileKind::Slo, "total_score: {pass: \"90%\", warning: \"75%\"}", "", "`total_score`"),
    (FileKind::Slo, "\"<600\"", "\"fast\"", "16:30: "),
    (FileKind::Slo, "\"<600\"", "\"<6O0\"", "such as `<600` or `<=+10%`"),
    (FileKind::Slo, "criteria: [\"<=800\"]", "criteria: []", "can never be met"),
    (FileKind::Slo, "aggregate_function: p90", "aggregate_function: p99", "no aggregate function `p99`"),
    (FileKind::Slo, "include_result_with_score: pass_or_warn", "include_result_with_score: best", "cannot be `best`"),
    (FileKind::Slo, "weight: 2", "weight: -1", "19:13: "),
    (FileKind::Slo, "sli: response_time_p95", "sly: response_time_p95", "9:5: "),
    (FileKind::Slo, "pass: \"90%\"", "pass: \"190%\"", "20:21: "),
    (FileKind::Slo, "key_sli: false", "key_sli: perhaps", "`perhaps`"),
    (FileKind::Sli, "spec_version: \"1.0\"", "", "`spec_version`"),
    (FileKind::Sli, "indicators:", "indicator:", "did you mean `indicators`"),
    (FileKind::Sli, "throughput: sum", "throughput: []\n  x: sum", "3:15: "),
    (FileKind::Remediation, "0.1.4", "0.2.0", "0.1.4"),
    (FileKind::Remediation, "kind: Remediation", "kind: Remedy", "Remediation"),
    (FileKind::Remediation, "actionsOnOpen:", "actionsOnOpn:", "did you mean `actionsOnOpen`"),
    (FileKind::Remediation, "action: scaling, ", "", "`action`"),
    (FileKind::Workload, "vuser: 10", "vuser: 0", "4:12: "),
    (FileKind::Workload, "vuser: 10", "vusers: 10", "did you mean `vuser`"),
    (FileKind::Workload, "teststrategy: performance", "users: 1", "`teststrategy`"),
    (FileKind::Workload, "acceptederrorrate: 0.05", "acceptederrorrate: 5", "8:24: "),
    (FileKind::Jobs, "pilothouse.dev/v1", "pilothouse.dev/v2", "pilothouse.dev/v1"),
    (FileKind::Jobs, "job: ansible", "jobs: ansible", "did you mean `job`"),
    (FileKind::Jobs, "failure: fail", "failure: maybe", "`errored` or `fail`"),
    (FileKind::Jobs, "pointer: /image", "pointer: image", "6:37: "),
    (FileKind::Jobs, "timeoutSeconds: 600", "timeoutSeconds: long", "9:21: "),
    (FileKind::Webhooks, "method: POST", "method: FETCH", "one of GET"),
    (FileKind::Webhooks, "path: /issue", "path: issue", "16:39: "),
    (FileKind::Webhooks, "expect: [201]", "expect: [often]", "11:14: "),
    (FileKind::Webhooks, "connection: jira, ", "", "`connection`"),
    (FileKind::Shipyard, "name: dev\n", "name: Dev\n", "`Dev`"),
    (FileKind::Shipyard, "retries: 2", "retries: 21", "retries"),
    (FileKind::Shipyard, "concurrency: queue", "concurrency: some", "9:24: "),
    (FileKind::Shipyard, "tasks: [{name: build}]", "tasks: []", "artifact"),
    (FileKind::InboundMapping, "    type: com.example.alert\n", "", "`type`"),
    (FileKind::InboundMapping, "forEach: /alerts", "forEach: alerts", "JSON pointer"),
];

fn schema(kind: FileKind) -> jsonschema::Validator {
    let path = format!("{}/../../docs/schemas/{}", env!("CARGO_MANIFEST_DIR"), kind.schema());
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    jsonschema::draft202012::new(&serde_json::from_str(&text).unwrap()).unwrap()
}

fn by_schema(kind: FileKind, text: &str) -> Result<(), String> {
    let document = parse(text.as_bytes()).unwrap().to_json();
    schema(kind).validate(&document).map_err(|error| error.to_string())
}

#[test]
fn a_good_file_of_each_format_has_no_problem_and_keeps_its_schema() {
    for (kind, text) in GOOD {
        assert_eq!(check(kind, text.as_bytes()), [], "{}", kind.name());
        by_schema(kind, text).unwrap_or_else(|error| panic!("{}: {error}", kind.name()));
        assert_eq!(FileKind::of_content(&parse(text.as_bytes()).unwrap()), Some(kind));
    }
}

#[test]
fn a_mistake_is_named_where_it_stands_and_breaks_the_schema() {
    let mut missed = Vec::new();
    for (kind, from, to, said) in BAD {
        let (_, good) = GOOD.into_iter().find(|(known, _)| *known == kind).unwrap();
        assert!(good.contains(from), "{}: {from}", kind.name());
        let text = good.replacen(from, to, 1);
        let problems = check(kind, text.as_bytes());
        let told: Vec<String> = problems.iter().filter(|it| it.stops_a_write()).map(ToString::to_string).collect();
        if !told.iter().any(|it| it.contains(said)) {
            missed.push(format!("{} with `{to}`: `{said}` is not in {told:?}", kind.name()));
        }
        if by_schema(kind, &text).is_ok() {
            missed.push(format!("the schema takes {} with `{to}`", kind.name()));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// Collects the names of all members that a schema has anywhere.
fn names(schema: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(keywords) => {
            for (keyword, value) in keywords {
                match value {
                    serde_json::Value::Object(members) if keyword == "properties" => {
                        found.extend(members.keys().cloned());
                        members.values().for_each(|member| names(member, found));
                    }
                    value => names(value, found),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| names(item, found)),
        _ => {}
    }
}

#[test]
fn the_good_files_have_every_member_that_their_schemas_name() {
    let mut missed = Vec::new();
    for (kind, text) in GOOD {
        let path = format!("{}/../../docs/schemas/{}", env!("CARGO_MANIFEST_DIR"), kind.schema());
        let schema: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut found = std::collections::BTreeSet::new();
        names(&schema, &mut found);
        for name in found {
            if !text.contains(&format!("{name}:")) {
                missed.push(format!("{}: nothing tries `{name}`", kind.name()));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn files_are_known_by_the_names_that_keptn_gave_them() {
    let known = [
        ("shipyard.yaml", Some(FileKind::Shipyard)),
        ("stages/dev/shipyard.yaml", None),
        ("slo.yaml", Some(FileKind::Slo)),
        ("prometheus/monitoring.yaml", Some(FileKind::Monitoring)),
        ("quality-gate.yaml", Some(FileKind::Gate)),
        ("prometheus/sli.yaml", Some(FileKind::Sli)),
        ("a/b/sli.yaml", None),
        ("sli.yaml", None),
        ("remediation.yaml", Some(FileKind::Remediation)),
        ("jmeter/jmeter.conf.yaml", Some(FileKind::Workload)),
        ("jobs.yaml", Some(FileKind::Jobs)),
        ("webhooks.yaml", Some(FileKind::Webhooks)),
        ("helm/values.yaml", None),
    ];
    for (path, kind) in known {
        assert_eq!(FileKind::of_path(path), kind, "{path}");
    }
}

#[test]
fn what_is_probably_not_meant_is_warned_of_and_works() {
    let warned = |kind, from: &str, to: &str, said: &str| {
        let (_, good) = GOOD.into_iter().find(|(known, _)| *known == kind).unwrap();
        let problems = check(kind, good.replacen(from, to, 1).as_bytes());
        let told = problems.iter().find(|it| it.message.contains(said)).unwrap_or_else(|| panic!("{problems:?}"));
        assert!(!told.stops_a_write(), "{told}");
    };
    warned(FileKind::Slo, "\"<600\"", "\"<-5\"", "`absolute: true`");
    warned(FileKind::Slo, "compare_with: several_results", "compare_with: all_results", "`compare_with` cannot be");
    warned(FileKind::Slo, "weight: 2", "weight: 0", "counts as 1");
    warned(FileKind::Webhooks, "[fail]", "[]", "never sent");
}
