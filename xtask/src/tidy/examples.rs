//! Rules about examples: every event parses, says what its file name says, and carries the same texts as the files
//! beside it. What is shown to users must be what works.

use serde_json::Value;

use super::{Problem, SourceFile};

/// Folders whose JSON files are CloudEvents, one each.
const EVENT_FOLDERS: [&str; 2] = ["examples/events/", "docs/events/"];

/// Texts that are inside an event and also lie in a file: the event, the place in it, and the file.
const SAME_TEXTS: [(&str, &str, &str); 2] = [
    (
        "examples/events/test.triggered.json",
        "/data/jmeter/script",
        "examples/projects/shop/services/carts/jmeter/load.jmx",
    ),
    (
        "examples/events/test.triggered.json",
        "/data/jmeter/workload",
        "examples/projects/shop/services/carts/jmeter/jmeter.conf.yaml",
    ),
];

/// Checks the examples.
pub(super) fn check(files: &[SourceFile]) -> Vec<Problem> {
    let events = files.iter().filter(|file| EVENT_FOLDERS.iter().any(|folder| file.path.starts_with(folder)));
    let mut problems: Vec<Problem> = events.filter(|file| file.has_extension("json")).filter_map(event).collect();
    problems.extend(SAME_TEXTS.iter().filter_map(|same| same_text(files, same)));
    problems
}

/// Checks one event, or one schema of an event's data, which has the type as its title.
fn event(file: &SourceFile) -> Option<Problem> {
    let value: Value = match serde_json::from_str(&file.text) {
        Ok(value) => value,
        Err(error) => return Some(Problem::at(&file.path, error.line(), format!("is not JSON: {error}"))),
    };
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let (ty, expected) = if let Some(ty) = name.strip_suffix(".schema.json") {
        (value.get("title"), ty)
    } else {
        let missing = ["specversion", "id", "source", "type"].into_iter().find(|name| value.get(*name).is_none());
        if let Some(missing) = missing {
            return Some(Problem::in_file(&file.path, format!("is no CloudEvent: `{missing}` is missing")));
        }
        (value.get("type"), name.trim_end_matches(".json").trim_end_matches(".example"))
    };
    let ty = ty.and_then(Value::as_str).unwrap_or_default();
    (!ty.ends_with(expected))
        .then(|| Problem::in_file(&file.path, format!("is named `{expected}` and has type `{ty}`")))
}

fn same_text(files: &[SourceFile], (event, place, path): &(&str, &str, &str)) -> Option<Problem> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let value: Value = serde_json::from_str(text(event)?).ok()?;
    let inside = value.pointer(place).and_then(Value::as_str);
    (inside != text(path)).then(|| Problem::in_file(*event, format!("`{place}` is not the text of {path}")))
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(&tree(&[(path, text)])).into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn an_example_is_an_event_of_the_type_that_its_file_names() {
        let text = r#"{ "specversion": "1.0", "id": "1", "source": "/s", "type": "sh.keptn.event.test.triggered" }"#;
        assert!(messages("examples/events/test.triggered.json", text).iter().all(|text| text.contains("not the text")));
        assert!(messages("examples/events/other.json", text)[0].contains("is named `other`"));
        assert_eq!(messages("examples/events/x.json", "{}"), ["is no CloudEvent: `specversion` is missing"]);
    }

    #[test]
    fn a_schema_is_for_the_type_that_its_file_names() {
        let text = r#"{ "title": "a.b.v1" }"#;
        assert!(messages("docs/events/a.b.v1.schema.json", text).is_empty());
        assert_eq!(messages("docs/events/a.c.v1.schema.json", text).len(), 1);
    }

    #[test]
    fn a_plan_in_an_event_is_the_plan_in_its_file() {
        let (event, _, path) = SAME_TEXTS[0];
        let text = r#"{ "data": { "jmeter": { "script": "<plan/>" } } }"#;
        assert!(same_text(&tree(&[(event, text), (path, "<plan/>")]), &SAME_TEXTS[0]).is_none());
        assert!(same_text(&tree(&[(event, text), (path, "<other/>")]), &SAME_TEXTS[0]).is_some());
    }
}
