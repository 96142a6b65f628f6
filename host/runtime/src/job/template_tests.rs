//! What a template accepts, and what command line it makes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pilothouse_core::name::TemplateName;

use super::template::find_program;
use super::*;
use crate::services::JobFile;

fn template(toml: &str) -> JobTemplate {
    toml::from_str(toml).unwrap()
}

fn jmeter() -> JobTemplate {
    template(
        r#"
        program = "jmeter"
        arguments = ["-n", "-t", "{file:plan.jmx}", "-l", "{scratch}/result.jtl", "-Jhost={host}", "-Jusers={users}", "{extra}"]
        environment = { JVM_ARGS = "-Xmx{heap}", OPTIONAL = "{extra}" }
        artifacts = ["result.jtl"]
        files = { pattern = '[a-z]+(/[a-z]+)?\.(jmx|csv)', count-max = 3, size-max = "1KiB" }
        limits = { timeout = "5m" }
        [parameters]
        host = { pattern = '[a-z0-9.-]+', required = true }
        users = { pattern = '[0-9]{1,4}', default = "10" }
        heap = { pattern = '[0-9]+[mg]', default = "512m" }
        extra = { pattern = '.*' }
        "#,
    )
}

fn request(parameters: &[(&str, &str)], files: &[(&str, &str)]) -> JobRequest {
    JobRequest {
        template: TemplateName::new("jmeter").unwrap(),
        parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        files: files
            .iter()
            .map(|(name, text)| JobFile { name: (*name).to_owned(), content: text.as_bytes().to_vec() })
            .collect(),
        idempotency_key: "one".to_owned(),
        timeout: None,
    }
}

const PLAN: (&str, &str) = ("plan.jmx", "<plan/>");

