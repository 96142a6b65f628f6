//! Puts Pilothouse's receiver and route into a configuration of Alertmanager, between marks, and leaves everything else as it
//! is, byte for byte.
//!
//! Never here: reading and writing files.

use crate::yaml::{self, Member, Node, Problem, Value};

/// What stands before the lines that belong to Pilothouse.
pub const BEGIN: &str = "# begin pilothouse";
/// What stands behind them.
pub const END: &str = "# end pilothouse";

/// Where Alertmanager sends its notifications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// The whole URL of the inbound route.
    pub url: String,
    /// The file, on Alertmanager's machine, with the route's secret.
    pub secret_file: String,
}

/// Why a configuration is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlertmanagerError {
    /// It is not YAML.
    #[error("it is no YAML: {0}")]
    Yaml(Problem),
    /// It lacks what every configuration has.
    #[error("it has no `{0}`; Alertmanager would not start with it either")]
    Missing(&'static str),
    /// It is written in a way that nothing can be put into without changing it.
    #[error("line {line}: `{name}` is written in brackets or empty; write it with a line for each entry")]
    Inline {
        /// The member.
        name: &'static str,
        /// Where.
        line: u32,
    },
    /// A mark has no other half.
    #[error("line {0}: `{BEGIN}` and `{END}` do not go together")]
    Marks(usize),
    /// Something else has the receiver's name.
    #[error("it has a receiver `pilothouse` of its own; give it another name")]
    Taken,
}

/// Puts the receiver and its route in, or in place of those that an earlier call put in.
///
/// # Errors
/// Why nothing can be put in; the configuration stays as it is then.
pub fn with_receiver(text: &str, receiver: &Receiver) -> Result<String, AlertmanagerError> {
    let base = without_marks(text)?;
    let root = yaml::parse(base.as_bytes()).map_err(AlertmanagerError::Yaml)?;
    let receivers = member(&root, "receivers").ok_or(AlertmanagerError::Missing("receivers"))?;
    let route = member(&root, "route").ok_or(AlertmanagerError::Missing("route"))?;
    let Some(first_receiver) = first_item(receivers) else {
        return Err(AlertmanagerError::Inline { name: "receivers", line: receivers.at.line });
    };
    if let Value::List(items) = &receivers.node.value {
        let named = |item: &Node| matches!(member(item, "name").map(|it| &it.node.value), Some(Value::Scalar(name)) if name.text == "pilothouse");
        if items.iter().any(named) {
            return Err(AlertmanagerError::Taken);
        }
    }
    let url = serde_json::Value::from(receiver.url.as_str());
    let secret = serde_json::Value::from(receiver.secret_file.as_str());
    let of_receiver = [
        "- name: pilothouse".to_owned(),
        "  webhook_configs:".to_owned(),
        format!("  - url: {url}"),
        format!("    http_config: {{authorization: {{credentials_file: {secret}}}}}"),
    ];
    let of_route = [
        "- receiver: pilothouse".to_owned(),
        "  matchers: ['severity=\"webhook\"']".to_owned(),
        "  group_by: [project, stage, service, alertname]".to_owned(),
        "  continue: true".to_owned(),
    ];
    let (route_line, of_route) = match member(&route.node, "routes") {
        Some(routes) => match first_item(routes) {
            Some(line) => (line, of_route.to_vec()),
            None => return Err(AlertmanagerError::Inline { name: "routes", line: routes.at.line }),
        },
        None => match first_member(route) {
            Some(line) => (line, [vec!["routes:".to_owned()], of_route.to_vec()].concat()),
            None => return Err(AlertmanagerError::Inline { name: "route", line: route.at.line }),
        },
    };
    let written = insert(&base, &[(first_receiver, &of_receiver), (route_line, &of_route)]);
    // What was put in must be what a reader finds.
    yaml::parse(written.as_bytes()).map_err(AlertmanagerError::Yaml)?;
    Ok(written)
}

/// Takes out what an earlier call put in.
///
/// # Errors
/// A mark has no other half.
pub fn without_marks(text: &str) -> Result<String, AlertmanagerError> {
    let mut kept = String::with_capacity(text.len());
    let mut inside = false;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        match (line.trim(), inside) {
            (BEGIN, false) => inside = true,
            (END, true) => inside = false,
            (BEGIN, true) | (END, false) => return Err(AlertmanagerError::Marks(index + 1)),
            (_, true) => {}
            (_, false) => kept.push_str(line),
        }
    }
    if inside { Err(AlertmanagerError::Marks(text.lines().count())) } else { Ok(kept) }
}

