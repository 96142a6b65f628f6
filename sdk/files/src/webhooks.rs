//! The file of the plugin `webhook`: which request does a task, and which follows an event. What is accepted is what the
//! plugin accepts.

use crate::Named;
use crate::member::{exactly, finite, is_not, members, no_empty, place, read as read_file, scalar, shown, whole_of};
use crate::yaml::fields::Fields;
use crate::yaml::{Member, Node, Problem, Value};

/// The version that the plugin reads.
pub const API_VERSION: &str = "pilothouse.dev/v1";
/// The methods that a request can have.
pub const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// What a file of webhooks says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Webhooks {
    /// The tasks that a request does.
    pub tasks: Vec<Webhook>,
    /// The types of the events that a request follows; one that ends in `*` stands for any rest.
    pub events: Vec<Webhook>,
}

/// A request, and for what it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The task or the event type.
    pub on: Named,
    /// The connection.
    pub connection: Named,
}

/// Reads a file of webhooks. The first part is `None` if there is an error: the plugin takes no unknown fields either.
pub fn read(bytes: &[u8]) -> (Option<Webhooks>, Vec<Problem>) {
    read_file(bytes, Problem::stops_a_write, file)
}

fn file(node: &Node, problems: &mut Vec<Problem>) -> Option<Webhooks> {
    no_empty(node, "the webhooks file", &["tasks", "events"], problems);
    let mut fields = Fields::of(node, "the webhooks file", problems)?;
    exactly(&mut fields, "apiVersion", API_VERSION);
    exactly(&mut fields, "kind", "Webhooks");
    let tasks = fields.get("tasks");
    let events = fields.list("events");
    fields.finish();
    if tasks.is_none() && events.is_none_or(<[Node]>::is_empty) {
        problems.push(Problem::warning(node.at, "the file names no `tasks` and no `events`: it sends nothing"));
    }
    let mut found = Webhooks::default();
    for member in tasks.map(|tasks| members(tasks, "`tasks`", problems)).unwrap_or_default() {
        let on = Named { name: member.key.clone(), at: member.at };
        let connection = request(&member.node, &format!("the request of task `{}`", shown(&on.name)), problems);
        found.tasks.extend(connection.map(|connection| Webhook { on, connection }));
    }
    found.events.extend(events.unwrap_or_default().iter().filter_map(|item| follow(item, problems)));
    Some(found)
}

/// Reads a request that follows an event.
fn follow(node: &Node, problems: &mut Vec<Problem>) -> Option<Webhook> {
    no_empty(node, "an entry of `events`", &["when"], problems);
    let mut fields = Fields::of(node, "an entry of `events`", problems)?;
    let ty = fields.required_text("type");
    let at = place(&mut fields, "type", node.at);
    let when = fields.get("when");
    let request = fields.required("request");
    fields.finish();
    let what = ty.as_deref().map_or("an entry of `events`".to_owned(), |ty| format!("the entry for `{}`", shown(ty)));
    for member in when.map(|when| members(when, &format!("`when` of {what}"), problems)).unwrap_or_default() {
        condition(member, &what, problems);
    }
    let connection = self::request(request?, &format!("`request` of {what}"), problems);
    Some(Webhook { on: Named { name: ty?, at }, connection: connection? })
}

fn condition(member: &Member, of: &str, problems: &mut Vec<Problem>) {
    finite(&member.node, problems);
    let key = shown(&member.key);
    if !(member.key.is_empty() || member.key.starts_with('/')) {
        let message = format!("`{key}` in `when` of {of} is never found; write a JSON pointer such as `/result`");
        problems.push(Problem::warning(member.at, message));
    }
    match &member.node.value {
        Value::List(accepted) if accepted.is_empty() => {
            let message = format!("`{key}` in `when` of {of} accepts nothing, so the request is never sent");
            problems.push(Problem::warning(member.node.at, message));
        }
        Value::List(_) => {}
        _ => {
            let message =
                format!("`{key}` in `when` of {of} must be a list of the values accepted, such as `[fail, warning]`");
            problems.push(Problem::error(member.node.at, message));
        }
    }
}

fn request(node: &Node, what: &str, problems: &mut Vec<Problem>) -> Option<Named> {
    no_empty(node, what, &["method", "path", "query", "headers", "expect"], problems);
    let mut fields = Fields::of(node, what, problems)?;
    let connection = fields.required_text("connection");
    let at = place(&mut fields, "connection", node.at);
    if let Some(method) = fields.get("method")
        && !scalar(method).is_some_and(|text| METHODS.contains(&text))
    {
        fields.problems().push(is_not("method", what, method, &format!("one of {}", METHODS.join(", "))));
    }
    let path = fields.get("path");
    if let Some(path) = path
        && !scalar(path).is_some_and(|text| text.is_empty() || text.starts_with('/'))
    {
        fields.problems().push(is_not("path", what, path, "a path that begins with `/`"));
    }
    let maps = [("query", fields.get("query")), ("headers", fields.get("headers"))];
    let body = fields.get("body");
    for status in fields.list("expect").unwrap_or_default() {
        if scalar(status).and_then(whole_of).is_none_or(|status| status > u64::from(u16::MAX)) {
            fields.problems().push(is_not("expect", what, status, "status codes such as 200"));
        }
    }
    if let Some(output) = fields.get("output")
        && !scalar(output).is_some_and(|text| text.is_empty() || text.starts_with('/'))
    {
        fields.problems().push(is_not("output", what, output, "a JSON pointer such as `/data`"));
    }
    fields.finish();
    path.iter().for_each(|path| template(path, problems));
    for (name, map) in maps {
        let of = format!("`{name}` of {what}");
        for member in map.map(|map| members(map, &of, problems)).unwrap_or_default() {
            if scalar(&member.node).is_none() {
                problems.push(is_not(&member.key, &of, &member.node, "a text"));
            }
            template(&member.node, problems);
        }
    }
    if let Some(body) = body {
        finite(body, problems);
        self::body(body, problems);
    }
    Some(Named { name: connection?, at })
}

/// Finds texts of a body that cannot be filled: the plugin would fail on them at each request.
fn body(node: &Node, problems: &mut Vec<Problem>) {
    match &node.value {
        Value::Map(map) => {
            let member = |name: &str| map.iter().find(|member| member.key == name);
            let Some(pointer) = member("pointer").filter(|pointer| pointer.node.to_json().is_string()) else {
                map.iter().for_each(|member| body(&member.node, problems));
                return;
            };
            let found = scalar(&pointer.node).is_some_and(|text| text.is_empty() || text.starts_with('/'));
            if !found && member("default").is_none() {
                let message = "`pointer` in `body` is never found; write a JSON pointer such as `/service`";
                problems.push(Problem::write_error(pointer.node.at, message));
            }
        }
        Value::List(items) => items.iter().for_each(|item| body(item, problems)),
        Value::Scalar(_) => template(node, problems),
    }
}

/// Checks a text with places in braces.
fn template(node: &Node, problems: &mut Vec<Problem>) {
    let mut rest = scalar(node).unwrap_or_default();
    while let Some((_, after)) = rest.split_once('{') {
        match after.split_once('}') {
            Some((pointer, after)) if pointer.starts_with('/') => rest = after,
            _ => {
                let message = format!(
                    "`{}` has a brace that does not enclose a pointer such as `{{/service}}`",
                    shown(scalar(node).unwrap_or_default())
                );
                problems.push(Problem::write_error(node.at, message));
                return;
            }
        }
    }
}