#[track_caller]
fn refused(template: &JobTemplate, parameters: &[(&str, &str)], files: &[(&str, &str)], says: &str) {
    match template.prepare(&request(parameters, files), Path::new("/s")) {
        Err(JobError::Invalid(text)) => assert!(text.contains(says), "`{text}` does not say `{says}`"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_becomes_one_argument_per_pattern() {
    let prepared = jmeter().prepare(&request(&[("host", "shop.test")], &[PLAN]), Path::new("/jobs/1/scratch")).unwrap();
    let argv = [
        "jmeter",
        "-n",
        "-t",
        "/jobs/1/scratch/plan.jmx",
        "-l",
        "/jobs/1/scratch/result.jtl",
        "-Jhost=shop.test",
        "-Jusers=10",
    ];
    assert_eq!(prepared.argv, argv, "an argument with an absent parameter is left out");
    assert_eq!(prepared.environment, BTreeMap::from([("JVM_ARGS".to_owned(), "-Xmx512m".to_owned())]));
    assert_eq!(prepared.timeout, Duration::from_secs(300));
}

#[test]
fn a_value_stays_one_argument_whatever_it_holds() {
    let value = "a b; $(reboot) `id` * > /etc/passwd \" ' \n {host} {{";
    let prepared = jmeter().prepare(&request(&[("host", "h"), ("extra", "x")], &[PLAN]), Path::new("/s")).unwrap();
    assert_eq!(prepared.argv.len(), 9);
    let mut free = jmeter();
    free.parameters.get_mut("extra").unwrap().pattern = "(?s).*".to_owned();
    let prepared = free.prepare(&request(&[("host", "h"), ("extra", value)], &[PLAN]), Path::new("/s")).unwrap();
    assert_eq!(prepared.argv.last().unwrap(), value);
}

#[test]
fn a_parameter_that_is_not_as_declared_is_named() {
    let jmeter = jmeter();
    refused(&jmeter, &[], &[PLAN], "parameter `host` is missing");
    refused(&jmeter, &[("host", "h"), ("user", "1")], &[PLAN], "no parameter `user`; did you mean `users`?");
    refused(&jmeter, &[("host", "h"), ("users", "10000")], &[PLAN], "parameter `users` does not match");
    for host in ["", "a b", "a\n", "\na", "a\0", "A", "a/../b"] {
        refused(&jmeter, &[("host", host)], &[PLAN], "parameter `host` does not match");
    }
    let long = "a".repeat(PARAMETER_BYTES_MAX + 1);
    refused(&jmeter, &[("host", &long)], &[PLAN], "parameter `host` is longer");
}

/// The pattern allows it, and still it would be read as an option.
#[test]
fn a_value_cannot_turn_an_argument_into_an_option_unless_the_template_says_so() {
    let mut jmeter = jmeter();
    refused(&jmeter, &[("host", "h"), ("extra", "--remote")], &[PLAN], "parameter `extra` must not begin with `-`");
    let inside = jmeter.prepare(&request(&[("host", "-h")], &[PLAN]), Path::new("/s"));
    assert!(inside.is_ok(), "after literal text a dash is only a dash: {inside:?}");
    jmeter.parameters.get_mut("extra").unwrap().allow_dash = true;
    let allowed = jmeter.prepare(&request(&[("host", "h"), ("extra", "--remote")], &[PLAN]), Path::new("/s"));
    assert_eq!(allowed.unwrap().argv.last().unwrap(), "--remote");

    let empty_first =
        template("program = 'p'\narguments = ['{a}{b}']\n[parameters]\na = { pattern = '.*' }\nb = { pattern = '.*' }");
    refused(&empty_first, &[("a", ""), ("b", "-x")], &[], "parameter `b` must not begin with `-`");
}

#[test]
fn a_file_that_is_not_as_declared_is_named() {
    let jmeter = jmeter();
    let host = [("host", "h")];
    for name in ["", "..", "../plan.jmx", "/plan.jmx", "a/../plan.jmx", ".jmx", "a\\b.jmx", "a\0.jmx", "-t.jmx"] {
        refused(&jmeter, &host, &[PLAN, (name, "")], "is not a relative path of plain names");
    }
    refused(&jmeter, &host, &[PLAN, ("plan.sh", "")], "`plan.sh` does not match");
    refused(&jmeter, &host, &[PLAN, PLAN], "`plan.jmx` is given twice");
    refused(&jmeter, &host, &[], "file `plan.jmx` is missing");
    refused(&jmeter, &host, &[PLAN, ("a.csv", ""), ("b.csv", ""), ("c.csv", "")], "4 files are given");
    refused(&jmeter, &host, &[("plan.jmx", &"x".repeat(1025))], "the files have 1025 bytes");

    let mut free = jmeter.clone();
    free.files = Some(FileRules::default());
    refused(&free, &host, &[PLAN, ("result.jtl", "made up")], "the name of a result");
    refused(&free, &host, &[PLAN, ("a", ""), ("a/b", "")], "`a` is also the folder of another file");
    let none = template("program = 'p'");
    refused(&none, &[], &[PLAN], "takes no files");
}

#[test]
fn a_timeout_is_lowered_to_the_templates_own() {
    for (asked, given) in [(Some(60), 60), (Some(600), 300), (None, 300)] {
        let request = JobRequest { timeout: asked.map(Duration::from_secs), ..request(&[("host", "h")], &[PLAN]) };
        assert_eq!(jmeter().prepare(&request, Path::new("/s")).unwrap().timeout, Duration::from_secs(given));
    }
}

#[test]
fn every_mistake_in_a_template_is_found_at_once() {
    assert_eq!(jmeter().check(), []);
    let wrong = template(
        r#"
        program = "bin/jmeter"
        arguments = ["{hots}", "{", "{file:plan.jmx}"]
        environment = { PILOTHOUSE_JOB = "x", "A=B" = "x" }
        artifacts = ["stdout", "../secret"]
        limits = { timeout = "0s", memory = "0B" }
        [parameters]
        host = { pattern = '[a-z]+', default = "A" }
        open = { pattern = '(' }
        escape = { pattern = 'a)|(b' }
        scratch = { pattern = '.*' }
        "#,
    );
    let found: Vec<String> = wrong.check().into_iter().map(|problem| problem.at).collect();
    let all = [
        "program",
        "parameters.escape",
        "parameters.host",
        "parameters.open",
        "parameters.scratch",
        "arguments[0]",
        "arguments[1]",
        "arguments[2]",
        "environment.A=B",
        "environment.PILOTHOUSE_JOB",
        "artifacts[0]",
        "artifacts[1]",
        "limits.timeout",
        "limits.memory",
    ];
    let mut expected: Vec<String> = all.iter().map(ToString::to_string).collect();
    expected.sort();
    let mut sorted = found;
    sorted.sort();
    assert_eq!(sorted, expected);
    let problem = wrong.check().into_iter().find(|problem| problem.at == "arguments[0]").unwrap();
    assert!(problem.to_string().ends_with("did you mean `host`?"), "{problem}");
}

#[test]
fn an_unknown_key_in_a_template_is_an_error() {
    assert!(toml::from_str::<JobTemplate>("program = 'p'\nshell = true").is_err());
    assert!(toml::from_str::<JobTemplate>("program = 'p'\nlimits = { time-out = '5s' }").is_err());
}

#[test]
fn a_program_is_found_in_the_absolute_folders_of_path() {
    assert_eq!(find_program("sh", "relative::/nowhere:/bin").as_deref(), Some(Path::new("/bin/sh")));
    assert_eq!(find_program("/bin/sh", ""), Some("/bin/sh".into()));
    for missing in ["no-such-program", "/no/such/program", "/etc/passwd", "/bin"] {
        assert_eq!(find_program(missing, "/bin:/etc"), None, "{missing}");
    }
}

#[test]
fn the_example_configuration_has_sound_templates() {
    let text = include_str!("../../../../examples/config/pilothouse.toml");
    let config: toml::Table = toml::from_str(text).unwrap();
    for (name, entry) in config["jobs"].as_table().unwrap() {
        let template: JobTemplate = entry.clone().try_into().unwrap();
        assert_eq!(template.check(), [], "{name}");
    }
}
