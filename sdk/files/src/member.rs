//! What the readers of several formats share: the frame of a read, versions, and values that people write in more than one
//! way.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::suggest::nearest;
use crate::yaml::fields::Fields;
use crate::yaml::{Node, Position, Problem, Value, parse};

/// Longest piece of a file that a message repeats, in characters.
const SHOWN_MAX: usize = 60;

/// Reads a file. The first part is `None` if a problem `stops` it; the problems are in the order of the file.
pub(crate) fn read<T>(
    bytes: &[u8],
    stops: fn(&Problem) -> bool,
    file: impl FnOnce(&Node, &mut Vec<Problem>) -> Option<T>,
) -> (Option<T>, Vec<Problem>) {
    let node = match parse(bytes) {
        Ok(node) => node,
        Err(problem) => return (None, vec![problem]),
    };
    let mut problems = Vec::new();
    let found = file(&node, &mut problems);
    problems.sort_by_key(|problem| problem.at);
    let usable = !problems.iter().any(stops);
    (found.filter(|_| usable), problems)
}

/// Shortens a piece of a file for a message.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

/// Returns where a member's value stands; `otherwise` if it is not there.
pub(crate) fn place(fields: &mut Fields<'_, '_>, name: &'static str, otherwise: Position) -> Position {
    fields.get(name).map_or(otherwise, |node| node.at)
}

/// Checks a member that must have one value.
pub(crate) fn exactly(fields: &mut Fields<'_, '_>, name: &'static str, wanted: &str) {
    let Some(found) = fields.required_text(name) else { return };
    if found != wanted {
        let at = place(fields, name, Position::START);
        let message = format!("`{name}` is `{}`; write `{wanted}`", shown(&found));
        fields.problems().push(Problem::error(at, message));
    }
}

/// Checks `spec_version`. Keptn looked at none, so one that is missing stops no run; a later one may mean something else.
pub(crate) fn spec_version(fields: &mut Fields<'_, '_>, at: Position, example: &str) {
    let Some(node) = fields.get("spec_version") else {
        let message = format!("the file needs `spec_version`; write `spec_version: \"{example}\"`");
        fields.problems().push(Problem::write_error(at, message));
        return;
    };
    let Some(found) = fields.text("spec_version") else { return };
    let parts: Vec<&str> = found.split('.').collect();
    let number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let known = matches!(parts.first(), Some(&("0" | "1"))) && parts.len() <= 3 && parts.iter().all(number);
    if !known {
        let message = format!("`spec_version` is `{}`; write `{example}` (versions 0 and 1 are read)", shown(&found));
        fields.problems().push(Problem::error(node.at, message));
    }
}

/// Returns the text of a scalar that is not `null`.
pub(crate) fn scalar(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar(scalar) if !scalar.is_null() => Some(&scalar.text),
        _ => None,
    }
}

/// Returns a whole number within bounds, with or without quotes.
pub(crate) fn whole(
    fields: &mut Fields<'_, '_>,
    name: &'static str,
    of: &str,
    bounds: RangeInclusive<u32>,
) -> Option<u32> {
    let node = fields.get(name)?;
    let found = scalar(node).and_then(whole_of).and_then(|number| u32::try_from(number).ok());
    if let Some(number) = found.filter(|number| bounds.contains(number)) {
        return Some(number);
    }
    let wanted = format!("a whole number from {} to {}", bounds.start(), bounds.end());
    fields.problems().push(is_not(name, of, node, &wanted));
    None
}

