//! Every problem at once, with its place; one name in three spellings; no secret in a message.

use std::path::PathBuf;

use super::*;

fn load_text(text: &str) -> Result<Loaded, ConfigErrors> {
    load(&Sources { file: Some((PathBuf::from("ph.toml"), text.to_owned())), ..Sources::default() })
}

fn problems(text: &str) -> Vec<String> {
    let errors = load_text(text).expect_err(text);
    errors.0.iter().map(|problem| format!("{}: {}", problem.origin, problem.message)).collect()
}

#[test]
fn nothing_given_means_the_defaults_which_listen_on_loopback_only() {
    let loaded = load(&Sources::default()).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.config.listen.ip().is_loopback());
    assert!(loaded.warnings.is_empty());
}

#[test]
fn every_problem_is_reported_at_once_with_its_line() {
    let found = problems(
        "listen = \"nowhere\"\ndrain-timout = \"5s\"\n\n[limits]\nevent-size-max = \"1KiB\"\nbatch-events-max = 5000\n\n\
         [retention]\nage = \"1d\"\n\n[colour]\nx = 1\n",
    );
    assert_eq!(found.len(), 6, "{found:#?}");
    let has = |part: &str| assert!(found.iter().any(|problem| problem.contains(part)), "{part}: {found:#?}");
    has("ph.toml:1: `listen`");
    has("ph.toml:2: `drain-timout` is not a setting; did you mean `drain-timeout`?");
    has("ph.toml:5: `limits.event-size-max`: it must be from 64KiB to 1MiB");
    has("ph.toml:6: `limits.batch-events-max`");
    has("ph.toml:9: `retention.age`: it must be at least 7d");
    has("ph.toml:11: `colour` is not a setting; known here are");
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_its_line() {
    let found = problems("listen = \"127.0.0.1:1\"\ndata-dir = \n");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("ph.toml:2: "), "{found:?}");
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let sources = |flags: Vec<(Vec<String>, String)>| Sources {
        file: Some((
            PathBuf::from("ph.toml"),
            "[retention]\nage = \"10d\"\ndead-letters = \"10d\"\nsize-max = \"1GiB\"\n".to_owned(),
        )),
        environment: vec![
            ("PILOTHOUSE_RETENTION_AGE".to_owned(), "20d".to_owned()),
            ("PILOTHOUSE_RETENTION_DEAD_LETTERS".to_owned(), "20d".to_owned()),
            ("PILOTHOUSE_RUNTIME_INSTANCES".to_owned(), "7".to_owned()),
        ],
        flags: Overrides(flags),
    };
    let flag = (vec!["retention".to_owned(), "age".to_owned()], "30d".to_owned());
    let config = load(&sources(vec![flag])).unwrap().config;
    let retention = config.retention;
    assert_eq!(retention.age.to_string(), "30d");
    assert_eq!(retention.dead_letters.to_string(), "20d");
    assert_eq!(retention.size_max.to_string(), "1GiB");
    assert_eq!(config.runtime.instances, 7);
}

#[test]
fn a_wrong_variable_or_flag_is_named_in_its_own_spelling() {
    let sources = Sources {
        file: None,
        environment: vec![("PILOTHOUSE_DRAIN_TIMEOUT".to_owned(), "soon".to_owned())],
        flags: Overrides(vec![(vec!["runtime".to_owned(), "instances".to_owned()], "many".to_owned())]),
    };
    let text = load(&sources).unwrap_err().to_string();
    assert!(text.contains("environment variable PILOTHOUSE_DRAIN_TIMEOUT"), "{text}");
    assert!(text.contains("flag --runtime-instances"), "{text}");
}

#[test]
fn an_unknown_variable_is_a_warning_because_orchestrators_set_some() {
    let environment = vec![
        ("PILOTHOUSE_PORT_7425_TCP".to_owned(), "tcp://10.0.0.1".to_owned()),
        ("PILOTHOUSE_LISTE".to_owned(), "x".to_owned()),
        ("PILOTHOUSE_TOKEN".to_owned(), "ph_1_secret".to_owned()),
    ];
    let loaded = load(&Sources { environment, ..Sources::default() }).unwrap();
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
    assert!(loaded.warnings.iter().any(|warning| warning.contains("did you mean `PILOTHOUSE_LISTEN`?")));
}

