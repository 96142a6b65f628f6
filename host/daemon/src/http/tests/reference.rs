//! The page of endpoints, `docs/endpoints.md`: made from the API's description, so that it says what the code does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};
use utoipa::OpenApi as _;

use crate::http::openapi::Description;

const HEAD: &str = "# Endpoints

Every path of the API, by what it is about; [The HTTP API](http-api.md) has the rules that all share.
Made from [openapi.json](openapi.json). A field marked * must be there.
";

/// Run with `PILOTHOUSE_UPDATE=1` to write the file anew.
#[test]
fn the_page_of_endpoints_is_the_one_of_the_code() {
    let description = serde_json::to_value(Description::openapi()).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/endpoints.md");
    crate::testing::same_as_file(&path, &page(&description));
}

fn page(description: &Value) -> String {
    let mut groups: BTreeMap<&str, Vec<(&str, &str, &Value)>> = BTreeMap::new();
    for (path, methods) in members(&description["paths"]) {
        for (method, operation) in members(methods) {
            let tag = operation["tags"][0].as_str().unwrap();
            groups.entry(tag).or_default().push((path, method, operation));
        }
    }
    let mut page = HEAD.to_owned();
    for (tag, operations) in groups {
        writeln!(page, "\n## {tag}").unwrap();
        for (path, method, operation) in operations {
            endpoint(&mut page, path, method, operation);
        }
    }
    page.push_str("\n## Forms\n\nThe bodies of requests and answers.\n");
    for (name, schema) in members(&description["components"]["schemas"]) {
        form(&mut page, name, schema);
    }
    page
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Writes a text into one cell of a table.
fn cell(text: &Value) -> String {
    text.as_str().unwrap_or_default().trim().replace('\n', " ").replace('|', "\\|")
}

fn endpoint(page: &mut String, path: &str, method: &str, operation: &Value) {
    writeln!(page, "\n### {} {path}\n", method.to_uppercase()).unwrap();
    for part in ["summary", "description"] {
        if let Some(text) = operation[part].as_str().filter(|text| !text.trim().is_empty()) {
            writeln!(page, "{}", text.trim()).unwrap();
        }
    }
    if items(&operation["parameters"]).next().is_some() {
        page.push_str("\n| parameter | in | type | meaning |\n|---|---|---|---|\n");
    }
    for parameter in items(&operation["parameters"]) {
        let star = if parameter["required"] == true && parameter["in"] != "path" { "*" } else { "" };
        let (name, place) = (cell(&parameter["name"]), cell(&parameter["in"]));
        let (ty, meaning) = (type_of(&parameter["schema"]), cell(&parameter["description"]));
        writeln!(page, "| `{name}`{star} | {place} | {ty} | {meaning} |").unwrap();
    }
    for (media, content) in members(&operation["requestBody"]["content"]) {
        writeln!(page, "\nBody: `{media}`, {}", type_of(&content["schema"])).unwrap();
    }
    page.push_str("\n| status | answer |\n|---|---|\n");
    for (status, response) in members(&operation["responses"]) {
        let forms: Vec<String> =
            members(&response["content"]).map(|(_, content)| type_of(&content["schema"])).collect();
        let text = cell(&response["description"]);
        let between = if text.is_empty() || forms.is_empty() { "" } else { " " };
        writeln!(page, "| {status} | {text}{between}{} |", forms.join(", ")).unwrap();
    }
}

/// Names the type of a schema; a form of its own is a link.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|link| link.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    let either: Vec<String> =
        ["oneOf", "anyOf", "allOf"].iter().flat_map(|name| items(&schema[*name])).map(type_of).collect();
    if !either.is_empty() {
        return either.join(" or ");
    }
    let named: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        names => items(names).filter_map(Value::as_str).collect(),
    };
    let named = named.into_iter().filter(|name| *name != "null").collect::<Vec<_>>().join(" or ");
    match named.as_str() {
        "array" => format!("list of {}", type_of(&schema["items"])),
        "" => "any".to_owned(),
        _ => named,
    }
}

fn form(page: &mut String, name: &str, schema: &Value) {
    writeln!(page, "\n### {name}\n").unwrap();
    if let Some(text) = schema["description"].as_str() {
        writeln!(page, "{}\n", text.trim()).unwrap();
    }
    let words: Vec<String> = items(&schema["enum"]).filter_map(Value::as_str).map(|word| format!("`{word}`")).collect();
    if !words.is_empty() {
        writeln!(page, "One of {}.", words.join(", ")).unwrap();
        return;
    }
    // A form that contains another has its fields too.
    let parts: Vec<&Value> = [schema].into_iter().chain(items(&schema["allOf"])).collect();
    for other in parts.iter().filter(|part| part["$ref"].is_string()) {
        writeln!(page, "All of {}, and:\n", type_of(other)).unwrap();
    }
    let fields: Vec<(&str, &Value, bool)> = parts
        .iter()
        .flat_map(|part| {
            let required = |name: &str| items(&part["required"]).any(|it| it == name);
            members(&part["properties"]).map(move |(name, field)| (name, field, required(name)))
        })
        .collect();
    if fields.is_empty() {
        writeln!(page, "{}.", type_of(schema)).unwrap();
        return;
    }
    page.push_str("| field | type | meaning |\n|---|---|---|\n");
    for (name, field, required) in fields {
        let star = if required { "*" } else { "" };
        writeln!(page, "| `{name}`{star} | {} | {} |", type_of(field), cell(&field["description"])).unwrap();
    }
}