fn member<'n>(node: &'n Node, name: &str) -> Option<&'n Member> {
    let Value::Map(members) = &node.value else { return None };
    members.iter().find(|member| member.key == name)
}

/// Returns the line of the first entry of a list that has a line for each.
fn first_item(list: &Member) -> Option<u32> {
    let Value::List(items) = &list.node.value else { return None };
    let line = items.first()?.at.line;
    (line > list.at.line).then_some(line)
}

/// Returns the line of the first member of a mapping that has a line for each.
fn first_member(mapping: &Member) -> Option<u32> {
    let Value::Map(members) = &mapping.node.value else { return None };
    let line = members.first()?.at.line;
    (line > mapping.at.line).then_some(line)
}

/// Puts lines before those with these numbers, indented as they are.
fn insert(text: &str, blocks: &[(u32, &[String])]) -> String {
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut out = String::with_capacity(text.len() + 1_000);
    for (number, line) in (1_u32..).zip(text.split_inclusive('\n')) {
        for (_, lines) in blocks.iter().filter(|(at, _)| *at == number) {
            let indent: String = line.chars().take_while(|it| *it == ' ').collect();
            let marked = std::iter::once(BEGIN).chain(lines.iter().map(String::as_str)).chain([END]);
            marked.for_each(|line| out.push_str(&format!("{indent}{line}{end}")));
        }
        out.push_str(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "# Ours since 2019.\nglobal: {resolve_timeout: 5m}\nroute:\n    receiver: team   # all of it\n    routes:\n    # the loud ones\n    - matchers: ['severity=\"page\"']\n      receiver: pager\n\nreceivers:\n  - name: team\n  - name: pager\ninhibit_rules: []\n";

    fn receiver(port: u16) -> Receiver {
        Receiver { url: format!("http://h:{port}/v1/inbound/alertmanager"), secret_file: "/etc/secret".to_owned() }
    }

    #[test]
    fn everything_else_stays_byte_for_byte_and_the_second_time_changes_only_what_is_marked() {
        for config in [CONFIG.to_owned(), CONFIG.replace('\n', "\r\n")] {
            let once = with_receiver(&config, &receiver(1)).unwrap();
            assert_eq!(without_marks(&once).unwrap(), config);
            assert_eq!(with_receiver(&once, &receiver(1)).unwrap(), once);
            let other = with_receiver(&once, &receiver(2)).unwrap();
            assert!(other.contains("http://h:2/") && !other.contains("http://h:1/"));
            assert_eq!(without_marks(&other).unwrap(), config);
        }
    }

    #[test]
    fn the_route_comes_first_and_lets_the_others_have_the_alert_too() {
        let written = with_receiver(CONFIG, &receiver(1)).unwrap();
        let root = yaml::parse(written.as_bytes()).unwrap();
        let routes = &member(&member(&root, "route").unwrap().node, "routes").unwrap().node;
        let Value::List(routes) = &routes.value else { panic!() };
        assert_eq!(routes.len(), 2);
        let Value::Scalar(name) = &member(&routes[0], "receiver").unwrap().node.value else { panic!() };
        assert_eq!(name.text, "pilothouse");
        assert!(member(&routes[0], "continue").is_some());
        let without = "route:\n  receiver: team\nreceivers:\n- name: team\n";
        let written = with_receiver(without, &receiver(1)).unwrap();
        let root = yaml::parse(written.as_bytes()).unwrap();
        assert!(member(&member(&root, "route").unwrap().node, "routes").is_some(), "{written}");
    }

    #[test]
    fn what_cannot_be_kept_as_it_is_is_refused() {
        for (config, expected) in [
            ("route: {receiver: a}\nreceivers:\n- name: a\n", "`route` is written in brackets"),
            ("route:\n  receiver: a\nreceivers: [{name: a}]\n", "`receivers` is written in brackets"),
            ("route:\n  receiver: a\n  routes: []\nreceivers:\n- name: a\n", "`routes` is written"),
            ("receivers:\n- name: a\n", "no `route`"),
            ("route:\n  receiver: a\n", "no `receivers`"),
            ("route: [", "no YAML"),
            ("# begin pilothouse\nroute:\n", "do not go together"),
            ("route:\n  receiver: a\nreceivers:\n- name: pilothouse\n", "of its own"),
        ] {
            let error = with_receiver(config, &receiver(1)).unwrap_err().to_string();
            assert!(error.contains(expected), "{config}: {error}");
        }
    }
}