#[test]
fn a_connection_says_exactly_what_it_needs() {
    let found = problems(
        "[connections.a]\nauth = \"bearer\"\n\n[connections.b]\nurl = \"https://x\"\nurl-env = \"Y\"\nauth = \"basic\"\n\
         credential = { env = \"P\" }\n\n[connections.c]\nurl = \"ftp://x\"\n\n[connections.d]\nurl = \"https://u:p@x\"\ntoken = \"s\"\n",
    );
    let has = |part: &str| assert!(found.iter().any(|problem| problem.contains(part)), "{part}: {found:#?}");
    has("`connections.a.url`: give exactly one of");
    has("`connections.a.credential`: it is missing");
    has("`connections.b.url`: give exactly one of");
    has("`connections.b.user`: it goes with `auth = \"basic\"`");
    has("`connections.c.url`: the address must begin with `http://` or `https://`");
    has("ph.toml:15: `connections.d.token` is not a setting");
}

#[test]
fn a_secret_in_the_wrong_place_is_refused_and_not_repeated() {
    let found = problems("[connections.a]\nurl = \"https://x\"\nauth = \"bearer\"\ncredential = \"hunter2\"\n");
    assert!(found[0].contains("the secret itself never stands here"), "{found:?}");
    assert!(!found.concat().contains("hunter2"), "{found:?}");
}

#[test]
fn a_connection_reads_its_credential_from_a_file_and_shows_it_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    let text = format!(
        "[connections.api]\nurl = \"https://example.test\"\nauth = \"bearer\"\ncredential = {{ file = {file:?} }}\n"
    );
    let config = load_text(&text).unwrap().config;
    let connections = Connections::read(&config.connections, &Default::default());
    let name = pilothouse_core::name::ConnectionName::new("api").unwrap();
    let resolved = connections.resolved(&name).unwrap();
    assert_eq!(resolved.headers[0].1.to_str().unwrap(), "Bearer s3cret");
    assert!(!format!("{resolved:?} {connections:?} {config:?}").contains("s3cret"));
    std::fs::write(&file, "rotated\n").unwrap();
    connections.reload(&config.connections, &Default::default());
    assert_eq!(connections.resolved(&name).unwrap().headers[0].1.to_str().unwrap(), "Bearer rotated");
}

#[test]
fn a_job_template_is_checked_with_the_configuration() {
    let found = problems("[jobs.load]\nprogram = \"jmeter\"\narguments = [\"{nowhere}\"]\n");
    assert!(found[0].contains("ph.toml:3: `jobs.load.arguments`"), "{found:?}");
}

#[test]
fn the_example_configuration_is_valid() {
    let text = include_str!("../../../../examples/config/pilothouse.toml");
    let config = load_text(text).unwrap().config;
    assert!(!config.connections.is_empty() && !config.jobs.is_empty() && !config.outputs.is_empty());
}

#[test]
fn every_setting_has_a_description_and_a_flag_of_its_own() {
    let scalars = schema::Node::root().scalars();
    assert!(scalars.len() > 20, "{}", scalars.len());
    let mut flags: Vec<String> = scalars.iter().map(|(path, _)| path.join("-")).collect();
    for (path, scalar) in &scalars {
        // Traces are sent nowhere unless somebody says where; the key's file follows from the data folder, and the address
        // from what is listened on.
        let free = ["telemetry-traces-connection", "secrets-key-file", "public-url"];
        let has_default = scalar.default.is_some() || free.contains(&path.join("-").as_str());
        assert!(scalar.description.ends_with('.') && has_default, "{path:?}: {scalar:?}");
    }
    let count = flags.len();
    flags.sort();
    flags.dedup();
    assert_eq!(flags.len(), count, "two settings have the same flag");
}

/// Run with `PILOTHOUSE_UPDATE=1` to write the file anew.
#[test]
fn the_published_schema_is_the_one_of_the_code() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas/config.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&json_schema()).unwrap());
    crate::testing::same_as_file(&path, &text);
}