/// Reads a whole number as the plugins' YAML reader does: `5`, `+5`, `1_000`, `0x10`, `0o10`.
pub(crate) fn whole_of(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.strip_prefix('+').unwrap_or(text);
    let (digits, radix) = match digits.get(..2) {
        Some("0x" | "0X") => (digits.get(2..)?, 16),
        Some("0o" | "0O") => (digits.get(2..)?, 8),
        Some("0b" | "0B") => (digits.get(2..)?, 2),
        _ => (digits, 10),
    };
    let plain: String = digits.chars().filter(|it| *it != '_').collect();
    // What `010` means depends on the reader, so it is no number here.
    let octal = radix == 10 && plain.len() > 1 && plain.starts_with('0');
    if octal || !plain.chars().all(|it| it.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(&plain, radix).ok()
}

/// Reads a finite number, written in the decimal way.
pub(crate) fn number_of(text: &str) -> Option<f64> {
    // `f64` also reads `inf` and `nan`.
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse::<f64>().ok().filter(|value| plain && value.is_finite())
}

/// Returns a truth value, with or without quotes.
pub(crate) fn truth(fields: &mut Fields<'_, '_>, name: &'static str, of: &str) -> Option<bool> {
    let node = fields.get(name)?;
    match scalar(node).map(str::to_lowercase).as_deref() {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => {
            fields.problems().push(is_not(name, of, node, "`true` or `false`"));
            None
        }
    }
}

/// Makes the error for a value that a member cannot have.
pub(crate) fn is_not(name: &str, of: &str, node: &Node, wanted: &str) -> Problem {
    let found = match scalar(node) {
        Some(text) => format!("`{}`", shown(text)),
        None => node.kind().to_owned(),
    };
    Problem::error(node.at, format!("`{name}` of {of} is {found}; write {wanted}"))
}

/// Says what was probably meant; one of `known` if nothing is near.
pub(crate) fn meant(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            format!("write one of {}", known.join(", "))
        }
    }
}

/// Returns a mapping of texts; empty if it is not there. A value that is a number or a truth value is read as its text.
pub(crate) fn texts(
    node: &Node,
    what: &str,
    count_max: usize,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let Value::Map(members) = &node.value else {
        problems.push(Problem::error(
            node.at,
            format!("{what} must be a mapping from names to texts, this is {}", node.kind()),
        ));
        return found;
    };
    if members.len() > count_max {
        problems.push(too_many(node.at, what, members.len(), count_max));
        return found;
    }
    for member in members {
        match scalar(&member.node) {
            Some(text) => {
                found.insert(member.key.clone(), text.to_owned());
            }
            None => {
                let message =
                    format!("`{}` of {what} must be a text, this is {}", shown(&member.key), member.node.kind());
                problems.push(Problem::error(member.node.at, message));
            }
        }
    }
    found
}

/// Returns the members of a mapping; none, with a problem, if it is no mapping.
pub(crate) fn members<'n>(node: &'n Node, what: &str, problems: &mut Vec<Problem>) -> &'n [crate::yaml::Member] {
    match &node.value {
        Value::Map(members) => members,
        _ => {
            problems.push(Problem::error(node.at, format!("{what} must be a mapping, this is {}", node.kind())));
            &[]
        }
    }
}

/// Says that a list is too long.
pub(crate) fn too_many(at: Position, what: &str, found: usize, count_max: usize) -> Problem {
    Problem::error(at, format!("{what} has {found} entries, at most {count_max} are allowed"))
}

/// Finds members that are there without a value, where the plugin that reads the file does not take that for "left out".
pub(crate) fn no_empty(node: &Node, of: &str, names: &[&str], problems: &mut Vec<Problem>) {
    let Value::Map(members) = &node.value else { return };
    for member in members.iter().filter(|member| names.contains(&member.key.as_str()) && member.node.is_null()) {
        problems.push(Problem::error(
            member.at,
            format!("`{}` of {of} has no value; give one, or leave it out", member.key),
        ));
    }
}

/// Finds numbers that JSON cannot hold, in a value that becomes JSON.
pub(crate) fn finite(node: &Node, problems: &mut Vec<Problem>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| finite(item, problems)),
        Value::Map(members) => members.iter().for_each(|member| finite(&member.node, problems)),
        Value::Scalar(scalar) => {
            let bare = scalar.text.trim_start_matches(['+', '-']).to_ascii_lowercase();
            if scalar.plain && (bare == ".inf" || bare == ".nan") {
                let message =
                    format!("`{}` is a number that JSON does not have; for the text, put it in quotes", scalar.text);
                problems.push(Problem::error(node.at, message));
            }
        }
    }
}
